//! Whatever goes wrong ends in a terminal update that says what to do, leaves nothing, and the slave goes on.

use std::fs;

use super::support::*;

/// A copy of the default image (hard links, but for image.conf) that a test may spoil.
fn own_image(world: &World, change: impl Fn(String) -> String) -> String {
    let (from, to) = (format!("{IMAGES}/default"), world.path("images/default"));
    fs::create_dir_all(&to).expect("image directory");
    for file in names(from.as_ref()) {
        if file != "image.conf" {
            fs::copy(format!("{from}/{file}"), format!("{to}/{file}")).expect("copy");
        }
    }
    let conf = fs::read_to_string(format!("{from}/image.conf")).expect("image.conf");
    fs::write(format!("{to}/image.conf"), change(conf)).expect("image.conf");
    format!("--vm_image_dir={}", world.path("images"))
}

#[test]
fn a_command_that_is_not_found_fails_with_127_and_the_next_task_works() {
    let world = World::with_slave("notfound", &[]);
    let output = world.execute(&["--command=no-such-command-anywhere"]);
    assert_eq!(output.status.code(), Some(127), "{}", stderr(&output));
    assert_failed(&world, &output, &["status 127", "not found"]);
    assert_works(&world);
    world.end();
}

#[test]
fn a_command_that_a_signal_kills_fails_and_names_it() {
    let world = World::with_slave("signal", &[]);
    let output = world.execute(&["--command=kill -KILL $$"]);
    assert_eq!(output.status.code(), Some(137), "{}", stderr(&output));
    assert_failed(&world, &output, &["signal Killed"]);
    world.end();
}

#[test]
fn a_guest_that_powers_itself_off_fails_its_task() {
    let world = World::with_slave("poweroff", &[]);
    let output = world.execute(&["--command=poweroff -f; sleep 600"]);
    assert_failed(&world, &output, &["guest"]);
    world.end();
}

#[test]
fn a_guest_that_panics_fails_its_task_and_says_so() {
    let world = World::with_slave("panic", &[]);
    let output = world.execute(&["--command=echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; sleep 600"]);
    assert_failed(&world, &output, &["panic"]);
    assert!(!world.sandbox_files("console.log").is_empty());
    world.end();
}

#[test]
fn a_qemu_that_is_killed_fails_its_task() {
    let world = World::with_slave("qemukill", &[]);
    let mut task = world.spawn_execute("task", &["--command=sleep 600"]);
    task.await_log("TASK_RUNNING");
    let vm = world.await_vms(1).remove(0);
    let pid = fs::read_to_string(format!("/run/libvirt/qemu/mesos-{vm}.pid")).expect("pid file");
    signal_pid(pid.trim().parse().expect("pid"), "KILL");
    assert!(!task.wait().success());
    assert!(task.log().contains("TASK_FAILED"), "{}", task.log());
    world.end();
}

#[test]
fn an_image_that_is_gone_fails_the_task_and_names_the_image() {
    let mut world = World::new("noimage");
    let images = own_image(&world, |conf| conf);
    world.start_master();
    world.start_slave(&[&images]);
    fs::rename(world.path("images/default"), world.path("images/moved")).expect("rename");
    let output = world.execute(&["--command=true"]);
    assert_failed(&world, &output, &["image default", &world.path("images")]);
    fs::rename(world.path("images/moved"), world.path("images/default")).expect("rename");
    assert_works(&world);
    world.end();
}

#[test]
fn a_network_that_is_inactive_fails_the_task_and_names_the_command() {
    let network = Network::new("e2einactive", 31, &dhcp(31));
    let world = World::with_slave("inactive", &["--vm_network=e2einactive"]);
    virsh(&["net-destroy", "e2einactive"]);
    let output = world.execute(&["--command=true"]);
    assert_failed(&world, &output, &["e2einactive", "net-start"]);
    virsh(&["net-start", "e2einactive"]);
    assert_works(&world);
    world.end();
    drop(network);
}

