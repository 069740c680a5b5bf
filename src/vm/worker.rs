//! `mesos-slave vm-worker OP …`: one operation with libvirt, in a process that whoever started it may kill at any moment.
//!
//! ```text
//! start DIR     claim an address, make and start the domain, bind it    qemu_pid=…, address=… if it is reserved
//! lease DIR     wait for the DHCP lease of the VM's MAC, until killed   address=…
//! destroy DIR   end the domain, give back lease and reservation, remove the VM's files
//! cleanup DIR   the same after a child that died, also when libvirt does not answer; leaves DIR/done. For a container that runs in
//!               another's VM: its own files, and nothing else
//! network URI NAME VM_DIR ISOLATION   check, or make, the network and the filter   bridge=… gateway=… prefix=… addresses=…
//! ```
//!
//! DIR is a container's runtime directory. What is found out is printed as `key=value` lines and written to `DIR/vm`; a failure
//! is the last line of stderr, with exit status 1. Each operation may be repeated after any that was killed half-way:
//! what has been done already is found done, and `destroy` undoes whatever part of `start` there is.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use virt::domain::Domain;

use super::domain;
use super::filter;
use super::host;
use super::image::Image;
use super::lease;
use super::leftovers;
use super::libvirt::{self, Libvirt};
use super::network::{self, Applicant, Lock, NetworkError, Place};
use super::network_xml::NetworkFacts;
use super::qemu::Qemu;
use super::worker_error::WorkerError;
use crate::container::directory::RuntimeDirectory;
use crate::messages::container::vm::GuestIsolation;
use crate::messages::container::{self, Spec, VmState};
use crate::subprocess::{Job, Spawn};

