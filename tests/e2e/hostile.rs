//! Bytes that would break out of a shell, a path or a parser.

use std::fs;

use serde_json::json;

use super::scheduler::{Scheduler, text};
use super::support::*;

const NASTY: &str =
    "a'b\"c$(touch /tmp/mesos-pwned)`touch /tmp/mesos-pwned`;touch /tmp/mesos-pwned\n../$HOME \\ \t*?[x]&|<>#~é";

#[test]
fn hostile_environment_and_command_arrive_unchanged_and_nothing_runs_on_the_host() {
    let world = World::with_slave("env", &[]);
    let long = "x'\"$;\n".repeat(4096 / 6);
    let env = format!("NASTY={NASTY}");
    let env_long = format!("LONG={long}");
    let command = format!("printf %s \"$NASTY\"; printf %s \"$LONG\"; printf %s '{}'", NASTY.replace('\'', "'\\''"));
    let output = world.execute(&["--env", &env, "--env", &env_long, "--command", &command]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), format!("{NASTY}{long}{NASTY}"));
    assert!(!fs::exists("/tmp/mesos-pwned").expect("stat"));
    world.end();
}

#[test]
fn a_hostile_user_is_refused_and_nothing_runs() {
    let world = World::with_slave("users", &["--resources=cpus:8;mem:4096"]);
    for user in [
        "-oProxyCommand=touch /tmp/mesos-pwned",
        "root; touch /tmp/mesos-pwned",
        "$(touch /tmp/mesos-pwned)",
        "../root",
        "a\nb",
    ] {
        let output = world.execute(&["--user", user, "--command=true"]);
        assert_ne!(output.status.code(), Some(0), "{user}");
        let err = stderr(&output);
        assert!(err.contains("user"), "{user}: {err}");
    }
    assert!(!fs::exists("/tmp/mesos-pwned").expect("stat"));
    world.end();
}

#[test]
fn hostile_task_ids_are_only_names() {
    let world = World::with_slave("ids", &[]);
    let mut scheduler = Scheduler::subscribe(&world.master_address, "root");
    let id = "it's $(exit 9);`exit 9`; exit 9; \"q\" &|<>#~*?[x] é";
    scheduler.launch(id, json!({ "value": "printf %s \"$MESOS_EXECUTOR_ID\"; pwd" }));
    let status = scheduler.await_end();
    assert_eq!(status["state"], "TASK_FINISHED", "{status}");
    assert_eq!(text(&status["task_id"]["value"]), id);
    let written = world.sandbox_files("stdout");
    assert_eq!(written.len(), 1);
    let out = fs::read_to_string(&written[0]).expect("stdout");
    let sandbox = written[0].parent().expect("sandbox").display();
    assert_eq!(out, format!("{id}{sandbox}\n"));
    assert!(!fs::exists("/tmp/mesos-pwned").expect("stat"));
    scheduler.teardown();
    world.end();
}

#[test]
fn task_ids_that_are_no_names_are_refused() {
    let world = World::with_slave("badids", &["--isolation=process"]);
    let mut scheduler = Scheduler::subscribe(&world.master_address, "root");
    let long = "x".repeat(4096);
    for id in ["../../../../tmp/mesos-pwned", "..", "a\nb", "a/b", "", long.as_str()] {
        scheduler.launch(id, json!({ "value": "touch /tmp/mesos-pwned" }));
        let status = scheduler.await_status();
        assert_eq!(status["state"], "TASK_ERROR", "{id:?}: {status}");
        assert!(!text(&status["message"]).is_empty(), "{id:?}: {status}");
    }
    assert!(!fs::exists("/tmp/mesos-pwned").expect("stat"));
    scheduler.teardown();
    world.end();
}

#[test]
fn four_kibibytes_of_anything_as_user_are_refused() {
    let world = World::with_slave("longuser", &[]);
    let long = NASTY.repeat(4096 / NASTY.len());
    let mut scheduler = Scheduler::subscribe(&world.master_address, &long);
    scheduler.launch("t", json!({ "value": "touch /tmp/mesos-pwned" }));
    let status = scheduler.await_end();
    assert_eq!(status["state"], "TASK_FAILED", "{status}");
    assert!(text(&status["message"]).contains("user"), "{status}");
    assert!(!fs::exists("/tmp/mesos-pwned").expect("stat"));
    scheduler.teardown();
    world.end();
}

#[test]
fn what_lies_in_the_guests_sandbox_does_the_host_no_harm() {
    let world = World::with_slave("sandbox", &[]);
    let command = "echo kept > kept; mkdir -p deep/er; echo deep > deep/er/file; ln -s /etc/passwd link; ln -s / rootdir; \
                   mkfifo pipe; mknod dev b 8 0; truncate -s 1T sparse; chmod 4755 kept; mkdir d; ln -s /tmp d/out";
    let output = world.execute(&["--resources=cpus:1;mem:128;disk:64", "--command", command]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let kept = world.sandbox_files("kept");
    assert_eq!(kept.len(), 1);
    let sandbox = kept[0].parent().expect("sandbox");
    assert_eq!(fs::read_to_string(&kept[0]).expect("kept"), "kept\n");
    assert_eq!(fs::read_to_string(sandbox.join("deep/er/file")).expect("file"), "deep\n");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&kept[0]).expect("kept"));
    assert_eq!(mode & 0o7000, 0);
    for bad in ["link", "rootdir", "pipe", "dev", "sparse", "d/out"] {
        assert!(fs::symlink_metadata(sandbox.join(bad)).is_err(), "{bad} came back");
    }
    world.end();
}
