//! A scheduler of the tests' own, for what `execute` would not send: any task id, user, kill. It speaks the v1 API in JSON over
//! plain sockets, so it shares no code with what it tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

/// A subscribed framework.
pub struct Scheduler {
    master: String,
    events: BufReader<TcpStream>,
    /// Bytes of the stream, chunk framing taken off.
    body: Vec<u8>,
    stream_id: String,
    info: Value,
    framework: String,
}

fn framework(user: &str) -> Value {
    json!({ "user": user, "name": "e2e", "roles": ["*"],
        "capabilities": [{ "type": "MULTI_ROLE" }, { "type": "PARTITION_AWARE" }] })
}

impl Scheduler {
    /// Subscribes a framework of this user.
    pub fn subscribe(master: &str, user: &str) -> Scheduler {
        Scheduler::subscribe_as(master, framework(user), None)
    }

    /// Subscribes a framework that hears of it when a task of its is being killed.
    pub fn subscribe_to_killing(master: &str, user: &str) -> Scheduler {
        let mut info = framework(user);
        info["capabilities"].as_array_mut().expect("a list").push(json!({ "type": "TASK_KILLING_STATE" }));
        Scheduler::subscribe_as(master, info, None)
    }

    /// Subscribes a framework that outlives its scheduler, and can so [`Scheduler::follow`] another master.
    pub fn subscribe_to_stay(master: &str, user: &str) -> Scheduler {
        let mut info = framework(user);
        info["failover_timeout"] = json!(3600.0);
        Scheduler::subscribe_as(master, info, None)
    }

    /// The same framework with another master.
    pub fn follow(&self, master: &str) -> Scheduler {
        let mut info = self.info.clone();
        info["id"] = json!({ "value": self.framework });
        Scheduler::subscribe_as(master, info, Some(&self.framework))
    }

    fn subscribe_as(master: &str, info: Value, id: Option<&str>) -> Scheduler {
        let mut call = json!({ "type": "SUBSCRIBE", "subscribe": { "framework_info": info } });
        if let Some(id) = id {
            call["framework_id"] = json!({ "value": id });
        }
        let mut events = BufReader::new(post(master, "", &call));
        let head = read_head(&mut events);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let name = "mesos-stream-id:";
        let line = head.lines().find(|line| line.to_lowercase().starts_with(name)).expect("stream id");
        let stream_id = line[name.len()..].trim().to_string();
        let (body, framework) = (Vec::new(), String::new());
        let mut scheduler = Scheduler { master: master.into(), events, body, stream_id, info, framework };
        let subscribed = scheduler.await_event("SUBSCRIBED");
        scheduler.framework = text(&subscribed["subscribed"]["framework_id"]["value"]);
        scheduler
    }

    /// The framework's id.
    pub fn id(&self) -> &str {
        &self.framework
    }

