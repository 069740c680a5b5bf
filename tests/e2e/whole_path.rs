//! From a command line to TASK_FINISHED.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use super::support::*;

#[test]
fn one_command_brings_up_everything_runs_in_a_guest_and_leaves_nothing() {
    let world = World::new("demo");
    let output = Command::new(BINARY)
        .args(["execute", "--master=local", "--isolation=vm", "--vm_network=mesos"])
        .arg(format!("--vm_dir={}", world.path("vm")))
        .arg(format!("--vm_image_dir={IMAGES}"))
        .arg("--command=uname -a; hostname; cat /proc/cmdline; cat /sys/class/dmi/id/sys_vendor")
        .stdin(Stdio::null())
        .output()
        .expect("execute");
    let (out, err) = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    assert!(out.starts_with("Linux "), "{out}");
    assert!(out.contains("QEMU"), "{out}");
    let host = run("hostname", &[]);
    assert!(!out.lines().any(|line| line == host.trim()), "ran on the host: {out}");
    let places: Vec<Option<usize>> =
        ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"].iter().map(|state| err.find(state)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{err}");
    for step in ["overlay", "boot", "address", "ssh", "run"] {
        assert!(err.contains(step), "no step {step}:\n{err}");
    }
    world.end();
}

#[test]
fn five_tasks_at_once_run_in_five_domains_of_their_own() {
    let world = World::with_slave("five", &["--resources=cpus:5;mem:1280"]);
    let gate = format!("{GATE}; hostname; cat /sys/class/net/*/address");
    let tasks: Vec<Running> = (0..5)
        .map(|number| {
            let name = format!("five{number}");
            let args = ["--resources=cpus:1;mem:128", "--name", &name, "--command", &gate];
            world.spawn_execute(&name, &args)
        })
        .collect();
    for task in &tasks {
        task.await_log("TASK_RUNNING");
    }
    let vms = world.await_vms(5);
    let mut macs = BTreeSet::new();
    let mut overlays = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    let leases = virsh(&["net-dhcp-leases", "mesos"]);
    for vm in &vms {
        let xml = virsh(&["dumpxml", &format!("mesos-{vm}")]);
        let between = |from: &str| {
            let rest = xml.split(from).nth(1).unwrap_or_default();
            rest.split('\'').next().unwrap_or_default().to_string()
        };
        let mac = between("<mac address='");
        let lease = leases.lines().find(|line| line.contains(&mac)).expect("lease");
        addresses.extend(lease.split_whitespace().find(|word| word.contains('/')).map(str::to_string));
        overlays.insert(between("<source file='"));
        macs.insert(mac);
    }
    assert_eq!((macs.len(), overlays.len(), addresses.len()), (5, 5, 5), "{macs:?} {overlays:?} {addresses:?}");
    assert_measured(&world, &vms, &addresses);
    vms.iter().for_each(|vm| world.open_gate(vm));
    for mut task in tasks {
        assert!(task.wait().success(), "{}", task.log());
    }
    world.end();
}

/// Operators see a QEMU of its own behind each container, with the machine's limits, the guest's address, and what a boot takes.
fn assert_measured(world: &World, vms: &[String], addresses: &BTreeSet<String>) {
    let seen = world.slave_answers("/containers");
    let seen = seen.as_array().expect("an array");
    let mut pids = BTreeSet::new();
    for container in seen {
        let (statistics, status) = (&container["statistics"], &container["status"]);
        assert!(vms.iter().any(|vm| container["container_id"] == vm.as_str()), "{container}");
        assert_eq!(
            (statistics["cpus_limit"].as_f64(), statistics["mem_limit_bytes"].as_u64()),
            (Some(1.0), Some(128 << 20))
        );
        let resident = statistics["mem_rss_bytes"].as_u64().expect("memory");
        assert!((20 << 20..2 << 30).contains(&resident), "{statistics}");
        let user = statistics["cpus_user_time_secs"].as_f64().expect("time");
        assert!((0.1..600.0).contains(&user), "{statistics}");
        let address = status["network_infos"][0]["ip_addresses"][0]["ip_address"].as_str().expect("an address");
        assert!(addresses.iter().any(|leased| leased.split('/').next() == Some(address)), "{address} of {addresses:?}");
        let pid = status["executor_pid"].as_u64().expect("a pid");
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).expect("QEMU");
        let guest = format!("guest=mesos-{}", container["container_id"].as_str().expect("an id"));
        assert!(String::from_utf8_lossy(&arguments).contains(&guest), "{pid}");
        pids.insert(pid);
    }
    assert_eq!((seen.len(), pids.len()), (vms.len(), vms.len()), "{pids:?}");
    let monitored = world.slave_answers("/slave(1)/monitor/statistics");
    assert_eq!(monitored.as_array().map(Vec::len), Some(vms.len()));
}

