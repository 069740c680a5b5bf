//! `--master=local`: a master and a slave of our own, for the time of the command. They die with us, whatever becomes of us; their
//! directories and logs are in one temporary directory, which goes with them. If we are killed by SIGKILL, their containers end by
//! themselves, and the directory is removed by the next `execute`.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddrV4;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::flags::ExecuteFlags;
use crate::local::Embedded;
use crate::poll::{Interest, PollSet, Signals};
use crate::random::Random;
use crate::subprocess::{Spawn, Subprocess};

/// How long the slave may take to end, with its containers: a kill's grace, and the end of a guest.
const SLAVE_END: Duration = Duration::from_secs(40);

/// How long a killed process may take to be gone.
const KILLED_END: Duration = Duration::from_secs(5);

/// Longest path of our directory, in bytes: sockets are made below it, and Linux limits their paths.
const DIRECTORY_LIMIT: usize = 48;

/// What our directories' names begin with.
const PREFIX: &str = "mesos-slave-";

/// A directory of an `execute` that was killed is left alone for so long: its containers end by themselves first.
const LEFT_ALONE: Duration = Duration::from_secs(60);

/// How much of a log's end is shown, in bytes: all that a failed start prints.
const LOG_END: u64 = 16 * 1024;

/// A master and a slave.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    /// Held while we live: who finds it free knows that we were killed.
    _lock: Flock<File>,
    master: Embedded,
    slave: Subprocess,
}

impl Cluster {
    /// Starts both; the slave registers in its own time.
    ///
    /// # Errors
    /// Why one of them could not be started, with what it printed.
    pub fn start(flags: &ExecuteFlags) -> Result<Cluster, String> {
        sweep(&std::env::temp_dir());
        let directory = make_directory().map_err(|error| format!("cannot make a temporary directory: {error}"))?;
        let started = lock(&directory)
            .map_err(|error| format!("cannot lock {}: {error}", directory.display()))
            .and_then(|lock| start_in(&directory, lock, flags));
        if started.is_err() {
            let _ = fs::remove_dir_all(&directory);
        }
        started
    }

    /// Where the master listens.
    pub fn address(&self) -> SocketAddrV4 {
        self.master.address()
    }

    /// Waits for the end of either in the set.
    pub fn register(&self, set: &mut PollSet) {
        self.master.register(set);
        self.slave.register(set);
    }

    /// Which of the two has ended, though nobody asked it to, and what it said.
    pub fn ended(&mut self) -> Option<String> {
        if let Some(exit) = self.slave.try_wait() {
            return Some(format!("the slave ended with {exit}:\n{}", self.log("slave.log")));
        }
        let exit = self.master.ended()?;
        Some(format!("the master ended with {exit}:\n{}", self.log("master.log")))
    }

    /// The last lines of the slave's log.
    pub fn last_lines(&self, count: usize) -> String {
        let log = self.log("slave.log");
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    fn log(&self, name: &str) -> String {
        tail(&self.directory.join(name))
    }

    /// Ends the slave with all that it runs, then the master, and removes their directory. Another signal makes short work of it.
    pub fn end(mut self, signals: &mut Signals) {
        end(&mut self.slave, SLAVE_END, signals);
        self.master.stop();
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            log::warn!("cannot remove {}: {error}", self.directory.display());
        }
    }
}

fn start_in(directory: &Path, lock: Flock<File>, flags: &ExecuteFlags) -> Result<Cluster, String> {
    let log = |name: &str| File::create(directory.join(name)).map_err(|error| format!("cannot make a log: {error}"));
    let (master_log, slave_log) = (log("master.log")?, log("slave.log")?);
    let master = Embedded::start(0, master_log.into())
        .map_err(|error| format!("{error}\n{}", tail(&directory.join("master.log"))))?;
    match start_slave(directory, flags, master.address(), slave_log) {
        Ok(slave) => Ok(Cluster { directory: directory.to_path_buf(), _lock: lock, master, slave }),
        Err(error) => {
            master.stop();
            Err(format!("cannot start the slave: {error}"))
        }
    }
}

/// Others may pass through it, to a sandbox that is theirs, but see nothing.
fn make_directory() -> io::Result<PathBuf> {
    let unique = Random::from_system()?.uuid_text();
    let name = format!("{PREFIX}{}", &unique[..8]);
    let mut directory = std::env::temp_dir().join(&name);
    if directory.as_os_str().len() > DIRECTORY_LIMIT {
        directory = Path::new("/tmp").join(&name);
    }
    DirBuilder::new().mode(0o711).create(&directory)?;
    Ok(directory)
}

