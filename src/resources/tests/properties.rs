//! The arithmetic of resources against a second one that is so plain that it cannot be wrong: thousandths as whole numbers,
//! ranges and sets as the set of all that is in them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use crate::messages::mesos::resource::{AllocationInfo, ReservationInfo, reservation_info};
use crate::messages::mesos::value::{Range, Ranges, Set};
use crate::messages::{from_v1_json, to_v1_json};
use crate::properties::{SEQUENCES, below, numbers, shortened};
use crate::random::Random;

const NAMES: [&str; 4] = ["cpus", "mem", "ports", "disks"];
const ITEMS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Ports are of a small world, so that ranges touch and overlap.
const PORTS: std::ops::Range<u64> = 31_000..31_020;

/// Whose a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Nobody,
    Static(&'static str),
    Dynamic(&'static str),
    Refined,
    Allocated,
    StaticAllocated(&'static str),
}

/// The first three can be said on a command line.
const OWNERS: [Owner; 9] = [
    Owner::Nobody,
    Owner::Static("a"),
    Owner::Static("a/x"),
    Owner::Dynamic("a"),
    Owner::Dynamic("b"),
    Owner::Refined,
    Owner::Allocated,
    Owner::StaticAllocated("a"),
    Owner::StaticAllocated("b"),
];
const SAYABLE: usize = 3;

/// How much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Amount {
    Thousandths(i64),
    Ports(BTreeSet<u64>),
    Items(BTreeSet<&'static str>),
}

impl Amount {
    fn add(&mut self, other: &Amount) {
        match (self, other) {
            (Amount::Thousandths(left), Amount::Thousandths(right)) => *left += right,
            (Amount::Ports(left), Amount::Ports(right)) => left.extend(right),
            (Amount::Items(left), Amount::Items(right)) => left.extend(right),
            (left, right) => panic!("{left:?} and {right:?}"),
        }
    }

    fn subtract(&mut self, other: &Amount) {
        match (self, other) {
            (Amount::Thousandths(left), Amount::Thousandths(right)) => *left = (*left - right).max(0),
            (Amount::Ports(left), Amount::Ports(right)) => left.retain(|port| !right.contains(port)),
            (Amount::Items(left), Amount::Items(right)) => left.retain(|item| !right.contains(item)),
            (left, right) => panic!("{left:?} and {right:?}"),
        }
    }

    fn contains(&self, other: &Amount) -> bool {
        let mut rest = other.clone();
        rest.subtract(self);
        rest.is_empty()
    }

    fn is_empty(&self) -> bool {
        match self {
            Amount::Thousandths(count) => *count == 0,
            Amount::Ports(ports) => ports.is_empty(),
            Amount::Items(items) => items.is_empty(),
        }
    }

    /// A union is no sum: what both have is there once.
    fn overlaps(&self, other: &Amount) -> bool {
        match (self, other) {
            (Amount::Thousandths(_), _) => false,
            (left, right) => {
                let mut rest = left.clone();
                rest.subtract(right);
                rest != *left
            }
        }
    }
}

/// Resources, plainly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Plain(BTreeMap<(&'static str, Owner), Amount>);

impl Plain {
    fn random(random: &mut Random, owners: usize) -> Plain {
        let mut plain = Plain::default();
        for _ in 0..=below(random, 3) {
            let name = NAMES[below(random, NAMES.len())];
            let amount = match name {
                "ports" => {
                    let begin = PORTS.start + below(random, 18) as u64;
                    Amount::Ports((begin..=(begin + below(random, 5) as u64).min(PORTS.end - 1)).collect())
                }
                "disks" => Amount::Items((0..=below(random, 2)).map(|_| ITEMS[below(random, ITEMS.len())]).collect()),
                _ => Amount::Thousandths(1 + below(random, 3000) as i64),
            };
            plain.add(&Plain([((name, OWNERS[below(random, owners)]), amount)].into()));
        }
        plain
    }

    fn add(&mut self, other: &Plain) {
        for (key, amount) in &other.0 {
            self.0.entry(*key).and_modify(|own| own.add(amount)).or_insert_with(|| amount.clone());
        }
    }

    fn subtract(&mut self, other: &Plain) {
        for (key, amount) in &other.0 {
            if let Some(own) = self.0.get_mut(key) {
                own.subtract(amount);
            }
        }
        self.0.retain(|_, amount| !amount.is_empty());
    }

    fn contains(&self, other: &Plain) -> bool {
        other.0.iter().all(|(key, amount)| self.0.get(key).is_some_and(|own| own.contains(amount)))
    }

    fn overlaps(&self, other: &Plain) -> bool {
        other.0.iter().any(|(key, amount)| self.0.get(key).is_some_and(|own| own.overlaps(amount)))
    }

    /// As messages; the same in one of many spellings.
    fn spell(&self, random: &mut Random) -> Vec<Resource> {
        let spell = |((name, owner), amount): (&(&str, Owner), &Amount)| {
            let mut resource = Resource { name: name.to_string(), ..Resource::default() };
            set_owner(&mut resource, *owner);
            set_amount(&mut resource, amount, random);
            resource
        };
        self.0.iter().map(spell).collect()
    }

    fn resources(&self, random: &mut Random) -> Resources {
        Resources::checked(&self.spell(random)).expect("they break no rule")
    }

    /// As the flag has them.
    fn text(&self, random: &mut Random) -> String {
        let part = |((name, owner), amount): (&(&str, Owner), &Amount)| {
            let role = match owner {
                Owner::Static(role) => format!("({role})"),
                _ if below(random, 2) == 0 => "(*)".to_string(),
                _ => String::new(),
            };
            format!("{name}{role}:{}", amount_text(amount))
        };
        self.0.iter().map(part).collect::<Vec<_>>().join(";")
    }
}

fn amount_text(amount: &Amount) -> String {
    match amount {
        Amount::Thousandths(count) => format!("{}.{:03}", count / 1000, count % 1000),
        Amount::Ports(ports) => {
            let ports: Vec<_> = ports.iter().map(|port| format!("{port}-{port}")).collect();
            format!("[{}]", ports.join(", "))
        }
        Amount::Items(items) => format!("{{{}}}", items.iter().copied().collect::<Vec<_>>().join(",")),
    }
}

fn set_owner(resource: &mut Resource, owner: Owner) {
    let reserved = |kind: reservation_info::Type, role: &str| ReservationInfo {
        r#type: Some(kind as i32),
        role: Some(role.to_string()),
        principal: (kind == reservation_info::Type::Dynamic).then(|| "p".to_string()),
        ..ReservationInfo::default()
    };
    let allocated = || Some(AllocationInfo { role: Some("a".to_string()) });
    let (fixed, dynamic) = (reservation_info::Type::Static, reservation_info::Type::Dynamic);
    match owner {
        Owner::Nobody => {}
        Owner::Static(role) => resource.reservations = vec![reserved(fixed, role)],
        Owner::Dynamic(role) => resource.reservations = vec![reserved(dynamic, role)],
        Owner::Refined => resource.reservations = vec![reserved(fixed, "a"), reserved(dynamic, "a/x")],
        Owner::Allocated => resource.allocation_info = allocated(),
        Owner::StaticAllocated(role) => {
            resource.reservations = vec![reserved(fixed, role)];
            resource.allocation_info = allocated();
        }
    }
}

/// Scalars a little off their thousandth, ranges in pieces.
fn set_amount(resource: &mut Resource, amount: &Amount, random: &mut Random) {
    match amount {
        Amount::Thousandths(count) => {
            let value = *count as f64 / 1000.0 + (below(random, 7) as f64 - 3.0) * 1e-4;
            resource.r#type = Type::Scalar as i32;
            resource.scalar = Some(value::Scalar { value });
        }
        Amount::Ports(ports) => {
            let mut range: Vec<Range> = Vec::new();
            for port in ports {
                match range.last_mut() {
                    Some(last) if last.end + 1 == *port && below(random, 2) == 0 => last.end = *port,
                    _ => range.push(Range { begin: *port, end: *port }),
                }
            }
            if below(random, 2) == 0 {
                range.reverse();
            }
            resource.r#type = Type::Ranges as i32;
            resource.ranges = Some(Ranges { range });
        }
        Amount::Items(items) => {
            resource.r#type = Type::Set as i32;
            resource.set = Some(Set { item: items.iter().map(|item| item.to_string()).collect() });
        }
    }
}

/// Back from messages; each name and owner may come once.
fn plain(resources: &Resources) -> Plain {
    let mut all = Plain::default();
    for resource in resources.as_slice() {
        let name = NAMES.into_iter().find(|name| *name == resource.name).expect("name");
        let owner = OWNERS.into_iter().find(|owner| {
            let mut same = Resource { name: name.into(), ..Resource::default() };
            set_owner(&mut same, *owner);
            same.reservations == resource.reservations && same.allocation_info == resource.allocation_info
        });
        let amount = match resource.r#type() {
            Type::Scalar => Amount::Thousandths((resource.scalar.expect("value").value * 1000.0).round() as i64),
            Type::Ranges => {
                let ranges = &resource.ranges.as_ref().expect("value").range;
                Amount::Ports(ranges.iter().flat_map(|range| range.begin..=range.end).collect())
            }
            Type::Set | Type::Text => {
                let items = &resource.set.as_ref().expect("value").item;
                Amount::Items(ITEMS.into_iter().filter(|item| items.iter().any(|own| own == item)).collect())
            }
        };
        let before = all.0.insert((name, owner.expect("owner")), amount);
        assert_eq!(before, None, "{resources}");
    }
    all
}

/// A sequence of these makes a life of resources.
#[derive(Debug, Clone)]
enum Step {
    Add(Plain),
    Subtract(Plain),
}

/// `None`: all rules hold.
fn broken_rule(seed: u64, steps: &[Step]) -> Option<String> {
    let mut random = numbers(seed);
    let (mut expected, mut real) = (Plain::default(), Resources::new());
    for (at, step) in steps.iter().enumerate() {
        let (Step::Add(part) | Step::Subtract(part)) = step;
        let other = part.resources(&mut random);
        if let Some(rule) = broken_relation((&expected, &real), (part, &other)) {
            return Some(format!("before step {at}: {rule}"));
        }
        match step {
            Step::Add(part) => {
                expected.add(part);
                real.add_all(&other);
            }
            Step::Subtract(part) => {
                expected.subtract(part);
                real.subtract_all(&other);
            }
        }
        if plain(&real) != expected {
            return Some(format!("after step {at} there is {real}, not {expected:?}"));
        }
        if real != expected.resources(&mut random) {
            return Some(format!("after step {at}, {real} is not equal to itself in another spelling"));
        }
    }
    None
}

/// What holds of any two.
fn broken_relation(one: (&Plain, &Resources), other: (&Plain, &Resources)) -> Option<&'static str> {
    let contained = one.1.contains(other.1);
    let (mut there_and_back, mut back_and_there) = (one.1.clone(), one.1.clone());
    there_and_back.add_all(other.1);
    let sum = there_and_back.clone();
    there_and_back.subtract_all(other.1);
    back_and_there.subtract_all(other.1);
    let rest = back_and_there.clone();
    back_and_there.add_all(other.1);
    let rules = [
        (contained == one.0.contains(other.0), "contains is wrong"),
        ((back_and_there == *one.1) == contained, "a - b + b is a, and b is not contained, or the reverse"),
        ((there_and_back == *one.1) != one.0.overlaps(other.0), "a + b - b is not a"),
        (sum.contains(one.1) && sum.contains(other.1), "a + b contains a and b"),
        (one.1.contains(&rest), "a contains a - b"),
    ];
    rules.into_iter().find_map(|(holds, rule)| (!holds).then_some(rule))
}

