//! The sandbox's files, brought back from the guest before it goes: `ssh … tar -cf -` read by a reader of ours, which takes regular
//! files and directories and nothing else, never more than the limits, and writes only below the sandbox on the host.
//!
//! It runs in a process of its own, `mesos-slave vm-collect`, which starts ssh and reads it: whatever a guest sends, no more than
//! that process can be lost.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;

use crate::archive::place::{self, Place, PlaceError};
use crate::archive::stream::{Kind, Stream, StreamError};
use crate::archive::{Failure, Owner, unpack_file};
use crate::poll::PollSet;
use crate::subprocess::{Spawn, Subprocess};

use super::quote::quote;
use super::ssh::{Ssh, as_root, clean_environment};

/// Files at the top of the sandbox that are the host's own, or that it has already.
pub const OUR_FILES: [&str; 5] = ["stdout", "stderr", "vm.log", "console.log", "launcher.sh"];

/// Memory of the process that reads the stream; it needs a few MiB, and ssh's is its own.
const MEMORY: u64 = 256 * 1024 * 1024;

/// How much is brought back at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files together, a sparse file's holes included: the task's disk.
    pub bytes: u64,
    /// Files and directories.
    pub files: u64,
}

/// Files that were left, and how large they claim to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What was brought back, and what was not.
#[derive(Debug, Default)]
pub struct Summary {
    /// Regular files, with their bytes.
    pub files: Tally,
    /// Directories.
    pub directories: u64,
    /// Left: more than what was still free of [`Limits::bytes`].
    pub too_large: Tally,
    /// Left: more than [`Limits::files`].
    pub too_many: u64,
    /// Left: symlinks, hard links, FIFOs, devices and whatever else is neither a file nor a directory.
    pub special: u64,
    /// Left: names that lead out of the sandbox, or are too long or too deep.
    pub names: u64,
    /// Left: something else has the name on the host already.
    pub in_the_way: u64,
    /// Why it ended before the stream did.
    pub incomplete: Option<CollectError>,
}

/// Why bringing back ended early.
#[derive(Debug)]
pub enum CollectError {
    /// The sandbox on the host cannot be opened.
    Open(io::Error),
    /// The stream is not as tar writes it, or broke off.
    Stream(StreamError),
    /// The host cannot write.
    Write(io::Error),
    /// The command that was to write the archive failed, and said why on its stderr.
    Command,
}

impl fmt::Display for CollectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CollectError::Open(error) => {
                write!(f, "the sandbox on the host cannot be opened: {error}")
            }
            CollectError::Stream(error) => write!(f, "{error}"),
            CollectError::Write(error) => {
                write!(f, "the host cannot write into the sandbox: {error}; is the disk of --work_dir full?")
            }
            CollectError::Command => write!(f, "ssh or the guest's tar failed"),
        }
    }
}

impl std::error::Error for CollectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CollectError::Open(error) | CollectError::Write(error) => Some(error),
            CollectError::Stream(error) => Some(error),
            CollectError::Command => None,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "brought back: {} files, {}", self.files.count, bytes(self.files.bytes))?;
        if self.too_large.count > 0 {
            let Tally { count, bytes: size } = self.too_large;
            write!(f, "\nnot brought back: {count} files, {}: larger than the task's disk", bytes(size))?;
        }
        for (count, why) in [
            (self.too_many, "more files than are brought back from one sandbox"),
            (self.special, "links, FIFOs, devices and the like"),
            (self.names, "names that lead out of the sandbox, or are too long"),
            (self.in_the_way, "the host has something else of that name"),
        ] {
            if count > 0 {
                write!(f, "\nnot brought back: {count} files: {why}")?;
            }
        }
        match &self.incomplete {
            Some(error) => write!(f, "\nnot brought back: all that came after: {error}"),
            None => Ok(()),
        }
    }
}

/// A line of a printed [`Summary`] tells of files that a user would miss: what came after a failure, or was too large.
pub fn is_loss(line: &str) -> bool {
    line.starts_with("not brought back: ") && (line.contains("all that came after") || line.contains("larger than"))
}

/// `3.5 MiB`.
fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = count as f64;
    let mut unit = "bytes";
    for next in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "bytes" { format!("{count} bytes") } else { format!("{value:.1} {unit}") }
}

/// The script that writes the sandbox as an archive. GNU tar skips holes; other tars (busybox) write them out, and the reader's
/// limits end that. What was fetched, and has not changed since, the host has: GNU tar leaves it out, by the time of the launcher's mark.
pub fn remote_script(state: &str, sandbox: &str) -> String {
    let exclude: String = OUR_FILES.iter().map(|name| format!(" --exclude=./{name}")).collect();
    let mark = quote(&format!("{state}/fetched"));
    format!(
        "cd {} && if tar --version 2>/dev/null | grep -q GNU; then set --; \
         [ ! -f {mark} ] || set -- --newer={mark} --warning=no-file-unchanged; \
         exec tar --format=gnu --one-file-system -S{exclude} \"$@\" -cf - .; else exec tar -cf - .; fi",
        quote(sandbox)
    )
}

/// The job that brings a guest's sandbox into the host's, which has the same path. It prints the [`Summary`]; it fails when not all of the stream was read.
pub fn job(ssh: &Ssh, state: &str, sandbox: &Path, limits: Limits, owner: Owner) -> Spawn {
    let numbers = [limits.bytes, limits.files, owner.uid.into(), owner.gid.into()].map(|number| number.to_string());
    let script = remote_script(state, &sandbox.to_string_lossy());
    Spawn::ourselves("vm-collect").arg(sandbox).with(|command| {
        command.args(numbers).args(ssh.session(&as_root(&script)));
    })
}

