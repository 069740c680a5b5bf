//! The endpoints, against what Mesos 1.11 answers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::messages::mesos::{self, TaskState, resource, value};
use crate::slave::ExecutorState;

fn scalar(name: &str, number: f64) -> mesos::Resource {
    mesos::Resource {
        name: name.to_string(),
        r#type: value::Type::Scalar as i32,
        scalar: Some(value::Scalar { value: number }),
        ..Default::default()
    }
}

fn ports() -> mesos::Resource {
    mesos::Resource {
        name: "ports".to_string(),
        r#type: value::Type::Ranges as i32,
        ranges: Some(value::Ranges { range: vec![value::Range { begin: 31000, end: 32000 }] }),
        ..Default::default()
    }
}

fn task(id: &str, state: TaskState) -> mesos::Task {
    mesos::Task {
        name: format!("task {id}"),
        task_id: mesos::TaskId { value: id.to_string() },
        framework_id: mesos::FrameworkId { value: "F".to_string() },
        executor_id: Some(mesos::ExecutorId { value: id.to_string() }),
        slave_id: mesos::SlaveId { value: "S0".to_string() },
        state: state as i32,
        resources: vec![scalar("cpus", 0.1), scalar("mem", 32.0)],
        statuses: vec![mesos::TaskStatus {
            task_id: mesos::TaskId { value: id.to_string() },
            state: state as i32,
            timestamp: Some(1.5),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn executor(id: &str, state: ExecutorState, task_state: TaskState) -> Executor {
    Executor {
        info: mesos::ExecutorInfo { executor_id: mesos::ExecutorId { value: id.to_string() }, ..Default::default() },
        container: format!("container-{id}"),
        directory: format!("/work/{id}"),
        state,
        networks: Vec::new(),
        completed: 0,
        nested: Vec::new(),
        tasks: vec![task(id, task_state)],
    }
}

pub(super) fn state() -> State {
    let framework = |executors, completed_executors: Vec<Executor>| Framework {
        info: mesos::FrameworkInfo {
            user: "root".to_string(),
            name: "f".to_string(),
            id: Some(mesos::FrameworkId { value: "F".to_string() }),
            ..Default::default()
        },
        executors,
        completed_executors: completed_executors.iter().map(|each| Completed::of(each).into()).collect(),
    };
    State {
        pid: "slave(1)@127.0.0.1:5251".parse().expect("pid"),
        id: Some("S0".to_string()),
        info: mesos::SlaveInfo {
            hostname: "localhost".to_string(),
            resources: vec![scalar("cpus", 2.0), scalar("mem", 1024.0), ports()],
            ..Default::default()
        },
        master: Some("master@127.0.0.1:5250".parse().expect("pid")),
        start_time: 100.5,
        now: 160.5,
        flags: BTreeMap::from([("work_dir".to_string(), "/work".to_string())]),
        frameworks: vec![framework(
            vec![executor("a", ExecutorState::Running, TaskState::TaskRunning)],
            vec![executor("b", ExecutorState::Running, TaskState::TaskFinished)],
        )],
        completed_frameworks: vec![],
        forgotten: BTreeMap::from([(TaskState::TaskFinished, 5)]),
        forgotten_executors: 5,
    }
}

/// A slave that is in one state for ever.
#[derive(Default)]
pub(super) struct Still {
    pub state: Option<State>,
    pub seen: Measurement,
    pub counts: Counts,
    pub files: Files,
}

impl Source for Still {
    fn state(&self) -> State {
        self.state.clone().unwrap_or_else(state)
    }

    fn measurement(&mut self) -> Rc<Measurement> {
        Rc::new(self.seen.clone())
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn files(&self) -> &Files {
        &self.files
    }
}

pub(super) fn get(path: &str) -> Response {
    request("GET", path)
}

fn request(method: &str, path: &str) -> Response {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_string())));
    handle(&Request { query, ..Request::new(method, path, Vec::new()) }, "slave(1)", &mut Still::default())
}

fn json_of(path: &str) -> Value {
    let response = get(path);
    assert_eq!(response.status, 200, "{path}");
    assert_eq!(response.headers.get("Content-Type"), Some("application/json"), "{path}");
    serde_json::from_slice(&response.body).expect("json")
}

/// What kind of JSON value stands at a path, through the first element of each array.
fn kinds(value: &Value, path: &str, kinds_of: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(all) => {
            all.iter().take(1).for_each(|each| kinds(each, &format!("{path}[]"), kinds_of));
            "array"
        }
        Value::Object(all) => {
            all.iter().for_each(|(name, each)| kinds(each, &format!("{path}.{name}"), kinds_of));
            "object"
        }
    };
    kinds_of.insert(path.to_string(), kind);
}

pub(super) fn kinds_in(value: &Value) -> BTreeMap<String, &'static str> {
    let mut all = BTreeMap::new();
    kinds(value, "", &mut all);
    all
}

