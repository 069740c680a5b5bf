//! Whole lives of real virtual machines: the parent's half here, the child's half in the real binary. They need a libvirt host, so
//! they are ignored by default:
//!
//! ```text
//! cargo build && scripts/libvirt-host exec -- cargo test isolation::vm_tests -- --ignored
//! ```
//!
//! `MESOS_TEST_IMAGE` is the image's directory, `MESOS_TEST_LIBVIRTD_PID` the file with libvirtd's pid; that of a private host is
//! `libvirtd.pid` in its directory.

mod story;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{ContainerEvent, Ended};
use crate::container::scratch::Scratch;
use crate::messages::mesos::{TaskState, task_status::Reason};
use story::*;

#[test]
#[ignore = "needs a libvirt host"]
fn a_command_runs_in_a_guest_and_its_output_and_files_come_back() {
    let end = Story::new("echo \"$GREETING\"; uname -s; echo oops >&2; echo result >made").launch().end();
    end.is(TaskState::TaskFinished, None, &["Command exited with status 0"]);
    orderly(&end);
    assert_eq!(end.file("stdout"), "it's $HOME\nLinux\n");
    assert_eq!((end.file("stderr").as_str(), end.file("made").as_str()), ("oops\n", "result\n"));
    for step in ["overlay", "boot", "address", "ssh", "run", "collect", "destroy"] {
        assert!(end.file("vm.log").contains(&format!(" {step} ")), "{step}");
    }
    assert!(!end.file("console.log").is_empty());
    let network = end.status.container_status.as_ref().map(|status| status.network_infos.len());
    assert_eq!(network, Some(1));
}

#[test]
#[ignore = "needs a libvirt host"]
fn statuses_and_signals_are_passed_on() {
    let failed = None;
    let end = Story::new("no-such-command").launch().end();
    end.is(TaskState::TaskFailed, failed, &["Command exited with status 127"]);
    let end = Story::new("kill -KILL $$").launch().end();
    end.is(TaskState::TaskFailed, failed, &["Command terminated with signal Killed"]);
}

#[test]
#[ignore = "needs a libvirt host"]
fn a_guest_that_powers_off_panics_or_is_killed_is_a_terminated_executor() {
    let terminated = Some(Reason::ExecutorTerminated);
    let end = Story::new("poweroff; sleep 60").launch().end();
    end.is(TaskState::TaskFailed, terminated, &["virtual machine ended"]);
    let end = Story::new("echo c >/proc/sysrq-trigger; sleep 60").launch().end();
    end.is(TaskState::TaskFailed, terminated, &["Kernel panic"]);
    assert!(end.file("console.log").contains("Kernel panic"));
    let story = Story::new("sleep 600").launch().until_state(TaskState::TaskRunning);
    let qemu = nix::unistd::Pid::from_raw(story.qemu());
    nix::sys::signal::kill(qemu, nix::sys::signal::Signal::SIGKILL).expect("kill");
    story.end().is(TaskState::TaskFailed, terminated, &["virtual machine ended"]);
}

#[test]
#[ignore = "needs a libvirt host"]
fn a_kill_at_any_moment_leaves_nothing() {
    let during = Some(Reason::TaskKilledDuringLaunch);
    let grace = Duration::from_secs(3);
    Story::new("true").launch().kill(grace).end().is(TaskState::TaskKilled, during, &[]);
    for step in ["overlay", "boot", "address"] {
        let end = Story::new("sleep 600").launch().until_step(step).kill(grace).end();
        end.is(TaskState::TaskKilled, during, &[]);
    }
    let end = Story::new("sleep 600").launch().until_state(TaskState::TaskRunning).kill(grace).end();
    end.is(TaskState::TaskKilled, None, &["Terminated"]);
    let deaf = "trap '' TERM; echo deaf; while :; do sleep 1; done";
    let end = Story::new(deaf).launch().until_state(TaskState::TaskRunning).kill(grace).end();
    end.is(TaskState::TaskKilled, None, &["Killed"]);
    assert_eq!(end.file("stdout"), "deaf\n");
}

#[test]
#[ignore = "needs a libvirt host"]
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

/// The image with another `image.conf`.
fn variant(change: impl Fn(&str) -> String) -> Scratch {
    let scratch = Scratch::new();
    for file in ["disk.qcow2", "vmlinuz", "initrd"] {
        std::os::unix::fs::symlink(image().join(file), scratch.path().join(file)).expect("link");
    }
    let conf = fs::read_to_string(image().join("image.conf")).expect("image.conf");
    fs::write(scratch.path().join("image.conf"), change(&conf)).expect("write");
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    scratch
}

