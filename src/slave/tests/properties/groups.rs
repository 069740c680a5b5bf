//! Random lives of a default executor, its groups and their tasks' containers, with a master that counts executors as Mesos' does. The model
//! plays all containers' children: what each has to be told, and what has to be heard of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::groups::{default_executor, group};
use super::super::{Wanted, World, task};
use super::{Check, ensure};
use crate::ids::ContainerId;
use crate::messages::container::Spec;
use crate::messages::mesos::internal::*;
use crate::messages::mesos::task_status::Source;
use crate::messages::mesos::{self, TaskState};
use crate::properties::{SEQUENCES, below, numbers, shortened};
use crate::resources::scalar;
use crate::slave::{Event, FromMaster, is_terminal};

/// One thing that happens; a number says to which task, or chooses the tasks of a group.
#[derive(Debug, Clone, Copy)]
enum Step {
    Run(usize),
    /// The executor's container is there.
    Holds,
    Running(usize),
    Finished(usize),
    Failed(usize),
    /// A child repeats its last word.
    Repeat(usize),
    /// A task's container is gone, in order or not.
    Gone(usize),
    Dies(usize),
    /// The executor's container is gone, and not because it was told to.
    HolderDies,
    Kill(usize),
    Shutdown,
    Acknowledge(usize),
    Ping(bool),
    Pass(u64),
}

/// Different tasks at a time; each has its place in thousandths of a CPU.
const TASKS: usize = 4;
/// What the executor itself has, in thousandths.
const EXECUTORS: u32 = 100;

fn step(random: &mut crate::random::Random) -> Step {
    let task = below(random, TASKS);
    match below(random, 40) {
        0..6 => Step::Run(below(random, 1 << TASKS)),
        6..10 => Step::Holds,
        10..15 => Step::Running(task),
        15..18 => Step::Finished(task),
        18 | 19 => Step::Failed(task),
        20 => Step::Repeat(task),
        21..25 => Step::Gone(task),
        25 => Step::Dies(task),
        26 => Step::HolderDies,
        27..29 => Step::Kill(task),
        29 => Step::Shutdown,
        30..36 => Step::Acknowledge(task),
        36 | 37 => Step::Ping(true),
        38 => Step::Pass([1, 4, 6][below(random, 3)]),
        _ => Step::Pass([11, 61][below(random, 2)]),
    }
}

/// A container of a task.
#[derive(Debug)]
struct Member {
    id: ContainerId,
    alive: bool,
    told: bool,
}

/// A task, from its launch on.
#[derive(Debug, Default)]
struct Life {
    group: usize,
    member: Option<Member>,
    /// What its child has said and counts, in order.
    said: Vec<Vec<u8>>,
    /// What the master has heard of it, each once.
    heard: Vec<Vec<u8>>,
    /// Its last word.
    last: Option<mesos::TaskStatus>,
    /// It has a terminal state, by its child's word or by the slave's.
    ended: Option<TaskState>,
    ends: usize,
    outstanding: Option<(Vec<u8>, bool)>,
    /// Its end is acknowledged.
    over: bool,
}

impl Life {
    /// If its child has not said how it ended, the slave does, as soon as that is its turn.
    fn lose(&mut self) {
        let told = self.member.as_ref().is_some_and(|member| member.told);
        let state = if told { TaskState::TaskKilled } else { TaskState::TaskFailed };
        self.ended.get_or_insert(state);
    }
}

struct Model {
    world: World,
    /// The executor's container, if it is here.
    holder: Option<ContainerId>,
    /// It is there and was not asked to end: tasks can be launched in it.
    holds: bool,
    /// The executor is to end: for any reason.
    ending: bool,
    holder_told: bool,
    /// The master counts an executor.
    counted: bool,
    groups: usize,
    lives: BTreeMap<usize, Vec<Life>>,
    uuids: u128,
}

fn name(task: usize) -> String {
    format!("t{task}")
}

fn cpus(task: usize) -> u32 {
    100 * (task as u32 + 1)
}

fn place_of(name: &str) -> usize {
    name.trim_start_matches('t').parse().expect("a task of ours")
}

impl Model {
    fn new() -> Model {
        let mut world = World::registered();
        world.slave.config.info.resources = vec![scalar("cpus", 8.0)];
        Model {
            world,
            holder: None,
            holds: false,
            ending: false,
            holder_told: false,
            counted: false,
            groups: 0,
            lives: BTreeMap::new(),
            uuids: 0,
        }
    }