/// The agent's answer that was captured (see `tests/wire`), with its completed framework shortened to one executor.
const CAPTURED: &str = include_str!("captured_state.json");

#[test]
fn the_state_has_mesos_fields_with_mesos_types() {
    let mesos: Value = serde_json::from_str(CAPTURED).expect("json");
    let (theirs, ours) = (kinds_in(&mesos), kinds_in(&json_of("/state")));
    let not_ours = |path: &str| path.contains("git_");
    for (path, kind) in &theirs {
        if path.starts_with(".flags") || path.starts_with(".completed_frameworks[]") || not_ours(path) {
            continue;
        }
        assert_eq!(ours.get(path), Some(kind), "{path}");
    }
}

#[test]
fn a_framework_an_executor_and_a_task_have_mesos_fields_with_mesos_types() {
    let mesos: Value = serde_json::from_str(CAPTURED).expect("json");
    let theirs = kinds_in(&mesos["completed_frameworks"][0]);
    let ours = kinds_in(&json_of("/state.json")["frameworks"][0]);
    for (path, kind) in &theirs {
        // A command task has no labels nor, in this test, a container's status.
        let left_out = ["labels", "container_status"];
        if left_out.iter().any(|each| path.contains(each)) {
            continue;
        }
        assert_eq!(ours.get(path), Some(kind), "{path}");
    }
}

#[test]
fn tasks_stand_where_their_state_belongs() {
    let state = json_of("/slave(1)/state");
    let (here, gone) = (&state["frameworks"][0]["executors"][0], &state["frameworks"][0]["completed_executors"][0]);
    assert_eq!(here["container"], "container-a");
    assert_eq!(here["tasks"][0]["state"], "TASK_RUNNING");
    assert_eq!(here["resources"], json!({"cpus": 0.1, "mem": 32.0, "disk": 0.0, "gpus": 0.0}));
    assert_eq!(gone["tasks"], json!([]));
    assert_eq!(gone["completed_tasks"][0]["statuses"], json!([{"state": "TASK_FINISHED", "timestamp": 1.5}]));
    assert_eq!(state["resources"]["ports"], "[31000-32000]");
    assert_eq!(
        state["unreserved_resources_full"][0],
        json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 2.0}, "role": "*"})
    );
    assert_eq!(state["unreserved_resources_allocated"]["cpus"], 0.1);
}

#[test]
fn an_executors_type_and_labels_are_shown_if_its_framework_named_any() {
    let mut state = state();
    let shown = |state: &State| -> Value {
        let source = &mut Still { state: Some(state.clone()), ..Default::default() };
        let response = handle(&Request::new("GET", "/state", Vec::new()), "slave(1)", source);
        let all: Value = serde_json::from_slice(&response.body).expect("json");
        all["frameworks"][0]["executors"][0].clone()
    };
    let of = |state: &State| shown(state)["type"].clone();
    assert_eq!((of(&state), shown(&state).get("labels")), (Value::Null, None));
    let labels = vec![mesos::Label { key: "k".into(), value: Some("v".into()) }];
    state.frameworks[0].executors[0].info.labels = Some(mesos::Labels { labels });
    assert_eq!(shown(&state)["labels"], json!([{"key": "k", "value": "v"}]));
    for (kind, name) in
        [(mesos::executor_info::Type::Default, "DEFAULT"), (mesos::executor_info::Type::Custom, "CUSTOM")]
    {
        state.frameworks[0].executors[0].info.r#type = Some(kind as i32);
        assert_eq!(of(&state), name);
    }
}

