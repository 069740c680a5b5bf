//! The sandbox that is fetched into: files below it, all together no more than the task's disk.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::error::FetchError;
use crate::archive::Owner;
use crate::archive::place::{Place, PlaceError, components, write_at};

/// Files and directories that archives may hold; as many are brought back from a guest. Tests make that many faster when they are fewer.
const FILES: u64 = if cfg!(test) { 1000 } else { 100_000 };

/// The place, and what is still free of the limits.
pub struct Sandbox {
    /// Where files are made.
    pub place: Place,
    /// For the words about it.
    pub path: PathBuf,
    /// Files at its top that are the slave's.
    pub reserved: &'static [&'static str],
    /// Files and directories that may still be made.
    pub files: u64,
    limit: u64,
    used: u64,
}

impl Sandbox {
    /// Opens it, for files of this owner and so many bytes.
    ///
    /// # Errors
    /// What `open(2)` gives.
    pub fn open(path: &Path, owner: Owner, reserved: &'static [&'static str], limit: u64) -> io::Result<Sandbox> {
        let place = Place::open(path, owner)?;
        Ok(Sandbox { place, path: path.to_path_buf(), reserved, files: FILES, limit, used: 0 })
    }

    /// Bytes that may still be written.
    pub fn left(&self) -> u64 {
        self.limit - self.used
    }

    /// So many bytes will be written.
    ///
    /// # Errors
    /// [`FetchError::TooLarge`]; none of them may.
    pub fn take(&mut self, bytes: u64) -> Result<(), FetchError> {
        if bytes > self.left() {
            return Err(FetchError::TooLarge(self.limit));
        }
        self.used += bytes;
        Ok(())
    }

    /// Another file or directory will be made.
    /// None when there are too many, those included that were made for the way.
    pub fn count(&mut self) -> Option<()> {
        self.files = self.files.checked_sub(1)?;
        (self.place.directories_made() <= FILES).then_some(())
    }

    /// A path as the sandbox's owner sees it.
    pub fn show(&self, output: &str) -> String {
        self.path.join(output).display().to_string()
    }

    /// Makes a file out of what `fill` hands over; when that fails, there is none. The file stays open, for reading, too.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn write(
        &mut self,
        output: &[u8],
        mode: u32,
        fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), FetchError>) -> Result<(), FetchError>,
    ) -> Result<Written, FetchError> {
        let failed = |error| FetchError::place(error, &String::from_utf8_lossy(output));
        let path = components(output).filter(|path| !path.is_empty()).ok_or_else(|| failed(PlaceError::InTheWay))?;
        let (directory, file) = self.place.file(&path).map_err(failed)?;
        let mut size = 0;
        let result = fill(&mut |bytes| {
            self.take(bytes.len() as u64)?;
            write_at(&file, bytes, size).map_err(failed)?;
            size += bytes.len() as u64;
            Ok(())
        });
        let result = result.and_then(|()| self.place.give(&file, mode).map_err(failed));
        let written = Written { directory, file: File::from(file), name: path[path.len() - 1].to_vec(), size };
        match result {
            Ok(()) => Ok(written),
            Err(error) => {
                self.remove(&written);
                Err(error)
            }
        }
    }

    /// The same of what a reader gives.
    ///
    /// # Errors
    /// [`FetchError`]; the reader's own are made into one by `failed`.
    pub fn copy(
        &mut self,
        reader: &mut dyn Read,
        output: &[u8],
        mode: u32,
        failed: impl Fn(io::Error) -> FetchError,
    ) -> Result<Written, FetchError> {
        self.write(output, mode, |put| {
            let mut buffer = vec![0u8; 64 * 1024];
            loop {
                match reader.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(count) => put(&buffer[..count])?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(failed(error)),
                }
            }
        })
    }

    /// Takes a file away again; its bytes are free.
    pub fn remove(&mut self, written: &Written) {
        self.place.remove(&written.directory, &[&written.name]);
        self.used -= written.size;
    }
}

/// A file that was made.
pub struct Written {
    directory: OwnedFd,
    name: Vec<u8>,
    /// It itself.
    pub file: File,
    /// Its bytes.
    pub size: u64,
}
