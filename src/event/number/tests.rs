//! The table of numbers: what was sent, in which country, and what may be made of it.

use std::collections::BTreeSet;

use super::*;

/// The country, what was sent, the E.164 that may be written, the extension.
type Row = (&'static str, &'static str, Option<&'static str>, Option<&'static str>);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    // International, whatever the country.
    ("",   "+15551234567",            Some("+15551234567"),   None),
    ("",   "+1 555-010-0123",         Some("+15550100123"),   None),
    ("",   "+1 (555) 010.0123",       Some("+15550100123"),   None),
    ("",   "+49 30 231250123",        Some("+4930231250123"), None),
    ("",   "+44 20 7946 0958",        Some("+442079460958"),  None),
    ("",   "+44 (0)20 7946 0958",     Some("+442079460958"),  None),
    ("",   "0044 20 7946 0958",       Some("+442079460958"),  None),
    ("",   "00919000000101",          Some("+919000000101"),  None),
    ("",   "+39 06 5550 0123",        Some("+390655500123"),  None),
    ("",   "+61 7 7010 0123",         Some("+61770100123"),   None),
    ("",   "tel:+16175550123",        Some("+16175550123"),   None),
    ("",   "TEL:+1-617-555-0123",     Some("+16175550123"),   None),
    ("",   "'+16175550123'",          Some("+16175550123"),   None),
    ("",   "\"+16175550123\"",        Some("+16175550123"),   None),
    ("",   "\u{a0}+1\u{a0}617\u{a0}5550123 ", Some("+16175550123"), None),
    ("",   "+800 1234 5678",          Some("+80012345678"),   None),
    ("US", "+442079460958",           Some("+442079460958"),  None),
    // Extensions.
    ("",   "+16175550123;ext=42",     Some("+16175550123"),   Some("42")),
    ("",   "tel:+16175550123;ext=42", Some("+16175550123"),   Some("42")),
    ("",   "+1 617 555 0123 ext 42",  Some("+16175550123"),   Some("42")),
    ("",   "+1 617 555 0123 ext. 42", Some("+16175550123"),   Some("42")),
    ("",   "+1 617 555 0123 x42",     Some("+16175550123"),   Some("42")),
    ("",   "+16175550123x0042",       Some("+16175550123"),   Some("0042")),
    ("US", "(617) 555-0123 x 42",     Some("+16175550123"),   Some("42")),
    // No country and no sign: unknown.
    ("",   "9000000101",              None, None),
    ("",   "919000000101",            None, None),
    ("",   "6175550123",              None, None),
    // Australia.
    ("AU", "0770100123",              Some("+61770100123"),   None),
    ("AU", "(07) 7010 0123",          Some("+61770100123"),   None),
    ("AU", "770100123",               Some("+61770100123"),   None),
    ("AU", "0491 570 006",            Some("+61491570006"),   None),
    ("AU", "61770100123",             Some("+61770100123"),   None),
    ("AU", "1300 975 707",            Some("+611300975707"),  None),
    ("AU", "0011 44 20 7946 0958",    Some("+442079460958"),  None),
    ("AU", "70100123",                None, None),
    ("AU", "000",                     None, None),
    ("AU", "077010012345",            None, None),
    ("AU", "077010012",               None, None), // a digit is missing
    // United States.
    ("US", "6175550123",              Some("+16175550123"),   None),
    ("US", "1 617 555 0123",          Some("+16175550123"),   None),
    ("US", "011 44 20 7946 0958",     Some("+442079460958"),  None),
    ("US", "5550123",                 None, None),
    ("US", "911",                     None, None),
    // United Kingdom.
    ("GB", "020 7946 0958",           Some("+442079460958"),  None),
    ("GB", "07700 900123",            Some("+447700900123"),  None),
    ("GB", "999",                     None, None),
    ("GB", "02079460",                None, None),
    // Germany, with its many lengths.
    ("DE", "030 23125 0123",          Some("+4930231250123"), None),
    ("DE", "0049 30 231250123",       Some("+4930231250123"), None),
    ("DE", "231250123",               Some("+49231250123"),   None), // possible: 0231 is an area
    // The calling code without a sign, where a national number may begin so too: unknown.
    ("DE", "4930123456",              None, None),
    ("AT", "43664123456",             None, None),
    ("NL", "31612345678",             None, None),
    ("IT", "390212345678",            None, None),
    ("SE", "468123456",               None, None),
    ("IL", "972502345678",            None, None),
    ("ID", "62812345678",             None, None),
    ("KR", "8222123456",              None, None),
    ("JP", "81355500123",             Some("+81355500123"),   None),
    ("US", "16175550123",             Some("+16175550123"),   None),
    // The same behind a trunk prefix is no number.
    ("IN", "0919000000101",           None, None),
    ("TR", "0905012345678",           None, None),
    ("BY", "8 0152 450911",           None, None),
    // India.
    ("IN", "9000000101",              Some("+919000000101"),  None),
    ("IN", "09000000101",             Some("+919000000101"),  None),
    ("IN", "9123456789",              Some("+919123456789"),  None),
    ("IN", "100",                     None, None),
    // Italy keeps its zero.
    ("IT", "06 5550 0123",            Some("+390655500123"),  None),
    // France, Spain, Singapore, Brazil, Japan, Russia.
    ("FR", "01 99 00 01 23",          Some("+33199000123"),   None),
    ("ES", "910 000 123",             Some("+34910000123"),   None),
    ("SG", "6000 0123",               Some("+6560000123"),    None),
    ("BR", "(11) 95555-0123",         Some("+5511955550123"), None),
    ("BR", "011 95555-0123",          Some("+5511955550123"), None),
    ("JP", "03-5550-0123",            Some("+81355500123"),   None),
    ("RU", "8 (495) 555-01-23",       Some("+74955550123"),   None),
    ("RU", "8005550123",              Some("+78005550123"),   None),
    // Not numbers.
    ("IN", "flow:220",                None, None),
    ("US", "Anna Example",            None, None),
    ("US", "1-800-FLOWERS",           None, None),
    ("US", "anonymous",               None, None),
    ("US", "sip:anna@example.com",    None, None),
    ("",   "++16175550123",           None, None),
    ("",   "1+6175550123",            None, None),
    ("",   "+16175550123;ani=8005550100", None, None),
    ("",   "+",                       None, None),
    ("",   "+999123456789",           None, None),
    ("",   "+1 555",                  None, None),
    ("",   "+0016175550123",          None, None),
    ("",   "+161755501234567890",     None, None),
    ("US", "١٢٣٤٥٦٧٨٩٠",              None, None),
    // Masked: never a number.
    ("AU", "0731051xxx",              None, None),
    ("IN", "91806828XXXX",            None, None),
    ("IN", "91806828****",            None, None),
    ("IN", "9180XX681234",            None, None),
    ("",   "+1617555xxxx",            None, None),
    ("",   "XXXXXXXX",                None, None),
    ("IN", "91806828XXXX;ext=42",     None, Some("42")),
    ("US", "+1 617 555 XXXX ext 42",  None, Some("42")),
];

