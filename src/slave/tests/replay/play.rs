//! Plays a recording to a slave. See the drawing in `super`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use prost::Message as _;

use super::super::super::*;
use super::allowed;
use super::compare::{Findings, Sent};
use super::recording::{Entry, Recording, Sender};
use crate::api::v1::Format;
use crate::credential::Credential;
use crate::ids::TaskId;
use crate::libprocess::{ConnectionId, Dialect, Pid};
use crate::messages::mesos::internal::*;

/// `--registration_backoff_factor`, as recorded.
pub const BACKOFF: f64 = 1.0;
/// How long before the first entry the invented clock begins.
const BEFORE: f64 = 20.0;
/// How long a new slave has to learn what a recovered agent knows.
const RECOVERY: Duration = Duration::from_secs(5);
/// The credential of the one recording with authentication.
const PRINCIPAL: (&str, &str) = ("agentp", "agentsecret");

pub struct Play<'a> {
    pub(super) recording: &'a Recording,
    /// The index of the entry that is being played.
    pub(super) place: usize,
    /// The slave, while its process lives.
    pub(super) slave: Option<Slave>,
    pub(super) runs: u64,
    /// When the invented clock begins.
    pub(super) zero: Instant,
    /// The invented time.
    pub(super) now: Instant,
    /// The master's connection has broken, and nothing came from it since.
    pub(super) lost: bool,
    /// What the master has shown.
    pub(super) dialect: Dialect,
    /// Entries that wait while the process is frozen.
    pub(super) held: Option<Vec<&'a Entry>>,
    /// What the slave sent to the master and nobody asked for yet.
    pub(super) sent: VecDeque<Sent>,
    /// How many messages it sent so far.
    pub(super) count: usize,
    /// The number of the last update of an executor's task that was compared, by framework and executor.
    pub(super) last_updates: BTreeMap<(String, String), usize>,
    /// What it told v1 executors, over which connection.
    pub(super) told: VecDeque<(ConnectionId, ToExecutor)>,
    /// What the last event made the slave do to its containers.
    pub(super) killed: Vec<(ContainerId, Duration)>,
    pub(super) acknowledged: Vec<Vec<u8>>,
    /// All containers that it ended so far.
    pub(super) ended: Vec<ContainerId>,
    /// All tasks, as they were launched.
    pub(super) tasks: BTreeMap<(String, String), RunTaskMessage>,
    /// Executors by their PIDs.
    pub(super) executors: BTreeMap<String, (String, String)>,
    /// Which libprocess executors and schedulers have shown.
    pub(super) dialects: BTreeMap<SocketAddrV4, Dialect>,
    /// In which form v1 executors want their events.
    pub(super) formats: BTreeMap<ConnectionId, Format>,
    /// The tasks of command executors.
    pub(super) commands: BTreeMap<(String, String), TaskId>,
    /// Framework and executor of the frameworks' own executors.
    pub(super) custom: BTreeSet<(String, String)>,
    /// Framework and task, or framework and executor, of those that need the default executor.
    pub(super) refused: BTreeSet<(String, String)>,
    pub(super) findings: Findings,
}

