//! A slave, the time, and what it wants done; a master is whoever calls `hear`.

use std::time::{Duration, Instant};

use super::super::*;
use crate::messages::mesos::internal::*;
use crate::messages::mesos::task_status::Source;
use crate::messages::mesos::{TaskState, framework_info};

pub(super) const MASTER: &str = "master@127.0.0.1:5050";
pub(super) const OBSERVER: &str = "slave-observer(1)@127.0.0.1:5050";

pub(super) struct World {
    pub(super) slave: Slave,
    pub(super) now: Now,
}

/// What the slave wanted done, sorted.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) sent: Vec<(Pid, Outgoing)>,
    pub(super) linked: Vec<Pid>,
    pub(super) launched: Vec<Spec>,
    pub(super) changed: Vec<(ContainerId, String)>,
    pub(super) checkpointed: Vec<Vec<mesos::Resource>>,
    pub(super) killed: Vec<(ContainerId, Duration)>,
    pub(super) acknowledged: Vec<Vec<u8>>,
    pub(super) told: Vec<(executor::Via, executor::ToExecutor)>,
    pub(super) hung_up: Vec<ConnectionId>,
    pub(super) exit: bool,
}

impl Wanted {
    pub(super) fn messages<M: Message + Name + Default>(&self) -> Vec<M> {
        self.sent.iter().filter_map(|(_, message)| message.decode()).collect()
    }

    pub(super) fn only<M: Message + Name + Default>(&self) -> M {
        let mut all = self.messages::<M>();
        assert_eq!(all.len(), 1, "one {} in {:?}", M::full_name(), self.sent);
        all.remove(0)
    }

    pub(super) fn statuses(&self) -> Vec<mesos::TaskStatus> {
        let updates = self.messages::<StatusUpdateMessage>();
        updates.into_iter().map(|message| message.update.status).collect()
    }
}

pub(super) fn pid(text: &str) -> Pid {
    text.parse().expect("pid")
}

impl World {
    pub(super) fn new() -> World {
        let config =
            Config { executor_pid: pid("slave(1)@10.0.0.1:5051"), ..Config::of_tests(pid("slave(1)@127.0.0.1:5051")) };
        World {
            slave: Slave::new(config, Random::from_seed(1)),
            now: Now { instant: Instant::now(), unix: 1_795_512_667.5 },
        }
    }

    pub(super) fn registered() -> World {
        let mut world = World::new();
        world.register();
        world
    }

    pub(super) fn register(&mut self) {
        self.event(Event::MasterDetected(pid(MASTER)));
        self.later(Duration::from_secs(1));
        self.hear(FromMaster::Registered(Box::new(SlaveRegisteredMessage {
            slave_id: mesos::SlaveId { value: "S0".into() },
            connection: Some(MasterSlaveConnection { total_ping_timeout_seconds: Some(75.0) }),
        })));
    }

    /// The master's program shows which libprocess it is.
    pub(super) fn shows(&mut self, dialect: Dialect) {
        let wanted = self.event(Event::Shown { address: pid(MASTER).address, dialect });
        assert!(wanted.sent.is_empty() && wanted.linked.is_empty());
    }

    pub(super) fn event(&mut self, event: Event) -> Wanted {
        let mut wanted = Wanted::default();
        for action in self.slave.handle(event, self.now) {
            match action {
                Action::Send { to, message } => wanted.sent.push((to, message)),
                Action::SendAs { to, message, .. } => wanted.sent.push((to, message)),
                Action::Link(pid) => wanted.linked.push(pid),
                Action::Launch(spec) => wanted.launched.push(*spec),
                Action::ResourcesChanged { container, resources } => {
                    let resources: crate::resources::Resources = resources.into_iter().collect();
                    wanted.changed.push((container, resources.to_string()));
                }
                Action::CheckpointResources(resources) => wanted.checkpointed.push(resources),
                Action::Kill { container, grace } => wanted.killed.push((container, grace)),
                Action::Acknowledge { uuid, .. } => wanted.acknowledged.push(uuid),
                Action::ToExecutor { via, message } => wanted.told.push((via, *message)),
                Action::HangUp(connection) => wanted.hung_up.push(connection),
                Action::Exit => wanted.exit = true,
            }
        }
        wanted
    }

