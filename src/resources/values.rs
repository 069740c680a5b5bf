//! Values: reading them, and the arithmetic of scalars, ranges and sets.

use crate::messages::mesos::value::{Range, Ranges, Scalar, Set, Type};
use crate::messages::mesos::{Resource, Value, value};

/// A scalar in thousandths, saturated; no number is none.
pub(super) fn to_fixed(value: f64) -> i64 {
    (value * 1000.0).round() as i64
}

/// The scalar of so many thousandths.
pub(super) fn from_fixed(thousandths: i64) -> f64 {
    // The whole part apart, so that only the fraction is rounded.
    (thousandths / 1000) as f64 + (thousandths % 1000) as f64 / 1000.0
}

/// Reads a value and guesses its type, as Mesos does: `[1-3,5-6]` ranges, `{a,b}` a set, a number a scalar, all else text.
/// Spaces mean nothing anywhere.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let text: String = text.chars().filter(|c| *c != ' ').collect();
    if text.is_empty() {
        return Err("there is no value".into());
    }
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or("']' is missing at the end")?;
        return Ok(Value { r#type: Type::Ranges as i32, ranges: Some(ranges(inner)?), ..Value::default() });
    }
    if let Some(inner) = text.strip_prefix('{') {
        let inner = inner.strip_suffix('}').ok_or("'}' is missing at the end")?;
        return Ok(Value { r#type: Type::Set as i32, set: Some(set(inner)?), ..Value::default() });
    }
    if let Some(odd) = text.chars().find(|c| "[]{}()".contains(*c)) {
        return Err(format!("'{odd}' is not expected in it"));
    }
    match number(&text)? {
        Some(value) => Ok(Value { r#type: Type::Scalar as i32, scalar: Some(Scalar { value }), ..Value::default() }),
        None => Ok(Value { r#type: Type::Text as i32, text: Some(value::Text { value: text }), ..Value::default() }),
    }
}

/// `None`: text. A number may be hexadecimal; a negative or infinite one is text to Mesos.
fn number(text: &str) -> Result<Option<f64>, String> {
    if let Some(digits) = text.strip_prefix("0x") {
        let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
        return Ok(u64::from_str_radix(digits, 16).ok().filter(|_| plain).map(|value| value as f64));
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_subnormal() => Err("the number is too small to be kept".into()),
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(Some(value.abs())),
        Ok(_) | Err(_) => Ok(None),
    }
}

fn ranges(inner: &str) -> Result<Ranges, String> {
    let mut range = Vec::new();
    for part in inner.split(',').filter(|part| !part.is_empty()) {
        let bounds = part.split_once('-').and_then(|(begin, end)| Some((whole(begin)?, whole(end)?)));
        let Some((begin, end)) = bounds else {
            return Err(format!("'{part}' is no range: it is written begin-end, both whole numbers"));
        };
        if begin > end {
            return Err(format!("the range {part} ends before it begins"));
        }
        range.push(Range { begin, end });
    }
    Ok(Ranges { range: coalesce(range) })
}

fn whole(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn set(inner: &str) -> Result<Set, String> {
    let item: Vec<_> = inner.split(',').filter(|item| !item.is_empty()).map(str::to_string).collect();
    if let Some(odd) = item.iter().flat_map(|item| item.chars()).find(|c| "[]{}()".contains(*c)) {
        return Err(format!("'{odd}' is not expected in a set"));
    }
    let mut sorted: Vec<_> = item.iter().collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("'{}' is in the set twice", pair[0])),
        None => Ok(Set { item }),
    }
}

/// Sorts ranges and joins those that overlap or touch.
pub(super) fn coalesce(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable_by_key(|range| (range.begin, range.end));
    let mut joined: Vec<Range> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.begin <= last.end.saturating_add(1) => last.end = last.end.max(range.end),
            Some(_) | None => joined.push(range),
        }
    }
    joined
}

fn ranges_of(resource: &Resource) -> Vec<Range> {
    coalesce(resource.ranges.as_ref().map(|ranges| ranges.range.clone()).unwrap_or_default())
}

fn items_of(resource: &Resource) -> &[String] {
    resource.set.as_ref().map_or(&[], |set| &set.item)
}

fn fixed_of(resource: &Resource) -> i64 {
    resource.scalar.map_or(0, |scalar| to_fixed(scalar.value))
}

/// Adds the right's value; the types are equal.
pub(super) fn add(left: &mut Resource, right: &Resource) {
    match left.r#type() {
        Type::Scalar => {
            let sum = fixed_of(left).saturating_add(fixed_of(right));
            left.scalar = Some(Scalar { value: from_fixed(sum) });
        }
        Type::Ranges => {
            let all = [ranges_of(left), ranges_of(right)].concat();
            left.ranges = Some(Ranges { range: coalesce(all) });
        }
        Type::Set => {
            let mut item = items_of(left).to_vec();
            item.extend(items_of(right).iter().filter(|new| !items_of(left).contains(new)).cloned());
            left.set = Some(Set { item });
        }
        Type::Text => {}
    }
}

/// Takes the right's value away, as far as it is there.
pub(super) fn subtract(left: &mut Resource, right: &Resource) {
    match left.r#type() {
        Type::Scalar => {
            let rest = fixed_of(left).saturating_sub(fixed_of(right)).max(0);
            left.scalar = Some(Scalar { value: from_fixed(rest) });
        }
        Type::Ranges => left.ranges = Some(Ranges { range: difference(ranges_of(left), &ranges_of(right)) }),
        Type::Set => {
            let item = items_of(left).iter().filter(|item| !items_of(right).contains(item)).cloned().collect();
            left.set = Some(Set { item });
        }
        Type::Text => {}
    }
}

/// Both coalesced.
fn difference(left: Vec<Range>, right: &[Range]) -> Vec<Range> {
    let mut rest = Vec::new();
    let mut first = 0;
    for Range { mut begin, end } in left {
        while right.get(first).is_some_and(|hole| hole.end < begin) {
            first += 1;
        }
        let mut open = true;
        for hole in right[first..].iter().take_while(|hole| hole.begin <= end) {
            if hole.begin > begin {
                rest.push(Range { begin, end: hole.begin - 1 });
            }
            if hole.end >= end {
                open = false;
                break;
            }
            begin = hole.end + 1;
        }
        if open {
            rest.push(Range { begin, end });
        }
    }
    rest
}

/// Whether the left's value is contained in the right's; the types are equal.
pub(super) fn at_most(left: &Resource, right: &Resource) -> bool {
    match left.r#type() {
        Type::Scalar => fixed_of(left) <= fixed_of(right),
        Type::Ranges => difference(ranges_of(left), &ranges_of(right)).is_empty(),
        Type::Set => items_of(left).iter().all(|item| items_of(right).contains(item)),
        Type::Text => false,
    }
}

/// Nothing is there.
pub(super) fn is_empty(resource: &Resource) -> bool {
    match resource.r#type() {
        Type::Scalar => fixed_of(resource) <= 0,
        Type::Ranges => ranges_of(resource).is_empty(),
        Type::Set => items_of(resource).is_empty(),
        Type::Text => true,
    }
}
