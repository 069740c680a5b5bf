//! `--master=local`: a master and a slave of our own, for the time of the command. They die with us, whatever becomes of us; their
//! directories and logs are in one temporary directory, which goes with them.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddrV4;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

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

/// How much of a log's end is shown, in bytes: all that a failed start prints.
const LOG_END: u64 = 16 * 1024;

/// A master and a slave.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    master: Embedded,
    slave: Subprocess,
}

impl Cluster {
    /// Starts both; the slave registers in its own time.
    ///
    /// # Errors
    /// Why one of them could not be started, with what it printed.
    pub fn start(flags: &ExecuteFlags) -> Result<Cluster, String> {
        let directory = make_directory().map_err(|error| format!("cannot make a temporary directory: {error}"))?;
        let started = start_in(&directory, flags);
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

fn start_in(directory: &Path, flags: &ExecuteFlags) -> Result<Cluster, String> {
    let log = |name: &str| File::create(directory.join(name)).map_err(|error| format!("cannot make a log: {error}"));
    let (master_log, slave_log) = (log("master.log")?, log("slave.log")?);
    let master = Embedded::start(0, master_log.into())
        .map_err(|error| format!("{error}\n{}", tail(&directory.join("master.log"))))?;
    match start_slave(directory, flags, master.address(), slave_log) {
        Ok(slave) => Ok(Cluster { directory: directory.to_path_buf(), master, slave }),
        Err(error) => {
            master.stop();
            Err(format!("cannot start the slave: {error}"))
        }
    }
}

/// Others may pass through it, to a sandbox that is theirs, but see nothing.
fn make_directory() -> io::Result<PathBuf> {
    let unique = Random::from_system()?.uuid_text();
    let name = format!("mesos-slave-{}", &unique[..8]);
    let mut directory = std::env::temp_dir().join(&name);
    if directory.as_os_str().len() > DIRECTORY_LIMIT {
        directory = Path::new("/tmp").join(&name);
    }
    DirBuilder::new().mode(0o711).create(&directory)?;
    Ok(directory)
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
        ];
        assert_eq!(arguments, expected);
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
