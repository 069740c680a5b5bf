//! Random lives of a framework's own executor and its tasks, with a master that is there and counts executors as Mesos' does.
//! What becomes of streams when the master is not there is in the other properties: here it is what executors do to them.

use std::collections::BTreeMap;

use super::super::executors::driver;
use super::super::{Wanted, World};
use super::{Check, ensure};
use crate::ids::ContainerId;
use crate::messages::mesos::internal::*;
use crate::messages::mesos::{self, TaskState};
use crate::properties::{SEQUENCES, below, numbers, shortened};
use crate::slave::executor::{FromExecutor, ToExecutor};
use crate::slave::{Event, FromMaster, is_terminal};
use std::time::Duration;

/// One thing that happens; the number says to which task.
#[derive(Debug, Clone, Copy)]
enum Step {
    Run(usize),
    Started,
    Register,
    Running(usize),
    Finished(usize),
    Repeat(usize),
    Kill(usize),
    Shutdown,
    /// The executor's process ends; its container is still there.
    End,
    /// The container is gone.
    Gone,
    Acknowledge(usize),
    Ping(bool),
    Pass(u64),
}

/// Different tasks at a time.
const TASKS: usize = 4;

fn step(random: &mut crate::random::Random) -> Step {
    let task = below(random, TASKS);
    match below(random, 40) {
        0..8 => Step::Run(task),
        8..11 => Step::Started,
        11..15 => Step::Register,
        15..20 => Step::Running(task),
        20..25 => Step::Finished(task),
        25 | 26 => Step::Repeat(task),
        27 | 28 => Step::Kill(task),
        29 => Step::Shutdown,
        30 => [Step::End, Step::Gone][below(random, 2)],
        31..37 => Step::Acknowledge(task),
        37 => Step::Ping(true),
        38 => Step::Pass([1, 4, 11][below(random, 3)]),
        _ => Step::Pass([30, 61, 70][below(random, 3)]),
    }
}

/// A task, from its launch on.
#[derive(Debug, Default)]
struct Life {
    /// What the executor has said and counts, in order.
    said: Vec<u8>,
    /// It may say more.
    open: bool,
    /// It has been given to the executor.
    given: bool,
    /// What the master has heard, each once: the executor's words, and the ends.
    heard: Vec<u8>,
    ends: usize,
    outstanding: Option<(Vec<u8>, bool)>,
    /// Its end is acknowledged.
    over: bool,
}

struct Model {
    world: World,
    container: Option<ContainerId>,
    registered: bool,
    /// The executor's process is over.
    ended: bool,
    /// The master counts an executor.
    counted: bool,
    lives: BTreeMap<String, Vec<Life>>,
    uuids: u8,
}

fn name(task: usize) -> String {
    format!("t{task}")
}

impl Model {
    fn new() -> Model {
        let (container, lives) = (None, BTreeMap::new());
        Model {
            world: World::registered(),
            container,
            registered: false,
            ended: false,
            counted: false,
            lives,
            uuids: 0,
        }
    }

    fn life(&mut self, task: &str) -> Option<&mut Life> {
        self.lives.get_mut(task)?.last_mut()
    }

    /// What the slave wanted, held against what may be.
    fn seen(&mut self, wanted: Wanted) -> Check {
        for spec in &wanted.launched {
            ensure!(self.container.is_none(), "a second executor of the same name");
            self.container = Some(ContainerId::new(spec.container_id.clone()).map_err(|error| error.to_string())?);
            self.registered = false;
            self.ended = false;
        }
        for (_, message) in &wanted.told {
            if let ToExecutor::Launch { task, .. } = message {
                let id = task.task_id.value.clone();
                self.life(&id).ok_or("a task that nobody launched")?.given = true;
            }
        }
        self.counted &= wanted.messages::<ExitedExecutorMessage>().is_empty();
        for status in wanted.statuses() {
            self.heard(&status)?;
        }
        let (deadline, now) = (self.world.slave.deadline(), self.world.now.instant);
        ensure!(deadline.is_some_and(|deadline| deadline > now), "it spins, or sleeps for ever");
        Ok(())
    }