#[test]
fn ten_thousand_sums_and_differences_come_out_as_the_plain_ones_do() {
    for seed in 0..SEQUENCES {
        let mut random = numbers(seed);
        let step = |random: &mut Random| match below(random, 3) {
            0 => Step::Subtract(Plain::random(random, OWNERS.len())),
            _ => Step::Add(Plain::random(random, OWNERS.len())),
        };
        let steps: Vec<Step> = (0..2 + below(&mut random, 5)).map(|_| step(&mut random)).collect();
        if broken_rule(seed, &steps).is_some() {
            let steps = shortened(&|steps| broken_rule(seed, steps).is_some(), steps);
            panic!("seed {seed}: {:?}\n{steps:#?}", broken_rule(seed, &steps));
        }
    }
}

#[test]
fn what_executors_take_and_give_back_is_never_more_than_there_is() {
    let mut refused = 0;
    for seed in 0..SEQUENCES {
        let mut random = numbers(seed);
        let mut total = Plain::default();
        (0..14).for_each(|_| total.add(&Plain::random(&mut random, SAYABLE)));
        let total = total.resources(&mut random);
        let mut executors: Vec<Resources> = Vec::new();
        let mut free = total.clone();
        for _ in 0..5 {
            let wanted = Plain::random(&mut random, SAYABLE).resources(&mut random);
            match free.contains(&wanted) {
                true => {
                    free.subtract_all(&wanted);
                    executors.push(wanted);
                }
                false => refused += 1,
            }
            if below(&mut random, 3) == 0 && !executors.is_empty() {
                let at = below(&mut random, executors.len());
                free.add_all(&executors.swap_remove(at));
            }
            let mut used = Resources::new();
            executors.iter().for_each(|executor| used.add_all(executor));
            assert!(total.contains(&used), "seed {seed}: {used} of {total}");
            used.add_all(&free);
            assert_eq!(used, total, "seed {seed}");
        }
        executors.iter().for_each(|executor| free.add_all(executor));
        assert_eq!(free, total, "seed {seed}");
    }
    assert!((10_000..40_000).contains(&refused), "{refused} of 50000 did not fit");
}