#[test]
fn more_tasks_than_fit_wait_for_offers_and_all_finish() {
    let world = World::with_slave("queue", &["--resources=cpus:1;mem:256"]);
    let tasks: Vec<Running> = (0..3)
        .map(|number| {
            let name = format!("queue{number}");
            world.spawn_execute(&name, &["--resources=cpus:1;mem:128", "--command", "echo done"])
        })
        .collect();
    for mut task in tasks {
        assert!(task.wait().success(), "{}", task.log());
    }
    world.end();
}

#[test]
fn a_task_without_a_vm_runs_as_a_process_of_the_host() {
    let world = World::with_slave("process", &["--isolation=process"]);
    let output = world.execute(&["--command=echo hello; hostname; exit 3"]);
    let out = stdout(&output);
    assert_eq!(output.status.code(), Some(3), "{out}\n{}", stderr(&output));
    assert!(out.starts_with("hello\n") && out.contains(run("hostname", &[]).trim()), "{out}");
    world.end();
}

#[test]
fn a_task_runs_as_its_user_who_exists_in_the_guest_alone() {
    let world = World::with_slave("user", &[]);
    let output = world.execute(&["--user=mesos", "--command=id -un; pwd; touch mine; stat -c %U mine"]);
    let out = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(out.lines().next(), Some("mesos"));
    assert_eq!(out.lines().last(), Some("mesos"));
    let output = world.execute(&["--user=nosuchuser", "--command=true"]);
    let err = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("TASK_FAILED") && err.contains("nosuchuser") && err.contains("default"), "{err}");
    world.end();
}

#[test]
fn a_script_finds_the_descriptors_below_dev_that_udev_makes_elsewhere() {
    let world = World::with_slave("dev", &[]);
    let script =
        "bash -c 'cat <(echo substituted)'; echo piped | cat /dev/stdin; echo said | tee /dev/stderr >/dev/null";
    let output = world.execute(&[&format!("--command={script}")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "substituted\npiped\n", "{}", stderr(&output));
    assert!(stderr(&output).contains("said"), "{}", stderr(&output));
    world.end();
}

#[test]
fn a_task_that_needs_more_memory_than_its_guest_has_is_told_of_as_of_a_limit() {
    let world = World::with_slave("memory", &[]);
    let output = world.execute(&["--resources=cpus:1;mem:96", "--command=tail /dev/zero"]);
    let err = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("TASK_FAILED") && err.contains("Memory limit exceeded"), "{err}");
    world.end();
}

#[test]
fn a_small_task_gets_the_images_smallest_memory_and_its_cpus_rounded_up() {
    let world = World::with_slave("size", &[]);
    let output = world.execute(&["--resources=cpus:1.5;mem:32", "--command=nproc; grep MemTotal /proc/meminfo"]);
    let out = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(out.lines().next(), Some("2"), "{out}");
    world.end();
}

#[test]
fn the_images_files_are_never_touched() {
    let facts = || {
        run(
            "sh",
            &[
                "-c",
                &format!("cd {IMAGES}/default && stat -c '%n %u %g %a %s %Y' * && sha256sum disk.qcow2 vmlinuz initrd"),
            ],
        )
    };
    let before = facts();
    let world = World::with_slave("image", &[]);
    let output = world.execute(&["--command=echo x > /etc/changed; sync"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    world.end();
    assert_eq!(before, facts());
}

#[test]
fn a_slave_whose_master_is_not_there_waits_for_it() {
    let world = World::new("nomaster");
    let command = world.slave_command(&["--master=127.0.0.1:1", "--isolation=process"]);
    let mut slave = Running::start("slave", command, world.dir.join("slave.log"));
    slave.await_log("cannot be reached");
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", slave.pid())).expect("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
    };
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(ticks() - before < 10, "it spins");
    assert_eq!(slave.log().matches("cannot be reached").count(), 1, "{}", slave.log());
    assert!(!slave.has_ended());
    drop(slave);
    world.end();
}
