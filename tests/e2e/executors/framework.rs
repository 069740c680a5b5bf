//! A framework that launches tasks on executors and talks to these.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::PYTHON;
use crate::scheduler::{Scheduler, text};
use crate::support::World;

/// The executor that the tests bring along.
const EXECUTOR: &str = include_str!("executor.py");

/// A subscribed framework, and what it has heard and nobody asked for yet.
pub struct Framework {
    scheduler: Scheduler,
    heard: VecDeque<Value>,
    /// Where each executor was launched.
    slaves: BTreeMap<String, Value>,
}

/// An executor's description: `executor.py` with these arguments.
pub fn executor(id: &str, arguments: &str) -> Value {
    let script = format!("cat >executor.py <<'END'\n{EXECUTOR}\nEND\nexec {PYTHON} executor.py {arguments}");
    with_command(id, &script)
}

/// An executor's description, of any command.
pub fn with_command(id: &str, command: &str) -> Value {
    json!({ "executor_id": { "value": id }, "name": id, "data": base64(b""),
        "command": { "value": command }, "resources": resources(0.1, 160.0) })
}

fn scalar(name: &str, value: f64) -> Value {
    json!({ "name": name, "type": "SCALAR", "scalar": { "value": value } })
}

/// So much of a CPU and of memory.
pub fn resources(cpus: f64, mem: f64) -> Value {
    json!([scalar("cpus", cpus), scalar("mem", mem)])
}

impl Framework {
    /// Subscribes.
    pub fn subscribe(world: &World) -> Framework {
        Framework::of(Scheduler::subscribe(&world.master_address, "root"))
    }

    /// Subscribes a framework that hears of it when a task of its is being killed.
    pub fn subscribe_to_killing(world: &World) -> Framework {
        Framework::of(Scheduler::subscribe_to_killing(&world.master_address, "root"))
    }

    /// Subscribes a framework that outlives its scheduler.
    pub fn subscribe_to_stay(world: &World) -> Framework {
        Framework::of(Scheduler::subscribe_to_stay(&world.master_address, "root"))
    }

    fn of(scheduler: Scheduler) -> Framework {
        Framework { scheduler, heard: VecDeque::new(), slaves: BTreeMap::new() }
    }

    /// The same framework with a scheduler that takes this one's place, and hears nothing of what was said to it.
    pub fn fail_over(&self, world: &World) -> Framework {
        Framework { slaves: self.slaves.clone(), ..Framework::of(self.scheduler.follow(&world.master_address)) }
    }

    /// The next offers, of one slave or more.
    pub fn await_offers(&mut self) -> Vec<Value> {
        self.await_event("offers", |event| event["offers"]["offers"].as_array().cloned())
    }

    /// Launches tasks of an executor on the next offer, each with its own name as data.
    pub fn launch(&mut self, executor: &Value, tasks: &[&str]) {
        let offers = self.await_offers();
        self.launch_on(&offers[0], executor, tasks);
    }

    /// The same on a certain offer.
    pub fn launch_on(&mut self, offer: &Value, executor: &Value, tasks: &[&str]) {
        self.slaves.insert(text(&executor["executor_id"]["value"]), offer["agent_id"].clone());
        let task = |name: &&str| {
            json!({ "name": name, "task_id": { "value": name }, "agent_id": offer["agent_id"],
            "executor": executor, "data": base64(name.as_bytes()), "resources": resources(0.1, 16.0) })
        };
        let tasks: Vec<Value> = tasks.iter().map(task).collect();
        self.scheduler.call(json!({ "type": "ACCEPT", "accept": { "offer_ids": [offer["id"]],
            "filters": { "refuse_seconds": 1 },
            "operations": [{ "type": "LAUNCH", "launch": { "task_infos": tasks } }] } }));
    }

    /// Launches a group of tasks on the next offer, with an executor of ours that Mesos' default executor is to be.
    pub fn launch_group(&mut self, executor: &str, tasks: Vec<Value>) {
        let offer = self.await_offers().remove(0);
        self.slaves.insert(executor.to_string(), offer["agent_id"].clone());
        let mut resources = resources(0.1, 32.0);
        resources.as_array_mut().expect("a list").push(scalar("disk", 32.0));
        let info = json!({ "type": "DEFAULT", "executor_id": { "value": executor }, "resources": resources,
            "framework_id": { "value": self.scheduler.id() } });
        let on_offer = |mut task: Value| {
            task["agent_id"] = offer["agent_id"].clone();
            task
        };
        let tasks: Vec<Value> = tasks.into_iter().map(on_offer).collect();
        let group = json!({ "executor": info, "task_group": { "tasks": tasks } });
        self.scheduler.call(json!({ "type": "ACCEPT", "accept": { "offer_ids": [offer["id"]],
            "filters": { "refuse_seconds": 1 },
            "operations": [{ "type": "LAUNCH_GROUP", "launch_group": group }] } }));
    }

