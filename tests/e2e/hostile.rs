//! Bytes that would break out of a shell, a path or a parser.

use std::fs;

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
fn hostile_task_ids_are_only_names_or_refused() {
    let world = World::with_slave("ids", &[]);
    let output = world.execute(&["--name", "it's $(touch /tmp/mesos-pwned);`x` \"q\"", "--command=echo ok"]);
    assert_eq!(stdout(&output), "ok\n", "{}", stderr(&output));
    let output = world.execute(&["--name", "../../../../tmp/mesos-pwned", "--command=echo ok"]);
    assert!(output.status.code() != Some(0) || stdout(&output) == "ok\n", "{}", stderr(&output));
    assert!(!fs::exists("/tmp/mesos-pwned").expect("stat"));
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
