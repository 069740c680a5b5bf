//! Plays a recording to a slave. See the drawing in `super`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use prost::Message as _;

use super::super::super::*;
use super::allowed;
use super::compare::{Findings, Sent};
use super::recording::{Entry, Received, Recording};
use crate::credential::Credential;
use crate::ids::TaskId;
use crate::libprocess::Pid;
use crate::messages::mesos::internal::*;
use crate::messages::mesos::{TaskStatus, executor};
use crate::messages::{from_v1_bytes, mesos};

/// `--registration_backoff_factor`, as recorded.
const BACKOFF: f64 = 1.0;
/// A second on the recorded clock at which the invented one has this.
const BEFORE: f64 = 10.0;
/// The credential of the one recording with authentication.
const PRINCIPAL: (&str, &str) = ("agentp", "agentsecret");

pub struct Play<'a> {
    recording: &'a Recording,
    /// The slave, while its process lives.
    slave: Option<Slave>,
    runs: u64,
    /// When the invented clock begins.
    zero: Instant,
    /// The invented time, as seconds since 1970.
    at: f64,
    /// Entries that wait while the process is frozen.
    held: Option<Vec<&'a Entry>>,
    /// What the slave sent to the master and nobody asked for yet.
    sent: VecDeque<Sent>,
    /// What the last event made the slave do to its containers.
    killed: Vec<ContainerId>,
    acknowledged: Vec<Vec<u8>>,
    /// All tasks, as they were launched.
    tasks: BTreeMap<(String, String), RunTaskMessage>,
    /// Executors by their PIDs.
    executors: BTreeMap<String, (String, String)>,
    /// Framework and task, or framework and executor, of those that need an executor of the framework's.
    custom: BTreeSet<(String, String)>,
    findings: Findings,
}