    fn life(&mut self, task: usize) -> Option<&mut Life> {
        self.lives.get_mut(&task)?.last_mut()
    }

    fn all(&self) -> impl Iterator<Item = (usize, &Life)> {
        self.lives.iter().flat_map(|(task, lives)| lives.iter().map(move |life| (*task, life)))
    }

    fn alive(&self) -> impl Iterator<Item = (usize, &Life)> {
        self.all().filter(|(_, life)| life.member.as_ref().is_some_and(|member| member.alive))
    }

    /// What the slave wanted, held against what may be.
    fn seen(&mut self, wanted: Wanted) -> Check {
        for spec in &wanted.launched {
            self.launched(spec)?;
        }
        for (container, _) in &wanted.killed {
            self.killed(container)?;
        }
        for status in wanted.statuses() {
            self.heard(&status)?;
        }
        for _ in wanted.messages::<ExitedExecutorMessage>() {
            ensure!(self.counted, "an exit of an executor that the master does not count");
            ensure!(self.holder.is_none() && self.alive().next().is_none(), "an exit while containers are there");
            self.counted = false;
        }
        let (deadline, now) = (self.world.slave.deadline(), self.world.now.instant);
        ensure!(deadline.is_some_and(|deadline| deadline > now), "it spins, or sleeps for ever");
        self.between()
    }

    fn launched(&mut self, spec: &Spec) -> Check {
        let id = ContainerId::new(spec.container_id.clone()).map_err(|error| error.to_string())?;
        let Some(task) = &spec.task else {
            ensure!(self.holder.is_none() && spec.holds_tasks(), "a second executor of the same name");
            ensure!(self.alive().next().is_none(), "a second executor, while containers of the first are there");
            (self.holder, self.holds, self.ending, self.holder_told) = (Some(id), false, false, false);
            return Ok(());
        };
        ensure!(self.holds && !self.ending, "a task is launched where nothing holds it");
        let joined = spec.joins.as_ref().map(|joins| &joins.container_id);
        ensure!(joined == self.holder.as_ref().map(ToString::to_string).as_ref(), "it joins another container");
        let life = self.life(place_of(&task.task_id.value)).ok_or("a task that nobody launched")?;
        ensure!(life.member.is_none() && life.ended.is_none(), "a task is launched twice");
        life.member = Some(Member { id, alive: true, told: false });
        Ok(())
    }

    fn killed(&mut self, container: &ContainerId) -> Check {
        if self.holder.as_ref() == Some(container) {
            self.holder_told = true;
            self.ending = true;
            return Ok(());
        }
        let members = self.lives.values_mut().flatten().filter_map(|life| life.member.as_mut());
        let mut its_own = members.filter(|member| member.id == *container);
        let member = its_own.next().ok_or("a container was killed that was never launched")?;
        ensure!(member.alive, "a container was killed that is gone");
        member.told = true;
        Ok(())
    }

    fn heard(&mut self, status: &mesos::TaskStatus) -> Check {
        let task = place_of(&status.task_id.value);
        let state = status.state();
        let life = self.life(task).ok_or("an update of a task that nobody launched")?;
        ensure!(!life.over, "{task} is told of after its end");
        if let Some((uuid, _)) = &life.outstanding {
            ensure!(uuid == status.uuid(), "{task} has two updates outstanding");
            return Ok(());
        }
        life.outstanding = Some((status.uuid().to_vec(), is_terminal(state)));
        life.ends += usize::from(is_terminal(state));
        match status.source() {
            Source::Executor => life.heard.push(status.uuid().to_vec()),
            _ => {
                ensure!(is_terminal(state), "the slave says that {task} is {state:?}");
                let expected = *life.ended.get_or_insert(state);
                ensure!(expected == state, "{task} is said to be {state:?}, and is {expected:?}");
            }
        }
        Ok(())
    }

    /// What is true whenever the slave waits.
    fn between(&self) -> Check {
        let failed = |group: usize| {
            let bad = |life: &Life| life.ended.is_some_and(|state| state != TaskState::TaskFinished);
            self.all().any(|(_, life)| life.group == group && life.member.is_some() && bad(life))
        };
        for (task, life) in self.alive().filter(|(_, life)| life.ended.is_none()) {
            let told = life.member.as_ref().is_some_and(|member| member.told);
            ensure!(told || !failed(life.group), "{task} runs on, though its group has failed");
            ensure!(told || !self.ending, "{task} runs on, though its executor is to end");
        }
        let idle = self.holds && self.alive().next().is_none();
        ensure!(!idle || self.holder_told, "the executor has nothing to do and runs on");
        let mut used: u32 = self.all().filter(|(_, life)| life.ended.is_none()).map(|(task, _)| cpus(task)).sum();
        if self.holder.is_some() || self.alive().next().is_some() {
            used += EXECUTORS;
        }
        let counted = self.world.slave.used_resources();
        let expected = [scalar("cpus", f64::from(used) / 1000.0)].into_iter().collect::<crate::resources::Resources>();
        ensure!(counted.contains(&expected) && expected.contains(&counted), "{counted} are used, not {expected}");
        Ok(())
    }

