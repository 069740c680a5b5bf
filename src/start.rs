//! From flags to a running slave: checks, directories, address, master; then the loop.

mod error;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

use crate::api::{Files, History};
use crate::checkpoint;
use crate::credential::Credential;
use crate::detector::{self, Detector};
use crate::event_loop::{EventLoop, Streams, now};
use crate::fetcher;
use crate::flags::{self, Flags, Master};
use crate::isolation::{self, Kind, vm::VmConfig};
use crate::libprocess::{Guests, Network, Pid};
use crate::local::Embedded;
use crate::messages::container::vm::GuestIsolation;
use crate::messages::mesos;
use crate::poll::Signals;
use crate::preflight;
use crate::random::Random;
use crate::resources::{self, Host};
use crate::slave::{Authentication, Config, Slave, resources_info};
use crate::token::Key;
use crate::vm::image::Image;

pub use error::StartError;

/// Our process' name in PIDs: Mesos' agent is the first `slave` of its OS process.
const SLAVE: &str = "slave(1)";
/// A master's name in PIDs.
const MASTER: &str = "master";
/// An address that nobody has (RFC 5737), for the question which of ours leads to others.
const ELSEWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 9);
/// Where the embedded master listens, if the port is free.
const LOCAL_MASTER_PORT: u16 = 5050;

/// Longest wait before the registration with the embedded master.
const LOCAL_BACKOFF: Duration = Duration::from_millis(10);

/// Runs a slave until it is told to end.
///
/// # Errors
/// What keeps it from starting; nothing of it is left then.
pub fn run(flags: &Flags) -> Result<(), StartError> {
    for warning in &flags.warnings {
        log::warn!("{warning}");
    }
    log::info!("{}, speaking Mesos {}", flags::version(), crate::slave::MESOS_VERSION);
    let kind = isolation_kind(flags)?;
    let signals = Signals::block(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1])
        .map_err(|error| StartError::System("cannot block signals", error))?;
    let random = Random::from_system().map_err(|error| StartError::System("cannot read /dev/urandom", error))?;
    make_directory(&flags.work_dir.join("slaves"))?;
    make_directory(&flags.runtime_dir.join("containers"))?;
    let _lock = lock(&flags.runtime_dir)?;
    let settling = Instant::now();
    isolation::settle::settle(&flags.runtime_dir, &kind);
    let recovery = settling.elapsed();
    let guests = find_guests(&kind)?;
    let (detector, towards, embedded) = find_master(flags, &random)?;
    let network = listen(flags, guests)?;
    let pid = own_pid(flags, &network, towards);
    let executor_pid = executor_pid(&pid, &network, guests);
    let config = configure(flags, pid, executor_pid, *network.address().ip())?;
    log::info!(
        "listening on {}, known as {}; resources: {}",
        network.address(),
        config.pid,
        resources::resources_text(&config.info.resources)
    );
    let slave = with_reservations(Slave::new(config, random), &flags.work_dir)?;
    let mut files = Files::new();
    let slaves = flags.work_dir.join("slaves");
    files.attach(&slaves.to_string_lossy(), slaves.clone());
    let shell = EventLoop {
        slave,
        detector,
        network,
        isolation: isolation::create(kind, flags.runtime_dir.clone()),
        fetcher: fetcher::settings(&flags.fetcher),
        files,
        streams: Streams::default(),
        guests,
        complaints: Default::default(),
        signals,
        embedded,
        history: History::new(),
        meter: Default::default(),
        recovery,
        fetches: Default::default(),
        flags: shown_flags(flags),
        start_time: now().unix,
        over: false,
        failure: None,
    };
    shell.run().map_err(|error| StartError::System("cannot go on", error))
}

