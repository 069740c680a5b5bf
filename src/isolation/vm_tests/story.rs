//! One container in a test: its directories, its child, and what became of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::children::{Children, Cleanup};
use super::super::vm::VmConfig;
use super::super::{ContainerEvent, Ended, Isolation};
use crate::container::scratch::Scratch;
use crate::ids::ContainerId;
use crate::messages::container::{self, Spec, vm};
use crate::messages::mesos::{self, TaskState, TaskStatus, task_status::Reason};
use crate::poll::PollSet;
use crate::subprocess::Spawn;

pub(super) const URI: &str = "qemu:///system";

/// The binary beside the test's own.
pub(super) fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("our own path");
    test.ancestors().nth(2).expect("the target's directory").join("mesos-slave")
}

pub(super) fn program(directory: &Path) -> Spawn {
    Spawn::new(binary()).arg("vm-container").arg(directory)
}

pub(super) fn cleanup(directory: &Path) -> Spawn {
    Spawn::new(binary()).arg("vm-worker").arg("cleanup").arg(directory)
}

pub(super) fn image() -> PathBuf {
    std::env::var_os("MESOS_TEST_IMAGE")
        .map_or_else(|| PathBuf::from("/var/lib/mesos-slave/images/default"), PathBuf::from)
}

/// A change of how a VM is to be made.
pub(super) type Change = fn(&mut container::Vm);

/// The names of libvirt's domains.
pub(super) fn domains() -> String {
    let list = Command::new("virsh").args(["-q", "-c", URI, "list", "--all", "--name"]).output().expect("virsh");
    String::from_utf8_lossy(&list.stdout).into_owned()
}

/// One container, its directories, and what became of it.
pub(super) struct Story {
    pub(super) scratch: Scratch,
    pub(super) vm_dir: PathBuf,
    pub(super) children: Children,
    pub(super) container: ContainerId,
    pub(super) spec: Spec,
    pub(super) began: Instant,
    pub(super) events: Vec<ContainerEvent>,
}

impl Story {
    pub(super) fn new(command: &str) -> Story {
        let scratch = Scratch::new();
        let id = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("a uuid").trim().to_string();
        // ssh's control socket lies in it, so the path must be short, and QEMU's user must pass through.
        let vm_dir = PathBuf::from(format!("/var/lib/mesos-slave/t{}", &id[..8]));
        fs::create_dir_all(&vm_dir).expect("the VMs' directory");
        let sandbox = scratch.path().join("sandbox");
        fs::create_dir(&sandbox).expect("a sandbox");
        let config = VmConfig {
            uri: URI.into(),
            network: "default".into(),
            vm_dir: vm_dir.clone(),
            image_dir: image().parent().expect("a parent").to_path_buf(),
            image: image().file_name().expect("a name").to_string_lossy().into_owned(),
            image_memory_mb: 96,
            accelerator: vm::Accelerator::Tcg,
            ssh_user: None,
            ssh_key: None,
            boot_timeout: Duration::from_secs(120),
        };
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

    pub(super) fn vm(mut self, change: impl FnOnce(&mut container::Vm)) -> Story {
        change(self.spec.vm.as_mut().expect("a VM"));
        self
    }

    pub(super) fn launch(mut self) -> Story {
        self.began = Instant::now();
        self.children.launch(self.spec.clone(), self.began).expect("launch");
        self
    }

    /// Turns until an event is as wanted, acknowledging updates.
    pub(super) fn until(mut self, wanted: impl Fn(&ContainerEvent) -> bool) -> Story {
        let mut set = PollSet::new();
        loop {
            let from = self.events.len();
            self.events.extend(self.children.turn(&set, Instant::now()));
            for event in &self.events[from..] {
                println!("{:7.3} {event:?}", self.began.elapsed().as_secs_f64());
                if let ContainerEvent::Update { container, status } = event {
                    self.children.acknowledge(container, status.uuid());
                }
            }
            if self.events[from..].iter().any(&wanted) {
                return self;
            }
            assert!(self.began.elapsed() < Duration::from_secs(300), "{:?}", self.events);
            set.clear();
            self.children.register(&mut set);
            let limit = Instant::now() + Duration::from_secs(5);
            set.wait(Some(self.children.deadline().map_or(limit, |at| at.min(limit)))).expect("poll");
        }
    }

    pub(super) fn until_state(self, state: TaskState) -> Story {
        self.until(|event| matches!(event, ContainerEvent::Update { status, .. } if status.state() == state))
    }

    pub(super) fn until_step(self, step: &str) -> Story {
        self.until(|event| matches!(event, ContainerEvent::Step { name, .. } if name == step))
    }

    pub(super) fn kill(mut self, grace: Duration) -> Story {
        let container = self.container.clone();
        self.children.kill(&container, grace, Instant::now());
        self
    }

    /// To the end; nothing may be left.
    pub(super) fn end(self) -> End {
        let story = self.until(|event| matches!(event, ContainerEvent::Exited { .. }));
        let log = fs::read_to_string(story.sandbox().join("vm.log")).unwrap_or_default();
        println!("{log}");
        let domain = format!("mesos-{}", story.container);
        assert!(!domains().contains(&domain), "the domain is left");
        assert!(!story.vm_dir.join("vms").join(story.container.as_str()).exists(), "the VM's directory is left");
        assert!(!story.scratch.path().join("run/containers").join(story.container.as_str()).exists());
        let terminal = story.events.iter().rev().find_map(|event| match event {
            ContainerEvent::Update { status, .. } => Some(status.clone()),
            _ => None,
        });
        End { status: terminal.expect("a terminal update"), story }
    }

    pub(super) fn sandbox(&self) -> PathBuf {
        self.scratch.path().join("sandbox")
    }

    pub(super) fn qemu(&self) -> i32 {
        let pid = fs::read_to_string(format!("/run/libvirt/qemu/mesos-{}.pid", self.container)).expect("QEMU's pid");
        pid.trim().parse().expect("a number")
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.vm_dir);
    }
}

pub(super) struct End {
    pub(super) status: TaskStatus,
    pub(super) story: Story,
}

impl End {
    pub(super) fn is(&self, state: TaskState, reason: Option<Reason>, words: &[&str]) -> &End {
        let message = self.status.message();
        assert_eq!(self.status.state(), state, "{message}");
        assert_eq!(self.status.reason, reason.map(|reason| reason as i32), "{message}");
        for word in words {
            assert!(message.contains(word), "{word:?} is not in {message:?}");
        }
        self
    }

    pub(super) fn file(&self, name: &str) -> String {
        fs::read_to_string(self.story.sandbox().join(name)).unwrap_or_default()
    }
}

pub(super) fn orderly(end: &End) {
    let exited = end.story.events.last();
    assert!(matches!(exited, Some(ContainerEvent::Exited { ended: Ended::Orderly, .. })), "{exited:?}");
}
