//! The example of `docs/executors.md`, as it stands there: a scheduler on this side of the slave, an executor in the guest.

use std::fs;
use std::process::Command;

use super::{PYTHON, PYTHON_GUEST};
use crate::support::*;

const DOCUMENT: &str = include_str!("../../../docs/executors.md");

/// The first block of Python that begins with this comment.
fn example(name: &str) -> String {
    let begin = format!("```python\n# {name}");
    let at = DOCUMENT.find(&begin).unwrap_or_else(|| panic!("no {name} in docs/executors.md"));
    let code = &DOCUMENT[at + "```python\n".len()..];
    code[..code.find("```").expect("the end of the example")].to_string()
}

fn example_runs(world: World) {
    for name in ["executor.py", "scheduler.py"] {
        fs::write(world.dir.join(name), example(name)).expect("an example");
    }
    let modules = std::env::var("MESOS_TEST_PYTHON").expect("MESOS_TEST_PYTHON: run the tests by scripts/test");
    let mut command = Command::new(PYTHON);
    command.env("PYTHONPATH", modules).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(&world.dir);
    command.args(["scheduler.py", &world.master_address, "executor.py"]);
    let mut scheduler = Running::start("scheduler", command, world.dir.join("scheduler.log"));
    let status = scheduler.wait();
    let log = scheduler.log();
    assert!(status.success(), "{log}");
    let expected = [
        "one TASK_RUNNING given b'of one'",
        "two TASK_RUNNING given b'of two'",
        "three TASK_RUNNING given b'of three'",
        "the executor says echo: hello",
        "one TASK_KILLED as asked for",
        "the executor says echo: finish two",
        "two TASK_FINISHED as told",
    ];
    for line in expected {
        assert!(log.lines().any(|each| each == line), "no {line:?} in\n{log}");
    }
    let said = || {
        let files = world.sandbox_files("stdout");
        files.iter().map(|file| fs::read_to_string(file).expect("stdout")).collect::<String>()
    };
    eventually("the executor has shut down", || said().contains("shutting down").then_some(()));
    assert!(said().contains("registered with"), "{}", said());
    world.end();
}

#[test]
fn a_pymesos_scheduler_has_its_tasks_run_by_a_pymesos_executor_in_a_guest() {
    example_runs(World::with_slave("pymesos", PYTHON_GUEST));
}

#[test]
fn a_pymesos_scheduler_has_its_tasks_run_by_a_pymesos_executor_on_the_host() {
    example_runs(World::with_slave("pymesos-host", super::PROCESS));
}
