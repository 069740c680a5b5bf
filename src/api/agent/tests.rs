//! Operators' calls, against what Mesos 1.11 answers.

use serde_json::{Value, json};

use crate::api::tests::{Still, kinds_in, state};
use crate::api::{Measurement, handle};
use crate::isolation::usage::{Machine, Taken, Usage};
use crate::libprocess::{Request, Response};
use crate::messages::mesos::agent;
use crate::messages::{from_v1_bytes, mesos};

/// What the agent answers, captured, with what is long or has no counterpart here left out.
const CAPTURED: [(&str, &str); 10] = [
    ("GET_HEALTH", r#"{"get_health":{"healthy":true},"type":"GET_HEALTH"}"#),
    ("GET_FLAGS", r#"{"type":"GET_FLAGS","get_flags":{"flags":[{"name":"work_dir","value":"/tmp/a"}]}}"#),
    (
        "GET_VERSION",
        r#"{"type":"GET_VERSION","get_version":{"version_info":{"version":"1.11.0","build_date":"2026-11-24 13:54:51 UTC",
"build_time":1795528491.0,"build_user":"root"}}}"#,
    ),
    ("GET_LOGGING_LEVEL", r#"{"type":"GET_LOGGING_LEVEL","get_logging_level":{"level":0}}"#),
    ("GET_OPERATIONS", r#"{"type":"GET_OPERATIONS","get_operations":{}}"#),
    ("GET_RESOURCE_PROVIDERS", r#"{"type":"GET_RESOURCE_PROVIDERS","get_resource_providers":{}}"#),
    (
        "GET_CONTAINERS",
        r#"{"type":"GET_CONTAINERS","get_containers":{"containers":[{"framework_id":{"value":"F"},"executor_id":{"value":"a"},
"executor_name":"","container_id":{"value":"container-a"},"container_status":{"container_id":{"value":"container-a"},
"executor_pid":4558},"resource_statistics":{"timestamp":1795541714.193309,"cpus_user_time_secs":0.28,
"cpus_system_time_secs":0.07,"cpus_soft_limit":0.6,"mem_limit_bytes":100663296,"mem_soft_limit_bytes":100663296,
"mem_rss_bytes":397271040}}]}}"#,
    ),
    (
        "GET_TASKS",
        r#"{"type":"GET_TASKS","get_tasks":{"pending_tasks":[],"queued_tasks":[],"launched_tasks":[{"name":"x",
"task_id":{"value":"x"},"framework_id":{"value":"F"},"executor_id":{"value":"x"},"agent_id":{"value":"S1"},
"state":"TASK_RUNNING","resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.5}}],
"statuses":[{"task_id":{"value":"x"},"state":"TASK_STARTING","timestamp":1795542373.978799}]}],"terminated_tasks":[],
"completed_tasks":[{"name":"x","task_id":{"value":"x"},"framework_id":{"value":"F"},"executor_id":{"value":"x"},
"agent_id":{"value":"S1"},"state":"TASK_FINISHED","resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.5}}],
"statuses":[{"task_id":{"value":"x"},"state":"TASK_STARTING","timestamp":1795542373.978799}]}]}}"#,
    ),
    (
        "GET_EXECUTORS",
        r#"{"type":"GET_EXECUTORS","get_executors":{"executors":[{"executor_info":{"executor_id":{"value":"x"}}}],
"completed_executors":[{"executor_info":{"executor_id":{"value":"x"}}}]}}"#,
    ),
    (
        "GET_FRAMEWORKS",
        r#"{"type":"GET_FRAMEWORKS","get_frameworks":{"frameworks":[{"framework_info":{"user":"root","name":"f",
"id":{"value":"F"},"failover_timeout":0.0,"checkpoint":false}}],"completed_frameworks":[]}}"#,
    ),
];

fn source() -> Still {
    let taken = Some(Taken { pid: 77, user_secs: 1.5, system_secs: 0.25, resident_bytes: 4096 });
    let container = crate::ids::ContainerId::new("container-a").expect("id");
    let seen = Measurement { at: 1.5, usages: [(container, Usage { machine: None, taken })].into() };
    Still { seen, ..Still::default() }
}

