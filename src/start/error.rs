//! Why a slave did not start, in words that say what to do.

use std::fmt;
use std::io;
use std::net::SocketAddrV4;
use std::path::PathBuf;

use crate::credential::CredentialError;
use crate::detector::file::FileError;
use crate::local::EmbeddedError;
use crate::preflight;

/// Why the slave did not start, or could not go on.
#[derive(Debug)]
pub enum StartError {
    /// The host lacks something; each with its mend.
    Preflight(preflight::Report),
    /// Another slave has the runtime directory.
    Taken(PathBuf),
    /// A directory cannot be made.
    Directory(PathBuf, io::Error),
    /// The libvirt network cannot be made or read.
    Guests(String, String),
    /// The port cannot be listened on.
    Listen(SocketAddrV4, io::Error),
    /// The master's name has no IPv4 address.
    Resolve(String, Option<io::Error>),
    /// The file that should name the master never will.
    MasterFile(PathBuf, FileError),
    /// The embedded master did not start.
    Embedded(EmbeddedError),
    /// `--resources` or `--attributes`.
    Resources(String),
    /// `--credential`.
    Credential(CredentialError),
    /// A system call that has no business failing.
    System(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Preflight(report) => {
                write!(f, "this host is not ready for --isolation=vm:\n{report}")
            }
            StartError::Taken(path) => write!(
                f,
                "another slave runs with --runtime_dir={}; end it, or choose another --runtime_dir and --work_dir",
                path.display()
            ),
            StartError::Directory(path, source) => {
                write!(f, "cannot make {}: {source}; ", path.display())?;
                match source.kind() {
                    io::ErrorKind::PermissionDenied => write!(f, "start mesos-slave as root, or name another place")?,
                    _ => write!(f, "name another place")?,
                }
                write!(f, " (--work_dir, --runtime_dir, --vm_dir, --log_dir)")
            }
            StartError::Guests(network, reason) => write!(f, "cannot use libvirt's network {network}: {reason}"),
            StartError::Listen(address, source) => {
                write!(f, "cannot listen on {address}: {source}; choose another with --ip and --port")
            }
            StartError::Resolve(host, Some(source)) => {
                write!(f, "cannot resolve the master's name {host}: {source}")
            }
            StartError::Resolve(host, None) => {
                write!(f, "the master's name {host} has no IPv4 address")
            }
            StartError::MasterFile(path, source) => write!(f, "cannot find the master in {}: {source}", path.display()),
            StartError::Embedded(source) => source.fmt(f),
            StartError::Resources(text) => f.write_str(text),
            StartError::Credential(source) => source.fmt(f),
            StartError::System(what, source) => write!(f, "{what}: {source}"),
        }
    }
}

impl std::error::Error for StartError {}
