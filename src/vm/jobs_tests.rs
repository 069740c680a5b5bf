//! What jobs are made of: paths as the guest has them, and those of a container in another's VM.

use super::*;
use crate::container::scratch::Scratch;
use crate::messages::container::{Joined, PathMapping};
use crate::messages::mesos::{CheckInfo, TaskInfo, check_info};
use std::os::unix::fs::PermissionsExt;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 122, 9);

/// A container `t` in the VM of `holder`, with an image that provisions keys.
fn joined(scratch: &Scratch, command: &str) -> Plan {
    let (files, image, sandbox) =
        (scratch.path().join("vms/t"), scratch.path().join("image"), scratch.path().join("sandbox"));
    for directory in [&files, &image, &sandbox] {
        fs::create_dir_all(directory).expect("directory");
    }
    for name in ["disk.qcow2", "vmlinuz", "initrd"] {
        fs::write(image.join(name), "").expect("file");
    }
    let conf = "ssh_user=root\nkernel=vmlinuz\ninitrd=initrd\nprovision=fw_cfg\n";
    fs::write(image.join("image.conf"), conf).expect("image.conf");
    let task = TaskInfo {
        command: Some(CommandInfo { value: Some(command.into()), ..Default::default() }),
        ..Default::default()
    };
    let spec = Spec {
        container_id: "t".into(),
        task: Some(task),
        joins: Some(Joined { container_id: "holder".into(), address: Some(ADDRESS.to_string()) }),
        sandbox: sandbox.to_string_lossy().into_owned(),
        ..Default::default()
    };
    Plan {
        directory: RuntimeDirectory::new(scratch.path().join("run")),
        spec,
        vm: container::Vm::default(),
        image: Image::load(&image).map_err(|error| error.to_string()),
        files,
        owner: (0, 0),
    }
}

#[test]
fn a_guest_is_known_by_its_holder_s_keys_and_reached_by_a_connection_of_ones_own() {
    let scratch = Scratch::new();
    let plan = joined(&scratch, "true");
    let ssh = plan.ssh(ADDRESS).expect("ssh");
    let vms = scratch.path().join("vms");
    assert!(ssh.strict, "the holder has made the keys");
    assert_eq!((ssh.key, ssh.known_hosts), (vms.join("holder/key"), vms.join("holder/known_hosts")));
    assert_eq!((ssh.alias.as_str(), ssh.control_path), ("mesos-holder", vms.join("t/ssh")));
    assert_eq!((plan.domain().as_str(), plan.console()), ("mesos-holder", vms.join("holder/console.log")));
    assert_eq!(plan.state(), "/run/mesos-slave/t", "the guest keeps each container's state apart");
}

#[test]
fn the_launcher_is_written_for_root_only_and_kept_in_the_task_s_own_sandbox() {
    let scratch = Scratch::new();
    joined(&scratch, "echo a word").write_launcher().expect("launcher");
    for path in [scratch.path().join("vms/t/launcher"), scratch.path().join("sandbox/launcher.sh")] {
        assert!(fs::read_to_string(&path).expect("launcher").contains("echo a word"));
        assert_eq!(fs::metadata(&path).expect("launcher").permissions().mode() & 0o777, 0o600);
    }
    assert!(!scratch.path().join("vms/holder").exists());
}

#[test]
fn a_command_that_cannot_be_run_or_an_image_that_is_not_there_is_known_beforehand() {
    let scratch = Scratch::new();
    let failure = joined(&scratch, "a\0b").write_launcher().expect_err("no launcher");
    assert_eq!((failure.cause, failure.text.contains("NUL")), (Cause::Fatal, true));
    let plan = Plan { image: Err("guest image x not found".into()), ..joined(&scratch, "true") };
    let failure = plan.write_launcher().expect_err("no image");
    assert_eq!((failure.cause, failure.text.as_str()), (Cause::Fatal, "guest image x not found"));
}

#[test]
fn the_way_to_a_task_s_sandbox_in_the_guest_is_open_to_every_user() {
    let scratch = Scratch::new();
    let mut plan = joined(&scratch, "true");
    plan.spec.sandbox = "/w/runs/holder/containers/t".into();
    plan.write_launcher().expect("launcher");
    let script = plan.launch(&plan.ssh(ADDRESS).expect("ssh")).expect("script");
    // mkdir gives the mode to the last directory, and the umask to those above it.
    let words = "umask 022; mkdir -p -m 0750 '/run/mesos-slave/t' '/w/runs/holder/containers/t'";
    assert!(script.text.starts_with(words), "{}", script.text);
    assert!(script.text.contains("address=192.168.122.9"));
}

#[test]
fn a_command_and_its_check_name_the_guests_paths_and_the_spec_stays_as_the_framework_has_it() {
    let command = |shell: bool, value: &str, arguments: &[&str]| CommandInfo {
        shell: Some(shell),
        value: Some(value.into()),
        arguments: arguments.iter().map(|argument| argument.to_string()).collect(),
        ..Default::default()
    };
    let spec = Spec {
        path_map: vec![PathMapping { host: "/opt/spark".into(), guest: "/S".into() }],
        task: Some(TaskInfo {
            command: Some(command(true, "/opt/spark/run", &[])),
            check: Some(CheckInfo {
                r#type: Some(check_info::Type::Command as i32),
                command: Some(check_info::Command { command: command(true, "test -e /opt/spark/up", &[]) }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let map = PathMap::of(&spec);
    let run = spec.command().map(|command| program(command, &map));
    assert_eq!(run, Some(Ok(Program::Shell("/S/run".into()))));
    let checks = checks::jobs(&spec).expect("checks");
    assert_eq!(checks[0].program, Program::Shell("test -e /S/up".into()));
    let exec = program(&command(false, "/opt/spark/run", &["/opt/spark/run", "--to=/opt/spark", "/opt/spark2"]), &map);
    let arguments = ["/S/run", "--to=/S", "/opt/spark2"].map(String::from).to_vec();
    assert_eq!(exec, Ok(Program::Exec { file: "/S/run".into(), arguments }));
}
