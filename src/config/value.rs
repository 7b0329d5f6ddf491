//! Turns one value of relay.toml into its own small type, or into a problem.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use http::{HeaderName, Method, StatusCode};
use ipnet::IpNet;
use jiff::tz::TimeZone;
use toml::de::DeValue;

use super::{
    excerpt::shown,
    fields::{Node, nearest},
    key::{Kind, Zero},
};
use crate::{
    delivery::{rate_limit::Rate, target::StatusRange},
    event::Status,
    provider::Place,
};

/// No wait or window of ours is meant to be longer; keeps sums of instants within range.
const DURATION_MAX: Duration = Duration::from_hours(24 * 3650);

/// A number with a unit, such as `15s`: why it is none.
#[derive(Debug, PartialEq, Eq)]
enum Quantity {
    /// Not a whole number followed by a unit.
    Malformed,
    /// The unit is none of ours.
    Unit,
    /// Beyond every limit.
    Huge,
}

/// `"15s"`
pub(super) fn duration(node: &Node<'_>) -> Option<Duration> {
    if let DeValue::Integer(number) = node.value {
        let remedy = format!("write it with its unit, such as \"{number}s\"");
        return node.wrong(format!("`{}` has no unit", node.name()), remedy);
    }
    let text = node.text()?;
    let shown = shown(text);
    match parse_duration(text) {
        Ok(Duration::ZERO) if matches!(node.kind, Kind::Duration(Zero::Refused)) => {
            node.wrong(format!("`{}` must be longer than nothing", node.name()), "")
        }
        Ok(duration) if duration > DURATION_MAX => {
            node.wrong(format!("\"{shown}\" is too long"), "write at most \"3650d\"")
        }
        Ok(duration) => Some(duration),
        Err(Quantity::Huge) => {
            node.wrong(format!("\"{shown}\" is too long"), "write at most \"3650d\"")
        }
        Err(Quantity::Unit) => node
            .wrong(format!("\"{shown}\" has an unknown unit"), "the units are ms, s, m, h and d"),
        Err(Quantity::Malformed) => node.wrong(
            format!("\"{shown}\" is not a duration"),
            "write a whole number and its unit: ms, s, m, h or d, such as \"90s\"",
        ),
    }
}

/// `"1 MiB"`
pub(super) fn size(node: &Node<'_>) -> Option<u64> {
    if let DeValue::Integer(number) = node.value {
        let remedy = format!("write it with its unit, such as \"{number} B\"");
        return node.wrong(format!("`{}` has no unit", node.name()), remedy);
    }
    let text = node.text()?;
    let shown = shown(text);
    match parse_size(text) {
        Ok(0) => node.wrong(format!("`{}` must be more than nothing", node.name()), ""),
        Ok(bytes) if i64::try_from(bytes).is_ok() => Some(bytes),
        Ok(_) | Err(Quantity::Huge) => node.wrong(format!("\"{shown}\" is too large"), ""),
        Err(Quantity::Unit) => node.wrong(
            format!("\"{shown}\" has an unknown unit"),
            "the units are B, KiB, MiB, GiB and TiB",
        ),
        Err(Quantity::Malformed) => node.wrong(
            format!("\"{shown}\" is not a size"),
            "write a whole number and its unit: B, KiB, MiB, GiB or TiB, such as \"512 KiB\"",
        ),
    }
}

/// The longest body: a size that memory must hold as often as there are callbacks in flight.
pub(super) fn body_size(node: &Node<'_>) -> Option<usize> {
    const BODY_BYTES_MAX: u64 = 1 << 30;

    let bytes = size(node)?;
    if bytes > BODY_BYTES_MAX {
        return node
            .wrong("a body of this size would be held in memory", "write at most \"1 GiB\"");
    }
    usize::try_from(bytes).ok()
}

/// A whole number within the limits of its key.
pub(super) fn count(node: &Node<'_>) -> Option<u32> {
    let DeValue::Integer(number) = node.value else { return node.mistyped() };
    let Kind::Count(from, to) = node.kind else { return node.mistyped() };
    match i64::from_str_radix(number.as_str(), number.radix()).ok().map(u32::try_from) {
        Some(Ok(number)) if (*from..=*to).contains(&number) => Some(number),
        _ => node.wrong(
            format!("`{}` cannot be {number}", node.name()),
            format!("write {}", node.kind.expected()),
        ),
    }
}

/// The same as a `usize`.
pub(super) fn count_usize(node: &Node<'_>) -> Option<usize> {
    count(node).and_then(|number| usize::try_from(number).ok())
}

