//! What happens in each step, and what the model expects of it.

use std::time::Duration;

use super::super::{pid, task};
use super::world::{CPUS, Container, Key, Question, Waiting, World};
use super::{Check, Step, ensure};
use crate::ids::ContainerId;
use crate::libprocess::Pid;
use crate::messages::mesos::internal::*;
use crate::messages::mesos::task_status::Source;
use crate::messages::mesos::{self, TaskInfo, TaskState};
use crate::resources::scalar;
use crate::slave::{Event, FromMaster, is_terminal};

const MASTERS: [&str; 2] = ["master@127.0.0.1:5050", "master@127.0.0.2:5050"];
/// Times that pass, in milliseconds.
const TIMES: [u64; 8] = [1, 400, 1500, 3000, 9999, 10_001, 76_000, 1_300_000];

impl World {
    pub fn step(&mut self, step: Step) -> Check {
        if self.exited {
            return Ok(());
        }
        match step {
            Step::Run(pick) => self.run(pick),
            Step::RunLost(pick) => {
                let key = self.key(pick);
                if self.serves() {
                    self.master.tasks.insert(key);
                }
                Ok(())
            }
            Step::Kill(pick) => self.kill(pick),
            Step::ShutdownExecutor(pick) => self.shutdown_executor(pick),
            Step::Status(pick) => match self.choose(pick, |container| container.alive) {
                Some(id) => self.report_next(&id, pick),
                None => Ok(()),
            },
            Step::Repeat(pick) => self.repeat(pick),
            Step::End(pick) => match self.choose(pick, |container| container.alive) {
                Some(id) => self.end(&id),
                None => Ok(()),
            },
            Step::Gone(pick) => match self.choose(pick, |container| container.alive) {
                Some(id) => self.gone(&id, (pick % 2 == 0).then(|| "exit status 1".to_string())),
                None => Ok(()),
            },
            Step::Late(pick) => match self.choose(pick, |container| !container.alive) {
                Some(id) => self.report(&id, TaskState::TaskRunning),
                None => Ok(()),
            },
            Step::Acknowledge(pick) => match pick_of(&self.inbox, pick) {
                Some((key, uuid)) => self.acknowledge(&key, uuid),
                None => Ok(()),
            },
            Step::AcknowledgeLost(pick) => {
                self.acknowledge_lost(pick);
                Ok(())
            }
            Step::AcknowledgeStale(pick) => match pick_of(&self.outbox, pick) {
                Some((key, uuid)) => self.acknowledge(&key, uuid),
                None => Ok(()),
            },
            Step::AcknowledgeUnknown(pick) => self.acknowledge(&self.key(pick), vec![pick; 16]),
            Step::Exited => match self.master.pid.clone() {
                Some(master) => self.event(Event::Exited(master)),
                None => Ok(()),
            },
            Step::ExitedOther => self.event(Event::Exited(pid("master@127.0.0.3:5050"))),
            Step::Reach(pick) => {
                self.master.up = !self.master.up;
                if pick % 2 == 0 {
                    self.forget();
                }
                Ok(())
            }
            Step::MasterLost => {
                self.master.pid = None;
                self.forget();
                self.in_touch = false;
                self.event(Event::MasterLost)
            }
            Step::MasterDetected(pick) => self.detected(pick),
            Step::Answer => match self.master.asked.take() {
                Some(question) => self.answer(question),
                None => Ok(()),
            },
            Step::AnswerAgain => match self.master.answered.clone() {
                Some(question) => self.answer(question),
                None => Ok(()),
            },
            Step::Ping => self.ping(true),
            Step::PingDisconnected => self.ping(false),
            Step::ShutdownFramework(pick) => self.shutdown_framework(pick),
            Step::UpdateFramework(pick) => self.update_framework(pick),
            Step::Pass(pick) => self.pass(TIMES[usize::from(pick) % TIMES.len()]),
            Step::LateTick(pick) => {
                self.advance(Duration::from_millis(TIMES[usize::from(pick) % TIMES.len()]));
                self.event(Event::Tick)
            }
            Step::Stop => self.stop(),
        }
    }

    /// The master at the leader's address begins anew.
    fn forget(&mut self) {
        self.master.knows = false;
        self.master.asked = None;
        self.master.answered = None;
        self.master.tasks.clear();
    }

