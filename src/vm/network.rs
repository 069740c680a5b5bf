//! The libvirt network of a VM: that it runs, an address in it for the VM's MAC, and all of it given back at the end.
//!
//! ```text
//! claim:      lock │ network XML + leases → a free address → network.update add <host mac ip> │ unlock
//!             in a network of our own: a free address of its table, and the MAC that goes with it
//! give back:  DHCPRELEASE for each lease of the MAC, network.update delete <host mac>
//! ```
//!
//! A guest is bound to the address that is reserved for its MAC (`filter`), and a reservation spares it the ping of 3 s with which
//! dnsmasq tries an address before it leases it. It has its price: for each update libvirt takes all firewall rules of the network
//! down and up again (`networkUpdate` in its bridge driver; 26 runs of iptables, 0.1 to 0.35 s). Our own network is made with
//! all its reservations (`table`), so that none is made at a launch. Where guests are bound to nothing and nobody pings, nothing is
//! reserved: dnsmasq chooses the address when the guest asks, and what is claimed is no more than that there is one left.
//!
//! The lock keeps children of one slave from choosing the same address at the same time. Slaves with other directories are kept apart
//! by libvirt, which refuses an address that is reserved already; then the next is tried.

use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use virt::network::Network;

use super::lease;
use super::libvirt::{self, Libvirt, LibvirtError};
use super::network_xml::{NetworkFacts, NetworkXmlError, free_subnet, network_xml, parse_routes};
use super::table::{self, Claims};
use crate::random::{self, Random};

/// The network that is made when it is named and missing.
pub const OUR_NETWORK: &str = "mesos";
/// Its bridge; an interface name has at most 15 bytes.
const OUR_BRIDGE: &str = "virbr-mesos";
/// How long another slave may take to start our network: libvirt needs a bridge and dnsmasq for it.
const MAKING: Duration = Duration::from_secs(5);
/// How often a reservation that somebody else made first is tried again with another address.
const TRIES: usize = 32;
/// How long dnsmasq is given to take a release in; it takes a few milliseconds.
const RELEASE_PATIENCE: Duration = Duration::from_secs(1);

/// Why a network cannot be used.
#[derive(Debug)]
pub enum NetworkError {
    /// A libvirt call failed.
    Libvirt(LibvirtError),
    /// There is none of that name.
    Missing(String),
    /// It does not run.
    Inactive(String),
    /// It is of a kind that we cannot use.
    Unusable {
        /// The network's name.
        name: String,
        /// What is wrong with it.
        source: NetworkXmlError,
    },
    /// Every address is taken.
    Full {
        /// The network's name.
        name: String,
        /// How many addresses it has.
        size: u64,
    },
    /// No subnet is left for a network of ours.
    NoSubnet,
    /// A file could not be used.
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkError::Libvirt(source) => write!(f, "{source}"),
            NetworkError::Missing(name) => write!(
                f,
                "libvirt has no network {name}: virsh net-list --all shows what it has; --vm_network={OUR_NETWORK} makes one"
            ),
            NetworkError::Inactive(name) => {
                write!(f, "network {name} is not active: virsh net-start {name}")
            }
            NetworkError::Unusable { name, source } => write!(
                f,
                "network {name} cannot be used, {source}: virsh net-edit {name}, or --vm_network={OUR_NETWORK}"
            ),
            NetworkError::Full { name, size } => write!(
                f,
                "all {size} addresses of network {name} are taken: run fewer executors at a time, widen its DHCP range (virsh net-edit {name}), or use --vm_network={OUR_NETWORK}"
            ),
            NetworkError::NoSubnet => write!(
                f,
                "every private subnet overlaps with a route of this host: define a network with a subnet of your choice and name it with --vm_network"
            ),
            NetworkError::File { path, source } => {
                write!(f, "cannot use {}: {source}", path.display())
            }
        }
    }
}

impl std::error::Error for NetworkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NetworkError::Libvirt(source) => Some(source),
            NetworkError::Unusable { source, .. } => Some(source),
            NetworkError::File { source, .. } => Some(source),
            NetworkError::Missing(_)
            | NetworkError::Inactive(_)
            | NetworkError::Full { .. }
            | NetworkError::NoSubnet => None,
        }
    }
}

impl From<LibvirtError> for NetworkError {
    fn from(source: LibvirtError) -> NetworkError {
        NetworkError::Libvirt(source)
    }
}

/// A lock file that all workers of a slave share; released when dropped, or when its holder is killed.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] Flock<File>);

