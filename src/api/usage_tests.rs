//! What containers take and what is counted, against what Mesos 1.11 answers.

use serde_json::{Value, json};

use super::tests::{Still, get, kinds_in, state};
use super::*;
use crate::ids::ContainerId;
use crate::isolation::usage::{Machine, Taken, Usage};
use crate::messages::mesos;
use crate::slave::ExecutorState;

/// The agent's answer to `/containers` with a command task, its isolators those that need no cgroups; captured.
const CAPTURED: &str = r#"[{"container_id":"5b6bb880-0855-4c17-9c4b-67c9d2a51699","executor_id":"x",
"executor_name":"Command Executor (Task: x) (Command: sh -c 'sleep 3000')",
"framework_id":"fb6ad6c1-d095-4e85-a630-86f183acb8a1-0000","source":"x","statistics":{"cpus_soft_limit":0.6,
"cpus_system_time_secs":0.04,"cpus_user_time_secs":0.14,"mem_limit_bytes":100663296,"mem_rss_bytes":397271040,
"mem_soft_limit_bytes":100663296,"timestamp":1795541651.713659},
"status":{"container_id":{"value":"5b6bb880-0855-4c17-9c4b-67c9d2a51699"},"executor_pid":4558}}]"#;

/// The names of the agent's metrics, captured.
const CAPTURED_METRICS: &str = include_str!("captured_metrics.txt");

const TAKEN: Taken = Taken { pid: 77, user_secs: 1.5, system_secs: 0.25, resident_bytes: 4096 };

/// A slave with one container, `container-a`, of which this is known.
fn with(usage: Usage) -> Still {
    let container = ContainerId::new("container-a").expect("id");
    Still { seen: Measurement { at: 1000.5, usages: [(container, usage)].into() }, ..Still::default() }
}

fn answer(path: &str, source: &mut Still) -> Value {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_string())));
    let response = handle(&Request { query, ..Request::new("GET", path, Vec::new()) }, "slave(1)", source);
    assert_eq!(response.status, 200, "{path}");
    serde_json::from_slice(&response.body).expect("json")
}

#[test]
fn a_process_is_told_of_in_mesos_fields_and_types() {
    let mut source = with(Usage { machine: None, taken: Some(TAKEN) });
    let theirs: Value = serde_json::from_str(CAPTURED).expect("json");
    assert_eq!(kinds_in(&answer("/containers", &mut source)), kinds_in(&theirs));
    let mut without = theirs.clone();
    let entry = without[0].as_object_mut().expect("an object");
    entry.remove("status");
    entry.remove("container_id");
    assert_eq!(kinds_in(&answer("/monitor/statistics", &mut source)), kinds_in(&without));
    let ours = answer("/slave(1)/monitor/statistics.json", &mut source);
    let expect = json!({
        "timestamp": 1000.5, "cpus_user_time_secs": 1.5, "cpus_system_time_secs": 0.25, "cpus_soft_limit": 0.1,
        "mem_rss_bytes": 4096, "mem_limit_bytes": 32 << 20, "mem_soft_limit_bytes": 32 << 20,
    });
    assert_eq!((&ours[0]["statistics"], &ours[0]["framework_id"]), (&expect, &json!("F")));
}

#[test]
fn a_virtual_machine_has_its_own_limits_and_its_guests_address() {
    let machine = Some(Machine { cpus: 2, memory: 128 << 20 });
    let mut state = state();
    let ip_addresses =
        vec![mesos::network_info::IpAddress { ip_address: Some("10.0.0.2".into()), ..Default::default() }];
    state.frameworks[0].executors[0].networks = vec![mesos::NetworkInfo { ip_addresses, ..Default::default() }];
    let mut source = Still { state: Some(state), ..with(Usage { machine, taken: Some(TAKEN) }) };
    let ours = answer("/containers", &mut source);
    let (statistics, status) = (&ours[0]["statistics"], &ours[0]["status"]);
    assert_eq!((&statistics["cpus_limit"], &statistics["mem_limit_bytes"]), (&json!(2.0), &json!(128 << 20)));
    assert_eq!((&statistics["cpus_soft_limit"], &statistics["mem_soft_limit_bytes"]), (&json!(0.1), &json!(32 << 20)));
    assert_eq!(status["network_infos"][0]["ip_addresses"][0]["ip_address"], "10.0.0.2");
    assert_eq!(status["executor_pid"], 77);
}

