//! Groups of tasks on Mesos' default executor, which the slave plays: one guest for all of them, a container for each.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::PROCESS;
use super::framework::{Framework, resources};
use crate::scheduler::text;
use crate::support::*;

const README: &str = include_str!("../../../README.md");

/// Prints which kernel it runs on, and lives on.
const LIVES: &str = "cat /proc/sys/kernel/random/boot_id; exec sleep 600";

/// A task of a group, with more of a TaskInfo.
fn task(id: &str, script: &str, more: Value) -> Value {
    let mut task = json!({ "name": id, "task_id": { "value": id }, "command": { "value": script },
        "resources": resources(0.1, 32.0) });
    for (key, value) in more.as_object().expect("an object") {
        match (&mut task[key], value) {
            (Value::Object(own), Value::Object(more)) => own.extend(more.clone()),
            (own, more) => *own = more.clone(),
        }
    }
    task
}

/// Tasks that do nothing but live.
fn living(ids: &[&str]) -> Vec<Value> {
    ids.iter().map(|id| task(id, LIVES, json!({}))).collect()
}

/// Waits until tasks run; their containers: each one's own, and the one around all.
fn await_running(framework: &mut Framework, ids: &[&str]) -> (Vec<String>, String) {
    let mut parents = Vec::new();
    let container = |id: &&str| {
        framework.await_state(id, "TASK_STARTING");
        let running = framework.await_state(id, "TASK_RUNNING");
        let container = &running["container_status"]["container_id"];
        parents.push(text(&container["parent"]["value"]));
        text(&container["value"])
    };
    let own: Vec<String> = ids.iter().map(container).collect();
    parents.dedup();
    assert_eq!(parents.len(), 1, "one executor: {parents:?}");
    (own, parents.remove(0))
}

/// The states of a task up to its end, and its last status.
fn await_end(framework: &mut Framework, task: &str) -> (Vec<String>, Value) {
    let mut states = Vec::new();
    loop {
        let status = framework.await_status(task);
        let state = text(&status["state"]);
        states.push(state.clone());
        if !["TASK_STARTING", "TASK_RUNNING", "TASK_KILLING"].contains(&state.as_str()) {
            return (states, status);
        }
    }
}

/// A task is told to end, and ends so.
fn is_killed(framework: &mut Framework, task: &str) {
    let (states, status) = await_end(framework, task);
    assert_eq!(states[states.len().saturating_sub(2)..], ["TASK_KILLING", "TASK_KILLED"], "{task}: {status}");
}

/// A file of a task's sandbox, as the host has it.
fn file(world: &World, task: &str, name: &str) -> PathBuf {
    let tasks = world.sandbox_files("tasks");
    let found = tasks.iter().map(|tasks| tasks.join(task)).find(|sandbox| sandbox.exists());
    found.unwrap_or_else(|| panic!("no sandbox of {task} in {tasks:?}")).join(name)
}

/// The lines of a task's output, when there are so many.
fn await_lines(world: &World, task: &str, count: usize) -> Vec<String> {
    eventually(&format!("{task} has printed {count} lines"), || {
        let text = fs::read_to_string(file(world, task, "stdout")).ok()?;
        let lines: Vec<String> = text.lines().map(str::to_string).collect();
        (lines.len() >= count && text.ends_with('\n')).then_some(lines)
    })
}

/// Waits until a task's stderr ends so. What was fetched for it is told before.
fn await_stderr(world: &World, task: &str, end: &str) {
    let file = file(world, task, "stderr");
    eventually(&format!("{task}'s stderr ends with {end:?}"), || {
        fs::read_to_string(&file).is_ok_and(|text| text.ends_with(end)).then_some(())
    });
}