    pub fn detected(&mut self, pick: u8) -> Check {
        let next = pid(MASTERS[usize::from(pick) % MASTERS.len()]);
        if self.master.pid.as_ref() != Some(&next) || pick % 4 > 1 {
            self.forget();
        }
        self.master.pid = Some(next.clone());
        self.master.up = true;
        self.event(Event::MasterDetected(next))
    }

    fn hear(&mut self, message: FromMaster) -> Check {
        let from = self.master.pid.clone().expect("a master leads");
        self.event(Event::Message { from, message })
    }

    fn run(&mut self, pick: u8) -> Check {
        if !self.serves() {
            return Ok(());
        }
        let key = self.key(pick);
        let stream = self.streams.get(&key);
        let waits = stream.is_some_and(|stream| stream.owed || !stream.queue.is_empty());
        // A kill of an unknown task may have been answered, though nobody has heard of it yet.
        let uncertain = stream.is_some_and(|stream| stream.allowed);
        let busy = waits || self.owner(&key).is_some();
        let cpus = 300 * (1 + u32::from(pick % 5));
        let refused = self.stopping || self.executor(&key).is_some() || self.used() + cpus > CPUS;
        if refused && !busy {
            self.owe(&key);
        }
        self.master.tasks.insert(key.clone());
        let launched = self.containers.len();
        self.hear(FromMaster::RunTask(Box::new(RunTaskMessage {
            framework: framework(&key.0),
            task: TaskInfo { resources: vec![scalar("cpus", f64::from(cpus) / 1000.0)], ..task(&key.1) },
            pid: Some("@0.0.0.0:0".into()),
            // Of a command task it says nothing.
            launch_executor: [Some(true), Some(false), None][usize::from(pick / 3 % 3)],
            ..Default::default()
        })))?;
        let launched = self.containers.len() - launched;
        ensure!(
            launched == usize::from(!busy && !refused) || uncertain && launched == 0,
            "{key:?} was launched {launched} times"
        );
        Ok(())
    }

    fn kill(&mut self, pick: u8) -> Check {
        if !self.serves() {
            return Ok(());
        }
        let key = self.key(pick);
        let alive = self.owner(&key).map(|container| container.alive);
        if alive.is_none() {
            let stream = self.streams.entry(key.clone()).or_default();
            stream.allowed |= stream.queue.is_empty();
        }
        let kills = self.seen.kills;
        self.hear(FromMaster::KillTask(Box::new(KillTaskMessage {
            framework_id: mesos::FrameworkId { value: key.0.clone() },
            task_id: mesos::TaskId { value: key.1.clone() },
            kill_policy: None,
        })))?;
        let expected = usize::from(alive == Some(true));
        ensure!(self.seen.kills - kills == expected, "{} kills for {key:?}", self.seen.kills - kills);
        Ok(())
    }

    fn shutdown_executor(&mut self, pick: u8) -> Check {
        if !self.serves() {
            return Ok(());
        }
        let key = self.key(pick);
        let kills = self.seen.kills;
        let expected = usize::from(self.executor(&key).is_some());
        self.hear(FromMaster::ShutdownExecutor(Box::new(ShutdownExecutorMessage {
            framework_id: Some(mesos::FrameworkId { value: key.0.clone() }),
            executor_id: Some(mesos::ExecutorId { value: key.1.clone() }),
        })))?;
        ensure!(self.seen.kills - kills == expected, "{} kills for {key:?}", self.seen.kills - kills);
        Ok(())
    }

    /// A child's next word: starting, running, now and then running once more, and an end that fits.
    fn report_next(&mut self, id: &ContainerId, pick: u8) -> Check {
        let container = &self.containers[self.position(id).expect("known")].1;
        let state = match (container.reported.len(), container.told, pick % 4) {
            (0, _, 0..3) => TaskState::TaskStarting,
            (0 | 1, _, _) | (2, false, 0 | 1) => TaskState::TaskRunning,
            (_, true, _) => TaskState::TaskKilled,
            (_, false, 3) => TaskState::TaskFailed,
            (_, false, _) => TaskState::TaskFinished,
        };
        self.report(id, state)
    }