#[test]
fn what_is_not_known_is_not_said() {
    let booting = Usage { machine: Some(Machine { cpus: 1, memory: 1 << 27 }), taken: None };
    let ours = answer("/containers", &mut with(booting));
    assert_eq!(ours[0]["statistics"].get("cpus_user_time_secs"), None, "nothing runs yet");
    assert_eq!(ours[0]["statistics"]["cpus_limit"], json!(1.0));
    assert_eq!(ours[0]["status"].get("executor_pid"), None);
    // A container that is just being made, or unmade.
    let mut source = Still::default();
    let ours = answer("/containers", &mut source);
    assert_eq!((ours[0].get("statistics"), ours[0].get("status")), (None, None));
    assert_eq!(ours[0]["container_id"], "container-a");
    assert_eq!(answer("/monitor/statistics", &mut source), json!([]));
    let mut state = state();
    state.frameworks[0].executors[0].state = ExecutorState::Gone;
    assert_eq!(answer("/containers", &mut Still { state: Some(state), ..Still::default() }), json!([]));
}

#[test]
fn one_container_can_be_asked_for() {
    let mut source = with(Usage::default());
    assert_eq!(answer("/containers?container_id=container-a", &mut source)[0]["executor_id"], "a");
    assert_eq!(answer("/containers?container_id=other", &mut source), json!([]));
}

#[test]
fn every_metric_of_mesos_is_there_but_those_that_could_not_be_true() {
    // Of the cache only its children know how full it is; no sandbox is collected at any age.
    let left_out = ["containerizer/fetcher/cache_size_used_bytes", "slave/executor_directory_max_allowed_age_secs"];
    let counts = Counts { fetches: (3, 1), destroy_errors: 2, recovery_secs: 0.5, ..Counts::default() };
    let ours = answer("/metrics/snapshot", &mut Still { counts, ..Still::default() });
    let theirs: Vec<&str> = CAPTURED_METRICS.lines().filter(|name| !left_out.contains(name)).collect();
    let names: Vec<&str> = ours.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, theirs);
    let expect = [
        ("containerizer/fetcher/task_fetches_succeeded", 3.0),
        ("containerizer/fetcher/task_fetches_failed", 1.0),
        ("containerizer/mesos/container_destroy_errors", 2.0),
        ("slave/recovery_time_secs", 0.5),
    ];
    expect.iter().for_each(|(name, value)| assert_eq!(ours[*name], json!(value), "{name}"));
}

#[test]
fn the_hosts_load_and_memory_are_told() {
    let host = answer("/system/stats.json", &mut Still::default());
    assert!(
        host["cpus_total"].as_u64() >= Some(1) && host["mem_free_bytes"].as_u64() <= host["mem_total_bytes"].as_u64()
    );
    let names: Vec<&str> = host.as_object().expect("an object").keys().map(String::as_str).collect();
    let mesos = ["avg_load_15min", "avg_load_1min", "avg_load_5min", "cpus_total", "mem_free_bytes", "mem_total_bytes"];
    assert_eq!(names, mesos);
}

#[test]
fn every_endpoint_that_help_names_is_there_and_has_a_page() {
    let text = |path: &str| {
        let response = get(path);
        assert_eq!(response.status, 200, "{path}");
        String::from_utf8(response.body).expect("text")
    };
    let targets = |page: &str| -> Vec<String> {
        page.lines().filter_map(|line| Some(line.split_once("]: ")?.1.to_string())).collect()
    };
    let mut endpoints = 0;
    for process in targets(&text("/help")) {
        for endpoint in targets(&text(&format!("/{process}"))) {
            assert!(text(&format!("/help/{endpoint}")).contains(&format!("/{endpoint}\n")), "{endpoint}");
            let is_call = endpoint.ends_with("api/v1") || endpoint.ends_with("executor");
            assert!(
                is_call || get(&format!("/{endpoint}")).status != 404 || endpoint.starts_with("files"),
                "{endpoint}"
            );
            endpoints += 1;
        }
    }
    assert_eq!(endpoints, 14);
    let refused = get("/help/nothing");
    assert_eq!((refused.status, refused.body), (400, b"No help available for '/nothing'.\n".to_vec()));
}
