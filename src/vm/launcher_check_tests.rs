//! The checks of a launcher, run by the shells of this machine.

use std::fs;
use std::process::Stdio;

use super::tests::{Guest, shells};
use super::*;

/// A guest whose task waits for its end, with this check.
fn with_check(shell: &[&'static str], program: Program) -> Guest {
    let guest = Guest::new(shell, |launcher| {
        launcher.program = Program::Shell("echo ready; sleep 600".into());
        launcher.environment = vec![("A".into(), "the task's".into())];
        launcher.checks =
            vec![Job { name: "health", environment: vec![("A".into(), "the 'check''s'".into())], program }];
    });
    guest.start();
    guest.await_line("ready");
    guest
}

#[test]
fn a_check_runs_beside_the_task_in_its_sandbox_with_its_own_environment() {
    for shell in shells() {
        let guest = with_check(&shell, Program::Shell("echo \"$A\" in \"$(pwd)\"; cat; exit 7".into()));
        assert_eq!(parse_check(&guest.verb(&["check", "health"])), Ok(7), "{shell:?}");
        let expected = format!("the 'check''s' in {}\n", guest.sandbox().display());
        assert_eq!(guest.read("stderr"), expected, "{shell:?}");
        assert_eq!(guest.read("stdout"), "ready\n", "{shell:?}");
        let exec = Program::Exec {
            file: "sh".into(),
            arguments: ["sh", "-c", "exit $#", "x", "1"].map(String::from).to_vec(),
        };
        assert_eq!(parse_check(&with_check(&shell, exec).verb(&["check", "health"])), Ok(1), "{shell:?}");
    }
}

#[test]
fn a_check_that_is_killed_says_so_and_one_that_is_not_there_is_not_found() {
    let killed = with_check(&["/bin/sh"], Program::Shell("kill -9 $$".into()));
    assert_eq!(parse_check(&killed.verb(&["check", "health"])), Ok(137));
    let missing = Program::Exec { file: "/no/such/program".into(), arguments: vec![] };
    assert_eq!(parse_check(&with_check(&["/bin/sh"], missing).verb(&["check", "health"])), Ok(127));
}

#[test]
fn a_check_whose_output_has_nowhere_to_go_is_run_all_the_same() {
    let guest = with_check(&["/bin/sh"], Program::Shell("echo lost".into()));
    fs::remove_file(guest.sandbox().join("stderr")).expect("stderr");
    fs::create_dir(guest.sandbox().join("stderr")).expect("stderr");
    assert_eq!(parse_check(&guest.verb(&["check", "health"])), Ok(0));
}

#[test]
fn a_check_is_ended_with_all_that_it_started_and_the_task_is_not() {
    for shell in shells() {
        let script = "setsid sleep 600 & echo $! >child; echo $$ >check; sleep 600";
        let guest = with_check(&shell, Program::Shell(script.into()));
        let mut running =
            guest.command(&["check", "health"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("check");
        let pid = |name: &str| loop {
            match fs::read_to_string(guest.sandbox().join(name)) {
                Ok(pid) if pid.ends_with('\n') => break pid.trim().to_string(),
                _ => std::thread::yield_now(),
            }
        };
        let pids = [pid("child"), pid("check")];
        assert!(guest.verb(&["end-check", "health"]).is_success(), "{shell:?}");
        running.wait().expect("check");
        let is_running = |pid: &String| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        assert!(!pids.iter().any(is_running), "{shell:?}");
        assert!(is_running(&guest.start().pid.to_string()), "{shell:?}");
        assert!(guest.verb(&["end-check", "health"]).is_success(), "there is none any more");
    }
}