#[test]
fn ten_thousand_texts_messages_and_json_forms_say_the_same() {
    for seed in 0..SEQUENCES {
        let mut random = numbers(seed);
        let expected = Plain::random(&mut random, SAYABLE);
        let text = expected.text(&mut random);
        let read: Resources = parse(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}")).into_iter().collect();
        assert_eq!(plain(&read), expected, "seed {seed}: {text}");
        let all = Plain::random(&mut random, OWNERS.len());
        let list = all.resources(&mut random).into_vec();
        let json = list.iter().map(|each| to_v1_json("mesos.Resource", each).expect("json"));
        let again = json.map(|each| from_v1_json("mesos.Resource", each.to_string().as_bytes()).expect("json"));
        assert_eq!(plain(&again.collect()), all, "seed {seed}");
        let array: Vec<_> =
            read.as_slice().iter().map(|each| to_v1_json("mesos.Resource", each).expect("json").to_string()).collect();
        let flag = format!("[{}]", array.join(","));
        let read: Resources = parse(&flag).unwrap_or_else(|error| panic!("seed {seed}: {error}")).into_iter().collect();
        assert_eq!(plain(&read), expected, "seed {seed}: {flag}");
    }
}

#[test]
fn the_form_of_before_mesos_1_4_says_the_same_of_all_but_refined_reservations() {
    for seed in 0..SEQUENCES {
        let mut random = numbers(seed);
        let all = Plain::random(&mut random, OWNERS.len());
        for ((_, owner), mut resource) in all.0.keys().zip(all.resources(&mut random).into_vec()) {
            let before = resource.clone();
            downgrade(&mut resource);
            assert_eq!(resource.reservations.is_empty(), *owner != Owner::Refined, "seed {seed}: {owner:?}");
            assert_eq!(validate(&resource), Ok(()), "seed {seed}");
            upgrade(&mut resource);
            assert_eq!(resource, before, "seed {seed}");
        }
    }
}
