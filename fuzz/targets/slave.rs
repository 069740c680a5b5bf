//! The slave's core, fed with any sequence of events: well-formed messages of the master's about few frameworks and tasks, raw
//! ones, statuses and ends of containers, whatever executors in hostile guests say, time.
//!
//! It never asks to be called again at once (a spin), answers an event with no more actions than what it knows accounts for,
//! launches each container once and below its work directory, kills none that it did not launch or that is gone, and
//! sends only complete messages, to masters and to executors.

#![no_main]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Component, Path};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::credential::Credential;
use mesos_slave_fuzz::ids::{ContainerId, ExecutorId, FrameworkId};
use mesos_slave_fuzz::libprocess::{ConnectionId, Dialect, Pid};
use mesos_slave_fuzz::messages::mesos::{self, internal};
use mesos_slave_fuzz::messages::{check_required, container::Spec};
use mesos_slave_fuzz::random::Random;
use mesos_slave_fuzz::resources::scalar;
use mesos_slave_fuzz::slave::executor::{FromExecutor, Speaker, ToExecutor, Via};
use mesos_slave_fuzz::slave::{
    Action, Authentication, Config, Event, FromAuthenticator, FromMaster, Now, Outgoing, Slave,
};
use mesos_slave_fuzz::{memory, message_names};
use prost::{Message, Name};

const WORK_DIR: &str = "/work_dir";
/// Most actions that an event owes whatever the slave knows; for each step before there may be as many more, since a step
/// brings up to four tasks, whose updates are sent again together.
const ACTIONS: usize = 16;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
static NAMES: LazyLock<Vec<&str>> =
    LazyLock::new(|| message_names().filter(|name| name.starts_with("mesos.internal.")).collect());

type Input<'a, 'b> = &'a mut Unstructured<'b>;

struct World {
    slave: Slave,
    now: Now,
    /// What was launched, and whether it is still there.
    containers: BTreeMap<String, bool>,
    /// The last update that was sent.
    update: internal::StatusUpdate,
    /// Where the last word of an attempt to authenticate came from.
    authenticatee: String,
    budget: usize,
    exited: bool,
}

fn pid(text: &str) -> Pid {
    text.parse().expect("a pid")
}

fn some_pid(input: Input) -> Result<Pid> {
    Ok(pid(input.choose(&[
        "master@10.0.0.1:5050",
        "master@10.0.0.1:5050",
        "master@10.0.0.2:5050",
        "slave-observer(1)@10.0.0.1:5050",
        "crammd5-authenticator-session(1)@10.0.0.1:5050",
    ])?))
}

/// An id that may name a directory, or not.
fn some_id(input: Input) -> Result<String> {
    let ids = ["a", "b", "c", "a.b-c", "../a", "", ".", "a/b"];
    Ok(match input.int_in_range(0..=12usize)? {
        12 => "x".repeat(300),
        at => ids[at.min(ids.len() + 3) % ids.len()].to_string(),
    })
}

fn framework_id(input: Input) -> Result<mesos::FrameworkId> {
    Ok(mesos::FrameworkId { value: some_id(input)? })
}

fn task_id(input: Input) -> Result<mesos::TaskId> {
    Ok(mesos::TaskId { value: some_id(input)? })
}

fn framework_info(input: Input) -> Result<mesos::FrameworkInfo> {
    Ok(mesos::FrameworkInfo {
        id: if input.ratio(15, 16)? { Some(framework_id(input)?) } else { None },
        user: some_id(input)?,
        checkpoint: input.arbitrary()?,
        ..Default::default()
    })
}

fn kill_policy(input: Input) -> Result<mesos::KillPolicy> {
    let nanoseconds = input.choose(&[0, -1, 1_000_000_000, i64::MAX, i64::MIN]).copied()?;
    Ok(mesos::KillPolicy { grace_period: Some(mesos::DurationInfo { nanoseconds }) })
}

fn resources(input: Input) -> Result<Vec<mesos::Resource>> {
    let amounts = [0.0, 0.001, 1.0, 3.0, 1e300, f64::NAN, -1.0];
    let amount = |at: &mut Unstructured| at.choose(&amounts).copied();
    Ok(vec![scalar("cpus", amount(input)?), scalar("mem", amount(input)?)])
}