/// `mesos-slave vm-collect SANDBOX BYTES FILES UID GID COMMAND…`: runs the command and takes the archive that it writes.
pub fn main(arguments: &[OsString]) -> ExitCode {
    match collect(arguments) {
        Ok(summary) => {
            println!("{summary}");
            match summary.incomplete {
                Some(CollectError::Command) => ExitCode::FAILURE,
                Some(error) => failed(&error.to_string()),
                None => ExitCode::SUCCESS,
            }
        }
        Err(reason) => failed(&reason),
    }
}

fn failed(reason: &str) -> ExitCode {
    eprintln!("{reason}");
    ExitCode::FAILURE
}

fn collect(arguments: &[OsString]) -> Result<Summary, String> {
    let usage = || "usage: mesos-slave vm-collect SANDBOX BYTES FILES UID GID COMMAND…".to_string();
    let [into, bytes, files, uid, gid, program, words @ ..] = arguments else {
        return Err(usage());
    };
    let number = |text: &OsString| text.to_str().and_then(|text| text.parse::<u64>().ok()).ok_or_else(usage);
    let id = |text| number(text).and_then(|number| u32::try_from(number).map_err(|_| usage()));
    let limits = Limits { bytes: number(bytes)?, files: number(files)? };
    let owner = Owner { uid: id(uid)?, gid: id(gid)? };

    let mut command = Command::new(program);
    clean_environment(&mut command);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped());
    let started = Spawn::command(command).die_with_parent().spawn();
    let mut process = started.map_err(|error| format!("cannot run {program:?}: {error}"))?;
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY).map_err(|error| format!("cannot limit the memory: {error}"))?;
    let stdout = process.stdout.take().ok_or("no pipe")?;
    let summary = extract(stdout, Path::new(into), limits, owner);
    let mut summary = summary.map_err(|error| error.to_string())?;
    if matches!(summary.incomplete, Some(CollectError::Stream(StreamError::BrokenOff))) {
        // Its output has ended, so it does, too; what it said on our stderr is the reason.
        wait(&mut process);
        let failed = process.try_wait().is_some_and(|exit| !exit.is_success());
        if failed {
            summary.incomplete = Some(CollectError::Command);
        }
    }
    process.signal(Signal::SIGKILL); // at the archive's end there is nothing left that it could do
    wait(&mut process);
    Ok(summary)
}

/// Waits for its end, a little.
fn wait(process: &mut Subprocess) {
    if process.try_wait().is_some() {
        return;
    }
    let mut set = PollSet::new();
    process.register(&mut set);
    let _ = set.wait(Some(Instant::now() + Duration::from_secs(2)));
    process.try_wait();
}

/// Reads an archive to its end and writes its files below a directory. What is left out is in the summary, as is why it ended early.
///
/// # Errors
/// [`CollectError::Open`].
pub fn extract(reader: impl Read, into: &Path, limits: Limits, owner: Owner) -> Result<Summary, CollectError> {
    let mut place = Place::open(into, owner).map_err(CollectError::Open)?;
    // What is skipped is read, too: some room for that, and an end to it.
    let most = limits
        .bytes
        .saturating_mul(2)
        .saturating_add(64 * 1024 * 1024)
        .saturating_add(limits.files.saturating_mul(4096));
    let mut stream = Stream::new(reader, most);
    let mut summary = Summary::default();
    match extract_all(&mut stream, &mut place, limits, &mut summary) {
        // The guest's tar would be told of a broken pipe.
        Ok(()) => drop(stream.into_inner().take(64 * 1024).read_to_end(&mut Vec::new())),
        Err(error) => summary.incomplete = Some(error),
    }
    Ok(summary)
}

fn extract_all(
    stream: &mut Stream<impl Read>,
    place: &mut Place,
    limits: Limits,
    summary: &mut Summary,
) -> Result<(), CollectError> {
    while let Some(entry) = stream.next().map_err(CollectError::Stream)? {
        let Some(path) = place::components(&entry.path) else {
            summary.names += 1;
            continue;
        };
        let Some(first) = path.first() else { continue }; // the sandbox itself
        if OUR_FILES.iter().any(|name| name.as_bytes() == *first) {
            continue;
        }
        if matches!(entry.kind, Kind::Symlink | Kind::HardLink | Kind::Other) {
            summary.special += 1;
        } else if summary.files.count + summary.directories >= limits.files {
            summary.too_many += 1;
        } else if entry.kind == Kind::Directory {
            match place.directory(&path, entry.mode) {
                Ok(()) => summary.directories += 1,
                Err(error) => refused(error, summary)?,
            }
        } else if entry.size > limits.bytes.saturating_sub(summary.files.bytes) {
            summary.too_large.add(entry.size);
        } else {
            match unpack_file(stream, place, &path, &entry) {
                Ok(()) => summary.files.add(entry.size),
                Err(Failure::Place(error)) => refused(error, summary)?,
                Err(Failure::Stream(error)) => return Err(CollectError::Stream(error)),
            }
        }
    }
    Ok(())
}

/// Something in the way costs one file; a disk that cannot be written costs the rest.
fn refused(error: PlaceError, summary: &mut Summary) -> Result<(), CollectError> {
    match error {
        PlaceError::InTheWay => {
            summary.in_the_way += 1;
            Ok(())
        }
        PlaceError::Io(error) => Err(CollectError::Write(error)),
    }
}

#[cfg(test)]
#[path = "collect/tests.rs"]
mod tests;
