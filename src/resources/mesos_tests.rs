//! What Mesos' own tests demand of resources (facts from `src/tests/resources_tests.cpp`), as far as `tests` does not ask it
//! already: the texts of all kinds, precision, disks with a source, shared and revocable ones, both forms of reservations.

use super::*;
use crate::messages::mesos::resource::disk_info::{Persistence, Source, source};
use crate::messages::mesos::resource::{AllocationInfo, DiskInfo, ReservationInfo, reservation_info};
use crate::messages::mesos::{Label, Labels, Volume, volume};

fn resources(text: &str) -> Resources {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).into_iter().collect()
}

fn reservation(kind: reservation_info::Type, role: &str, principal: Option<&str>) -> ReservationInfo {
    ReservationInfo {
        r#type: Some(kind as i32),
        role: Some(role.into()),
        principal: principal.map(str::to_string),
        labels: None,
    }
}

fn disk(value: f64, persistence: Option<&str>, path: Option<&str>, source: Option<Source>) -> Resource {
    let volume =
        path.map(|path| Volume { container_path: path.into(), mode: volume::Mode::Rw as i32, ..Default::default() });
    let persistence = persistence.map(|id| Persistence { id: id.into(), ..Default::default() });
    let any = persistence.is_some() || volume.is_some() || source.is_some();
    Resource { disk: any.then_some(DiskInfo { persistence, volume, source }), ..scalar("disk", value) }
}

