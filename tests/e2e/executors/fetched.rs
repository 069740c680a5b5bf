//! Executors that are fetched (URIs), on the host and in a guest, and one that cannot be had.

use std::fs;

use serde_json::json;

use super::framework::{Framework, with_command};
use super::{PROCESS, PYTHON_GUEST};
use crate::support::*;

/// The executor comes in an archive by a path of the host; a second one names a file that is not there.
fn comes_by_its_uri(world: World) {
    let files = world.path("files");
    fs::create_dir(&files).expect("directory");
    fs::write(format!("{files}/executor.py"), include_str!("executor.py")).expect("executor");
    run("tar", &["-C", &files, "-czf", &format!("{files}/executor.tgz"), "executor.py"]);
    let mut framework = Framework::subscribe(&world);

    let mut own = with_command("fetched", "exec /usr/bin/python3 executor.py stream");
    own["command"]["uris"] = json!([{ "value": format!("{files}/executor.tgz"), "cache": true }]);
    framework.run(&own, &["a"]);
    assert_eq!(framework.ask("fetched", "hello"), "hello");
    assert_eq!(framework.ask("fetched", "run ls executor.py"), "executor.py\n");
    framework.shut_down("fetched");
    framework.await_end("a");
    framework.await_exit("fetched");

    let mut missing = with_command("missing", "true");
    missing["command"]["uris"] = json!([{ "value": format!("{files}/nothing") }]);
    framework.launch(&missing, &["b", "c"]);
    for task in ["b", "c"] {
        let (state, reason, message) = framework.await_end(task);
        assert_eq!((state.as_str(), reason.as_str()), ("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED"), "{message}");
        let start = format!("Failed to launch container: Failed to fetch '{files}/nothing': ");
        assert!(message.starts_with(&start) && message.contains("No such file or directory"), "{message}");
    }
    framework.teardown();
    world.end();
}

#[test]
fn an_executor_of_a_guest_comes_by_its_uri() {
    comes_by_its_uri(World::with_slave("fetched-vm", PYTHON_GUEST));
}

#[test]
fn an_executor_of_the_host_comes_by_its_uri() {
    comes_by_its_uri(World::with_slave("fetched", PROCESS));
}
