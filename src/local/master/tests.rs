//! Scenarios of the core with an invented clock. `World` plays the slaves, the schedulers and the clock.

mod golden;
mod grouping;
mod losing;
mod offering;
mod scheduling;
mod tasking;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use prost::{Message, Name};

use super::core::{Action, Core, Event, Identity, Peer};
use crate::libprocess::pid::Pid;
use crate::messages::mesos::framework_info::{Capability, capability};
use crate::messages::mesos::internal::*;
use crate::messages::mesos::offer::{Operation, operation};
use crate::messages::mesos::scheduler::{self, Call, call};
use crate::messages::mesos::task_status::Source;
use crate::messages::mesos::value::Type;
use crate::messages::mesos::{self, CommandInfo, FrameworkInfo, Resource, SlaveInfo, TaskInfo, TaskState, TaskStatus};

const MASTER: &str = "a079e6e4-9fb8-4efd-86dc-bd8b7e16d936";

/// A scheduler that has subscribed.
#[derive(Debug, Clone)]
struct Scheduler {
    peer: Peer,
    id: mesos::FrameworkId,
}

/// The core and all that it talks to.
struct World {
    core: Core,
    now: Instant,
    peers: u64,
    updates: u8,
    /// What the core has done and the test has not looked at yet.
    actions: Vec<Action>,
}

impl World {
    fn new() -> World {
        let now = Instant::now();
        let identity = Identity {
            id: MASTER.into(),
            address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5050),
            hostname: "localhost".into(),
            started: now,
            started_wall: 1000.0,
        };
        World { core: Core::new(identity), now, peers: 0, updates: 0, actions: Vec::new() }
    }

    fn handle(&mut self, event: Event) {
        let actions = self.core.handle(event, self.now);
        self.actions.extend(actions);
    }

    /// Lets time pass, with a tick at each deadline on the way.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.core.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.handle(Event::Tick);
        }
        self.now = end;
    }

    fn hear<M: Message + Name>(&mut self, from: &Pid, message: &M) {
        self.hear_at("master", from, message);
    }

    fn hear_at<M: Message + Name>(&mut self, to: &str, from: &Pid, message: &M) {
        self.handle(Event::Message {
            from: from.clone(),
            to: to.into(),
            name: M::full_name(),
            body: message.encode_to_vec(),
        });
    }

    /// The messages of one type that were sent to a slave since the last look.
    fn sent<M: Message + Name + Default>(&mut self, to: &Pid) -> Vec<M> {
        let name = M::full_name();
        self.taken(|action| match action {
            Action::Send { to: whom, name: what, body, .. } if whom == to && *what == name => {
                Some(M::decode(body.as_slice()).expect("our own message"))
            }
            _ => None,
        })
    }

    /// The events that a scheduler got since the last look, without heartbeats.
    fn events(&mut self, scheduler: &Scheduler) -> Vec<scheduler::Event> {
        let peer = scheduler.peer;
        let events = self.taken(|action| match action {
            Action::Event { peer: whom, event } if *whom == peer => Some((**event).clone()),
            _ => None,
        });
        events.into_iter().filter(|event| event.r#type() != scheduler::event::Type::Heartbeat).collect()
    }

    fn updates(&mut self, scheduler: &Scheduler) -> Vec<TaskStatus> {
        self.events(scheduler).into_iter().filter_map(|event| event.update).map(|update| update.status).collect()
    }

    fn offers(&mut self, scheduler: &Scheduler) -> Vec<mesos::Offer> {
        self.events(scheduler).into_iter().filter_map(|event| event.offers).flat_map(|offers| offers.offers).collect()
    }

    fn answers(&mut self) -> Vec<(u16, String)> {
        self.taken(|action| match action {
            Action::Answer { status, text, .. } => Some((*status, text.clone())),
            _ => None,
        })
    }

    fn is_closed(&mut self, peer: Peer) -> bool {
        self.taken(|action| matches!(action, Action::Close { peer: whom } if *whom == peer).then_some(())) == [()]
    }

    fn taken<T>(&mut self, which: impl Fn(&Action) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        self.actions.retain(|action| which(action).map(|one| found.push(one)).is_none());
        found
    }

    /// Registers a slave and gives its pid.
    fn slave(&mut self, port: u16, resources: &[Resource]) -> Pid {
        let pid = slave_pid(port);
        let slave = SlaveInfo {
            hostname: "localhost".into(),
            port: Some(port.into()),
            resources: resources.to_vec(),
            checkpoint: Some(true),
            ..Default::default()
        };
        self.hear(&pid, &RegisterSlaveMessage { slave, version: Some("1.11.0".into()), ..Default::default() });
        pid
    }

    fn peer(&mut self) -> Peer {
        self.peers += 1;
        Peer(self.peers)
    }

    fn subscribe(&mut self, info: FrameworkInfo) -> Scheduler {
        let peer = self.peer();
        let subscribe = Box::new(call::Subscribe { framework_info: info, ..Default::default() });
        self.handle(Event::Subscribe { peer, subscribe, stream_id: stream_id(peer) });
        let ids = self.taken(|action| match action {
            Action::Event { peer: whom, event } if *whom == peer => {
                event.subscribed.as_ref().map(|one| one.framework_id.clone())
            }
            _ => None,
        });
        Scheduler { peer, id: ids.into_iter().next().unwrap_or_default() }
    }

    /// A partition-aware framework.
    fn framework(&mut self) -> Scheduler {
        self.subscribe(framework_info(&[capability::Type::PartitionAware]))
    }

    fn call(&mut self, scheduler: &Scheduler, call: Call) {
        let peer = self.peer();
        let call = Box::new(Call { framework_id: Some(scheduler.id.clone()), ..call });
        self.handle(Event::Call { peer, stream_id: Some(stream_id(scheduler.peer)), call });
        assert_eq!(self.answers(), [(202, String::new())]);
    }

    fn accept(&mut self, scheduler: &Scheduler, offers: &[mesos::Offer], tasks: Vec<TaskInfo>) {
        let operation = Operation {
            r#type: Some(operation::Type::Launch as i32),
            launch: Some(operation::Launch { task_infos: tasks }),
            ..Default::default()
        };
        let offer_ids = offers.iter().map(|offer| offer.id.clone()).collect();
        let accept = call::Accept { offer_ids, operations: vec![operation], filters: None };
        self.call(scheduler, Call { accept: Some(accept), ..of(call::Type::Accept) });
    }

    /// A slave reports a task's state; gives the update's uuid.
    fn report(&mut self, slave: &Pid, task: &RunTaskMessage, state: TaskState) -> Vec<u8> {
        self.updates += 1;
        let uuid = vec![self.updates; 16];
        let message = update_message(task, state, &uuid);
        self.hear(slave, &message);
        uuid
    }

    fn acknowledge(&mut self, scheduler: &Scheduler, task: &RunTaskMessage, uuid: &[u8]) {
        let acknowledge = call::Acknowledge {
            slave_id: task.task.slave_id.clone(),
            task_id: task.task.task_id.clone(),
            uuid: uuid.to_vec(),
        };
        self.call(scheduler, Call { acknowledge: Some(acknowledge), ..of(call::Type::Acknowledge) });
    }

    /// A slave of 4 CPUs, a framework, and a task of 1 CPU of it that runs.
    fn with_running_task() -> (World, Pid, Scheduler, RunTaskMessage) {
        let mut world = World::new();
        let slave = world.slave(5051, &[cpus(4.0), mem(1024.0)]);
        let scheduler = world.framework();
        let offers = world.offers(&scheduler);
        world.accept(&scheduler, &offers, vec![task("t", &offers[0], 1.0)]);
        let run = world.sent::<RunTaskMessage>(&slave).remove(0);
        let uuid = world.report(&slave, &run, TaskState::TaskRunning);
        world.acknowledge(&scheduler, &run, &uuid);
        world.actions.clear();
        (world, slave, scheduler, run)
    }
}