    /// The first event of which `which` makes something; the others stay to be asked for.
    pub fn await_event<T>(&mut self, what: &str, which: impl Fn(&Value) -> Option<T>) -> T {
        if let Some(index) = self.heard.iter().position(|event| which(event).is_some()) {
            let event = self.heard.remove(index).expect("an event");
            return which(&event).expect(what);
        }
        loop {
            let event = self.scheduler.next_event();
            assert!(event["type"] != "ERROR" || what == "an error", "waiting for {what}: {event}");
            let status = &event["update"]["status"];
            if status["uuid"].is_string() {
                self.scheduler.call(json!({ "type": "ACKNOWLEDGE", "acknowledge": {
                    "agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"] } }));
            }
            match which(&event) {
                Some(found) => return found,
                None => self.heard.push_back(event),
            }
        }
    }

    /// Waits for a task's status, whatever comes of others meanwhile.
    pub fn await_status(&mut self, task: &str) -> Value {
        self.await_event(&format!("a status of {task}"), |event| {
            let status = &event["update"]["status"];
            (status["task_id"]["value"] == task).then(|| status.clone())
        })
    }

    /// Waits for a task's next status, which is to be this one.
    pub fn await_state(&mut self, task: &str, state: &str) -> Value {
        let status = self.await_status(task);
        assert_eq!(status["state"], state, "{status}");
        status
    }

    /// A terminal status of a task that its executor left alone: state, reason, message.
    pub fn await_end(&mut self, task: &str) -> (String, String, String) {
        let status = self.await_status(task);
        (text(&status["state"]), text(&status["reason"]), text(&status["message"]))
    }

    /// Launches tasks and waits until they run, each with its data given back.
    pub fn run(&mut self, executor: &Value, tasks: &[&str]) {
        self.launch(executor, tasks);
        self.await_running(executor, tasks);
    }

    /// Waits until tasks run, each with its data given back.
    pub fn await_running(&mut self, executor: &Value, tasks: &[&str]) {
        for task in tasks {
            let status = self.await_state(task, "TASK_RUNNING");
            assert_eq!(status["data"], base64(task.as_bytes()), "{status}");
            assert_eq!(status["executor_id"], executor["executor_id"], "{status}");
            assert_eq!(status["source"], "SOURCE_EXECUTOR", "{status}");
        }
    }

    /// A message to an executor.
    pub fn say(&self, executor: &str, data: &[u8]) {
        self.scheduler.call(json!({ "type": "MESSAGE", "message": { "agent_id": self.slaves[executor],
            "executor_id": { "value": executor }, "data": base64(data) } }));
    }

    /// The next message of an executor.
    pub fn hear(&mut self, executor: &str) -> Vec<u8> {
        let data = self.await_event(&format!("a message of {executor}"), |event| {
            let message = &event["message"];
            (message["executor_id"]["value"] == executor).then(|| text(&message["data"]))
        });
        unbase64(&data)
    }

    /// What an executor answers.
    pub fn ask(&mut self, executor: &str, question: &str) -> String {
        self.say(executor, question.as_bytes());
        String::from_utf8(self.hear(executor)).expect("text")
    }

    /// Asks for a task to be killed.
    pub fn kill(&self, task: &str) {
        self.scheduler.kill(task);
    }

    /// Asks for an executor to be shut down.
    pub fn shut_down(&self, executor: &str) {
        self.scheduler.call(json!({ "type": "SHUTDOWN", "shutdown": { "agent_id": self.slaves[executor],
            "executor_id": { "value": executor } } }));
    }

    /// Waits for an executor's end; gives the status that wait(2) gave.
    pub fn await_exit(&mut self, executor: &str) -> i64 {
        self.await_event(&format!("the end of {executor}"), |event| {
            let failure = &event["failure"];
            (failure["executor_id"]["value"] == executor).then(|| failure["status"].as_i64().expect("a status"))
        })
    }

    /// What ended the stream.
    pub fn await_error(&mut self) -> String {
        self.await_event("an error", |event| event["error"]["message"].as_str().map(str::to_string))
    }

    /// Any other call.
    pub fn call(&self, call: Value) {
        self.scheduler.call(call);
    }

    /// Ends the framework.
    pub fn teardown(self) {
        self.scheduler.teardown();
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes as v1 JSON has them.
pub fn base64(data: &[u8]) -> String {
    let mut out = String::new();
    for three in data.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, place| bits << 8 | u32::from(three.get(place).copied().unwrap_or(0)));
        for place in 0..4 {
            let letter = char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]);
            out.push(if place <= three.len() { letter } else { '=' });
        }
    }
    out
}

/// The reverse of it.
pub fn unbase64(text: &str) -> Vec<u8> {
    let value = |letter: &u8| ALPHABET.iter().position(|each| each == letter).expect("base64") as u32;
    let letters = text.trim_end_matches('=').as_bytes();
    letters
        .chunks(4)
        .flat_map(|four| {
            let bits = four.iter().fold(0u32, |bits, letter| bits << 6 | value(letter)) << (6 * (4 - four.len()));
            bits.to_be_bytes()[1..four.len()].to_vec()
        })
        .collect()
}