#[test]
#[ignore = "needs a libvirt host"]
fn a_guest_that_is_deaf_or_refuses_the_key_says_so() {
    let not_launched = Some(Reason::ContainerLaunchFailed);
    let deaf = variant(|conf| conf.replace("cryptomgr.notests", "cryptomgr.notests rdinit=/bin/busybox -- sleep 600"));
    let path = deaf.path().to_string_lossy().into_owned();
    let end = Story::new("true").vm(|vm| {
        vm.image = path;
        vm.boot_timeout_ms = 10_000;
    });
    end.launch().end().is(TaskState::TaskFailed, not_launched, &["step address", "no DHCP lease", "--vm_boot_timeout"]);
    let strange = variant(|conf| conf.replace("provision=fw_cfg", "provision=none"));
    let key = strange.path().join("some_key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.is_ok_and(|status| status.success()));
    let path = strange.path().to_string_lossy().into_owned();
    let end = Story::new("true").vm(|vm| {
        vm.image = path;
        vm.ssh_key = Some(key.to_string_lossy().into_owned());
    });
    end.launch().end().is(TaskState::TaskFailed, not_launched, &["step ssh", "refused the key"]);
}

/// Stops libvirtd, and lets it go on when dropped. No other test of this host can run meanwhile.
struct Stopped(nix::unistd::Pid);

impl Stopped {
    fn now() -> Stopped {
        let file = std::env::var_os("MESOS_TEST_LIBVIRTD_PID").unwrap_or("/run/libvirtd.pid".into());
        let pid = fs::read_to_string(file).expect("libvirtd's pid");
        let pid = nix::unistd::Pid::from_raw(pid.trim().parse().expect("a number"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).expect("stop");
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(self.0, nix::sys::signal::Signal::SIGCONT);
    }
}

#[test]
#[ignore = "needs a libvirt host of its own"]
fn a_libvirtd_that_hangs_holds_up_nothing() {
    hangs_while_the_command_runs();
    let story = Story::new("true").launch().until_step("overlay");
    let stopped = Stopped::now();
    let story = story.until_state(TaskState::TaskFailed);
    assert!(story.began.elapsed() < Duration::from_secs(45), "{:?}", story.began.elapsed());
    let story = story.until(|event| matches!(event, ContainerEvent::Exited { .. }));
    drop(stopped);
    // libvirtd now does what it was asked before it was stopped; the next one to ask it anything settles that.
    let settle = || Command::new(binary()).args(["vm-worker", "network", URI, "default"]).arg(&story.vm_dir).status();
    let began = Instant::now();
    let domain = format!("mesos-{}", story.container);
    loop {
        assert!(settle().is_ok_and(|status| status.success()));
        let notes = fs::read_dir(story.vm_dir.join("leftovers")).map_or(0, Iterator::count);
        if notes == 0 && !domains().contains(&domain) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{domain} is left");
    }
    assert!(!story.vm_dir.join("vms").join(story.container.as_str()).exists());
}

/// The VM goes all the same. In one test with the other, since both stop the one libvirtd.
fn hangs_while_the_command_runs() {
    let story = Story::new("sleep 600").launch().until_state(TaskState::TaskRunning);
    let qemu = story.qemu();
    let stopped = Stopped::now();
    let story = story.kill(Duration::from_secs(2)).until_state(TaskState::TaskKilled);
    // Its parent may be the stopped libvirtd, which reaps nobody.
    let stat = fs::read_to_string(format!("/proc/{qemu}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "the VM is gone when its end is told: {stat}");
    let story = story.until(|event| matches!(event, ContainerEvent::Exited { .. }));
    drop(stopped);
    assert!(matches!(story.events.last(), Some(ContainerEvent::Exited { ended: Ended::Orderly, .. })));
}

#[test]
#[ignore = "needs a libvirt host"]
fn without_libvirtd_the_task_fails_with_what_to_do() {
    let story = Story::new("true").vm(|vm| vm.uri = "qemu+unix:///system?socket=/nonexistent/libvirt-sock".into());
    let end = story.launch().end();
    end.is(TaskState::TaskFailed, Some(Reason::ContainerLaunchFailed), &["step boot", "libvirt"]);
}

#[test]
#[ignore = "needs a libvirt host"]
fn a_child_that_is_killed_is_cleaned_up_after() {
    let story = Story::new("sleep 600").launch().until_state(TaskState::TaskRunning);
    let pid = story.scratch.path().join("run/containers").join(story.container.as_str()).join("pid");
    let pid = fs::read_to_string(pid).expect("the child's pid").trim().parse().expect("a number");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("kill");
    let end = story.end();
    let last = end.story.events.last();
    assert!(matches!(last, Some(ContainerEvent::Exited { ended: Ended::Died { .. }, .. })), "{last:?}");
}