/// How long `cleanup` waits for libvirt before it does without.
const CLEANUP_PATIENCE: Duration = Duration::from_secs(10);
/// How long a killed QEMU may take to go; one with much memory takes a while.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Pauses between two looks at the leases, of which each costs 2 ms: a fortieth of what the guest has taken so far, within these.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What an operation found out, as `key=value`.
type Findings = Vec<(&'static str, String)>;

/// Runs the operation that the arguments name.
pub fn main(args: &[String]) -> ExitCode {
    match run(args) {
        Ok(findings) => {
            for (key, value) in findings {
                println!("{key}={value}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

pub(super) fn run(args: &[String]) -> Result<Findings, WorkerError> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["start", dir] => start(&RuntimeDirectory::new(dir)),
        ["lease", dir] => await_lease(&RuntimeDirectory::new(dir)),
        ["destroy", dir] => destroy(&RuntimeDirectory::new(dir)),
        ["cleanup", dir] => cleanup(&RuntimeDirectory::new(dir)),
        ["network", uri, name, vm_dir, isolation] => {
            let isolation = GuestIsolation::from_str_name(isolation).ok_or(WorkerError::Usage)?;
            check_network(uri, name, Path::new(vm_dir), isolation)
        }
        _ => Err(WorkerError::Usage),
    }
}

fn start(dir: &RuntimeDirectory) -> Result<Findings, WorkerError> {
    let spec = dir.read_spec()?;
    let vm = spec.vm.as_ref().ok_or_else(|| WorkerError::NoVm(dir.path().to_path_buf()))?;
    let mut state = dir.read_vm()?;
    let vm_dir = vm_dir(&state)?;
    let image = Image::load(Path::new(&vm.image))?;
    let libvirt = Libvirt::connect(&state.uri)?;
    leftovers::settle(&vm_dir, &libvirt)?;
    let (place, network) = claim(&libvirt, vm, &state, &vm_dir)?;
    (state.mac, state.address) = (place.mac, place.address.map(|address| address.to_string()));
    dir.write_vm(&state)?;
    let domain = create(&libvirt, &spec, vm, &state, &image)?;
    let qemu = Qemu::find(&state.domain).ok_or_else(|| WorkerError::Gone(state.domain.clone()))?;
    state.qemu_pid = Some(qemu.pid);
    state.qemu_start_time = Some(qemu.start_time);
    dir.write_vm(&state)?;
    if let Some(address) = place.address {
        bind(&libvirt, vm, &state, &domain, address, &network)?;
    }
    let mut findings = vec![("qemu_pid", qemu.pid.to_string())];
    findings.extend(state.address.map(|address| ("address", address)));
    Ok(findings)
}

fn claim(
    libvirt: &Libvirt,
    vm: &container::Vm,
    state: &VmState,
    vm_dir: &Path,
) -> Result<(Place, NetworkFacts), WorkerError> {
    let lock = Lock::take(&lock_path(vm_dir))?;
    let network = network::ensure(libvirt, &state.network, &lock)?;
    let bound = filter::name(vm.guest_isolation()).is_some();
    let applicant = Applicant { mac: &state.mac, directory: Path::new(&state.directory), bound };
    let place = network::claim(&network, &state.network, applicant, &lock)?;
    Ok((place, network::facts(&network, &state.network)?))
}

fn create(
    libvirt: &Libvirt,
    spec: &Spec,
    vm: &container::Vm,
    state: &VmState,
    image: &Image,
) -> Result<Domain, WorkerError> {
    let owner = host::qemu_user(&libvirt.capabilities()?)?;
    hand_over(Path::new(&state.directory), owner)?;
    let xml = domain::xml(spec, vm, state, image, owner);
    let refused = match libvirt.create_domain(&state.domain, &xml) {
        Ok(domain) => return Ok(domain),
        Err(refused) => refused,
    };
    // An earlier `start` that was killed had got as far as this.
    match libvirt.domain(&state.domain)? {
        Some(domain) => Ok(domain),
        None => Err(WorkerError::Refused { advice: advice(&refused.text(), vm, state), source: refused }),
    }
}

/// Binds the guest to its address, while it boots.
fn bind(
    libvirt: &Libvirt,
    vm: &container::Vm,
    state: &VmState,
    domain: &Domain,
    address: Ipv4Addr,
    network: &NetworkFacts,
) -> Result<(), WorkerError> {
    let Some(filter) = filter::reference(vm.guest_isolation(), address, network) else {
        return Ok(());
    };
    // Somebody may have removed it since the slave's start.
    if vm.guest_isolation() == GuestIsolation::Full && libvirt.filter(filter::OUR_FILTER)?.is_none() {
        define_filter(libvirt)?;
    }
    match libvirt.update_interface(domain, &domain::interface(vm, state, Some(&filter))) {
        Ok(()) => Ok(()),
        // A guest that has ended meanwhile has other reasons, which its console may tell.
        Err(_) if Qemu::find(&state.domain).is_none() => Ok(()),
        Err(source) => Err(WorkerError::Filter(source)),
    }
}

/// Two slaves may do it at the same time: then the other's is as good.
fn define_filter(libvirt: &Libvirt) -> Result<(), WorkerError> {
    let uuid = libvirt.filter(filter::OUR_FILTER).map_err(WorkerError::Filter)?;
    match libvirt.define_filter(filter::OUR_FILTER, &filter::definition(uuid.as_deref())) {
        Err(_) if uuid.is_none() && libvirt.filter(filter::OUR_FILTER)?.is_some() => Ok(()),
        result => result.map_err(WorkerError::Filter),
    }
}

/// Gives QEMU's user what it opens by itself: libvirt is told to change no file's owner.
fn hand_over(directory: &Path, owner: domain::Owner) -> Result<(), WorkerError> {
    for name in ["disk.qcow2", "key.pub", "host_key"] {
        let path = directory.join(name);
        match std::os::unix::fs::lchown(&path, Some(owner.uid), Some(owner.gid)) {
            Ok(()) => {}
            // Without provisioning there are no keys; without a disk, libvirt says so.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(WorkerError::File { what: "give QEMU's user", path, source });
            }
        }
    }
    Ok(())
}

/// What an operator can do about libvirt's refusal.
fn advice(text: &str, vm: &container::Vm, state: &VmState) -> String {
    if text.contains("Cannot allocate memory") || text.contains("cannot set up guest memory") {
        format!(
            "the host cannot give the guest its {} MiB: ask for less mem, or let the slave offer less with --resources",
            vm.memory_mb
        )
    } else if text.contains("Permission denied") {
        format!(
            "QEMU's user must be able to read the image {} and to pass through every directory above it and above {}",
            vm.image, state.directory
        )
    } else if text.contains("/dev/kvm") || text.contains("KVM") {
        "make /dev/kvm usable for QEMU's user (chgrp kvm /dev/kvm; chmod 660 /dev/kvm), or use --vm_accelerator=tcg"
            .to_string()
    } else {
        format!("more may be in /var/log/libvirt/qemu/{}.log", state.domain)
    }
}

/// Looks until the lease is there. A libvirtd that goes away is waited for: it may just be restarted.
fn await_lease(dir: &RuntimeDirectory) -> Result<Findings, WorkerError> {
    let state = dir.read_vm()?;
    loop {
        match poll_leases(&state) {
            Ok(address) => return Ok(vec![("address", address.to_string())]),
            Err(WorkerError::Libvirt(error)) => eprintln!("{error}; trying again"),
            Err(error) => return Err(error),
        }
        std::thread::sleep(LONGEST_PAUSE);
    }
}

fn poll_leases(state: &VmState) -> Result<Ipv4Addr, WorkerError> {
    let libvirt = Libvirt::connect(&state.uri)?;
    let missing = || NetworkError::Missing(state.network.clone());
    let network = libvirt.network(&state.network)?.ok_or_else(missing)?;
    let began = Instant::now();
    loop {
        let leases = libvirt::leases(&network, Some(&state.mac))?;
        if let Some(lease) = lease::newest(&leases, &state.mac) {
            return Ok(lease.address);
        }
        std::thread::sleep((began.elapsed() / 40).clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
    }
}

fn destroy(dir: &RuntimeDirectory) -> Result<Findings, WorkerError> {
    if dir.has_vm() {
        let state = dir.read_vm()?;
        if state.joins.is_some() {
            leave(&state)?;
            return Ok(Vec::new());
        }
        vm_dir(&state)?;
        undo(&Libvirt::connect(&state.uri)?, &state)?;
        remove_files(&state)?;
    }
    Ok(Vec::new())
}

/// Undoes all that libvirt knows of a VM. QEMU is killed first: libvirt would ask it to end, and look every 0.2 s whether it has, while
/// there is nothing that it could usefully do in the second that it takes. The lease comes last: a guest would renew it.
pub fn undo(libvirt: &Libvirt, state: &VmState) -> Result<(), WorkerError> {
    if let Some(qemu) = Qemu::find(&state.domain) {
        qemu.kill(KILL_PATIENCE).map_err(|source| WorkerError::Kill { pid: qemu.pid, source })?;
    }
    libvirt.destroy_domain(&state.domain)?;
    libvirt.unbind_filters(&state.domain);
    Ok(network::give_back(libvirt, &state.network, &state.mac, Path::new(&state.directory))?)
}

/// Takes away what a container has that runs in another's VM: its own directory, and nothing of the VM.
fn leave(state: &VmState) -> Result<(), WorkerError> {
    let directory = Path::new(&state.directory);
    let id = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    vm_dir(&VmState { domain: domain::name(id), ..state.clone() })?;
    if state.joins() == id {
        return Err(WorkerError::Strange { domain: state.domain.clone(), directory: state.directory.clone() });
    }
    remove_files(state)
}

/// QEMU goes first, so that its memory is free whatever becomes of libvirt.
fn cleanup(dir: &RuntimeDirectory) -> Result<Findings, WorkerError> {
    if dir.is_done() {
        return Ok(Vec::new());
    }
    let state = if dir.has_vm() { Some(dir.read_vm()?) } else { None };
    if let Some(state) = state.as_ref().filter(|state| state.joins.is_some()) {
        leave(state)?;
    } else if let Some(state) = state {
        let vm_dir = vm_dir(&state)?;
        kill_qemu(&state)?;
        if !destroy_in_time(dir) {
            // First the note, then what it is about: killed in between, `cleanup` is run again.
            leftovers::note(&vm_dir, &state)?;
            kill_qemu(&state)?;
            remove_files(&state)?;
        }
    }
    dir.mark_done()?;
    Ok(Vec::new())
}

fn kill_qemu(state: &VmState) -> Result<(), WorkerError> {
    for qemu in Qemu::all(&state.domain) {
        qemu.kill(KILL_PATIENCE).map_err(|source| WorkerError::Kill { pid: qemu.pid, source })?;
    }
    Ok(())
}

/// Runs `destroy` in a process of its own, since it hangs when libvirtd does.
fn destroy_in_time(dir: &RuntimeDirectory) -> bool {
    let spawn = Spawn::ourselves("vm-worker").arg("destroy").arg(dir.path());
    match Job::start(spawn, Instant::now() + CLEANUP_PATIENCE).and_then(Job::wait) {
        Ok(end) if end.is_success() => true,
        Ok(end) => {
            eprintln!("{}; cleaning up without libvirt", end.reason());
            false
        }
        Err(error) => {
            eprintln!("cannot start a worker: {error}; cleaning up without libvirt");
            false
        }
    }
}

fn remove_files(state: &VmState) -> Result<(), WorkerError> {
    match std::fs::remove_dir_all(&state.directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(WorkerError::File { what: "remove", path: PathBuf::from(&state.directory), source })
        }
        _ => Ok(()),
    }
}

fn check_network(uri: &str, name: &str, vm_dir: &Path, isolation: GuestIsolation) -> Result<Findings, WorkerError> {
    std::fs::create_dir_all(vm_dir).map_err(|source| WorkerError::File {
        what: "make",
        path: vm_dir.to_path_buf(),
        source,
    })?;
    let libvirt = Libvirt::connect(uri)?;
    leftovers::settle(vm_dir, &libvirt)?;
    if isolation == GuestIsolation::Full {
        define_filter(&libvirt)?;
    }
    let lock = Lock::take(&lock_path(vm_dir))?;
    let facts = network::facts(&network::ensure(&libvirt, name, &lock)?, name)?;
    Ok(vec![
        ("bridge", facts.bridge.clone()),
        ("gateway", facts.gateway.to_string()),
        ("prefix", facts.prefix.to_string()),
        ("addresses", facts.size().to_string()),
    ])
}

fn lock_path(vm_dir: &Path) -> PathBuf {
    vm_dir.join("network.lock")
}

/// `<vm_dir>` of a VM whose directory is `<vm_dir>/vms/<id>` and whose domain is `mesos-<id>`. What is named otherwise, we did not
/// write, and it is neither destroyed nor removed.
fn vm_dir(state: &VmState) -> Result<PathBuf, WorkerError> {
    let directory = Path::new(&state.directory);
    let id = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let vms = directory.parent().filter(|vms| vms.file_name().is_some_and(|name| name == "vms"));
    match vms.and_then(Path::parent) {
        Some(vm_dir) if directory.is_absolute() && !id.is_empty() && state.domain == domain::name(id) => {
            Ok(vm_dir.to_path_buf())
        }
        _ => Err(WorkerError::Strange { domain: state.domain.clone(), directory: state.directory.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(domain: &str, directory: &str) -> VmState {
        VmState { domain: domain.into(), directory: directory.into(), ..Default::default() }
    }

    #[test]
    fn only_what_is_named_as_we_name_it_is_destroyed_or_removed() {
        let ours = vm_dir(&state("mesos-a", "/var/lib/mesos-slave/vms/a")).expect("ours");
        assert_eq!(ours, Path::new("/var/lib/mesos-slave"));
        for (domain, directory) in [
            ("mesos-a", "/var/lib/mesos-slave/vms/b"),
            ("a", "/var/lib/mesos-slave/vms/a"),
            ("mesos-a", "/var/lib/mesos-slave/images/a"),
            ("mesos-a", "vms/a"),
            ("mesos-", "/var/lib/mesos-slave/vms/.."),
            ("mesos-..", "/var/lib/mesos-slave/vms/.."),
            ("mesos-", "/"),
            ("", ""),
        ] {
            assert!(
                matches!(vm_dir(&state(domain, directory)), Err(WorkerError::Strange { .. })),
                "{domain} {directory}"
            );
        }
    }

    /// A container `t` in the VM of `holder`, whose directories are both there.
    fn joined(scratch: &Path) -> VmState {
        for id in ["holder", "t"] {
            std::fs::create_dir_all(scratch.join("vms").join(id)).expect("directory");
        }
        let directory = scratch.join("vms/t").to_string_lossy().into_owned();
        // Nobody listens there: whoever asked libvirt would fail.
        let uri = "test+unix:///?socket=/nonexistent".to_string();
        VmState { uri, joins: Some("holder".into()), ..state("mesos-holder", &directory) }
    }

    #[test]
    fn after_a_container_in_anothers_vm_only_its_own_files_are_removed() {
        let scratch = crate::container::scratch::Scratch::new();
        let dir = RuntimeDirectory::new(scratch.path().join("run"));
        for operation in [cleanup, destroy] {
            dir.create().expect("directory");
            dir.write_vm(&joined(scratch.path())).expect("state");
            operation(&dir).expect("cleaned up");
            assert!(!scratch.path().join("vms/t").exists() && scratch.path().join("vms/holder").exists());
            dir.remove().expect("remove");
        }
    }

    #[test]
    fn a_holders_directory_is_never_taken_for_that_of_a_container_in_it() {
        let scratch = crate::container::scratch::Scratch::new();
        let right = joined(scratch.path());
        let holders = scratch.path().join("vms/holder").to_string_lossy().into_owned();
        for wrong in [holders, "vms/t".to_string(), scratch.path().join("t").to_string_lossy().into_owned()] {
            let state = VmState { directory: wrong, ..right.clone() };
            assert!(matches!(leave(&state), Err(WorkerError::Strange { .. })), "{state:?}");
        }
        assert!(scratch.path().join("vms/holder").exists() && vm_dir(&right).is_err(), "nor is it started");
    }

    #[test]
    fn libvirts_refusals_come_with_what_to_do() {
        let vm = container::Vm { memory_mb: 4096, image: "/images/x".into(), ..Default::default() };
        let of = |text| advice(text, &vm, &state("mesos-a", "/vms/a"));
        assert!(of("cannot set up guest memory 'pc.ram': Cannot allocate memory").contains("4096 MiB"));
        assert!(of("Could not open '/images/x/disk.qcow2': Permission denied").contains("read the image /images/x"));
        assert!(of("Could not access KVM kernel module: No such device").contains("--vm_accelerator=tcg"));
        assert!(of("anything else").contains("/var/log/libvirt/qemu/mesos-a.log"));
    }

    #[test]
    fn a_wrong_call_is_told_how_it_should_be() {
        for args in [&[][..], &["start"], &["explode", "/x"], &["network", "x"]] {
            let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
            assert!(matches!(run(&args), Err(WorkerError::Usage)));
        }
    }

    #[test]
    fn without_a_vm_there_is_nothing_to_destroy_and_cleanup_is_done() {
        let scratch = crate::container::scratch::Scratch::new();
        let dir = RuntimeDirectory::new(scratch.path());
        assert!(destroy(&dir).is_ok());
        assert!(!dir.is_done());
        assert!(cleanup(&dir).is_ok());
        assert!(dir.is_done());
    }
}