/// With `vm`, everything that VMs will need is checked before anybody hears of us.
fn isolation_kind(flags: &Flags) -> Result<Kind, StartError> {
    if flags.isolation == flags::Isolation::Process {
        return Ok(Kind::Process);
    }
    let report = preflight::check(flags);
    for warning in &report.warnings {
        log::warn!("{}; to mend it: {}", warning.what, warning.mend);
    }
    if !report.is_good() {
        return Err(StartError::Preflight(report));
    }
    let vm = &flags.vm;
    let image = Image::load(&vm.image_dir.join(&vm.image)).map_err(|error| StartError::Resources(error.to_string()))?;
    make_directory(&vm.dir.join("vms"))?;
    log::info!(
        "virtual machines: {} on {}, network {}, image {}",
        report.accelerator.as_str_name(),
        vm.uri,
        vm.network,
        image.directory.display()
    );
    Ok(Kind::Vm(Box::new(VmConfig {
        uri: vm.uri.clone(),
        network: vm.network.clone(),
        vm_dir: vm.dir.clone(),
        image_dir: vm.image_dir.clone(),
        image: vm.image.clone(),
        image_memory_mb: image.min_memory_mb,
        accelerator: report.accelerator,
        guest_isolation: match vm.guest_isolation {
            flags::GuestIsolation::Full => GuestIsolation::Full,
            flags::GuestIsolation::Address => GuestIsolation::Address,
            flags::GuestIsolation::None => GuestIsolation::None,
        },
        ssh_user: vm.ssh_user.clone(),
        ssh_key: vm.ssh_key.clone(),
        boot_timeout: vm.boot_timeout,
        path_map: flags.path_map.clone(),
    })))
}

fn make_directory(path: &Path) -> Result<(), StartError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(|error| StartError::Directory(path.to_path_buf(), error))
}

/// One slave per runtime directory: a second would take the first one's containers for leftovers. The lock ends with the process.
fn lock(runtime_dir: &Path) -> Result<Flock<fs::File>, StartError> {
    let path = runtime_dir.join("lock");
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| StartError::Directory(path, error))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| StartError::Taken(runtime_dir.to_path_buf()))
}

/// How the master is found, an address on the way to it, and the master itself if it is our own.
fn find_master(
    flags: &Flags,
    random: &Random,
) -> Result<(Detector, Option<SocketAddrV4>, Option<Embedded>), StartError> {
    let (random, now) = (random.clone(), now().instant);
    let detector = match &flags.master {
        Master::Local => {
            let embedded = Embedded::start(LOCAL_MASTER_PORT, Stdio::inherit()).map_err(StartError::Embedded)?;
            let address = embedded.address();
            log::info!("started the embedded master on {address}; it is for this one machine");
            return Ok((Detector::fixed(master_pid(address), random), Some(address), Some(embedded)));
        }
        Master::Address { host, port } => {
            let address = resolve(host, *port)?;
            return Ok((Detector::fixed(master_pid(address), random), Some(address), None));
        }
        Master::ZooKeeper(zookeeper) => Detector::zookeeper(zookeeper.clone(), random, now),
        Master::File(path) => Detector::file(path.clone(), random, now),
    };
    Ok((detector, towards(&flags.master)?, None))
}

/// What can be known now about the way to a master that is yet to be found: it is where ZooKeeper is.
fn towards(master: &Master) -> Result<Option<SocketAddrV4>, StartError> {
    match master {
        Master::Local => Ok(None),
        Master::Address { host, port } => Ok(resolve(host, *port).ok()),
        Master::ZooKeeper(zookeeper) => Ok(zookeeper.servers.iter().find_map(|(host, port)| resolve(host, *port).ok())),
        Master::File(path) => match detector::file::read(path) {
            Ok(master) => towards(&master),
            Err(error) if error.may_pass() => Ok(None),
            Err(error) => Err(StartError::MasterFile(path.clone(), error)),
        },
    }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddrV4, StartError> {
    let found = (host, port).to_socket_addrs();
    let mut found = found.map_err(|error| StartError::Resolve(host.to_string(), Some(error)))?;
    let address = found.find_map(|address| match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    });
    address.ok_or_else(|| StartError::Resolve(host.to_string(), None))
}

fn master_pid(address: SocketAddrV4) -> Pid {
    Pid { id: MASTER.to_string(), address }
}

