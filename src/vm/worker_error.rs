//! Why an operation of `vm-worker` failed, in an operator's words.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::host::HostError;
use super::image::ImageError;
use super::leftovers::LeftoverError;
use super::libvirt::LibvirtError;
use super::network::NetworkError;
use crate::container::directory::DirectoryError;

/// Why an operation failed.
#[derive(Debug)]
pub enum WorkerError {
    /// Called wrongly.
    Usage,
    /// The runtime directory.
    Directory(DirectoryError),
    /// The spec is of a container without a VM.
    NoVm(PathBuf),
    /// The VM's directory is not as we name them, so it is not touched.
    Strange {
        /// The domain that it names.
        domain: String,
        /// The VM's directory.
        directory: String,
    },
    /// The image.
    Image(ImageError),
    /// libvirt.
    Libvirt(LibvirtError),
    /// libvirt would not start the domain.
    Refused {
        /// libvirt's error.
        source: LibvirtError,
        /// What to do.
        advice: String,
    },
    /// QEMU ended as soon as it was started.
    Gone(String),
    /// The network.
    Network(NetworkError),
    /// What libvirt says of the host.
    Host(HostError),
    /// A VM of an earlier cleanup.
    Leftover(LeftoverError),
    /// A file of the VM.
    File {
        /// What was tried, to follow "cannot".
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The guest could not be bound to its address.
    Filter(LibvirtError),
    /// QEMU could not be killed.
    Kill {
        /// Its process id.
        pid: u32,
        /// The system's reason.
        source: io::Error,
    },
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkerError::Usage => {
                write!(
                    f,
                    "usage: mesos-slave vm-worker start|lease|destroy|cleanup DIR, or network URI NAME VM_DIR ISOLATION"
                )
            }
            WorkerError::Directory(source) => write!(f, "{source}"),
            WorkerError::NoVm(path) => {
                write!(f, "the container of {} has no virtual machine", path.display())
            }
            WorkerError::Strange { domain, directory } => {
                write!(f, "domain {domain:?} with directory {directory:?} is none of ours: remove it by hand")
            }
            WorkerError::Image(source) => write!(f, "{source}"),
            WorkerError::Libvirt(source) => write!(f, "{source}"),
            WorkerError::Refused { source, advice } => {
                write!(f, "libvirt refused the domain: {}; {advice}", source.text())
            }
            WorkerError::Gone(domain) => {
                write!(f, "QEMU of {domain} ended at once: see /var/log/libvirt/qemu/{domain}.log")
            }
            WorkerError::Network(source) => write!(f, "{source}"),
            WorkerError::Filter(source) => write!(
                f,
                "{source}; guests are kept apart by libvirt's network filters, which need its package for them \
                 (libvirt-daemon-config-nwfilter), ebtables and iptables: install them, or use --vm_guest_isolation=none"
            ),
            WorkerError::Host(source) => write!(f, "{source}"),
            WorkerError::Leftover(source) => write!(f, "{source}"),
            WorkerError::File { what, path, source } => {
                write!(f, "cannot {what} {}: {source}", path.display())
            }
            WorkerError::Kill { pid, source } => write!(f, "cannot kill QEMU, pid {pid}: {source}"),
        }
    }
}

impl std::error::Error for WorkerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WorkerError::Usage | WorkerError::NoVm(_) | WorkerError::Strange { .. } | WorkerError::Gone(_) => None,
            WorkerError::Directory(source) => Some(source),
            WorkerError::Image(source) => Some(source),
            WorkerError::Libvirt(source) | WorkerError::Filter(source) | WorkerError::Refused { source, .. } => {
                Some(source)
            }
            WorkerError::Network(source) => Some(source),
            WorkerError::Host(source) => Some(source),
            WorkerError::Leftover(source) => Some(source),
            WorkerError::File { source, .. } | WorkerError::Kill { source, .. } => Some(source),
        }
    }
}

macro_rules! from {
    ($($type:ident => $variant:ident),*) => {
        $(impl From<$type> for WorkerError {
            fn from(source: $type) -> WorkerError {
                WorkerError::$variant(source)
            }
        })*
    };
}
from!(DirectoryError => Directory, ImageError => Image, LibvirtError => Libvirt, NetworkError => Network,
    HostError => Host, LeftoverError => Leftover);
