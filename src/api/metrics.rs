//! `/metrics/snapshot`: those of Mesos' metrics that we can tell truly (`src/slave/metrics.cpp`), under its names.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Host, State, resources};
use crate::messages::mesos::TaskState;
use crate::slave::{self, ExecutorState};

/// What is counted outside of the state, since the slave was started.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counts {
    /// By the slave's core.
    pub slave: slave::Counts,
    /// Containers of whose tasks the files were fetched, and those of whose they were not.
    pub fetches: (u64, u64),
    /// `--fetcher_cache_size`, in bytes.
    pub fetcher_cache: u64,
    /// Containers that could not be cleaned up after.
    pub destroy_errors: u64,
    /// How long it took to settle what an earlier slave had left, in seconds.
    pub recovery_secs: f64,
}

/// An object of numbers.
pub(super) fn snapshot(state: &State, counts: &Counts, host: Option<Host>) -> Value {
    let mut metrics = Map::new();
    if let Some(host) = host {
        host.add_to(&mut metrics);
    }
    add_counts(counts, &mut metrics);
    let mut put = |name: &str, value: f64| metrics.insert(format!("slave/{name}"), json!(value));
    put("registered", f64::from(u8::from(state.master.is_some())));
    put("uptime_secs", (state.now - state.start_time).max(0.0));
    put("frameworks_active", state.frameworks.len() as f64);
    for (name, value) in tasks(state) {
        put(name, value as f64);
    }
    for (name, value) in executors(state) {
        put(name, value as f64);
    }
    let allocated = state.allocated();
    for name in ["cpus", "gpus", "mem", "disk"] {
        let (total, used) = (resources::scalar(&state.info.resources, name), resources::scalar(&allocated, name));
        put(&format!("{name}_total"), total);
        put(&format!("{name}_used"), used);
        put(&format!("{name}_percent"), if total > 0.0 { used / total } else { 0.0 });
        // Nobody here estimates what could be lent out.
        for what in ["total", "used", "percent"] {
            put(&format!("{name}_revocable_{what}"), 0.0);
        }
    }
    Value::Object(metrics)
}

fn add_counts(counts: &Counts, metrics: &mut Map<String, Value>) {
    let slave = &counts.slave;
    let numbers = [
        ("slave/valid_status_updates", slave.valid_status_updates),
        ("slave/invalid_status_updates", slave.invalid_status_updates),
        ("slave/valid_framework_messages", slave.valid_framework_messages),
        ("slave/invalid_framework_messages", slave.invalid_framework_messages),
        ("slave/container_launch_errors", slave.container_launch_errors),
        ("slave/executors_preempted", 0), // by a QoS controller, which we have none of
        ("slave/recovery_errors", 0),     // nothing is recovered that could be broken
        ("containerizer/fetcher/task_fetches_succeeded", counts.fetches.0),
        ("containerizer/fetcher/task_fetches_failed", counts.fetches.1),
        ("containerizer/fetcher/cache_size_total_bytes", counts.fetcher_cache),
        ("containerizer/mesos/container_destroy_errors", counts.destroy_errors),
        // No images are provisioned, no sandboxes are collected, and no resource provider may subscribe.
        ("containerizer/mesos/provisioner/remove_container_errors", 0),
        ("containerizer/mesos/provisioner/bind/remove_rootfs_errors", 0),
        ("gc/path_removals_pending", 0),
        ("gc/path_removals_succeeded", 0),
        ("gc/path_removals_failed", 0),
        ("resource_provider_manager/subscribed", 0),
        ("resource_provider_manager/events/subscribe", 0),
        ("resource_provider_manager/events/disconnect", 0),
    ];
    metrics.insert("slave/recovery_time_secs".to_string(), json!(counts.recovery_secs));
    metrics.extend(numbers.into_iter().map(|(name, number)| (name.to_string(), json!(number as f64))));
}

fn tasks(state: &State) -> BTreeMap<&'static str, u64> {
    use TaskState::*;
    let names = [
        ("tasks_staging", TaskStaging),
        ("tasks_starting", TaskStarting),
        ("tasks_running", TaskRunning),
        ("tasks_killing", TaskKilling),
        ("tasks_finished", TaskFinished),
        ("tasks_failed", TaskFailed),
        ("tasks_killed", TaskKilled),
        ("tasks_lost", TaskLost),
        ("tasks_gone", TaskGone),
    ];
    let count = |wanted| {
        let here = state.executors().flat_map(|each| &each.tasks).map(|task| task.state());
        let gone = state.completed_executors().flat_map(|each| &each.tasks).copied();
        let known = here.chain(gone).filter(|state| *state == wanted).count();
        known as u64 + state.forgotten.get(&wanted).copied().unwrap_or_default()
    };
    names.into_iter().map(|(name, wanted)| (name, count(wanted))).collect()
}

fn executors(state: &State) -> BTreeMap<&'static str, u64> {
    let live = |wanted: ExecutorState| state.executors().filter(|each| each.state == wanted).count() as u64;
    let completed = state.completed_executors().count() as u64;
    BTreeMap::from([
        ("executors_registering", live(ExecutorState::Launching)),
        ("executors_running", live(ExecutorState::Running)),
        ("executors_terminating", live(ExecutorState::Ending)),
        ("executors_terminated", live(ExecutorState::Gone) + completed + state.forgotten_executors),
    ])
}