/// Where guests will be: the libvirt network's gateway is this host to them. The network is made if it is ours to make.
fn find_guests(kind: &Kind) -> Result<Option<Guests>, StartError> {
    let Kind::Vm(config) = kind else { return Ok(None) };
    let found = isolation::vm::guests(config).map_err(|reason| StartError::Guests(config.network.clone(), reason))?;
    Ok(Some(found))
}

/// On `--ip` and, where that does not include it, on the gateway: executors in guests speak to us there.
fn listen(flags: &Flags, guests: Option<Guests>) -> Result<Network, StartError> {
    let address = SocketAddrV4::new(flags.ip.unwrap_or(Ipv4Addr::UNSPECIFIED), flags.port);
    let mut network = Network::listen(address).map_err(|error| StartError::Listen(address, error))?;
    network.set_guests(guests);
    if let Some(gateway) = guests.map(|guests| guests.gateway)
        && !address.ip().is_unspecified()
        && *address.ip() != gateway
    {
        let address = SocketAddrV4::new(gateway, network.address().port());
        network.add_listener(address).map_err(|error| StartError::Listen(address, error))?;
    }
    Ok(network)
}

/// The address that executors are told: what others are told, or the gateway of the guests, whose side of this host it is.
fn executor_pid(pid: &Pid, network: &Network, guests: Option<Guests>) -> Pid {
    let gateway = guests.map(|guests| SocketAddrV4::new(guests.gateway, network.address().port()));
    Pid { address: gateway.unwrap_or(pid.address), ..pid.clone() }
}

/// The address that others are told: the advertised one, the one listened on, or the one that leads to the master; if that is not
/// known yet, the one that leads out into the world.
fn own_pid(flags: &Flags, network: &Network, towards: Option<SocketAddrV4>) -> Pid {
    let ip = flags
        .advertise_ip
        .or(flags.ip.filter(|ip| !ip.is_unspecified()))
        .or_else(|| address_towards(towards.unwrap_or(ELSEWHERE)))
        .unwrap_or(Ipv4Addr::LOCALHOST);
    let port = flags.advertise_port.unwrap_or_else(|| network.address().port());
    Pid { id: SLAVE.to_string(), address: SocketAddrV4::new(ip, port) }
}

/// The local address of the route to a peer. Nothing is sent: a UDP socket is only asked for its address.
fn address_towards(peer: SocketAddrV4) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(peer).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(address) => Some(*address.ip()),
        SocketAddr::V6(_) => None,
    }
}

fn configure(flags: &Flags, pid: Pid, executor_pid: Pid, listens_on: Ipv4Addr) -> Result<Config, StartError> {
    let bad = |error: resources::ResourceError| StartError::Resources(error.to_string());
    let named = resources::parse(flags.resources.as_deref().unwrap_or_default()).map_err(bad)?;
    let with_ports = flags.isolation == flags::Isolation::Process;
    let host = Host::detect(&flags.work_dir);
    let host = if with_ports { host } else { beyond_overhead(host, flags.vm.memory_overhead) };
    let offered = resources::complete(named, host, with_ports);
    let attributes = flags.attributes.as_deref().unwrap_or_default();
    let hostname = flags.hostname.clone().or_else(own_hostname);
    let info = mesos::SlaveInfo {
        hostname: hostname.unwrap_or_else(|| pid.address.ip().to_string()),
        port: Some(i32::from(pid.address.port())),
        resources: offered.into_vec(),
        attributes: resources::parse_attributes(attributes).map_err(bad)?,
        checkpoint: Some(true),
        ..Default::default()
    };
    Ok(Config {
        pid,
        executor_pid,
        info,
        work_dir: flags.work_dir.clone(),
        switch_user: flags.switch_user,
        authentication: authentication(flags)?,
        registration_backoff: match flags.master {
            // There is no herd to spread out.
            Master::Local => flags.registration_backoff_factor.min(LOCAL_BACKOFF),
            Master::Address { .. } | Master::ZooKeeper(_) | Master::File(_) => flags.registration_backoff_factor,
        },
        shutdown_grace: flags.executor_shutdown_grace_period,
        recovery_timeout: flags.recovery_timeout,
        // A guest's executor is told its guest's address; a process of this host listens where we do.
        libprocess_ip: (with_ports && !listens_on.is_unspecified()).then_some(listens_on),
        executor_environment: executor_environment(flags),
        token_key: flags.jwt_secret_key.as_deref().map(Key::load).transpose().map_err(StartError::Key)?,
        authenticate_executors: flags.authenticate_http_executors,
        guests: flags.isolation == flags::Isolation::Vm,
        registration_timeout: flags.executor_registration_timeout,
    })
}

