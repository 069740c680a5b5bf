//! The books on resources: in one form inside the master, in another for whoever is told of them.
//!
//! ```text
//!   from outside ── normalized ──► inside: no `role`, no `allocation_info`, reservations as a list
//!                                    │ plus, minus, contains, share
//!   to a slave     ◄── allocated ────┤ with the role that it was allocated to
//!   to a framework ◄── shown ────────┘ in the old form (`role`) unless it can RESERVATION_REFINEMENT
//! ```
//!
//! Scalars are reckoned in thousandths, as Mesos does (`values.cpp`), so that 0.1 + 0.2 is 0.3.

use std::fmt::Write;

use crate::messages::mesos::resource::{AllocationInfo, ReservationInfo, reservation_info};
use crate::messages::mesos::value::{self, Type};
use crate::messages::mesos::{ExecutorInfo, Resource, Task};

/// Less CPU is not offered alone (`MIN_CPUS`).
const MIN_CPUS: f64 = 0.01;
/// Less memory in MiB is not offered alone (`MIN_MEM`).
const MIN_MEM: f64 = 32.0;

/// The form in which the master keeps resources; order and number stay.
pub(super) fn normalized(resources: &[Resource]) -> Vec<Resource> {
    resources.iter().cloned().map(normalize).collect()
}

