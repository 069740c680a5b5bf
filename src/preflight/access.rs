//! Whether another user can read a file: by the permission bits of each directory on the way and of the file, as the kernel
//! decides it for a process without capabilities. ACLs are not looked at.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A user with all groups that a process of it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub uid: u32,
    pub groups: Vec<u32>,
}

impl Identity {
    /// The user with its groups from the host's database: libvirt gives QEMU all of them.
    pub fn lookup(uid: u32, gid: u32) -> Identity {
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
        let name = user.and_then(|user| std::ffi::CString::new(user.name).ok());
        let more = name.and_then(|name| nix::unistd::getgrouplist(&name, nix::unistd::Gid::from_raw(gid)).ok());
        let mut groups: Vec<u32> = more.unwrap_or_default().into_iter().map(nix::unistd::Gid::as_raw).collect();
        groups.push(gid);
        groups.sort_unstable();
        groups.dedup();
        Identity { uid, groups }
    }

    fn may(&self, entry: &Entry, right: u32) -> bool {
        let bits = match entry {
            _ if self.uid == 0 => return true,
            entry if entry.uid == self.uid => entry.mode >> 6,
            entry if self.groups.contains(&entry.gid) => entry.mode >> 3,
            entry => entry.mode,
        };
        bits & right == right
    }
}

/// A file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub path: PathBuf,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// A path from the root down; links are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    /// The directories on the way, the root first.
    pub parents: Vec<Entry>,
    /// What the path names; `None` when not all of it exists.
    pub last: Option<Entry>,
}

impl Chain {
    /// Looks at every part of the path, as far as it exists.
    pub fn look(path: &Path) -> Chain {
        let real = path.ancestors().find_map(|path| Some((path, fs::canonicalize(path).ok()?)));
        let Some((found, real)) = real else {
            return Chain { parents: vec![], last: None };
        };
        let mut entries: Vec<Entry> = real.ancestors().filter_map(entry).collect();
        entries.reverse();
        let last = if found == path { entries.pop() } else { None };
        Chain { parents: entries, last }
    }

    /// The first directory on the way that the user cannot pass.
    pub fn barrier(&self, who: &Identity) -> Option<&Path> {
        self.parents.iter().find(|entry| !who.may(entry, 0o1)).map(|entry| entry.path.as_path())
    }

    /// Whether the user has these rights (4 read, 2 write, 1 pass) to what the path names, the way there aside.
    pub fn end_allows(&self, who: &Identity, right: u32) -> bool {
        self.last.as_ref().is_some_and(|entry| who.may(entry, right))
    }
}

fn entry(path: &Path) -> Option<Entry> {
    let facts = fs::metadata(path).ok()?;
    Some(Entry { path: path.to_path_buf(), uid: facts.uid(), gid: facts.gid(), mode: facts.mode() & 0o7777 })
}
