//! What the fetcher says in the sandbox's stderr, in the words and the form of Mesos' fetcher: `I1124 14:14:13.123456  4711 fetcher] …`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::archive::Owner;
use crate::container::text::printable;
use crate::vm::record::civil;

/// The file.
#[derive(Debug)]
pub struct Lines(File);

impl Lines {
    /// Opens `stderr` in a sandbox, or makes it.
    ///
    /// # Errors
    /// When it cannot be made, or is no file of its own.
    pub fn open(sandbox: &Path, owner: Owner) -> io::Result<Lines> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o644).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(sandbox.join("stderr"))?;
        let there = file.metadata()?;
        if !there.is_file() || there.nlink() != 1 {
            return Err(io::Error::other("stderr in the sandbox is no file of its own"));
        }
        fchown(&file, Some(owner.uid), Some(owner.gid))?;
        Ok(Lines(file))
    }

    /// Something was done, or begins.
    pub fn info(&mut self, text: &str) {
        self.line('I', text);
    }

    /// Something is not as it was wanted.
    pub fn warning(&mut self, text: &str) {
        self.line('W', text);
    }

    /// Fetching has failed.
    pub fn error(&mut self, text: &str) {
        self.line('E', text);
    }

    fn line(&mut self, level: char, text: &str) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, micros) = (since.as_secs(), since.subsec_micros());
        let (_, month, day) = civil(seconds / 86400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let pid = std::process::id();
        // A full disk is what the task will notice, too.
        let _ = writeln!(
            self.0,
            "{level}{month:02}{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06} {pid:5} fetcher] {}",
            printable(text)
        );
    }
}