    fn heard(&mut self, status: &mesos::TaskStatus) -> Check {
        let (task, ends) = (status.task_id.value.clone(), is_terminal(status.state()));
        let life = self.life(&task).ok_or("an update of a task that nobody launched")?;
        ensure!(!life.over, "{task} is told of after its end");
        match &life.outstanding {
            Some((uuid, _)) => ensure!(uuid == status.uuid(), "{task} has two updates outstanding"),
            None => {
                life.outstanding = Some((status.uuid().to_vec(), ends));
                life.ends += usize::from(ends);
                if status.source() == mesos::task_status::Source::Executor {
                    life.heard.push(status.uuid()[0]);
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Check {
        match step {
            Step::Run(task) => self.run(&name(task)),
            Step::Started => match self.container.clone() {
                Some(container) => {
                    let wanted = self.world.started(&container);
                    self.seen(wanted)
                }
                None => Ok(()),
            },
            Step::Register if self.container.is_some() && !self.ended && !self.registered => {
                self.registered = true;
                let wanted = self.world.say(driver(), FromExecutor::Register);
                if wanted.told.iter().any(|(_, message)| matches!(message, ToExecutor::Shutdown)) {
                    // It came too late.
                    self.registered = false;
                }
                self.seen(wanted)
            }
            Step::Register => Ok(()),
            Step::Running(task) => self.says(&name(task), TaskState::TaskRunning),
            Step::Finished(task) => self.says(&name(task), TaskState::TaskFinished),
            Step::Repeat(task) => self.repeats(&name(task)),
            Step::Kill(task) => {
                let task = name(task);
                match self.life(&task).is_some_and(|life| !life.over) {
                    true => {
                        let wanted = self.world.kill(&task);
                        self.seen(wanted)
                    }
                    false => Ok(()),
                }
            }
            Step::Shutdown => {
                let wanted = self.world.hear(FromMaster::ShutdownExecutor(Box::new(ShutdownExecutorMessage {
                    framework_id: Some(mesos::FrameworkId { value: "F".into() }),
                    executor_id: Some(mesos::ExecutorId { value: "E".into() }),
                })));
                self.seen(wanted)
            }
            Step::End => self.end(),
            Step::Gone => self.gone(),
            Step::Acknowledge(task) => self.acknowledge(&name(task)),
            Step::Ping(connected) => {
                let wanted = self.world.ping(connected);
                self.seen(wanted)
            }
            Step::Pass(seconds) => self.pass(Duration::from_secs(seconds)),
        }
    }

    /// The master launches nothing under an id that it knows.
    fn run(&mut self, task: &str) -> Check {
        if self.life(task).is_some_and(|life| !life.over) {
            return Ok(());
        }
        let life = Life { open: true, ..Default::default() };
        self.lives.entry(task.to_string()).or_default().push(life);
        let launch = !std::mem::replace(&mut self.counted, true);
        let wanted = self.world.run_own(task, launch);
        self.seen(wanted)
    }

    fn says(&mut self, task: &str, state: TaskState) -> Check {
        let uuid = self.uuids.wrapping_add(1);
        let registered = self.registered;
        let Some(life) = self.life(task).filter(|life| life.given && life.open && registered) else { return Ok(()) };
        life.said.push(uuid);
        life.open = !is_terminal(state);
        self.uuids = uuid;
        let wanted = self.world.update(driver(), task, state, uuid);
        ensure!(wanted.told.len() == 1, "an update was not acknowledged to the executor");
        self.seen(wanted)
    }

    fn repeats(&mut self, task: &str) -> Check {
        let registered = self.registered;
        let Some(life) = self.life(task).filter(|life| life.given && registered) else { return Ok(()) };
        let open = life.open;
        let said = life.said.clone();
        for (at, uuid) in said.iter().enumerate() {
            let last = at + 1 == said.len() && !open;
            let state = if last { TaskState::TaskFinished } else { TaskState::TaskRunning };
            let wanted = self.world.update(driver(), task, state, *uuid);
            self.seen(wanted)?;
        }
        Ok(())
    }

    fn end(&mut self) -> Check {
        let Some(container) = self.container.clone().filter(|_| !self.ended) else { return Ok(()) };
        self.ended = true;
        self.registered = false;
        for lives in self.lives.values_mut() {
            lives.iter_mut().for_each(|life| life.open = false);
        }
        let wanted =
            self.world.event(Event::ExecutorEnded { container, wait_status: Some(9), reason: None, message: None });
        self.seen(wanted)
    }

    fn gone(&mut self) -> Check {
        self.end()?;
        let Some(container) = self.container.take() else { return Ok(()) };
        let wanted = self.world.gone(&container, None);
        self.seen(wanted)
    }

    fn acknowledge(&mut self, task: &str) -> Check {
        let Some((uuid, ends)) = self.life(task).and_then(|life| life.outstanding.take()) else { return Ok(()) };
        let life = self.life(task).expect("it is there");
        life.over = ends;
        life.open &= !ends;
        let wanted = self.world.acknowledge_uuid(task, &uuid);
        self.seen(wanted)
    }

    /// Each deadline is kept; the master pings.
    fn pass(&mut self, time: Duration) -> Check {
        let end = self.world.now.instant + time;
        for _ in 0..200 {
            let ping = self.world.now.instant + Duration::from_secs(15);
            let next = self.world.slave.deadline().into_iter().chain([ping, end]).min().expect("one at least");
            let by = next.saturating_duration_since(self.world.now.instant);
            let wanted = self.world.later(by);
            self.seen(wanted)?;
            if next >= end {
                return Ok(());
            }
            let wanted = self.world.ping(true);
            self.seen(wanted)?;
        }
        Err("it woke up 200 times".to_string())
    }

    /// The executor ends, and all is acknowledged.
    fn rest(&mut self) -> Check {
        self.gone()?;
        for _ in 0..40 {
            (0..TASKS).try_for_each(|task| self.acknowledge(&name(task)))?;
        }
        for (task, life) in self.lives.iter().flat_map(|(task, lives)| lives.iter().map(move |life| (task, life))) {
            ensure!(life.over && life.ends == 1, "{task} has ended {} times", life.ends);
            ensure!(life.heard == life.said, "of {task} was said {:?} and heard {:?}", life.said, life.heard);
        }
        ensure!(!self.counted, "the master counts an executor for ever");
        ensure!(self.world.slave.frameworks().is_empty(), "frameworks are left");
        self.pass(Duration::from_secs(20))?;
        ensure!(self.world.slave.updates.is_empty(), "updates are left");
        Ok(())
    }
}

fn live(steps: &[Step]) -> Check {
    let mut model = Model::new();
    for (at, step) in steps.iter().enumerate() {
        model.step(*step).map_err(|why| format!("at step {at}, {step:?}: {why}"))?;
    }
    model.rest().map_err(|why| format!("while coming to rest: {why}"))
}

fn all_live(part: u64) {
    for seed in (part..SEQUENCES).step_by(2) {
        let mut random = numbers(seed);
        let steps: Vec<Step> = (0..4 + below(&mut random, 32)).map(|_| step(&mut random)).collect();
        if live(&steps).is_err() {
            let steps = shortened(&|steps| live(steps).is_err(), steps);
            panic!("seed {seed}: {}\n{steps:?}", live(&steps).expect_err("it failed a moment ago"));
        }
    }
}

#[test]
fn ten_thousand_lives_of_executors_break_no_rule_first_part() {
    all_live(0);
}

#[test]
fn ten_thousand_lives_of_executors_break_no_rule_second_part() {
    all_live(1);
}
