//! Executors that the slave has forgotten, kept for `/state` and `/files`: who looks for the output of a task that has
//! just ended finds it. How many are kept is bounded, and how much of what frameworks wrote into them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;

use prost::Message;

use super::state::{Completed, Executor, Framework};
use crate::ids::{ContainerId, ExecutorId, FrameworkId};
use crate::messages::mesos::{self, TaskState};
use crate::slave::{self, Slave, is_terminal};

/// How many executors are kept. (Mesos: 50 frameworks with 150 executors each.)
const KEPT: usize = 500;

/// How much they may take together, in bytes: names, labels and messages of frameworks have no limit of their own.
const KEPT_BYTES: usize = 2 << 20;

/// The executors that are gone, oldest first.
#[derive(Debug, Default)]
pub struct History {
    entries: VecDeque<Entry>,
    bytes: usize,
    forgotten: BTreeMap<TaskState, u64>,
    forgotten_executors: u64,
}

/// An executor and its framework.
#[derive(Debug)]
struct Entry {
    framework: FrameworkId,
    /// A `mesos.FrameworkInfo`, encoded.
    info: Vec<u8>,
    container: ContainerId,
    executor: Rc<Completed>,
    sandbox: Sandbox,
}

/// Where an executor's sandbox can be read, by a name without its container's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The virtual path.
    pub name: String,
    /// The directory.
    pub directory: PathBuf,
}

impl Entry {
    fn of(framework_id: &FrameworkId, framework: &slave::Framework, id: &ExecutorId, own: &slave::Executor) -> Entry {
        let mut info = framework.info.clone();
        info.id.get_or_insert_with(|| framework_id.to_proto());
        Entry {
            framework: framework_id.clone(),
            info: info.encode_to_vec(),
            container: own.container.clone(),
            executor: Rc::new(Completed::of(&Executor::of(framework_id, id, own))),
            sandbox: Sandbox { name: slave::virtual_sandbox(framework_id, id), directory: own.sandbox.clone() },
        }
    }

    fn bytes(&self) -> usize {
        let texts = self.sandbox.name.len() + self.sandbox.directory.as_os_str().len();
        size_of::<Entry>() + self.info.len() + self.executor.bytes() + texts
    }
}

impl History {
    /// No executor.
    pub fn new() -> History {
        History::default()
    }

    /// Keeps a container's executor as the slave knows it now. To be called when the container is gone, before
    /// the slave hears of it, when it still knows it, and again after, when it may have given its tasks their last states.
    /// The result are the sandboxes of those that had to go, to be detached.
    #[must_use]
    pub fn remember(&mut self, slave: &Slave, container: &ContainerId) -> Vec<Sandbox> {
        let Some(entry) = find(slave, container) else {
            return Vec::new();
        };
        self.bytes += entry.bytes();
        match self.entries.iter_mut().find(|each| each.container == entry.container) {
            Some(place) => self.bytes -= std::mem::replace(place, entry).bytes(),
            None => self.entries.push_back(entry),
        }
        let mut sandboxes = Vec::new();
        while self.entries.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.count(&oldest);
            sandboxes.push(oldest.sandbox);
        }
        sandboxes
    }

    fn count(&mut self, entry: &Entry) {
        for state in entry.executor.tasks.iter().filter(|state| is_terminal(**state)) {
            *self.forgotten.entry(*state).or_default() += 1;
        }
        self.forgotten_executors += 1;
    }

    /// Adds all that are kept, but for those that are still here, to what is shown.
    pub(super) fn add_to(&self, frameworks: &mut [Framework], completed: &mut Vec<Framework>) {
        let here: BTreeSet<&str> =
            frameworks.iter().flat_map(|each| &each.executors).map(|each| each.container.as_str()).collect();
        let gone: Vec<&Entry> = self.entries.iter().filter(|each| !here.contains(each.container.as_str())).collect();
        for entry in gone {
            let is_its = |framework: &&mut Framework| {
                framework.info.id.as_ref().is_some_and(|id| id.value == entry.framework.as_str())
            };
            match frameworks.iter_mut().chain(completed.iter_mut()).find(is_its) {
                Some(framework) => framework.completed_executors.push(entry.executor.clone()),
                None => completed.push(Framework {
                    // We have encoded it ourselves.
                    info: mesos::FrameworkInfo::decode(entry.info.as_slice()).unwrap_or_default(),
                    executors: Vec::new(),
                    completed_executors: vec![entry.executor.clone()],
                }),
            }
        }
    }

    pub(super) fn forgotten(&self) -> &BTreeMap<TaskState, u64> {
        &self.forgotten
    }

    pub(super) fn forgotten_executors(&self) -> u64 {
        self.forgotten_executors
    }
}

