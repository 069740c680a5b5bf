//! Unpacking into the sandbox. An archive is what its first bytes say, whatever its name, as with Mesos' libarchive. Files, directories and
//! links that stay inside are made; anything else ends it, since a task that lacks a part of its archive should not start.
//!
//! ```text
//! zip                       archive/zip.rs
//! tar                       archive/stream.rs
//!  └─ gzip                  archive/gzip.rs
//!  └─ bzip2, xz             programs, run as the user for whom it is fetched
//! ```

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::error::FetchError;
use super::sandbox::Sandbox;
use super::source::Tools;
use crate::archive::gzip::Members;
use crate::archive::place::{PlaceError, components, leads_inside};
use crate::archive::stream::{Entry, Kind, Stream, StreamError};
use crate::archive::zip::{Zip, ZipError};
use crate::archive::{Failure, unpack_file};
use crate::subprocess::{Exit, Spawn, Subprocess};

/// Longest target of a link in a zip file, where it is the file's content.
const LONGEST_LINK: u64 = 4096;
/// Most bytes after a tar archive's end: padding.
const PADDING: u64 = 64 << 20;

/// Why an archive was not unpacked, or not whole.
#[derive(Debug)]
pub enum UnpackError {
    /// A name that leads out of the sandbox, or is too long or too deep.
    Name(Vec<u8>),
    /// A link that leads out of the sandbox, or may.
    Link(Vec<u8>, Vec<u8>),
    /// A device, a FIFO, or what else is neither file, directory nor link.
    Special(Vec<u8>),
    /// The name of a file of the slave's.
    Reserved(Vec<u8>),
    /// Something else has the name already.
    InTheWay(Vec<u8>),
    /// Too many files.
    TooMany,
    /// The tar archive.
    Tar(StreamError),
    /// The zip file.
    Zip(ZipError),
    /// What is compressed.
    Gzip(io::Error),
    /// A program that decompresses: its name and its words.
    Program(&'static str, String),
    /// A limit or the host.
    Other(Box<FetchError>),
}

impl fmt::Display for UnpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |name: &[u8]| format!("{:?}", String::from_utf8_lossy(&name[..name.len().min(200)]));
        match self {
            UnpackError::Name(path) => write!(f, "the name {} leads out of the sandbox, or is too long", name(path)),
            UnpackError::Link(path, target) => {
                write!(f, "the link {} to {} leads out of the sandbox", name(path), name(target))
            }
            UnpackError::Special(path) => write!(f, "{} is neither a file nor a directory nor a link", name(path)),
            UnpackError::Reserved(path) => write!(f, "{} is the name of a file of the slave's", name(path)),
            UnpackError::InTheWay(path) => {
                write!(f, "{}: the sandbox has something else under that name already", name(path))
            }
            UnpackError::TooMany => write!(f, "it holds more files than are unpacked into one sandbox"),
            UnpackError::Tar(error) => write!(f, "{error}"),
            UnpackError::Zip(error) => write!(f, "{error}"),
            UnpackError::Gzip(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                write!(f, "the compressed data broke off")
            }
            UnpackError::Gzip(error) => write!(f, "the compressed data cannot be read: {error}"),
            UnpackError::Program(program, why) => write!(f, "{program}: {why}"),
            UnpackError::Other(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for UnpackError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            UnpackError::Tar(error) => Some(error),
            UnpackError::Zip(error) => Some(error),
            UnpackError::Gzip(error) => Some(error),
            UnpackError::Other(error) => Some(error),
            UnpackError::Name(_)
            | UnpackError::Link(..)
            | UnpackError::Special(_)
            | UnpackError::Reserved(_)
            | UnpackError::InTheWay(_)
            | UnpackError::TooMany
            | UnpackError::Program(..) => None,
        }
    }
}

impl From<ZipError> for UnpackError {
    fn from(error: ZipError) -> UnpackError {
        UnpackError::Zip(error)
    }
}

impl From<FetchError> for UnpackError {
    fn from(error: FetchError) -> UnpackError {
        UnpackError::Other(Box::new(error))
    }
}

