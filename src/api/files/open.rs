//! Opening what lies below a directory that a stranger writes to: one component at a time, no link followed, and
//! nothing opened for reading before it is known what it is (opening a FIFO would wait, opening a device does things).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::Place;
use crate::slave::{CONTAINERS, TASKS};

/// Why nothing was opened.
#[derive(Debug)]
pub enum OpenError {
    /// There is no such file.
    NotFound,
    /// `..`, a symbolic link, or a file in the place of a directory.
    Inaccessible,
    /// Anything else.
    Io(io::Error),
}

impl From<Errno> for OpenError {
    fn from(error: Errno) -> OpenError {
        match error {
            Errno::ENOENT | Errno::ENAMETOOLONG => OpenError::NotFound,
            Errno::ELOOP | Errno::ENOTDIR | Errno::EINVAL => OpenError::Inaccessible,
            error => OpenError::Io(error.into()),
        }
    }
}

/// A thing that is there, found but not opened for reading.
#[derive(Debug)]
pub struct Found {
    fd: OwnedFd,
    stat: FileStat,
}

const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Walks to a place without following a link; one at `tasks/<task>` is taken for the name of what lies at `containers/<name>` beside, so
/// that it never leads out.
pub fn find(place: &Place) -> Result<Found, OpenError> {
    let mut fd = open(place.root, LOOK, Mode::empty())?;
    // The directory before, if we have come from it by `tasks`.
    let mut with_tasks: Option<OwnedFd> = None;
    for component in &place.below {
        let next = step(&fd, component)?;
        let before = match with_tasks.take() {
            Some(directory) if kind(&fstat(&next)?) == SFlag::S_IFLNK => {
                fd = sandbox_of(&directory, &next)?;
                continue;
            }
            Some(_) | None => std::mem::replace(&mut fd, next),
        };
        with_tasks = (*component == TASKS).then_some(before);
    }
    let stat = fstat(&fd)?;
    match kind(&stat) {
        SFlag::S_IFLNK => Err(OpenError::Inaccessible),
        _ => Ok(Found { fd, stat }),
    }
}

fn step(directory: &OwnedFd, component: &str) -> Result<OwnedFd, OpenError> {
    if matches!(component, "." | "..") || component.contains('\0') {
        return Err(OpenError::Inaccessible);
    }
    Ok(openat(directory.as_fd(), component, LOOK, Mode::empty())?)
}

/// Where the link of a task leads: its last component is the name of the task's sandbox in the executor's.
fn sandbox_of(executors: &OwnedFd, link: &OwnedFd) -> Result<OwnedFd, OpenError> {
    let target = readlinkat(link.as_fd(), "")?;
    let name = target.to_str().and_then(|target| target.rsplit('/').next());
    let containers = step(executors, CONTAINERS)?;
    step(&containers, name.filter(|name| !name.is_empty()).ok_or(OpenError::Inaccessible)?)
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

impl Found {
    /// It is a directory.
    pub fn is_directory(&self) -> bool {
        kind(&self.stat) == SFlag::S_IFDIR
    }

    /// What the system says of it.
    pub fn stat(&self) -> &FileStat {
        &self.stat
    }

    /// It is a regular file.
    pub fn is_regular(&self) -> bool {
        kind(&self.stat) == SFlag::S_IFREG
    }

    /// Opens this very thing, not what has its name now, for reading.
    ///
    /// # Errors
    /// What `open(2)` gives.
    pub fn open(&self) -> Result<File, OpenError> {
        let itself = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        Ok(File::from(open(itself.as_str(), flags, Mode::empty())?))
    }
}