fn lock(directory: &Path) -> io::Result<Flock<File>> {
    let file = File::create(directory.join("lock"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error.into())
}

/// Removes what an `execute` left that was killed by SIGKILL: only directories that are ours, old enough, and whose lock is free.
fn sweep(temporary: &Path) {
    for entry in fs::read_dir(temporary).into_iter().flatten().flatten() {
        let path = entry.path();
        if !is_abandoned(&path) {
            continue;
        }
        crate::isolation::settle::settle(&path.join("run"), &crate::isolation::Kind::Process);
        match fs::remove_dir_all(&path) {
            Ok(()) => log::info!("removed {}, which an earlier execute left", path.display()),
            Err(error) => log::warn!("cannot remove {}, which an earlier execute left: {error}", path.display()),
        }
    }
}

fn is_abandoned(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(unique) = name.strip_prefix(PREFIX) else { return false };
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    let age = metadata.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
    let ours = metadata.is_dir() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o022 == 0;
    let named = unique.len() == 8 && unique.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !(named && ours && age >= LEFT_ALONE) {
        return false;
    }
    let Ok(file) = File::open(path.join("lock")) else { return false };
    Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok()
}

fn start_slave(directory: &Path, flags: &ExecuteFlags, master: SocketAddrV4, log: File) -> io::Result<Subprocess> {
    let mut spawn = Spawn::new("/proc/self/exe").with(|command| {
        command.arg0("mesos-slave").stdout(Stdio::null()).stderr(log);
    });
    for argument in slave_arguments(directory, flags, master) {
        spawn = spawn.arg(argument);
    }
    // In a session of its own: Ctrl-C is for us, and who is told to end, and when, is decided here.
    spawn.session().die_with_parent().spawn()
}

/// The flags that were given for the slave, and ours where there are none.
fn slave_arguments(directory: &Path, flags: &ExecuteFlags, master: SocketAddrV4) -> Vec<String> {
    let below = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let ours = [
        ("ip", "127.0.0.1".to_string()),
        ("port", "0".to_string()),
        ("work_dir", below("work")),
        ("runtime_dir", below("run")),
        // There is no herd to spread out.
        ("registration_backoff_factor", "10ms".to_string()),
    ];
    let mut arguments = vec![format!("--master={master}")];
    arguments.extend(flags.slave_arguments.iter().cloned());
    let missing = ours.into_iter().filter(|(name, _)| !flags.slave_has(name));
    arguments.extend(missing.map(|(name, value)| format!("--{name}={value}")));
    arguments
}

/// TERM, then KILL at the deadline or when the user insists.
fn end(process: &mut Subprocess, patience: Duration, signals: &mut Signals) {
    process.signal(Signal::SIGTERM);
    if !await_end(process, Instant::now() + patience, Some(signals)) {
        process.signal(Signal::SIGKILL);
        await_end(process, Instant::now() + KILLED_END, None);
    }
}

/// Whether it ended before the deadline, and before a signal.
fn await_end(process: &mut Subprocess, deadline: Instant, mut signals: Option<&mut Signals>) -> bool {
    let mut set = PollSet::new();
    loop {
        if process.try_wait().is_some() {
            return true;
        }
        let told = signals.as_mut().is_some_and(|signals| matches!(signals.next(), Ok(Some(_))));
        if told || Instant::now() >= deadline {
            return false;
        }
        set.clear();
        process.register(&mut set);
        if let Some(signals) = &signals {
            set.add(signals.fd(), Interest::Read);
        }
        if set.wait(Some(deadline)).is_err() {
            return false;
        }
    }
}

/// The end of a log, from the beginning of a line.
fn tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(LOG_END);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(LOG_END).read_to_end(&mut bytes)?;
        let cut = match start {
            0 => 0,
            _ => bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1),
        };
        Ok(bytes.split_off(cut))
    };
    read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slave_gets_the_flags_that_were_given_and_ours_for_the_rest() {
        let flags = ExecuteFlags {
            slave_arguments: vec!["--isolation=vm".to_string(), "--work_dir=/w".to_string()],
            ..ExecuteFlags::default()
        };
        let master = SocketAddrV4::new([127, 0, 0, 1].into(), 1234);
        let arguments = slave_arguments(Path::new("/tmp/x"), &flags, master);
        let expected = [
            "--master=127.0.0.1:1234",
            "--isolation=vm",
            "--work_dir=/w",
            "--ip=127.0.0.1",
            "--port=0",
            "--runtime_dir=/tmp/x/run",
            "--registration_backoff_factor=10ms",
        ];
        assert_eq!(arguments, expected);
    }

    #[test]
    fn what_a_killed_execute_left_is_swept_and_nothing_else() {
        let temporary = std::env::temp_dir().join(format!("mesos-slave-sweep-{}", std::process::id()));
        let make = |name: &str, age: Duration| {
            let path = temporary.join(name);
            fs::create_dir_all(path.join("work")).expect("mkdir");
            // As `execute` makes it, whatever the umask is here.
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o711)).expect("mode");
            File::create(path.join("lock")).expect("lock");
            let directory = File::open(&path).expect("open");
            directory.set_modified(std::time::SystemTime::now() - age).expect("utimes");
            path
        };
        let old = LEFT_ALONE * 2;
        let (killed, living) = (make("mesos-slave-00000001", old), make("mesos-slave-00000002", old));
        let (young, other) = (make("mesos-slave-00000003", Duration::ZERO), make("mesos-slave-notes", old));
        let lock = File::open(living.join("lock")).expect("open");
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).expect("lock");
        let link = temporary.join("mesos-slave-00000004");
        std::os::unix::fs::symlink(&killed, &link).expect("symlink");
        sweep(&temporary);
        let there: Vec<bool> = [&killed, &living, &young, &other].iter().map(|path| path.exists()).collect();
        drop(lock);
        let _ = fs::remove_dir_all(&temporary);
        assert_eq!(there, [false, true, true, true]);
    }

    #[test]
    fn a_long_log_is_shown_from_the_beginning_of_a_line() {
        let path = std::env::temp_dir().join(format!("mesos-slave-tail-{}", std::process::id()));
        let lines: String = (0..5000).map(|number| format!("line {number}\n")).collect();
        fs::write(&path, lines).expect("write");
        let shown = tail(&path);
        let _ = fs::remove_file(&path);
        assert!(shown.starts_with("line ") && shown.ends_with("line 4999\n"));
        assert!(shown.len() as u64 <= LOG_END && shown.len() as u64 > LOG_END - 20);
    }
}