    fn step(&mut self, step: Step) -> Check {
        match step {
            Step::Run(mask) => self.run(mask),
            Step::Holds => self.holder_is_there(),
            Step::Running(task) => self.says(task, TaskState::TaskRunning),
            Step::Finished(task) => self.ends(task, TaskState::TaskFinished),
            Step::Failed(task) => self.ends(task, TaskState::TaskFailed),
            Step::Repeat(task) => self.repeats(task),
            Step::Gone(task) => {
                if self.oldest(task).is_some_and(|life| life.ended.is_none()) {
                    self.ends(task, TaskState::TaskFinished)?;
                }
                self.gone(task, None)
            }
            Step::Dies(task) => self.gone(task, Some("it crashed")),
            Step::HolderDies => self.holder_gone(Some("it crashed")),
            Step::Kill(task) => {
                if self.life(task).is_none_or(|life| life.over) {
                    return Ok(());
                }
                let wanted = self.world.kill(&name(task));
                self.seen(wanted)
            }
            Step::Shutdown => self.shut_down(),
            Step::Acknowledge(task) => self.acknowledge(task),
            Step::Ping(connected) => {
                let wanted = self.world.ping(connected);
                self.seen(wanted)
            }
            Step::Pass(seconds) => self.pass(Duration::from_secs(seconds)),
        }
    }

    /// The master launches nothing under an id that it knows.
    fn run(&mut self, mask: usize) -> Check {
        let known = |task: &usize| self.lives.get(task).and_then(|lives| lives.last()).is_some_and(|life| !life.over);
        let tasks: Vec<usize> = (0..TASKS).filter(|task| mask & (1 << task) != 0 && !known(task)).collect();
        if tasks.is_empty() {
            return Ok(());
        }
        self.groups += 1;
        for task in &tasks {
            let life = Life { group: self.groups, ..Default::default() };
            self.lives.entry(*task).or_default().push(life);
        }
        let launch = !std::mem::replace(&mut self.counted, true);
        let infos = tasks.iter().map(|place| mesos::TaskInfo {
            resources: vec![scalar("cpus", f64::from(cpus(*place)) / 1000.0)],
            ..task(&name(*place))
        });
        let mut message = group(infos.collect(), launch);
        let resources = vec![scalar("cpus", f64::from(EXECUTORS) / 1000.0)];
        message.executor = mesos::ExecutorInfo { resources, ..default_executor() };
        let wanted = self.world.hear(FromMaster::RunTaskGroup(Box::new(message)));
        self.seen(wanted)
    }

    fn holder_is_there(&mut self) -> Check {
        let Some(container) = self.holder.clone().filter(|_| !self.holds) else { return Ok(()) };
        self.holds = true;
        let wanted = self.world.event(Event::ExecutorStarted { container, address: None, runs: true });
        self.seen(wanted)
    }

    fn status(&mut self, container: ContainerId, status: mesos::TaskStatus) -> Check {
        let wanted = self.world.event(Event::ContainerStatus { container, status: Box::new(status) });
        ensure!(wanted.acknowledged.len() == 1, "an update was not acknowledged to the child");
        self.seen(wanted)
    }

    fn says(&mut self, task: usize, state: TaskState) -> Check {
        let uuid = (self.uuids + 1).to_be_bytes().to_vec();
        let status = mesos::TaskStatus { uuid: Some(uuid.clone()), ..self.world.a_status(&name(task), state, 0) };
        let Some(life) = self.life(task) else { return Ok(()) };
        let Some(container) = life.member.as_ref().filter(|member| member.alive).map(|member| member.id.clone()) else {
            return Ok(());
        };
        if life.last.as_ref().is_some_and(is_end) {
            return Ok(());
        }
        life.last = Some(status.clone());
        if life.ended.is_none() {
            life.said.push(uuid);
            life.ended = is_terminal(state).then_some(state);
        }
        self.uuids += 1;
        self.status(container, status)
    }