impl Lock {
    /// Waits for the lock.
    ///
    /// # Errors
    /// [`NetworkError::File`].
    pub fn take(path: &Path) -> Result<Lock, NetworkError> {
        let failed = |source| NetworkError::File { path: path.to_path_buf(), source };
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(failed)?;
        // One that was left readable could be locked by anybody.
        file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
        Flock::lock(file, FlockArg::LockExclusive).map(Lock).map_err(|(_, errno)| failed(errno.into()))
    }
}

/// The running network of this name; the one named `mesos` is made if it is missing. It is transient: gone with the host's next
/// boot, made again with the next VM. Callers hold the [`Lock`].
///
/// # Errors
/// [`NetworkError`].
pub fn ensure(libvirt: &Libvirt, name: &str, _lock: &Lock) -> Result<Network, NetworkError> {
    match libvirt.network(name)? {
        Some(network) if libvirt::network_is_active(&network)? => Ok(network),
        Some(_) if name == OUR_NETWORK => made_by_another(libvirt)?.ok_or(NetworkError::Inactive(name.to_string())),
        Some(_) => Err(NetworkError::Inactive(name.to_string())),
        None if name == OUR_NETWORK => make(libvirt).or_else(|error| made_by_another(libvirt)?.ok_or(error)),
        None => Err(NetworkError::Missing(name.to_string())),
    }
}

fn make(libvirt: &Libvirt) -> Result<Network, NetworkError> {
    let path = Path::new("/proc/net/route");
    let table =
        std::fs::read_to_string(path).map_err(|source| NetworkError::File { path: path.to_path_buf(), source })?;
    let subnet = free_subnet(&parse_routes(&table)).ok_or(NetworkError::NoSubnet)?;
    Ok(libvirt.create_network(OUR_NETWORK, &network_xml(OUR_NETWORK, OUR_BRIDGE, subnet))?)
}

