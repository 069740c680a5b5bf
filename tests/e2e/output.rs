//! Output: whole, in order, while it is written.

use std::process::Stdio;

use super::support::*;

#[test]
fn fifty_megabytes_arrive_whole_and_in_order() {
    let world = World::with_slave("fifty", &[]);
    let output = world.execute(&["--command=seq 1 6800000 | head -c 52428800"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(output.stdout.len(), 52_428_800);
    let expected =
        std::process::Command::new("sh").args(["-c", "seq 1 6800000 | head -c 52428800"]).output().expect("seq");
    assert!(output.stdout == expected.stdout, "the bytes differ");
    world.end();
}

#[test]
fn output_comes_while_the_command_runs_and_stays_apart_from_stderr() {
    let world = World::with_slave("stream", &[]);
    let mut command = world.execute_command(&["--command=echo first; echo oops >&2; sleep 600"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("execute");
    let first = lines(child.stdout.take().expect("stdout")).next();
    assert_eq!(first.as_deref(), Some("first"));
    let errors: Vec<String> = {
        signal_pid(child.id(), "INT");
        lines(child.stderr.take().expect("stderr")).collect()
    };
    assert!(errors.iter().any(|line| line == "oops"), "{errors:?}");
    child.wait().expect("wait");
    world.end();
}

#[test]
fn bytes_that_are_no_text_arrive_as_they_are() {
    let world = World::with_slave("bytes", &[]);
    let output = world.execute(&["--command=printf '\\377\\000\\200ab\\r\\n'"]);
    assert_eq!(output.stdout, b"\xff\x00\x80ab\r\n", "{}", stderr(&output));
    world.end();
}
