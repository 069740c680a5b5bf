//! The addresses of a network that we made: each has a MAC for which it is reserved, from the network's start on.
//!
//! ```text
//! 52:6d:73:61:03:07 ── reserved for ever ── 10.97.3.7
//!         └── the address's last three bytes
//! ```
//!
//! A VM takes a free address and with it its MAC, so nothing has to be reserved at a launch (libvirt reloads all rules of a network for
//! that, 0.1 to 0.35 s), and no guest is ever leased an address that is another's, whatever it asks for and under whatever MAC.
//!
//! Which address is whose is written in `/run/mesos-slave-addresses/<network>/<address>`: the directory of the VM. That is the same
//! place for all slaves of a host, whatever their directories. An address whose VM is gone is free again, also when nobody gave it back.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::domain;

/// Where it is written who has which address; gone with the host's next boot, like the VMs.
pub const PLACE: &str = "/run/mesos-slave-addresses";
/// How the MACs of such networks begin: local ones, which nobody else makes up.
const MAC: &str = "52:6d:73";
/// Longest path of a VM that is read, in bytes.
const MAX_PATH: u64 = 4096;

/// The MAC for which an address is reserved.
pub fn mac(address: Ipv4Addr) -> String {
    let [_, a, b, c] = address.octets();
    format!("{MAC}:{a:02x}:{b:02x}:{c:02x}")
}

/// Whether a MAC is one of such a network's, whose reservation is nobody's to give up.
pub fn has(mac: &str) -> bool {
    mac.get(..MAC.len()).is_some_and(|start| start.eq_ignore_ascii_case(MAC))
}

/// Who has which address of a network.
#[derive(Debug)]
pub struct Claims {
    directory: PathBuf,
}

impl Claims {
    /// Those of the network of this name, which is a path component.
    pub fn of(network: &str) -> Claims {
        Claims { directory: Path::new(PLACE).join(network) }
    }

    /// Takes the first free of these addresses for a VM, which is known by its directory; the one that it has already counts as free.
    ///
    /// # Errors
    /// The claims cannot be read or written.
    pub fn take(&self, vm: &Path, addresses: impl Iterator<Item = Ipv4Addr>) -> io::Result<Option<Ipv4Addr>> {
        let _lock = self.lock()?;
        for address in addresses {
            let path = self.directory.join(address.to_string());
            match owner(&path)? {
                Some(other) if other != vm && is_there(&other) => {}
                _ => {
                    fs::write(&path, vm.as_os_str().as_encoded_bytes())?;
                    return Ok(Some(address));
                }
            }
        }
        Ok(None)
    }

    /// Gives back an address, if it is this VM's.
    ///
    /// # Errors
    /// The claims cannot be read or written.
    pub fn give_back(&self, vm: &Path, address: Ipv4Addr) -> io::Result<()> {
        let path = self.directory.join(address.to_string());
        if owner(&path)?.as_deref() != Some(vm) {
            return Ok(());
        }
        let _lock = self.lock()?;
        match owner(&path)? {
            Some(own) if own == vm => fs::remove_file(&path),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> io::Result<Flock<fs::File>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let path = self.directory.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
    }
}

/// The directory of the VM that has an address.
fn owner(path: &Path) -> io::Result<Option<PathBuf>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.len() > MAX_PATH => return Ok(None),
        Ok(_) => {}
    }
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(PathBuf::from(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a VM is there, or libvirt may still hold something of it (`leftovers`).
fn is_there(vm: &Path) -> bool {
    let noted = || {
        let id = vm.file_name()?.to_str()?;
        Some(vm.parent()?.parent()?.join("leftovers").join(domain::name(id)).exists())
    };
    vm.is_dir() || noted().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::scratch::Scratch;

    struct World {
        scratch: Scratch,
        claims: Claims,
    }

    impl World {
        fn new() -> World {
            let scratch = Scratch::new();
            let claims = Claims { directory: scratch.path().join("claims") };
            World { scratch, claims }
        }

        fn vm(&self, name: &str) -> PathBuf {
            let path = self.scratch.path().join("vms").join(name);
            fs::create_dir_all(&path).expect("a directory");
            path
        }

        fn take(&self, vm: &Path) -> Option<u8> {
            let addresses = (2..=3).map(|last| Ipv4Addr::new(10, 97, 0, last));
            self.claims.take(vm, addresses).expect("claims").map(|address| address.octets()[3])
        }
    }

    #[test]
    fn an_address_names_its_mac_and_such_macs_are_known() {
        assert_eq!(mac(Ipv4Addr::new(10, 97, 3, 255)), "52:6d:73:61:03:ff");
        assert!(has("52:6D:73:61:03:ff") && !has("52:54:00:61:03:ff") && !has("52"));
    }

    #[test]
    fn an_address_is_one_vms_until_it_is_given_back_or_the_vm_is_gone() {
        let world = World::new();
        let (a, b, c) = (world.vm("a"), world.vm("b"), world.vm("c"));
        assert_eq!((world.take(&a), world.take(&a)), (Some(2), Some(2)), "its own");
        assert_eq!((world.take(&b), world.take(&c)), (Some(3), None));
        let second = Ipv4Addr::new(10, 97, 0, 2);
        world.claims.give_back(&b, second).expect("not its own, so nothing");
        assert_eq!(world.take(&c), None);
        world.claims.give_back(&a, second).expect("give back");
        world.claims.give_back(&a, second).expect("again");
        assert_eq!(world.take(&c), Some(2));
        fs::remove_dir(&b).expect("the VM is gone");
        assert_eq!(world.take(&a), Some(3), "nobody gave it back");
    }

    #[test]
    fn the_address_of_a_vm_that_libvirt_may_still_hold_is_not_free() {
        let world = World::new();
        let (a, b) = (world.vm("a"), world.vm("b"));
        world.take(&a);
        fs::remove_dir(&a).expect("the VM's files are gone");
        let notes = world.scratch.path().join("leftovers");
        fs::create_dir(&notes).expect("leftovers");
        fs::write(notes.join("mesos-a"), "").expect("a note");
        assert_eq!(world.take(&b), Some(3));
        fs::remove_file(notes.join("mesos-a")).expect("settled");
        assert_eq!(world.take(&world.vm("c")), Some(2));
    }
}