/// A number of at least 1.
pub(super) fn factor(node: &Node<'_>) -> Option<f64> {
    let (shown, number) = match node.value {
        DeValue::Integer(number) => {
            let whole = i32::from_str_radix(number.as_str(), number.radix());
            (number.to_string(), whole.ok().map(f64::from))
        }
        DeValue::Float(number) => (number.to_string(), number.as_str().parse().ok()),
        _ => return node.mistyped(),
    };
    match number.filter(|number| (1.0..=1000.0).contains(number)) {
        Some(number) => Some(number),
        None => node
            .wrong(format!("`{}` cannot be {shown}", node.name()), "write a number from 1 to 1000"),
    }
}

/// `"50/s"`
pub(super) fn rate(node: &Node<'_>) -> Option<Rate> {
    let text = node.text()?;
    let remedy = "write a whole number and s, m or h, such as \"50/s\"";
    match parse_rate(text) {
        Ok(rate) => Some(rate),
        Err(Quantity::Huge) => node.wrong(
            format!("\"{}\" is more than anything can do", shown(text)),
            format!("write at most \"{RATE_MAX}/s\", or no rate at all"),
        ),
        Err(Quantity::Unit | Quantity::Malformed) => {
            node.wrong(format!("\"{}\" is not a rate", shown(text)), remedy)
        }
    }
}

fn parse_rate(text: &str) -> Result<Rate, Quantity> {
    let (count, unit) = text.split_once('/').ok_or(Quantity::Malformed)?;
    let (count, unit) = (count.trim_end_matches(' '), unit.trim_start_matches(' '));
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Quantity::Malformed);
    }
    let per = match unit {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_mins(1),
        "h" => Duration::from_hours(1),
        _ => return Err(Quantity::Unit),
    };
    match count.parse() {
        Ok(0) => Err(Quantity::Malformed),
        Ok(attempts) if u64::from(attempts) <= RATE_MAX * per.as_secs() => {
            Ok(Rate { attempts, per })
        }
        Ok(_) | Err(_) => Err(Quantity::Huge),
    }
}

/// Attempts a second: more than a relay makes.
const RATE_MAX: u64 = 100_000;

/// `true` or `false`.
pub(super) fn flag(node: &Node<'_>) -> Option<bool> {
    match node.value {
        DeValue::Boolean(flag) => Some(*flag),
        _ => node.mistyped(),
    }
}

/// `"127.0.0.1:8080"`
pub(super) fn address(node: &Node<'_>) -> Option<SocketAddr> {
    let text = node.text()?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let remedy = match text.rsplit_once(':') {
        _ if text.parse::<IpAddr>().is_ok() => "add a port, such as \"127.0.0.1:8080\"",
        Some(("localhost", _)) => "write \"127.0.0.1\" for localhost",
        Some(("" | "*", _)) => "write \"0.0.0.0\" for every IPv4 address or \"[::]\" for all",
        _ => "write an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"",
    };
    node.wrong(format!("\"{}\" is not an address and port", shown(text)), remedy)
}

/// `["10.0.0.0/8", "203.0.113.7"]`
pub(super) fn networks(node: &Node<'_>) -> Option<Vec<IpNet>> {
    list(node, |node| {
        let text = node.text()?;
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        match network {
            Ok(network) => Some(network.trunc()),
            Err(_) => node.wrong(
                format!("\"{}\" is not an IP network", shown(text)),
                "write an address or a network, such as \"203.0.113.0/24\"",
            ),
        }
    })
}

/// A path of the file system; it starts at the current directory unless it is absolute.
pub(super) fn path(node: &Node<'_>) -> Option<PathBuf> {
    let text = node.text()?;
    match text {
        "" => node.wrong(format!("`{}` is empty", node.name()), "write a path"),
        _ if text.contains('\0') => node.wrong("a path cannot hold a NUL character", ""),
        _ => Some(PathBuf::from(text)),
    }
}

/// Text that is not empty.
pub(super) fn text(node: &Node<'_>) -> Option<String> {
    match node.text()? {
        "" => node.wrong(format!("`{}` is empty", node.name()), ""),
        text => Some(text.to_owned()),
    }
}