/// What the operator wants in every executor's environment: the homes under the names that executors of 2012 look for, then the
/// variables of his own, which win.
fn executor_environment(flags: &Flags) -> Vec<(String, String)> {
    let homes = [
        ("MESOS_HOME", &flags.mesos_home),
        ("MESOS_HADOOP_HOME", &flags.fetcher.hadoop_home),
        ("HADOOP_HOME", &flags.fetcher.hadoop_home),
        ("SPARK_HOME", &flags.spark_home),
    ];
    let homes = homes.iter().filter_map(|(name, home)| Some((name.to_string(), as_seen(flags, home.as_ref()?))));
    homes.chain(flags.executor_environment_variables.iter().cloned()).collect()
}

/// A path of the host's as executors know it.
fn as_seen(flags: &Flags, path: &Path) -> String {
    let path = path.to_string_lossy();
    match flags.isolation {
        flags::Isolation::Vm => flags.path_map.path(&path).unwrap_or_else(|| path.into_owned()),
        flags::Isolation::Process => path.into_owned(),
    }
}

/// What VMs take beyond their guests' memory is not there to be offered. How many there will be is not known; one for each CPU is
/// what fills a host.
fn beyond_overhead(host: Host, overhead: u64) -> Host {
    Host { memory: host.memory.saturating_sub(overhead.saturating_mul(host.cpus)), ..host }
}

/// The slave with what masters have reserved of it.
fn with_reservations(slave: Slave, work_dir: &Path) -> Result<Slave, StartError> {
    let path = resources_info(work_dir);
    let failed = |why: String, mend: &str| {
        let text = format!("{why}; {mend}, or remove {} and with it all dynamic reservations", path.display());
        StartError::Resources(text)
    };
    let kept = checkpoint::read_resources(&path)
        .map_err(|error| failed(format!("cannot read {}: {error}", path.display()), "see to it"))?;
    slave.with_checkpointed(kept).map_err(|why| failed(why, "give --resources that contain them"))
}

fn authentication(flags: &Flags) -> Result<Option<Authentication>, StartError> {
    let Some(path) = &flags.credential else {
        return Ok(None);
    };
    let credential = Credential::load(path).map_err(StartError::Credential)?;
    log::info!("the master is to know us as principal '{}'", credential.principal());
    Ok(Some(Authentication {
        credential,
        timeout_min: flags.authentication_timeout_min,
        timeout_max: flags.authentication_timeout_max,
        backoff: flags.authentication_backoff_factor,
    }))
}

fn own_hostname() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}

/// The flags that `/flags` and `/state` show, as Mesos prints them.
fn shown_flags(flags: &Flags) -> BTreeMap<String, String> {
    let isolation = match flags.isolation {
        flags::Isolation::Process => "process",
        flags::Isolation::Vm => "vm",
    };
    let shown = [
        ("isolation", isolation.to_string()),
        ("work_dir", flags.work_dir.display().to_string()),
        ("runtime_dir", flags.runtime_dir.display().to_string()),
        ("port", flags.port.to_string()),
        ("webui_port", flags.webui_port.to_string()),
        ("switch_user", flags.switch_user.to_string()),
        ("fetcher_cache_dir", flags.fetcher.cache_dir.display().to_string()),
        ("fetcher_cache_size", flags::values::format_bytes(flags.fetcher.cache_size)),
        ("fetcher_stall_timeout", flags::values::format_duration(flags.fetcher.stall_timeout)),
        ("resources", flags.resources.clone().unwrap_or_default()),
        ("attributes", flags.attributes.clone().unwrap_or_default()),
        ("authenticate_http_executors", flags.authenticate_http_executors.to_string()),
        ("vm_uri", flags.vm.uri.clone()),
        ("vm_network", flags.vm.network.clone()),
        ("vm_guest_isolation", flags.vm.guest_isolation.text().to_string()),
        ("vm_image", flags.vm.image.clone()),
        ("vm_path_map", flags.path_map.to_string()),
        ("vm_boot_timeout", flags::values::format_duration(flags.vm.boot_timeout)),
    ];
    shown.map(|(name, value)| (name.to_string(), value)).into()
}