    pub fn report(&mut self, id: &ContainerId, state: TaskState) -> Check {
        let uuid = self.uuid();
        let container = &mut self.containers.iter_mut().find(|(known, _)| known == id).expect("known").1;
        let status = mesos::TaskStatus {
            task_id: mesos::TaskId { value: container.key.1.clone() },
            state: state as i32,
            source: Some(Source::Executor as i32),
            uuid: Some(uuid.clone()),
            ..Default::default()
        };
        let key = container.key.clone();
        let counts = container.alive && !container.ended;
        if container.alive {
            container.reported.push(status.clone());
        }
        if counts {
            container.state = state;
            container.ended = is_terminal(state);
        }
        if counts && self.lives(&key.0) {
            let stream = self.streams.entry(key).or_default();
            stream.reported.push(uuid.clone());
            stream.queue.push_back(Waiting { uuid, terminal: is_terminal(state), sent: None });
        }
        self.hear_status(id, status)
    }

    fn hear_status(&mut self, id: &ContainerId, status: mesos::TaskStatus) -> Check {
        let uuid = status.uuid().to_vec();
        let alive = self.containers[self.position(id).expect("known")].1.alive;
        let taken = self.event_taken(Event::ContainerStatus { container: id.clone(), status: Box::new(status) })?;
        ensure!(!alive || taken == [(id.clone(), uuid)], "the child was not told that its status is in our hands");
        Ok(())
    }

    fn repeat(&mut self, pick: u8) -> Check {
        let Some(id) = self.choose(pick, |container| container.alive) else { return Ok(()) };
        let reported = self.containers[self.position(&id).expect("known")].1.reported.clone();
        reported.into_iter().try_for_each(|status| self.hear_status(&id, status))
    }

    pub fn end(&mut self, id: &ContainerId) -> Check {
        let container = &self.containers[self.position(id).expect("known")].1;
        let state = if container.told { TaskState::TaskKilled } else { TaskState::TaskFinished };
        if !container.ended {
            self.report(id, state)?;
        }
        if self.exited {
            return Ok(());
        }
        self.gone(id, None)
    }

    pub fn gone(&mut self, id: &ContainerId, reason: Option<String>) -> Check {
        let at = self.position(id).expect("known");
        let container = &mut self.containers[at].1;
        container.alive = false;
        let (key, open) = (container.key.clone(), !std::mem::replace(&mut container.ended, true));
        if open && self.lives(&key.0) {
            self.owe(&key);
        }
        self.event(Event::ContainerGone { container: id.clone(), reason })
    }

    /// The slave owes an update of its own making.
    fn owe(&mut self, key: &Key) {
        self.streams.entry(key.clone()).or_default().owed = true;
    }

    pub fn acknowledge(&mut self, key: &Key, uuid: Vec<u8>) -> Check {
        if !self.serves() || !self.lives(&key.0) {
            return Ok(());
        }
        let front = self.streams.get_mut(key).and_then(|stream| match stream.queue.front() {
            Some(front) if front.uuid == uuid => stream.queue.pop_front(),
            Some(_) | None => None,
        });
        if front.is_some_and(|front| front.terminal) {
            let stream = &self.streams[key];
            ensure!(stream.queue.is_empty(), "something follows {key:?}'s last update");
            self.master.tasks.remove(key);
            if let Some(container) = self.owner(key) {
                container.acknowledged = true;
            }
        }
        let entry = (key.clone(), uuid.clone());
        self.inbox.retain(|each| *each != entry);
        self.outbox.push(entry);
        self.hear(FromMaster::Acknowledge(Box::new(StatusUpdateAcknowledgementMessage {
            slave_id: mesos::SlaveId { value: "S0".into() },
            framework_id: mesos::FrameworkId { value: key.0.clone() },
            task_id: mesos::TaskId { value: key.1.clone() },
            uuid,
        })))
    }

    /// The slave will send the update again, and the scheduler acknowledge it again. Lost behind the master, the acknowledgement
    /// has made it forget the task.
    fn acknowledge_lost(&mut self, pick: u8) {
        let Some(lost) = pick_of(&self.inbox, pick) else { return };
        self.inbox.retain(|each| *each != lost);
        let front = self.streams.get(&lost.0).and_then(|stream| stream.queue.front());
        if self.serves() && pick.is_multiple_of(2) && front.is_some_and(|front| front.terminal && front.uuid == lost.1)
        {
            self.master.tasks.remove(&lost.0);
        }
    }