/// The whole life of an executor and of two groups on it: what their tasks have in common and what is each one's own, and how one's end
/// is the others'. `user`: whom there is where they run.
fn lives(world: &World, user: &str) -> (String, String) {
    let seed = world.path("seed");
    fs::write(&seed, "sown\n").expect("file");
    let mut framework = Framework::subscribe_to_killing(world);
    let health = json!({ "type": "COMMAND", "command": { "value": "[ \"$(cat name)\" = c ]" }, "delay_seconds": 0.0,
        "interval_seconds": 1.0, "grace_period_seconds": 60.0 });
    let boot_id = "cat /proc/sys/kernel/random/boot_id";
    framework.launch_group(
        "e",
        vec![
            task("a", &format!("{boot_id}; id -un; pwd; exec sleep 600"), json!({ "command": { "user": user } })),
            task(
                "b",
                &format!("{boot_id}; cat seed; echo wrong >&2; exec sleep 600"),
                json!({ "command": { "uris": [{ "value": seed }] } }),
            ),
            task("c", &format!("echo c >name; {LIVES}"), json!({ "health_check": health })),
        ],
    );
    let (containers, parent) = await_running(&mut framework, &["a", "b", "c"]);
    let first = await_lines(world, "a", 3);
    assert_eq!(first[1], user);
    let sandbox = fs::canonicalize(file(world, "a", "")).expect("a's sandbox").display().to_string();
    assert_eq!(first[2], sandbox, "the same path here and there");
    assert!(sandbox.ends_with(&format!("/runs/{parent}/containers/{}", containers[0])), "{sandbox}");
    assert_eq!(await_lines(world, "b", 2), [first[0].clone(), "sown".to_string()]);
    assert_eq!(await_lines(world, "c", 1), [first[0].clone()]);
    await_stderr(world, "b", "\nwrong\n");
    let healthy = framework.await_state("c", "TASK_RUNNING");
    assert_eq!(healthy["healthy"], true, "{healthy}");

    // A second group: one fails, and takes along the other, but nobody else.
    framework.launch_group("e", vec![task("d", "sleep 1; exit 7", json!({})), task("e", LIVES, json!({}))]);
    let (_, failed) = await_end(&mut framework, "d");
    assert_eq!((&failed["state"], &failed["message"]), (&json!("TASK_FAILED"), &json!("Command exited with status 7")));
    assert_eq!(failed["container_status"]["container_id"]["parent"]["value"], parent.as_str(), "{failed}");
    is_killed(&mut framework, "e");

    // One of three is killed, and the others with it: then the executor has nothing to live for.
    framework.kill("a");
    ["a", "b", "c"].iter().for_each(|task| is_killed(&mut framework, task));
    // A guest that is emulated on a busy host may not die in time of TERM and KILL: then it costs the executor its machine.
    let deaf = ["may still run in its executor's virtual machine", "does not end; killing its container"];
    let status = framework.await_exit("e");
    assert!(status == 0 || deaf.iter().any(|text| world.slave().log().contains(text)), "{status}");
    framework.teardown();
    (first[0].clone(), parent)
}

fn own_boot_id() -> String {
    run("cat", &["/proc/sys/kernel/random/boot_id"]).trim().to_string()
}

#[test]
fn two_groups_share_a_guest_and_each_task_has_its_own_sandbox_and_end() {
    let world = World::with_slave("groups", &[]);
    let (boot_id, parent) = lives(&world, "mesos");
    assert_ne!(boot_id, own_boot_id());
    let steps = world.sandbox_files("vm.log");
    let boots = |log: &&PathBuf| fs::read_to_string(log).is_ok_and(|text| text.contains(" boot "));
    let booted: Vec<_> = steps.iter().filter(boots).collect();
    assert!(booted.len() == 1 && booted[0].ends_with(format!("runs/{parent}/vm.log")), "one guest: {steps:?}");
    world.end();
}

#[test]
fn two_groups_on_the_host_live_the_same_life() {
    let world = World::with_slave("groups-host", PROCESS);
    assert_eq!(lives(&world, "nobody").0, own_boot_id());
    world.end();
}

/// The block of JSON in the README.
fn example() -> &'static str {
    let rest = README.split("```json\n").nth(1).expect("an example in the README");
    rest.split("```").next().expect("the end of the example")
}

#[test]
fn the_readme_s_group_runs_in_one_guest_as_execute_shows_it() {
    let world = World::new("readme-group");
    let file = world.path("group.json");
    fs::write(&file, example()).expect("file");
    let mut command = Command::new(BINARY);
    command.args(["execute", "--master=local", "--isolation=vm", "--vm_network=mesos", "--task_group", &file]);
    command.arg(format!("--vm_dir={}", world.path("vm"))).arg(format!("--vm_image_dir={IMAGES}"));
    let output = command.stdin(Stdio::null()).output().expect("execute");
    let (out, err) = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    assert!(out.lines().any(|line| line == "[client] hello"), "{out}\n{err}");
    for line in ["  boot ", "[web]", "[client]"] {
        assert!(err.contains(line), "no {line:?} in\n{err}");
    }
    world.end();
}

