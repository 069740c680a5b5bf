//! Whole lives of real virtual machines: the parent's half here, the child's half in the real binary. What `tests/e2e` sees through
//! `execute` is not repeated here: these look at events and reasons, and kill at every step.
//!
//! They need a libvirt host, so they are ignored without the feature `e2e`: `scripts/test isolation::vm_tests` runs them.
//! `MESOS_TEST_IMAGE` is the image's directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::children::{Children, Cleanup};
use super::vm::VmConfig;
use super::{ContainerEvent, Ended, Isolation};
use crate::container::scratch::Scratch;
use crate::ids::ContainerId;
use crate::messages::container::{self, Spec, vm};
use crate::messages::mesos::{self, TaskState, TaskStatus, task_status::Reason};
use crate::poll::PollSet;
use crate::subprocess::Spawn;

pub(super) const URI: &str = "qemu:///system";

/// The binary beside the test's own.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("our own path");
    test.ancestors().nth(2).expect("the target's directory").join("mesos-slave")
}

pub(super) fn program(directory: &Path) -> Spawn {
    Spawn::new(binary()).arg("vm-container").arg(directory)
}

pub(super) fn cleanup(directory: &Path) -> Spawn {
    Spawn::new(binary()).arg("vm-worker").arg("cleanup").arg(directory)
}

fn image() -> PathBuf {
    std::env::var_os("MESOS_TEST_IMAGE")
        .map_or_else(|| PathBuf::from("/var/lib/mesos-slave/images/default"), PathBuf::from)
}

/// VMs below this directory.
pub(super) fn config(vm_dir: &Path) -> VmConfig {
    VmConfig {
        path_map: Default::default(),
        uri: URI.into(),
        network: "default".into(),
        vm_dir: vm_dir.to_path_buf(),
        image_dir: image().parent().expect("a parent").to_path_buf(),
        image: image().file_name().expect("a name").to_string_lossy().into_owned(),
        image_memory_mb: 96,
        accelerator: vm::Accelerator::Tcg,
        guest_isolation: vm::GuestIsolation::Full,
        ssh_user: None,
        ssh_key: None,
        boot_timeout: Duration::from_secs(120),
    }
}

/// A change of how a VM is to be made.
type Change = fn(&mut container::Vm);

/// The names of libvirt's domains.
pub(super) fn domains() -> String {
    let list = Command::new("virsh").args(["-q", "-c", URI, "list", "--all", "--name"]).output().expect("virsh");
    String::from_utf8_lossy(&list.stdout).into_owned()
}

/// One container, its directories, and what became of it.
struct Story {
    scratch: Scratch,
    vm_dir: PathBuf,
    children: Children,
    container: ContainerId,
    spec: Spec,
    began: Instant,
    events: Vec<ContainerEvent>,
}

impl Story {
    fn new(command: &str) -> Story {
        let scratch = Scratch::new();
        let id = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("a uuid").trim().to_string();
        // ssh's control socket lies in it, so the path must be short, and QEMU's user must pass through.
        let vm_dir = std::env::temp_dir().join(format!("t{}", &id[..8]));
        fs::create_dir_all(&vm_dir).expect("the VMs' directory");
        let sandbox = scratch.path().join("sandbox");
        fs::create_dir(&sandbox).expect("a sandbox");
        let config = config(&vm_dir);
        let task = mesos::TaskInfo {
            name: "test".into(),
            task_id: mesos::TaskId { value: "task".into() },
            command: Some(mesos::CommandInfo { value: Some(command.into()), ..Default::default() }),
            ..Default::default()
        };
        let spec = Spec {
            version: 1,
            container_id: id.clone(),
            task: Some(task),
            sandbox: sandbox.to_string_lossy().into_owned(),
            user: Some("root".into()),
            vm: Some(config.vm(&id, &[])),
            environment: vec![container::Variable { name: "GREETING".into(), value: "it's $HOME".into() }],
            ..Default::default()
        };
        let children = Children::new(scratch.path().join("run"), program, Cleanup::Worker(cleanup));
        let container = ContainerId::new(id).expect("an id");
        Story { scratch, vm_dir, children, container, spec, began: Instant::now(), events: Vec::new() }
    }

    fn vm(mut self, change: impl FnOnce(&mut container::Vm)) -> Story {
        change(self.spec.vm.as_mut().expect("a VM"));
        self
    }

    fn launch(mut self) -> Story {
        self.began = Instant::now();
        self.children.launch(self.spec.clone(), self.began).expect("launch");
        self
    }

    /// Turns until an event is as wanted, acknowledging updates.
    fn until(self, wanted: impl Fn(&ContainerEvent) -> bool) -> Story {
        self.until_any(|_, events| events.iter().any(&wanted))
    }

    /// Turns until the command has written this.
    fn until_output(self, text: &str) -> Story {
        self.until_any(|story, _| fs::read_to_string(story.sandbox().join("stdout")).is_ok_and(|all| all == text))
    }

