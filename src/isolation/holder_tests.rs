//! A real virtual machine that holds tasks, and the containers in it. As `vm_tests`, these need a libvirt host.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::children::{Children, Cleanup};
use super::vm_tests::{cleanup, config, domains, program};
use super::{ContainerEvent, Ended, Isolation};
use crate::container::scratch::Scratch;
use crate::ids::ContainerId;
use crate::messages::container::{self, Joined, Spec};
use crate::messages::mesos::{self, TaskState, TaskStatus, command_info::Uri, task_status::Reason};
use crate::poll::{Interest, PollSet};
use crate::subprocess::pidfd_open;
use crate::vm::qemu::Qemu;

/// On a busy host the session that brings the first signal may take longer than the usual three seconds.
const GRACE: Duration = Duration::from_secs(150);

/// A holder with its tasks, by the names that the tests give them, and what became of all.
struct Pod {
    scratch: Scratch,
    vm_dir: PathBuf,
    children: Option<Children>,
    holder: ContainerId,
    address: String,
    tasks: BTreeMap<&'static str, ContainerId>,
    began: Instant,
    events: Vec<ContainerEvent>,
}

fn uuid() -> ContainerId {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("a uuid");
    ContainerId::new(text.trim()).expect("an id")
}

impl Pod {
    /// A holder whose guest is reached.
    fn launch() -> Pod {
        Pod::with_memory(0.0)
    }

    /// The same with so many MiB, or as many as the image needs.
    fn with_memory(mem: f64) -> Pod {
        let scalar = Some(mesos::value::Scalar { value: mem });
        let resources = [mesos::Resource { name: "mem".into(), scalar, ..Default::default() }];
        let (scratch, holder) = (Scratch::new(), uuid());
        let vm_dir = std::env::temp_dir().join(format!("t{}", &holder.as_str()[..8]));
        fs::create_dir_all(&vm_dir).expect("the VMs' directory");
        let sandbox = scratch.path().join("runs").join(holder.as_str());
        fs::create_dir_all(&sandbox).expect("a sandbox");
        let spec = Spec {
            version: 1,
            container_id: holder.to_string(),
            holds_tasks: Some(true),
            sandbox: sandbox.to_string_lossy().into_owned(),
            vm: Some(config(&vm_dir).vm(holder.as_str(), &resources)),
            ..Default::default()
        };
        let mut children = Children::new(scratch.path().join("run"), program, Cleanup::Worker(cleanup));
        let began = Instant::now();
        children.launch(spec, began).expect("launch");
        let (children, tasks, events) = (Some(children), BTreeMap::new(), Vec::new());
        let mut pod = Pod { scratch, vm_dir, children, holder, address: String::new(), tasks, began, events };
        let holder = pod.holder.clone();
        let running = pod.until_state(&holder, TaskState::TaskRunning);
        let networks = running.container_status.expect("container status").network_infos;
        pod.address = networks[0].ip_addresses[0].ip_address().to_string();
        pod
    }

    fn join(&mut self, name: &'static str, command: &str, change: impl FnOnce(&mut Spec)) {
        let id = uuid();
        let sandbox = self.sandbox_of(&id);
        fs::create_dir_all(sandbox.parent().expect("a parent")).expect("containers");
        fs::DirBuilder::new().mode(0o750).create(&sandbox).expect("a sandbox");
        let task = mesos::TaskInfo {
            name: name.into(),
            task_id: mesos::TaskId { value: name.into() },
            command: Some(mesos::CommandInfo { value: Some(command.into()), ..Default::default() }),
            ..Default::default()
        };
        let mut spec = Spec {
            version: 1,
            container_id: id.to_string(),
            task: Some(task),
            joins: Some(Joined { container_id: self.holder.to_string(), address: Some(self.address.clone()) }),
            sandbox: sandbox.to_string_lossy().into_owned(),
            user: Some("root".into()),
            vm: Some(config(&self.vm_dir).vm(id.as_str(), &[])),
            environment: vec![container::Variable { name: "NAME".into(), value: name.into() }],
            hostname: Some("slave-1.example".into()),
            ..Default::default()
        };
        change(&mut spec);
        self.children.as_mut().expect("a slave").launch(spec, Instant::now()).expect("launch");
        self.tasks.insert(name, id);
    }

