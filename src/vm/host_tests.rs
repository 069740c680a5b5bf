//! Tests that need a real libvirt host, so they are ignored without the feature `e2e`: `scripts/test vm::host_tests` runs them.
//!
//! Each makes a network of its own. A guest is booted only where one is needed; where it is about addresses, a veth pair
//! on the network's bridge sends the one DHCP message of a guest's that makes a lease.
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::domain;
use super::host_port::{Port, request};
use super::image::{Image, make_directory, overlay_command};
use super::keys::{Key, write_known_hosts};
use super::libvirt::{self, Libvirt};
use super::network::{Applicant, Lock, NetworkError};
use super::qemu::Qemu;
use super::worker;
use crate::container::directory::RuntimeDirectory;
use crate::container::scratch::Scratch;
use crate::messages::container::{self, Spec, VmState};
use crate::messages::mesos;
use crate::subprocess::{Job, Spawn};

const URI: &str = "qemu:///system";

/// The image that the guests of these tests boot.
fn image_directory() -> PathBuf {
    std::env::var_os("MESOS_TEST_IMAGE")
        .map_or_else(|| PathBuf::from("/var/lib/mesos-slave/images/default"), PathBuf::from)
}

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn job(spawn: Spawn) {
    let end = Job::start(spawn, Instant::now() + Duration::from_secs(120)).and_then(Job::wait).expect("job");
    assert!(end.is_success(), "{}", end.reason());
}

/// Options for dnsmasq: one of no meaning here, and the one that makes it lease without a ping.
const PINGS: &str = "no-resolv";
const NO_PING: &str = "no-ping";

/// A network of some addresses, gone when dropped.
struct TestNetwork {
    name: String,
    bridge: String,
    subnet: u8,
}

impl TestNetwork {
    fn new(subnet: u8, addresses: u8, option: &str) -> TestNetwork {
        let network = TestNetwork { name: format!("test{subnet}"), bridge: format!("virbr-t{subnet}"), subnet };
        let xml = format!(
            "<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
            <name>{}</name><forward mode='nat'/><bridge name='{}' stp='off' delay='0'/>
            <ip address='10.91.{subnet}.1' prefix='24'><dhcp><range start='10.91.{subnet}.2' end='10.91.{subnet}.{}'/></dhcp></ip>
            <dnsmasq:options><dnsmasq:option value='{option}'/></dnsmasq:options></network>",
            network.name,
            network.bridge,
            addresses + 1
        );
        let libvirt = Libvirt::connect(URI).expect("run this inside of scripts/libvirt-host exec");
        libvirt.create_network(&network.name, &xml).expect("network");
        network
    }

    fn leases(&self) -> usize {
        let libvirt = Libvirt::connect(URI).expect("libvirt");
        let network = libvirt.network(&self.name).expect("network").expect("network");
        libvirt::leases(&network, None).expect("leases").len()
    }

    fn reservations(&self) -> usize {
        let libvirt = Libvirt::connect(URI).expect("libvirt");
        let network = libvirt.network(&self.name).expect("network").expect("network");
        super::network::facts(&network, &self.name).expect("facts").hosts.len()
    }
}

impl Drop for TestNetwork {
    fn drop(&mut self) {
        run("virsh", &["-q", "-c", URI, "net-destroy", &self.name]);
    }
}

/// A container that is ready for `vm-worker start`.
struct Container {
    scratch: Scratch,
    id: String,
}

