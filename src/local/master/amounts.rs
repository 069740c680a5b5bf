//! Arithmetic on one resource: amounts, ranges, sets. Scalars are reckoned in thousandths, as Mesos does (`values.cpp`), so that
//! 0.1 + 0.2 is 0.3.

use crate::messages::mesos::Resource;
use crate::messages::mesos::value::{self, Type};

pub(super) fn is_same_kind(a: &Resource, b: &Resource) -> bool {
    let kind = |resource: &Resource| Resource {
        scalar: None,
        ranges: None,
        set: None,
        ..resource.clone()
    };
    kind(a) == kind(b)
}

pub(super) fn is_nothing(resource: &Resource) -> bool {
    match resource.r#type() {
        Type::Scalar => thousandths(resource) <= 0,
        Type::Ranges => spans(resource).is_empty(),
        Type::Set | Type::Text => items(resource).is_empty(),
    }
}

pub(super) fn add(one: &mut Resource, other: &Resource) {
    match one.r#type() {
        Type::Scalar => set_thousandths(one, thousandths(one).saturating_add(thousandths(other))),
        Type::Ranges => set_spans(
            one,
            joined(spans(one).into_iter().chain(spans(other)).collect()),
        ),
        Type::Set | Type::Text => {
            let added: Vec<String> = items(other)
                .iter()
                .filter(|item| !items(one).contains(item))
                .cloned()
                .collect();
            one.set.get_or_insert_default().item.extend(added);
        }
    }
}

pub(super) fn subtract(one: &mut Resource, other: &Resource) {
    match one.r#type() {
        Type::Scalar => set_thousandths(one, thousandths(one).saturating_sub(thousandths(other))),
        Type::Ranges => set_spans(one, spans(other).into_iter().fold(spans(one), cut)),
        Type::Set | Type::Text => {
            let taken = items(other).to_vec();
            one.set
                .get_or_insert_default()
                .item
                .retain(|item| !taken.contains(item));
        }
    }
}

pub(super) fn has(one: &Resource, part: &Resource) -> bool {
    match one.r#type() {
        Type::Scalar => thousandths(one) >= thousandths(part),
        Type::Ranges => {
            let own = spans(one);
            spans(part).iter().all(|(begin, end)| {
                own.iter()
                    .any(|(first, last)| first <= begin && end <= last)
            })
        }
        Type::Set | Type::Text => items(part).iter().all(|item| items(one).contains(item)),
    }
}

pub(super) fn thousandths(resource: &Resource) -> i64 {
    resource
        .scalar
        .as_ref()
        .map_or(0, |scalar| (scalar.value * 1000.0).round() as i64)
}

pub(super) fn set_thousandths(resource: &mut Resource, thousandths: i64) {
    resource.scalar = Some(value::Scalar {
        value: thousandths as f64 / 1000.0,
    });
}

/// A range: its first and its last.
pub(super) type Span = (u64, u64);

pub(super) fn spans(resource: &Resource) -> Vec<Span> {
    let ranges = resource.ranges.iter().flat_map(|ranges| &ranges.range);
    joined(
        ranges
            .map(|range| (range.begin, range.end))
            .filter(|(begin, end)| begin <= end)
            .collect(),
    )
}

pub(super) fn set_spans(resource: &mut Resource, spans: Vec<Span>) {
    let range = spans
        .into_iter()
        .map(|(begin, end)| value::Range { begin, end })
        .collect();
    resource.ranges = Some(value::Ranges { range });
}

/// In order, and those that touch made one.
fn joined(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut all: Vec<Span> = Vec::with_capacity(spans.len());
    for (begin, end) in spans {
        match all.last_mut() {
            Some((_, last)) if begin <= last.saturating_add(1) => *last = end.max(*last),
            _ => all.push((begin, end)),
        }
    }
    all
}

fn cut(spans: Vec<Span>, (begin, end): Span) -> Vec<Span> {
    let pieces = |(first, last): Span| {
        if last < begin || end < first {
            return [Some((first, last)), None];
        }
        [
            (first < begin).then(|| (first, begin - 1)),
            (end < last).then(|| (end + 1, last)),
        ]
    };
    spans.into_iter().flat_map(pieces).flatten().collect()
}

pub(super) fn items(resource: &Resource) -> &[String] {
    resource.set.as_ref().map_or(&[], |set| &set.item)
}
