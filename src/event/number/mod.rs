//! Phone numbers by `providers.md` C.9: what may be written as E.164, and what may not.
//!
//! A null beats a stranger's number, so only text made of digits and punctuation is looked at,
//! and a number must be *possible*: of a length its plan has. It need not be *valid*, because
//! reserved and new ranges are not. The plans (calling codes, lengths, trunk and international
//! prefixes) are those of libphonenumber's metadata as the `phonenumber` crate carries them; its
//! parser is not used, because it turns letters into digits and guesses.

use std::{borrow::Cow, collections::HashMap, sync::LazyLock};

use phonenumber::{
    Metadata,
    metadata::{DATABASE, Descriptor},
};

use crate::event::Number;

/// How the numbers of a source are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dialling<'s> {
    /// The country whose national numbers occur, two capital letters; without one, a number is
    /// international or unknown.
    pub country: Option<&'s str>,
    /// Whether 11 to 15 digits that begin with the country's calling code are international
    /// without a sign (MOBtexting's "with country code").
    pub bare_international: bool,
}

/// A number as read, and whether masking hid some of its digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<'a> {
    /// The number.
    pub number: Number<'a>,
    /// It has X, x or `*` in place of digits.
    pub masked: bool,
}

/// Reads the text that a provider sent in place of a number. The text must not be blank.
pub fn read<'a>(raw: Cow<'a, str>, dialling: Dialling<'_>) -> Read<'a> {
    let (text, ext) = split_extension(strip(&raw));
    let shape = Shape::of(text);
    let e164 = match &shape {
        Shape::Digits { plus: true, digits } => international(digits),
        Shape::Digits { plus: false, digits } => dialled(digits, dialling),
        Shape::Masked | Shape::Other => None,
    };
    let ext = ext.map(|ext| Cow::Owned(ext.to_owned()));
    Read { number: Number { raw, e164, ext }, masked: matches!(shape, Shape::Masked) }
}

/// Whether the numbering plan of this country, two capital letters, is known.
pub fn knows_country(country: &str) -> bool {
    DATABASE.by_id(country).is_some()
}

/// Loads the numbering plans, which takes some milliseconds that the first callback need not pay.
pub fn load_plans() {
    LazyLock::force(&PLANS);
    LazyLock::force(&COUNTRIES);
}

/// E.164: at most fifteen digits, the calling code among them.
const MAX_DIGITS: usize = 15;

/// The longest extension that is one; longer digits are something else.
const MAX_EXTENSION: usize = 11;

/// Calling code → the plan of its main country.
static PLANS: LazyLock<Vec<Option<Plan>>> = LazyLock::new(|| {
    let plan = |code: u16| DATABASE.by_code(&code)?.first().map(|meta| Plan::of(meta));
    (0..=999).map(plan).collect()
});

/// Country → its plan.
static COUNTRIES: LazyLock<HashMap<&'static str, Plan>> =
    LazyLock::new(|| DATABASE.iter().map(|meta| (meta.id(), Plan::of(meta))).collect());

/// What a text is made of.
enum Shape {
    /// Digits with punctuation, after at most one leading `+`.
    Digits { plus: bool, digits: String },
    /// The same with X, x or `*` among the digits.
    Masked,
    /// Anything else: a name, a flow, an address.
    Other,
}

/// What of a numbering plan decides whether a number is possible.
#[derive(Debug)]
struct Plan {
    /// Its calling code, in digits.
    code: String,
    /// The lengths of its national numbers, of whatever type: bit n is length n.
    lengths: u32,
    /// The lengths of ordinary subscribers' numbers that cannot be taken for local ones.
    ordinary: u32,
    trunk_prefix: Option<String>,
}

/// Drops white space and quotes around, and `tel:` in front.
fn strip(raw: &str) -> &str {
    let around =
        |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '‘' | '’' | '“' | '”');
    let text = raw.trim_matches(around);
    match text.split_at_checked(4) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("tel:") => rest.trim_matches(around),
        _ => text,
    }
}

