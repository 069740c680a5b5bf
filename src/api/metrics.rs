//! `/metrics/snapshot`: those of Mesos' metrics that we can tell truly (`src/slave/metrics.cpp`), under its names.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{State, resources};
use crate::messages::mesos::TaskState;
use crate::slave::ExecutorState;

/// An object of numbers.
pub(super) fn snapshot(state: &State) -> Value {
    let mut metrics = Map::new();
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
    }
    Value::Object(metrics)
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
