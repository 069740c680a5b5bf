//! The keys of one VM: the client's, with which we log in, and the host's, by which we know the guest again. Both are made for the VM
//! and removed with it, so host-key checking is strict from the first connection on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::subprocess::Spawn;

/// A key pair of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// `key`, `key.pub`.
    Client,
    /// `host_key`, `host_key.pub`.
    Host,
}

impl Key {
    /// The private key's file in the VM's directory; the public key's has `.pub` behind.
    pub fn path(self, directory: &Path) -> PathBuf {
        directory.join(match self {
            Key::Client => "key",
            Key::Host => "host_key",
        })
    }

    /// `ssh-keygen` that makes the pair (about 5 ms). It would ask before it replaces one: there must be none yet.
    pub fn command(self, directory: &Path) -> Spawn {
        Spawn::new("ssh-keygen")
            .arg("-q")
            .arg("-t")
            .arg("ed25519")
            .arg("-N")
            .arg("")
            .arg("-C")
            .arg("")
            .arg("-f")
            .arg(self.path(directory))
    }
}

/// Writes `known_hosts` in the VM's directory: the host key under the alias that ssh's `HostKeyAlias` names.
///
/// # Errors
/// The host key cannot be read, or the file cannot be written.
pub fn write_known_hosts(directory: &Path, alias: &str) -> io::Result<PathBuf> {
    let public = fs::read_to_string(directory.join("host_key.pub"))?;
    let path = directory.join("known_hosts");
    fs::write(&path, format!("{alias} {}\n", public.trim()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::scratch::Scratch;
    use crate::subprocess::Job;
    use std::time::{Duration, Instant};

    #[test]
    fn keys_are_made_and_the_host_is_known_by_its_alias() {
        let scratch = Scratch::new();
        let directory = scratch.path();
        for key in [Key::Client, Key::Host] {
            let end = Job::start(key.command(directory), Instant::now() + Duration::from_secs(60)).and_then(Job::wait);
            assert!(end.is_ok_and(|end| end.is_success()));
        }
        let path = write_known_hosts(directory, "mesos-x").expect("known_hosts");
        let text = fs::read_to_string(path).expect("known_hosts");
        let private = fs::read_to_string(Key::Client.path(directory)).expect("key");
        assert!(text.starts_with("mesos-x ssh-ed25519 AAAA") && text.lines().count() == 1, "{text}");
        assert!(private.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
    }
}
