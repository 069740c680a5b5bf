//! A container's runtime directory, `<runtime_dir>/containers/<container id>`: what survives either side.
//!
//! ```text
//! spec     container.Spec, by the slave before the child is started
//! sock     the child's listening socket
//! pid      the child's pid, by the slave
//! log      the child's stderr
//! vm       container.VmState: what must be undone if the child dies
//! outcome  the container.FromChild with the terminal update, written before it is sent
//! done     empty: the child has cleaned up everything but this directory
//! ```
//!
//! Files appear whole: they are written beside their name and renamed. Only root reads them (0700, 0600).

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use prost::{Message, Name};

use super::status::Update;
use super::text::printable;
use crate::messages::container::{FromChild, Spec, VmState};
use crate::messages::{self, DecodeError};

/// The largest file that is read, in bytes. A spec carries a task as its framework sent it, `data` included.
const FILE_LIMIT: u64 = 64 << 20;

/// How much of the log's end is looked at for its last line, in bytes.
const LOG_TAIL: u64 = 4096;

/// Why the runtime directory could not be used.
#[derive(Debug)]
pub enum DirectoryError {
    /// A file or the directory could not be made, written, read or removed.
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is larger than anything that we write.
    TooLarge(PathBuf),
    /// A file does not hold what it should.
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: DecodeError,
    },
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirectoryError::Io { what, path, source } => {
                write!(f, "cannot {what} {}: {source}", path.display())
            }
            DirectoryError::TooLarge(path) => {
                write!(f, "{} is larger than {FILE_LIMIT} bytes; it is not ours", path.display())
            }
            DirectoryError::Content { path, source } => {
                write!(f, "{} is not as we wrote it: {source}", path.display())
            }
        }
    }
}

impl std::error::Error for DirectoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DirectoryError::Io { source, .. } => Some(source),
            DirectoryError::TooLarge(_) => None,
            DirectoryError::Content { source, .. } => Some(source),
        }
    }
}

/// The directory of one container, by its path.
#[derive(Debug, Clone)]
pub struct RuntimeDirectory {
    path: PathBuf,
}

impl RuntimeDirectory {
    /// The directory at this path, whether or not it exists.
    pub fn new(path: impl Into<PathBuf>) -> RuntimeDirectory {
        RuntimeDirectory { path: path.into() }
    }