    pub(super) fn later(&mut self, by: Duration) -> Wanted {
        self.now.instant += by;
        self.now.unix += by.as_secs_f64();
        self.event(Event::Tick)
    }

    pub(super) fn hear(&mut self, message: FromMaster) -> Wanted {
        self.event(Event::Message { from: pid(MASTER), message })
    }

    pub(super) fn ping(&mut self, connected: bool) -> Wanted {
        self.event(Event::Message {
            from: pid(OBSERVER),
            message: FromMaster::Ping(Box::new(PingSlaveMessage { connected })),
        })
    }

    pub(super) fn run(&mut self, task: mesos::TaskInfo) -> Wanted {
        self.hear(FromMaster::RunTask(Box::new(RunTaskMessage {
            framework: framework(),
            task,
            pid: Some("@0.0.0.0:0".into()),
            launch_executor: Some(true),
            ..Default::default()
        })))
    }

    /// Runs a task and gives its container.
    pub(super) fn running(&mut self, name: &str) -> ContainerId {
        let spec = self.run(task(name)).launched.remove(0);
        let container = ContainerId::new(spec.container_id).expect("container id");
        self.status(&container, name, TaskState::TaskRunning, 1);
        self.acknowledge(name, 1);
        container
    }

    pub(super) fn a_status(&self, task: &str, state: TaskState, uuid: u8) -> mesos::TaskStatus {
        mesos::TaskStatus {
            task_id: mesos::TaskId { value: task.into() },
            state: state as i32,
            source: Some(Source::Executor as i32),
            uuid: Some(vec![uuid; 16]),
            ..Default::default()
        }
    }

    pub(super) fn status(&mut self, container: &ContainerId, task: &str, state: TaskState, uuid: u8) -> Wanted {
        let status = Box::new(self.a_status(task, state, uuid));
        self.event(Event::ContainerStatus { container: container.clone(), status })
    }

    pub(super) fn reregistered(&mut self) -> Wanted {
        self.hear(FromMaster::Reregistered(Box::new(SlaveReregisteredMessage {
            slave_id: mesos::SlaveId { value: "S0".into() },
            ..Default::default()
        })))
    }

    pub(super) fn acknowledge(&mut self, task: &str, uuid: u8) -> Wanted {
        self.acknowledge_uuid(task, &[uuid; 16])
    }

    pub(super) fn acknowledge_uuid(&mut self, task: &str, uuid: &[u8]) -> Wanted {
        self.hear(FromMaster::Acknowledge(Box::new(StatusUpdateAcknowledgementMessage {
            slave_id: mesos::SlaveId { value: "S0".into() },
            framework_id: mesos::FrameworkId { value: "F".into() },
            task_id: mesos::TaskId { value: task.into() },
            uuid: uuid.to_vec(),
        })))
    }

    pub(super) fn gone(&mut self, container: &ContainerId, reason: Option<&str>) -> Wanted {
        self.event(Event::ContainerGone { container: container.clone(), reason: reason.map(str::to_string) })
    }

    pub(super) fn kill(&mut self, task: &str) -> Wanted {
        self.hear(FromMaster::KillTask(Box::new(KillTaskMessage {
            framework_id: mesos::FrameworkId { value: "F".into() },
            task_id: mesos::TaskId { value: task.into() },
            kill_policy: None,
        })))
    }
}

pub(super) fn framework() -> mesos::FrameworkInfo {
    mesos::FrameworkInfo {
        user: "root".into(),
        name: "f".into(),
        id: Some(mesos::FrameworkId { value: "F".into() }),
        capabilities: vec![mesos::framework_info::Capability {
            r#type: Some(framework_info::capability::Type::PartitionAware as i32),
        }],
        ..Default::default()
    }
}

pub(super) fn task(name: &str) -> mesos::TaskInfo {
    mesos::TaskInfo {
        name: name.into(),
        task_id: mesos::TaskId { value: name.into() },
        slave_id: mesos::SlaveId { value: "S0".into() },
        command: Some(mesos::CommandInfo { value: Some("true".into()), ..Default::default() }),
        ..Default::default()
    }
}
