//! Values as Mesos writes them: durations (`5secs`), sizes (`64MB`), switches, and the names, addresses and paths that
//! flags hold. Each parser says in its error why a text will not do; what would do is the flag's own text
//! ([`super::table::Row::allowed`]).
//!
//! Facts: stout's `duration.hpp` and `bytes.hpp`, `flags/parse.hpp`.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Units of a duration and how many nanoseconds each has, smallest first.
const DURATION_UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("secs", 1_000_000_000),
    ("mins", 60 * 1_000_000_000),
    ("hrs", 3600 * 1_000_000_000),
    ("days", 86_400 * 1_000_000_000),
    ("weeks", 604_800 * 1_000_000_000),
];

/// Units of a size and how many bytes each has, smallest first. They are powers of 1024, as in Mesos.
const BYTE_UNITS: [(&str, u64); 5] = [("B", 1), ("KB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("TB", 1 << 40)];

/// Digits after the point of a duration that are looked at; a nanosecond of a week needs 15.
const MAX_FRACTION_DIGITS: usize = 18;

/// Reads a duration: a number, perhaps with a fraction, and a unit (`ns us ms secs mins hrs days weeks`).
///
/// # Errors
/// Why it is none: negative, no unit, or longer than Mesos can hold (2^63 - 1 nanoseconds, 292 years).
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_number(text)?;
    let factor = unit_factor(&DURATION_UNITS, unit, false)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) {
        return Err(format!("'{number}' is not a number"));
    }
    if fraction.len() > MAX_FRACTION_DIGITS || fraction.contains('.') {
        return Err(format!("'{number}' is not a number of {MAX_FRACTION_DIGITS} decimals or fewer"));
    }
    let too_long = || "longer than 2^63 nanoseconds (292 years)".to_string();
    let whole: u64 = whole.parse().map_err(|_| too_long())?;
    let scale = 10u128.pow(fraction.len() as u32);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().unwrap_or(0) };
    let nanos = u128::from(whole) * u128::from(factor) + fraction * u128::from(factor) / scale;
    match u64::try_from(nanos) {
        Ok(nanos) if nanos <= i64::MAX as u64 => Ok(Duration::from_nanos(nanos)),
        _ => Err(too_long()),
    }
}

/// Writes a duration as Mesos prints it: in the largest unit that it fills, or the next smaller one if only that gives a
/// whole number (`10days`, not `1.42857142857143weeks`).
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let place = DURATION_UNITS.iter().rposition(|(_, factor)| nanos >= u128::from(*factor)).unwrap_or(0);
    let whole = |place: usize| nanos.is_multiple_of(u128::from(DURATION_UNITS[place].1));
    let place = if place > 0 && !whole(place) && whole(place - 1) { place - 1 } else { place };
    let (unit, factor) = DURATION_UNITS[place];
    let factor = u128::from(factor);
    if nanos.is_multiple_of(factor) {
        return format!("{}{unit}", nanos / factor);
    }
    let integer = (nanos / factor).to_string();
    let decimals = 15usize.saturating_sub(integer.len());
    let number = format!("{:.decimals$}", nanos as f64 / factor as f64);
    format!("{}{unit}", number.trim_end_matches('0').trim_end_matches('.'))
}

/// Reads a size in bytes: a whole number and a unit (`B KB MB GB TB`, powers of 1024, in either case).
///
/// # Errors
/// Why it is none: negative, with a fraction (Mesos has none either), no unit, or more than 2^64 - 1 bytes.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split_number(text)?;
    let factor = unit_factor(&BYTE_UNITS, unit, true)?;
    if number.contains('.') {
        return Err("a size has no fraction: take the next smaller unit".to_string());
    }
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| "more than 2^64 bytes".to_string())
}

