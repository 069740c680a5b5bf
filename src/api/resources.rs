//! Resources and attributes as Mesos' endpoints show them (`model` and `json` in `src/common/http.cpp`): an object with a
//! member per name, scalars as numbers, ranges and sets as text.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::messages::mesos::{self, value};

/// All resources of a name together, whatever their roles.
pub(super) fn model<'a>(resources: impl IntoIterator<Item = &'a mesos::Resource>) -> Value {
    let mut object = Map::new();
    for name in ["cpus", "gpus", "mem", "disk"] {
        object.insert(name.to_string(), json!(0.0));
    }
    let mut by_name: BTreeMap<String, Vec<&mesos::Resource>> = BTreeMap::new();
    for resource in resources {
        let suffix = if resource.revocable.is_some() { "_revocable" } else { "" };
        by_name.entry(format!("{}{suffix}", resource.name)).or_default().push(resource);
    }
    for (name, all) in by_name {
        object.insert(name, together(&all));
    }
    Value::Object(object)
}

fn together(all: &[&mesos::Resource]) -> Value {
    match all.first().map(|first| first.r#type()) {
        Some(value::Type::Ranges) => {
            json!(ranges_text(all.iter().filter_map(|each| each.ranges.as_ref()).flat_map(|each| &each.range)))
        }
        Some(value::Type::Set) => {
            json!(set_text(all.iter().filter_map(|each| each.set.as_ref()).flat_map(|each| &each.item)))
        }
        Some(value::Type::Scalar | value::Type::Text) | None => json!(sum(all.iter().copied())),
    }
}

/// The sum of scalars, without the noise of binary fractions (Mesos keeps three decimals).
fn sum<'a>(all: impl Iterator<Item = &'a mesos::Resource>) -> f64 {
    let values = all.filter_map(|each| each.scalar.as_ref()).map(|each| each.value);
    let sum = values.fold(0.0, |sum, value| sum + value); // The standard library's sum of nothing is -0.0.
    (sum * 1000.0).round() / 1000.0
}

/// The sum of all scalars of a name that are not revocable.
pub(super) fn scalar<'a>(resources: impl IntoIterator<Item = &'a mesos::Resource>, name: &str) -> f64 {
    sum(resources.into_iter().filter(|each| each.name == name && each.revocable.is_none()))
}

fn ranges_text<'a>(ranges: impl Iterator<Item = &'a value::Range>) -> String {
    let texts: Vec<String> = ranges.map(|range| format!("{}-{}", range.begin, range.end)).collect();
    format!("[{}]", texts.join(", "))
}

fn set_text<'a>(items: impl Iterator<Item = &'a String>) -> String {
    let texts: Vec<&str> = items.map(String::as_str).collect();
    format!("{{{}}}", texts.join(", "))
}

/// An object with a member per attribute.
pub(super) fn attributes(attributes: &[mesos::Attribute]) -> Value {
    let member = |each: &mesos::Attribute| {
        let value = match each.r#type() {
            value::Type::Scalar => json!(each.scalar.as_ref().map_or(0.0, |scalar| scalar.value)),
            value::Type::Ranges => json!(ranges_text(each.ranges.iter().flat_map(|ranges| &ranges.range))),
            value::Type::Set => json!(set_text(each.set.iter().flat_map(|set| &set.item))),
            value::Type::Text => json!(each.text.as_ref().map_or("", |text| text.value.as_str())),
        };
        (each.name.clone(), value)
    };
    Value::Object(attributes.iter().map(member).collect())
}

/// The role that a resource is reserved for.
pub(super) fn reserved_for(resource: &mesos::Resource) -> Option<&str> {
    let refined = resource.reservations.last().and_then(|reservation| reservation.role.as_deref());
    refined.or(resource.role.as_deref()).filter(|role| *role != "*")
}

/// The reserved resources, by role.
pub(super) fn reserved(resources: &[mesos::Resource]) -> BTreeMap<&str, Vec<&mesos::Resource>> {
    let mut by_role: BTreeMap<&str, Vec<&mesos::Resource>> = BTreeMap::new();
    for resource in resources {
        if let Some(role) = reserved_for(resource) {
            by_role.entry(role).or_default().push(resource);
        }
    }
    by_role
}

/// The whole message. Endpoints also show the form from before reservations were refined, where there is one
/// (`convertResourceFormat` in `src/common/resources_utils.cpp`).
pub(super) fn full(resource: &mesos::Resource) -> Value {
    let mut value = crate::messages::to_v1_json("mesos.v1.Resource", resource).unwrap_or_default();
    if let (Value::Object(object), [] | [_]) = (&mut value, resource.reservations.as_slice()) {
        object.insert("role".to_string(), json!(reserved_for(resource).unwrap_or("*")));
        if let Some(reservation) = object.get("reservations").and_then(dynamic) {
            object.insert("reservation".to_string(), reservation);
        }
    }
    value
}

/// Of a dynamic reservation that is the only one: principal and labels.
fn dynamic(reservations: &Value) -> Option<Value> {
    let only = reservations.get(0)?.as_object()?;
    let is_dynamic = only.get("type")? == "DYNAMIC";
    is_dynamic.then(|| only.clone().into_iter().filter(|(name, _)| name == "principal" || name == "labels").collect())
}
