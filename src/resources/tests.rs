//! Texts, rules and arithmetic.

mod properties;

use super::*;
use crate::messages::mesos;

fn resources(text: &str) -> Resources {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).into_iter().collect()
}

fn refused(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

/// What only tests ask.
impl Resources {
    /// `cpus`, in CPUs; 0 if there are none.
    fn cpus(&self) -> f64 {
        self.scalar("cpus").unwrap_or(0.0)
    }

    /// The same with every resource allocated to a role, as a master offers them.
    fn allocated(&self, role: &str) -> Resources {
        let info = mesos::resource::AllocationInfo { role: Some(role.to_string()) };
        self.0.iter().cloned().map(|resource| Resource { allocation_info: Some(info.clone()), ..resource }).collect()
    }

    /// None at all.
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[test]
fn the_text_of_mesos_is_read_and_written() {
    let text = "cpus:2;mem:1024 ; disk : 4096;ports:[31000-32000, 40000-40010];set:{a,b};cpus(role):1;";
    assert_eq!(
        resources(text).to_string(),
        "cpus:2; mem:1024; disk:4096; ports:[31000-32000, 40000-40010]; set:{a, b}; \
         cpus(reservations: [(STATIC,role)]):1"
    );
    assert_eq!(resources("").to_string(), "{}");
    assert_eq!(resources("cpus(*):0.5").allocated("web").to_string(), "cpus(allocated: web):0.5");
}

#[test]
fn the_json_of_mesos_is_read() {
    let json = r#"[
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": 2.5}},
        {"name": "mem", "type": "SCALAR", "scalar": {"value": 64}, "role": "web"},
        {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 3}, {"begin": 4, "end": 5}]}},
        {"name": "x", "type": "SET", "set": {"item": ["a"]}, "reservations": [{"type": "STATIC", "role": "a"}]}
    ]"#;
    assert_eq!(
        resources(json).to_string(),
        "cpus:2.5; mem(reservations: [(STATIC,web)]):64; ports:[1-3, 4-5]; x(reservations: [(STATIC,a)]):{a}"
    );
}

