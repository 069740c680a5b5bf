//! Opening what lies below a directory that a stranger writes to: one component at a time, no link followed, and
//! nothing opened for reading before it is known what it is (opening a FIFO would wait, opening a device does things).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::Place;

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

/// Walks to a place without following a link.
pub fn find(place: &Place) -> Result<Found, OpenError> {
    let mut fd = open(place.root, LOOK, Mode::empty())?;
    for component in &place.below {
        if matches!(*component, "." | "..") || component.contains('\0') {
            return Err(OpenError::Inaccessible);
        }
        fd = openat(fd.as_fd(), *component, LOOK, Mode::empty())?;
    }
    let stat = fstat(&fd)?;
    match kind(&stat) {
        SFlag::S_IFLNK => Err(OpenError::Inaccessible),
        _ => Ok(Found { fd, stat }),
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

impl Found {
    /// It is a directory.
    pub fn is_directory(&self) -> bool {
        kind(&self.stat) == SFlag::S_IFDIR
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
