//! libvirt's daemon is not there, hangs, or dies: each test has a host of its own for that.

use std::fs;
use std::time::{Duration, Instant};

use super::support::*;

/// Stops libvirt's daemon with SIGSTOP; it goes on when this is dropped.
struct Stopped(u32);

impl Stopped {
    fn now(host: &Host) -> Stopped {
        let pid = host.libvirtd();
        signal_pid(pid, "STOP");
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal_pid(self.0, "CONT");
    }
}

/// Kills libvirt's daemon and waits until it is gone.
fn kill_libvirtd(host: &Host) {
    let pid = host.libvirtd();
    signal_pid(pid, "KILL");
    eventually("libvirtd is gone", || (!fs::exists(format!("/proc/{pid}")).expect("stat")).then_some(()));
}

/// After the slave has used libvirt once more, nothing that libvirt still did is left.
fn assert_settled(world: &World) {
    assert_works(world);
    eventually("the domains are gone", || world.domains().is_empty().then_some(()));
    assert!(names(&world.dir.join("vm/leftovers")).is_empty());
}

#[test]
fn without_libvirtd_a_task_fails_with_what_to_do_and_with_it_the_next_one_runs() {
    let mut world = World::with_host("nolibvirtd");
    world.start_master();
    world.start_slave(&[]);
    kill_libvirtd(world.host());
    let output = world.execute(&["--command=true"]);
    assert_failed(&world, &output, &["libvirt", "qemu:///system", "start"]);
    world.host().up();
    assert_settled(&world);
    world.end();
}

#[test]
fn a_libvirtd_that_is_stopped_during_a_launch_does_not_hold_up_the_deadline() {
    let mut world = World::with_host("stopped");
    world.start_master();
    world.start_slave(&[]);
    // One task first, so that the network and libvirt's knowledge of QEMU are there and the second one is stopped in its launch.
    assert_works(&world);
    let stopped = Stopped::now(world.host());
    let start = Instant::now();
    let output = world.execute(&["--command=true"]);
    let took = start.elapsed();
    assert_failed(&world, &output, &["libvirt"]);
    assert!(took < Duration::from_secs(120), "{took:?}");
    drop(stopped);
    assert_settled(&world);
    world.end();
}

#[test]
fn a_kill_is_not_held_up_by_a_libvirtd_that_is_stopped() {
    let mut world = World::with_host("stopkill");
    world.start_master();
    world.start_slave(&[]);
    let mut task = world.spawn_execute("task", &["--command=sleep 600"]);
    task.await_log("TASK_RUNNING");
    let stopped = Stopped::now(world.host());
    let start = Instant::now();
    task.signal("INT");
    task.wait();
    let took = start.elapsed();
    assert!(task.log().contains("TASK_KILLED"), "{}", task.log());
    assert!(took < Duration::from_secs(120), "{took:?}");
    drop(stopped);
    world.assert_clean();
    assert_settled(&world);
    world.end();
}

#[test]
fn a_task_goes_on_and_finishes_while_libvirtd_dies_and_comes_back() {
    let mut world = World::with_host("restart");
    world.start_master();
    world.start_slave(&[]);
    let command = format!("echo before; {GATE}; echo after");
    let mut task = world.spawn_execute("task", &["--command", &command]);
    task.await_log("before");
    let vm = world.await_vms(1).remove(0);
    kill_libvirtd(world.host());
    world.host().up();
    world.open_gate(&vm);
    assert!(task.wait().success(), "{}", task.log());
    assert!(task.log().contains("after"), "{}", task.log());
    world.assert_clean();
    assert_settled(&world);
    world.end();
}

#[test]
fn a_task_finishes_while_libvirtd_is_dead_and_its_guest_is_gone_all_the_same() {
    let mut world = World::with_host("dead");
    world.start_master();
    world.start_slave(&[]);
    let command = format!("echo before; {GATE}; echo after");
    let mut task = world.spawn_execute("task", &["--command", &command]);
    task.await_log("before");
    let vm = world.await_vms(1).remove(0);
    kill_libvirtd(world.host());
    world.open_gate(&vm);
    assert!(task.wait().success(), "{}", task.log());
    assert!(task.log().contains("after"), "{}", task.log());
    eventually("the guest is gone", || processes(&format!("mesos-{vm}")).is_empty().then_some(()));
    world.host().up();
    assert_settled(&world);
    world.assert_clean();
    world.end();
}
