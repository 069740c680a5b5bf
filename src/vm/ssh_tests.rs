//! ssh against a real sshd on loopback, where this machine has one.

use super::*;
use crate::subprocess::{Exit, Job, JobEnd, Subprocess};
use crate::vm::{keys, launcher};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// An sshd of the test's own; gone with it.
struct Server {
    directory: PathBuf,
    sshd: Child,
    ssh: Ssh,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn generate(file: &Path) {
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(file)
        .status()
        .expect("ssh-keygen");
    assert!(status.success());
}

impl Server {
    /// `None` where there is no sshd, or we are not root and it could not log us in.
    fn start() -> Option<Server> {
        let program = Path::new("/usr/sbin/sshd");
        if !program.exists() || !nix::unistd::geteuid().is_root() {
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("mesos-ssh-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("directory");
        fs::create_dir_all("/run/sshd").expect("sshd's directory");
        generate(&directory.join("host_key"));
        generate(&directory.join("key"));
        let port = crate::loopback::port_for_a_server();
        let sshd = Command::new(program)
            .args(["-D", "-e", "-f", "/dev/null", "-o", "UsePAM=no", "-o", "StrictModes=no", "-o", "PidFile=none"])
            .args(["-o", "ListenAddress=127.0.0.1", "-o", &format!("Port={port}")])
            .arg("-o")
            .arg(format!("HostKey={}", directory.join("host_key").display()))
            .arg("-o")
            .arg(format!("AuthorizedKeysFile={}", directory.join("key.pub").display()))
            .stdin(Stdio::null())
            .stderr(File::create(directory.join("log")).expect("log"))
            .spawn()
            .expect("sshd");
        keys::write_known_hosts(&directory, "the-guest").expect("known_hosts");
        let path = |name: &str| directory.join(name);
        let ssh = Ssh {
            address: Ipv4Addr::LOCALHOST,
            port,
            user: "root".into(),
            key: path("key"),
            known_hosts: path("known_hosts"),
            alias: "the-guest".into(),
            control_path: path("control"),
            strict: true,
        };
        ssh.check().expect("paths");
        let server = Server { directory, sshd, ssh };
        let until = Instant::now() + Duration::from_secs(120);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "sshd does not listen");
            std::thread::yield_now();
        }
        Some(server)
    }

    fn connect(&self) -> Subprocess {
        let mut master = self.ssh.master(None, None).die_with_parent().spawn().expect("ssh");
        let mut line = String::new();
        BufReader::new(master.stdout.take().expect("stdout")).read_line(&mut line).expect("read");
        let mut errors = || {
            let mut text = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            let _ = master.stderr.take().map(|mut stderr| stderr.read_to_string(&mut text));
            text
        };
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("boot id");
        assert_eq!(parse_ready(&line), Some(boot_id.trim()), "{line:?} {}", errors());
        master
    }
}

fn finish(spawn: Spawn) -> JobEnd {
    Job::start(spawn, Instant::now() + Duration::from_secs(120)).and_then(Job::wait).expect("ssh")
}

fn ended(mut process: Subprocess) {
    while process.try_wait().is_none() {
        std::thread::yield_now();
    }
}

#[test]
fn scripts_go_through_the_master_and_end_with_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut master = server.connect();
    let hostile = "a 'b' \"c\" $d `e` \\ \n;&";
    let end = finish(server.ssh.run(&format!("printf %s {}; exit 3", quote(hostile))));
    assert_eq!((end.exit, end.stdout.as_slice()), (Some(Exit::Status(3)), hostile.as_bytes()));

    drop(master.stdin.take());
    ended(master);
    let end = finish(server.ssh.run("true"));
    assert!(
        matches!(server.ssh.failure(&end), SshError::Lost(_)),
        "{:?} {}",
        server.ssh.failure(&end),
        String::from_utf8_lossy(&end.stderr)
    );
}