fn executor_info(input: Input) -> Result<mesos::ExecutorInfo> {
    Ok(mesos::ExecutorInfo {
        executor_id: mesos::ExecutorId { value: some_id(input)? },
        framework_id: if input.arbitrary()? { Some(framework_id(input)?) } else { None },
        command: Some(mesos::CommandInfo { value: Some("true".into()), ..Default::default() }),
        resources: if input.ratio(1, 4)? { resources(input)? } else { Vec::new() },
        shutdown_grace_period: kill_policy(input)?.grace_period.filter(|period| period.nanoseconds != 0),
        ..Default::default()
    })
}

/// Mostly Mesos' default executor, as it runs groups.
fn executor_of_group(input: Input) -> Result<mesos::ExecutorInfo> {
    let info = executor_info(input)?;
    if input.ratio(1, 4)? {
        return Ok(info);
    }
    let command = if input.ratio(15, 16)? { None } else { info.command };
    Ok(mesos::ExecutorInfo { r#type: Some(mesos::executor_info::Type::Default as i32), command, ..info })
}

fn task_of_group(input: Input) -> Result<mesos::TaskInfo> {
    let task = task(input)?;
    let command = Some(mesos::CommandInfo { value: Some("true".into()), ..Default::default() });
    Ok(if input.ratio(15, 16)? { mesos::TaskInfo { command, executor: None, ..task } } else { task })
}

fn task(input: Input) -> Result<mesos::TaskInfo> {
    let own = input.ratio(2, 3)?;
    let command = mesos::CommandInfo { value: Some("true".into()), user: Some(some_id(input)?), ..Default::default() };
    Ok(mesos::TaskInfo {
        task_id: task_id(input)?,
        slave_id: mesos::SlaveId { value: if input.ratio(15, 16)? { "S0" } else { "S1" }.into() },
        command: (own == input.ratio(1, 16)?).then_some(command),
        executor: if own { Some(executor_info(input)?) } else { None },
        resources: if input.ratio(1, 2)? { resources(input)? } else { Vec::new() },
        kill_policy: if input.arbitrary()? { Some(kill_policy(input)?) } else { None },
        ..Default::default()
    })
}

fn status(input: Input) -> Result<mesos::TaskStatus> {
    Ok(mesos::TaskStatus {
        task_id: task_id(input)?,
        state: input.int_in_range(0..=13)?,
        uuid: if input.ratio(15, 16)? { Some(vec![input.arbitrary()?; 16]) } else { None },
        ..Default::default()
    })
}

fn connection(input: Input) -> Result<Option<internal::MasterSlaveConnection>> {
    let told = [75.0, 0.0, -1.0, 1e-300, 1.0, 1e300, f64::NAN, f64::INFINITY];
    let told = *input.choose(&told)?;
    Ok(input.arbitrary::<bool>()?.then_some(internal::MasterSlaveConnection { total_ping_timeout_seconds: Some(told) }))
}

fn few<T>(input: Input, one: impl Fn(Input) -> Result<T>) -> Result<Vec<T>> {
    let count = input.int_in_range(0..=4usize)?;
    (0..count).map(|_| one(input)).collect()
}

fn reconciliation(input: Input) -> Result<internal::ReconcileTasksMessage> {
    Ok(internal::ReconcileTasksMessage {
        framework_id: framework_id(input)?,
        statuses: few(input, status)?,
        framework: Some(framework_info(input)?),
    })
}

impl World {
    fn new(input: Input) -> Result<World> {
        let authentication = Authentication {
            credential: Credential::new("agent", "secret"),
            timeout_min: Duration::from_secs(5),
            timeout_max: Duration::from_secs(60),
            backoff: Duration::from_secs(1),
        };
        let own = pid("slave(1)@10.0.0.9:5051");
        let mut config = Config {
            executor_pid: pid("slave(1)@10.0.1.1:5051"),
            work_dir: WORK_DIR.into(),
            switch_user: input.arbitrary()?,
            guests: input.arbitrary()?,
            authentication: input.ratio(1, 4)?.then_some(authentication),
            ..Config::of_tests(own)
        };
        config.info.resources = vec![scalar("cpus", 8.0), scalar("mem", 8.0)];
        let slave = Slave::new(config, Random::from_seed(input.arbitrary()?));
        let now = Now { instant: *START, unix: 1_795_512_667.5 };
        Ok(World {
            slave,
            now,
            containers: BTreeMap::new(),
            update: internal::StatusUpdate::default(),
            authenticatee: String::new(),
            budget: ACTIONS,
            exited: false,
        })
    }

    fn event(&mut self, event: Event) {
        self.budget += ACTIONS;
        let actions = self.slave.handle(event, self.now);
        assert!(actions.len() <= self.budget, "{} actions at once", actions.len());
        for action in actions {
            match action {
                Action::Send { to: _, message } => self.sent(&message),
                Action::SendAs { from, to: _, message } => {
                    self.authenticatee = from.id;
                    self.sent(&message);
                }
                Action::Link(_) => {}
                Action::Launch(spec) => self.launched(&spec),
                Action::Kill { container, .. } => {
                    assert_eq!(self.containers.get(container.as_str()), Some(&true), "killed, and not there");
                }
                Action::ResourcesChanged { container, .. } => {
                    assert_eq!(self.containers.get(container.as_str()), Some(&true), "given more, and not there");
                }
                Action::CheckpointResources(_) | Action::HangUp(_) => {}
                Action::ToExecutor { via, message } => self.told(&via, &message),
                Action::Acknowledge { container, .. } => assert!(self.containers.contains_key(container.as_str())),
                Action::Exit => self.exited = true,
            }
        }
        let due = self.slave.deadline();
        assert!(self.exited || due.is_none_or(|due| due > self.now.instant), "called again at once");
    }

    fn sent(&mut self, message: &Outgoing) {
        if message.name == "PONG" {
            return assert!(message.body.is_empty());
        }
        check_required(&message.name, &message.body).expect("a complete message");
        if message.name == internal::StatusUpdateMessage::full_name() {
            let sent = internal::StatusUpdateMessage::decode(message.body.as_slice()).expect("a status update");
            self.update = sent.update;
        }
    }

    fn told(&mut self, via: &Via, message: &ToExecutor) {
        match via {
            Via::Driver(_) => {
                for peer in [Dialect::V1, Dialect::V2012, Dialect::Unknown] {
                    if let Some(message) = message.to_driver(peer) {
                        check_required(&message.name, &message.body).expect("a complete message");
                    }
                }
            }
            Via::Default => panic!("the slave plays it itself"),
            Via::Http(_) => {
                if let Some(event) = message.to_event() {
                    check_required("mesos.executor.Event", &event.encode_to_vec()).expect("a complete event");
                }
            }
        }
    }

    fn launched(&mut self, spec: &Spec) {
        check_required(&Spec::full_name(), &spec.encode_to_vec()).expect("a complete spec");
        let sandbox = Path::new(&spec.sandbox);
        assert!(sandbox.starts_with(WORK_DIR) && sandbox.components().all(|part| part != Component::ParentDir));
        assert_eq!(self.containers.insert(spec.container_id.clone(), true), None, "launched twice");
    }

    fn hear(&mut self, input: Input, message: FromMaster) -> Result<()> {
        let from = if input.ratio(7, 8)? { pid("master@10.0.0.1:5050") } else { some_pid(input)? };
        self.event(Event::Message { from, message });
        Ok(())
    }

    fn container(&mut self, input: Input) -> Result<ContainerId> {
        if self.containers.is_empty() || input.ratio(1, 16)? {
            return Ok(ContainerId::new("stranger").expect("an id"));
        }
        let at = input.choose_index(self.containers.len())?;
        let id = self.containers.keys().nth(at).cloned().unwrap_or_default();
        Ok(ContainerId::new(id).expect("an id"))
    }

    fn later(&mut self, by: Duration) {
        self.now.instant += by;
        self.now.unix += by.as_secs_f64();
        self.event(Event::Tick);
    }

    fn authentication(&mut self, input: Input) -> Result<()> {
        let (name, body): (_, Vec<u8>) = match input.int_in_range(0..=5u8)? {
            0 => ("Mechanisms", b"\x0a\x08CRAM-MD5".to_vec()),
            1 => ("Mechanisms", b"\x0a\x05PLAIN".to_vec()),
            2 => ("Step", b"\x0a\x03<1>".to_vec()),
            3 => ("Completed", Vec::new()),
            4 => ("Failed", Vec::new()),
            _ => ("Error", b"\x0a\x01x".to_vec()),
        };
        let name = format!("mesos.internal.Authentication{name}Message");
        let message = FromAuthenticator::decode(&name, &body).expect("an authenticator's message");
        let to = if input.ratio(15, 16)? { self.authenticatee.clone() } else { some_id(input)? };
        self.event(Event::Authentication { from: some_pid(input)?, to, message });
        Ok(())
    }

    fn raw(&mut self, input: Input) -> Result<()> {
        let name = *input.choose(&NAMES)?;
        let length = input.int_in_range(0..=255usize)?.min(input.len());
        let body = input.bytes(length)?.to_vec();
        self.budget += length;
        match FromMaster::decode(name, &body) {
            Ok(message) => self.hear(input, message),
            Err(_) => Ok(()),
        }
    }

    /// An executor, as it calls itself, and what it says.
    fn executor(&mut self, input: Input) -> Result<()> {
        let (Ok(framework), Ok(executor)) = (FrameworkId::new(some_id(input)?), ExecutorId::new(some_id(input)?))
        else {
            return Ok(());
        };
        let via = match input.int_in_range(0..=3u8)? {
            0 => Via::Http(None),
            1 => Via::Http(Some(ConnectionId(input.int_in_range(0..=3)?))),
            _ => Via::Driver(pid("executor(1)@10.0.1.2:4000")),
        };
        let message = match input.int_in_range(0..=5u8)? {
            0 | 1 => FromExecutor::Register,
            2 => FromExecutor::Subscribe { tasks: few(input, task_id)?, updates: few(input, status)? },
            3 | 4 => FromExecutor::Update(Box::new(status(input)?)),
            _ => FromExecutor::Message(vec![input.arbitrary()?]),
        };
        self.slave.standing(&framework, &executor, Ipv4Addr::new(10, 0, 1, 2));
        self.event(Event::Executor { speaker: Speaker { framework, executor, via }, message });
        Ok(())
    }

    /// A driver's message as it comes.
    fn raw_executor(&mut self, input: Input) -> Result<()> {
        let name = *input.choose(&NAMES)?;
        let length = input.int_in_range(0..=255usize)?.min(input.len());
        let body = input.bytes(length)?.to_vec();
        self.budget += length;
        match FromExecutor::of_driver(&pid("executor(1)@10.0.1.2:4000"), name, &body) {
            Ok(Some((speaker, message))) => self.event(Event::Executor { speaker, message }),
            Ok(None) => {}
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        Ok(())
    }

    /// What a container's child tells of an executor's process.
    fn process(&mut self, input: Input) -> Result<()> {
        let container = self.container(input)?;
        if input.ratio(3, 4)? {
            let address = input.arbitrary::<bool>()?.then_some(Ipv4Addr::new(10, 0, 1, 2));
            self.event(Event::ExecutorStarted { container, address, runs: input.arbitrary()? });
        } else {
            let (wait_status, reason) = (input.arbitrary()?, None);
            self.event(Event::ExecutorEnded { container, wait_status, reason, message: None });
        }
        Ok(())
    }

    /// The master's messages about tasks and frameworks.
    fn master(&mut self, input: Input) -> Result<()> {
        let message = match input.int_in_range(0..=12u8)? {
            0 | 1 => FromMaster::RunTask(Box::new(internal::RunTaskMessage {
                framework: framework_info(input)?,
                task: task(input)?,
                pid: Some((*input.choose(&["scheduler@10.0.0.7:1", "@0.0.0.0:0", ""])?).into()),
                launch_executor: input.arbitrary()?,
                ..Default::default()
            })),
            2 => FromMaster::RunTaskGroup(Box::new(internal::RunTaskGroupMessage {
                framework: framework_info(input)?,
                executor: executor_of_group(input)?,
                task_group: mesos::TaskGroupInfo { tasks: few(input, task_of_group)? },
                ..Default::default()
            })),
            3 => FromMaster::KillTask(Box::new(internal::KillTaskMessage {
                framework_id: framework_id(input)?,
                task_id: task_id(input)?,
                kill_policy: if input.arbitrary()? { Some(kill_policy(input)?) } else { None },
            })),
            4 => FromMaster::ShutdownFramework(Box::new(internal::ShutdownFrameworkMessage {
                framework_id: framework_id(input)?,
            })),
            5 => FromMaster::ShutdownExecutor(Box::new(internal::ShutdownExecutorMessage {
                framework_id: Some(framework_id(input)?),
                executor_id: Some(mesos::ExecutorId { value: some_id(input)? }),
            })),
            6 => FromMaster::UpdateFramework(Box::new(internal::UpdateFrameworkMessage {
                framework_id: framework_id(input)?,
                framework_info: Some(framework_info(input)?),
                ..Default::default()
            })),
            7 | 8 => {
                let update = &self.update;
                FromMaster::Acknowledge(Box::new(internal::StatusUpdateAcknowledgementMessage {
                    slave_id: mesos::SlaveId { value: "S0".into() },
                    framework_id: update.framework_id.clone(),
                    task_id: update.status.task_id.clone(),
                    uuid: update.uuid().to_vec(),
                }))
            }
            9 => FromMaster::CheckpointResources(Box::new(internal::CheckpointResourcesMessage {
                resources: resources(input)?,
            })),
            10 => FromMaster::FrameworkToExecutor(Box::new(internal::FrameworkToExecutorMessage {
                slave_id: mesos::SlaveId { value: "S0".into() },
                framework_id: framework_id(input)?,
                executor_id: mesos::ExecutorId { value: some_id(input)? },
                data: vec![1],
            })),
            11 => FromMaster::Drain(Box::default()),
            _ => return self.raw(input),
        };
        self.hear(input, message)
    }

    /// Being known to the master.
    fn registration(&mut self, input: Input) -> Result<()> {
        let slave_id = mesos::SlaveId { value: if input.ratio(15, 16)? { "S0" } else { "S1" }.into() };
        match input.int_in_range(0..=8u8)? {
            0 => {
                let master = some_pid(input)?;
                self.event(Event::MasterDetected(master));
                Ok(())
            }
            1 => {
                let connection = connection(input)?;
                let message = internal::SlaveRegisteredMessage { slave_id, connection };
                self.hear(input, FromMaster::Registered(Box::new(message)))
            }
            2 => {
                let (reconciliations, connection) = (few(input, reconciliation)?, connection(input)?);
                let message = internal::SlaveReregisteredMessage { slave_id, reconciliations, connection };
                self.hear(input, FromMaster::Reregistered(Box::new(message)))
            }
            3 => {
                let message = internal::PingSlaveMessage { connected: input.arbitrary()? };
                self.event(Event::Message { from: some_pid(input)?, message: FromMaster::Ping(Box::new(message)) });
                Ok(())
            }
            4 => {
                let peer = some_pid(input)?;
                self.event(Event::Exited(peer));
                Ok(())
            }
            5 => self.authentication(input),
            6 => {
                let (from, message) = (some_pid(input)?, FromMaster::BarePing);
                self.event(Event::Message { from, message });
                Ok(())
            }
            7 => {
                let dialect = *input.choose(&[Dialect::V1, Dialect::V2012, Dialect::Unknown])?;
                self.event(Event::Shown { address: some_pid(input)?.address, dialect });
                Ok(())
            }
            _ => {
                self.event(Event::MasterLost);
                Ok(())
            }
        }
    }

    /// What containers do.
    fn containers(&mut self, input: Input) -> Result<()> {
        let container = self.container(input)?;
        if input.ratio(2, 3)? {
            let status = Box::new(status(input)?);
            self.event(Event::ContainerStatus { container, status });
        } else {
            if let Some(there) = self.containers.get_mut(container.as_str()) {
                *there = false;
            }
            let reason = input.arbitrary::<bool>()?.then(|| "it died".to_string());
            self.event(Event::ContainerGone { container, reason });
        }
        Ok(())
    }

    fn step(&mut self, input: Input) -> Result<()> {
        match input.int_in_range(0..=21u8)? {
            16..=18 => self.executor(input)?,
            19 | 20 => self.process(input)?,
            21 => self.raw_executor(input)?,
            0..=5 => self.master(input)?,
            6..=8 => self.registration(input)?,
            9..=12 => self.containers(input)?,
            13 => {
                let due = self.slave.deadline().unwrap_or(self.now.instant);
                self.later(due.saturating_duration_since(self.now.instant));
            }
            14 => self.later(Duration::from_millis(input.arbitrary::<u16>()?.into())),
            _ => match input.arbitrary::<u8>()? {
                0..20 => self.event(Event::Stop),
                20..40 => self.event(Event::Unregister),
                40..60 => self.hear(input, FromMaster::Shutdown(Box::default()))?,
                _ => {
                    // The usual way in, so that not every sequence has to find it.
                    self.event(Event::MasterDetected(pid("master@10.0.0.1:5050")));
                    self.later(Duration::from_secs(2));
                    let slave_id = mesos::SlaveId { value: "S0".into() };
                    let message = internal::SlaveRegisteredMessage { slave_id, connection: connection(input)? };
                    self.hear(input, FromMaster::Registered(Box::new(message)))?;
                }
            },
        }
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    memory::within((1 << 20) + 32 * 1024 * data.len(), || {
        let mut input = Unstructured::new(data);
        let Ok(mut world) = World::new(&mut input) else {
            return;
        };
        while !input.is_empty() && !world.exited {
            if world.step(&mut input).is_err() {
                return;
            }
        }
    });
});
