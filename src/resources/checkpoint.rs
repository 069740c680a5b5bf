//! Resources that a master has changed: dynamic reservations and persistent volumes. The slave keeps them on disk
//! ("checkpointed"), and its total is what it was started with, with these in place of what they were made of
//! (`needCheckpointing`, `applyCheckpointedResources` in `src/common/resources_utils.cpp`).

use crate::messages::mesos::Resource;
use crate::messages::mesos::resource::reservation_info::Type;

use super::{Resources, metadata, resource_text, resources_text};

/// Whether only a master can have made it what it is.
pub fn needs_checkpointing(resource: &Resource) -> bool {
    resource.provider_id.is_none() && (is_dynamically_reserved(resource) || is_persistent(resource))
}

fn is_dynamically_reserved(resource: &Resource) -> bool {
    let newest = resource.reservations.last();
    resource.reservation.is_some() || newest.is_some_and(|each| each.r#type == Some(Type::Dynamic as i32))
}

/// A persistent volume.
fn is_persistent(resource: &Resource) -> bool {
    resource.disk.as_ref().is_some_and(|disk| disk.persistence.is_some())
}

/// The total with the checkpointed resources in place of what they were made of.
///
/// # Errors
/// The one that cannot have been made of what is there.
pub fn apply_checkpointed(total: &Resources, checkpointed: &[Resource]) -> Result<Resources, String> {
    let mut applied = total.clone();
    for resource in checkpointed {
        let mut resource = resource.clone();
        metadata::upgrade(&mut resource);
        if !needs_checkpointing(&resource) {
            return Err(format!("{} is neither reserved dynamically nor a volume", resource_text(&resource)));
        }
        let origin = Resources::from_iter([made_of(&resource)]);
        if !applied.contains(&origin) {
            return Err(format!("{} does not contain {origin}", resources_text(applied.as_slice())));
        }
        applied.subtract_all(&origin);
        applied.add(resource);
    }
    Ok(applied)
}

/// What it was before any master changed it: a command line makes static reservations only, and no volumes.
fn made_of(resource: &Resource) -> Resource {
    let mut origin = resource.clone();
    if is_dynamically_reserved(&origin) {
        // Only the first of a stack can be static.
        origin.reservations.truncate(1);
        origin.reservations.retain(|first| first.r#type == Some(Type::Static as i32));
    }
    if is_persistent(&origin) {
        origin.disk = origin.disk.filter(|disk| disk.source.is_some()).map(|disk| {
            let mut disk = disk;
            (disk.persistence, disk.volume) = (None, None);
            disk
        });
    }
    origin.shared = None;
    origin
}

#[cfg(test)]
mod tests {
    use super::super::{parse, scalar};
    use super::*;
    use crate::messages::mesos::resource::disk_info::Persistence;
    use crate::messages::mesos::resource::{DiskInfo, ReservationInfo};

    fn total() -> Resources {
        parse("cpus:4;cpus(a):2;disk:100").expect("resources").into_iter().collect()
    }

    fn reserved(resource: Resource, stack: &[(Type, &str)]) -> Resource {
        let one = |(kind, role): &(Type, &str)| ReservationInfo {
            r#type: Some(*kind as i32),
            role: Some(role.to_string()),
            ..Default::default()
        };
        Resource { reservations: stack.iter().map(one).collect(), ..resource }
    }

    fn volume(value: f64) -> Resource {
        let persistence = Some(Persistence { id: "v".into(), ..Default::default() });
        let disk = Some(DiskInfo { persistence, ..Default::default() });
        Resource { disk, ..reserved(scalar("disk", value), &[(Type::Dynamic, "a")]) }
    }

    #[test]
    fn a_reservation_takes_what_it_was_made_of() {
        let dynamic = reserved(scalar("cpus", 1.0), &[(Type::Dynamic, "a")]);
        let applied = apply_checkpointed(&total(), &[dynamic, volume(30.0)]).expect("compatible");
        assert_eq!(
            applied.to_string(),
            "cpus:3; cpus(reservations: [(STATIC,a)]):2; disk:70; cpus(reservations: [(DYNAMIC,a)]):1; \
             disk(reservations: [(DYNAMIC,a)])[v]:30"
        );
    }

    #[test]
    fn a_refined_reservation_is_made_of_the_static_one_below() {
        let refined = reserved(scalar("cpus", 2.0), &[(Type::Static, "a"), (Type::Dynamic, "a/b")]);
        let applied = apply_checkpointed(&total(), &[refined]).expect("compatible");
        assert_eq!(applied.to_string(), "cpus:4; disk:100; cpus(reservations: [(STATIC,a),(DYNAMIC,a/b)]):2");
    }

    #[test]
    fn the_form_of_before_mesos_1_4_is_taken_as_well() {
        let old = Resource { role: Some("b".into()), reservation: Some(Default::default()), ..scalar("cpus", 1.0) };
        assert!(needs_checkpointing(&old));
        let applied = apply_checkpointed(&total(), &[old]).expect("compatible");
        assert!(applied.to_string().ends_with("cpus(reservations: [(DYNAMIC,b)]):1"), "{applied}");
    }

    #[test]
    fn what_cannot_have_been_made_of_the_total_is_named() {
        let much = reserved(scalar("cpus", 5.0), &[(Type::Dynamic, "b")]);
        let error = apply_checkpointed(&total(), &[much]).expect_err("too much");
        assert!(error.contains("cpus:4; ") && error.ends_with("does not contain cpus:5"), "{error}");
        let error = apply_checkpointed(&total(), &[scalar("cpus", 1.0)]).expect_err("not reserved");
        assert!(error.starts_with("cpus:1 is neither"), "{error}");
        let twice = [volume(60.0), volume(60.0)];
        assert!(apply_checkpointed(&total(), &twice).is_err());
    }
}
