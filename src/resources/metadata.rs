//! What beside its value makes a resource: who it is reserved for and allocated to, and which disk it is. Only equals are added.

use crate::messages::mesos::Resource;
use crate::messages::mesos::resource::disk_info::source;
use crate::messages::mesos::resource::{DiskInfo, ReservationInfo, reservation_info};

use super::values;

/// Brings the form before Mesos 1.4 (`role` and `reservation`) into that after it (`reservations`).
pub fn upgrade(resource: &mut Resource) {
    let role = resource.role.take();
    let dynamic = resource.reservation.take();
    if !resource.reservations.is_empty() {
        return;
    }
    let Some(role) = role.filter(|role| role != "*") else {
        return;
    };
    let reservation = match dynamic {
        None => ReservationInfo {
            r#type: Some(reservation_info::Type::Static as i32),
            role: Some(role),
            ..ReservationInfo::default()
        },
        Some(dynamic) => {
            ReservationInfo { r#type: Some(reservation_info::Type::Dynamic as i32), role: Some(role), ..dynamic }
        }
    };
    resource.reservations.push(reservation);
}

/// The reverse, for a peer that did not say that it knows refined reservations. A resource whose reservation was refined has
/// no such form and stays as it is.
pub fn downgrade(resource: &mut Resource) {
    upgrade(resource);
    match resource.reservations.as_slice() {
        [] => resource.role = Some("*".to_string()),
        [one] => {
            resource.role = one.role.clone();
            if one.r#type == Some(reservation_info::Type::Dynamic as i32) {
                resource.reservation = Some(ReservationInfo { r#type: None, role: None, ..one.clone() });
            }
            resource.reservations.clear();
        }
        [_, _, ..] => {}
    }
}

fn same(left: &Resource, right: &Resource) -> bool {
    left.name == right.name
        && left.r#type == right.r#type
        && left.allocation_info == right.allocation_info
        && left.reservations == right.reservations
        && left.provider_id == right.provider_id
        && left.revocable.is_some() == right.revocable.is_some()
        && left.shared.is_some() == right.shared.is_some()
        && same_disk(left.disk.as_ref(), right.disk.as_ref())
}

/// The volume does not count: it says how the disk is used this time, not which disk it is.
fn same_disk(left: Option<&DiskInfo>, right: Option<&DiskInfo>) -> bool {
    let id = |disk: &DiskInfo| disk.persistence.as_ref().map(|persistence| persistence.id.clone());
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => left.source == right.source && id(left) == id(right),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// A disk that is given as a whole or not at all: a persistent volume, a mount, a block device, a raw disk with an identity.
fn is_exclusive(resource: &Resource) -> bool {
    let Some(disk) = &resource.disk else {
        return false;
    };
    let exclusive = disk.source.as_ref().is_some_and(|source| match source.r#type() {
        source::Type::Mount | source::Type::Block => true,
        source::Type::Raw => source.id.is_some(),
        source::Type::Path | source::Type::Unknown => false,
    });
    exclusive || disk.persistence.is_some()
}

/// Whether two become one by addition. Shared ones are kept one by one, so that they can be counted.
pub(super) fn addable(left: &Resource, right: &Resource) -> bool {
    same(left, right) && left.shared.is_none() && !is_exclusive(left)
}

/// Whether the right can be taken from the left.
pub(super) fn subtractable(left: &Resource, right: &Resource) -> bool {
    let whole = || values::at_most(left, right) && values::at_most(right, left);
    same(left, right) && ((left.shared.is_none() && !is_exclusive(left)) || whole())
}
