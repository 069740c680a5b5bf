//! The books on resources: in one form inside the master, in another for whoever is told of them. The arithmetic is that of
//! [`crate::resources`].
//!
//! ```text
//!   from outside ── normalized ──► inside: no `role`, no `allocation_info`, reservations as a list
//!                                    │ plus, minus, contains, share
//!   to a slave     ◄── allocated ────┤ with the role that it was allocated to
//!   to a framework ◄── shown ────────┘ in the old form (`role`) unless it can RESERVATION_REFINEMENT
//! ```

use crate::messages::mesos::resource::AllocationInfo;
use crate::messages::mesos::{ExecutorInfo, Resource, Task};
use crate::resources::{self, ResourceError, Resources};

/// Less CPU is not offered alone (`MIN_CPUS`).
const MIN_CPUS: f64 = 0.01;
/// Less memory in MiB is not offered alone (`MIN_MEM`).
const MIN_MEM: f64 = 32.0;

/// The form in which the master keeps resources; order and number stay.
pub(super) fn normalized(list: &[Resource]) -> Vec<Resource> {
    let normalize = |resource: &Resource| {
        let mut resource = Resource { allocation_info: None, ..resource.clone() };
        resources::upgrade(&mut resource);
        resource
    };
    list.iter().map(normalize).collect()
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
pub(super) fn allocated(list: &[Resource], role: &str, refined: bool) -> Vec<Resource> {
    let allocation = AllocationInfo { role: Some(role.into()) };
    shown(list, Some(&allocation), refined)
}

/// For a framework: with the allocation if it can have several roles, in the old form if it does not know the new one.
pub(super) fn shown(list: &[Resource], allocation: Option<&AllocationInfo>, refined: bool) -> Vec<Resource> {
    let show = |resource: &Resource| {
        let mut resource = Resource { allocation_info: allocation.cloned(), ..resource.clone() };
        if !refined {
            resources::downgrade(&mut resource);
        }
        resource
    };
    list.iter().map(show).collect()
}

/// What a role may be offered: what is not reserved, and what is reserved to it.
pub(super) fn share(list: &[Resource], role: &str) -> Vec<Resource> {
    let open = |resource: &&Resource| {
        let reservation = resource.reservations.last();
        reservation.is_none_or(|reservation| reservation.role() == role)
    };
    list.iter().filter(open).cloned().collect()
}

/// Whether an offer of these would be of use to anybody (Mesos' `allocatable`).
pub(super) fn is_worth_offering(list: &[Resource]) -> bool {
    total(list, "cpus") >= MIN_CPUS || total(list, "mem") >= MIN_MEM
}

/// All that there is of a scalar.
pub(super) fn total(list: &[Resource], name: &str) -> f64 {
    sum(list).scalar(name).unwrap_or_default()
}

/// Whether these are resources at all.
///
/// # Errors
/// What is wrong with the first that is not.
pub(super) fn check(list: &[Resource]) -> Result<(), ResourceError> {
    list.iter().try_for_each(resources::validate)
}

/// The sum; what is of the same kind is one resource in it.
pub(super) fn plus(all: Vec<Resource>, more: &[Resource]) -> Vec<Resource> {
    let mut all = sum(&all);
    all.add_all(&sum(more));
    all.as_slice().to_vec()
}

/// The difference; what is not there to be taken is not taken.
pub(super) fn minus(all: Vec<Resource>, less: &[Resource]) -> Vec<Resource> {
    let mut all = sum(&all);
    all.subtract_all(&sum(less));
    all.as_slice().to_vec()
}

/// Whether all of `part` can be taken from `all`, one after the other: a port that is asked for twice is not there twice.
pub(super) fn contains(all: &[Resource], part: &[Resource]) -> bool {
    let mut left = sum(all);
    part.iter().all(|resource| {
        let is_there = left.contains(&sum(std::slice::from_ref(resource)));
        left.subtract(resource);
        is_there
    })
}

fn sum(list: &[Resource]) -> Resources {
    list.iter().cloned().collect()
}

/// For people, in Mesos' notation: `cpus:2; ports:[31000-32000]`.
pub(super) fn text(list: &[Resource]) -> String {
    resources::resources_text(list)
}

/// The value alone, in the same notation.
pub(super) fn value_text(resource: &Resource) -> String {
    let bare = Resource { allocation_info: None, reservations: Vec::new(), disk: None, ..resource.clone() };
    let text = resources::resource_text(&bare);
    text.split_once(':').map(|(_, value)| value.to_owned()).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::mesos::value::{self, Type};

    fn scalar(name: &str, value: f64) -> Resource {
        Resource {
            name: name.into(),
            r#type: Type::Scalar as i32,
            scalar: Some(value::Scalar { value }),
            ..Default::default()
        }
    }

    fn ports(ranges: &[(u64, u64)]) -> Resource {
        let ranges = ranges.iter().map(|(begin, end)| value::Range { begin: *begin, end: *end });
        Resource {
            name: "ports".into(),
            r#type: Type::Ranges as i32,
            ranges: Some(value::Ranges { range: ranges.collect() }),
            ..Default::default()
        }
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
