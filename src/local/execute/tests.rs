//! The scheduler's life in scenarios, with what a Mesos 1.11 master sent (`tests/wire/mesos-1.11`), and an invented clock.

use std::time::{Duration, Instant};

use super::calls::Task;
use super::outcome::Outcome;
use super::scheduler::{Action, Event, Interrupt, Scheduler, Shown, Target};
use crate::messages::mesos::scheduler::{Call, Event as FromMaster, call};
use crate::messages::mesos::{self, TaskState};
use crate::messages::{from_v1_json, to_v1_json};
use crate::resources::{self, Resources};

const SUBSCRIBED: &str = r#"{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"a079e6e4-9fb8-4efd-86dc-bd8b7e16d936-0004"},"heartbeat_interval_seconds":15.0,"master_info":{"id":"a079e6e4-9fb8-4efd-86dc-bd8b7e16d936","ip":16777343,"port":5050,"pid":"master@127.0.0.1:5050","hostname":"localhost","version":"1.11.0","address":{"hostname":"localhost","ip":"127.0.0.1","port":5050},"capabilities":[{"type":"AGENT_UPDATE"},{"type":"AGENT_DRAINING"},{}]}}}"#;
const OFFERS: &str = r#"{"type":"OFFERS","offers":{"offers":[{"id":{"value":"a079e6e4-9fb8-4efd-86dc-bd8b7e16d936-O5"},"framework_id":{"value":"a079e6e4-9fb8-4efd-86dc-bd8b7e16d936-0004"},"agent_id":{"value":"a079e6e4-9fb8-4efd-86dc-bd8b7e16d936-S0"},"hostname":"localhost","url":{"scheme":"http","address":{"hostname":"localhost","ip":"127.0.0.1","port":5051},"path":"/slave(1)"},"resources":[{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":32000}]}},{"name":"cpus","type":"SCALAR","scalar":{"value":2.0}},{"name":"mem","type":"SCALAR","scalar":{"value":23081.0}},{"name":"disk","type":"SCALAR","scalar":{"value":252899.0}}]}]}}"#;
const STARTING: &str = r#"{"type":"UPDATE","update":{"status":{"task_id":{"value":"j"},"state":"TASK_STARTING","source":"SOURCE_EXECUTOR","agent_id":{"value":"a079e6e4-9fb8-4efd-86dc-bd8b7e16d936-S0"},"executor_id":{"value":"j"},"timestamp":1795512733.0570186,"uuid":"YezCwTuMTjG22JOrk2oZow==","container_status":{"container_id":{"value":"54ba4b7b-fbbe-476c-a6bc-81a09c774b1b"},"network_infos":[{"ip_addresses":[{"protocol":"IPv4","ip_address":"127.0.0.1"}]}],"executor_pid":26281}}}}"#;
const RUNNING: &str = r#"{"type":"UPDATE","update":{"status":{"task_id":{"value":"j"},"state":"TASK_RUNNING","source":"SOURCE_EXECUTOR","agent_id":{"value":"a079e6e4-9fb8-4efd-86dc-bd8b7e16d936-S0"},"executor_id":{"value":"j"},"timestamp":1795512733.0643438,"uuid":"d8NEkphtRQmL9RRFfNgRtw=="}}}"#;
const FINISHED: &str = r#"{"type":"UPDATE","update":{"status":{"task_id":{"value":"j"},"state":"TASK_FINISHED","message":"Command exited with status 0","source":"SOURCE_EXECUTOR","agent_id":{"value":"a079e6e4-9fb8-4efd-86dc-bd8b7e16d936-S0"},"executor_id":{"value":"j"},"timestamp":1795512733.1441305,"uuid":"rDxkMkr4Rn6T47upY6MdhQ=="}}}"#;
const HEARTBEAT: &str = r#"{"type":"HEARTBEAT"}"#;

/// The call that Mesos' own `mesos-execute` made for this task.
const ACCEPT: &str = r#"{"framework_id":{"value":"a079e6e4-9fb8-4efd-86dc-bd8b7e16d936-0004"},"type":"ACCEPT","accept":{"offer_ids":[{"value":"a079e6e4-9fb8-4efd-86dc-bd8b7e16d936-O5"}],"operations":[{"type":"LAUNCH","launch":{"task_infos":[{"name":"j","task_id":{"value":"j"},"agent_id":{"value":"a079e6e4-9fb8-4efd-86dc-bd8b7e16d936-S0"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":1.0}},{"name":"mem","type":"SCALAR","scalar":{"value":128.0}}],"command":{"shell":true,"value":"echo hi"}}]}}]}}"#;

