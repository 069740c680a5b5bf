//! `mesos-slave fetch DIR`: brings what a container's command names (`CommandInfo.uris`) into its sandbox, before the command is
//! started. A child of the container's child; what went wrong is the last line of its stderr, with the URI.
//!
//! ```text
//! plan.rs       URIs ─► sources and names; refuses what cannot be
//! source.rs     a source ─► bytes, by programs that run as the task's user (curl, cat, hadoop); pipe.rs follows one of them
//! sandbox.rs    bytes ─► files, within the task's disk
//! unpack.rs     archives ─► files
//! cache.rs      files that are kept for the next task
//! in_guest.rs   what is not fetched, since the guest has it
//! lines.rs      what is told in the sandbox's stderr
//! ```
//!
//! HTTP is curl's: it knows proxies, certificates and redirections as Mesos' fetcher does (libcurl), brings no TLS into this binary, and a
//! hostile server talks to a process that is not root.

pub mod cache;
mod error;
mod in_guest;
mod lines;
mod pipe;
mod plan;
mod sandbox;
mod source;
mod unpack;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use nix::unistd::{User, geteuid};

pub use self::in_guest::{GuestFile, guest_files};
pub use self::plan::Finish;

use self::cache::{Cache, Found, Slot};
use self::error::FetchError;
use self::lines::Lines;
use self::plan::{Item, PlanError, Source};
use self::sandbox::{Sandbox, Written};
use self::source::Tools;
use self::unpack::UnpackError;
use crate::archive::Owner;
use crate::container::directory::RuntimeDirectory;
use crate::flags::FetcherFlags;
use crate::messages::container::{self, Spec};
use crate::path_map::PathMap;
use crate::process::start::find_user;
use crate::subprocess::JobEnd;
#[cfg(not(test))]
use crate::subprocess::Spawn;

/// Who reads the host's files for a guest: a user of that name in the guest is nobody's business here.
const NOBODY: &str = "nobody";

/// `--fetcher_stall_timeout` of a slave that says nothing of it.
const STALL: Duration = Duration::from_secs(60);

/// Files at the top of a sandbox that are the slave's; with a VM, all that are not brought back.
const OURS: [&str; 2] = ["stdout", "stderr"];

/// What containers are told of fetching. Their cache is empty when a slave starts, as in Mesos; one that cannot be used costs
/// the cache alone.
pub fn settings(flags: &FetcherFlags) -> container::Fetcher {
    let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
    if flags.cache_size > 0 {
        let cache = Cache::open(&flags.cache_dir, flags.cache_size);
        if let Err(error) = cache.and_then(|cache| cache.clear()) {
            log::warn!("the fetcher's cache in {} cannot be used: {error}", flags.cache_dir.display());
        }
    }
    container::Fetcher {
        cache_dir: flags.cache_dir.to_string_lossy().into_owned(),
        cache_bytes: flags.cache_size,
        stall_timeout_ms: flags.stall_timeout.as_millis() as u64,
        frameworks_home: text(&flags.frameworks_home),
        hadoop_home: text(&flags.hadoop_home),
    }
}

/// The job that fetches for the container of a runtime directory.
#[cfg(not(test))]
pub fn job(directory: &RuntimeDirectory) -> Spawn {
    Spawn::ourselves("fetch").arg(directory.path())
}

/// The same by a test program, which takes its words for names of tests.
#[cfg(test)]
pub use self::tests::job;

/// What a job that failed has said, in the words of Mesos' agent (`Slave::executorLaunched`).
pub fn failure(end: &JobEnd) -> String {
    format!("Failed to launch container: {}", end.reason())
}

/// Whether a container has anything to fetch.
pub fn is_wanted(spec: &Spec) -> bool {
    spec.command().is_some_and(|command| !command.uris.is_empty())
}

/// `mesos-slave fetch DIR`.
pub fn main(arguments: &[String]) -> ExitCode {
    let [directory] = arguments else {
        eprintln!("usage: mesos-slave fetch DIR; it is for a container's child to start");
        return ExitCode::FAILURE;
    };
    let spec = RuntimeDirectory::new(directory).read_spec().map_err(|error| error.to_string());
    match spec.and_then(|spec| fetch(&spec)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{}", crate::container::text::printable(&reason));
            ExitCode::FAILURE
        }
    }
}

