//! `/monitor/statistics` and `/containers`: what each executor's container takes of the host (`Http::statistics`, `Http::containers` in
//! Mesos' `src/slave/http.cpp`).
//!
//! What is said of a virtual machine is what its QEMU takes: that is what the host pays for it, and what a guest says of itself need not be
//! true. Its limits are the machine's own; those of a process are what Mesos' agent says without cgroups.

use serde_json::{Map, Value, json};

use super::resources;
use super::state::{Executor, Nested, State};
use crate::ids::ContainerId;
use crate::isolation::usage::{Usage, Usages};
use crate::libprocess::Request;
use crate::messages::{mesos, to_v1_json};
use crate::slave::ExecutorState;

/// What was seen of all containers at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measurement {
    /// When, in seconds since 1970.
    pub at: f64,
    /// What was seen.
    pub usages: Usages,
}

/// An executor's container, as both endpoints and GET_CONTAINERS tell of it.
pub(super) struct Container<'a> {
    pub framework: &'a str,
    pub executor: &'a Executor,
    /// Neither is there of a container that is gone.
    pub status: Option<mesos::ContainerStatus>,
    pub statistics: Option<mesos::ResourceStatistics>,
}

/// A task's container inside its executor's, of which GET_CONTAINERS tells if it is asked to.
pub(super) struct NestedContainer {
    pub id: mesos::ContainerId,
    pub status: Option<mesos::ContainerStatus>,
    pub statistics: Option<mesos::ResourceStatistics>,
}

/// Those inside this one.
pub(super) fn nested(container: &Container, seen: &Measurement) -> Vec<NestedContainer> {
    let parent = mesos::ContainerId { value: container.executor.container.clone(), ..Default::default() };
    let nested = |each: &Nested| {
        let id = mesos::ContainerId { value: each.container.to_string(), parent: Some(Box::new(parent.clone())) };
        let usage = seen.usages.get(&each.container);
        NestedContainer {
            status: usage.map(|usage| status(id.clone(), usage)),
            statistics: usage.map(|usage| statistics(each.resources.iter(), usage, seen.at)),
            id,
        }
    };
    container.executor.nested.iter().map(nested).collect()
}

/// All containers of executors that have not ended.
pub(super) fn containers<'a>(state: &'a State, seen: &Measurement) -> Vec<Container<'a>> {
    let of_framework = |framework: &'a super::Framework| {
        let id = framework.info.id.as_ref().map_or("", |id| id.value.as_str());
        framework.executors.iter().map(move |executor| (id, executor))
    };
    let executors = state.frameworks.iter().flat_map(of_framework);
    let alive = executors.filter(|(_, executor)| executor.state != ExecutorState::Gone);
    let container = |(framework, executor): (&'a str, &'a Executor)| {
        let id = ContainerId::new(executor.container.as_str()).ok();
        let usage = id.and_then(|id| seen.usages.get(&id));
        Container {
            framework,
            executor,
            status: usage.map(|usage| mesos::ContainerStatus {
                network_infos: usage.machine.map(|_| executor.networks.clone()).unwrap_or_default(),
                ..status(mesos::ContainerId { value: executor.container.clone(), ..Default::default() }, usage)
            }),
            statistics: usage.map(|usage| statistics(executor.resources(), usage, seen.at)),
        }
    };
    alive.map(container).collect()
}

/// With the process that all of the container's others descend from; of a virtual machine the guest's address belongs to it, too.
fn status(id: mesos::ContainerId, usage: &Usage) -> mesos::ContainerStatus {
    mesos::ContainerStatus {
        container_id: Some(id),
        executor_pid: usage.taken.and_then(|taken| u32::try_from(taken.pid).ok()),
        ..Default::default()
    }
}

fn statistics<'a>(
    resources: impl Iterator<Item = &'a mesos::Resource> + Clone,
    usage: &Usage,
    at: f64,
) -> mesos::ResourceStatistics {
    // Mesos knows memory to the megabyte only.
    let requested = |name| Some(resources::scalar(resources.clone(), name)).filter(|value| *value > 0.0);
    let memory = requested("mem").map(|mem| (mem as u64).saturating_mul(1 << 20));
    mesos::ResourceStatistics {
        timestamp: at,
        cpus_user_time_secs: usage.taken.map(|taken| taken.user_secs),
        cpus_system_time_secs: usage.taken.map(|taken| taken.system_secs),
        cpus_limit: usage.machine.map(|machine| f64::from(machine.cpus)),
        cpus_soft_limit: requested("cpus"),
        mem_rss_bytes: usage.taken.map(|taken| taken.resident_bytes),
        mem_limit_bytes: usage.machine.map(|machine| machine.memory).or(memory),
        mem_soft_limit_bytes: memory,
        ..Default::default()
    }
}

/// `/monitor/statistics`: those that there are statistics of.
pub(super) fn monitor(state: &State, seen: &Measurement) -> Value {
    let entry = |container: &Container| {
        container.statistics.as_ref()?;
        Some(Value::Object(about(container)))
    };
    containers(state, seen).iter().filter_map(entry).collect()
}

/// `/containers`: all, or the one that `container_id=` names.
pub(super) fn list(state: &State, seen: &Measurement, request: &Request) -> Value {
    let wanted = request.query_param("container_id");
    let all = containers(state, seen);
    let chosen = all.iter().filter(|each| wanted.as_ref().is_none_or(|id| *id == each.executor.container));
    let entry = |container: &Container| {
        let mut object = about(container);
        object.insert("container_id".to_string(), json!(container.executor.container));
        if let Some(status) = &container.status {
            object.insert("status".to_string(), to_v1_json("mesos.v1.ContainerStatus", status).unwrap_or_default());
        }
        Value::Object(object)
    };
    chosen.map(entry).collect()
}

fn about(container: &Container) -> Map<String, Value> {
    let info = &container.executor.info;
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_string(), value);
    put("executor_id", json!(info.executor_id.value));
    put("executor_name", json!(info.name()));
    put("framework_id", json!(container.framework));
    put("source", json!(info.source()));
    if let Some(statistics) = &container.statistics {
        put("statistics", to_v1_json("mesos.v1.ResourceStatistics", statistics).unwrap_or_default());
    }
    object
}
