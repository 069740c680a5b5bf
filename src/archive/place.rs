//! Where files go: below one directory, opened once. Every name is walked from there component by component, no link
//! is followed, nothing that is there already is opened.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::sys::uio::pwrite;
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchown, fchownat, ftruncate, linkat, symlinkat, unlinkat};

use super::Owner;

/// Deepest directory: enough for any program's tree, and few descriptors' worth of walking.
const DEEPEST: usize = 64;
/// `NAME_MAX`.
const LONGEST_NAME: usize = 255;
/// `PATH_MAX`.
const LONGEST_PATH: usize = 4096;

/// Why one file cannot be placed.
#[derive(Debug)]
pub enum PlaceError {
    /// The name, or a directory on the way to it, is something else on the host already.
    InTheWay,
    /// The host's file system says no.
    Io(io::Error),
}

impl From<Errno> for PlaceError {
    fn from(error: Errno) -> PlaceError {
        match error {
            Errno::ENOTDIR | Errno::ELOOP | Errno::EISDIR | Errno::EEXIST | Errno::ENOTEMPTY => PlaceError::InTheWay,
            other => PlaceError::Io(other.into()),
        }
    }
}

/// The components of an archive's name; empty for the directory itself, `None` for a name that is not to be used: absolute, with
/// `..` or NUL, too long or too deep.
pub fn components(path: &[u8]) -> Option<Vec<&[u8]>> {
    if path.is_empty() || path.len() > LONGEST_PATH || path[0] == b'/' || path.contains(&0) {
        return None;
    }
    let all: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    let good = all.len() <= DEEPEST && all.iter().all(|part| part.len() <= LONGEST_NAME && *part != b"..");
    good.then_some(all)
}

/// The directory below which all is written.
pub struct Place {
    root: OwnedFd,
    owner: Owner,
    made: Cell<u64>,
}

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

impl Place {
    /// Opens it.
    ///
    /// # Errors
    /// What `open(2)` gives; `ENOTDIR` or `ELOOP` for a symlink.
    pub fn open(path: &Path, owner: Owner) -> io::Result<Place> {
        Ok(Place { root: open(path, DIRECTORY, Mode::empty())?, owner, made: Cell::new(0) })
    }

    /// How many directories were made: a name of many parts may cost as many.
    pub fn directories_made(&self) -> u64 {
        self.made.get()
    }