/// Fetches all URIs of a container's command, in order, to the first that fails.
///
/// # Errors
/// Which, and why.
pub fn fetch(spec: &Spec) -> Result<(), String> {
    umask(Mode::from_bits_truncate(0o022));
    let sandbox = Path::new(&spec.sandbox);
    let (user, owner) = who(spec).map_err(|error| format!("Failed to fetch: {error}"))?;
    let mut lines = Lines::open(sandbox, owner).map_err(|error| format!("cannot write stderr: {error}"))?;
    let result = fetch_all(spec, sandbox, user, owner, &mut lines);
    if let Err(reason) = &result {
        lines.error(reason);
    }
    result
}

fn fetch_all(spec: &Spec, path: &Path, user: User, owner: Owner, lines: &mut Lines) -> Result<(), String> {
    let flags = spec.fetcher.clone().unwrap_or_default();
    let failed = |uri: &str, error: FetchError| format!("Failed to fetch '{uri}': {error}");
    let items = items(spec).map_err(|(uri, error)| failed(&uri, FetchError::Plan(error)))?;
    let map = PathMap::of(spec);
    let sandbox = Sandbox::open(path, owner, reserved(spec), spec.disk());
    let stall = spec.fetcher.as_ref().map_or(STALL, |flags| Duration::from_millis(flags.stall_timeout_ms));
    let mut fetcher = Fetcher {
        sandbox: sandbox.map_err(|error| format!("Failed to fetch: cannot open {}: {error}", path.display()))?,
        tools: Tools { user, stall, hadoop_home: flags.hadoop_home.map(PathBuf::from) },
        lines,
        cache: (flags.cache_bytes > 0).then(|| (PathBuf::from(&flags.cache_dir), flags.cache_bytes)),
        for_whom: spec.user.clone().unwrap_or_default(),
    };
    for item in items {
        if let Some(there) = in_guest::path(&item, &map) {
            fetcher.lines.info(&format!("URI '{}' is not fetched: the guest has it, as '{there}'", item.uri));
            continue;
        }
        fetcher.lines.info(&format!("Fetching URI '{}'", item.uri));
        let place = fetcher.fetch(&item).map_err(|error| failed(&item.uri, error))?;
        fetcher.lines.info(&format!("Fetched '{}' to '{place}'", item.uri));
    }
    lines.info(&format!("Successfully fetched all URIs into '{}'", path.display()));
    Ok(())
}

/// What becomes of each URI of a container's command.
fn items(spec: &Spec) -> Result<Vec<Item>, (String, PlanError)> {
    let uris = spec.command().map(|command| command.uris.as_slice()).unwrap_or_default();
    let home = spec.fetcher.as_ref().and_then(|flags| flags.frameworks_home.as_deref());
    plan::plan(uris, home, reserved(spec))
}

fn reserved(spec: &Spec) -> &'static [&'static str] {
    if spec.vm.is_some() { &crate::vm::collect::OUR_FILES } else { &OURS }
}

/// Who reads and runs, and whose the files are: the command's user. For a guest, whose users are not ours: nobody, and whose the sandbox is.
fn who(spec: &Spec) -> Result<(User, Owner), FetchError> {
    let Some(_) = &spec.vm else {
        let user = find_user(spec.user.as_deref()).map_err(FetchError::User)?;
        let owner = Owner { uid: user.uid.as_raw(), gid: user.gid.as_raw() };
        return Ok((user, owner));
    };
    let reader = if geteuid().is_root() { Some(NOBODY) } else { None };
    let user = find_user(reader).map_err(FetchError::User)?;
    let there = fs::metadata(&spec.sandbox).map_err(|error| FetchError::Io("no sandbox", error))?;
    Ok((user, Owner { uid: there.uid(), gid: there.gid() }))
}

struct Fetcher<'a> {
    sandbox: Sandbox,
    tools: Tools,
    lines: &'a mut Lines,
    /// Its directory and its size.
    cache: Option<(PathBuf, u64)>,
    for_whom: String,
}