/// Writes a size as Mesos prints it: in the largest unit that gives a whole number.
pub fn format_bytes(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes.is_multiple_of(*factor) && bytes >= *factor;
    match BYTE_UNITS.iter().rev().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

fn split_number(text: &str) -> Result<(&str, &str), String> {
    if text.starts_with('-') {
        return Err("it must not be negative".to_string());
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    if end == 0 {
        return Err("it does not start with a number".to_string());
    }
    Ok((&text[..end], &text[end..]))
}

fn unit_factor(units: &[(&str, u64)], unit: &str, any_case: bool) -> Result<u64, String> {
    let same = |name: &str| {
        if any_case { name.eq_ignore_ascii_case(unit) } else { name == unit }
    };
    if let Some((_, factor)) = units.iter().find(|(name, _)| same(name)) {
        return Ok(*factor);
    }
    Err(if unit.is_empty() { "it has no unit".to_string() } else { format!("'{unit}' is no unit") })
}

/// Reads a duration within bounds.
pub(super) fn duration(text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration, String> {
    let value = parse_duration(text)?;
    if value < *bounds.start() {
        return Err(format!("shorter than {}", format_duration(*bounds.start())));
    }
    if value > *bounds.end() {
        return Err(format!("longer than {}", format_duration(*bounds.end())));
    }
    Ok(value)
}

/// Reads a size within bounds.
pub(super) fn bytes(text: &str, bounds: RangeInclusive<u64>) -> Result<u64, String> {
    let value = parse_bytes(text)?;
    if value < *bounds.start() {
        return Err(format!("less than {}", format_bytes(*bounds.start())));
    }
    if value > *bounds.end() {
        return Err(format!("more than {}", format_bytes(*bounds.end())));
    }
    Ok(value)
}

/// Reads a switch.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("it is neither true nor false".to_string()),
    }
}

/// Reads a TCP port; 0 has a meaning only where `least` allows it.
pub(super) fn port(text: &str, least: u16) -> Result<u16, String> {
    if !text.bytes().all(|b| b.is_ascii_digit()) || text.is_empty() {
        return Err("not a whole number".to_string());
    }
    match text.parse::<u16>() {
        Ok(port) if port >= least => Ok(port),
        _ => Err(format!("not between {least} and 65535")),
    }
}

/// Reads an IPv4 address: libprocess' PIDs have no other.
pub(super) fn ip(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| {
        if text.contains(':') { "IPv6 is not supported".to_string() } else { "not an IPv4 address".to_string() }
    })
}

/// Checks the name of a host (RFC 1123, and the underscore that real networks have).
pub(super) fn hostname(text: &str) -> Result<String, String> {
    let letters = |label: &str| label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && letters(label) && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.len() > 253 {
        return Err("longer than 253 characters".to_string());
    }
    if !text.split('.').all(label) {
        return Err("not a host's name: labels of letters, digits and hyphens with dots between".to_string());
    }
    Ok(text.to_string())
}

/// Checks an absolute path that says what it means: no `..`, no control characters, not the root itself.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') {
        return Err("it is not absolute: it must begin with '/'".to_string());
    }
    if text.chars().any(char::is_control) {
        return Err("it holds a control character".to_string());
    }
    if text.split('/').any(|part| part == "..") {
        return Err("it holds '..'".to_string());
    }
    let text = text.trim_end_matches('/');
    if text.is_empty() {
        return Err("it must not be '/' itself".to_string());
    }
    Ok(PathBuf::from(text))
}

/// Checks a path that becomes a Unix socket's directory.
pub(super) fn path_at_most(text: &str, most: usize, why: &str) -> Result<PathBuf, String> {
    let path = path(text)?;
    match path.as_os_str().len() {
        length if length > most => Err(format!("it has {length} bytes, more than {most}: {why}")),
        _ => Ok(path),
    }
}

/// Checks a path that libvirt and AppArmor see: virt-aa-helper refuses or misreads anything but plain characters.
pub(super) fn plain_path(text: &str) -> Result<PathBuf, String> {
    let path = path(text)?;
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !"/._-+".contains(*c)) {
        Some(odd) => Err(format!("it holds {odd:?}, which libvirt's security drivers cannot take")),
        None => Ok(path),
    }
}