    /// The directory of a container below `--runtime_dir`. The id must be a checked one.
    pub fn of(runtime_dir: &Path, container: &crate::ids::ContainerId) -> RuntimeDirectory {
        RuntimeDirectory::new(runtime_dir.join("containers").join(container.as_str()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The child's log.
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Makes it, with its parents, for root only.
    ///
    /// # Errors
    /// When it exists already, or what `mkdir(2)` gives.
    pub fn create(&self) -> Result<(), DirectoryError> {
        let io = |source| self.io("make", &self.path, source);
        if let Some(parent) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(io)?;
        }
        DirBuilder::new().mode(0o700).create(&self.path).map_err(io)
    }

    /// Removes it with all that is in it; one that is gone is fine.
    ///
    /// # Errors
    /// What `unlink(2)` and `rmdir(2)` give.
    pub fn remove(&self) -> Result<(), DirectoryError> {
        match fs::remove_dir_all(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(self.io("remove", &self.path, source)),
            _ => Ok(()),
        }
    }

    /// Binds `sock`. The path may be longer than the 108 bytes of a socket address: it is reached through a descriptor.
    ///
    /// # Errors
    /// What `open(2)` and `bind(2)` give.
    pub fn listen(&self) -> Result<UnixListener, DirectoryError> {
        let (_directory, short) = self.short_sock()?;
        UnixListener::bind(short).map_err(|source| self.io("bind", &self.path.join("sock"), source))
    }

    /// Connects to `sock`. It does not wait for the child: the connection lies in the backlog until the child takes it.
    ///
    /// # Errors
    /// What `open(2)` and `connect(2)` give; refused when the child has ended.
    pub fn connect(&self) -> Result<UnixStream, DirectoryError> {
        let (_directory, short) = self.short_sock()?;
        UnixStream::connect(short).map_err(|source| self.io("connect to", &self.path.join("sock"), source))
    }

    /// The descriptor must live as long as the path is used.
    fn short_sock(&self) -> Result<(File, PathBuf), DirectoryError> {
        let directory = File::open(&self.path).map_err(|source| self.io("open", &self.path, source))?;
        let short = PathBuf::from(format!("/proc/self/fd/{}/sock", directory.as_raw_fd()));
        Ok((directory, short))
    }

    /// Writes `spec`.
    ///
    /// # Errors
    /// What the system gives.
    pub fn write_spec(&self, spec: &Spec) -> Result<(), DirectoryError> {
        self.write("spec", &spec.encode_to_vec())
    }

    /// Reads `spec`.
    ///
    /// # Errors
    /// When it is missing or not a spec.
    pub fn read_spec(&self) -> Result<Spec, DirectoryError> {
        self.read_message("spec")
    }

    /// Writes `vm`.
    ///
    /// # Errors
    /// What the system gives.
    pub fn write_vm(&self, vm: &VmState) -> Result<(), DirectoryError> {
        self.write("vm", &vm.encode_to_vec())
    }

    /// Reads `vm`.
    ///
    /// # Errors
    /// When it is missing or not a VM's state.
    pub fn read_vm(&self) -> Result<VmState, DirectoryError> {
        self.read_message("vm")
    }

    /// Whether there is a `vm`: without one nothing of libvirt's has to be undone.
    pub fn has_vm(&self) -> bool {
        self.path.join("vm").exists()
    }

    /// Writes `outcome`.
    ///
    /// # Errors
    /// What the system gives.
    pub fn write_outcome(&self, update: &Update) -> Result<(), DirectoryError> {
        self.write("outcome", &update.to_message().encode_to_vec())
    }

    /// Reads `outcome`, if there is one.
    ///
    /// # Errors
    /// When it is not an update.
    pub fn read_outcome(&self) -> Result<Option<Update>, DirectoryError> {
        if !self.path.join("outcome").exists() {
            return Ok(None);
        }
        Ok(Update::of(&self.read_message::<FromChild>("outcome")?))
    }

    /// Writes `pid`.
    ///
    /// # Errors
    /// What the system gives.
    pub fn write_pid(&self, pid: i32) -> Result<(), DirectoryError> {
        self.write("pid", format!("{pid}\n").as_bytes())
    }

    /// Writes `done`.
    ///
    /// # Errors
    /// What the system gives.
    pub fn mark_done(&self) -> Result<(), DirectoryError> {
        self.write("done", b"")
    }

    /// Whether there is a `done`.
    pub fn is_done(&self) -> bool {
        self.path.join("done").exists()
    }

    /// Opens `log` for a child to append to.
    ///
    /// # Errors
    /// What `open(2)` gives.
    pub fn open_log(&self) -> Result<File, DirectoryError> {
        let path = self.log();
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| self.io("open", &path, source))
    }

    /// The last line of `log` that says anything.
    pub fn last_log_line(&self) -> Option<String> {
        let mut file = File::open(self.log()).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL))).ok()?;
        let mut tail = Vec::new();
        file.take(LOG_TAIL).read_to_end(&mut tail).ok()?;
        let text = String::from_utf8_lossy(&tail);
        text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(printable)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DirectoryError> {
        let path = self.path.join(name);
        let beside = self.path.join(format!(".{name}.new"));
        let io = |source| self.io("write", &path, source);
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside).map_err(io)?;
        file.write_all(bytes).map_err(io)?;
        fs::rename(&beside, &path).map_err(io)
    }

    fn read_message<M: Message + Default + Name>(&self, name: &str) -> Result<M, DirectoryError> {
        let path = self.path.join(name);
        let io = |source| self.io("read", &path, source);
        let file = File::open(&path).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > FILE_LIMIT {
            return Err(DirectoryError::TooLarge(path));
        }
        messages::decode(&bytes).map_err(|source| DirectoryError::Content { path, source })
    }

    fn io(&self, what: &'static str, path: &Path, source: io::Error) -> DirectoryError {
        DirectoryError::Io { what, path: path.to_path_buf(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::scratch::Scratch;
    use std::os::unix::fs::PermissionsExt;

    fn state() -> VmState {
        VmState {
            uri: "qemu:///system".into(),
            network: "mesos".into(),
            domain: "mesos-x".into(),
            mac: "52:54:00:00:00:01".into(),
            directory: "/var/lib/mesos-slave/vms/x".into(),
            ..Default::default()
        }
    }

    #[test]
    fn what_was_written_is_read_and_only_root_may_look() {
        let scratch = Scratch::new();
        let directory = RuntimeDirectory::new(scratch.path().join("a/b"));
        directory.create().expect("create");
        directory.write_vm(&state()).expect("write");
        assert_eq!(directory.read_vm().expect("read"), state());
        let mode = |path: PathBuf| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode(directory.path().to_path_buf()), 0o700);
        assert_eq!(mode(directory.path().join("vm")), 0o600);
    }

    #[test]
    fn a_file_of_garbage_is_named_in_the_error() {
        let scratch = Scratch::new();
        let directory = RuntimeDirectory::new(scratch.path());
        fs::write(scratch.path().join("spec"), b"garbage").expect("write");
        let error = directory.read_spec().expect_err("garbage is no spec");
        assert!(error.to_string().contains("spec is not as we wrote it"), "{error}");
    }

    #[test]
    fn a_socket_can_lie_deeper_than_its_address_is_long() {
        let scratch = Scratch::new();
        let directory = RuntimeDirectory::new(scratch.path().join("x".repeat(200)));
        directory.create().expect("create");
        let listener = directory.listen().expect("listen");
        let mut ours = directory.connect().expect("connect");
        let (mut theirs, _) = listener.accept().expect("accept");
        ours.write_all(b"!").expect("write");
        let mut byte = [0];
        theirs.read_exact(&mut byte).expect("read");
        assert_eq!(&byte, b"!");
    }

    #[test]
    fn the_last_line_that_says_anything_is_found() {
        let scratch = Scratch::new();
        let directory = RuntimeDirectory::new(scratch.path());
        assert_eq!(directory.last_log_line(), None);
        fs::write(directory.log(), "one\ntwo\n\n  \n").expect("write");
        assert_eq!(directory.last_log_line().as_deref(), Some("two"));
    }
}