fn normalize(mut resource: Resource) -> Resource {
    let role = resource.role.take();
    let dynamic = resource.reservation.take();
    resource.allocation_info = None;
    if let Some(role) = role.filter(|role| role != "*" && resource.reservations.is_empty()) {
        let kind = if dynamic.is_some() { reservation_info::Type::Dynamic } else { reservation_info::Type::Static };
        let reservation =
            ReservationInfo { r#type: Some(kind as i32), role: Some(role), ..dynamic.unwrap_or_default() };
        resource.reservations.push(reservation);
    }
    resource
}

/// A slave's task, in the master's form.
pub(super) fn normalized_task(task: Task) -> Task {
    Task { resources: normalized(&task.resources), ..task }
}

/// A slave's executor, in the master's form.
pub(super) fn normalized_executor(executor: ExecutorInfo) -> ExecutorInfo {
    ExecutorInfo { resources: normalized(&executor.resources), ..executor }
}

/// For a slave: allocated to a role; in the old form for a slave that does not know the new one.
pub(super) fn allocated(resources: &[Resource], role: &str, refined: bool) -> Vec<Resource> {
    shown(resources, Some(&AllocationInfo { role: Some(role.into()) }), refined)
}

/// For a framework: with the allocation if it can have several roles, in the old form if it does not know the new one.
pub(super) fn shown(resources: &[Resource], allocation: Option<&AllocationInfo>, refined: bool) -> Vec<Resource> {
    let show = |resource: &Resource| {
        let mut resource = Resource { allocation_info: allocation.cloned(), ..resource.clone() };
        if !refined {
            match resource.reservations.pop() {
                None => resource.role = Some("*".into()),
                Some(reservation) => {
                    resource.role = reservation.role.clone();
                    let dynamic = reservation.r#type() == reservation_info::Type::Dynamic;
                    resource.reservation = dynamic.then(|| ReservationInfo { role: None, r#type: None, ..reservation });
                }
            }
        }
        resource
    };
    resources.iter().map(show).collect()
}

/// What a role may be offered: what is not reserved, and what is reserved to it.
pub(super) fn share(resources: &[Resource], role: &str) -> Vec<Resource> {
    let open = |resource: &&Resource| resource.reservations.last().is_none_or(|reservation| reservation.role() == role);
    resources.iter().filter(open).cloned().collect()
}

/// Whether an offer of these would be of use to anybody (Mesos' `allocatable`).
pub(super) fn is_worth_offering(resources: &[Resource]) -> bool {
    total(resources, "cpus") >= MIN_CPUS || total(resources, "mem") >= MIN_MEM
}

/// All that there is of a scalar.
pub(super) fn total(resources: &[Resource], name: &str) -> f64 {
    let scalars = resources.iter().filter(|resource| resource.name == name);
    scalars.map(thousandths).fold(0, i64::saturating_add) as f64 / 1000.0
}

/// Whether these are resources at all.
///
/// # Errors
/// What is wrong with the first that is not.
pub(super) fn check(resources: &[Resource]) -> Result<(), String> {
    resources.iter().try_for_each(|resource| {
        let name = &resource.name;
        if name.is_empty() {
            return Err("a resource has no name".into());
        }
        match (resource.r#type(), &resource.scalar, &resource.ranges, &resource.set) {
            (Type::Scalar, Some(scalar), None, None) if scalar.value.is_finite() && scalar.value >= 0.0 => Ok(()),
            (Type::Scalar, Some(scalar), None, None) => Err(format!("'{name}' must not be {}", scalar.value)),
            (Type::Ranges, None, Some(ranges), None) if ranges.range.iter().all(|range| range.begin <= range.end) => Ok(()),
            (Type::Ranges, None, Some(_), None) => Err(format!("a range of '{name}' ends before it begins")),
            (Type::Set, None, None, Some(_)) => Ok(()),
            _ => Err(format!("'{name}' does not have the one value that its type asks for")),
        }
    })
}

/// The sum; what is of the same kind is one resource in it.
pub(super) fn plus(mut all: Vec<Resource>, more: &[Resource]) -> Vec<Resource> {
    for resource in more {
        match all.iter_mut().find(|one| is_same_kind(one, resource)) {
            Some(one) => add(one, resource),
            None => all.push(resource.clone()),
        }
    }
    all.retain(|resource| !is_nothing(resource));
    all
}

/// The difference; what is not there to be taken is not taken.
pub(super) fn minus(all: Vec<Resource>, less: &[Resource]) -> Vec<Resource> {
    let mut all = plus(Vec::new(), &all);
    for resource in less {
        if let Some(one) = all.iter_mut().find(|one| is_same_kind(one, resource)) {
            subtract(one, resource);
        }
    }
    all.retain(|resource| !is_nothing(resource));
    all
}

/// Whether all of `part` can be taken from `all`.
pub(super) fn contains(all: &[Resource], part: &[Resource]) -> bool {
    // Two of the same ports in the sum would be one: they cannot be taken twice.
    let all = plus(Vec::new(), all);
    let mut left = all.clone();
    part.iter().filter(|resource| !is_nothing(resource)).all(|resource| {
        let Some(one) = left.iter_mut().find(|one| is_same_kind(one, resource)) else { return false };
        let enough = has(one, resource);
        subtract(one, resource);
        enough
    })
}

fn is_same_kind(a: &Resource, b: &Resource) -> bool {
    let kind = |resource: &Resource| Resource { scalar: None, ranges: None, set: None, ..resource.clone() };
    kind(a) == kind(b)
}

fn is_nothing(resource: &Resource) -> bool {
    match resource.r#type() {
        Type::Scalar => thousandths(resource) <= 0,
        Type::Ranges => spans(resource).is_empty(),
        Type::Set | Type::Text => items(resource).is_empty(),
    }
}

fn add(one: &mut Resource, other: &Resource) {
    match one.r#type() {
        Type::Scalar => set_thousandths(one, thousandths(one).saturating_add(thousandths(other))),
        Type::Ranges => set_spans(one, joined(spans(one).into_iter().chain(spans(other)).collect())),
        Type::Set | Type::Text => {
            let added: Vec<String> = items(other).iter().filter(|item| !items(one).contains(item)).cloned().collect();
            one.set.get_or_insert_default().item.extend(added);
        }
    }
}

fn subtract(one: &mut Resource, other: &Resource) {
    match one.r#type() {
        Type::Scalar => set_thousandths(one, thousandths(one).saturating_sub(thousandths(other))),
        Type::Ranges => set_spans(one, spans(other).into_iter().fold(spans(one), cut)),
        Type::Set | Type::Text => {
            let taken = items(other).to_vec();
            one.set.get_or_insert_default().item.retain(|item| !taken.contains(item));
        }
    }
}

fn has(one: &Resource, part: &Resource) -> bool {
    match one.r#type() {
        Type::Scalar => thousandths(one) >= thousandths(part),
        Type::Ranges => {
            let own = spans(one);
            spans(part).iter().all(|(begin, end)| own.iter().any(|(first, last)| first <= begin && end <= last))
        }
        Type::Set | Type::Text => items(part).iter().all(|item| items(one).contains(item)),
    }
}

fn thousandths(resource: &Resource) -> i64 {
    resource.scalar.as_ref().map_or(0, |scalar| (scalar.value * 1000.0).round() as i64)
}

fn set_thousandths(resource: &mut Resource, thousandths: i64) {
    resource.scalar = Some(value::Scalar { value: thousandths as f64 / 1000.0 });
}

