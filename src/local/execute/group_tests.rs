//! A task group: what may be asked for, and how it is followed to its end. The clock is invented.

use std::fs;
use std::time::Instant;

use super::calls::Work;
use super::group;
use super::outcome::Outcome;
use super::scheduler::{Action, Event, Interrupt, Scheduler, Shown, Target};
use crate::messages::mesos::TaskState;
use crate::messages::mesos::scheduler::{Call, Event as FromMaster, call};
use crate::messages::{from_v1_json, to_v1_json};

/// As `mesos-execute --help` shows it, of two tasks and without an agent's id.
const GROUP: &str = r#"{"tasks":[
  {"name":"a","task_id":{"value":"a"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}},
   {"name":"mem","type":"SCALAR","scalar":{"value":32}}],"command":{"value":"sleep 1000"}},
  {"name":"b","task_id":{"value":"b"},"agent_id":{"value":""},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.2}},
   {"name":"mem","type":"SCALAR","scalar":{"value":32}}],"command":{"value":"sleep 1000"}}]}"#;

fn read(text: &str) -> Result<Work, String> {
    group::read(text, "root".to_string())
}

fn refused(text: &str) -> String {
    read(text).err().unwrap_or_else(|| panic!("{text} was taken"))
}

struct Test {
    scheduler: Scheduler,
    now: Instant,
}

