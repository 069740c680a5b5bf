//! Checks, health checks and the time to complete, in guests; ports also without one.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use super::scheduler::{Scheduler, text};
use super::support::*;

fn shell(script: &str) -> Value {
    json!({ "value": script })
}

/// A check of this type with these particulars, run at once and each half second; a guest on a busy host has time for it.
fn check(kind: &str, mut particulars: Value) -> Value {
    particulars["type"] = json!(kind);
    particulars["delay_seconds"] = json!(0.0);
    particulars["interval_seconds"] = json!(0.5);
    particulars["timeout_seconds"] = json!(120.0);
    particulars
}

fn command_check(script: &str) -> Value {
    check("COMMAND", json!({ "command": { "command": shell(script) } }))
}

/// The next status, which must be that of a running task.
fn running(scheduler: &mut Scheduler) -> Value {
    let status = scheduler.await_status();
    assert_eq!(status["state"], "TASK_RUNNING", "{status}");
    status
}

fn begins(scheduler: &mut Scheduler) -> Value {
    let starting = scheduler.await_status();
    assert_eq!(starting["state"], "TASK_STARTING", "{starting}");
    running(scheduler)
}

#[test]
fn a_command_check_that_comes_to_pass_is_told_of_as_it_changes() {
    let world = World::with_slave("check", &[]);
    let mut scheduler = Scheduler::subscribe(&world.master_address, "mesos");
    let script = format!("echo \"$(id -un) in $(pwd)\" >&2; {GATE}");
    let more = json!({ "check": command_check("echo \"$(id -un) in $(pwd)\" >&2; [ -e passes ]") });
    scheduler.launch_with("t", shell(&script), more);
    let first = begins(&mut scheduler);
    assert_eq!(first["check_status"], json!({ "type": "COMMAND", "command": {} }));
    let failing = running(&mut scheduler);
    assert_eq!(failing["check_status"], json!({ "type": "COMMAND", "command": { "exit_code": 1 } }));
    assert_eq!(failing["reason"], "REASON_TASK_CHECK_STATUS_UPDATED");
    assert_eq!(failing["container_status"]["network_infos"], first["container_status"]["network_infos"]);
    let vm = world.await_vms(1).remove(0);
    let stderr = world.sandbox_files("stderr").remove(0);
    let sandbox = stderr.parent().expect("sandbox").display().to_string();
    eventually("the check passes", || world.in_guest(&vm, &format!("touch '{sandbox}/passes'")));
    let passing = running(&mut scheduler);
    assert_eq!(passing["check_status"]["command"], json!({ "exit_code": 0 }));
    world.open_gate(&vm);
    let end = scheduler.await_status();
    assert_eq!((&end["state"], &end["check_status"]["command"]), (&json!("TASK_FINISHED"), &json!({})));
    let said = std::fs::read_to_string(&stderr).expect("stderr");
    assert!(said.lines().count() > 2 && said.lines().all(|line| line == format!("mesos in {sandbox}")), "{said}");
    scheduler.teardown();
    world.end();
}

#[test]
fn a_task_that_fails_its_health_check_twice_is_killed_as_mesos_does_it() {
    let world = World::with_slave("health", &[]);
    let mut scheduler = Scheduler::subscribe_to_killing(&world.master_address, "root");
    let mut health = check("COMMAND", json!({ "command": shell("[ ! -e sick ]") }));
    health["consecutive_failures"] = json!(2);
    health["grace_period_seconds"] = json!(0.0);
    let more =
        json!({ "health_check": health, "kill_policy": { "grace_period": { "nanoseconds": 1_000_000_000u64 } } });
    scheduler.launch_with("t", shell(&format!("trap '' TERM; {GATE}; touch sick; while :; do sleep 1; done")), more);
    assert!(begins(&mut scheduler)["healthy"].is_null());
    let mut healthy = || {
        let status = running(&mut scheduler);
        assert_eq!(status["reason"], "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED", "{status}");
        status["healthy"].as_bool().expect("healthy")
    };
    assert!(healthy());
    world.open_gate(&world.await_vms(1)[0]);
    assert_eq!([healthy(), healthy()], [false, false]);
    let killing = scheduler.await_status();
    assert_eq!((&killing["state"], &killing["healthy"]), (&json!("TASK_KILLING"), &Value::Null), "{killing}");
    let killed = scheduler.await_status();
    assert_eq!((&killed["state"], &killed["healthy"]), (&json!("TASK_KILLED"), &json!(false)), "{killed}");
    // A guest that is emulated on a busy host may not die in time of KILL, and goes with its machine.
    assert!(killed["reason"].is_null() && text(&killed["message"]).starts_with("Command terminated"), "{killed}");
    scheduler.teardown();
    world.end();
}