    fn task(&self, name: &str) -> ContainerId {
        self.tasks.get(name).expect("a task").clone()
    }

    fn sandbox_of(&self, task: &ContainerId) -> PathBuf {
        let holder = self.scratch.path().join("runs").join(self.holder.as_str());
        holder.join("containers").join(task.as_str())
    }

    fn file(&self, name: &str, file: &str) -> String {
        fs::read_to_string(self.sandbox_of(&self.task(name)).join(file)).unwrap_or_default()
    }

    /// Turns until there is an answer, acknowledging updates.
    fn until<T>(&mut self, answer: impl Fn(&[ContainerEvent]) -> Option<T>) -> T {
        let mut set = PollSet::new();
        loop {
            let children = self.children.as_mut().expect("a slave");
            for event in children.turn(&set, Instant::now()) {
                println!("{:7.3} {event:?}", self.began.elapsed().as_secs_f64());
                if let ContainerEvent::Update { container, update } = &event {
                    children.acknowledge(container, update.status.uuid());
                }
                self.events.push(event);
            }
            if let Some(answer) = answer(&self.events) {
                return answer;
            }
            assert!(self.began.elapsed() < Duration::from_secs(400), "too late");
            set.clear();
            children.register(&mut set);
            let limit = Instant::now() + Duration::from_secs(5);
            set.wait(Some(children.deadline().map_or(limit, |at| at.min(limit)))).expect("poll");
        }
    }

    fn until_state(&mut self, of: &ContainerId, state: TaskState) -> TaskStatus {
        self.until(|events| {
            events.iter().find_map(|event| match event {
                ContainerEvent::Update { container, update } if container == of && update.status.state() == state => {
                    Some(update.status.clone())
                }
                _ => None,
            })
        })
    }

    fn runs(&mut self, name: &str) -> TaskStatus {
        let task = self.task(name);
        self.until_state(&task, TaskState::TaskRunning)
    }

    fn until_exit(&mut self, of: &ContainerId) -> Ended {
        self.until(|events| {
            events.iter().find_map(|event| match event {
                ContainerEvent::Exited { container, ended } if container == of => Some(ended.clone()),
                _ => None,
            })
        })
    }

    fn until_step(&mut self, of: &ContainerId, step: &str) {
        self.until(|events| {
            let is_it = |event: &ContainerEvent| matches!(event, ContainerEvent::Step { container, name, .. } if container == of && name == step);
            events.iter().any(is_it).then_some(())
        });
    }

    fn kill(&mut self, of: &ContainerId) {
        self.children.as_mut().expect("a slave").kill(of, GRACE, Instant::now());
    }

    /// The pid of a container's child.
    fn child(&self, of: &ContainerId) -> Pid {
        let path = self.scratch.path().join("run/containers").join(of.as_str()).join("pid");
        let pid = fs::read_to_string(path).expect("the child's pid");
        Pid::from_raw(pid.trim().parse().expect("a number"))
    }

    fn domain(&self) -> String {
        format!("mesos-{}", self.holder)
    }

    fn is_left(&self, container: &ContainerId) -> bool {
        let files = self.vm_dir.join("vms").join(container.as_str());
        files.exists() || self.scratch.path().join("run/containers").join(container.as_str()).exists()
    }

    fn assert_nothing_is_left(&self) {
        assert!(!domains().contains(&self.domain()), "the domain is left");
        for container in self.tasks.values().chain([&self.holder]) {
            assert!(!self.is_left(container), "{container} is left");
        }
    }

    /// The holder is told to end, and nothing is left.
    fn end(mut self) {
        let holder = self.holder.clone();
        self.kill(&holder);
        self.until_state(&holder, TaskState::TaskKilled);
        assert_eq!(self.until_exit(&holder), Ended::Orderly);
        let sandbox = self.scratch.path().join("runs").join(holder.as_str());
        assert!(fs::metadata(sandbox.join("console.log")).expect("console.log").len() > 0);
        self.assert_nothing_is_left();
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for (name, task) in &self.tasks {
            let log = fs::read_to_string(self.sandbox_of(task).join("vm.log")).unwrap_or_default();
            println!("{name}:\n{log}");
        }
        let _ = fs::remove_dir_all(&self.vm_dir);
    }
}