impl Fetcher<'_> {
    /// Fetches one; tells where it is then.
    fn fetch(&mut self, item: &Item) -> Result<String, FetchError> {
        match self.cache.clone().filter(|_| item.cache) {
            Some((directory, limit)) => {
                let cache = Cache::open(&directory, limit);
                let found = cache.and_then(|cache| Ok((cache.find(&self.for_whom, &item.uri)?, cache)));
                match found {
                    Ok((Found::Hit(file), _)) => self.take_cached(item, &file),
                    Ok((Found::Miss(slot), cache)) => self.through_cache(item, &cache, slot),
                    Err(error) => {
                        self.bypass(item, &error);
                        self.directly(item)
                    }
                }
            }
            None => self.directly(item),
        }
    }

    fn bypass(&mut self, item: &Item, error: &std::io::Error) {
        self.lines.warning(&format!(
            "Reverting to fetching directly into the sandbox for '{}', due to failure to fetch through the cache, with error: {error}",
            item.uri
        ));
    }

    fn directly(&mut self, item: &Item) -> Result<String, FetchError> {
        self.lines.info(&format!("Fetching '{}' directly into the sandbox directory", item.uri));
        let written = self.download(item)?;
        self.finish(item, &written.file)?;
        Ok(self.sandbox.show(&item.output))
    }

    /// A cached archive is not in the sandbox, only what it holds, as in Mesos.
    fn take_cached(&mut self, item: &Item, mut file: &File) -> Result<String, FetchError> {
        self.lines.info(&format!("Fetching URI '{}' from cache", item.uri));
        if matches!(item.finish, Finish::Unpack | Finish::Gunzip(_)) {
            self.finish(item, file)?;
            return Ok(self.sandbox.show(""));
        }
        let failed = |error| FetchError::Io("the cached file cannot be read", error);
        let written = self.sandbox.copy(&mut file, item.output.as_bytes(), 0o644, failed)?;
        self.finish(item, &written.file)?;
        Ok(self.sandbox.show(&item.output))
    }

    fn through_cache(&mut self, item: &Item, cache: &Cache, slot: Slot) -> Result<String, FetchError> {
        let written = self.download(item)?;
        if let Err(error) = cache.fill(&slot, &written.file, written.size) {
            self.lines.warning(&format!("'{}' is not kept in the cache: {error}", item.uri));
        }
        drop(slot);
        if matches!(item.finish, Finish::Unpack | Finish::Gunzip(_)) {
            self.sandbox.remove(&written);
            self.finish(item, &written.file)?;
            return Ok(self.sandbox.show(""));
        }
        self.finish(item, &written.file)?;
        Ok(self.sandbox.show(&item.output))
    }

    fn download(&mut self, item: &Item) -> Result<Written, FetchError> {
        let to = self.sandbox.show(&item.output);
        match &item.source {
            Source::Local(path) if *path != item.uri && !item.uri.contains("://") => {
                self.lines.info(&format!("Prepended Mesos frameworks home to relative path, making it: '{path}'"))
            }
            Source::Local(_) => {}
            Source::Net(url) => self.lines.info(&format!("Downloading resource from '{url}' to '{to}'")),
            Source::Hadoop(uri) => {
                self.lines.info(&format!("Downloading resource with Hadoop client from '{uri}' to '{to}'"));
            }
        }
        let (tools, most) = (&self.tools, self.sandbox.left());
        self.sandbox.write(item.output.as_bytes(), 0o644, |put| tools.get(&item.source, most, put))
    }

    fn finish(&mut self, item: &Item, file: &File) -> Result<(), FetchError> {
        let from = self.sandbox.show(&item.output);
        let failed = |error| match error {
            UnpackError::Other(error) => *error,
            error => FetchError::Unpack(from.clone(), error),
        };
        match &item.finish {
            Finish::Keep(false) => return Ok(()),
            Finish::Keep(true) => {
                self.lines.warning(&format!(
                    "Copying instead of extracting resource from URI with 'extract' flag, because it does not seem to be an archive: {}",
                    item.uri
                ));
                return Ok(());
            }
            Finish::Executable => {
                let given = self.sandbox.place.give(&file.as_fd(), 0o755);
                return given.map_err(|error| FetchError::place(error, &item.output));
            }
            Finish::Unpack => unpack::unpack(file, &mut self.sandbox, &self.tools).map_err(failed)?,
            Finish::Gunzip(into) => unpack::gunzip(file, &mut self.sandbox, into).map_err(failed)?,
        }
        self.lines.info(&format!("Extracted '{from}' into '{}'", self.sandbox.path.display()));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
