//! Files that tasks name (URIs): fetched on the host, read by the command, in a guest and without one.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::scheduler::{Scheduler, text};
use super::support::*;

/// What is fetched, and a server on loopback for it.
fn serve(world: &World) -> (Running, String) {
    let files = world.path("files");
    fs::create_dir(&files).expect("directory");
    let script = "mkdir -p tree/deep; echo inside >tree/deep/file; ln -s deep/file tree/link; tar czf a.tar.gz tree; \
                  printf '#!/bin/sh\\necho it runs\\n' >program; echo kept >kept; echo local >local; mkdir d; echo x >d/x; \
                  tar czf evil.tgz --transform='s,^d,../evil,' -P d";
    run("sh", &["-ec", &format!("cd {files}; {script}")]);
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", &files, "0"]);
    let server = Running::start("server", command, world.dir.join("server.log"));
    let log = server.await_log(" port ");
    let port = log.split(" port ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("port");
    (server, format!("http://127.0.0.1:{port}"))
}

fn reads_its_files(world: World, user: &str) {
    let (server, url) = serve(&world);
    let mut scheduler = Scheduler::subscribe(&world.master_address, user);
    let uris = json!([
        { "value": format!("{url}/a.tar.gz") },
        { "value": format!("{url}/program"), "executable": true },
        { "value": format!("{url}/kept"), "cache": true },
        { "value": format!("{url}/kept"), "cache": true, "output_file": "sub/again" },
        { "value": world.path("files/local") },
    ]);
    let command = "cat tree/link kept sub/again local; ./program; stat -c %U local tree/deep/file; echo problem >&2; echo new >kept";
    scheduler.launch("reads", json!({ "value": command, "uris": uris }));
    let end = scheduler.await_end();
    assert_eq!(end["state"], "TASK_FINISHED", "{end}");
    let read = |name: &str| {
        let found: Vec<String> =
            world.sandbox_files(name).iter().map(|path| fs::read_to_string(path).expect("file")).collect();
        found.first().cloned().unwrap_or_else(|| panic!("no {name}"))
    };
    let out = format!("inside\nkept\nkept\nlocal\nit runs\n{user}\n{user}\n");
    assert_eq!(read("stdout"), out, "{}", read("stderr"));
    let err = read("stderr");
    assert_eq!(err.matches("fetcher] Successfully fetched all URIs").count(), 1, "{err}");
    assert!(err.ends_with("\nproblem\n"), "{err}");
    assert_eq!(read("kept"), "new\n", "what the command has changed comes back");
    for log in world.sandbox_files("vm.log") {
        let log = fs::read_to_string(log).expect("vm.log");
        assert!(log.contains(" files ") && log.contains("brought back: 1 files"), "nothing but that:\n{log}");
    }
    assert_eq!(server.log().matches("GET /kept").count(), 1, "{}", server.log());

    for (id, uri, words) in [
        ("missing", "nothing", "Error downloading resource, received HTTP return code 404"),
        ("evil", "evil.tgz", "leads out of the sandbox"),
    ] {
        let uris = json!([{ "value": format!("{url}/{uri}") }]);
        scheduler.launch(id, json!({ "value": "true", "uris": uris }));
        let end = scheduler.await_end();
        assert_eq!(
            (end["state"].as_str(), end["reason"].as_str()),
            (Some("TASK_FAILED"), Some("REASON_CONTAINER_LAUNCH_FAILED"))
        );
        let message = text(&end["message"]);
        let start = format!("Failed to launch container: Failed to fetch '{url}/{uri}': ");
        assert!(message.starts_with(&start) && message.contains(words), "{message}");
    }
    assert!(world.sandbox_files("x").is_empty());
    scheduler.teardown();
    drop(server);
    world.end();
}

#[test]
fn a_command_in_a_guest_reads_its_files_and_one_whose_files_cannot_be_had_fails() {
    reads_its_files(World::with_slave("files", &[]), "mesos");
}

#[test]
fn a_command_of_the_host_reads_its_files() {
    reads_its_files(World::with_slave("hostfiles", &["--isolation=process"]), "nobody");
}
