//! A group's way through the shell, with an isolation that notes what it is asked for, and fails when it is told to.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::tests::shell_in;
use super::*;
use crate::api::Source;
use crate::container::scratch::Scratch;
use crate::isolation::LaunchError;
use crate::isolation::usage::Usages;
use crate::messages::mesos::internal::*;

/// What was asked for, in order: `launch a`, `kill a`.
type Asked = Rc<RefCell<Vec<String>>>;

struct Noting {
    asked: Asked,
    /// The task whose container cannot be launched.
    fails: &'static str,
    names: BTreeMap<String, String>,
}

impl Isolation for Noting {
    fn launch(&mut self, spec: Spec, _: Instant) -> Result<(), LaunchError> {
        let name = spec.task.as_ref().map_or("holder", |task| task.task_id.value.as_str()).to_string();
        self.asked.borrow_mut().push(format!("launch {name}"));
        self.names.insert(spec.container_id, name.clone());
        if name == self.fails { Err(LaunchError::Spawn(io::Error::from_raw_os_error(libc::EAGAIN))) } else { Ok(()) }
    }

    fn kill(&mut self, container: &ContainerId, _: Duration, _: Instant) {
        self.asked.borrow_mut().push(format!("kill {}", self.names[container.as_str()]));
    }

    fn resources_changed(&mut self, _: &ContainerId, _: &[mesos::Resource]) {}

    fn acknowledge(&mut self, _: &ContainerId, _: &[u8]) {}

    fn usage(&mut self) -> Usages {
        Usages::new()
    }

    fn destroy_errors(&self) -> u64 {
        0
    }

    fn register(&self, _: &mut PollSet) {}

    fn turn(&mut self, _: &PollSet, _: Instant) -> Vec<ContainerEvent> {
        Vec::new()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// A slave in a directory of its own, with a default executor whose container is there.
struct Host {
    scratch: Scratch,
    shell: EventLoop,
    asked: Asked,
}

impl Host {
    fn new(fails: &'static str) -> Host {
        let scratch = Scratch::new();
        let master = "master@127.0.0.1:1".parse().expect("a pid");
        let asked = Asked::default();
        let mut shell = shell_in(master, scratch.path().into(), None, None);
        shell.isolation = Box::new(Noting { asked: asked.clone(), fails, names: BTreeMap::new() });
        let mut host = Host { scratch, shell, asked };
        host.shell.deliver(Event::MasterDetected("master@127.0.0.1:1".parse().expect("a pid")));
        let slave_id = mesos::SlaveId { value: "S0".into() };
        host.hear(FromMaster::Registered(Box::new(SlaveRegisteredMessage { slave_id, connection: None })));
        host
    }

    fn hear(&mut self, message: FromMaster) {
        self.shell.deliver(Event::Message { from: "master@127.0.0.1:1".parse().expect("a pid"), message });
    }

    fn run(&mut self, names: &[&str]) {
        let task = |name: &&str| mesos::TaskInfo {
            name: name.to_string(),
            task_id: mesos::TaskId { value: name.to_string() },
            slave_id: mesos::SlaveId { value: "S0".into() },
            command: Some(mesos::CommandInfo { value: Some("true".into()), ..Default::default() }),
            ..Default::default()
        };
        let id = Some(mesos::FrameworkId { value: "F".into() });
        self.hear(FromMaster::RunTaskGroup(Box::new(RunTaskGroupMessage {
            framework: mesos::FrameworkInfo { user: "root".into(), name: "f".into(), id, ..Default::default() },
            executor: mesos::ExecutorInfo {
                r#type: Some(mesos::executor_info::Type::Default as i32),
                executor_id: mesos::ExecutorId { value: "E".into() },
                ..Default::default()
            },
            task_group: mesos::TaskGroupInfo { tasks: names.iter().map(task).collect() },
            ..Default::default()
        })));
    }

    fn holder(&self) -> ContainerId {
        let executors = self.shell.slave.frameworks().values().flat_map(|framework| framework.executors.values());
        executors.map(|executor| executor.container.clone()).next().expect("an executor")
    }

    fn holds(&mut self) {
        let event = Event::ExecutorStarted { container: self.holder(), address: None, runs: true };
        self.shell.deliver(event);
    }

    fn asked(&self) -> Vec<String> {
        self.asked.borrow_mut().drain(..).collect()
    }
}

#[test]
fn a_task_that_cannot_be_launched_ends_the_rest_of_its_group_after_their_launch() {
    let mut host = Host::new("a");
    host.run(&["a", "b", "c"]);
    assert_eq!(host.asked(), ["launch holder"]);
    host.holds();
    assert_eq!(host.asked(), ["launch a", "launch b", "launch c", "kill b", "kill c"]);
}

#[test]
fn an_executor_is_remembered_when_the_last_of_its_containers_is_gone() {
    let mut host = Host::new("nothing");
    host.run(&["a"]);
    host.holds();
    let holder = host.holder();
    host.shell.container_gone(holder, Some("the virtual machine crashed".into()));
    let json = |host: &Host| host.shell.state().completed_frameworks.len();
    assert_eq!((json(&host), host.shell.slave.frameworks().len()), (0, 1), "its task's container is there");
    let framework_id = mesos::FrameworkId { value: "F".into() };
    host.hear(FromMaster::ShutdownFramework(Box::new(ShutdownFrameworkMessage { framework_id })));
    let names = host.asked();
    assert_eq!(names, ["launch holder", "launch a", "kill a"]);
    let sandboxes = walk(host.scratch.path(), "containers");
    let [member] = sandboxes.as_slice() else { panic!("{sandboxes:?}") };
    host.shell.container_gone(ContainerId::new(member.clone()).expect("an id"), None);
    assert_eq!((json(&host), host.shell.slave.frameworks().len()), (1, 0));
}

/// The names in the directory of this name, wherever it is below.
fn walk(below: &std::path::Path, name: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(below).expect("a directory").map(|entry| entry.expect("an entry")) {
        if !entry.file_type().expect("a type").is_dir() {
            continue;
        }
        if entry.file_name() == name {
            let inside = std::fs::read_dir(entry.path()).expect("a directory");
            names.extend(inside.map(|each| each.expect("an entry").file_name().to_string_lossy().into_owned()));
        } else {
            names.extend(walk(&entry.path(), name));
        }
    }
    names
}