struct Test {
    scheduler: Scheduler,
    now: Instant,
}

fn task() -> Task {
    let list = resources::parse("cpus:1;mem:128").expect("resources");
    Task {
        id: "j".to_string(),
        name: "j".to_string(),
        command: "echo hi".to_string(),
        env: Vec::new(),
        resources: Resources::checked(&list).expect("resources"),
        user: "root".to_string(),
        run_as: None,
    }
}

impl Test {
    fn new() -> Test {
        Test::with(task(), None)
    }

    fn with(task: Task, timeout: Option<Duration>) -> Test {
        let now = Instant::now();
        let (scheduler, first) = Scheduler::new(task.into(), timeout, now);
        assert_eq!(calls(&first), [call::Type::Subscribe]);
        Test { scheduler, now }
    }

    /// Subscribed, and the task launched.
    fn launched() -> Test {
        let mut test = Test::new();
        test.master(SUBSCRIBED);
        assert_eq!(calls(&test.master(OFFERS)), [call::Type::Accept]);
        test
    }

    fn handle(&mut self, event: Event) -> Vec<Action> {
        self.scheduler.handle(event, self.now)
    }

    fn master(&mut self, json: &str) -> Vec<Action> {
        let event: FromMaster = from_v1_json("mesos.v1.scheduler.Event", json.as_bytes()).expect("event");
        self.handle(Event::Master(Box::new(event)))
    }

    /// The clock moves on to the next deadline.
    fn wait(&mut self) -> Vec<Action> {
        self.now = self.scheduler.deadline().expect("deadline");
        self.handle(Event::Tick)
    }
}