impl Container {
    fn new(network: &str, memory_mb: u64) -> Container {
        let scratch = Scratch::new();
        let id = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("uuid").trim().to_string();
        let container = Container { scratch, id };
        // QEMU's user passes through.
        fs::set_permissions(container.scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))
            .expect("mode");
        make_directory(&container.vm()).expect("the VM's directory");
        container.dir().create().expect("runtime directory");
        container.dir().write_spec(&container.spec(memory_mb)).expect("spec");
        container.dir().write_vm(&container.state(network)).expect("vm");
        container
    }

    fn vm(&self) -> PathBuf {
        self.scratch.path().join("vms").join(&self.id)
    }

    fn dir(&self) -> RuntimeDirectory {
        RuntimeDirectory::new(self.scratch.path().join("run"))
    }

    fn prepare(&self) {
        let image = Image::load(&image_directory()).expect("image");
        job(overlay_command(&image, &self.vm()));
        job(Key::Client.command(&self.vm()));
        job(Key::Host.command(&self.vm()));
        write_known_hosts(&self.vm(), &domain::name(&self.id)).expect("known_hosts");
    }

    fn spec(&self, memory_mb: u64) -> Spec {
        let mut vm = container::Vm {
            uri: URI.into(),
            directory: self.vm().to_string_lossy().into_owned(),
            image: image_directory().to_string_lossy().into_owned(),
            memory_mb,
            vcpus: 1,
            ..Default::default()
        };
        vm.set_accelerator(container::vm::Accelerator::Tcg);
        Spec {
            version: 1,
            container_id: self.id.clone(),
            slave_id: mesos::SlaveId { value: "S'<&>".into() },
            framework: mesos::FrameworkInfo {
                user: "root".into(),
                name: "test".into(),
                id: Some(mesos::FrameworkId { value: "$(touch x) ]]> \"F\"".into() }),
                ..Default::default()
            },
            executor: mesos::ExecutorInfo {
                executor_id: mesos::ExecutorId { value: "é🦀 <!-- %s".into() },
                ..Default::default()
            },
            sandbox: "/".into(),
            vm: Some(vm),
            ..Default::default()
        }
    }

    fn state(&self, network: &str) -> VmState {
        VmState {
            uri: URI.into(),
            network: network.into(),
            domain: domain::name(&self.id),
            mac: domain::random_mac().expect("mac"),
            directory: self.vm().to_string_lossy().into_owned(),
            ..Default::default()
        }
    }

    fn work(&self, operation: &str) -> Result<Vec<(&'static str, String)>, String> {
        let dir = self.dir().path().to_string_lossy().into_owned();
        worker::run(&[operation.to_string(), dir]).map_err(|error| error.to_string())
    }

    fn ssh(&self, address: &str, command: &str) -> Output {
        let file = |name: &str| self.vm().join(name).to_string_lossy().into_owned();
        let known = format!("UserKnownHostsFile={}", file("known_hosts"));
        let alias = format!("HostKeyAlias={}", domain::name(&self.id));
        let options = [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=yes",
            "KexAlgorithms=curve25519-sha256",
            &known,
            &alias,
        ];
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-i", &file("key")]);
        for option in options {
            ssh.args(["-o", option]);
        }
        ssh.arg(format!("root@{address}")).arg(command).output().expect("ssh")
    }
}

fn owners(directory: &Path) -> Vec<(PathBuf, u32, u32, u32, i64)> {
    let mut owners: Vec<_> = fs::read_dir(directory)
        .expect("image")
        .map(|entry| {
            let path = entry.expect("entry").path();
            let data = fs::metadata(&path).expect("metadata");
            (path, data.uid(), data.gid(), data.mode(), data.mtime())
        })
        .collect();
    owners.sort();
    owners
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "needs a libvirt host and boots a guest")]
fn a_vm_is_started_found_reached_by_ssh_and_leaves_nothing() {
    let network = TestNetwork::new(1, 20, PINGS);
    let image = owners(&image_directory());
    let container = Container::new(&network.name, 256);
    container.prepare();
    let begin = Instant::now();
    let started = container.work("start").expect("start");
    println!("start {:?}: {started:?}", begin.elapsed());
    assert_eq!(container.work("start").expect("start again"), started);
    assert_eq!(network.reservations(), 1);
    let state = container.dir().read_vm().expect("vm");
    assert!(Qemu::find(&state.domain).is_some_and(|qemu| Some(qemu.start_time) == state.qemu_start_time));
    assert_eq!(owners(&image_directory()), image, "while it runs");
    let lease = container.work("lease").expect("lease");
    println!("lease {:?}: {lease:?}", begin.elapsed());
    assert_eq!(lease[0], started[1], "the reserved address");
    let address = &lease[0].1;
    while TcpStream::connect_timeout(&format!("{address}:22").parse().expect("address"), Duration::from_secs(1))
        .is_err()
    {
        assert!(begin.elapsed() < Duration::from_secs(120), "no sshd");
        std::thread::yield_now();
    }
    let output = container.ssh(address, "hostname; cat /proc/meminfo | head -1; cat /proc/cpuinfo | grep -i model");
    println!("ssh {:?}: {}", begin.elapsed(), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(&domain::name(&container.id)));

    let begin = Instant::now();
    container.work("destroy").expect("destroy");
    println!("destroy {:?}", begin.elapsed());
    container.work("destroy").expect("destroy again");
    assert!(Libvirt::connect(URI).expect("libvirt").domain(&state.domain).expect("domain").is_none());
    assert_eq!((network.leases(), network.reservations()), (0, 0));
    assert!(!container.vm().exists() && Qemu::find(&state.domain).is_none());
    assert_eq!(owners(&image_directory()), image, "afterwards");
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "needs a libvirt host")]
fn more_memory_than_the_host_has_is_refused_with_advice() {
    let network = TestNetwork::new(2, 20, PINGS);
    let container = Container::new(&network.name, 1 << 40);
    container.prepare();
    let error = container.work("start").expect_err("refused");
    println!("{error}");
    container.work("destroy").expect("destroy");
    assert!(error.starts_with("libvirt refused the domain: "), "{error}");
    assert!(error.contains("ask for less mem"), "{error}");
    assert_eq!(network.reservations(), 0);
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "needs a libvirt host")]
fn two_children_at_once_never_get_the_same_address_and_the_last_is_told() {
    let network = TestNetwork::new(3, 20, PINGS);
    let libvirt = || Libvirt::connect(URI).expect("libvirt");
    let scratch = Scratch::new();
    // Every thread has a lock file of its own, like slaves with other directories: libvirt itself keeps them apart.
    let reserve = |index: usize| {
        let lock = super::network::Lock::take(&scratch.path().join(format!("lock{index}"))).expect("lock");
        let libvirt = libvirt();
        let of = super::network::ensure(&libvirt, &network.name, &lock).expect("network");
        let mac = format!("52:54:00:00:03:{index:02x}");
        claim(&of, &network, &mac, false, &lock)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20).map(|index| scope.spawn(move || reserve(index))).collect();
        threads.into_iter().map(|thread| thread.join().expect("thread")).collect()
    });
    let addresses: std::collections::HashSet<Ipv4Addr> =
        results.into_iter().map(|result| result.expect("an address").expect("a reserved one")).collect();
    assert_eq!(addresses.len(), 20);
    let error = reserve(20).expect_err("full").to_string();
    assert!(error.starts_with("all 20 addresses of network test3 are taken"), "{error}");
    for index in 0..20 {
        super::network::give_back(&libvirt(), &network.name, &format!("52:54:00:00:03:{index:02x}"), Path::new("/v"))
            .expect("give back");
    }
    assert_eq!(network.reservations(), 0);
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "needs a libvirt host")]
fn three_hundred_vms_in_a_row_have_addresses_on_a_network_of_twenty() {
    let network = TestNetwork::new(4, 20, NO_PING);
    many_in_a_row(&network, 300);
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "needs a libvirt host")]
fn reservations_and_leases_are_given_back_on_a_network_that_pings() {
    let network = TestNetwork::new(5, 4, PINGS);
    many_in_a_row(&network, 12);
}