#[test]
fn a_guest_s_ports_are_asked_by_tcp_and_http() {
    let world = World::with_slave("ports", &[]);
    let mut scheduler = Scheduler::subscribe(&world.master_address, "root");
    let mut health = check("TCP", json!({ "tcp": { "port": 8080 } }));
    health["grace_period_seconds"] = json!(600.0);
    let more =
        json!({ "health_check": health, "check": check("HTTP", json!({ "http": { "port": 8080, "path": "/a" } })) });
    // busybox' server leaves a connection open on which nothing is asked.
    let serve =
        "mkdir -p /tmp/www/a; echo hello >/tmp/www/a/index.html; exec busybox httpd -f -p 127.0.0.1:8080 -h /tmp/www";
    scheduler.launch_with("t", shell(&format!("{GATE}; {serve}")), more);
    begins(&mut scheduler);
    let vm = world.await_vms(1).remove(0);
    world.open_gate(&vm);
    let (first, second) = (running(&mut scheduler), running(&mut scheduler));
    let is_health = |status: &Value| status["reason"] == "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED";
    let last = json!({ "type": "HTTP", "http": { "status_code": 200 } });
    assert_ne!(is_health(&first), is_health(&second));
    assert_eq!((&second["healthy"], &second["check_status"]), (&json!(true), &last), "{second}");
    // A redirection (/a to /a/) has been followed; now there is nothing behind it.
    eventually("the page is gone", || world.in_guest(&vm, "rm -r /tmp/www/a"));
    let gone = running(&mut scheduler);
    assert_eq!(gone["check_status"]["http"], json!({ "status_code": 404 }), "{gone}");
    scheduler.kill("t");
    assert_eq!(scheduler.await_end()["state"], "TASK_KILLED");
    scheduler.teardown();
    world.end();
}

#[test]
fn a_check_that_hangs_has_failed_and_nothing_of_it_is_left_in_the_guest() {
    let world = World::with_slave("hangs", &[]);
    let mut scheduler = Scheduler::subscribe(&world.master_address, "root");
    let hangs = "[ -e hang ] || exit 0; echo x >>runs; setsid sleep 6543 & sleep 6543";
    let mut check = command_check(hangs);
    check["timeout_seconds"] = json!(4.0);
    let more = json!({ "check": check });
    scheduler.launch_with("t", shell(GATE), more);
    begins(&mut scheduler);
    // On a busy host one that does not hang may be too slow as well, and is told of as that.
    let mut comes_to = |command: Value| while running(&mut scheduler)["check_status"]["command"] != command {};
    comes_to(json!({ "exit_code": 0 }));
    let vm = world.await_vms(1).remove(0);
    let sandbox = world.sandbox_files("stderr").remove(0).parent().expect("sandbox").display().to_string();
    eventually("it is to hang", || world.in_guest(&vm, &format!("touch '{sandbox}/hang'")));
    comes_to(json!({}));
    eventually("it has run some times more", || {
        let runs = world.in_guest(&vm, &format!("wc -l <'{sandbox}/runs'"))?;
        (runs.trim().parse::<u32>().ok()? >= 5).then_some(())
    });
    // Two sleeps and the shell that started them, of the last run and perhaps of the one that is just being ended.
    let count = "c=0; for p in /proc/[0-9]*/cmdline; do if grep -q 6543 $p; then c=$((c+1)); fi; done; echo $c";
    let found = eventually("the guest answers", || world.in_guest(&vm, count));
    // Beside them the shell that counts and, of the launcher, those that wait for the check.
    assert!(found.trim().parse::<u32>().expect("a number") <= 8, "{found}");
    world.open_gate(&vm);
    assert_eq!(scheduler.await_end()["state"], "TASK_FINISHED");
    scheduler.teardown();
    world.end();
}

#[test]
fn a_task_that_takes_longer_than_it_may_has_failed_for_that() {
    let world = World::with_slave("most", &[]);
    let mut scheduler = Scheduler::subscribe_to_killing(&world.master_address, "root");
    let more = json!({ "max_completion_time": { "nanoseconds": 2_000_000_000u64 } });
    scheduler.launch_with("t", shell("trap '' TERM; while :; do sleep 1; done"), more);
    let began = begins(&mut scheduler);
    let end = scheduler.await_status();
    let time = |status: &Value| status["timestamp"].as_f64().expect("a timestamp");
    assert!(time(&end) - time(&began) > 1.5, "{began} {end}");
    assert_eq!(
        (&end["state"], &end["reason"]),
        (&json!("TASK_FAILED"), &json!("REASON_MAX_COMPLETION_TIME_REACHED")),
        "{end}"
    );
    scheduler.teardown();
    world.end();
}

#[test]
fn without_a_guest_the_ports_are_the_host_s_and_a_check_that_makes_no_sense_is_an_error() {
    let world = World::with_slave("host", &["--isolation=process"]);
    let mut scheduler = Scheduler::subscribe(&world.master_address, "root");
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let port = listener.local_addr().expect("address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            // One that asks nothing is the TCP check.
            if BufReader::new(&stream).read_line(&mut String::new()).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(b"HTTP/1.1 418 I'm a teapot\r\n\r\n");
            }
        }
    });
    let more = json!({
        "health_check": check("TCP", json!({ "tcp": { "port": port } })),
        "check": check("HTTP", json!({ "http": { "port": port } })),
    });
    scheduler.launch_with("t", shell("exec sleep 600"), more);
    begins(&mut scheduler);
    let (_, both) = (running(&mut scheduler), running(&mut scheduler));
    assert_eq!((&both["healthy"], &both["check_status"]["http"]["status_code"]), (&json!(true), &json!(418)), "{both}");
    scheduler.kill("t");
    assert_eq!(scheduler.await_end()["state"], "TASK_KILLED");
    scheduler.launch_with("u", shell("true"), json!({ "check": { "type": "TCP" } }));
    let refused = scheduler.await_end();
    assert_eq!(
        (&refused["state"], &refused["reason"]),
        (&json!("TASK_ERROR"), &json!("REASON_TASK_INVALID")),
        "{refused}"
    );
    assert_eq!(refused["message"], "Task uses invalid check: Expecting 'tcp' to be set for TCP check");
    scheduler.teardown();
    world.end();
}
