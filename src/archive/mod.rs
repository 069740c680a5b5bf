//! Archives that others made, unpacked by a process that may be root: what a guest sends back, and what a framework has us fetch.
//!
//! ```text
//! stream.rs   tar: bytes → entries, with a bound on every length that the stream names
//! zip.rs      the same of a zip file
//! gzip.rs     the members of a gzip file, one after the other
//! place.rs    names → files below one directory, no link followed
//! ```

pub mod gzip;
pub mod place;
pub mod stream;
pub mod zip;

use std::io::Read;
use std::os::fd::OwnedFd;

use self::place::{Place, PlaceError};
use self::stream::{Entry, Stream, StreamError};

/// Whose the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Why a file was not unpacked.
#[derive(Debug)]
pub enum Failure {
    /// It has no place.
    Place(PlaceError),
    /// The archive cannot be read on.
    Stream(StreamError),
}

/// One regular file of a tar archive: whole, or not there.
///
/// # Errors
/// [`Failure`].
pub fn unpack_file(
    stream: &mut Stream<impl Read>,
    place: &mut Place,
    path: &[&[u8]],
    entry: &Entry,
) -> Result<(), Failure> {
    let (directory, file) = place.file(path).map_err(Failure::Place)?;
    let result = copy(stream, &file, entry);
    let result = result.and_then(|()| place.finish(&file, entry.mode, entry.mtime).map_err(Failure::Place));
    if result.is_err() {
        place.remove(&directory, path);
    }
    result
}

fn copy(stream: &mut Stream<impl Read>, file: &OwnedFd, entry: &Entry) -> Result<(), Failure> {
    let mut buffer = vec![0u8; 64 * 1024];
    for (offset, length) in &entry.segments {
        let (mut at, end) = (*offset, offset + length);
        while at < end {
            let want = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            stream.data(&mut buffer[..want]).map_err(Failure::Stream)?;
            place::write_at(file, &buffer[..want], at).map_err(Failure::Place)?;
            at += want as u64;
        }
    }
    place::set_length(file, entry.size).map_err(Failure::Place)
}