#[test]
fn what_cannot_be_read_is_named() {
    for (text, why) in [
        ("cpus", "'cpus': a resource is written name:value"),
        ("cpus:", "'cpus:': there is no value"),
        (":2", "no name"),
        ("cpus(a:2", "')' is missing"),
        ("cpus(a b):2", "'a b' is no role"),
        ("cpus():2", "'' is no role"),
        ("cpus(-a):2", "is no role"),
        ("cpus(a//b):2", "is no role"),
        ("cpus:-1", "neither a number"),
        ("cpus:nan", "neither a number"),
        ("cpus:inf", "neither a number"),
        ("cpus:two", "neither a number"),
        ("cpus:0.0001", "less than a thousandth"),
        ("cpus:1e300", "more than 1000000000000"),
        ("cpus:1:2", "neither a number"),
        ("cpus:[1-2]", "resource 'cpus': it has to be a number"),
        ("ports:5", "as in [31000-32000]"),
        ("ports:[1-65536]", "ports end at 65535"),
        ("ports:[5-1]", "the range 5-1 ends before it begins"),
        ("ports:[1-2", "']' is missing"),
        ("ports:[1]", "'1' is no range"),
        ("ports:[a-b]", "'a-b' is no range"),
        ("x:[1-99999999999999999999]", "is no range"),
        ("x:{a,a}", "'a' is in the set twice"),
        ("x:{a", "'}' is missing"),
        ("x:{[}", "'[' is not expected"),
        ("x:1;x:{a}", "two types"),
        ("[{]", "as JSON"),
        (r#"[{"name": "cpus", "type": "SCALAR"}]"#, "not of its type"),
        (r#"[{"type": "SCALAR", "scalar": {"value": 1}}]"#, "name"),
        (r#"[{"name": "x", "type": "TEXT"}]"#, "it has to be a number"),
        (
            r#"[{"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 3}, {"begin": 3, "end": 5}]}}]"#,
            "overlap",
        ),
        (r#"[{"name": "a", "type": "SCALAR", "scalar": {"value": 1}, "revocable": {}}]"#, "revocable"),
        (
            r#"[{"name": "a", "type": "SCALAR", "scalar": {"value": 1}, "role": "r", "reservation": {"principal": "p"}}]"#,
            "dynamically",
        ),
        (
            r#"[{"name": "a", "type": "SCALAR", "scalar": {"value": 1}, "disk": {"persistence": {"id": "p"}}}]"#,
            "only 'disk'",
        ),
        (
            r#"[{"name": "a", "type": "SCALAR", "scalar": {"value": 1},
                "reservations": [{"type": "STATIC", "role": "a"}, {"type": "DYNAMIC", "role": "b"}]}]"#,
            "does not refine",
        ),
    ] {
        let error = refused(text);
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn scalars_count_in_thousandths_so_that_sums_come_out_even() {
    let mut sum = Resources::new();
    for _ in 0..10 {
        sum.add(scalar("cpus", 0.1));
    }
    assert_eq!(sum, resources("cpus:1"));
    assert_eq!(sum.cpus(), 1.0);
    sum.subtract(&scalar("cpus", 0.3));
    assert_eq!(sum.to_string(), "cpus:0.7");
    sum.subtract(&scalar("cpus", 0.7));
    assert!(sum.is_empty());
}

#[test]
fn ranges_are_joined_split_and_compared() {
    let mut ports = resources("ports:[1-10]");
    ports.add_all(&resources("ports:[11-20,30-40]"));
    assert_eq!(ports.to_string(), "ports:[1-20, 30-40]");
    assert!(ports.contains(&resources("ports:[5-15,30-30]")));
    assert!(!ports.contains(&resources("ports:[20-21]")));
    ports.subtract_all(&resources("ports:[5-6,8-8,20-35]"));
    assert_eq!(ports.to_string(), "ports:[1-4, 7-7, 9-19, 36-40]");
    let mut edge = resources("x:[0-18446744073709551615]");
    edge.subtract_all(&resources("x:[0-0,18446744073709551615-18446744073709551615]"));
    assert_eq!(edge.to_string(), "x:[1-18446744073709551614]");
    edge.subtract_all(&resources("x:[0-18446744073709551615]"));
    assert!(edge.is_empty());
}

#[test]
fn sets_are_joined_split_and_compared() {
    let mut set = resources("x:{a,b}");
    set.add_all(&resources("x:{b,c}"));
    assert_eq!(set.to_string(), "x:{a, b, c}");
    assert!(set.contains(&resources("x:{c,a}")));
    assert!(!set.contains(&resources("x:{d}")));
    set.subtract_all(&resources("x:{a,d}"));
    assert_eq!(set.to_string(), "x:{b, c}");
}

#[test]
fn a_role_s_resources_are_not_another_s() {
    let all = resources("cpus:1;cpus(a):2");
    assert_eq!(all.as_slice().len(), 2);
    assert_eq!(all.scalar("cpus"), Some(3.0));
    assert!(!all.contains(&resources("cpus:2")));
    assert!(all.contains(&resources("cpus(a):2")));
    assert!(!all.contains(&resources("cpus:1").allocated("a")));
    assert_eq!(all.allocated("b").unallocated(), all);
    let mut rest = all.clone();
    rest.subtract_all(&resources("cpus(a):5"));
    assert_eq!(rest.to_string(), "cpus:1");
    rest.subtract_all(&resources("mem:5"));
    assert_eq!(rest.to_string(), "cpus:1");
}

#[test]
fn a_persistent_volume_goes_as_a_whole_or_not_at_all() {
    let disk = |value, id: &str| {
        let persistence = mesos::resource::disk_info::Persistence { id: id.into(), ..Default::default() };
        let info = mesos::resource::DiskInfo { persistence: Some(persistence), ..Default::default() };
        Resource { disk: Some(info), ..scalar("disk", value) }
    };
    let mut all: Resources = [disk(10.0, "a"), disk(10.0, "b")].into_iter().collect();
    assert_eq!(all.to_string(), "disk[a]:10; disk[b]:10");
    all.subtract(&disk(5.0, "a"));
    assert_eq!(all.to_string(), "disk[a]:10; disk[b]:10");
    all.subtract(&disk(10.0, "a"));
    assert_eq!(all.to_string(), "disk[b]:10");
}

#[test]
fn reservations_of_before_mesos_1_4_mean_the_same() {
    let mut old = Resource { role: Some("a".into()), ..scalar("cpus", 1.0) };
    let before = old.clone();
    upgrade(&mut old);
    assert_eq!(resource_text(&old), "cpus(reservations: [(STATIC,a)]):1");
    downgrade(&mut old);
    assert_eq!(old, before);
    let mut nobody = Resource { role: Some("*".into()), ..scalar("cpus", 1.0) };
    upgrade(&mut nobody);
    assert_eq!(nobody, scalar("cpus", 1.0));
}

#[test]
fn a_framework_s_odd_numbers_are_refused() {
    for value in [f64::NAN, f64::INFINITY, -1.0, 1e-9, 1e300] {
        assert!(Resources::checked(&[scalar("cpus", value)]).is_err(), "{value}");
    }
    assert!(Resources::checked(&[scalar("cpus", 0.0)]).unwrap().is_empty());
}

#[test]
fn attributes_get_the_types_that_mesos_guesses() {
    let types = |text: &str| -> Vec<_> {
        let all = parse_attributes(text).unwrap_or_else(|error| panic!("{error}"));
        all.into_iter().map(|attribute| (attribute.name.clone(), attribute.r#type())).collect()
    };
    assert_eq!(
        types("rack:r1;level:3.5;units:[1-3];neg:-1;hex:0x10;url:a:b;nan:nan"),
        [
            ("rack".to_string(), Type::Text),
            ("level".to_string(), Type::Scalar),
            ("units".to_string(), Type::Ranges),
            ("neg".to_string(), Type::Text),
            ("hex".to_string(), Type::Scalar),
            ("url".to_string(), Type::Text),
            ("nan".to_string(), Type::Text),
        ]
    );
    assert!(parse_attributes("set:{x}").unwrap_err().to_string().contains("no sets as attributes"));
    assert!(parse_attributes("rack").unwrap_err().to_string().contains("'rack': an attribute is written name:value"));
    assert!(parse_attributes("rack:").is_err());
}
