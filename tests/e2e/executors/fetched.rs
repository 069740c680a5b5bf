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

/// Frameworks name paths that neither the host nor the image has: what they mean is in the image, elsewhere.
#[test]
fn an_executor_is_run_by_what_its_guest_has_elsewhere() {
    let map =
        ["--vm_path_map=/opt/frameworks:/usr/bin", "--spark_home=/opt/spark:/usr/lib/spark", "--mesos_home=/opt/mesos"];
    let world = World::with_slave("pathmap", &[PYTHON_GUEST, &map].concat());
    let mut framework = Framework::subscribe(&world);
    let executor = world.path("executor.py");
    fs::write(&executor, include_str!("executor.py")).expect("executor");

    let command = "exec '/opt/frameworks/env' OWN=/opt/spark2 ./interpreter executor.py stream";
    let mut own = with_command("mapped", command);
    own["command"]["uris"] =
        json!([{ "value": executor }, { "value": "file:///opt/frameworks/python3", "output_file": "interpreter" }]);
    framework.run(&own, &["a"]);
    assert_eq!(framework.ask("mapped", "hello"), "hello");
    assert_eq!(framework.ask("mapped", "run readlink interpreter"), "/usr/bin/python3\n");
    assert_eq!(
        framework.ask("mapped", "run echo $SPARK_HOME $MESOS_HOME $OWN"),
        "/usr/lib/spark /opt/mesos /opt/spark2\n"
    );
    framework.shut_down("mapped");
    framework.await_end("a");
    framework.await_exit("mapped");
    let said = fs::read_to_string(&world.sandbox_files("stderr")[0]).expect("stderr");
    assert!(
        said.contains("URI 'file:///opt/frameworks/python3' is not fetched: the guest has it, as '/usr/bin/python3'"),
        "{said}"
    );
    assert!(world.sandbox_files("interpreter").is_empty(), "a link into the guest means nothing on the host");

    let mut missing = with_command("missing", "true");
    missing["command"]["uris"] = json!([{ "value": "/opt/frameworks/nothing" }]);
    framework.launch(&missing, &["b"]);
    let (state, reason, message) = framework.await_end("b");
    assert_eq!((state.as_str(), reason.as_str()), ("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED"), "{message}");
    let start =
        "Failed to launch container: Failed to fetch '/opt/frameworks/nothing': the guest has no /usr/bin/nothing, ";
    assert!(message.starts_with(start), "{message}");
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
