//! Mesos' rules for a single resource, and for what may be said on a command line.

use std::collections::BTreeMap;

use crate::messages::mesos::Resource;
use crate::messages::mesos::resource::disk_info::source;
use crate::messages::mesos::resource::{ReservationInfo, reservation_info};
use crate::messages::mesos::value::Type;

use super::{ResourceError, values};

/// Most ranges, or items of a set, in one resource.
const MAX_PARTS: usize = 16 * 1024;

/// Largest scalar. In thousandths it still fits 2^53, so that sums stay exact.
const MAX_SCALAR: f64 = 1e12;

/// Checks a resource that came from outside (`Resources::validate`).
///
/// # Errors
/// The rule that it breaks.
pub fn validate(resource: &Resource) -> Result<(), ResourceError> {
    let checks = [check_name, check_value, check_disk, check_reservations];
    match checks.iter().find_map(|check| check(resource).err()) {
        Some(why) => Err(ResourceError::Invalid { name: resource.name.chars().take(64).collect(), why }),
        None => Ok(()),
    }
}

fn check_name(resource: &Resource) -> Result<(), String> {
    match resource.name.len() {
        0 => Err("it has no name".into()),
        1..=255 => Ok(()),
        length => Err(format!("its name has {length} bytes")),
    }
}

fn check_value(resource: &Resource) -> Result<(), String> {
    let present = [resource.scalar.is_some(), resource.ranges.is_some(), resource.set.is_some()];
    let only = |which: usize| present.iter().enumerate().all(|(at, there)| *there == (at == which));
    match Type::try_from(resource.r#type) {
        Ok(Type::Scalar) if only(0) => check_scalar(resource.scalar.map_or(0.0, |scalar| scalar.value)),
        Ok(Type::Ranges) if only(1) => check_ranges(resource),
        Ok(Type::Set) if only(2) => check_set(resource),
        Ok(Type::Scalar | Type::Ranges | Type::Set) => Err("its value is not of its type".into()),
        Ok(Type::Text) | Err(_) => Err("it has to be a number, [ranges] or a {set}".into()),
    }
}

fn check_scalar(value: f64) -> Result<(), String> {
    if !value.is_finite() || value > MAX_SCALAR {
        return Err(format!("it is more than {MAX_SCALAR}"));
    }
    if value != 0.0 && values::to_fixed(value) <= 0 {
        return Err("it is negative, or less than a thousandth".into());
    }
    Ok(())
}

fn check_ranges(resource: &Resource) -> Result<(), String> {
    let mut ranges = resource.ranges.as_ref().map(|ranges| ranges.range.clone()).unwrap_or_default();
    if ranges.len() > MAX_PARTS {
        return Err(format!("it has more than {MAX_PARTS} ranges"));
    }
    if ranges.iter().any(|range| range.begin > range.end) {
        return Err("a range ends before it begins".into());
    }
    ranges.sort_unstable_by_key(|range| range.begin);
    if ranges.windows(2).any(|pair| pair[1].begin <= pair[0].end) {
        return Err("its ranges overlap".into());
    }
    Ok(())
}

fn check_set(resource: &Resource) -> Result<(), String> {
    let mut items: Vec<_> = resource.set.as_ref().map(|set| set.item.iter().collect()).unwrap_or_default();
    if items.len() > MAX_PARTS {
        return Err(format!("it has more than {MAX_PARTS} items"));
    }
    items.sort_unstable();
    if items.windows(2).any(|pair: &[&String]| pair[0] == pair[1]) {
        return Err("an item is in it twice".into());
    }
    Ok(())
}

fn check_disk(resource: &Resource) -> Result<(), String> {
    let Some(disk) = &resource.disk else {
        return if resource.shared.is_some() { Err("only persistent volumes can be shared".into()) } else { Ok(()) };
    };
    if resource.name != "disk" {
        return Err("only 'disk' can have a 'disk' field".into());
    }
    if resource.shared.is_some() && disk.persistence.is_none() {
        return Err("only persistent volumes can be shared".into());
    }
    let Some(source) = &disk.source else { return Ok(()) };
    match source.r#type() {
        source::Type::Path | source::Type::Mount => Ok(()),
        source::Type::Block | source::Type::Raw if source.path.is_none() && source.mount.is_none() => Ok(()),
        source::Type::Block | source::Type::Raw => {
            Err("a disk without a file system has neither path nor mount".into())
        }
        source::Type::Unknown => Err("its disk's source has no type that is known".into()),
    }
}