fn of(kind: call::Type) -> Call {
    Call { r#type: Some(kind as i32), ..Default::default() }
}

fn stream_id(peer: Peer) -> String {
    format!("stream-{}", peer.0)
}

fn slave_pid(port: u16) -> Pid {
    Pid { id: "slave(1)".into(), address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port) }
}

fn framework_info(capabilities: &[capability::Type]) -> FrameworkInfo {
    FrameworkInfo {
        user: "root".into(),
        name: "f".into(),
        capabilities: capabilities.iter().map(|one| Capability { r#type: Some(*one as i32) }).collect(),
        ..Default::default()
    }
}

fn scalar(name: &str, value: f64) -> Resource {
    Resource {
        name: name.into(),
        r#type: Type::Scalar as i32,
        scalar: Some(mesos::value::Scalar { value }),
        ..Default::default()
    }
}

fn cpus(value: f64) -> Resource {
    scalar("cpus", value)
}

fn mem(value: f64) -> Resource {
    scalar("mem", value)
}

fn task(id: &str, offer: &mesos::Offer, cpu: f64) -> TaskInfo {
    TaskInfo {
        name: id.into(),
        task_id: mesos::TaskId { value: id.into() },
        slave_id: offer.slave_id.clone(),
        resources: vec![cpus(cpu), mem(64.0)],
        command: Some(CommandInfo { value: Some("true".into()), ..Default::default() }),
        ..Default::default()
    }
}

fn update_message(task: &RunTaskMessage, state: TaskState, uuid: &[u8]) -> StatusUpdateMessage {
    let status = TaskStatus {
        task_id: task.task.task_id.clone(),
        state: state as i32,
        source: Some(Source::Executor as i32),
        uuid: Some(uuid.to_vec()),
        ..Default::default()
    };
    let update = StatusUpdate {
        framework_id: task.framework.id.clone().unwrap_or_default(),
        slave_id: Some(task.task.slave_id.clone()),
        status,
        timestamp: 1.0,
        uuid: Some(uuid.to_vec()),
        latest_state: Some(state as i32),
        ..Default::default()
    };
    StatusUpdateMessage { update, pid: Some("slave(1)@127.0.0.1:5051".into()) }
}

/// The amount of a scalar in an offer.
fn amount(offer: &mesos::Offer, name: &str) -> f64 {
    offer
        .resources
        .iter()
        .filter(|one| one.name == name)
        .filter_map(|one| one.scalar.as_ref())
        .map(|one| one.value)
        .sum()
}