#[test]
fn a_dynamic_reservation_is_also_shown_as_before_reservations_were_refined() {
    let reservation = |kind: resource::reservation_info::Type, role: &str| resource::ReservationInfo {
        r#type: Some(kind as i32),
        role: Some(role.into()),
        principal: (role == "dynamic").then(|| "ops".into()),
        ..Default::default()
    };
    use resource::reservation_info::Type::{Dynamic, Static};
    let shown = |reservations| resources::full(&mesos::Resource { reservations, ..scalar("cpus", 1.0) });
    let one = shown(vec![reservation(Dynamic, "dynamic")]);
    assert_eq!((&one["role"], &one["reservation"]), (&json!("dynamic"), &json!({"principal": "ops"})));
    let fixed = shown(vec![reservation(Static, "static")]);
    assert_eq!((&fixed["role"], fixed.get("reservation")), (&json!("static"), None));
    let refined = shown(vec![reservation(Static, "static"), reservation(Dynamic, "static/dynamic")]);
    assert_eq!((refined.get("role"), refined.get("reservation")), (None, None));
}

#[test]
fn what_nothing_is_used_of_is_zero_and_not_minus_zero() {
    assert_eq!(resources::scalar([], "disk").to_string(), "0");
    let snapshot = String::from_utf8(get("/metrics/snapshot").body).expect("text");
    assert!(!snapshot.contains("-0.0"), "{snapshot}");
}

#[test]
fn a_slave_without_a_master_says_so_by_silence() {
    let state = State { master: None, id: None, ..state() };
    let mut source = Still { state: Some(state), ..Still::default() };
    let response = handle(&Request::new("GET", "/state", Vec::new()), "slave(1)", &mut source);
    let state: Value = serde_json::from_slice(&response.body).expect("json");
    assert_eq!((&state["id"], state.get("master_hostname")), (&json!(""), None));
}

#[test]
fn metrics_are_counted_over_all_executors_there_ever_were() {
    let metrics = json_of("/metrics/snapshot");
    let expect = [
        ("registered", 1.0),
        ("uptime_secs", 60.0),
        ("tasks_running", 1.0),
        ("tasks_finished", 6.0),
        ("tasks_failed", 0.0),
        ("executors_running", 1.0),
        ("executors_terminated", 6.0),
        ("cpus_total", 2.0),
        ("cpus_used", 0.1),
        ("cpus_percent", 0.05),
    ];
    for (name, value) in expect {
        assert_eq!(metrics[format!("slave/{name}")], json!(value), "{name}");
    }
}

#[test]
fn every_endpoint_is_also_below_the_slave() {
    let paths = ["/health", "/version", "/state", "/flags", "/metrics/snapshot", "/files/debug", "/state/"];
    let more = ["/monitor/statistics", "/monitor/statistics.json", "/containers", "/containerizer/debug", "/help"];
    for path in paths.iter().chain(&more).chain(&["/system/stats.json"]) {
        for prefix in ["", "/slave(1)", "/slave%281%29"] {
            assert_eq!(get(&format!("{prefix}{path}")).status, 200, "{prefix}{path}");
        }
    }
    assert_eq!(get("/slave(2)/health").status, 404);
}

#[test]
fn health_is_an_empty_answer_and_version_names_mesos_and_us() {
    assert_eq!(get("/health").body, b"");
    let version = json_of("/version");
    assert_eq!((&version["version"], &version["name"]), (&json!("1.11.0"), &json!("mesos-slave")));
}

#[test]
fn what_is_not_there_or_not_allowed_is_refused_in_mesos_words() {
    assert_eq!((get("/nothing").status, get("/nothing").body), (404, b"404 Not Found.".to_vec()));
    let refused = request("POST", "/state");
    let text = "405 Method Not Allowed. Expecting one of { 'GET' }, but received 'POST'.";
    assert_eq!((refused.status, refused.body, refused.headers.get("Allow")), (405, text.into(), Some("GET")));
    assert_eq!(get("/%zz").status, 400);
}

#[test]
fn a_callback_is_a_name_and_nothing_else() {
    let response = get("/version?jsonp=angular.callbacks._0");
    assert_eq!(response.headers.get("Content-Type"), Some("text/javascript"));
    assert!(response.body.starts_with(b"angular.callbacks._0({") && response.body.ends_with(b"})"));
    assert_eq!(get("/version?jsonp=alert(1)//").status, 400);
}