fn of_source(kind: source::Type, root: &str) -> Source {
    let mut source = Source { r#type: kind as i32, ..Default::default() };
    match kind {
        source::Type::Path => source.path = Some(source::Path { root: Some(root.into()) }),
        source::Type::Mount => source.mount = Some(source::Mount { root: Some(root.into()) }),
        source::Type::Block | source::Type::Raw | source::Type::Unknown => {}
    }
    source
}

fn sum(list: &[&Resource]) -> Resources {
    list.iter().map(|each| (*each).clone()).collect()
}

fn less(from: &Resources, what: &Resource) -> Resources {
    let mut rest = from.clone();
    rest.subtract(what);
    rest
}

#[test]
fn all_that_a_resource_is_shows_in_its_text() {
    let mut one = scalar("disk", 1.0);
    one.reservations = vec![reservation(reservation_info::Type::Static, "alice", None)];
    assert_eq!(resource_text(&one), "disk(reservations: [(STATIC,alice)]):1");
    let allocated = Resource { allocation_info: Some(AllocationInfo { role: Some("role".into()) }), ..one.clone() };
    assert_eq!(resource_text(&allocated), "disk(allocated: role)(reservations: [(STATIC,alice)]):1");
    one.disk = disk(1.0, Some("hadoop"), Some("/data"), None).disk;
    let revocable = Resource { revocable: Some(Default::default()), ..one.clone() };
    assert_eq!(resource_text(&revocable), "disk(reservations: [(STATIC,alice)])[hadoop:/data]{REV}:1");
    let shared = Resource { shared: Some(Default::default()), ..one.clone() };
    assert_eq!(resource_text(&shared), "disk(reservations: [(STATIC,alice)])[hadoop:/data]<SHARED>:1");
    let inner = one.disk.as_mut().expect("disk");
    inner.volume.as_mut().expect("volume").host_path = Some("/hdfs".into());
    inner.source = Some(of_source(source::Type::Mount, "/mnt1"));
    assert_eq!(resource_text(&one), "disk(reservations: [(STATIC,alice)])[MOUNT:/mnt1,hadoop:/hdfs:/data:rw]:1");
    let label = |key: &str, value: Option<&str>| Label { key: key.into(), value: value.map(str::to_string) };
    let labels = Some(Labels { labels: vec![label("foo", Some("bar")), label("foo", None)] });
    let refined = reservation(reservation_info::Type::Dynamic, "alice/refined", Some("hdfs-p"));
    one.reservations.push(ReservationInfo { labels, ..refined });
    one.disk = None;
    assert_eq!(
        resource_text(&one),
        "disk(reservations: [(STATIC,alice),(DYNAMIC,alice/refined,hdfs-p,{foo: bar, foo})]):1"
    );
}

#[test]
fn scalars_have_three_decimals_and_no_more() {
    for (value, text) in [
        (1.234, "1.234"),
        (1.2345, "1.235"),
        (1.2344, "1.234"),
        (1.1, "1.1"),
        (1.5011, "1.501"),
        (1.5015, "1.502"),
        (1_000_001.0, "1000001"),
        (99999999999.9994, "99999999999.999"),
    ] {
        assert_eq!(resource_text(&scalar("cpus", value)), format!("cpus:{text}"));
    }
    let start = resources("cpus:1.001");
    let mut current = start.clone();
    (0..100_000).for_each(|_| current.add_all(&start));
    (0..100_000).for_each(|_| current.subtract_all(&start));
    assert_eq!(current, start);
    assert_eq!(current.scalar("cpus"), Some(1.001));
    assert!(parse("cpus:0.00001").is_err());
    assert!(resources("gpus:0").as_slice().is_empty());
}

#[test]
fn what_cannot_be_read_is_what_mesos_cannot_read() {
    for text in ["cpus(role1)", "cpus(role1:1", "cpus)(role1:1", "foo(role1):1;foo(role2):[0-1]"] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn ranges_come_out_joined_whatever_order_they_are_in() {
    for (one, other, joined) in [
        ("[20000-40000]", "[30000-50000, 10000-20000]", "[10000-50000]"),
        ("[1-2]", "[3-4, 7-9]", "[1-4, 7-9]"),
        ("[5-6, 1-1]", "[3-3]", "[1-1, 3-3, 5-6]"),
    ] {
        let mut all = resources(&format!("ports:{one}"));
        all.add_all(&resources(&format!("ports:{other}")));
        assert_eq!(all.to_string(), format!("ports:{joined}"));
    }
    let mut rest = resources("ports:[1-10]");
    rest.subtract_all(&resources("ports:[2-9, 15-20]"));
    assert_eq!(rest.to_string(), "ports:[1-1, 10-10]");
    assert!(!resources("ports:[1-5, 8-10]").contains(&resources("ports:[1-10]")));
}

#[test]
fn disks_of_different_sources_are_different_disks() {
    let (path, mount) = (of_source(source::Type::Path, "mnt"), of_source(source::Type::Mount, "mnt"));
    let other = of_source(source::Type::Path, "mnt2");
    let ten = |source: &Source| disk(10.0, None, None, Some(source.clone()));
    let twenty = |source: &Source| disk(20.0, None, None, Some(source.clone()));
    assert_eq!(sum(&[&ten(&path), &ten(&path)]), sum(&[&twenty(&path)]));
    assert_ne!(sum(&[&ten(&path), &ten(&other)]), sum(&[&twenty(&path)]));
    assert_ne!(sum(&[&ten(&mount), &ten(&mount)]), sum(&[&twenty(&mount)]));
    assert!(sum(&[&twenty(&path)]).contains(&sum(&[&ten(&path)])));
    assert!(!sum(&[&twenty(&mount)]).contains(&sum(&[&ten(&mount)])));
    assert_eq!(less(&sum(&[&twenty(&mount)]), &ten(&mount)), sum(&[&twenty(&mount)]));
    // The volume's path says how a disk is used, not which it is.
    let used = |path| sum(&[&disk(10.0, Some("1"), Some(path), None)]);
    assert_eq!(used("path1"), used("path2"));
    assert_ne!(sum(&[&disk(10.0, None, None, None)]), sum(&[&disk(10.0, None, Some("path1"), None)]));
}

#[test]
fn a_disk_is_divided_as_its_source_allows() {
    use source::Type::{Block, Mount, Path, Raw};
    for (kind, id, divisible) in
        [(Raw, true, false), (Raw, false, true), (Block, false, false), (Mount, true, false), (Path, true, true)]
    {
        let source = Source { id: id.then(|| "id".to_string()), ..of_source(kind, "root") };
        let (one, two) = (disk(1.0, None, None, Some(source.clone())), disk(2.0, None, None, Some(source)));
        assert!(sum(&[&one]).contains(&sum(&[&one])));
        assert_eq!(sum(&[&two]).contains(&sum(&[&one])), divisible, "{kind:?} {id}");
        assert_eq!(sum(&[&one, &one]).as_slice().len(), if divisible { 1 } else { 2 }, "{kind:?} {id}");
    }
}

#[test]
fn equal_volumes_are_contained_as_often_as_they_are_there() {
    let volume = disk(10.0, Some("1"), Some("path"), None);
    let (one, two) = (sum(&[&volume]), sum(&[&volume, &volume]));
    assert!(!one.contains(&two) && two.contains(&two) && two.contains(&one));
    let shared = Resource { shared: Some(Default::default()), ..volume.clone() };
    let twice = sum(&[&shared, &shared]);
    assert_eq!(less(&twice, &shared), sum(&[&shared]));
    assert!(less(&less(&twice, &shared), &shared).as_slice().is_empty());
    assert_eq!(less(&one, &shared), one, "shared and not shared are two");
}

#[test]
fn what_may_be_taken_back_is_not_what_may_be_kept() {
    let revocable = |value| Resource { revocable: Some(Default::default()), ..scalar("cpus", value) };
    assert_eq!(sum(&[&revocable(1.0), &revocable(2.0)]), sum(&[&revocable(3.0)]));
    assert_ne!(sum(&[&revocable(1.0)]), sum(&[&scalar("cpus", 1.0)]));
    assert!(!sum(&[&revocable(2.0)]).contains(&sum(&[&scalar("cpus", 1.0)])));
    assert_eq!(sum(&[&revocable(1.0), &scalar("cpus", 1.0)]).as_slice().len(), 2);
}

#[test]
fn reservations_with_other_labels_or_principals_are_others() {
    let dynamic = |principal, label: Option<&str>| {
        let labels = label.map(|key| Labels { labels: vec![Label { key: key.into(), value: None }] });
        let one = reservation(reservation_info::Type::Dynamic, "role", Some(principal));
        Resource { reservations: vec![ReservationInfo { labels, ..one }], ..scalar("cpus", 1.0) }
    };
    assert_eq!(sum(&[&dynamic("p", None), &dynamic("p", None)]).as_slice().len(), 1);
    assert_eq!(sum(&[&dynamic("p", Some("a")), &dynamic("p", Some("b"))]).as_slice().len(), 2);
    assert_eq!(sum(&[&dynamic("p", None), &dynamic("q", None)]).as_slice().len(), 2);
}

#[test]
fn both_forms_of_a_reservation_may_be_there_if_they_agree() {
    let dynamic = reservation(reservation_info::Type::Dynamic, "a", Some("p"));
    let old = Some(ReservationInfo { principal: Some("p".into()), ..Default::default() });
    let both = Resource {
        role: Some("a".into()),
        reservation: old.clone(),
        reservations: vec![dynamic.clone()],
        ..scalar("cpus", 1.0)
    };
    assert_eq!(validate(&both), Ok(()));
    assert_eq!(sum(&[&both]).to_string(), "cpus(reservations: [(DYNAMIC,a,p)]):1");
    let disagree = [
        Resource { role: Some("b".into()), ..both.clone() },
        Resource { role: None, ..both.clone() },
        Resource { reservation: Some(Default::default()), ..both.clone() },
        Resource { reservations: vec![reservation(reservation_info::Type::Static, "a", None)], ..both.clone() },
        Resource { reservations: vec![dynamic, reservation(reservation_info::Type::Dynamic, "a/b", None)], ..both },
    ];
    for resource in disagree {
        assert!(validate(&resource).is_err(), "{resource:?}");
    }
}

#[test]
fn a_refined_reservation_has_no_older_form() {
    let stack = vec![
        reservation(reservation_info::Type::Static, "a", None),
        reservation(reservation_info::Type::Dynamic, "a/b", None),
    ];
    let mut refined = Resource { reservations: stack, ..scalar("cpus", 1.0) };
    let before = refined.clone();
    downgrade(&mut refined);
    assert_eq!(refined, before);
    let mut twice = Resource { role: Some("a".into()), ..scalar("cpus", 1.0) };
    downgrade(&mut twice);
    assert_eq!(twice.role(), "a", "what is in the old form already stays");
}

#[test]
fn disks_that_make_no_sense_are_refused() {
    let raw = Source { path: Some(source::Path::default()), ..of_source(source::Type::Raw, "") };
    assert!(validate(&disk(1.0, None, None, Some(raw))).is_err());
    assert!(validate(&disk(1.0, None, None, Some(of_source(source::Type::Unknown, "")))).is_err());
    assert!(validate(&disk(1.0, None, None, Some(of_source(source::Type::Block, "")))).is_ok());
    let shared = |resource| Resource { shared: Some(Default::default()), ..resource };
    assert!(validate(&shared(scalar("cpus", 1.0))).is_err());
    assert!(validate(&shared(disk(1.0, None, Some("path"), None))).is_err());
    assert!(validate(&shared(disk(1.0, Some("id"), Some("path"), None))).is_ok());
}

#[test]
fn allocated_resources_are_added_only_to_those_of_the_same_role() {
    let to = |role: &str| {
        let allocation_info = Some(AllocationInfo { role: Some(role.into()) });
        Resource { allocation_info, ..scalar("cpus", 1.0) }
    };
    assert_eq!(sum(&[&to("a"), &to("a")]).as_slice().len(), 1);
    let both = sum(&[&to("a"), &to("b")]);
    assert_eq!(both.as_slice().len(), 2);
    assert_eq!(both.unallocated(), resources("cpus:2"));
}