/// The address that is claimed for a MAC.
fn claim(
    of: &virt::network::Network,
    network: &TestNetwork,
    mac: &str,
    bound: bool,
    lock: &Lock,
) -> Result<Option<Ipv4Addr>, NetworkError> {
    let applicant = Applicant { mac, directory: Path::new("/v"), bound };
    let place = super::network::claim(of, &network.name, applicant, lock)?;
    assert_eq!(place.mac, mac);
    Ok(place.address)
}

/// Claims an address, has it leased as a guest would, and gives it back, so many times.
fn many_in_a_row(network: &TestNetwork, rounds: u32) {
    let port = Port::new(network.subnet, &network.bridge);
    let scratch = Scratch::new();
    let libvirt = Libvirt::connect(URI).expect("libvirt");
    let server = Ipv4Addr::new(10, 91, network.subnet, 1);
    for round in 0..rounds {
        let [_, _, high, low] = round.to_be_bytes();
        let mac = [0x52, 0x54, 0, network.subnet, high, low];
        let text = mac.map(|byte| format!("{byte:02x}")).join(":");
        let lock = super::network::Lock::take(&scratch.path().join("lock")).expect("lock");
        let of = super::network::ensure(&libvirt, &network.name, &lock).expect("network");
        let claimed = claim(&of, network, &text, false, &lock).expect("an address");
        drop(lock);
        // Without a reservation dnsmasq would choose; the test asks for one after the other, round and round.
        let address = claimed.unwrap_or(Ipv4Addr::new(10, 91, network.subnet, 2 + (round % 20) as u8));
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            port.send(&request(mac, address, server));
            let leases = libvirt::leases(&of, Some(&text)).expect("leases");
            if let Some(lease) = super::lease::newest(&leases, &text) {
                assert_eq!(lease.address, address);
                break;
            }
            assert!(Instant::now() < deadline, "no lease in round {round}");
            std::thread::yield_now();
        }
        super::network::give_back(&libvirt, &network.name, &text, Path::new("/v")).expect("give back");
        assert_eq!((network.leases(), network.reservations()), (0, 0), "round {round}");
    }
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "needs a libvirt host")]
fn a_network_whose_leases_are_all_taken_is_told_before_the_vm_boots() {
    let network = TestNetwork::new(6, 3, NO_PING);
    let port = Port::new(network.subnet, &network.bridge);
    let scratch = Scratch::new();
    let libvirt = Libvirt::connect(URI).expect("libvirt");
    let lock = super::network::Lock::take(&scratch.path().join("lock")).expect("lock");
    let of = super::network::ensure(&libvirt, &network.name, &lock).expect("network");
    let claim = |mac: &str| claim(&of, &network, mac, false, &lock);
    let deadline = Instant::now() + Duration::from_secs(120);
    while network.leases() < 3 {
        for last in 2..=4 {
            port.send(&request(
                [0x52, 0x54, 0, 6, 0, last],
                Ipv4Addr::new(10, 91, 6, last),
                Ipv4Addr::new(10, 91, 6, 1),
            ));
        }
        assert!(Instant::now() < deadline, "no leases");
    }
    let error = claim("52:54:00:06:00:09").expect_err("full").to_string();
    assert!(error.starts_with("all 3 addresses of network test6 are taken"), "{error}");
    assert!(claim("52:54:00:06:00:03").is_ok(), "a MAC that has a lease already");
}