fn check_reservations(resource: &Resource) -> Result<(), String> {
    if resource.reservations.is_empty() {
        let role = resource.role.as_deref().unwrap_or("*");
        check_role(role)?;
        let dynamic = resource.reservation.as_ref();
        if dynamic.is_some_and(|dynamic| dynamic.r#type.is_some() || dynamic.role.is_some()) {
            return Err("'reservation' must have neither type nor role; those are for 'reservations'".into());
        }
        if dynamic.is_some() && role == "*" {
            return Err("the role '*' cannot be reserved".into());
        }
        return Ok(());
    }
    check_stack(&resource.reservations)?;
    match resource.reservations.as_slice() {
        [one] => check_both_forms(resource, one),
        _ if resource.role.is_some() || resource.reservation.is_some() => {
            Err("a stack of 'reservations' excludes 'role' and 'reservation'".into())
        }
        _ => Ok(()),
    }
}

/// A single reservation may be there in the form of before Mesos 1.4 as well, if that says the same.
fn check_both_forms(resource: &Resource, one: &ReservationInfo) -> Result<(), String> {
    let dynamic = resource.reservation.as_ref();
    let agrees = match one.r#type() {
        reservation_info::Type::Static => dynamic.is_none(),
        reservation_info::Type::Dynamic => {
            resource.role.is_some() == dynamic.is_some()
                && dynamic.is_none_or(|old| old.principal == one.principal && old.labels == one.labels)
        }
        reservation_info::Type::Unknown => return Err("its reservation is neither static nor dynamic".into()),
    };
    match agrees && (resource.role.is_none() || resource.role == one.role) {
        true => Ok(()),
        false => Err("'role' and 'reservation' say something else than 'reservations'".into()),
    }
}

/// Each reservation refines the one before: its role is below the other's, and none but the first is static.
fn check_stack(reservations: &[ReservationInfo]) -> Result<(), String> {
    for (at, reservation) in reservations.iter().enumerate() {
        let (Some(kind), Some(role)) = (reservation.r#type, reservation.role.as_deref()) else {
            return Err("each of its 'reservations' needs type and role".into());
        };
        check_role(role)?;
        if role == "*" {
            return Err("the role '*' cannot be reserved".into());
        }
        let Some(before) = at.checked_sub(1).and_then(|at| reservations[at].role.as_deref()) else {
            continue;
        };
        if kind == reservation_info::Type::Static as i32 {
            return Err("a refined reservation cannot be static".into());
        }
        if !role.strip_prefix(before).is_some_and(|rest| rest.starts_with('/')) {
            return Err(format!("the role '{role}' does not refine '{before}'"));
        }
    }
    Ok(())
}

/// Checks a role's name (`roles::validate`).
///
/// # Errors
/// That it is none.
pub fn check_role(role: &str) -> Result<(), String> {
    if role == "*" {
        return Ok(());
    }
    let odd = |c: char| matches!(c, '\t'..='\r' | ' ' | '\x7f');
    let bad = |part: &str| matches!(part, "" | "." | ".." | "*") || part.starts_with('-') || part.contains(odd);
    if role.len() > 1024 || role.split('/').any(bad) {
        let shown: String = role.chars().take(64).collect();
        return Err(format!("'{}' is no role", shown.escape_debug()));
    }
    Ok(())
}

/// Checks what a flag says: nothing that only a framework may ask for, and the well-known ones of their own types.
pub(super) fn check_flag(list: &[Resource]) -> Result<(), ResourceError> {
    let mut types = BTreeMap::new();
    for resource in list {
        let known = *types.entry(resource.name.as_str()).or_insert(resource.r#type);
        let same = if known == resource.r#type { Ok(()) } else { Err("it comes with two types".to_string()) };
        if let Err(why) = same.and_then(|()| check_flag_resource(resource)) {
            return Err(ResourceError::Invalid { name: resource.name.clone(), why });
        }
    }
    Ok(())
}

fn check_flag_resource(resource: &Resource) -> Result<(), String> {
    if resource.disk.as_ref().is_some_and(|disk| disk.persistence.is_some()) {
        return Err("a flag cannot make persistent volumes".into());
    }
    if resource.revocable.is_some() {
        return Err("a flag cannot make it revocable".into());
    }
    let dynamic = |reservation: &ReservationInfo| reservation.r#type != Some(reservation_info::Type::Static as i32);
    if resource.reservations.iter().any(dynamic) {
        return Err("a flag cannot reserve it dynamically".into());
    }
    match (resource.name.as_str(), resource.r#type()) {
        ("cpus" | "mem" | "disk" | "gpus", Type::Ranges | Type::Set | Type::Text) => {
            Err("it has to be a number".into())
        }
        ("ports", Type::Ranges) => {
            let port = |end: u64| end <= 65535;
            match &resource.ranges {
                Some(ranges) if !ranges.range.iter().all(|range| port(range.end)) => Err("ports end at 65535".into()),
                Some(_) | None => Ok(()),
            }
        }
        ("ports", Type::Scalar | Type::Set | Type::Text) => Err("they have to be ranges, as in [31000-32000]".into()),
        _ => Ok(()),
    }
}