type Span = (u64, u64);

fn spans(resource: &Resource) -> Vec<Span> {
    let ranges = resource.ranges.iter().flat_map(|ranges| &ranges.range);
    joined(ranges.map(|range| (range.begin, range.end)).filter(|(begin, end)| begin <= end).collect())
}

fn set_spans(resource: &mut Resource, spans: Vec<Span>) {
    let range = spans.into_iter().map(|(begin, end)| value::Range { begin, end }).collect();
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
        [(first < begin).then(|| (first, begin - 1)), (end < last).then(|| (end + 1, last))]
    };
    spans.into_iter().flat_map(pieces).flatten().collect()
}

fn items(resource: &Resource) -> &[String] {
    resource.set.as_ref().map_or(&[], |set| &set.item)
}

/// For people, in Mesos' notation: `cpus:2; ports:[31000-32000]`.
pub(super) fn text(resources: &[Resource]) -> String {
    let mut text = String::new();
    for resource in resources {
        let separator = if text.is_empty() { "" } else { "; " };
        let role = resource.reservations.last().map(|one| format!("({})", one.role())).unwrap_or_default();
        let value = match resource.r#type() {
            Type::Scalar => (thousandths(resource) as f64 / 1000.0).to_string(),
            Type::Ranges => {
                let spans: Vec<String> = spans(resource).iter().map(|(begin, end)| format!("{begin}-{end}")).collect();
                format!("[{}]", spans.join(", "))
            }
            Type::Set | Type::Text => format!("{{{}}}", items(resource).join(", ")),
        };
        // Writing to a String does not fail.
        let _ = write!(text, "{separator}{}{role}:{value}", resource.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(name: &str, value: f64) -> Resource {
        Resource {
            name: name.into(),
            r#type: Type::Scalar as i32,
            scalar: Some(value::Scalar { value }),
            ..Default::default()
        }
    }

    fn ports(ranges: &[Span]) -> Resource {
        let mut resource = Resource { name: "ports".into(), r#type: Type::Ranges as i32, ..Default::default() };
        set_spans(&mut resource, ranges.to_vec());
        resource
    }

    #[test]
    fn three_tenths_are_a_tenth_and_two_tenths() {
        let sum = plus(vec![scalar("cpus", 0.1)], &[scalar("cpus", 0.2)]);
        assert_eq!(text(&sum), "cpus:0.3");
        assert!(minus(sum, &[scalar("cpus", 0.3)]).is_empty());
    }

    #[test]
    fn ports_are_cut_out_and_put_back() {
        let all = vec![ports(&[(1, 10)])];
        let left = minus(all.clone(), &[ports(&[(3, 4), (10, 10)])]);
        assert_eq!(text(&left), "ports:[1-2, 5-9]");
        assert_eq!(plus(left, &[ports(&[(3, 4), (10, 10)])]), all);
    }

    #[test]
    fn the_same_port_cannot_be_taken_twice() {
        assert!(contains(&[ports(&[(1, 10)])], &[ports(&[(2, 2)]), ports(&[(3, 3)])]));
        assert!(!contains(&[ports(&[(1, 10)])], &[ports(&[(2, 2)]), ports(&[(2, 2)])]));
        assert!(!contains(&[scalar("cpus", 1.0)], &[scalar("cpus", 0.6), scalar("cpus", 0.6)]));
        assert!(!contains(&[scalar("cpus", 1.0)], &[scalar("gpus", 1.0)]));
    }

    #[test]
    fn a_reservation_survives_the_old_form() {
        let old = Resource { role: Some("web".into()), ..scalar("cpus", 1.0) };
        let inside = normalized(std::slice::from_ref(&old));
        assert_eq!(inside[0].reservations[0].role(), "web");
        assert_eq!(shown(&inside, None, false), [old]);
        assert!(share(&inside, "*").is_empty());
        assert_eq!(share(&inside, "web"), inside);
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        assert!(check(&[scalar("cpus", f64::NAN)]).is_err());
        assert!(check(&[scalar("cpus", -1.0)]).is_err());
        assert!(check(&[Resource { scalar: None, ..scalar("cpus", 1.0) }]).is_err());
        assert!(check(&[ports(&[(2, 1)])]).is_err());
        assert!(check(&[scalar("cpus", 0.1), ports(&[(1, 2)])]).is_ok());
    }
}