fn post_to(source: &mut Still, body: &str, headers: &[(&str, &str)]) -> Response {
    let request = Request::new("POST", "/slave(1)/api/v1", body.as_bytes().to_vec());
    let request = headers.iter().fold(request, |request, (name, value)| request.with(name, value));
    handle(&request, "slave(1)", source)
}

fn post(body: &str) -> Response {
    post_to(&mut source(), body, &[("Content-Type", "application/json")])
}

fn said(response: &Response) -> (u16, String) {
    (response.status, String::from_utf8(response.body.clone()).expect("text"))
}

fn json_of(body: &str) -> Value {
    let (status, text) = said(&post(body));
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("json")
}

#[test]
fn each_answer_has_mesos_fields_and_types() {
    for (call, answer) in CAPTURED {
        let theirs: Value = serde_json::from_str(answer).expect("json");
        let ours = json_of(&json!({ "type": call }).to_string());
        assert_eq!(kinds_in(&ours), kinds_in(&theirs), "{call}");
        assert_eq!(ours["type"], call);
    }
}

#[test]
fn the_whole_state_is_tasks_executors_and_frameworks() {
    let state = json_of(r#"{"type":"GET_STATE"}"#);
    for (call, field) in
        [("GET_TASKS", "get_tasks"), ("GET_EXECUTORS", "get_executors"), ("GET_FRAMEWORKS", "get_frameworks")]
    {
        assert_eq!(state["get_state"][field], json_of(&json!({ "type": call }).to_string())[field]);
    }
    let agent = json_of(r#"{"type":"GET_AGENT"}"#);
    let info = &agent["get_agent"]["agent_info"];
    assert_eq!((&info["hostname"], &info["id"]["value"]), (&json!("localhost"), &json!("S0")));
    let metrics = json_of(r#"{"type":"GET_METRICS","get_metrics":{}}"#);
    let metrics = metrics["get_metrics"]["metrics"].as_array().expect("an array").clone();
    assert!(metrics.contains(&json!({"name": "slave/tasks_running", "value": 1.0})), "{metrics:?}");
}

#[test]
fn tasks_whose_end_is_acknowledged_stand_apart_from_those_whose_end_is_not() {
    let mut state = state();
    let executor = &mut state.frameworks[0].executors[0];
    let task = executor.tasks[0].clone();
    let ended = |id: &str| mesos::Task {
        task_id: mesos::TaskId { value: id.into() },
        state: mesos::TaskState::TaskFailed as i32,
        ..task.clone()
    };
    executor.tasks = vec![ended("acknowledged"), task.clone(), ended("not")];
    executor.completed = 1;
    let mut source = Still { state: Some(state), ..source() };
    let response = post_to(&mut source, r#"{"type":"GET_TASKS"}"#, &[("Content-Type", "application/json")]);
    let tasks: Value = serde_json::from_slice(&response.body).expect("json");
    let ids = |list: &str| -> Vec<String> {
        let list = tasks["get_tasks"][list].as_array().expect("an array").iter();
        list.map(|task| task["task_id"]["value"].as_str().expect("id").to_string()).collect()
    };
    assert_eq!((ids("launched_tasks"), ids("terminated_tasks")), (vec!["a".to_string()], vec!["not".to_string()]));
    assert_eq!(ids("completed_tasks"), ["acknowledged", "b"]);
}

#[test]
fn protobuf_is_understood_and_answered() {
    let call = [8, 10]; // type: GET_CONTAINERS
    let mut request = Request::new("POST", "/api/v1", call.to_vec()).with("Content-Type", "application/x-protobuf");
    request.headers.push("Accept", "application/x-protobuf");
    let mut source = source();
    source.seen.usages.values_mut().for_each(|usage| usage.machine = Some(Machine { cpus: 2, memory: 1 << 27 }));
    let response = handle(&request, "slave(1)", &mut source);
    assert_eq!(response.headers.get("Content-Type"), Some("application/x-protobuf"));
    let answer: agent::Response = from_v1_bytes("mesos.v1.agent.Response", &response.body).expect("a response");
    let containers = answer.get_containers.expect("containers").containers;
    let statistics = containers[0].resource_statistics.as_ref().expect("statistics");
    assert_eq!((statistics.cpus_limit, statistics.mem_limit_bytes), (Some(2.0), Some(1 << 27)));
}

#[test]
fn a_tasks_container_inside_its_executors_is_told_of_on_demand() {
    let mut source = source();
    let container = crate::ids::ContainerId::new("container-t").expect("id");
    source.seen.usages.insert(container.clone(), Usage { machine: None, taken: None });
    let mut state = crate::api::tests::state();
    let resources = vec![crate::resources::scalar("cpus", 2.5)];
    state.frameworks[0].executors[0].nested = vec![crate::api::state::Nested { container, resources }];
    source.state = Some(state);
    let mut all = |which: &str| -> Value {
        let call = format!(r#"{{"type":"GET_CONTAINERS","get_containers":{{"show_nested":{which}}}}}"#);
        let (_, text) = said(&post_to(&mut source, &call, &[("Content-Type", "application/json")]));
        serde_json::from_str::<Value>(&text).expect("json")["get_containers"]["containers"].clone()
    };
    assert_eq!(all("false").as_array().map(Vec::len), Some(1));
    // As the agent's, whose entry names neither framework nor executor.
    let id = serde_json::json!({"value": "container-t", "parent": {"value": "container-a"}});
    let nested = all("true")[1].clone();
    assert_eq!((&nested["container_id"], &nested["container_status"]["container_id"]), (&id, &id));
    assert_eq!((&nested["resource_statistics"]["cpus_soft_limit"], nested.get("executor_id")), (&2.5.into(), None));
}

#[test]
fn files_are_listed_and_read() {
    let scratch = crate::container::scratch::Scratch::new();
    std::fs::write(scratch.path().join("stdout"), "hello\n").expect("write");
    let mut source = source();
    source.files.attach("/sandbox", scratch.path());
    let json = [("Content-Type", "application/json")];
    let mut answer = |body: &str| said(&post_to(&mut source, body, &json));
    let (status, text) = answer(r#"{"type":"LIST_FILES","list_files":{"path":"/sandbox"}}"#);
    let theirs = r#"{"type":"LIST_FILES","list_files":{"file_infos":[{"path":"/f/stdout","nlink":1,"size":6,
"mtime":{"nanoseconds":1795542373000000000},"mode":33188,"uid":"root","gid":"root"}]}}"#;
    let (theirs, ours): (Value, Value) =
        (serde_json::from_str(theirs).expect("json"), serde_json::from_str(&text).expect("json"));
    assert_eq!((status, kinds_in(&ours)), (200, kinds_in(&theirs)));
    assert_eq!(ours["list_files"]["file_infos"][0]["path"], "/sandbox/stdout");
    let read = |rest: &str| format!(r#"{{"type":"READ_FILE","read_file":{{"path":"/sandbox{rest}}}}}"#);
    let piece = r#"{"read_file":{"data":"aGVs","size":6},"type":"READ_FILE"}"#;
    assert_eq!(answer(&read(r#"/stdout","offset":0,"length":3"#)), (200, piece.to_string()));
    let behind = r#"{"read_file":{"data":"","size":6},"type":"READ_FILE"}"#;
    assert_eq!(answer(&read(r#"/stdout","offset":1000"#)), (200, behind.to_string()));
    assert_eq!(answer(&read(r#"","offset":0"#)), (400, "Cannot read a directory.\n".to_string()));
    assert_eq!(answer(&read(r#"/nothing","offset":0"#)), (404, String::new()));
}

#[test]
fn what_is_wrong_with_a_call_is_said_in_mesos_words() {
    let invalid = |what: &str| (400, format!("Failed to validate agent::Call: Expecting '{what}' to be present"));
    assert_eq!(said(&post("{}")), invalid("type"));
    assert_eq!(said(&post(r#"{"type":"NONSENSE"}"#)), invalid("type"));
    for call in ["GET_METRICS", "READ_FILE", "LAUNCH_NESTED_CONTAINER", "MARK_RESOURCE_PROVIDER_GONE", "WAIT_CONTAINER"]
    {
        assert_eq!(said(&post(&json!({ "type": call }).to_string())), invalid(&call.to_lowercase()));
    }
    assert_eq!(post("{").status, 400);
    let health = r#"{"type":"GET_HEALTH"}"#;
    let with = |headers: &[(&str, &str)]| said(&post_to(&mut source(), health, headers));
    let json = ("Content-Type", "application/json");
    assert_eq!(with(&[]), (400, "Expecting 'Content-Type' to be present".into()));
    let kinds = "application/json or application/x-protobuf or application/recordio";
    assert_eq!(with(&[("Content-Type", "text/plain")]), (415, format!("Expecting 'Content-Type' of {kinds}")));
    assert_eq!(with(&[json, ("Accept", "text/html")]), (406, format!("Expecting 'Accept' to allow {kinds}")));
    let streamed = with(&[json, ("Accept", "application/recordio")]);
    assert_eq!(streamed, (406, "Streaming response is not supported for GET_HEALTH call".into()));
    let texts = [
        ("Message-Content-Type", 415, "Expecting 'Message-Content-Type' to be not set for non-streaming requests"),
        ("Message-Accept", 406, "Expecting 'Message-Accept' to be not set for non-streaming responses"),
    ];
    for (header, status, text) in texts {
        assert_eq!(with(&[json, (header, "application/json")]), (status, text.to_string()));
    }
    let got = handle(&Request::new("GET", "/api/v1", Vec::new()), "slave(1)", &mut source());
    let text = "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.";
    assert_eq!((said(&got), got.headers.get("Allow")), ((405, text.to_string()), Some("POST")));
}

#[test]
fn what_is_not_here_or_not_done_here_is_said() {
    let of = |call: &str, container: &str| {
        let mut body = json!({ "type": call });
        body[call.to_lowercase()] = json!({ "container_id": { "value": container } });
        said(&post(&body.to_string()))
    };
    assert_eq!(of("WAIT_CONTAINER", "x"), (404, "Container x cannot be found".into()));
    assert_eq!(of("ATTACH_CONTAINER_OUTPUT", "x"), (404, "Container x cannot be found".into()));
    assert_eq!(of("KILL_CONTAINER", "x"), (404, "Container 'x' cannot be found (or is already killed)".into()));
    for call in ["KILL_CONTAINER", "LAUNCH_NESTED_CONTAINER", "LAUNCH_CONTAINER", "REMOVE_CONTAINER"] {
        assert_eq!(of(call, "container-a"), (501, "501 Not Implemented.".into()), "{call}");
    }
    let level = r#"{"type":"SET_LOGGING_LEVEL","set_logging_level":{"level":1,"duration":{"nanoseconds":1}}}"#;
    for body in [r#"{"type":"UNKNOWN"}"#, level] {
        assert_eq!(said(&post(body)), (501, "501 Not Implemented.".into()), "{body}");
    }
    assert_eq!(said(&post(r#"{"type":"PRUNE_IMAGES"}"#)), (200, String::new()));
}

#[test]
fn the_container_of_a_default_executors_task_is_here_while_the_task_is() {
    let nested = |task_state: mesos::TaskState| {
        let mut slave = state();
        let task = &mut slave.frameworks[0].executors[0].tasks[0];
        let container_id = Some(mesos::ContainerId { value: "nested".into(), ..Default::default() });
        let container_status = Some(mesos::ContainerStatus { container_id, ..Default::default() });
        task.statuses = vec![mesos::TaskStatus { container_status, ..Default::default() }];
        task.set_state(task_state);
        let mut source = Still { state: Some(slave), ..source() };
        let call = r#"{"type":"WAIT_NESTED_CONTAINER","wait_nested_container":{"container_id":{"value":"nested"}}}"#;
        said(&post_to(&mut source, call, &[("Content-Type", "application/json")])).0
    };
    assert_eq!(nested(mesos::TaskState::TaskRunning), 501);
    assert_eq!(nested(mesos::TaskState::TaskFinished), 404);
}
