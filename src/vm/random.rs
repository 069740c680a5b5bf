//! Random bytes from the kernel.

use std::fs::File;
use std::io::{self, Read};

/// Where they come from.
pub const SOURCE: &str = "/dev/urandom";

/// As many random bytes as are asked for.
///
/// # Errors
/// What reading [`SOURCE`] gives.
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open(SOURCE)?.read_exact(&mut bytes)?;
    Ok(bytes)
}