fn place_error(error: PlaceError, path: &[u8]) -> UnpackError {
    match error {
        PlaceError::InTheWay => UnpackError::InTheWay(path.to_vec()),
        PlaceError::Io(error) => FetchError::Write(error).into(),
    }
}

fn host_error(error: io::Error) -> UnpackError {
    FetchError::Io("the archive cannot be read", error).into()
}

/// Unpacks an archive into the sandbox.
///
/// # Errors
/// [`UnpackError`]; what was unpacked so far stays.
pub fn unpack(archive: &File, sandbox: &mut Sandbox, tools: &Tools) -> Result<(), UnpackError> {
    let mut magic = [0u8; 6];
    let length = archive.read_at(&mut magic, 0).map_err(host_error)?;
    let mut file = archive.try_clone().map_err(host_error)?;
    file.seek(SeekFrom::Start(0)).map_err(host_error)?;
    match &magic[..length] {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => unzip(Zip::open(file)?, sandbox),
        [0x1f, 0x8b, ..] => untar(Members::new(BufReader::new(file)), sandbox),
        [b'B', b'Z', b'h', ..] => decompress("bzip2", &["-dc"], file, sandbox, tools),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            decompress("xz", &["-dc", "-T1", "--memlimit-decompress=512MiB"], file, sandbox, tools)
        }
        _ => untar(BufReader::new(file), sandbox),
    }
}

/// Decompresses a file that is no archive.
///
/// # Errors
/// [`UnpackError`]; there is no file then.
pub fn gunzip(packed: &File, sandbox: &mut Sandbox, into: &str) -> Result<(), UnpackError> {
    let mut file = packed.try_clone().map_err(host_error)?;
    file.seek(SeekFrom::Start(0)).map_err(host_error)?;
    let failed = |error| FetchError::Unpack(into.to_string(), UnpackError::Gzip(error));
    match sandbox.copy(&mut Members::new(BufReader::new(file)), into.as_bytes(), 0o644, failed) {
        Ok(_) => Ok(()),
        Err(FetchError::Unpack(_, error)) => Err(error),
        Err(error) => Err(error.into()),
    }
}

/// A tar archive that a program decompresses. What the program says is the reason, should the archive break off.
fn decompress(
    program: &'static str,
    options: &[&str],
    packed: File,
    sandbox: &mut Sandbox,
    tools: &Tools,
) -> Result<(), UnpackError> {
    let mut command = tools.command(program)?;
    command.args(options).stdin(packed).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = start(program, command)?;
    let output = process.stdout.take();
    let result = match output {
        Some(output) => untar(output, sandbox),
        None => Err(UnpackError::Program(program, "no pipe".into())),
    };
    if matches!(result, Err(ref error) if !matches!(error, UnpackError::Tar(StreamError::BrokenOff))) {
        process.signal(Signal::SIGKILL);
        process.wait().map_err(host_error)?;
        return result;
    }
    let mut words = Vec::new();
    if let Some(pipe) = process.stderr.take() {
        pipe.take(4096).read_to_end(&mut words).map_err(host_error)?;
    }
    process.signal(Signal::SIGKILL); // it has ended its output, and so itself, or has more to say than anybody wants to hear
    let exit = process.wait().map_err(host_error)?;
    let text = String::from_utf8_lossy(&words);
    match text.lines().find(|line| !line.trim().is_empty()) {
        Some(line) if exit != Exit::Status(0) => {
            let line = line.trim().trim_start_matches(program).trim_start_matches(": ");
            Err(UnpackError::Program(program, line.to_string()))
        }
        _ => result,
    }
}

fn start(program: &'static str, command: Command) -> Result<Subprocess, UnpackError> {
    let started = Spawn::command(command).die_with_parent().spawn();
    started.map_err(|error| FetchError::Program(program, error).into())
}