    /// The master's answer; tasks that it has and the slave did not list are asked about.
    pub fn answer(&mut self, question: Question) -> Check {
        if !self.master.up || self.master.pid.is_none() {
            return Ok(());
        }
        self.master.answered = Some(question.clone());
        let slave_id = mesos::SlaveId { value: "S0".into() };
        let connection = Some(MasterSlaveConnection { total_ping_timeout_seconds: Some(75.0) });
        self.excused = self.streams.keys().cloned().collect();
        self.master.knows = true;
        self.in_touch = true;
        self.has_id = true;
        self.heard_at = self.now.instant;
        let missing: Vec<Key> = match question {
            Question::New => {
                let message = SlaveRegisteredMessage { slave_id, connection };
                return self.hear(FromMaster::Registered(Box::new(message)));
            }
            Question::Again(missing) => missing.into_iter().filter(|key| self.lives(&key.0)).collect(),
        };
        for key in &missing {
            // The question may have crossed with the task's launch: then the slave has it by now.
            let here = self.owner(key).is_some();
            let stream = self.streams.entry(key.clone()).or_default();
            stream.owed |= stream.queue.is_empty() && !here;
        }
        self.seen.reconciled += missing.len();
        let reconciliations = missing.iter().map(reconciliation).collect();
        let message = SlaveReregisteredMessage { slave_id, connection, reconciliations };
        self.hear(FromMaster::Reregistered(Box::new(message)))
    }

    pub fn ping(&mut self, connected: bool) -> Check {
        let Some(master) = self.master.pid.clone().filter(|_| self.master.up) else { return Ok(()) };
        self.heard_at = self.now.instant;
        let from = Pid { id: "slave-observer(1)".into(), address: master.address };
        let message = FromMaster::Ping(Box::new(PingSlaveMessage { connected }));
        self.event(Event::Message { from, message })
    }

    fn shutdown_framework(&mut self, pick: u8) -> Check {
        if !self.serves() {
            return Ok(());
        }
        let dead = self.framework(pick);
        self.lives[usize::from(pick % super::world::FRAMEWORKS)] += 1;
        self.streams.retain(|key, _| key.0 != dead);
        self.master.tasks.retain(|key| key.0 != dead);
        self.inbox.retain(|(key, _)| key.0 != dead);
        let of_it = |container: &Container| container.alive && container.key.0 == dead;
        let expected = self.containers.iter().filter(|(_, container)| of_it(container)).count();
        let kills = self.seen.kills;
        let framework_id = mesos::FrameworkId { value: dead.clone() };
        self.hear(FromMaster::ShutdownFramework(Box::new(ShutdownFrameworkMessage { framework_id })))?;
        ensure!(self.seen.kills - kills == expected, "not all of {dead} was ended");
        Ok(())
    }

    pub fn update_framework(&mut self, pick: u8) -> Check {
        if !self.serves() {
            return Ok(());
        }
        let id = self.framework(pick);
        self.excused = self.streams.keys().filter(|key| key.0 == id).cloned().collect();
        let framework_info = Some(framework(&id));
        let framework_id = mesos::FrameworkId { value: id };
        let pid = Some("scheduler-1@127.0.0.9:9999".to_string());
        self.hear(FromMaster::UpdateFramework(Box::new(UpdateFrameworkMessage { framework_id, pid, framework_info })))
    }

    fn stop(&mut self) -> Check {
        let expected = self.containers.iter().filter(|(_, container)| container.alive).count();
        let expected = if self.stopping { 0 } else { expected };
        self.stopping = true;
        let kills = self.seen.kills;
        self.event(Event::Stop)?;
        ensure!(self.seen.kills - kills == expected, "not everything was ended");
        Ok(())
    }
}

pub fn framework(id: &str) -> mesos::FrameworkInfo {
    mesos::FrameworkInfo { id: Some(mesos::FrameworkId { value: id.into() }), ..super::super::framework() }
}

fn reconciliation(key: &Key) -> ReconcileTasksMessage {
    ReconcileTasksMessage {
        framework_id: mesos::FrameworkId { value: key.0.clone() },
        statuses: vec![mesos::TaskStatus {
            task_id: mesos::TaskId { value: key.1.clone() },
            state: TaskState::TaskRunning as i32,
            ..Default::default()
        }],
        framework: Some(framework(&key.0)),
    }
}

fn pick_of<T: Clone>(list: &[T], pick: u8) -> Option<T> {
    list.get(usize::from(pick) % list.len().max(1)).cloned()
}
