//! What is known of the host: plain data, so that decisions are tested with invented ones.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::flags::{Accelerator, GuestIsolation};

use super::access::{Chain, Identity};
use super::routes::{Route, Subnet};

/// All of it.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub root: bool,
    pub uri: String,
    /// libvirt's answers, or why there are none.
    pub libvirt: Result<LibvirtFacts, Silence>,
    pub daemon: Daemon,
    pub packages: Packages,
    pub systemd: bool,
    pub network_name: String,
    pub routes: Vec<Route>,
    pub image: Result<ImageFacts, String>,
    /// The way to a VM's directory, as far as it exists.
    pub vm_dir: Chain,
    /// Needed programs that are not on the PATH.
    pub missing_programs: Vec<&'static str>,
    pub accelerator: Accelerator,
    pub guest_isolation: GuestIsolation,
    pub kvm: KvmFacts,
    pub firewall: FirewallFacts,
    pub ssh_key: Option<KeyFacts>,
}

/// Why libvirt gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Silence {
    /// It said why, or the child that asked did.
    Refused(String),
    /// It took longer than so many seconds.
    Hangs(u64),
}

/// What the child that asked libvirt found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LibvirtFacts {
    /// Whom QEMU runs as.
    pub qemu: Identity,
    /// libvirt knows a QEMU for this machine's architecture.
    pub emulator: bool,
    /// ... and would let it use KVM.
    pub kvm: bool,
    /// libvirt has the network filters that come with it.
    pub filters: bool,
    pub network: NetworkState,
}

/// A libvirt network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NetworkState {
    Missing,
    Inactive,
    /// It runs, but cannot serve: why.
    Unusable(String),
    Active {
        bridge: String,
        subnet: Option<Subnet>,
        gateway: Ipv4Addr,
    },
}

/// Which of libvirt's daemons is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Daemon {
    None,
    Monolithic,
    Modular,
}

/// The host's package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packages {
    Apt,
    Dnf,
    Other,
}

/// The image's files.
#[derive(Debug, Clone)]
pub(super) struct ImageFacts {
    pub files: Vec<Chain>,
    /// Keys are made for each VM.
    pub provisioned: bool,
}

/// `/dev/kvm`.
#[derive(Debug, Clone)]
pub(super) struct KvmFacts {
    /// The node and its parents; `None`: there is none.
    pub node: Option<Chain>,
    /// Why it is of no use, if so.
    pub useless: Option<String>,
}

/// `--vm_ssh_key`.
#[derive(Debug, Clone)]
pub(super) struct KeyFacts {
    pub path: PathBuf,
    /// Its permission bits, or why they are not known.
    pub mode: Result<u32, String>,
}

/// What stands between guests and the host.
#[derive(Debug, Clone, Default)]
pub(super) struct FirewallFacts {
    /// ufw is active; its own rules as text.
    pub ufw: Option<String>,
    /// firewalld runs; whether it has libvirt's zone.
    pub firewalld: Option<bool>,
}