impl<'a> Play<'a> {
    pub fn new(recording: &'a Recording) -> Play<'a> {
        Play {
            recording,
            slave: None,
            runs: 0,
            zero: Instant::now(),
            at: recording.entries[0].at - BEFORE,
            held: None,
            sent: VecDeque::new(),
            killed: Vec::new(),
            acknowledged: Vec::new(),
            tasks: BTreeMap::new(),
            executors: BTreeMap::new(),
            custom: BTreeSet::new(),
            findings: Findings::default(),
        }
    }

    /// Plays all of it.
    pub fn run(mut self) -> Findings {
        let recording = self.recording;
        let detections = self.detections();
        let mut detections = detections.iter().peekable();
        for entry in &recording.entries {
            while let Some(at) = detections.next_if(|at| **at <= entry.at) {
                self.pass(*at);
                let master = self.master();
                self.event(Event::MasterDetected(master));
            }
            self.pass(entry.at);
            self.entry(entry);
        }
        self.settle("at the end");
        self.findings
    }

    /// When the master is detected: as long before each first registration of a run as a back-off may take.
    fn detections(&self) -> Vec<f64> {
        let starts = self.recording.entries.iter().enumerate().filter(|(_, entry)| entry.what == "start");
        let first_word = |place: usize| self.recording.entries[place..].iter().find(|entry| self.is_to_master(entry));
        starts.filter_map(|(place, start)| first_word(place).map(|word| (word.at - BACKOFF).max(start.at))).collect()
    }

    fn master(&self) -> Pid {
        Pid { id: "master".into(), address: self.recording.master }
    }

    fn is_to_master(&self, entry: &Entry) -> bool {
        let of_agent = entry.from.ends_with(&format!("@{}", self.recording.agent.address));
        entry.is_message() && of_agent && entry.to.ends_with(&format!("@{}", self.recording.master))
    }

    fn entry(&mut self, entry: &'a Entry) {
        let place = format!("{:.3} {}", entry.at, entry.what);
        if entry.from == "agent" {
            return self.done(entry);
        }
        if self.is_to_master(entry) {
            return self.expect(&place, &entry.received());
        }
        if !entry.to.ends_with(&format!("@{}", self.recording.agent.address)) {
            // To executors: not ours to say yet.
            return;
        }
        match &mut self.held {
            Some(held) => held.push(entry),
            None => self.heard(&place, entry),
        }
    }

    /// What was done to the agent's process.
    fn done(&mut self, entry: &Entry) {
        match entry.what.as_str() {
            "start" => self.start(entry),
            "SIGKILL" => {
                self.settle("when it was killed");
                self.slave = None;
            }
            "SIGSTOP" => self.held = Some(Vec::new()),
            "SIGCONT" => {
                for held in self.held.take().unwrap_or_default() {
                    self.heard(&format!("{:.3} {}, held", held.at, held.what), held);
                }
            }
            "SIGUSR1" => self.event(Event::Unregister),
            "SIGTERM" => self.event(Event::Stop),
            other => panic!("{other} at {}", entry.at),
        }
    }

    fn start(&mut self, entry: &Entry) {
        self.runs += 1;
        self.slave = Some(Slave::new(self.config(), crate::random::Random::from_seed(self.runs)));
        let later = self.recording.entries.iter().filter(|each| each.at > entry.at);
        let first_word = later.into_iter().find(|each| self.is_to_master(each));
        let Some(word) = first_word.filter(|word| word.what.ends_with(".ReregisterSlaveMessage")) else { return };
        self.recover(&ReregisterSlaveMessage::decode(word.received().body.as_slice()).expect("a registration"));
    }

    fn config(&self) -> Config {
        let registration = self.recording.entries.iter().find(|entry| entry.what.ends_with(".RegisterSlaveMessage"));
        let body = registration.expect("a registration").received().body;
        let second = Duration::from_secs(1);
        let authenticates = self.recording.entries.iter().any(|entry| entry.what.ends_with(".AuthenticateMessage"));
        Config {
            pid: self.recording.agent.clone(),
            info: RegisterSlaveMessage::decode(body.as_slice()).expect("a registration").slave,
            work_dir: "/work_dir".into(),
            switch_user: true,
            authentication: authenticates.then(|| Authentication {
                credential: Credential::new(PRINCIPAL.0, PRINCIPAL.1),
                timeout_min: second * 5,
                timeout_max: second * 60,
                backoff: second,
            }),
            registration_backoff: Duration::from_secs_f64(BACKOFF),
            shutdown_grace: second * 5,
            recovery_timeout: second * 900,
        }
    }

    /// Tells a new slave what a recovered agent knows: its id, and the tasks of executors that it found again.
    fn recover(&mut self, known: &ReregisterSlaveMessage) {
        let (now, sent) = (self.at, self.sent.len());
        self.at -= BEFORE / 2.0;
        self.event(Event::MasterDetected(self.master()));
        let slave_id = known.slave.id.clone().expect("the agent's id");
        let registered = SlaveRegisteredMessage { slave_id, connection: None };
        self.pass(self.at + BACKOFF);
        self.from_master(FromMaster::Registered(Box::new(registered)));
        for task in &known.tasks {
            let key = (task.framework_id.value.clone(), task.task_id.value.clone());
            let message = self.tasks.get(&key).expect("the launch of a task").clone();
            self.from_master(FromMaster::RunTask(Box::new(message)));
            for status in &task.statuses {
                self.report(&key.0, &key.1, status.clone());
                self.from_master(FromMaster::Acknowledge(Box::new(StatusUpdateAcknowledgementMessage {
                    slave_id: task.slave_id.clone(),
                    framework_id: task.framework_id.clone(),
                    task_id: task.task_id.clone(),
                    uuid: status.uuid().to_vec(),
                })));
            }
        }
        self.event(Event::MasterLost);
        self.at = now;
        self.sent.truncate(sent);
    }

    fn from_master(&mut self, message: FromMaster) {
        let from = self.master();
        self.event(Event::Message { from, message });
    }

    /// Lets time pass; the slave is woken at its deadlines.
    fn pass(&mut self, until: f64) {
        let mut turns = 0;
        while let Some(deadline) = self.deadline().filter(|deadline| *deadline <= until && self.held.is_none()) {
            self.at = self.at.max(deadline);
            self.event(Event::Tick);
            turns += 1;
            assert!(turns < 1000, "the slave spins at {:.3}", self.at);
        }
        self.at = self.at.max(until);
    }

    fn deadline(&self) -> Option<f64> {
        let deadline = self.slave.as_ref()?.deadline()?;
        Some(deadline.saturating_duration_since(self.zero).as_secs_f64() + self.begin())
    }

    /// The recorded time at which the invented clock begins.
    fn begin(&self) -> f64 {
        self.recording.entries[0].at - 2.0 * BEFORE
    }

    fn event(&mut self, event: Event) {
        let now = Now { instant: self.zero + Duration::from_secs_f64(self.at - self.begin()), unix: self.at };
        self.killed.clear();
        self.acknowledged.clear();
        let Some(slave) = &mut self.slave else { return };
        for action in slave.handle(event, now) {
            let own = self.recording.agent.clone();
            let sent = match action {
                Action::Send { to, message } => Sent { from: own, to, message },
                Action::SendAs { from, to, message } => Sent { from, to, message },
                Action::Kill { container, .. } => {
                    self.killed.push(container);
                    continue;
                }
                Action::Acknowledge { uuid, .. } => {
                    self.acknowledged.push(uuid);
                    continue;
                }
                _ => continue,
            };
            if sent.to.address == self.recording.master {
                self.sent.push_back(sent);
            }
        }
    }

    /// Something came to the agent.
    fn heard(&mut self, place: &str, entry: &Entry) {
        let by_master = entry.from.ends_with(&format!("@{}", self.recording.master));
        match (entry.what.as_str(), by_master) {
            ("202", _) => {}
            ("closed", true) => self.event(Event::Exited(self.master())),
            ("closed", false) => self.executor_gone(&entry.from),
            (_, true) => self.master_says(place, &entry.received()),
            (_, false) => self.executor_says(place, entry),
        }
    }

    fn master_says(&mut self, place: &str, received: &Received) {
        let Received { from, to, name, body, .. } = received;
        if to.id != self.recording.agent.id {
            let message = FromAuthenticator::decode(name, body).unwrap_or_else(|error| panic!("{place}: {error}"));
            return self.event(Event::Authentication { from: from.clone(), to: to.id.clone(), message });
        }
        let mut message = FromMaster::decode(name, body).unwrap_or_else(|error| panic!("{place}: {error}"));
        self.note(&mut message);
        let to_kill = self.to_kill(&message);
        self.event(Event::Message { from: from.clone(), message });
        if to_kill.is_some_and(|container| !self.killed.contains(&container)) {
            self.findings.differences.push(format!("{place}: the container is not killed"));
        }
    }

    /// Keeps what is needed later of a master's message, and puts our own uuids into it.
    fn note(&mut self, message: &mut FromMaster) {
        match message {
            FromMaster::RunTask(run) => {
                let framework = run.framework.id.as_ref().map_or("", |id| id.value.as_str()).to_string();
                let task = run.task.task_id.value.clone();
                if let Some(executor) = &run.task.executor {
                    self.custom.insert((framework.clone(), task.clone()));
                    self.custom.insert((framework.clone(), executor.executor_id.value.clone()));
                }
                self.tasks.insert((framework, task), (**run).clone());
            }
            FromMaster::RunTaskGroup(run) => {
                let framework = run.framework.id.as_ref().map_or("", |id| id.value.as_str()).to_string();
                self.custom.insert((framework.clone(), run.executor.executor_id.value.clone()));
                let tasks = run.task_group.tasks.iter().map(|task| (framework.clone(), task.task_id.value.clone()));
                self.custom.extend(tasks);
            }
            FromMaster::Acknowledge(acknowledgement) => {
                let theirs: String = acknowledgement.uuid.iter().map(|byte| format!("{byte:02x}")).collect();
                if let Some(ours) = self.findings.ours("uuid", &theirs) {
                    let byte = |at: usize| u8::from_str_radix(&ours[at..at + 2], 16).expect("hexadecimal");
                    acknowledgement.uuid = (0..ours.len()).step_by(2).map(byte).collect();
                }
            }
            _ => {}
        }
    }

    /// The container that has to be killed now.
    fn to_kill(&self, message: &FromMaster) -> Option<ContainerId> {
        let FromMaster::KillTask(kill) = message else { return None };
        self.container(&kill.framework_id.value, |executor| {
            executor.tasks.contains_key(&TaskId::new(kill.task_id.value.clone()).expect("a task id"))
        })
    }

    fn container(&self, framework: &str, which: impl Fn(&Executor) -> bool) -> Option<ContainerId> {
        let frameworks = self.slave.as_ref()?.frameworks();
        let framework = frameworks.get(&FrameworkId::new(framework).ok()?)?;
        framework.executors.values().find(|executor| which(executor)).map(|executor| executor.container.clone())
    }

    /// What an executor says comes out of its container.
    fn executor_says(&mut self, place: &str, entry: &Entry) {
        if entry.what.starts_with('/') {
            let call: executor::Call = from_v1_bytes("mesos.v1.executor.Call", &entry.body()).expect("a call");
            let ids = (call.framework_id.value.clone(), call.executor_id.value.clone());
            self.executors.insert(entry.from.clone(), ids.clone());
            if let Some(update) = call.update {
                self.executor_reports(place, &ids.0, &ids.1, update.status);
            }
            return;
        }
        let Received { from, name, body, .. } = entry.received();
        match name.rsplit('.').next().unwrap_or_default() {
            "RegisterExecutorMessage" => {
                let message = RegisterExecutorMessage::decode(body.as_slice()).expect("an executor");
                self.executors.insert(from.to_string(), (message.framework_id.value, message.executor_id.value));
            }
            "ReregisterExecutorMessage" => {
                let message = ReregisterExecutorMessage::decode(body.as_slice()).expect("an executor");
                self.executors.insert(from.to_string(), (message.framework_id.value, message.executor_id.value));
            }
            "StatusUpdateMessage" => {
                let update = StatusUpdateMessage::decode(body.as_slice()).expect("an update").update;
                let executor = update.executor_id.map(|id| id.value).unwrap_or_default();
                let mut status = update.status;
                status.uuid = status.uuid.or(update.uuid);
                status.timestamp.get_or_insert(update.timestamp);
                self.executor_reports(place, &update.framework_id.value, &executor, status);
            }
            other => panic!("{place}: {other} of an executor"),
        }
    }

    fn executor_reports(&mut self, place: &str, framework: &str, executor: &str, status: TaskStatus) {
        if self.custom.contains(&(framework.to_string(), executor.to_string())) {
            return;
        }
        let uuid = status.uuid().to_vec();
        self.report(framework, executor, status);
        if !self.acknowledged.contains(&uuid) {
            self.findings.differences.push(format!("{place}: not taken over from the container"));
        }
    }

    fn report(&mut self, framework: &str, executor: &str, status: TaskStatus) {
        let Some(container) = self.container(framework, |each| each.info.executor_id.value == executor) else { return };
        // What the agent adds is not the child's to say.
        let status = TaskStatus { slave_id: None, executor_id: None, container_status: None, ..status };
        self.event(Event::ContainerStatus { container, status: Box::new(status) });
    }

    fn executor_gone(&mut self, pid: &str) {
        let Some((framework, executor)) = self.executors.get(pid).cloned() else { return };
        let find = |each: &Executor| each.info.executor_id.value == executor && each.state != ExecutorState::Gone;
        let Some(container) = self.container(&framework, find) else { return };
        let open = self.container(&framework, |each| {
            each.container == container && each.tasks.values().any(|task| !is_terminal(task.state))
        });
        let reason = open.map(|_| "the executor is gone".to_string());
        self.event(Event::ContainerGone { container, reason });
    }

    /// The agent sent this: so must we have.
    fn expect(&mut self, place: &str, theirs: &Received) {
        let name = theirs.name.rsplit('.').next().unwrap_or_default();
        if self.custom.contains(&subject(name, &theirs.body)) {
            self.findings.used.insert(allowed::CUSTOM_EXECUTORS);
            return;
        }
        let is_registration = matches!(name, "RegisterSlaveMessage" | "ReregisterSlaveMessage" | "AuthenticateMessage");
        if is_registration {
            self.await_registration(theirs);
        }
        let Some(ours) = self.take(theirs, is_registration) else {
            match name {
                "UpdateSlaveMessage" => drop(self.findings.used.insert(allowed::NO_UPDATE_SLAVE)),
                _ => self.findings.differences.push(format!("{place}: theirs, not ours; ours: {:?}", self.names())),
            }
            return;
        };
        self.findings.compare(place, &ours, theirs);
    }

    fn names(&self) -> Vec<&str> {
        self.sent.iter().map(|sent| sent.message.name.as_str()).collect()
    }

    /// Gives our own jitter its time.
    fn await_registration(&mut self, theirs: &Received) {
        let due = self.deadline().filter(|deadline| *deadline <= self.at + BACKOFF);
        if let Some(due) = due.filter(|_| !self.sent.iter().any(|sent| sent.message.name == theirs.name)) {
            self.findings.used.insert(allowed::OWN_JITTER);
            self.pass(due);
        }
    }

    /// The first of our messages with the same name about the same thing; the last where we asked again and again.
    fn take(&mut self, theirs: &Received, is_registration: bool) -> Option<Sent> {
        let name = theirs.name.rsplit('.').next().unwrap_or_default();
        let about = subject(name, &theirs.body);
        let same = |sent: &Sent| sent.message.name == theirs.name && subject(name, &sent.message.body) == about;
        while is_registration && self.sent.iter().filter(|sent| same(sent)).count() > 1 {
            self.findings.used.insert(allowed::ASKS_AGAIN);
            let first = self.sent.iter().position(same)?;
            self.sent.remove(first);
        }
        let place = self.sent.iter().position(same)?;
        self.sent.remove(place)
    }

    /// Whatever the slave sent has been asked for by now.
    fn settle(&mut self, when: &str) {
        for sent in std::mem::take(&mut self.sent) {
            let name = sent.message.name.rsplit('.').next().unwrap_or_default();
            if self.custom.contains(&subject(name, &sent.message.body)) {
                self.findings.used.insert(allowed::CUSTOM_EXECUTORS_REFUSED);
            } else {
                self.findings.differences.push(format!("ours, not theirs {when}: {sent:?}"));
            }
        }
    }
}

/// What a message is about: a task or an executor of a framework.
fn subject(name: &str, body: &[u8]) -> (String, String) {
    match name {
        "StatusUpdateMessage" => {
            let update = StatusUpdateMessage::decode(body).expect("an update").update;
            (update.framework_id.value, update.status.task_id.value)
        }
        "ExitedExecutorMessage" => {
            let message = ExitedExecutorMessage::decode(body).expect("an exit");
            (message.framework_id.value, message.executor_id.value)
        }
        _ => Default::default(),
    }
}