/// A word of its key's list.
pub(super) fn word(node: &Node<'_>) -> Option<&'static str> {
    word_of(node, node.name())
}

/// The same where the key is the operator's own and says nothing of what its value is.
pub(super) fn word_of(node: &Node<'_>, what: &str) -> Option<&'static str> {
    let Kind::Word(words) = node.kind else { return node.mistyped() };
    let text = node.text()?;
    if let Some(word) = words.now.iter().find(|word| **word == text) {
        return Some(word);
    }
    node.unknown_word(what, text, words.now)
}

/// A method of its key's list.
pub(super) fn method(node: &Node<'_>) -> Option<Method> {
    let word = word(node)?;
    Method::from_bytes(word.as_bytes()).ok()
}

/// The name of a header.
pub(super) fn header(node: &Node<'_>) -> Option<HeaderName> {
    let text = node.text()?;
    match text.parse() {
        Ok(name) => Some(name),
        Err(_) => node.wrong(format!("\"{}\" is not the name of a header", shown(text)), ""),
    }
}

/// One header, or every spelling of it.
pub(super) fn headers(node: &Node<'_>) -> Option<Vec<HeaderName>> {
    match node.value {
        DeValue::Array(_) => {
            let names = some(node, header)?;
            for (at, name) in names.iter().enumerate() {
                if names.iter().take(at).any(|other| other == name) {
                    return node.wrong(
                        format!("\"{name}\" is there twice, and every request would have two"),
                        "keep one of them; case makes no difference",
                    );
                }
            }
            Some(names)
        }
        DeValue::String(_) => header(node).map(|name| vec![name]),
        _ => node.mistyped(),
    }
}

/// A place in a body.
pub(super) fn place(node: &Node<'_>) -> Option<Place> {
    let written = text(node)?;
    if written.matches('[').count() != written.matches(']').count() && !written.starts_with('/') {
        node.reading.warn(
            &node.spot(),
            format!("\"{}\" has a bracket without its other", shown(&written)),
            "write customer[name], or a JSON pointer: /customer/name",
        );
    }
    match Place::read(&written) {
        Ok(place) => Some(place),
        Err(error) => node.wrong(
            format!("\"{}\" is no place in a body: {error}", shown(&written)),
            "write a form key such as customer[name], or a JSON pointer: /customer/name",
        ),
    }
}

/// One of the twelve statuses.
pub(super) fn status(node: &Node<'_>) -> Option<Status> {
    let text = node.text()?;
    Status::from_word(text).or_else(|| {
        let words: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
        node.unknown_word("status", text, &words)
    })
}

/// 200 or 202.
pub(super) fn ack(node: &Node<'_>) -> Option<StatusCode> {
    match code_number(node)? {
        200 => Some(StatusCode::OK),
        202 => Some(StatusCode::ACCEPTED),
        other => node.wrong(
            format!("`{}` cannot be {other}", node.name()),
            "write 200 or 202; providers take nothing else for certain",
        ),
    }
}

/// A status code that ends an attempt.
pub(super) fn code(node: &Node<'_>) -> Option<StatusCode> {
    let number = final_code(node)?;
    StatusCode::from_u16(number).ok()
}

/// `200` or `"2xx"`.
pub(super) fn code_range(node: &Node<'_>) -> Option<StatusRange> {
    let DeValue::String(text) = node.value else {
        let code = final_code(node)?;
        return Some(StatusRange { from: code, to: code });
    };
    match text.as_ref() {
        "2xx" => Some(StatusRange { from: 200, to: 299 }),
        "3xx" => Some(StatusRange { from: 300, to: 399 }),
        "4xx" => Some(StatusRange { from: 400, to: 499 }),
        "5xx" => Some(StatusRange { from: 500, to: 599 }),
        other => node.wrong(
            format!("\"{}\" is not a class of status codes", shown(other)),
            "write a code such as 200 or a class such as \"2xx\"",
        ),
    }
}

/// A name of the IANA time zone database.
pub(super) fn zone(node: &Node<'_>) -> Option<TimeZone> {
    let text = node.text()?;
    if let Ok(zone) = TimeZone::get(text) {
        return Some(zone);
    }
    let known: Vec<String> =
        jiff::tz::db().available().map(|zone| zone.as_str().to_owned()).collect();
    let remedy = match nearest(text, known.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None if known.is_empty() => "this machine has no time zone database: install tzdata".into(),
        None => "write a name of the IANA database, such as \"Australia/Brisbane\"".into(),
    };
    node.wrong(format!("unknown time zone \"{}\"", shown(text)), remedy)
}

/// Two capital letters.
pub(super) fn country(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let known = |text: &str| text.parse::<phonenumber::country::Id>().is_ok();
    let remedy = match text.to_ascii_uppercase() {
        _ if known(text) => return Some(text.to_owned()),
        upper if known(&upper) => format!("write \"{upper}\""),
        _ => "write two capital letters, such as \"AU\"".into(),
    };
    node.wrong(format!("unknown country \"{}\"", shown(text)), remedy)
}

/// The path of a URL, to be compared with a request's byte by byte.
pub(super) fn url_path(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let unreserved = |char: char| char.is_ascii_alphanumeric() || "-._~".contains(char);
    let segment = |segment: &str| {
        !segment.is_empty() && !matches!(segment, "." | "..") && segment.chars().all(unreserved)
    };
    match text.strip_prefix('/') {
        Some(rest) if rest.split('/').all(segment) => Some(text.to_owned()),
        Some(_) => node.wrong(
            format!("\"{}\" is not a plain path", shown(text)),
            "use letters, digits and -._~ between single slashes, none at the end",
        ),
        None => node.wrong("the path of a URL begins with a slash", "add the slash"),
    }
}

/// Each element of a list, all of them read even when one is wrong.
pub(super) fn list<T>(node: &Node<'_>, read: impl Fn(&Node<'_>) -> Option<T>) -> Option<Vec<T>> {
    let elements = node.elements()?;
    let count = elements.len();
    let values: Vec<T> = elements.iter().filter_map(read).collect();
    (values.len() == count).then_some(values)
}

/// The same of a list that must hold something.
pub(super) fn some<T>(node: &Node<'_>, read: impl Fn(&Node<'_>) -> Option<T>) -> Option<Vec<T>> {
    let values = list(node, read)?;
    match values.len() {
        0 => node.wrong(format!("`{}` is empty", node.name()), "name at least one"),
        _ => Some(values),
    }
}