fn untar(reader: impl Read, sandbox: &mut Sandbox) -> Result<(), UnpackError> {
    let most = sandbox.left().saturating_add(PADDING).saturating_add(sandbox.files.saturating_mul(4096));
    let mut stream = Stream::new(reader, most);
    while let Some(entry) = stream.next().map_err(UnpackError::Tar)? {
        let Some(path) = usable(&entry.path, sandbox)? else { continue };
        match entry.kind {
            Kind::File => {
                sandbox.take(entry.size)?;
                unpack_file(&mut stream, &mut sandbox.place, &path, &entry).map_err(|failure| match failure {
                    Failure::Place(error) => place_error(error, &entry.path),
                    Failure::Stream(error) => UnpackError::Tar(error),
                })?;
            }
            Kind::HardLink => hard_link(&entry, &path, sandbox)?,
            Kind::Directory => directory(&entry.path, &path, entry.mode, sandbox)?,
            Kind::Symlink => symlink(&entry.path, &path, &entry.link, sandbox)?,
            Kind::Other => return Err(UnpackError::Special(entry.path)),
        }
    }
    // To its end, where a checksum is, and where a program that writes it is not told of a broken pipe.
    match io::copy(&mut stream.into_inner().take(PADDING), &mut io::sink()) {
        Ok(_) => Ok(()),
        Err(error) => Err(UnpackError::Gzip(error)),
    }
}

fn unzip(mut zip: Zip, sandbox: &mut Sandbox) -> Result<(), UnpackError> {
    while let Some(entry) = zip.next()? {
        let Some(path) = usable(&entry.path, sandbox)? else { continue };
        match entry.kind {
            Kind::File => {
                let name = String::from_utf8_lossy(&entry.path).into_owned();
                let mut content = zip.content(&entry)?;
                let failed = |error| FetchError::Unpack(name.clone(), UnpackError::Zip(ZipError::Read(error)));
                match sandbox.copy(&mut content, &entry.path, entry.mode, failed) {
                    Err(FetchError::Unpack(_, error)) => return Err(error),
                    Err(FetchError::InTheWay(_)) => return Err(UnpackError::InTheWay(entry.path)),
                    other => other.map(|_| ())?,
                }
            }
            Kind::Directory => directory(&entry.path, &path, entry.mode, sandbox)?,
            Kind::Symlink => {
                let mut target = Vec::new();
                let mut content = zip.content(&entry)?.take(LONGEST_LINK + 1);
                content.read_to_end(&mut target).map_err(|error| UnpackError::Zip(ZipError::Read(error)))?;
                symlink(&entry.path, &path, &target, sandbox)?;
            }
            Kind::HardLink | Kind::Other => return Err(UnpackError::Special(entry.path)),
        }
    }
    Ok(())
}

/// The components of a name that may be used; none for the sandbox itself. Each counts as a file.
fn usable<'a>(name: &'a [u8], sandbox: &mut Sandbox) -> Result<Option<Vec<&'a [u8]>>, UnpackError> {
    let path = components(name).ok_or_else(|| UnpackError::Name(name.to_vec()))?;
    let Some(first) = path.first() else {
        return Ok(None);
    };
    if sandbox.reserved.iter().any(|name| name.as_bytes() == *first) {
        return Err(UnpackError::Reserved(name.to_vec()));
    }
    sandbox.count().ok_or(UnpackError::TooMany)?;
    Ok(Some(path))
}

/// A directory is always its owner's to write: what it holds comes later.
fn directory(name: &[u8], path: &[&[u8]], mode: u32, sandbox: &Sandbox) -> Result<(), UnpackError> {
    sandbox.place.directory(path, mode | 0o700).map_err(|error| place_error(error, name))
}

fn symlink(name: &[u8], path: &[&[u8]], target: &[u8], sandbox: &Sandbox) -> Result<(), UnpackError> {
    if !leads_inside(target, path.len() - 1) {
        return Err(UnpackError::Link(name.to_vec(), target.to_vec()));
    }
    sandbox.place.symlink(path, target).map_err(|error| place_error(error, name))
}

fn hard_link(entry: &Entry, path: &[&[u8]], sandbox: &Sandbox) -> Result<(), UnpackError> {
    let out = || UnpackError::Link(entry.path.clone(), entry.link.clone());
    let from = components(&entry.link).filter(|from| !from.is_empty()).ok_or_else(out)?;
    if sandbox.reserved.iter().any(|name| name.as_bytes() == from[0]) {
        return Err(out());
    }
    sandbox.place.hard_link(&from, path).map_err(|error| place_error(error, &entry.path))
}