/// Checks a name that is one path component: a letter or digit, then letters, digits, `.`, `_`, `-`; at most 64.
pub(super) fn name(text: &str) -> Result<String, String> {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    match text.len() {
        1..=64 if first && rest => Ok(text.to_string()),
        _ => Err("not a plain name".to_string()),
    }
}

/// Checks the name of a Unix user, as `useradd` takes it. It must never look like an option to ssh.
pub(super) fn user(text: &str) -> Result<String, String> {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    match text.len() {
        1..=32 if first && rest => Ok(text.to_string()),
        _ => Err("not a user's name".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit_of_mesos() {
        let nanos = |text| parse_duration(text).unwrap().as_nanos();
        assert_eq!(nanos("7ns"), 7);
        assert_eq!(nanos("7us"), 7_000);
        assert_eq!(nanos("7ms"), 7_000_000);
        assert_eq!(nanos("5secs"), 5_000_000_000);
        assert_eq!(nanos("1.5mins"), 90_000_000_000);
        assert_eq!(nanos("0.25hrs"), 900_000_000_000);
        assert_eq!(nanos("1days"), 86_400_000_000_000);
        assert_eq!(nanos("1weeks"), 604_800_000_000_000);
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_reason() {
        for (text, why) in [
            ("5", "no unit"),
            ("5 secs", "' secs' is no unit"),
            ("5seconds", "'seconds' is no unit"),
            ("-5secs", "negative"),
            ("secs", "start with a number"),
            ("", "start with a number"),
            ("1.2.3secs", "not a number"),
            ("1.secs", "not a number"),
            (".5secs", "not a number"),
            ("1e3secs", "'e3secs' is no unit"),
            ("16000weeks", "longer than 2^63"),
            ("99999999999999999999999secs", "longer than 2^63"),
            ("0.1234567890123456789secs", "decimals or fewer"),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn durations_are_written_as_mesos_writes_them() {
        for (nanos, text) in [
            (0, "0ns"),
            (5_000_000_000, "5secs"),
            (90_000_000_000, "90secs"),
            (900_000_000_000, "15mins"),
            (864_000_000_000_000, "10days"),
            (604_800_000_000_000, "1weeks"),
            (60_001_000_000, "1.00001666666667mins"),
            (1_500_000, "1500us"),
        ] {
            assert_eq!(format_duration(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn sizes_are_read_and_written_as_mesos_does() {
        for (text, value) in [("64MB", 64 << 20), ("1kb", 1024), ("0B", 0), ("2TB", 2 << 40), ("1025B", 1025)] {
            assert_eq!(parse_bytes(text), Ok(value));
            assert_eq!(format_bytes(value), text.to_uppercase());
        }
        for (text, why) in [
            ("64", "no unit"),
            ("1.5GB", "no fraction"),
            ("-1MB", "negative"),
            ("MB", "start with a number"),
            ("99999999TB", "more than 2^64"),
            ("64M", "'M' is no unit"),
        ] {
            assert!(parse_bytes(text).unwrap_err().contains(why), "{text:?}");
        }
    }

    #[test]
    fn names_that_could_pass_for_something_else_are_refused() {
        assert!(user("-oProxyCommand=x").is_err());
        assert!(user("ubuntu").is_ok());
        assert!(name("../default").is_err());
        assert!(name(".hidden").is_err());
        assert!(name("debian-13.2").is_ok());
        assert!(hostname("a..b").is_err());
        assert!(hostname("slave-1.example.org").is_ok());
        assert!(hostname(&"x".repeat(64)).is_err());
        assert!(path("var/lib").is_err());
        assert!(path("/").is_err());
        assert!(path("/var/../etc").is_err());
        assert_eq!(path("/var/lib/mesos/"), Ok(PathBuf::from("/var/lib/mesos")));
        assert!(plain_path("/var/lib/a b").is_err());
        assert!(port("65536", 0).is_err());
        assert!(port("+5", 0).is_err());
        assert_eq!(port("0", 0), Ok(0));
        assert!(port("0", 1).is_err());
        assert!(ip("::1").unwrap_err().contains("IPv6"));
    }
}