    /// Makes a directory, or gives the one that is there its mode.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn directory(&self, path: &[&[u8]], mode: u32) -> Result<(), PlaceError> {
        let directory = self.walk(path)?;
        fchmod(&directory, permissions(mode))?;
        Ok(())
    }

    /// Makes an empty regular file, in place of one that is there; gives its directory, too.
    ///
    /// # Errors
    /// [`PlaceError::InTheWay`] for a directory under its name.
    pub fn file(&self, path: &[&[u8]]) -> Result<(OwnedFd, OwnedFd), PlaceError> {
        let Some((name, parents)) = path.split_last() else {
            return Err(PlaceError::InTheWay);
        };
        let directory = self.walk(parents)?;
        let name = OsStr::from_bytes(name);
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = in_place_of(&directory, name, || openat(&directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR))?;
        Ok((directory, file))
    }

    /// Makes a symbolic link, in place of a file that is there. Where it leads to is the caller's to have checked, with [`leads_inside`].
    ///
    /// # Errors
    /// [`PlaceError::InTheWay`] for a directory under its name.
    pub fn symlink(&self, path: &[&[u8]], target: &[u8]) -> Result<(), PlaceError> {
        let Some((name, parents)) = path.split_last() else {
            return Err(PlaceError::InTheWay);
        };
        let directory = self.walk(parents)?;
        let (name, target) = (OsStr::from_bytes(name), OsStr::from_bytes(target));
        in_place_of(&directory, name, || symlinkat(target, &directory, name))?;
        let (uid, gid) = (Uid::from_raw(self.owner.uid), Gid::from_raw(self.owner.gid));
        fchownat(&directory, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// Gives a regular file another name, in place of a file that is there.
    ///
    /// # Errors
    /// [`PlaceError::InTheWay`] when the first name is not a regular file's, or the second is a directory's.
    pub fn hard_link(&self, from: &[&[u8]], path: &[&[u8]]) -> Result<(), PlaceError> {
        let (Some((old, old_parents)), Some((new, parents))) = (from.split_last(), path.split_last()) else {
            return Err(PlaceError::InTheWay);
        };
        let (old_directory, old) = (self.walk(old_parents)?, OsStr::from_bytes(old));
        let there = fstatat(&old_directory, old, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if !is(there.st_mode, SFlag::S_IFREG) {
            return Err(PlaceError::InTheWay);
        }
        if from == path {
            return Ok(());
        }
        let (directory, new) = (self.walk(parents)?, OsStr::from_bytes(new));
        in_place_of(&directory, new, || linkat(&old_directory, old, &directory, new, LinkatFlags::empty()))
    }

    /// Gives a written file its owner, mode and time.
    ///
    /// # Errors
    /// [`PlaceError::Io`].
    pub fn finish(&self, file: &OwnedFd, mode: u32, mtime: u64) -> Result<(), PlaceError> {
        self.give(file, mode)?;
        let time = TimeSpec::new(i64::try_from(mtime).unwrap_or(0), 0);
        let _ = futimens(file, &time, &time); // a time that the file system cannot hold is no reason to lose the file
        Ok(())
    }

    /// Gives a written file its owner and mode.
    ///
    /// # Errors
    /// [`PlaceError::Io`].
    pub fn give(&self, file: &impl AsFd, mode: u32) -> Result<(), PlaceError> {
        self.own(file.as_fd())?;
        fchmod(file, permissions(mode))?; // after the owner, whose change clears bits
        Ok(())
    }

    /// Removes a file that could not be written whole.
    pub fn remove(&self, directory: &OwnedFd, path: &[&[u8]]) {
        if let Some(name) = path.last() {
            let _ = unlinkat(directory, OsStr::from_bytes(name), UnlinkatFlags::NoRemoveDir);
        }
    }

    /// Opens a directory below the root, making those that are not there.
    fn walk(&self, path: &[&[u8]]) -> Result<OwnedFd, PlaceError> {
        let mut at = self.root.try_clone().map_err(PlaceError::Io)?;
        for name in path {
            let name = OsStr::from_bytes(name);
            at = match openat(&at, name, DIRECTORY, Mode::empty()) {
                Err(Errno::ENOENT) => {
                    mkdirat(&at, name, Mode::from_bits_truncate(0o755))?;
                    self.made.set(self.made.get() + 1);
                    let made = openat(&at, name, DIRECTORY, Mode::empty())?;
                    self.own(made.as_fd())?;
                    made
                }
                other => other?,
            };
        }
        Ok(at)
    }

    fn own(&self, fd: BorrowedFd<'_>) -> Result<(), PlaceError> {
        fchown(fd, Some(Uid::from_raw(self.owner.uid)), Some(Gid::from_raw(self.owner.gid)))?;
        Ok(())
    }
}

/// Makes something under a name; what has the name already goes, unless it is a directory.
fn in_place_of<T>(directory: &OwnedFd, name: &OsStr, make: impl Fn() -> Result<T, Errno>) -> Result<T, PlaceError> {
    match make() {
        Err(Errno::EEXIST) => {
            let there = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if is(there.st_mode, SFlag::S_IFDIR) {
                return Err(PlaceError::InTheWay);
            }
            unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)?;
            Ok(make()?)
        }
        other => Ok(other?),
    }
}

fn is(mode: libc::mode_t, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == kind
}

/// Whether a link in a directory so many components deep leads to something below the root, however many other such links lie on the way:
/// it is relative, and goes up at its beginning only, where the way up is that of the directory itself.
pub fn leads_inside(target: &[u8], depth: usize) -> bool {
    if target.is_empty() || target.len() > LONGEST_PATH || target[0] == b'/' || target.contains(&0) {
        return false;
    }
    let parts: Vec<&[u8]> =
        target.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    let up = parts.iter().take_while(|part| **part == b"..").count();
    up <= depth && parts[up..].iter().all(|part| *part != b"..")
}

/// Read, write and execute; never set-user-id, set-group-id or sticky.
fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o777)
}

/// Writes all of it at an offset.
///
/// # Errors
/// [`PlaceError::Io`].
pub fn write_at(file: &impl AsFd, mut bytes: &[u8], mut offset: u64) -> Result<(), PlaceError> {
    while !bytes.is_empty() {
        let at = i64::try_from(offset).map_err(|_| PlaceError::Io(Errno::EFBIG.into()))?;
        match pwrite(file, bytes, at) {
            Ok(0) => return Err(PlaceError::Io(io::ErrorKind::WriteZero.into())),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(PlaceError::Io(error.into())),
        }
    }
    Ok(())
}

/// Gives the file its length: a hole at its end has no data.
///
/// # Errors
/// [`PlaceError::Io`].
pub fn set_length(file: &OwnedFd, length: u64) -> Result<(), PlaceError> {
    let length = i64::try_from(length).map_err(|_| PlaceError::Io(Errno::EFBIG.into()))?;
    ftruncate(file, length).map_err(|error| PlaceError::Io(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_may_go_up_at_its_beginning_and_not_above_the_root() {
        for (target, depth) in [("a", 0), ("./a/b", 0), ("../a", 1), ("../../a", 2), ("..", 1), (".././../a", 2)] {
            assert!(leads_inside(target.as_bytes(), depth), "{target} at {depth}");
        }
        for (target, depth) in [("", 3), ("/a", 3), ("..", 0), ("../../a", 1), ("a/..", 2), ("../a/../b", 2)] {
            assert!(!leads_inside(target.as_bytes(), depth), "{target} at {depth}");
        }
    }
}