/// A command that looks for its task's name, and answers with 5.
fn check() -> mesos::CheckInfo {
    let command = mesos::CommandInfo { value: Some("test $NAME = stays && exit 5".into()), ..Default::default() };
    mesos::CheckInfo {
        r#type: Some(mesos::check_info::Type::Command as i32),
        command: Some(mesos::check_info::Command { command }),
        delay_seconds: Some(0.0),
        interval_seconds: Some(1.0),
        ..Default::default()
    }
}

/// What the check of a task has answered.
fn answer_of(events: &[ContainerEvent], task: &ContainerId) -> Option<i32> {
    events.iter().find_map(|event| match event {
        ContainerEvent::Update { container, update } if container == task => {
            update.status.check_status.as_ref()?.command.as_ref()?.exit_code
        }
        _ => None,
    })
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "needs a libvirt host")]
fn tasks_in_one_vm_begin_and_end_by_themselves_and_the_vm_after_them() {
    let mut pod = Pod::launch();
    let script =
        "echo $NAME; id -un; ls -d ..; mkdir d; echo data >d/file; cat fetched; test -w ../.. || echo kept out";
    let source = pod.scratch.path().join("fetched");
    fs::write(&source, "a file of the host's\n").expect("a file");
    let uri = Uri { value: source.to_string_lossy().into_owned(), ..Default::default() };
    pod.join("ends", script, |spec| {
        spec.user = Some("nobody".into());
        spec.task.as_mut().and_then(|task| task.command.as_mut()).expect("a command").uris = vec![uri];
    });
    pod.join("stays", "echo begun; trap 'echo caught; exit 7' TERM; while :; do sleep 0.2; done", |spec| {
        spec.task.as_mut().expect("a task").check = Some(check());
    });
    let ends = pod.task("ends");
    let status = pod.runs("stays");
    let container = status.container_status.expect("container status");
    assert_eq!(container.network_infos[0].ip_addresses[0].ip_address(), pod.address);
    let parent = container.container_id.and_then(|id| id.parent).expect("a parent");
    assert_eq!(parent.value, pod.holder.as_str());

    let finished = pod.until_state(&ends, TaskState::TaskFinished);
    assert_eq!(finished.message(), "Command exited with status 0");
    assert_eq!(pod.until_exit(&ends), Ended::Orderly);
    assert_eq!(pod.file("ends", "stdout"), "ends\nnobody\n..\na file of the host's\nkept out\n");
    assert_eq!(pod.file("ends", "d/file"), "data\n");
    assert!(!pod.is_left(&ends) && domains().contains(&pod.domain()), "the VM stays for the other");

    let stays = pod.task("stays");
    let answered = pod.until(|events| answer_of(events, &stays));
    assert_eq!(answered, 5, "a check's command runs beside its own task");
    pod.kill(&stays);
    let killed = pod.until_state(&stays, TaskState::TaskKilled);
    assert_eq!(killed.message(), "Command exited with status 7");
    assert_eq!(pod.until_exit(&stays), Ended::Orderly);
    assert!(pod.file("stays", "stdout").ends_with("begun\ncaught\n"));
    assert!(pod.file("stays", "vm.log").contains(" ssh "));

    // One that comes later, and one whose child dies: what that ran goes with the VM.
    pod.join("later", "echo later; cat /proc/sys/kernel/random/boot_id", |_| {});
    pod.join("orphaned", "sleep 600", |_| {});
    pod.join("misspelt", "true", |spec| spec.user = Some("nobody-here".into()));
    let (later, orphaned, misspelt) = (pod.task("later"), pod.task("orphaned"), pod.task("misspelt"));
    pod.until_state(&later, TaskState::TaskFinished);
    let failed = pod.until_state(&misspelt, TaskState::TaskFailed);
    assert!(failed.message().contains("nobody-here") && failed.reason() == Reason::ContainerLaunchFailed);
    assert_eq!(pod.until_exit(&misspelt), Ended::Orderly);
    pod.runs("orphaned");
    kill(pod.child(&orphaned), Signal::SIGKILL).expect("kill");
    let ended = pod.until_exit(&orphaned);
    assert!(matches!(&ended, Ended::Died { reason } if reason.contains("may still run")), "{ended:?}");
    assert!(!pod.is_left(&orphaned) && domains().contains(&pod.domain()), "only its own files are removed");
    pod.end();
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "needs a libvirt host")]
fn a_vm_that_dies_takes_its_tasks_along_at_once() {
    let mut pod = Pod::launch();
    pod.join("one", "echo begun; sleep 600", |_| {});
    pod.runs("one");
    let qemu = Qemu::find(&pod.domain()).expect("QEMU");
    let killed = Instant::now();
    qemu.kill(Duration::from_secs(10)).expect("kill");
    let (one, holder) = (pod.task("one"), pod.holder.clone());
    let status = pod.until_state(&one, TaskState::TaskFailed);
    // ssh alone would give up after thirty seconds.
    assert!(killed.elapsed() < Duration::from_secs(25), "its end is seen, not waited for");
    assert_eq!(status.reason(), Reason::ExecutorTerminated);
    assert_eq!(pod.until_exit(&one), Ended::Orderly);
    pod.until_state(&holder, TaskState::TaskFailed);
    assert_eq!(pod.until_exit(&holder), Ended::Orderly);
    pod.assert_nothing_is_left();
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "needs a libvirt host")]
fn without_a_slave_the_tasks_have_their_grace_and_all_ends_by_itself() {
    let mut pod = Pod::launch();
    pod.join("one", "trap 'echo caught; exit 0' TERM; echo begun; while :; do sleep 0.2; done", |_| {});
    pod.runs("one");
    let children = [pod.child(&pod.holder), pod.child(&pod.task("one"))];
    pod.children = None;
    let deadline = Instant::now() + Duration::from_secs(180);
    for child in children {
        let pidfd = pidfd_open(child).expect("a child");
        let mut set = PollSet::new();
        set.add(pidfd.as_raw_fd(), Interest::Read);
        set.wait(Some(deadline)).expect("poll");
        assert!(set.is_readable(pidfd.as_raw_fd()), "{child} goes on");
        // They are ours to reap.
        waitpid(child, None).expect("its end");
    }
    assert_eq!(pod.file("one", "stdout"), "begun\ncaught\n");
    assert!(!domains().contains(&pod.domain()));
    assert!(!pod.vm_dir.join("vms").join(pod.holder.as_str()).exists());
    assert!(!pod.vm_dir.join("vms").join(pod.task("one").as_str()).exists());
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "needs a libvirt host")]
fn more_tasks_than_sshd_takes_at_once_all_get_in() {
    const NAMES: [&str; 11] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
    // Mesos lets no task have less than 32 MiB.
    let mut pod = Pod::with_memory(32.0 * NAMES.len() as f64);
    for name in NAMES {
        pod.join(name, "echo $NAME; grep -c slave-1.example /etc/hosts", |_| {});
    }
    for name in NAMES {
        let task = pod.task(name);
        pod.until_state(&task, TaskState::TaskFinished);
        assert_eq!(pod.until_exit(&task), Ended::Orderly);
        assert_eq!(pod.file(name, "stdout"), format!("{name}\n1\n"));
    }
    pod.end();
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "needs a libvirt host")]
fn a_kill_at_any_moment_of_a_task_leaves_the_others_and_the_vm() {
    let mut pod = Pod::launch();
    pod.join("stays", "echo begun; sleep 600", |_| {});
    pod.runs("stays");
    for (name, step) in [("at once", None), ("connected", Some("ssh")), ("running", Some("run"))] {
        pod.join(name, "echo begun; sleep 600", |_| {});
        let task = pod.task(name);
        if let Some(step) = step {
            pod.until_step(&task, step);
        }
        pod.kill(&task);
        pod.until_state(&task, TaskState::TaskKilled);
        assert_eq!(pod.until_exit(&task), Ended::Orderly, "{name}");
        assert!(!pod.is_left(&task), "{name}");
    }
    // What a launch that was overtaken by a kill has begun is not left in the guest.
    pod.join("looks", "ps -o args 2>/dev/null | grep -c '^sleep 600' || ps ax -o args | grep -c '^sleep 600'", |_| {});
    let looks = pod.task("looks");
    pod.until_state(&looks, TaskState::TaskFinished);
    pod.until_exit(&looks);
    assert_eq!(pod.file("looks", "stdout"), "1\n", "only the one that stays");
    pod.end();
}