fn dialling(country: &'static str) -> Dialling<'static> {
    Dialling { country: (!country.is_empty()).then_some(country), bare_international: false }
}

#[test]
fn the_table_has_numbers_of_many_countries() {
    let codes = ["1", "33", "34", "39", "44", "49", "55", "61", "65", "7", "81", "91"];
    let countries = codes.iter().filter(|code| {
        let begins = |e164: &str| e164.strip_prefix('+').is_some_and(|it| it.starts_with(**code));
        TABLE.iter().any(|(_, _, e164, _)| e164.is_some_and(begins))
    });
    let national: BTreeSet<_> = TABLE.iter().map(|(country, ..)| *country).collect();

    assert!(TABLE.len() >= 60, "{}", TABLE.len());
    assert!(countries.count() >= 10);
    assert!(national.len() > 10, "{national:?}");
}

#[test]
fn no_number_of_the_table_is_guessed_wrong() {
    let wrong: Vec<_> = TABLE
        .iter()
        .filter_map(|&(country, sent, e164, ext)| {
            let number = read(Cow::Borrowed(sent), dialling(country)).number;
            let e164 = e164.map(|text| text.replace(' ', ""));
            let right = number.raw == sent && number.e164 == e164 && number.ext.as_deref() == ext;
            (!right).then_some((country, e164, number))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_a_number_with_hidden_digits_is_masked() {
    for &(country, sent, ..) in TABLE {
        let hidden = sent.contains("xxx") || sent.contains("XX") || sent.contains("**");
        assert_eq!(read(Cow::Borrowed(sent), dialling(country)).masked, hidden, "{sent}");
    }
}

#[test]
fn digits_with_the_country_code_are_international_only_where_that_is_usual() {
    let usual = Dialling { country: Some("IN"), bare_international: true };

    let e164 = |sent| read(Cow::Borrowed(sent), usual).number.e164;
    assert_eq!(e164("918000000100").as_deref(), Some("+918000000100"));
    assert_eq!(e164("9123456789").as_deref(), Some("+919123456789"));
    assert_eq!(e164("9000000101").as_deref(), Some("+919000000101"));
}

#[test]
fn hostile_lengths_are_read_without_a_number() {
    for sent in ["9".repeat(1 << 20), "x".repeat(1 << 20), format!("+{}", "1".repeat(1 << 20))] {
        assert_eq!(read(Cow::Borrowed(&sent), dialling("US")).number.e164, None);
    }
}