    /// The next event of this type; others are passed over.
    pub fn await_event(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next_event();
            if event["type"] == kind {
                return event;
            }
            assert_ne!(event["type"], "ERROR", "{event}");
        }
    }

    /// Launches a task on the next offer, with an executor of its own.
    pub fn launch_executor(&mut self, id: &str, executor: &str, command: &str) {
        let offers = self.await_event("OFFERS");
        let offer = &offers["offers"]["offers"][0];
        let resource = |name: &str, value: f64| json!({ "name": name, "type": "SCALAR", "scalar": { "value": value } });
        let executor = json!({ "executor_id": { "value": executor }, "command": { "value": command },
            "framework_id": { "value": self.framework } });
        let task = json!({ "name": "e2e", "task_id": { "value": id }, "agent_id": offer["agent_id"], "executor": executor,
            "resources": [resource("cpus", 0.5), resource("mem", 128.0)] });
        self.call(
            json!({ "type": "ACCEPT", "accept": { "offer_ids": [offer["id"]], "filters": { "refuse_seconds": 1 },
            "operations": [{ "type": "LAUNCH", "launch": { "task_infos": [task] } }] } }),
        );
    }

    /// Launches a command task on the next offer.
    pub fn launch(&mut self, id: &str, command: Value) {
        self.launch_with(id, command, json!({}));
    }

    /// The same with more of a TaskInfo.
    pub fn launch_with(&mut self, id: &str, command: Value, more: Value) {
        let offers = self.await_event("OFFERS");
        let offer = &offers["offers"]["offers"][0];
        let resource = |name: &str, value: f64| json!({ "name": name, "type": "SCALAR", "scalar": { "value": value } });
        let mut task = json!({ "name": "e2e", "task_id": { "value": id }, "agent_id": offer["agent_id"], "command": command,
            "resources": [resource("cpus", 1.0), resource("mem", 128.0)] });
        for (key, value) in more.as_object().expect("an object") {
            task[key] = value.clone();
        }
        self.call(
            json!({ "type": "ACCEPT", "accept": { "offer_ids": [offer["id"]], "filters": { "refuse_seconds": 1 },
            "operations": [{ "type": "LAUNCH", "launch": { "task_infos": [task] } }] } }),
        );
    }

    /// The next status of any task, acknowledged.
    pub fn await_status(&mut self) -> Value {
        let update = self.await_event("UPDATE");
        let status = update["update"]["status"].clone();
        if status["uuid"].is_string() {
            self.call(json!({ "type": "ACKNOWLEDGE", "acknowledge": {
                "agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"] } }));
        }
        status
    }

    /// Waits for a terminal status.
    pub fn await_end(&mut self) -> Value {
        loop {
            let status = self.await_status();
            if !["TASK_STARTING", "TASK_RUNNING", "TASK_KILLING"].iter().any(|state| status["state"] == *state) {
                return status;
            }
        }
    }

    /// Asks for a task to be killed.
    pub fn kill(&self, id: &str) {
        self.call(json!({ "type": "KILL", "kill": { "task_id": { "value": id } } }));
    }

    /// Ends the framework.
    pub fn teardown(self) {
        self.call(json!({ "type": "TEARDOWN" }));
    }

    /// Makes any call in the framework's name.
    pub fn call(&self, mut call: Value) {
        call["framework_id"] = json!({ "value": self.framework });
        let mut answer = BufReader::new(post(&self.master, &format!("Mesos-Stream-Id: {}\r\n", self.stream_id), &call));
        let head = read_head(&mut answer);
        assert!(head.starts_with("HTTP/1.1 202"), "{call}: {head}");
    }

    /// The next event, whatever it is: one RecordIO record, its length in decimal, a newline, its bytes.
    pub fn next_event(&mut self) -> Value {
        loop {
            if let Some(end) = self.body.iter().position(|byte| *byte == b'\n') {
                let length: usize = std::str::from_utf8(&self.body[..end]).expect("text").parse().expect("length");
                if self.body.len() > end + length {
                    let record: Vec<u8> = self.body.drain(..=end + length).skip(end + 1).collect();
                    return serde_json::from_slice(&record).expect("json");
                }
            }
            self.read_chunk();
        }
    }

    fn read_chunk(&mut self) {
        let mut line = String::new();
        self.events.read_line(&mut line).expect("chunk size");
        let size = usize::from_str_radix(line.trim(), 16).expect("chunk size");
        assert_ne!(size, 0, "the master ended the stream");
        let mut chunk = vec![0; size + 2];
        self.events.read_exact(&mut chunk).expect("chunk");
        self.body.extend_from_slice(&chunk[..size]);
    }
}

/// A JSON string's text.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_string()
}

fn post(master: &str, headers: &str, call: &Value) -> TcpStream {
    let body = call.to_string();
    let mut stream = TcpStream::connect(master).expect("connect");
    stream.set_read_timeout(Some(super::support::PATIENCE)).expect("timeout");
    let head = format!(
        "POST /api/v1/scheduler HTTP/1.1\r\nHost: {master}\r\nContent-Type: application/json\r\nAccept: application/json\r\n\
         {headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("write");
    stream.write_all(body.as_bytes()).expect("write");
    stream
}

fn read_head(reader: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).expect("head"), 0, "the head was cut off: {head}");
    }
    head
}