impl<'a> Play<'a> {
    pub fn new(recording: &'a Recording) -> Play<'a> {
        let zero = Instant::now();
        Play {
            recording,
            place: 0,
            slave: None,
            runs: 0,
            zero,
            now: zero,
            lost: false,
            dialect: Dialect::Unknown,
            held: None,
            sent: VecDeque::new(),
            count: 0,
            last_updates: BTreeMap::new(),
            told: VecDeque::new(),
            killed: Vec::new(),
            acknowledged: Vec::new(),
            ended: Vec::new(),
            tasks: BTreeMap::new(),
            executors: BTreeMap::new(),
            dialects: BTreeMap::new(),
            formats: BTreeMap::new(),
            commands: BTreeMap::new(),
            custom: BTreeSet::new(),
            refused: BTreeSet::new(),
            findings: Findings::new(recording.agent.id == SLAVE_OF_2012),
        }
    }

    /// Plays all of it.
    pub fn run(mut self) -> Findings {
        let recording = self.recording;
        let detections = self.detections();
        let mut detections = detections.iter().peekable();
        for (place, entry) in recording.entries.iter().enumerate() {
            self.place = place;
            while let Some(at) = detections.next_if(|at| **at < entry.at) {
                self.pass(self.instant(*at));
                let master = self.master();
                self.event(Event::MasterDetected(master));
            }
            self.pass(self.instant(entry.at));
            self.entry(entry);
        }
        // What the slave does of itself when nobody says anything more.
        self.pass(self.now + Duration::from_secs_f64(BACKOFF));
        self.settle("at the end", false);
        self.findings
    }

    /// When the master is detected: as long before each first registration of a run as a back-off may take.
    fn detections(&self) -> Vec<f64> {
        let starts = self.recording.entries.iter().enumerate().filter(|(_, entry)| entry.what == "start");
        let first_word =
            |place: usize| self.recording.entries[place..].iter().find(|entry| self.recording.is_to_master(entry));
        starts.filter_map(|(place, start)| first_word(place).map(|word| (word.at - BACKOFF).max(start.at))).collect()
    }

    pub(super) fn master(&self) -> Pid {
        Pid { id: "master".into(), address: self.recording.master }
    }

    fn entry(&mut self, entry: &'a Entry) {
        let place = format!("{:.3} {}", entry.at, entry.what);
        match (self.recording.sender(entry), &mut self.held) {
            (Sender::Process, _) => self.done(entry),
            (Sender::Agent, _) if entry.what == "event" => self.expect_event(&place, entry),
            (Sender::Agent, _) if entry.is_message() => self.expect(&place, &entry.received()),
            // A reply.
            (Sender::Agent, _) => {}
            (Sender::Master | Sender::Other, Some(held)) => held.push(entry),
            (Sender::Master | Sender::Other, None) => self.heard(&place, entry),
        }
    }

    /// What was done to the agent's process.
    fn done(&mut self, entry: &Entry) {
        match entry.what.as_str() {
            "start" => self.start(entry),
            "SIGKILL" => {
                self.settle("when it was killed", false);
                self.slave = None;
            }
            "SIGSTOP" => self.held = Some(Vec::new()),
            "SIGCONT" => {
                for held in self.held.take().unwrap_or_default() {
                    self.heard(&format!("{:.3} {}, held", held.at, held.what), held);
                }
            }
            "SIGUSR1" => self.event(Event::Unregister),
            "SIGTERM" => self.stop(),
            other => panic!("{other} at {}", entry.at),
        }
    }

    /// The agent has ended; we end when our containers have.
    fn stop(&mut self) {
        self.event(Event::Stop);
        if !self.killed.is_empty() {
            self.allow(allowed::ENDS_CONTAINERS);
        }
        self.settle("when it was told to stop", true);
        self.slave = None;
    }

    fn start(&mut self, entry: &Entry) {
        self.runs += 1;
        self.dialect = Dialect::Unknown;
        self.slave = Some(Slave::new(self.config(), crate::random::Random::from_seed(self.runs)));
        let later = self.recording.entries.iter().filter(|each| each.at > entry.at);
        let first_word = later.into_iter().find(|each| self.recording.is_to_master(each));
        let Some(word) = first_word.filter(|word| word.what.ends_with(".ReregisterSlaveMessage")) else { return };
        self.recover(&ReregisterSlaveMessage::decode(word.received().body.as_slice()).expect("a registration"));
    }

    fn config(&self) -> Config {
        let registration = self.recording.entries.iter().find(|entry| entry.what.ends_with(".RegisterSlaveMessage"));
        let body = registration.expect("a registration").received().body;
        let second = Duration::from_secs(1);
        let authenticates = self.recording.entries.iter().any(|entry| entry.what.ends_with(".AuthenticateMessage"));
        let mut theirs = RegisterSlaveMessage::decode(body.as_slice()).expect("a registration").slave;
        // Masters are told of them in an old form.
        theirs.resources.iter_mut().for_each(crate::resources::upgrade);
        let address = self.recording.agent.address;
        // What there is in 0.9 only is for the slave to add.
        let (port, webui_hostname, webui_port) = (Some(address.port().into()), None, None);
        Config {
            info: mesos::SlaveInfo { port, webui_hostname, webui_port, ..theirs },
            authentication: authenticates.then(|| Authentication {
                credential: Credential::new(PRINCIPAL.0, PRINCIPAL.1),
                timeout_min: second * 5,
                timeout_max: second * 60,
                backoff: second,
            }),
            registration_backoff: Duration::from_secs_f64(BACKOFF),
            ..Config::of_tests(Pid { id: "slave(1)".into(), address })
        }
    }

    /// Tells a new slave what a recovered agent knows: its id, and the tasks of executors that it found again.
    fn recover(&mut self, known: &ReregisterSlaveMessage) {
        let (now, sent) = (self.now, self.sent.len());
        self.findings.forget("container");
        self.now -= RECOVERY;
        self.event(Event::MasterDetected(self.master()));
        let slave_id = known.slave.id.clone().expect("the agent's id");
        let registered = SlaveRegisteredMessage { slave_id, connection: None };
        self.pass(self.now + Duration::from_secs_f64(BACKOFF));
        self.hear_master(FromMaster::Registered(Box::new(registered)));
        for task in &known.tasks {
            let key = (task.framework_id.value.clone(), task.task_id.value.clone());
            let mut message = self.tasks.get(&key).expect("the launch of a task").clone();
            message.resource_version_uuids.clear();
            self.hear_master(FromMaster::RunTask(Box::new(message)));
            for status in &task.statuses {
                self.report(&key.0, &key.1, status.clone());
                self.hear_master(FromMaster::Acknowledge(Box::new(StatusUpdateAcknowledgementMessage {
                    slave_id: task.slave_id.clone(),
                    framework_id: task.framework_id.clone(),
                    task_id: task.task_id.clone(),
                    uuid: status.uuid().to_vec(),
                })));
            }
        }
        self.event(Event::MasterLost);
        self.now = now;
        self.sent.truncate(sent);
    }

    fn hear_master(&mut self, message: FromMaster) {
        let from = self.master();
        self.event(Event::Message { from, message });
    }

    /// Lets time pass; the slave is woken at its deadlines.
    pub(super) fn pass(&mut self, until: Instant) {
        let mut turns = 0;
        while let Some(deadline) = self.deadline().filter(|deadline| *deadline <= until && self.held.is_none()) {
            self.now = self.now.max(deadline);
            self.event(Event::Tick);
            turns += 1;
            assert!(turns < 1000, "the slave spins");
        }
        self.now = self.now.max(until);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.slave.as_ref()?.deadline()
    }

    /// The recorded time at which the invented clock begins.
    fn begin(&self) -> f64 {
        self.recording.entries[0].at - BEFORE
    }

    /// A recorded time on the invented clock.
    pub(super) fn instant(&self, at: f64) -> Instant {
        self.zero + Duration::from_secs_f64(at - self.begin())
    }

    pub(super) fn event(&mut self, event: Event) {
        let unix = self.begin() + self.now.duration_since(self.zero).as_secs_f64();
        let now = Now { instant: self.now, unix };
        self.killed.clear();
        self.acknowledged.clear();
        let Some(slave) = &mut self.slave else { return };
        let (mut exits, mut launched) = (false, Vec::new());
        for action in slave.handle(event, now) {
            self.count += 1;
            let number = self.count;
            let (own, for_executors) = (slave.config().pid.clone(), slave.config().executor_pid.clone());
            let dialect = |pid: &Pid| match pid.address == self.recording.master {
                true => self.dialect,
                false => self.dialects.get(&pid.address).copied().unwrap_or_default(),
            };
            match action {
                Action::Send { to, message } => {
                    let dialect = dialect(&to);
                    self.sent.push_back(Sent { number, from: own, to, message, dialect });
                }
                Action::SendAs { from, to, message } => {
                    let dialect = dialect(&to);
                    self.sent.push_back(Sent { number, from, to, message, dialect });
                }
                Action::ToExecutor { via: Via::Driver(to), message } => {
                    let dialect = dialect(&to);
                    let sent = |message| Sent { number, from: for_executors, to, message, dialect };
                    self.sent.extend(message.to_driver(dialect).map(sent));
                }
                Action::ToExecutor { via: Via::Http(Some(connection)), message } => {
                    self.told.push_back((connection, *message));
                }
                Action::Kill { container, grace } => {
                    self.ended.push(container.clone());
                    self.killed.push((container, grace));
                }
                Action::Acknowledge { uuid, .. } => self.acknowledged.push(uuid),
                Action::Launch(spec) if spec.task.is_none() => {
                    launched.push(ContainerId::new(spec.container_id).expect("a container's id"));
                }
                Action::Exit => exits = true,
                _ => {}
            }
        }
        if exits {
            self.slave = None;
        }
        launched.into_iter().for_each(|container| self.own_executor_runs(container));
    }
}
