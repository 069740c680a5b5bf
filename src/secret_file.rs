//! A file that holds a secret: an ordinary one, of a bounded length, which others should not be able to read.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Most bytes of such a file.
pub const MAX_FILE: u64 = 64 * 1024;

/// Permission bits of those who are neither owner nor in the file's group.
const OTHERS: u32 = 0o007;

/// Why it is not read. None of it holds a part of the file.
#[derive(Debug)]
pub enum SecretFileError {
    /// It cannot be read.
    Read(io::Error),
    /// It is a directory, a pipe, or a device.
    NoFile,
    /// It is longer than [`MAX_FILE`].
    TooLarge,
}

/// Reads it, and warns when others could read it, too; `what` it is, for the warning.
///
/// # Errors
/// [`SecretFileError`].
pub fn read(path: &Path, what: &str) -> Result<Vec<u8>, SecretFileError> {
    let metadata = fs::metadata(path).map_err(SecretFileError::Read)?;
    // Asked before it is opened: a pipe without a writer would hold us up.
    if !metadata.is_file() {
        return Err(SecretFileError::NoFile);
    }
    if metadata.permissions().mode() & OTHERS != 0 {
        log::warn!("the {what} {0} is open to others; mend it with: chmod o= {0}", path.display());
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(SecretFileError::Read)?;
    if bytes.len() as u64 > MAX_FILE { Err(SecretFileError::TooLarge) } else { Ok(bytes) }
}