impl Test {
    /// Subscribed.
    fn new() -> Test {
        let now = Instant::now();
        let (scheduler, _) = Scheduler::new(read(GROUP).expect("a group"), None, now);
        let mut test = Test { scheduler, now };
        test.master(r#"{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"F"}}}"#);
        test
    }

    /// Subscribed, and the group launched.
    fn launched() -> Test {
        let mut test = Test::new();
        test.offer(0.4, 96.0);
        test
    }

    fn handle(&mut self, event: Event) -> Vec<Action> {
        self.scheduler.handle(event, self.now)
    }

    fn master(&mut self, json: &str) -> Vec<Action> {
        let event: FromMaster = from_v1_json("mesos.v1.scheduler.Event", json.as_bytes()).expect("event");
        self.handle(Event::Master(Box::new(event)))
    }

    fn offer(&mut self, cpus: f64, mem: f64) -> Vec<Action> {
        let scalar =
            |name: &str, value: f64| format!(r#"{{"name":"{name}","type":"SCALAR","scalar":{{"value":{value}}}}}"#);
        let resources = [scalar("cpus", cpus), scalar("mem", mem), scalar("disk", 100.0)].join(",");
        self.master(&format!(
            r#"{{"type":"OFFERS","offers":{{"offers":[{{"id":{{"value":"O"}},"framework_id":{{"value":"F"}},"agent_id":{{"value":"S"}},"hostname":"h","url":{{"scheme":"http","address":{{"ip":"127.0.0.1","port":5051}},"path":"/slave(1)"}},"resources":[{resources}]}}]}}}}"#
        ))
    }

    /// A status out of the task's nested container.
    fn update(&mut self, task: &str, state: &str, message: &str) -> Vec<Action> {
        self.master(&format!(
            r#"{{"type":"UPDATE","update":{{"status":{{"task_id":{{"value":"{task}"}},"state":"{state}","message":"{message}","agent_id":{{"value":"S"}},"uuid":"rDxkMkr4Rn6T47upY6MdhQ==","container_status":{{"container_id":{{"value":"n-{task}","parent":{{"value":"p"}}}}}}}}}}}}"#
        ))
    }
}

fn calls(actions: &[Action]) -> Vec<&Call> {
    let mut calls: Vec<&Call> = Vec::new();
    for action in actions {
        match action {
            Action::Call(call) => calls.push(call),
            Action::State(..) | Action::Say(_) | Action::Follow(..) | Action::Drain(_) | Action::Exit(_) => {}
        }
    }
    calls
}

fn kinds(actions: &[Action]) -> Vec<call::Type> {
    calls(actions).into_iter().map(Call::r#type).collect()
}

fn exit(actions: &[Action]) -> Option<&Outcome> {
    actions.iter().find_map(|action| match action {
        Action::Exit(outcome) => Some(outcome),
        Action::Call(_) | Action::State(..) | Action::Say(_) | Action::Follow(..) | Action::Drain(_) => None,
    })
}

#[test]
fn a_group_is_json_or_a_file_of_it_and_no_task_needs_an_agents_id() {
    let path = std::env::temp_dir().join(format!("mesos-slave-group-{}.json", std::process::id()));
    fs::write(&path, GROUP).expect("file");
    let named = read(&path.display().to_string()).expect("a path");
    let url = read(&format!("file://{}", path.display())).expect("a URL");
    fs::remove_file(&path).expect("file");
    let typed = read(GROUP).expect("JSON");
    assert_eq!((&named.tasks, &url.tasks), (&typed.tasks, &typed.tasks));
    assert_eq!(typed.needed().to_string(), "cpus:0.4; mem:96; disk:32");
}

#[test]
fn what_is_no_group_is_refused_with_what_is_wrong() {
    assert!(refused("{").starts_with("--task_group: it is no JSON: "));
    assert!(refused("/no/such/file").starts_with("--task_group: cannot read /no/such/file: "));
    assert_eq!(refused(r#"{"tasks":[]}"#), "--task_group: it has no tasks");
    assert_eq!(refused("{}"), "--task_group: it has no tasks");
    assert!(refused(r#"{"tasks":[{"name":"a"}]}"#).contains("task_id"));
    assert!(refused(r#"{"tasks":7}"#).starts_with("--task_group: it is no TaskGroupInfo: "));
    let twice = GROUP.replace(r#"{"value":"b"}"#, r#"{"value":"a"}"#);
    assert_eq!(refused(&twice), "--task_group: it has two tasks with the id 'a'");
}

#[test]
fn a_group_is_launched_on_one_offer_that_has_room_for_its_executor_too() {
    let mut test = Test::new();
    assert_eq!(kinds(&test.offer(0.3, 64.0)), [call::Type::Decline]);
    let actions = test.offer(0.4, 96.0);
    let accept = to_v1_json("mesos.v1.scheduler.Call", calls(&actions)[0]).expect("json");
    let launch = &accept["accept"]["operations"][0];
    assert_eq!(launch["type"], "LAUNCH_GROUP");
    // The default executor as mesos-execute describes it.
    let executor = &launch["launch_group"]["executor"];
    assert_eq!((&executor["type"], &executor["executor_id"]["value"]), (&"DEFAULT".into(), &"default-executor".into()));
    assert_eq!(executor["framework_id"]["value"], "F");
    let tasks = launch["launch_group"]["task_group"]["tasks"].as_array().expect("tasks");
    let names: Vec<_> = tasks.iter().map(|task| (&task["task_id"]["value"], &task["agent_id"]["value"])).collect();
    assert_eq!(names, [(&"a".into(), &"S".into()), (&"b".into(), &"S".into())]);
}

#[test]
fn each_task_is_followed_in_its_own_sandbox_and_acknowledged_by_itself() {
    let mut test = Test::new();
    let target = |task: &str, container: Option<&str>, shown: Shown| Target {
        host: "127.0.0.1".to_string(),
        port: 5051,
        framework: "F".to_string(),
        task: task.to_string(),
        container: container.map(str::to_string),
        shown,
    };
    let launched = test.offer(0.4, 96.0);
    assert!(launched.contains(&Action::Follow(2, Box::new(target("a", None, Shown::Steps)))), "{launched:?}");
    let own = |task: &str| target(task, Some("p"), Shown::Output(format!("containers/n-{task}")));
    let first = test.update("b", "TASK_STARTING", "");
    assert!(first.contains(&Action::Follow(1, Box::new(own("b")))), "{first:?}");
    let second = test.update("a", "TASK_STARTING", "");
    assert!(second.contains(&Action::Follow(0, Box::new(own("a")))), "{second:?}");
    assert_eq!(test.update("a", "TASK_FINISHED", ""), [Action::Drain(0)]);
    let drained = test.handle(Event::Drained(0));
    assert_eq!((kinds(&drained), exit(&drained)), (vec![call::Type::Acknowledge], None));
    test.update("b", "TASK_FINISHED", "");
    let drained = test.handle(Event::Drained(1));
    assert_eq!(kinds(&drained), [call::Type::Acknowledge, call::Type::Teardown]);
    assert_eq!(exit(&drained), Some(&Outcome::Command(0)));
}

#[test]
fn of_a_task_that_was_never_launched_there_is_nothing_to_follow() {
    let mut test = Test::launched();
    assert_eq!(test.update("a", "TASK_ERROR", "no"), [Action::Drain(0)]);
}

#[test]
fn the_first_that_fails_decides_the_outcome() {
    let mut test = Test::launched();
    test.update("b", "TASK_FAILED", "Command exited with status 3");
    test.update("a", "TASK_KILLED", "Command terminated with signal Terminated");
    assert_eq!(exit(&test.handle(Event::Drained(0))), None);
    assert_eq!(exit(&test.handle(Event::Drained(1))), Some(&Outcome::Command(3)));
    let mut test = Test::launched();
    test.update("a", "TASK_FINISHED", "");
    test.update("b", "TASK_FAILED", "no guest");
    test.handle(Event::Drained(0));
    let outcome = Outcome::Failed("task b failed: no guest".to_string());
    assert_eq!(exit(&test.handle(Event::Drained(1))), Some(&outcome));
}

#[test]
fn ctrl_c_kills_all_that_have_not_ended() {
    let mut test = Test::launched();
    test.update("a", "TASK_FINISHED", "");
    test.handle(Event::Drained(0));
    let killed = test.handle(Event::Interrupt(Interrupt::CtrlC));
    let kills = calls(&killed);
    let names: Vec<_> = kills.iter().filter_map(|call| call.kill.as_ref()).map(|kill| &kill.task_id.value).collect();
    assert_eq!(names, ["b"]);
    test.update("b", "TASK_KILLED", "");
    assert_eq!(exit(&test.handle(Event::Drained(1))).map(Outcome::exit_status), Some(130));
}

#[test]
fn an_interrupt_after_the_last_end_leaves_out_what_was_not_read() {
    let mut test = Test::launched();
    test.update("a", "TASK_FINISHED", "");
    test.update("b", "TASK_FINISHED", "");
    let left = test.handle(Event::Interrupt(Interrupt::CtrlC));
    let states = left.iter().filter(|action| matches!(action, Action::State(_, TaskState::TaskFinished, ..)));
    assert_eq!(states.count(), 2);
    assert_eq!(kinds(&left), [call::Type::Acknowledge, call::Type::Acknowledge, call::Type::Teardown]);
    assert_eq!(exit(&left), Some(&Outcome::Command(0)));
}