fn calls(actions: &[Action]) -> Vec<call::Type> {
    actions.iter().filter_map(call_of).map(Call::r#type).collect()
}

fn call_of(action: &Action) -> Option<&Call> {
    match action {
        Action::Call(call) => Some(call),
        Action::State(..) | Action::Say(_) | Action::Follow(..) | Action::Drain(_) | Action::Exit(_) => None,
    }
}

fn said(actions: &[Action]) -> String {
    let texts = actions.iter().filter_map(|action| match action {
        Action::Say(text) => Some(text.as_str()),
        Action::Call(_) | Action::State(..) | Action::Follow(..) | Action::Drain(_) | Action::Exit(_) => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn states(actions: &[Action]) -> Vec<TaskState> {
    let states = actions.iter().filter_map(|action| match action {
        Action::State(_, state, ..) => Some(*state),
        Action::Call(_) | Action::Say(_) | Action::Follow(..) | Action::Drain(_) | Action::Exit(_) => None,
    });
    states.collect()
}

fn exit(actions: &[Action]) -> Option<&Outcome> {
    actions.iter().find_map(|action| match action {
        Action::Exit(outcome) => Some(outcome),
        Action::Call(_) | Action::State(..) | Action::Say(_) | Action::Follow(..) | Action::Drain(_) => None,
    })
}

#[test]
fn a_task_is_launched_followed_drained_acknowledged_and_torn_down() {
    let mut test = Test::launched();
    let starting = test.master(STARTING);
    assert_eq!((states(&starting), calls(&starting)), (vec![TaskState::TaskStarting], vec![call::Type::Acknowledge]));
    let target = Target {
        host: "127.0.0.1".to_string(),
        port: 5051,
        framework: "a079e6e4-9fb8-4efd-86dc-bd8b7e16d936-0004".to_string(),
        task: "j".to_string(),
        container: Some("54ba4b7b-fbbe-476c-a6bc-81a09c774b1b".to_string()),
        shown: Shown::All,
    };
    assert!(starting.contains(&Action::Follow(0, Box::new(target))));
    assert_eq!(calls(&test.master(RUNNING)), [call::Type::Acknowledge]);
    assert_eq!(test.master(FINISHED), [Action::Drain(0)], "the last output comes before the last state");
    let drained = test.handle(Event::Drained(0));
    assert_eq!(states(&drained), [TaskState::TaskFinished]);
    assert_eq!(calls(&drained), [call::Type::Acknowledge, call::Type::Teardown]);
    assert_eq!(exit(&drained), Some(&Outcome::Command(0)));
}

#[test]
fn the_launch_is_the_one_that_mesos_own_client_makes() {
    let mut test = Test::new();
    test.master(SUBSCRIBED);
    let actions = test.master(OFFERS);
    let accept = actions.iter().find_map(call_of).expect("a call");
    let mut ours = to_v1_json("mesos.v1.scheduler.Call", accept).expect("json");
    let filters = ours["accept"].as_object_mut().expect("accept").remove("filters");
    assert!(filters.is_some(), "no more offers are wanted");
    let mut mesos: serde_json::Value = serde_json::from_str(ACCEPT).expect("json");
    assert_eq!(ours, mesos.take());
}

#[test]
fn an_offer_that_does_not_fit_is_declined_and_the_user_is_told_after_a_while() {
    let list = resources::parse("cpus:3;mem:128").expect("resources");
    let task = Task { resources: Resources::checked(&list).expect("resources"), ..task() };
    let mut test = Test::with(task, None);
    test.master(SUBSCRIBED);
    assert_eq!(calls(&test.master(OFFERS)), [call::Type::Decline]);
    let before = test.now;
    let told = said(&test.wait());
    assert_eq!(test.now - before, Duration::from_secs(5));
    assert!(told.starts_with("waiting for an offer with cpus:3; mem:128; the last one had "), "{told}");
    assert!(said(&test.master(OFFERS)).is_empty(), "told once");
}

#[test]
fn reserved_and_revocable_resources_are_not_taken() {
    let mut test = Test::new();
    test.master(SUBSCRIBED);
    let reserved = OFFERS.replace(
        r#"{"name":"cpus","type":"SCALAR""#,
        r#"{"name":"cpus","reservations":[{"type":"STATIC","role":"ads"}],"type":"SCALAR""#,
    );
    assert_eq!(calls(&test.master(&reserved)), [call::Type::Decline]);
    let revocable =
        OFFERS.replace(r#"{"name":"cpus","type":"SCALAR""#, r#"{"name":"cpus","revocable":{},"type":"SCALAR""#);
    assert_eq!(calls(&test.master(&revocable)), [call::Type::Decline]);
    assert_eq!(calls(&test.master(OFFERS)), [call::Type::Accept]);
}

#[test]
fn offers_after_the_launch_are_declined() {
    let mut test = Test::launched();
    assert_eq!(calls(&test.master(OFFERS)), [call::Type::Decline]);
}

#[test]
fn an_update_that_comes_twice_is_acknowledged_twice_and_shown_once() {
    let mut test = Test::launched();
    test.master(STARTING);
    let again = test.master(STARTING);
    assert_eq!((states(&again), calls(&again)), (vec![], vec![call::Type::Acknowledge]));
}

#[test]
fn an_update_of_the_masters_own_is_not_acknowledged() {
    let mut test = Test::launched();
    let lost = r#"{"type":"UPDATE","update":{"status":{"task_id":{"value":"j"},"state":"TASK_LOST","source":"SOURCE_MASTER","message":"Agent is gone"}}}"#;
    assert_eq!(test.master(lost).last(), Some(&Action::Drain(0)));
    let drained = test.handle(Event::Drained(0));
    assert_eq!(calls(&drained), [call::Type::Teardown]);
    assert_eq!(exit(&drained), Some(&Outcome::Failed("the task ended as TASK_LOST: Agent is gone".to_string())));
}

#[test]
fn ctrl_c_kills_the_task_once_and_waits_for_its_end() {
    let mut test = Test::launched();
    test.master(STARTING);
    let killed = test.handle(Event::Interrupt(Interrupt::CtrlC));
    assert_eq!(calls(&killed), [call::Type::Kill]);
    assert!(said(&killed).contains("killing the task"));
    let killed = FINISHED.replace("TASK_FINISHED", "TASK_KILLED");
    test.master(&killed);
    let drained = test.handle(Event::Drained(0));
    assert_eq!(exit(&drained).map(Outcome::exit_status), Some(130));
}

#[test]
fn a_second_ctrl_c_leaves_at_once() {
    let mut test = Test::launched();
    test.handle(Event::Interrupt(Interrupt::CtrlC));
    let left = test.handle(Event::Interrupt(Interrupt::CtrlC));
    assert_eq!(calls(&left), [call::Type::Teardown]);
    assert_eq!(exit(&left).map(Outcome::exit_status), Some(130));
}

#[test]
fn ctrl_c_before_the_launch_needs_no_kill() {
    let mut test = Test::new();
    assert_eq!(exit(&test.handle(Event::Interrupt(Interrupt::CtrlC))).map(Outcome::exit_status), Some(130));
    let mut test = Test::new();
    test.master(SUBSCRIBED);
    let left = test.handle(Event::Interrupt(Interrupt::Terminate));
    assert_eq!(calls(&left), [call::Type::Teardown]);
    assert_eq!(exit(&left).map(Outcome::exit_status), Some(143));
}

#[test]
fn a_task_killed_before_its_first_update_is_still_followed() {
    let mut test = Test::launched();
    test.handle(Event::Interrupt(Interrupt::CtrlC));
    let starting = test.master(STARTING);
    assert!(starting.iter().any(|action| matches!(action, Action::Follow(..))));
}

#[test]
fn a_task_that_runs_too_long_is_killed() {
    let mut test = Test::with(task(), Some(Duration::from_secs(10)));
    test.master(SUBSCRIBED);
    test.master(OFFERS);
    let launched = test.now;
    assert_eq!(calls(&test.wait()), [call::Type::Kill]);
    assert_eq!(test.now - launched, Duration::from_secs(10));
    test.master(&FINISHED.replace("TASK_FINISHED", "TASK_KILLED"));
    assert_eq!(exit(&test.handle(Event::Drained(0))).map(Outcome::exit_status), Some(124));
}

#[test]
fn a_master_that_is_silent_for_five_heartbeats_is_lost() {
    let mut test = Test::launched();
    test.now += Duration::from_secs(70);
    assert!(test.master(HEARTBEAT).is_empty());
    let before = test.now;
    let lost = test.wait();
    assert_eq!(test.now - before, Duration::from_secs(75));
    assert_eq!(exit(&lost), Some(&Outcome::Failed("lost the master: it has been silent for 75 s".to_string())));
}

#[test]
fn a_master_that_refuses_us_is_quoted() {
    let mut test = Test::new();
    let refused = test.master(r#"{"type":"ERROR","error":{"message":"Framework is not allowed"}}"#);
    assert_eq!(exit(&refused), Some(&Outcome::Failed("the master refuses us: Framework is not allowed".to_string())));
}

#[test]
fn a_master_lost_after_the_tasks_end_does_not_change_its_outcome() {
    let mut test = Test::launched();
    test.master(FINISHED);
    assert_eq!(exit(&test.handle(Event::Lost("gone".to_string()))), Some(&Outcome::Command(0)));
    assert!(test.handle(Event::Drained(0)).is_empty());
}

#[test]
fn an_update_of_another_task_is_none_of_ours() {
    let mut test = Test::launched();
    assert!(test.master(&STARTING.replace(r#"{"value":"j"}"#, r#"{"value":"k"}"#)).is_empty());
}

#[test]
fn the_environment_and_the_user_are_sent_as_they_are() {
    let env = vec![("A".to_string(), "it's $(x)\n".to_string())];
    let mut test = Test::with(Task { env, run_as: Some("mesos".to_string()), ..task() }, None);
    test.master(SUBSCRIBED);
    let actions = test.master(OFFERS);
    let accept = actions.iter().find_map(call_of).and_then(|call| call.accept.as_ref()).expect("accept");
    let launch = accept.operations[0].launch.as_ref().expect("launch");
    let command = launch.task_infos[0].command.as_ref().expect("command");
    let variables = &command.environment.as_ref().expect("environment").variables;
    assert_eq!((variables[0].name.as_str(), variables[0].value()), ("A", "it's $(x)\n"));
    assert_eq!(command.user.as_deref(), Some("mesos"));
    assert_eq!(accept.operations[0].r#type, Some(mesos::offer::operation::Type::Launch as i32));
}
