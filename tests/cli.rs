//! The command line as an operator meets it: the real binary, its messages and exit statuses. Needs neither libvirt nor a master.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

const BINARY: &str = env!("CARGO_BIN_EXE_mesos-slave");

/// A directory of a test's own, gone when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let name = format!("mesos-cli-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Directory(path),
                // A killed run whose process had our id has left it.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("no directory for the test: {error}"),
            }
        }
    }

    fn flag(&self, key: &str, name: &str) -> String {
        format!("--{key}={}", self.0.join(name).display())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("file");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The binary with no `MESOS_*` variable but these.
fn command(args: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MESOS_")) {
        command.env_remove(name);
    }
    command.args(args).envs(environment.iter().copied()).stdin(Stdio::null());
    command
}

fn run(args: &[&str], environment: &[(&str, &str)]) -> Output {
    command(args, environment).output().expect("mesos-slave")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Wrong usage: exit status 2, nothing on stdout, and one line on stderr that holds all of these words.
fn assert_usage(output: &Output, words: &[&str]) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    assert!(message.starts_with("mesos-slave: ") && message.lines().count() == 1, "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

/// A slave without VMs and without a master, ended (by pid) when dropped.
struct Slave {
    child: Child,
    address: String,
}

impl Slave {
    fn start(directory: &Directory, args: &[&str], environment: &[(&str, &str)]) -> Slave {
        let own = [directory.flag("work_dir", "work"), directory.flag("runtime_dir", "run")];
        let mut command = command(args, environment);
        command.args(own).args(["--master=127.0.0.1:1", "--ip=127.0.0.1", "--port=0"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("slave");
        let mut log = BufReader::new(child.stderr.take().expect("stderr"));
        let mut seen = String::new();
        let address = loop {
            let from = seen.len();
            assert_ne!(log.read_line(&mut seen).expect("log"), 0, "the slave ended:\n{seen}");
            if let Some((_, rest)) = seen[from..].split_once("listening on ") {
                break rest.split(',').next().expect("address").trim().to_string();
            }
        };
        // It is read on, so that the slave never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Slave { child, address }
    }

    fn get(&self, path: &str) -> serde_json::Value {
        let mut stream = TcpStream::connect(&self.address).expect("connect");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).expect("request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
        serde_json::from_str(body).expect("json")
    }

    /// Asks it to end, and gives how it did.
    fn end(mut self) -> std::process::ExitStatus {
        self.terminate();
        self.child.wait().expect("wait")
    }

    fn terminate(&self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[test]
fn help_and_version_go_to_stdout_and_succeed() {
    for args in
        [&["--help"][..], &["help"], &["help", "execute"], &["execute", "--help"], &["--version"], &["help", "conf"]]
    {
        let output = run(args, &[]);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
        assert!(output.stderr.is_empty() && !output.stdout.is_empty(), "{args:?}");
    }
    let help = text(&run(&["--help"], &[]).stdout);
    for flag in ["--master", "--isolation", "--vm_image", "--conf", "execute", "--vm_boot_timeout"] {
        assert!(help.contains(flag), "{flag}: {help}");
    }
    let version = text(&run(&["--version"], &[]).stdout);
    assert_eq!(version.trim(), format!("mesos-slave {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_into_a_pipe_that_is_closed_does_not_panic() {
    let mut child =
        command(&["--help"], &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mesos-slave");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("wait");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn an_unknown_flag_is_named_with_its_place() {
    assert_usage(&run(&["--master=a:1", "--nosuch=1"], &[]), &["unknown flag 'nosuch'", "command line"]);
    assert_usage(&run(&["--master=a:1", "--prot=1"], &[]), &["prot", "did you mean --port"]);
    let directory = Directory::new();
    let conf = directory.file("mesos.conf", "# a comment\nport=5052\nbogus=1\n");
    let flag = directory.flag("conf", "mesos.conf");
    assert_usage(&run(&[&flag, "--master=a:1"], &[]), &["unknown flag 'bogus'", &format!("{}:3", conf.display())]);
}

#[test]
fn a_bad_value_is_named_with_its_place_and_what_is_allowed() {
    let bad = |output: &Output, place: &str| assert_usage(output, &["bad value", "port", place, "allowed: "]);
    bad(&run(&["--master=a:1", "--port=70000"], &[]), "command line");
    bad(&run(&["--master=a:1"], &[("MESOS_PORT", "abc")]), "environment variable MESOS_PORT");
    let directory = Directory::new();
    let conf = directory.file("mesos.conf", "port=-1\n");
    bad(&run(&[&directory.flag("conf", "mesos.conf"), "--master=a:1"], &[]), &format!("{}:1", conf.display()));
    let output = run(&["--master=a:1", "--vm_boot_timeout=5"], &[]);
    assert_usage(&output, &["vm_boot_timeout", "'5'", "a duration from"]);
    assert_usage(&run(&["--master=a:1", "--isolation=docker"], &[]), &["isolation", "process or vm"]);
}

#[test]
fn a_line_of_the_file_that_is_no_pair_and_a_file_that_is_not_there_are_named() {
    let directory = Directory::new();
    let conf = directory.file("mesos.conf", "master=a:1\nwhat is this\n");
    let flag = directory.flag("conf", "mesos.conf");
    assert_usage(&run(&[&flag], &[]), &["what is this", &format!("{}:2", conf.display())]);
    assert_usage(&run(&[&directory.flag("conf", "none")], &[]), &["cannot read", "none"]);
}

#[test]
fn what_contradicts_itself_or_is_missing_is_refused() {
    assert_usage(&run(&["--master=a:1", "--port=1", "--port=2"], &[]), &["port=1", "contradicts", "port=2"]);
    let output = run(&["--master=a:1", "--switch_user", "--no-switch_user"], &[]);
    assert_usage(&output, &["switch_user=true", "contradicts", "switch_user=false"]);
    assert_usage(&run(&[], &[]), &["--master is missing"]);
    assert_usage(&run(&["execute", "--master=a:1"], &[]), &["--command is missing"]);
    assert_usage(&run(&["execute", "--master=a:1", "--command=true", "--isolation=vm"], &[]), &["isolation", "local"]);
    assert_usage(&run(&["--master=a:1", "leftover"], &[]), &["leftover"]);
}

#[test]
fn the_command_line_beats_the_environment_beats_the_file() {
    let directory = Directory::new();
    directory.file("mesos.conf", "hostname=file\nattributes=from:file\nvm_boot_timeout=1mins\n");
    let conf = directory.flag("conf", "mesos.conf");
    let environment = [
        ("MESOS_HOSTNAME", "environment"),
        ("MESOS_ATTRIBUTES", "from:environment"),
        ("MESOS_NATIVE_JAVA_LIBRARY", "/usr/lib/libmesos.so"),
    ];
    let slave = Slave::start(&directory, &[&conf, "--hostname=line"], &environment);
    let flags = slave.get("/flags")["flags"].clone();
    assert_eq!(flags["attributes"], "from:environment", "{flags}");
    assert_eq!(flags["vm_boot_timeout"], "1mins", "{flags}");
    assert_eq!(slave.get("/state")["hostname"], "line");
    assert_eq!(slave.end().code(), Some(0));
}

#[test]
fn a_second_slave_of_one_runtime_directory_is_refused() {
    let directory = Directory::new();
    let slave = Slave::start(&directory, &[], &[]);
    let work = directory.flag("work_dir", "other");
    let output =
        run(&["--master=127.0.0.1:1", "--port=0", "--ip=127.0.0.1", &work, &directory.flag("runtime_dir", "run")], &[]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("another slave runs") && message.contains("--runtime_dir"), "{message}");
    assert_eq!(slave.end().code(), Some(0));
}

#[test]
fn a_host_that_is_not_ready_for_vms_is_told_everything_at_once_with_what_mends_it() {
    let directory = Directory::new();
    let nothing = directory.0.join("no-socket");
    let output = run(
        &[
            "--master=127.0.0.1:1",
            "--isolation=vm",
            &format!("--vm_uri=qemu+unix:///system?socket={}", nothing.display()),
            "--vm_image=no-such-image",
            &directory.flag("vm_image_dir", "images"),
            &directory.flag("work_dir", "work"),
            &directory.flag("runtime_dir", "run"),
        ],
        &[],
    );
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    let report = message.split_once("is not ready for --isolation=vm").expect("a report").1;
    assert!(report.contains("libvirt") && report.contains("no-socket"), "{message}");
    assert!(report.contains("no-such-image") && report.contains("build-guest-image"), "{message}");
    assert!(report.matches("mend: ").count() >= 2, "{message}");
    assert!(!Path::new(&nothing).exists());
}
