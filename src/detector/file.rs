//! `--master=file:///path`: what the file says, and what it says later. It is read again every minute, and more often as long as it
//! says nothing; a file that is being rewritten, or was spoilt, changes nothing.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::flags::Master;
use crate::poll::Backoff;

/// Largest file, in bytes.
const MAX_FILE: u64 = 16 * 1024;
/// While nothing has been found: the first wait, doubling to [`AGAIN`].
const FIRST: Duration = Duration::from_secs(1);
/// Between looks at a file.
const AGAIN: Duration = Duration::from_secs(60);

/// Why a file says nothing about a master.
#[derive(Debug)]
pub enum FileError {
    /// It cannot be read.
    Read(io::Error),
    /// It is a directory, a pipe, a device.
    Kind,
    /// It is too large.
    Size,
    /// It has nothing in it, yet.
    Empty,
    /// It holds no notation for a master. The text does not repeat it, for it may have a password.
    Content(String),
}

impl FileError {
    /// Whether time may mend it.
    pub fn may_pass(&self) -> bool {
        match self {
            FileError::Read(_) | FileError::Empty => true,
            FileError::Kind | FileError::Size | FileError::Content(_) => false,
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Read(source) => source.fmt(f),
            FileError::Kind => f.write_str("it is no regular file"),
            FileError::Size => write!(f, "it has more than {MAX_FILE} bytes; it should hold one line"),
            FileError::Empty => f.write_str("it is empty"),
            FileError::Content(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FileError::Read(source) => Some(source),
            FileError::Kind | FileError::Size | FileError::Empty | FileError::Content(_) => None,
        }
    }
}

/// Reads the file once.
///
/// # Errors
/// Why it says nothing about a master.
pub fn read(path: &Path) -> Result<Master, FileError> {
    // A pipe in its place must not hold us up.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(FileError::Read)?;
    if !file.metadata().map_err(FileError::Read)?.is_file() {
        return Err(FileError::Kind);
    }
    let mut content = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(FileError::Read)?;
    if content.len() as u64 > MAX_FILE {
        return Err(FileError::Size);
    }
    let text = String::from_utf8(content).map_err(|_| FileError::Content("it is not UTF-8".into()))?;
    match text.trim() {
        "" => Err(FileError::Empty),
        text => Master::parse_file(text).map_err(FileError::Content),
    }
}

/// A file that is watched.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    said: Option<Master>,
    look_at: Instant,
    backoff: Backoff,
    /// The last complaint: each is made once.
    complaint: Option<String>,
}

impl Watched {
    /// A file that will be read in the first turn.
    pub fn new(path: PathBuf, now: Instant) -> Watched {
        Watched { path, said: None, look_at: now, backoff: Backoff::new(FIRST, AGAIN), complaint: None }
    }

    /// When it will be read again.
    pub fn deadline(&self) -> Instant {
        self.look_at
    }

    /// Reads it when it is due; what it says if that is new.
    pub fn turn(&mut self, now: Instant) -> Option<Master> {
        if now < self.look_at {
            return None;
        }
        let new = match read(&self.path) {
            Ok(master) => {
                self.complaint = None;
                (self.said.as_ref() != Some(&master)).then_some(master)
            }
            Err(error) => {
                self.complain(error.to_string());
                None
            }
        };
        if new.is_some() {
            self.said.clone_from(&new);
        }
        let wait = if self.said.is_some() { AGAIN } else { self.backoff.next_wait() };
        self.look_at = now + wait;
        new
    }

    fn complain(&mut self, why: String) {
        if self.complaint.as_ref() != Some(&why) {
            let then =
                if self.said.is_some() { "keeping what it said before" } else { "waiting for it to name a master" };
            log::warn!("{}: {why}; {then}", self.path.display());
            self.complaint = Some(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("mesos-slave-master-{}-{name}", std::process::id()));
            let _ = fs::remove_file(&path);
            Scratch(path)
        }

        fn write(&self, text: impl AsRef<[u8]>) {
            fs::write(&self.0, text).expect("write");
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_file_that_comes_late_is_found_and_one_that_changes_is_followed() {
        let scratch = Scratch::new("late");
        let start = Instant::now();
        let mut watched = Watched::new(scratch.0.clone(), start);
        assert_eq!(watched.turn(start), None);
        scratch.write("");
        assert_eq!(watched.turn(start + Duration::from_secs(1)), None);
        scratch.write("10.0.0.1:5050\n");
        assert_eq!(watched.turn(start + Duration::from_secs(2)), None, "the back-off is kept to");
        let found = watched.deadline();
        assert_eq!(found, start + Duration::from_secs(3));
        assert_eq!(watched.turn(found), Master::parse("10.0.0.1:5050").ok());
        assert_eq!(watched.deadline(), found + AGAIN);
        assert_eq!(watched.turn(found + AGAIN), None);
        scratch.write("zk://a:2181/mesos");
        assert_eq!(watched.turn(found + AGAIN * 2), Master::parse("zk://a:2181/mesos").ok());
    }

    #[test]
    fn a_file_that_was_spoilt_changes_nothing() {
        let scratch = Scratch::new("spoilt");
        let start = Instant::now();
        scratch.write("a:1");
        let mut watched = Watched::new(scratch.0.clone(), start);
        assert!(watched.turn(start).is_some());
        for (count, text) in ["", "local", "zk://", "a:1"].iter().enumerate() {
            scratch.write(text);
            assert_eq!(watched.turn(start + AGAIN * (count as u32 + 1)), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_file_with_a_master_says_why() {
        let scratch = Scratch::new("wrong");
        assert!(matches!(read(&scratch.0), Err(FileError::Read(_))));
        assert!(matches!(read(Path::new("/")), Err(FileError::Kind)));
        assert!(matches!(read(Path::new("/dev/zero")), Err(FileError::Kind)));
        scratch.write(vec![b'a'; MAX_FILE as usize + 1]);
        assert!(matches!(read(&scratch.0), Err(FileError::Size)));
        scratch.write([0xff]);
        assert!(read(&scratch.0).unwrap_err().to_string().contains("UTF-8"));
        scratch.write(" \n");
        assert!(read(&scratch.0).unwrap_err().may_pass());
        scratch.write("file:///x");
        assert!(!read(&scratch.0).unwrap_err().may_pass());
    }
}