fn find(slave: &Slave, container: &ContainerId) -> Option<Entry> {
    slave.frameworks().iter().find_map(|(id, framework)| {
        let (executor_id, executor) = framework.executors.iter().find(|(_, each)| each.container == *container)?;
        Some(Entry::of(id, framework, executor_id, executor))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::messages::mesos::internal::{RunTaskMessage, SlaveRegisteredMessage};
    use crate::random::Random;
    use crate::slave::{Action, Config, Event, FromMaster, Now};

    /// A slave that launches tasks whose containers end at once.
    struct World {
        slave: Slave,
        history: History,
    }

    impl World {
        fn new() -> World {
            let config = Config {
                work_dir: "/w".into(),
                registration_backoff: Default::default(),
                ..Config::of_tests("slave(1)@127.0.0.1:5051".parse().expect("pid"))
            };
            let mut world = World { slave: Slave::new(config, Random::from_seed(1)), history: History::new() };
            world.event(Event::MasterDetected("master@127.0.0.1:5050".parse().expect("pid")));
            let slave_id = mesos::SlaveId { value: "S".into() };
            world.hear(FromMaster::Registered(Box::new(SlaveRegisteredMessage { slave_id, connection: None })));
            world
        }

        fn event(&mut self, event: Event) -> Vec<Action> {
            self.slave.handle(event, Now { instant: Instant::now(), unix: 0.0 })
        }

        fn hear(&mut self, message: FromMaster) -> Vec<Action> {
            self.event(Event::Message { from: "master@127.0.0.1:5050".parse().expect("pid"), message })
        }

        fn task(&mut self, id: &str, name: &str) -> Vec<Sandbox> {
            let task = mesos::TaskInfo {
                name: name.into(),
                task_id: mesos::TaskId { value: id.into() },
                slave_id: mesos::SlaveId { value: "S".into() },
                command: Some(mesos::CommandInfo { value: Some("true".into()), ..Default::default() }),
                ..Default::default()
            };
            let id = Some(mesos::FrameworkId { value: "F".into() });
            let framework = mesos::FrameworkInfo { id, ..Default::default() };
            let message = RunTaskMessage { framework, task, ..Default::default() };
            let actions = self.hear(FromMaster::RunTask(Box::new(message)));
            let spec = actions.into_iter().find_map(|action| match action {
                Action::Launch(spec) => Some(spec),
                _ => None,
            });
            let container = ContainerId::new(spec.expect("a launch").container_id).expect("id");
            let mut gone = self.history.remember(&self.slave, &container);
            self.event(Event::ContainerGone { container: container.clone(), reason: Some("it died".into()) });
            gone.extend(self.history.remember(&self.slave, &container));
            gone
        }
    }

    #[test]
    fn an_executor_is_remembered_once_with_its_last_state() {
        let mut world = World::new();
        world.task("t", "a name");
        let mut completed = Vec::new();
        world.history.add_to(&mut [], &mut completed);
        let [framework] = completed.as_slice() else { panic!("{completed:?}") };
        assert_eq!(framework.info.id.as_ref().expect("id").value, "F");
        let [executor] = framework.completed_executors.as_slice() else { panic!("{framework:?}") };
        assert_eq!(executor.tasks, [TaskState::TaskFailed]);
        assert!(executor.json.contains(r#""name":"a name""#), "{}", executor.json);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many_and_its_sandbox_is_named() {
        let mut world = World::new();
        for number in 0..KEPT {
            assert_eq!(world.task(&format!("t{number}"), "n"), []);
        }
        let gone = world.task("last", "n");
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].name, "/frameworks/F/executors/t0/runs/latest");
        assert!(gone[0].directory.starts_with("/w/slaves/S/frameworks/F/executors/t0/runs"));
        assert_eq!(world.history.forgotten().get(&TaskState::TaskFailed), Some(&1));
        assert_eq!(world.history.forgotten_executors(), 1);
    }

    #[test]
    fn a_framework_with_endless_names_pushes_others_out_and_not_the_slaves_memory_up() {
        let mut world = World::new();
        world.task("small", "n");
        let name = "x".repeat(KEPT_BYTES / 4); // It stands in the object, and in the task.
        assert_eq!(world.task("big", &name), []);
        assert_eq!(world.task("bigger", &name).len(), 2);
        assert!(!world.task("biggest", &"x".repeat(KEPT_BYTES)).is_empty());
        assert_eq!((world.history.entries.len(), world.history.bytes), (0, 0));
    }
}