#[test]
fn a_guest_that_gets_no_address_fails_its_task_within_the_boot_timeout() {
    let network = Network::new("e2enodhcp", 33, &dhcp(33));
    let rule = |verb: &str| {
        run("iptables", &["-w", verb, "INPUT", "-i", "vt33", "-p", "udp", "--dport", "67", "-j", "DROP"]);
    };
    rule("-I");
    let flags = ["--vm_network=e2enodhcp", "--vm_boot_timeout=15secs"];
    let world = World::with_slave("nolease", &flags);
    let start = std::time::Instant::now();
    let output = world.execute(&["--command=true"]);
    rule("-D");
    assert_failed(&world, &output, &["--vm_boot_timeout", "e2enodhcp"]);
    assert!(start.elapsed().as_secs() < 120, "{:?}", start.elapsed());
    world.end();
    drop(network);
}

#[test]
fn a_guest_that_cannot_boot_fails_its_task_with_the_kernels_words() {
    let mut world = World::new("noroot");
    let images = own_image(&world, |conf| conf.replace("root=/dev/vda", "root=/dev/nosuch"));
    world.start_master();
    world.start_slave(&[&images, "--vm_boot_timeout=60secs"]);
    let output = world.execute(&["--command=true"]);
    assert_failed(&world, &output, &["panicked", "console.log"]);
    world.end();
}

#[test]
fn a_guest_whose_sshd_never_answers_fails_its_task_within_the_boot_timeout() {
    let network = Network::new("e2enossh", 32, &dhcp(32));
    let rule = |verb: &str| {
        run("iptables", &["-w", verb, "OUTPUT", "-d", "10.99.32.0/24", "-p", "tcp", "--dport", "22", "-j", "DROP"]);
    };
    rule("-I");
    let world = World::with_slave("nossh", &["--vm_network=e2enossh", "--vm_boot_timeout=45secs"]);
    let output = world.execute(&["--command=true"]);
    rule("-D");
    assert_failed(&world, &output, &["ssh", "--vm_boot_timeout"]);
    world.end();
    drop(network);
}

#[test]
fn a_guest_that_refuses_the_key_fails_its_task_and_says_which() {
    let mut world = World::new("key");
    let images = own_image(&world, |conf| conf.replace("provision=fw_cfg", "provision=none"));
    let key = world.path("key");
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key]);
    world.start_master();
    world.start_slave(&[&images, &format!("--vm_ssh_key={key}"), "--vm_boot_timeout=3mins"]);
    let output = world.execute(&["--command=true"]);
    assert_failed(&world, &output, &["key", "--vm_ssh_key"]);
    world.end();
}

#[test]
fn a_domain_that_libvirt_refuses_fails_its_task_with_libvirts_reason() {
    let world = World::with_slave("refused", &["--resources=cpus:1;mem:4000000"]);
    let output = world.execute(&["--resources=cpus:1;mem:3000000", "--command=true"]);
    assert_failed(&world, &output, &["memory"]);
    world.end();
}

/// A small disk of its own for the world's sandboxes.
struct Disk(String);

impl Disk {
    fn mount(world: &World, size: &str) -> Disk {
        let at = world.path("work");
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=755"), "mesos-e2e", &at]);
        Disk(at)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l", &self.0]);
    }
}

#[test]
fn a_host_disk_that_is_full_ends_the_task_with_words_that_say_so() {
    let mut world = World::new("diskfull");
    let disk = Disk::mount(&world, "2m");
    world.start_master();
    world.start_slave(&[]);
    let output = world.execute(&["--command=seq 1 6800000 | head -c 8388608"]);
    let err = stderr(&output);
    let end = err.lines().find(|line| line.contains("TASK_FINISHED")).unwrap_or_default();
    assert!(end.contains("stdout cannot be written on the host: No space left"), "{err}");
    assert!(output.stdout.len() < 2 << 20 && output.stdout.starts_with(b"1\n2\n"), "{}", output.stdout.len());
    world.assert_clean();
    let filled = world.sandbox_files("stdout");
    fs::remove_file(filled.first().expect("stdout")).expect("remove");
    assert_works(&world);
    drop(disk);
    world.end();
}

#[test]
fn files_that_do_not_fit_on_the_hosts_disk_are_told_of() {
    let mut world = World::new("diskfiles");
    let disk = Disk::mount(&world, "2m");
    world.start_master();
    world.start_slave(&[]);
    let output = world.execute(&["--command=head -c 8388608 /dev/urandom >large; echo done"]);
    let err = stderr(&output);
    assert!(err.contains("disk of --work_dir full"), "{err}");
    let large = world.sandbox_files("large");
    large.iter().for_each(|file| fs::remove_file(file).expect("remove"));
    assert_works(&world);
    drop(disk);
    world.end();
}