/// Splits `;ext=12`, `ext. 12` or `x12` off the end.
fn split_extension(text: &str) -> (&str, Option<&str>) {
    let base = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let ext = text.get(base.len()..).unwrap_or_default();
    if ext.is_empty() || ext.len() > MAX_EXTENSION {
        return (text, None);
    }
    let base = base.trim_end_matches([' ', '.', '=', ':']);
    let marked = |marker: &str| {
        let (base, end) = base.split_at_checked(base.len().checked_sub(marker.len())?)?;
        end.eq_ignore_ascii_case(marker).then_some(base)
    };
    let ends = |rest: &str| rest.ends_with(|c: char| c.is_ascii_digit() || c == ')');
    let masked = |rest: &str| rest.ends_with(['X', 'x', '*']);
    let spelt = marked(";ext").or_else(|| marked("ext")).map(str::trim_end);
    // An x beside another mask, or after nothing, hides digits and does not open an extension.
    let rest = match spelt {
        Some(rest) => Some(rest).filter(|rest| ends(rest) || masked(rest)),
        None => base.strip_suffix('x').map(str::trim_end).filter(|rest| ends(rest)),
    };
    rest.map_or((text, None), |rest| (rest, Some(ext)))
}

/// Writes `+` and digits where they are a possible international number.
fn international(digits: &str) -> Option<String> {
    (1..=3).find_map(|len| {
        let (code, national) = digits.split_at_checked(len)?;
        if code.starts_with('0') {
            return None;
        }
        let plan = PLANS.get(code.parse::<usize>().ok()?)?.as_ref()?;
        plan.international(national)
    })
}

/// Reads digits without `+`: `00`, the country's own international prefix, its calling code where
/// that is usual, else a national number of it.
fn dialled(digits: &str, dialling: Dialling<'_>) -> Option<String> {
    let meta = dialling.country.and_then(|country| DATABASE.by_id(country));
    let own_prefix = meta.and_then(|meta| after_international_prefix(meta, digits));
    let zero_zero = digits.strip_prefix("00");
    if own_prefix.is_some() || zero_zero.is_some() {
        let own = own_prefix.and_then(international);
        let usual = zero_zero.and_then(international);
        return match (own, usual) {
            // Two readings: neither is known to be the one that was meant.
            (Some(own), Some(usual)) if own != usual => None,
            (own, usual) => own.or(usual),
        };
    }
    let meta = meta?;
    let plan = COUNTRIES.get(meta.id())?;
    let after_code = digits.strip_prefix(plan.code.as_str());
    if dialling.bare_international
        && (11..=MAX_DIGITS).contains(&digits.len())
        && let Some(national) = after_code
    {
        return plan.international(national);
    }
    // The calling code may stand before it without a sign. Where both can be meant, neither is.
    let inside = plan.national(meta, digits);
    let outside = after_code
        .filter(|national| holds(plan.ordinary, national))
        .and_then(|national| plan.write(national));
    match (inside, outside) {
        (Some(inside), Some(outside)) if inside != outside => None,
        (inside, outside) => inside.or(outside),
    }
}

/// What follows the country's own international prefix (`011`, `0011`), if it begins with one.
fn after_international_prefix<'d>(meta: &Metadata, digits: &'d str) -> Option<&'d str> {
    // The usual ones begin with 0; the others are carriers' codes that national numbers begin
    // with too. This spares most numbers the search.
    if !digits.starts_with("00") && !digits.starts_with("01") && !digits.starts_with("810") {
        return None;
    }
    let found = meta.international_prefix()?.find(digits)?;
    (found.start() == 0).then(|| digits.get(found.end()..)).flatten()
}

/// Whether a bit set of lengths holds the length of `digits`.
fn holds(lengths: u32, digits: &str) -> bool {
    let len = u32::try_from(digits.len()).unwrap_or(u32::MAX);
    1_u32.checked_shl(len).is_some_and(|bit| lengths & bit != 0)
}