/// A slave with another `--vm_dir`, and so another lock, may make the network at the same time: its is as good as ours, once it runs.
fn made_by_another(libvirt: &Libvirt) -> Result<Option<Network>, NetworkError> {
    let end = Instant::now() + MAKING;
    loop {
        match libvirt.network(OUR_NETWORK)? {
            None => return Ok(None),
            Some(network) if libvirt::network_is_active(&network)? => return Ok(Some(network)),
            Some(_) if Instant::now() >= end => return Ok(None),
            Some(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// What the network is made of.
///
/// # Errors
/// [`NetworkError`].
pub fn facts(network: &Network, name: &str) -> Result<NetworkFacts, NetworkError> {
    let unusable = |source| NetworkError::Unusable { name: name.to_string(), source };
    NetworkFacts::parse(&libvirt::network_xml(network)?).map_err(unusable)
}

/// A VM that needs a place in a network.
#[derive(Debug, Clone, Copy)]
pub struct Applicant<'a> {
    /// Its MAC, which it keeps unless the network has one for it.
    pub mac: &'a str,
    /// Its directory, by which it is known.
    pub directory: &'a Path,
    /// It is to be bound to its address, which has to be known before it boots.
    pub bound: bool,
}

/// A VM's place in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its MAC.
    pub mac: String,
    /// The address that is reserved for the MAC; without one dnsmasq chooses.
    pub address: Option<Ipv4Addr>,
}

/// Claims an address: takes one of the network's table, reserves one (or finds the one that is reserved already), or only sees that
/// one is free. Callers hold the [`Lock`].
///
/// # Errors
/// [`NetworkError`].
pub fn claim(network: &Network, name: &str, vm: Applicant<'_>, lock: &Lock) -> Result<Place, NetworkError> {
    let facts = facts(network, name)?;
    let full = || NetworkError::Full { name: name.to_string(), size: facts.size() };
    let own = |address| Place { mac: vm.mac.to_string(), address };
    if facts.table(0).next().is_some() && name == OUR_NETWORK {
        let before = facts.reserved(vm.mac).filter(|_| table::has(vm.mac));
        let addresses = before.into_iter().chain(facts.table(random_start()?));
        let address = Claims::of(name).take(vm.directory, addresses).map_err(unwritten)?.ok_or_else(full)?;
        return Ok(Place { mac: table::mac(address), address: Some(address) });
    }
    if let Some(address) = facts.reserved(vm.mac) {
        return Ok(own(Some(address)));
    }
    if facts.pings || vm.bound {
        return reserve(network, name, vm.mac, lock).map(|address| own(Some(address)));
    }
    match facts.free_addresses(&leased(network, vm.mac)?, 0).next() {
        Some(_) => Ok(own(None)),
        None => Err(full()),
    }
}

fn unwritten(source: io::Error) -> NetworkError {
    NetworkError::File { path: table::PLACE.into(), source }
}

/// The addresses that are leased to other MACs.
fn leased(network: &Network, mac: &str) -> Result<Vec<Ipv4Addr>, NetworkError> {
    let leases = libvirt::leases(network, None)?;
    Ok(leases.iter().filter(|lease| !lease.mac.eq_ignore_ascii_case(mac)).map(|lease| lease.address).collect())
}

fn reserve(network: &Network, name: &str, mac: &str, _lock: &Lock) -> Result<Ipv4Addr, NetworkError> {
    let mut refused = None;
    let mut tried = Vec::new();
    for _ in 0..TRIES {
        let facts = facts(network, name)?;
        if let Some(address) = facts.reserved(mac) {
            return Ok(address);
        }
        let mut taken = leased(network, mac)?;
        taken.extend(&tried);
        let Some(address) = facts.free_addresses(&taken, random_start()?).next() else {
            return Err(refused.unwrap_or(NetworkError::Full { name: name.to_string(), size: facts.size() }));
        };
        match libvirt::add_reservation(network, mac, address) {
            Ok(()) => return Ok(address),
            Err(error) => refused = Some(error.into()),
        }
        tried.push(address);
    }
    Err(refused.unwrap_or_else(|| NetworkError::Full { name: name.to_string(), size: 0 }))
}

/// A random start keeps a fresh VM off an address that the host's and the guests' ARP caches still know under another MAC.
fn random_start() -> Result<u64, NetworkError> {
    let random = Random::from_system();
    let mut random = random.map_err(|source| NetworkError::File { path: random::SOURCE.into(), source })?;
    Ok(random.next_u64())
}

/// Gives back all leases and the reservation of a VM's MAC, in a network that may be gone. The VM must be gone: a guest would renew.
/// A lease that cannot be given back is none of the VM's failures, it ends by itself: it is told and passed over.
///
/// # Errors
/// [`NetworkError`].
pub fn give_back(libvirt: &Libvirt, name: &str, mac: &str, vm: &Path) -> Result<(), NetworkError> {
    let Some(network) = libvirt.network(name)? else {
        return Ok(());
    };
    if !libvirt::network_is_active(&network)? {
        return Ok(());
    }
    let facts = facts(&network, name)?;
    if let Err(reason) = release_leases(&network, &facts, mac) {
        eprintln!("{reason}");
    }
    match facts.reserved(mac) {
        Some(address) if table::has(mac) => Claims::of(name).give_back(vm, address).map_err(unwritten),
        Some(_) => Ok(libvirt::remove_reservation(&network, mac)?),
        None => Ok(()),
    }
}

/// Sends a release for each lease of the MAC until libvirt lists none any more: the packet is a datagram.
fn release_leases(network: &Network, facts: &NetworkFacts, mac: &str) -> Result<(), Box<dyn std::error::Error>> {
    let end = Instant::now() + RELEASE_PATIENCE;
    let mut pause = Duration::from_millis(2);
    loop {
        let leases = libvirt::leases(network, Some(mac))?;
        if leases.is_empty() {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(format!("the DHCP server of {} keeps the lease of {mac} until it expires", facts.bridge).into());
        }
        for lease in &leases {
            lease::release(lease, facts.gateway, &facts.bridge)?;
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_to_do() {
        let inactive = NetworkError::Inactive("lan".to_string()).to_string();
        assert_eq!(inactive, "network lan is not active: virsh net-start lan");
        let full = NetworkError::Full { name: "lan".to_string(), size: 20 }.to_string();
        assert!(full.starts_with("all 20 addresses of network lan are taken: run fewer"), "{full}");
    }

    #[test]
    fn a_missing_network_is_made_only_if_it_is_ours() {
        let libvirt = Libvirt::connect("test:///default").expect("libvirt's test driver");
        let path = std::env::temp_dir().join(format!("mesos-slave-network-lock-{}", std::process::id()));
        let lock = Lock::take(&path).expect("lock");
        assert!(matches!(ensure(&libvirt, "lan", &lock), Err(NetworkError::Missing(name)) if name == "lan"));
        assert!(ensure(&libvirt, "default", &lock).is_ok());
        std::fs::remove_file(path).expect("remove the lock");
    }
}