fn final_code(node: &Node<'_>) -> Option<u16> {
    match code_number(node)? {
        number @ 200..=599 => Some(number),
        number => node.wrong(
            format!("{number} is not the status of an answer"),
            "write a code from 200 to 599",
        ),
    }
}

fn code_number(node: &Node<'_>) -> Option<u16> {
    let DeValue::Integer(number) = node.value else { return node.mistyped() };
    match u16::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) => Some(number),
        Err(_) => node.wrong(
            format!("{number} is not a status code"),
            format!("write {}", node.kind.expected()),
        ),
    }
}

fn parse_duration(text: &str) -> Result<Duration, Quantity> {
    let (number, unit) = parse_quantity(text)?;
    let of =
        |millis: u64| number.checked_mul(millis).map(Duration::from_millis).ok_or(Quantity::Huge);
    match unit {
        "ms" => of(1),
        "s" => of(1000),
        "m" => of(60 * 1000),
        "h" => of(60 * 60 * 1000),
        "d" => of(24 * 60 * 60 * 1000),
        _ => Err(Quantity::Unit),
    }
}

fn parse_size(text: &str) -> Result<u64, Quantity> {
    let (number, unit) = parse_quantity(text)?;
    let of = |bytes: u64| number.checked_mul(bytes).ok_or(Quantity::Huge);
    match unit {
        "B" => of(1),
        "KiB" => of(1 << 10),
        "MiB" => of(1 << 20),
        "GiB" => of(1 << 30),
        "TiB" => of(1 << 40),
        _ => Err(Quantity::Unit),
    }
}

/// A whole number and a unit, with or without a space between.
fn parse_quantity(text: &str) -> Result<(u64, &str), Quantity> {
    let end = text.find(|char: char| !char.is_ascii_digit()).ok_or(Quantity::Malformed)?;
    let (number, unit) = text.split_at_checked(end).ok_or(Quantity::Malformed)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    if number.is_empty() || !unit.chars().all(|char| char.is_ascii_alphabetic()) {
        return Err(Quantity::Malformed);
    }
    Ok((number.parse().map_err(|_| Quantity::Huge)?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_whole_number_and_a_unit_of_time() {
        let rate = |attempts, per| Ok(Rate { attempts, per });
        assert_eq!(parse_rate("50/s"), rate(50, Duration::from_secs(1)));
        assert_eq!(parse_rate("100 / m"), rate(100, Duration::from_mins(1)));
        assert_eq!(parse_rate("1/h"), rate(1, Duration::from_hours(1)));
        for (text, why) in [
            ("", Quantity::Malformed),
            ("50", Quantity::Malformed),
            ("0/s", Quantity::Malformed),
            ("-1/s", Quantity::Malformed),
            ("1.5/s", Quantity::Malformed),
            ("/s", Quantity::Malformed),
            ("50/d", Quantity::Unit),
            ("50/", Quantity::Unit),
            ("100001/s", Quantity::Huge),
            ("99999999999/h", Quantity::Huge),
        ] {
            assert_eq!(parse_rate(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn durations_and_sizes_are_whole_numbers_with_a_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("15 s"), Ok(Duration::from_secs(15)));
        assert_eq!(parse_duration("3d"), Ok(Duration::from_hours(72)));
        assert_eq!(parse_size("1 MiB"), Ok(1_048_576));
        assert_eq!(parse_size("10GiB"), Ok(10_737_418_240));
        for (text, why) in [
            ("", Quantity::Malformed),
            ("15", Quantity::Malformed),
            ("s", Quantity::Malformed),
            ("1.5h", Quantity::Malformed),
            ("-1s", Quantity::Malformed),
            ("1h30m", Quantity::Malformed),
            ("1  s", Quantity::Malformed),
            ("1 MB", Quantity::Unit),
            ("1ä", Quantity::Malformed),
            ("99999999999999999999s", Quantity::Huge),
            ("999999999999999999d", Quantity::Huge),
        ] {
            assert_eq!(parse_duration(text), Err(why), "{text:?}");
        }
    }
}