/// The types of numbers that are not an ordinary line.
fn special(meta: &Metadata) -> impl Iterator<Item = &Descriptor> {
    let types = meta.descriptors();
    [
        types.toll_free(),
        types.premium_rate(),
        types.shared_cost(),
        types.personal_number(),
        types.voip(),
        types.pager(),
        types.uan(),
        types.voicemail(),
    ]
    .into_iter()
    .flatten()
}

// === impl Shape ===

impl Shape {
    fn of(text: &str) -> Self {
        let plus = text.starts_with('+');
        let mut digits = String::with_capacity(text.len().min(2 * MAX_DIGITS));
        let mut masked = false;
        for c in text.chars().skip(usize::from(plus)) {
            match c {
                '0'..='9' => digits.push(c),
                'X' | 'x' | '*' => masked = true,
                '-' | '.' | '(' | ')' | '/' => {}
                c if c.is_whitespace() => {}
                _ => return Self::Other,
            }
        }
        if masked {
            Self::Masked
        } else if digits.is_empty() {
            Self::Other
        } else {
            Self::Digits { plus, digits }
        }
    }
}

// === impl Plan ===

impl Plan {
    fn of(meta: &Metadata) -> Self {
        let bits = |lengths: &[u16]| {
            lengths
                .iter()
                .fold(0, |bits, len| bits | 1_u32.checked_shl(u32::from(*len)).unwrap_or(0))
        };
        let types = meta.descriptors();
        let lines = || [types.fixed_line(), types.mobile()].into_iter().flatten();
        let usual = lines().fold(0, |all, line| all | bits(line.possible_length()));
        let local = lines().fold(0, |all, line| all | bits(line.possible_local_length()));
        let rest = special(meta).fold(0, |all, line| all | bits(line.possible_length()));
        Self {
            code: meta.country_code().to_string(),
            lengths: usual | rest,
            ordinary: usual & !local,
            trunk_prefix: meta.national_prefix().map(str::to_owned),
        }
    }

    /// Writes a number whose calling code is known to be this plan's.
    fn international(&self, national: &str) -> Option<String> {
        // `+44 (0)20 …`: the trunk prefix is for dialling inside the country.
        let inside = self.trunk_prefix.as_deref().and_then(|trunk| national.strip_prefix(trunk));
        let national = match inside {
            Some(inside) if national.starts_with('0') || !holds(self.lengths, national) => inside,
            _ => national,
        };
        holds(self.lengths, national).then(|| self.write(national)).flatten()
    }

    /// Writes a number as dialled inside the country.
    fn national(&self, meta: &Metadata, digits: &str) -> Option<String> {
        let inside = self.trunk_prefix.as_deref().and_then(|trunk| digits.strip_prefix(trunk));
        if let Some(inside) = inside.filter(|inside| self.can_be(meta, inside)) {
            return self.write(inside);
        }
        if self.trunk_prefix.as_deref() == Some("0") && digits.starts_with('0') {
            return None;
        }
        // Of Belarus, 80 may stand in place of the 8 that its numbers begin with too.
        let without = |prefix: regex::Match<'_>| digits.get(prefix.end()..).unwrap_or_default();
        let other = meta
            .national_prefix_for_parsing()
            .and_then(|prefix| prefix.find(digits))
            .filter(|prefix| prefix.start() == 0 && holds(self.ordinary, without(*prefix)));
        let possible = other.is_none() && self.can_be(meta, digits);
        possible.then(|| self.write(digits)).flatten()
    }

    /// Whether digits without their calling code are one of this plan's: an ordinary line by their
    /// length, any other by its pattern.
    fn can_be(&self, meta: &Metadata, digits: &str) -> bool {
        holds(self.ordinary, digits)
            || special(meta).any(|line| {
                holds(self.lengths, digits)
                    && !line.possible_length().is_empty()
                    && line.is_match(digits)
            })
    }

    fn write(&self, national: &str) -> Option<String> {
        let fits = self.code.len() + national.len() <= MAX_DIGITS;
        fits.then(|| ["+", &self.code, national].concat())
    }
}

#[cfg(test)]
mod tests;