    /// Turns until it is as wanted, by the last events or otherwise.
    fn until_any(mut self, wanted: impl Fn(&Story, &[ContainerEvent]) -> bool) -> Story {
        let mut set = PollSet::new();
        loop {
            let from = self.events.len();
            self.events.extend(self.children.turn(&set, Instant::now()));
            for event in &self.events[from..] {
                println!("{:7.3} {event:?}", self.began.elapsed().as_secs_f64());
                if let ContainerEvent::Update { container, update } = event {
                    let status = &update.status;
                    self.children.acknowledge(container, status.uuid());
                }
            }
            if wanted(&self, &self.events[from..]) {
                return self;
            }
            assert!(self.began.elapsed() < Duration::from_secs(300), "{:?}", self.events);
            set.clear();
            self.children.register(&mut set);
            let limit = Instant::now() + Duration::from_millis(200);
            set.wait(Some(self.children.deadline().map_or(limit, |at| at.min(limit)))).expect("poll");
        }
    }

    fn until_state(self, state: TaskState) -> Story {
        self.until(|event| matches!(event, ContainerEvent::Update { update, .. } if update.status.state() == state))
    }

    fn until_step(self, step: &str) -> Story {
        self.until(|event| matches!(event, ContainerEvent::Step { name, .. } if name == step))
    }

    fn kill(mut self, grace: Duration) -> Story {
        let container = self.container.clone();
        self.children.kill(&container, grace, Instant::now());
        self
    }

    /// To the end; nothing may be left.
    fn end(self) -> End {
        let story = self.until(|event| matches!(event, ContainerEvent::Exited { .. }));
        let log = fs::read_to_string(story.sandbox().join("vm.log")).unwrap_or_default();
        println!("{log}");
        let domain = format!("mesos-{}", story.container);
        assert!(!domains().contains(&domain), "the domain is left");
        assert!(!story.vm_dir.join("vms").join(story.container.as_str()).exists(), "the VM's directory is left");
        assert!(!story.scratch.path().join("run/containers").join(story.container.as_str()).exists());
        let terminal = story.events.iter().rev().find_map(|event| match event {
            ContainerEvent::Update { update, .. } => Some(update.status.clone()),
            _ => None,
        });
        End { status: terminal.expect("a terminal update"), story }
    }

    fn sandbox(&self) -> PathBuf {
        self.scratch.path().join("sandbox")
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.vm_dir);
    }
}

struct End {
    status: TaskStatus,
    story: Story,
}

impl End {
    fn is(&self, state: TaskState, reason: Option<Reason>, words: &[&str]) -> &End {
        let message = self.status.message();
        assert_eq!(self.status.state(), state, "{message}");
        assert_eq!(self.status.reason, reason.map(|reason| reason as i32), "{message}");
        for word in words {
            assert!(message.contains(word), "{word:?} is not in {message:?}");
        }
        self
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.story.sandbox().join(name)).unwrap_or_default()
    }
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "needs a libvirt host")]
fn a_kill_at_any_moment_leaves_nothing() {
    let during = Some(Reason::TaskKilledDuringLaunch);
    let grace = Duration::from_secs(3);
    Story::new("true").launch().kill(grace).end().is(TaskState::TaskKilled, during, &[]);
    for step in ["overlay", "boot", "address"] {
        let end = Story::new("sleep 600").launch().until_step(step).kill(grace).end();
        end.is(TaskState::TaskKilled, during, &[]);
    }
    // On a busy host the session that brings the first signal may take longer than the usual grace period.
    let patient = Duration::from_secs(150);
    let end = Story::new("sleep 600").launch().until_state(TaskState::TaskRunning).kill(patient).end();
    end.is(TaskState::TaskKilled, None, &["Terminated"]);
    let deaf = "trap '' TERM; echo deaf; while :; do sleep 1; done";
    let end = Story::new(deaf).launch().until_output("deaf\n").kill(grace).end();
    end.is(TaskState::TaskKilled, None, &["Killed"]);
    assert_eq!(end.file("stdout"), "deaf\n");
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "needs a libvirt host")]
fn what_cannot_be_launched_says_why() {
    let not_launched = Some(Reason::ContainerLaunchFailed);
    let cases: [(&str, Change, &[&str]); 3] = [
        ("image", |vm| vm.image = "/var/lib/mesos-slave/images/none".into(), &["step overlay", "build-guest-image"]),
        ("network", |vm| vm.network = "none".into(), &["step boot", "none"]),
        ("memory", |vm| vm.memory_mb = 1 << 30, &["step boot", "refused"]),
    ];
    for (what, change, words) in cases {
        println!("{what}");
        Story::new("true").vm(change).launch().end().is(TaskState::TaskFailed, not_launched, words);
    }
    let mut story = Story::new("true");
    story.spec.user = Some("nobody-here".into());
    story.launch().end().is(TaskState::TaskFailed, not_launched, &["step run", "nobody-here", "images/"]);
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "needs a libvirt host")]
fn a_child_that_is_killed_is_cleaned_up_after() {
    let story = Story::new("sleep 600").launch().until_state(TaskState::TaskRunning);
    let pid = story.scratch.path().join("run/containers").join(story.container.as_str()).join("pid");
    let pid = fs::read_to_string(pid).expect("the child's pid").trim().parse().expect("a number");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("kill");
    let end = story.end();
    let last = end.story.events.last();
    assert!(matches!(last, Some(ContainerEvent::Exited { ended: Ended::Died { .. }, .. })), "{last:?}");
}
