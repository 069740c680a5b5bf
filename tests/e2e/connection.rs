//! The connection into a guest breaks while its task runs: the task does not notice, and its output is whole.

use std::time::Duration;

use super::support::*;

/// Counts to ten slowly, on both sides of a gate.
fn counting() -> String {
    format!("for n in 1 2 3 4 5; do echo line $n; done; {GATE}; for n in 6 7 8 9 10; do echo line $n; sleep 0.2; done")
}

/// All ten lines, once each and in order.
fn assert_whole(log: &str) {
    let lines: Vec<&str> = log.lines().filter(|line| line.starts_with("line ")).collect();
    let wanted: Vec<String> = (1..=10).map(|number| format!("line {number}")).collect();
    assert_eq!(lines, wanted, "{log}");
}

/// The ssh process that is the connection of a VM.
fn connection(world: &World, vm: &str) -> u32 {
    eventually("there is a connection", || {
        let all = processes(&world.path(&format!("vm/vms/{vm}/ssh")));
        let master = all.iter().find(|line| line.contains("ControlMaster=yes"))?;
        master.split(':').next()?.parse().ok()
    })
}

#[test]
fn a_connection_that_is_lost_is_made_again_and_the_task_goes_on() {
    let world = World::with_slave("lostssh", &[]);
    let mut task = world.spawn_execute("task", &["--command", &counting()]);
    task.await_log("line 5");
    let vm = world.await_vms(1).remove(0);
    let first = connection(&world, &vm);
    signal_pid(first, "KILL");
    eventually("the first connection is gone", || {
        let gone = processes("ControlMaster=yes").iter().all(|line| !line.starts_with(&format!("{first}:")));
        gone.then_some(())
    });
    assert_ne!(connection(&world, &vm), first);
    world.open_gate(&vm);
    assert!(task.wait().success(), "{}", task.log());
    assert_whole(&task.log());
    world.end();
}

#[test]
fn a_guest_that_cannot_be_reached_for_a_while_keeps_its_task() {
    let network = Network::new("e2edeaf", 34, &dhcp(34));
    let world = World::with_slave("deaf", &["--vm_network=e2edeaf"]);
    let rule = |verb: &str| {
        run("iptables", &["-w", verb, "OUTPUT", "-d", "10.99.34.0/24", "-p", "tcp", "--dport", "22", "-j", "DROP"]);
        run("iptables", &["-w", verb, "INPUT", "-s", "10.99.34.0/24", "-p", "tcp", "--sport", "22", "-j", "DROP"]);
    };
    let (before, after) = ("for n in 1 2 3 4 5; do echo line $n; done", "for n in 6 7 8 9 10; do echo line $n; done");
    let mut task = world.spawn_execute("task", &["--command", &format!("{before}; {GATE}; sleep 8; {after}")]);
    task.await_log("line 5");
    world.open_gate(&world.await_vms(1)[0]);
    rule("-I");
    // The command writes and ends meanwhile; the silence is longer than ssh's interval between questions and shorter than its patience.
    std::thread::sleep(Duration::from_secs(15));
    let silent = task.log();
    rule("-D");
    assert!(!silent.contains("line 6") && !task.has_ended(), "it was not cut off: {silent}");
    assert!(task.wait().success(), "{}", task.log());
    assert_whole(&task.log());
    world.end();
    drop(network);
}

#[test]
fn a_task_that_says_nothing_for_longer_than_sshs_patience_is_not_lost() {
    let world = World::with_slave("silent", &[]);
    // ssh asks every 5 s and gives up after 6 questions without an answer.
    let mut task = world.spawn_execute("task", &["--command", &format!("sleep 35; echo still here; {GATE}")]);
    task.await_log("TASK_RUNNING");
    let vm = world.await_vms(1).remove(0);
    let first = connection(&world, &vm);
    task.await_log("still here");
    assert_eq!(connection(&world, &vm), first, "the connection was made again");
    world.open_gate(&vm);
    assert!(task.wait().success(), "{}", task.log());
    world.end();
}

#[test]
fn a_guest_that_boots_again_is_another_guest_and_its_task_has_failed() {
    let world = World::with_slave("reboot", &[]);
    let output = world.execute(&["--command=sync; echo b >/proc/sysrq-trigger; sleep 600"]);
    assert_failed(&world, &output, &["guest"]);
    world.end();
}