#[test]
fn execute_ends_as_the_first_of_a_group_does_that_does_not_finish() {
    let world = World::with_slave("group-status", PROCESS);
    let group =
        json!({ "tasks": [task("a", "echo out; sleep 600", json!({})), task("b", "sleep 1; exit 3", json!({}))] });
    let output = world.execute(&["--task_group", &group.to_string()]);
    let err = stderr(&output);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(3), "[a] out\n"), "{err}");
    assert!(err.contains("TASK_KILLED") && err.contains("[b]  Command exited with status 3"), "{err}");

    let group = json!({ "tasks": [task("a", LIVES, json!({})), task("b", LIVES, json!({}))] });
    let mut running = world.spawn_execute("group", &["--task_group", &group.to_string()]);
    eventually("both run", || (running.log().matches("TASK_RUNNING").count() == 2).then_some(()));
    running.signal("INT");
    assert_eq!(running.wait().code(), Some(130), "{}", running.log());
    assert_eq!(running.log().matches("TASK_KILLED").count(), 2, "{}", running.log());
    world.end();
}

#[test]
fn a_group_is_killed_whole_before_its_guest_is_there_and_ends_with_its_slave() {
    let mut world = World::with_slave("group-stop", &[]);
    let mut framework = Framework::subscribe(&world);
    framework.launch_group("early", living(&["x", "y"]));
    framework.kill("y");
    for task in ["x", "y"] {
        let status = framework.await_state(task, "TASK_KILLED");
        assert_eq!(status["message"], "A task within the task group was killed before delivery to the executor");
    }
    framework.await_exit("early");
    world.assert_clean();
    framework.launch_group("e", living(&["a", "b"]));
    await_running(&mut framework, &["a", "b"]);
    world.slave().signal("TERM");
    for task in ["a", "b"] {
        let (_, status) = await_end(&mut framework, task);
        assert_eq!(status["state"], "TASK_KILLED", "{status}");
    }
    world.assert_clean();
    framework.teardown();

    // One that is killed itself leaves nothing either, of a framework that does not checkpoint.
    world.start_slave(&[]);
    let mut framework = Framework::subscribe(&world);
    framework.launch_group("again", living(&["c"]));
    await_running(&mut framework, &["c"]);
    world.slave().signal("KILL");
    eventually("the guest is gone", || world.vms().is_empty().then_some(()));
    drop(framework);
    world.start_slave(&[]);
    world.end();
}

/// Launches a group, has something of it killed, and gives what became of both tasks. Nothing is left, and the slave goes on.
fn killed(name: &str, kill: impl Fn(&World, &[String], &str)) -> Vec<Value> {
    let world = World::with_slave(name, &[]);
    let mut framework = Framework::subscribe(&world);
    framework.launch_group("e", living(&["a", "b"]));
    let (containers, parent) = await_running(&mut framework, &["a", "b"]);
    kill(&world, &containers, &parent);
    let ends = ["a", "b"].map(|task| await_end(&mut framework, task).1);
    framework.await_exit("e");
    world.assert_clean();
    assert!(!world.domains().contains(&format!("mesos-{parent}")));
    framework.teardown();
    world.end();
    ends.to_vec()
}

/// Kills the child that drives a container.
fn kill_child(world: &World, container: &str) {
    let directory = world.path(&format!("run/containers/{container}"));
    let children = processes(&directory);
    let child = children.iter().find(|line| line.contains("vm-container")).unwrap_or_else(|| panic!("{children:?}"));
    signal_pid(child.split(':').next().expect("pid").parse().expect("pid"), "KILL");
}

fn states(ends: &[Value]) -> Vec<String> {
    ends.iter().map(|status| text(&status["state"])).collect()
}

#[test]
fn a_task_whose_child_is_killed_has_failed_and_its_group_goes_with_it() {
    let ends = killed("group-child", |world, containers, _| kill_child(world, &containers[0]));
    assert_eq!(states(&ends), ["TASK_FAILED", "TASK_KILLED"], "{ends:?}");
}

#[test]
fn when_the_child_of_the_guest_is_killed_all_tasks_in_it_have_failed() {
    let ends = killed("group-holder", |world, _, parent| kill_child(world, parent));
    assert_eq!(states(&ends), ["TASK_FAILED", "TASK_FAILED"], "{ends:?}");
}

#[test]
fn when_the_guest_dies_all_tasks_in_it_have_failed() {
    let ends = killed("group-qemu", |_, _, parent| {
        let pid = fs::read_to_string(format!("/run/libvirt/qemu/mesos-{parent}.pid")).expect("pid file");
        signal_pid(pid.trim().parse().expect("pid"), "KILL");
    });
    assert_eq!(states(&ends), ["TASK_FAILED", "TASK_FAILED"], "{ends:?}");
}