/// Sends everything that goes to stderr, our log and our children's, to `<log_dir>/mesos-slave.log`. The result is what stderr was.
///
/// # Errors
/// When the file cannot be opened for appending.
pub fn redirect_log(log_dir: &Path) -> Result<fs::File, StartError> {
    make_directory(log_dir)?;
    let path = log_dir.join("mesos-slave.log");
    let file = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .map_err(|error| StartError::Directory(path, error))?;
    let terminal = io::stderr().as_fd().try_clone_to_owned();
    let terminal = terminal.map_err(|error| StartError::System("cannot redirect stderr", error))?;
    nix::unistd::dup2_stderr(&file).map_err(|error| StartError::System("cannot redirect stderr", error.into()))?;
    Ok(terminal.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::scratch::Scratch;

    fn slave(resources: &str) -> Slave {
        let resources = resources::parse(resources).expect("resources");
        let pid = "slave(1)@127.0.0.1:5051".parse().expect("pid");
        let info = mesos::SlaveInfo { resources, ..Default::default() };
        let config = Config { info, ..Config::of_tests(pid) };
        Slave::new(config, Random::from_seed(1))
    }

    #[test]
    fn reservations_that_were_kept_come_back_or_are_the_reason_not_to_start() {
        let scratch = Scratch::new();
        let path = resources_info(scratch.path());
        let reserved = mesos::Resource {
            role: Some("a".into()),
            reservation: Some(Default::default()),
            ..resources::scalar("cpus", 1.0)
        };
        checkpoint::write_resources(&path, &[reserved]).expect("written");
        let total = with_reservations(slave("cpus:2"), scratch.path()).expect("compatible").total_resources();
        assert_eq!(total.to_string(), "cpus:1; cpus(reservations: [(DYNAMIC,a)]):1");
        let told = |slave| with_reservations(slave, scratch.path()).expect_err("refused").to_string();
        let error = told(slave("mem:64"));
        assert!(
            error.contains("incompatible with agent resources mem:64") && error.contains("give --resources"),
            "{error}"
        );
        fs::write(&path, "x").expect("damaged");
        let error = told(slave("cpus:2"));
        assert!(error.contains("the file is damaged") && error.contains(&*path.to_string_lossy()), "{error}");
    }

    #[test]
    fn a_home_is_told_as_it_is_where_executors_run() {
        let mut flags = Flags {
            isolation: flags::Isolation::Vm,
            mesos_home: Some("/opt/mesos".into()),
            spark_home: Some("/opt/spark-1".into()),
            executor_environment_variables: vec![("OWN".into(), "/opt/mesos".into())],
            ..Default::default()
        };
        for text in ["/opt/mesos:/usr/lib/mesos", "/opt/spark:/s"] {
            flags.path_map.add(text.parse().expect("mapping")).expect("added");
        }
        let told = |flags: &Flags| {
            executor_environment(flags).into_iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>()
        };
        assert_eq!(told(&flags), ["MESOS_HOME=/usr/lib/mesos", "SPARK_HOME=/opt/spark-1", "OWN=/opt/mesos"]);
        flags.isolation = flags::Isolation::Process;
        assert_eq!(told(&flags)[0], "MESOS_HOME=/opt/mesos");
    }

    #[test]
    fn the_overhead_of_a_vm_for_each_cpu_is_not_offered() {
        let host = Host { cpus: 4, memory: 16 << 30, disk: 1 << 40 };
        assert_eq!(beyond_overhead(host, 64 << 20).memory, (16 << 30) - (256 << 20));
        assert_eq!(beyond_overhead(host, u64::MAX).memory, 0);
        assert_eq!(beyond_overhead(host, 0), host);
    }
}
