//! Children that print, hang, fork and inherit.

use super::job::JOB_OUTPUT_LIMIT;
use super::*;
use crate::container::processes;
use std::time::{Duration, Instant};

fn shell(script: &str) -> Spawn {
    Spawn::new("/bin/sh").arg("-c").arg(script)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

#[test]
fn a_job_leaves_its_status_and_both_streams() {
    let end = Job::start(shell("echo out; echo err >&2; exit 3"), soon()).and_then(Job::wait).expect("job");
    assert_eq!(end.exit, Some(Exit::Status(3)));
    assert_eq!((end.stdout.as_slice(), end.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(end.reason(), "err");
}

#[test]
fn a_job_past_its_deadline_is_killed_with_all_that_it_started() {
    let job = Job::start(shell("sleep 600 & sleep 600"), Instant::now()).expect("job");
    let group = job.pid();
    let end = job.wait().expect("job");
    assert_eq!(end.exit, None);
    assert_eq!(end.reason(), "no answer by its deadline");
    // An orphan that has died is whoever's to reap who has got it, which may take his time.
    let lives = |process: &processes::Process| process.session == group.as_raw() && !process.zombie;
    let gone = soon();
    while processes::all().iter().any(lives) {
        assert!(Instant::now() < gone, "the child's own child lives on");
        std::thread::yield_now();
    }
}

#[test]
fn more_output_than_the_limit_is_read_and_dropped() {
    let end = Job::start(shell("head -c 1000000 /dev/zero"), soon()).and_then(Job::wait).expect("job");
    assert!(end.is_success());
    assert_eq!(end.stdout.len(), JOB_OUTPUT_LIMIT);
}

#[test]
fn who_writes_without_end_does_not_keep_the_reader() {
    let (mut endless, mut kept) = (Some(io::repeat(b'x')), Vec::new());
    drain(&mut endless, &mut kept, 10);
    assert!(endless.is_some());
    assert_eq!(kept, b"xxxxxxxxxx");
}

#[test]
fn a_child_finds_its_inherited_descriptor() {
    // Children of other tests are not to hold it.
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("pipe");
    let mut child = shell("echo hello >&3").inherit(writer, 3).spawn().expect("spawn");
    let mut text = String::new();
    std::fs::File::from(reader).read_to_string(&mut text).expect("read");
    assert_eq!(text, "hello\n");
    while child.try_wait().is_none() {
        std::thread::yield_now();
    }
}

#[test]
fn a_signal_is_told_apart_from_a_status() {
    let end = Job::start(shell("kill -TERM $$"), soon()).and_then(Job::wait).expect("job");
    assert_eq!(end.exit, Some(Exit::Signal(15)));
    assert_eq!(end.reason(), "signal SIGTERM");
}