#[test]
fn a_command_started_over_ssh_outlives_the_connection() {
    let Some(server) = Server::start() else {
        return;
    };
    let path = |name: &str| server.directory.join(name).to_str().expect("utf-8").to_string();
    let text = launcher::script(&launcher::LauncherScript {
        state: path("state"),
        sandbox: path("sandbox"),
        user: None,
        environment: vec![],
        program: launcher::Program::Shell("read x <go; echo got $x; kill -TERM $$".into()),
        hostname: None,
        names_address: false,
        checks: vec![],
    });
    fs::create_dir_all(path("sandbox")).expect("sandbox");
    nix::unistd::mkfifo(path("sandbox/go").as_str(), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    fs::create_dir(path("state")).expect("state");
    fs::write(launcher::path(&path("state")), text.expect("script")).expect("launcher");

    let mut master = server.connect();
    let started = launcher::parse_start(&finish(server.ssh.run_as_root(&launcher::verb(&path("state"), "start"))))
        .expect("start");
    drop(master.stdin.take());
    ended(master);

    let _again = server.connect();
    let second = launcher::parse_start(&finish(server.ssh.run_as_root(&launcher::verb(&path("state"), "start"))))
        .expect("start");
    assert_eq!(second, started);
    fs::write(path("sandbox/go"), "it\n").expect("go");
    let ended =
        launcher::parse_wait(&finish(server.ssh.run_as_root(&launcher::verb(&path("state"), "wait")))).expect("wait");
    assert_eq!(ended, launcher::CommandEnded { exit: Exit::Signal(15), out_of_memory: false, stdout: 7, stderr: 0 });
}

#[test]
fn a_wrong_key_and_a_wrong_host_key_are_told_apart() {
    let Some(server) = Server::start() else {
        return;
    };
    let failure = |ssh: &Ssh| ssh.failure(&finish(ssh.master(None, None)));
    let other = server.directory.join("other");
    generate(&other);
    assert!(matches!(failure(&Ssh { key: other.clone(), ..server.ssh.clone() }), SshError::KeyRefused(_)));
    let elsewhere = server.directory.join("elsewhere");
    fs::create_dir(&elsewhere).expect("directory");
    fs::copy(server.directory.join("other.pub"), elsewhere.join("host_key.pub")).expect("copy");
    let wrong = keys::write_known_hosts(&elsewhere, "the-guest").expect("known_hosts");
    assert!(matches!(failure(&Ssh { known_hosts: wrong, ..server.ssh.clone() }), SshError::HostKey(_)));
    let none = server.directory.join("no_hosts");
    assert!(matches!(failure(&Ssh { known_hosts: none.clone(), ..server.ssh.clone() }), SshError::HostKey(_)));
    let missing = Ssh { key: server.directory.join("missing"), ..server.ssh.clone() };
    assert!(matches!(failure(&missing), SshError::KeyUnusable(..) | SshError::KeyRefused(_)));

    let first = Ssh { known_hosts: none.clone(), strict: false, ..server.ssh.clone() };
    let mut master = first.master(None, None).die_with_parent().spawn().expect("ssh");
    let mut line = String::new();
    BufReader::new(master.stdout.take().expect("stdout")).read_line(&mut line).expect("read");
    assert!(
        parse_ready(&line).is_some() && fs::read_to_string(&none).expect("hosts").starts_with("the-guest ssh-ed25519 ")
    );
    drop(master.stdin.take());
    ended(master);
}

#[test]
fn a_port_of_the_guest_is_asked_through_the_connection() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut master = server.connect();
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let open = listener.local_addr().expect("port").to_string();
    let forwarded = |target: &str| {
        let words = server.ssh.forward().into_iter();
        let words: Vec<OsString> =
            words.map(|word| if word == FORWARD_TARGET { target.into() } else { word }).collect();
        let mut command = Command::new(&words[0]);
        clean_environment(&mut command);
        command.arg("-v").args(&words[1..]).stdin(Stdio::null());
        finish(Spawn::command(command))
    };
    // The kernel takes the connection; it is closed, since ssh has nothing to send, when the listener is.
    let closer = std::thread::spawn(move || listener.accept().map(drop));
    let said = String::from_utf8(forwarded(&open).stderr).expect("text");
    assert!(said.lines().any(|line| line.contains(FORWARDED)) && !said.contains(NOT_FORWARDED), "{said}");
    closer.join().expect("thread").expect("a connection");
    let said = String::from_utf8(forwarded("127.0.0.1:1").stderr).expect("text");
    assert!(said.contains(NOT_FORWARDED) && !said.contains(FORWARDED), "{said}");

    drop(master.stdin.take());
    ended(master);
    let end = forwarded(&open);
    assert!(matches!(server.ssh.failure(&end), SshError::Lost(_)), "{}", String::from_utf8_lossy(&end.stderr));
}