    /// A child that was told to end says that its task was killed.
    fn ends(&mut self, task: usize, state: TaskState) -> Check {
        let told = self.life(task).and_then(|life| life.member.as_ref()).is_some_and(|member| member.told);
        self.says(task, if told { TaskState::TaskKilled } else { state })
    }

    fn repeats(&mut self, task: usize) -> Check {
        let said = self.oldest(task).and_then(|life| Some((life.member.as_ref()?.id.clone(), life.last.clone()?)));
        said.map_or(Ok(()), |(container, status)| self.status(container, status))
    }

    /// The oldest container of the task that is there: that of one which has ended may be, beside that of a new one of its name.
    fn oldest(&mut self, task: usize) -> Option<&mut Life> {
        let alive = |life: &&mut Life| life.member.as_ref().is_some_and(|member| member.alive);
        self.lives.get_mut(&task)?.iter_mut().find(alive)
    }

    fn gone(&mut self, task: usize, reason: Option<&str>) -> Check {
        let Some(life) = self.oldest(task) else { return Ok(()) };
        // One that has not said anything could not be launched: no reason for its executor to end.
        let crashed = reason.is_some() && life.last.is_some();
        let Some(member) = life.member.as_mut().filter(|member| member.alive) else { return Ok(()) };
        member.alive = false;
        let container = member.id.clone();
        life.lose();
        self.ending |= crashed;
        let wanted = self.world.gone(&container, reason);
        self.seen(wanted)
    }

    fn holder_gone(&mut self, reason: Option<&str>) -> Check {
        let Some(container) = self.holder.take() else { return Ok(()) };
        self.holds = false;
        self.ending = true;
        self.lives.values_mut().flatten().for_each(Life::lose);
        let wanted = self.world.gone(&container, reason);
        self.seen(wanted)
    }

    fn shut_down(&mut self) -> Check {
        self.ending |= self.holder.is_some();
        let wanted = self.world.hear(FromMaster::ShutdownExecutor(Box::new(ShutdownExecutorMessage {
            framework_id: Some(mesos::FrameworkId { value: "F".into() }),
            executor_id: Some(mesos::ExecutorId { value: "E".into() }),
        })));
        self.seen(wanted)
    }

    fn acknowledge(&mut self, task: usize) -> Check {
        let Some((uuid, ends)) = self.life(task).and_then(|life| life.outstanding.take()) else { return Ok(()) };
        self.life(task).expect("it is there").over = ends;
        let wanted = self.world.acknowledge_uuid(&name(task), &uuid);
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

    /// All tasks end, or the executor is shut down; what is told to end does, and all is acknowledged.
    fn rest(&mut self, shut_down: bool) -> Check {
        self.holder_is_there()?;
        if shut_down {
            self.shut_down()?;
        }
        for _ in 0..self.alive().count() {
            let Some(task) = self.alive().map(|(task, _)| task).next() else { break };
            self.step(Step::Gone(task))?;
        }
        ensure!(self.alive().next().is_none(), "containers are launched for ever");
        ensure!(self.holder.is_none() || self.holder_told, "the executor's container was never ended");
        self.holder_gone(None)?;
        for _ in 0..40 {
            (0..TASKS).try_for_each(|task| self.acknowledge(task))?;
        }
        for (task, life) in self.all() {
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

fn is_end(status: &mesos::TaskStatus) -> bool {
    is_terminal(status.state())
}

fn live(steps: &[Step], shut_down: bool) -> Check {
    let mut model = Model::new();
    for (at, step) in steps.iter().enumerate() {
        model.step(*step).map_err(|why| format!("at step {at}, {step:?}: {why}"))?;
    }
    model.rest(shut_down).map_err(|why| format!("while coming to rest: {why}"))
}

fn all_live(part: u64) {
    for seed in (part..SEQUENCES).step_by(2) {
        let mut random = numbers(seed);
        let steps: Vec<Step> = (0..4 + below(&mut random, 40)).map(|_| step(&mut random)).collect();
        let shut_down = seed % 4 < 2;
        if live(&steps, shut_down).is_err() {
            let steps = shortened(&|steps| live(steps, shut_down).is_err(), steps);
            panic!("seed {seed}: {}\n{steps:?}", live(&steps, shut_down).expect_err("it failed a moment ago"));
        }
    }
}

#[test]
fn ten_thousand_lives_of_groups_break_no_rule_first_part() {
    all_live(0);
}

#[test]
fn ten_thousand_lives_of_groups_break_no_rule_second_part() {
    all_live(1);
}
