//! Resources as Mesos logs them (`operator<<` in `resources.cpp` and `values.cpp`).

use std::fmt::Write;

use crate::messages::mesos::resource::disk_info::{Source, source};
use crate::messages::mesos::resource::{DiskInfo, ReservationInfo};
use crate::messages::mesos::value::Type;
use crate::messages::mesos::{Labels, Resource, Volume, volume};

use super::values;

/// `cpus:2; mem:1024`; `{}` if there are none.
pub fn resources_text(list: &[Resource]) -> String {
    if list.is_empty() {
        return "{}".to_string();
    }
    list.iter().map(resource_text).collect::<Vec<_>>().join("; ")
}

/// `cpus(allocated: *)(reservations: [(STATIC,role)]):2`.
pub fn resource_text(resource: &Resource) -> String {
    let mut text = resource.name.clone();
    if let Some(allocation) = &resource.allocation_info {
        let _ = write!(text, "(allocated: {})", allocation.role());
    }
    if !resource.reservations.is_empty() {
        let all: Vec<_> = resource.reservations.iter().map(|each| format!("({})", reservation(each))).collect();
        let _ = write!(text, "(reservations: [{}])", all.join(","));
    }
    if let Some(info) = &resource.disk {
        let _ = write!(text, "[{}]", disk(info));
    }
    if resource.revocable.is_some() {
        text.push_str("{REV}");
    }
    if resource.shared.is_some() {
        text.push_str("<SHARED>");
    }
    text + ":" + &value(resource)
}

fn value(resource: &Resource) -> String {
    match resource.r#type() {
        Type::Scalar => {
            let fixed = values::to_fixed(resource.scalar.map_or(0.0, |scalar| scalar.value));
            let text = format!("{}.{:03}", fixed / 1000, (fixed % 1000).abs());
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        }
        Type::Ranges => {
            let ranges = resource.ranges.as_ref().map(|ranges| ranges.range.as_slice()).unwrap_or_default();
            let all: Vec<_> = ranges.iter().map(|range| format!("{}-{}", range.begin, range.end)).collect();
            format!("[{}]", all.join(", "))
        }
        Type::Set => {
            let items = resource.set.as_ref().map(|set| set.item.join(", ")).unwrap_or_default();
            format!("{{{items}}}")
        }
        Type::Text => String::new(),
    }
}

fn reservation(reservation: &ReservationInfo) -> String {
    let mut text = format!("{},{}", reservation.r#type().as_str_name(), reservation.role());
    if let Some(principal) = &reservation.principal {
        let _ = write!(text, ",{principal}");
    }
    if let Some(of) = &reservation.labels {
        let _ = write!(text, ",{}", labels(of));
    }
    text
}

fn labels(labels: &Labels) -> String {
    let label = |label: &crate::messages::mesos::Label| match &label.value {
        Some(value) => format!("{}: {value}", label.key),
        None => label.key.clone(),
    };
    format!("{{{}}}", labels.labels.iter().map(label).collect::<Vec<_>>().join(", "))
}

fn disk(disk: &DiskInfo) -> String {
    let from = disk.source.as_ref().map(disk_source);
    let id = disk.persistence.as_ref().map(|persistence| persistence.id.clone());
    let mut text = [from, id].into_iter().flatten().collect::<Vec<_>>().join(",");
    if let Some(of) = &disk.volume {
        let _ = write!(text, ":{}", volume(of));
    }
    text
}

fn volume(volume: &Volume) -> String {
    let mode = match volume.mode() {
        volume::Mode::Rw => "rw",
        volume::Mode::Ro => "ro",
    };
    match &volume.host_path {
        Some(host) => format!("{host}:{}:{mode}", volume.container_path),
        None => volume.container_path.clone(),
    }
}

fn disk_source(source: &Source) -> String {
    let csi = source.id.is_some() || source.profile.is_some();
    let root = match source.r#type() {
        _ if csi => {
            return format!(
                "{}({},{},{})",
                source.r#type().as_str_name(),
                source.vendor(),
                source.id(),
                source.profile()
            );
        }
        source::Type::Mount => source.mount.as_ref().and_then(|mount| mount.root.clone()),
        source::Type::Path => source.path.as_ref().and_then(|path| path.root.clone()),
        source::Type::Block | source::Type::Raw | source::Type::Unknown => None,
    };
    let root = root.map(|root| format!(":{root}")).unwrap_or_default();
    format!("{}{root}", source.r#type().as_str_name())
}
