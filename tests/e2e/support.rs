//! A world of its own for each test: directories, a master, a slave, and the certainty that nothing is left at the end.
//!
//! Everything is real: the binary, libvirt, QEMU, DHCP, ssh. The tests run as root inside `scripts/libvirt-host exec`
//! (`scripts/test` does that); libvirt, bridges and loopback are then the private host's.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_mesos-slave");

/// Makes private libvirt hosts.
const LIBVIRT_HOST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/libvirt-host");

/// Where `scripts/build-guest-image` puts its image.
pub const IMAGES: &str = "/var/lib/mesos-slave/images";

/// Longest wait for anything: a guest under emulation on a busy machine takes its time.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A command that waits for [`World::open_gate`].
pub const GATE: &str = "until [ -e /tmp/go ]; do sleep 0.2; done";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A test's directories and processes.
pub struct World {
    /// Below it everything of the test lies.
    pub dir: PathBuf,
    master: Option<Running>,
    /// `host:port` of the master.
    pub master_address: String,
    slave: Option<Running>,
    host: Option<Host>,
    checked: bool,
}

/// A libvirt host of the test's own inside the one that all tests share, for who stops or kills libvirt's daemon. Gone when dropped.
pub struct Host {
    dir: String,
}

impl Host {
    /// Brings it up, or starts again a daemon of it that died.
    pub fn up(&self) {
        run(LIBVIRT_HOST, &["up", &self.dir]);
    }

    /// The process id of libvirt's daemon.
    pub fn libvirtd(&self) -> u32 {
        let pid = fs::read_to_string(format!("{}/libvirtd.pid", self.dir)).expect("libvirtd's pid");
        pid.trim().parse().expect("a number")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        run(LIBVIRT_HOST, &["down", &self.dir]);
    }
}

/// A process of the test's, ended (by pid) with its test.
pub struct Running {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Running {
    /// Starts a command with both streams in a log file, in a process group of its own.
    pub fn start(name: &str, mut command: Command, log: PathBuf) -> Running {
        let file = fs::File::create(&log).expect("log file");
        command.stdin(Stdio::null());
        command.stdout(file.try_clone().expect("log file")).stderr(file);
        let child = command.process_group(0).spawn().expect(name);
        Running { child, name: name.to_string(), log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        signal_pid(self.pid(), signal);
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until it has printed this.
    pub fn await_log(&self, text: &str) -> String {
        eventually(&format!("{} prints {text:?}", self.name), || {
            let log = self.log();
            log.contains(text).then_some(log)
        })
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let name = self.name.clone();
        eventually(&format!("{name} ends"), || self.child.try_wait().expect("wait"))
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_some() {
            return;
        }
        self.signal("TERM");
        let deadline = Instant::now() + Duration::from_secs(40);
        while Instant::now() < deadline {
            if self.child.try_wait().ok().flatten().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the worlds of all tests are. It is `MESOS_TEST_DIR`, which must be short because of ssh's sockets and open to QEMU's user.
fn test_directory() -> PathBuf {
    std::env::var_os("MESOS_TEST_DIR").map(PathBuf::from).expect("MESOS_TEST_DIR: run the tests by scripts/test")
}

/// Polls until there is a value; panics with the description when it takes too long.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain until {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends a signal to one process.
pub fn signal_pid(pid: u32, signal: &str) {
    let _ = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).stderr(Stdio::null()).status();
}

/// Runs a command to its end; its stdout.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect(program);
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `virsh` on the host that the test runs in.
pub fn virsh(args: &[&str]) -> String {
    let mut all = vec!["-q", "-c", "qemu:///system"];
    all.extend(args);
    run("virsh", &all)
}

impl World {
    /// Directories for a test.
    pub fn new(name: &str) -> World {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = test_directory().join(format!("{count}-{name}"));
        for part in ["work", "run", "vm"] {
            fs::create_dir_all(dir.join(part)).expect("test directory");
        }
        World { dir, master: None, master_address: String::new(), slave: None, host: None, checked: false }
    }

    /// A world in a libvirt host of its own.
    pub fn with_host(name: &str) -> World {
        let mut world = World::new(name);
        let host = Host { dir: format!("{}.host", world.dir.display()) };
        host.up();
        world.host = Some(host);
        world
    }

    /// The host that it has of its own.
    pub fn host(&self) -> &Host {
        self.host.as_ref().expect("a host")
    }

    /// A command of this world: in its own host if it has one, and with the process id of its child in any case.
    fn command(&self, program: &str) -> Command {
        let Some(host) = &self.host else {
            return Command::new(program);
        };
        let mut command = Command::new(LIBVIRT_HOST);
        command.args(["exec", &host.dir, "--", program]);
        command
    }

    /// The domains of the host that the world is in.
    pub fn domains(&self) -> Vec<String> {
        let mut virsh = self.command("virsh");
        let output = virsh.args(["-q", "-c", "qemu:///system", "list", "--all", "--name"]).output().expect("virsh");
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_string).collect()
    }

    /// A world with a master and a slave with these flags, ready for tasks.
    pub fn with_slave(name: &str, flags: &[&str]) -> World {
        let mut world = World::new(name);
        world.start_master();
        world.start_slave(flags);
        world
    }

    /// Starts the embedded master on a port of its own.
    pub fn start_master(&mut self) {
        let mut command = self.command(BINARY);
        command.args(["local-master", "--ip=127.0.0.1", "--port=0"]);
        let master = Running::start("master", command, self.dir.join("master.log"));
        let log = master.await_log("listening on ");
        let address = log.split("listening on ").nth(1).and_then(|rest| rest.split_whitespace().next());
        self.master_address = address.expect("address").to_string();
        self.master = Some(master);
    }

    /// The slave's command, not yet started: in a VM, under the world's directories, with the master of the world.
    pub fn slave_command(&self, flags: &[&str]) -> Command {
        let mut command = self.command(BINARY);
        let given = |key: &str| flags.iter().any(|flag| flag.starts_with(key));
        let mut add = |key: &str, value: String| {
            if !given(key) {
                command.arg(format!("{key}={value}"));
            }
        };
        add("--master", self.master_address.clone());
        add("--ip", "127.0.0.1".into());
        add("--port", "0".into());
        add("--isolation", "vm".into());
        add("--vm_network", "mesos".into());
        add("--vm_image_dir", IMAGES.into());
        add("--vm_dir", self.path("vm"));
        add("--work_dir", self.path("work"));
        add("--runtime_dir", self.path("run"));
        add("--resources", "cpus:2;mem:2048".into());
        command.args(flags);
        command
    }

    /// Starts a slave and waits until it is registered.
    pub fn start_slave(&mut self, flags: &[&str]) {
        let slave = Running::start("slave", self.slave_command(flags), self.dir.join("slave.log"));
        self.slave = Some(slave);
        let deadline = Instant::now() + PATIENCE;
        while !self.slave().log().contains("registered with") {
            let ended = self.slave.as_mut().is_some_and(Running::has_ended);
            assert!(!ended && Instant::now() < deadline, "the slave did not register:\n{}", self.slave().log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn slave(&self) -> &Running {
        self.slave.as_ref().expect("slave")
    }

    /// The port that the slave listens on.
    pub fn slave_port(&self) -> u16 {
        let log = self.slave().log();
        let port = log.split("listening on 127.0.0.1:").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
        port.expect("the slave's port")
    }

    /// What the slave answers, in JSON.
    pub fn slave_answers(&self, path: &str) -> serde_json::Value {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.slave_port())).expect("the slave");
        let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        serde_json::from_str(body).expect("json")
    }

    /// A path below the world's directory.
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    /// `mesos-slave execute` with the world's master.
    pub fn execute_command(&self, args: &[&str]) -> Command {
        let mut command = self.command(BINARY);
        command.arg("execute").arg(format!("--master={}", self.master_address)).args(args);
        command
    }

    /// Runs `execute` to its end.
    pub fn execute(&self, args: &[&str]) -> Output {
        self.execute_command(args).stdin(Stdio::null()).output().expect("execute")
    }

    /// Starts `execute` and goes on.
    pub fn spawn_execute(&self, name: &str, args: &[&str]) -> Running {
        Running::start(name, self.execute_command(args), self.dir.join(format!("{name}.log")))
    }

    /// The container ids that have a VM now.
    pub fn vms(&self) -> Vec<String> {
        names(&self.dir.join("vm/vms"))
    }

    /// Waits until there are so many VMs, with a domain each; gives their container ids.
    pub fn await_vms(&self, count: usize) -> Vec<String> {
        eventually(&format!("there are {count} VMs"), || {
            let vms = self.vms();
            let all = self.domains();
            let up = vms.iter().all(|id| all.contains(&format!("mesos-{id}")));
            (vms.len() == count && up).then_some(vms)
        })
    }

    /// Runs a script as root in a guest, over the connection that its task's child has; None while there is no connection.
    pub fn in_guest(&self, vm: &str, script: &str) -> Option<String> {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-o", "ProxyCommand=false", "-S", &self.path(&format!("vm/vms/{vm}/ssh"))]);
        let output = ssh.args(["guest", script]).stdin(Stdio::null()).output().expect("ssh");
        output.status.success().then(|| stdout(&output))
    }

    /// Opens the gate of a task whose command waits at [`GATE`].
    pub fn open_gate(&self, vm: &str) {
        eventually("the gate is open", || self.in_guest(vm, "touch /tmp/go"));
    }

    /// Files below the work directory with this name.
    pub fn sandbox_files(&self, name: &str) -> Vec<PathBuf> {
        let found = run("find", &[&self.path("work"), "-name", name]);
        found.lines().map(PathBuf::from).collect()
    }

    /// Asserts that no container is left: no runtime directory, VM file, domain, child process.
    pub fn assert_clean(&self) {
        eventually("all containers are gone", || {
            (self.vms().is_empty() && names(&self.dir.join("run/containers")).is_empty()).then_some(())
        });
        // The slave itself stays; a child, a worker, ssh or QEMU names a path of a container.
        let places = [self.path("run/containers/"), self.path("vm/vms/")];
        let strays = places.map(|place| processes(&place)).concat();
        assert!(strays.is_empty(), "left running: {strays:?}");
    }

    /// Ends the slave and the master in order and asserts that nothing is left.
    pub fn end(mut self) {
        self.assert_clean();
        if let Some(mut slave) = self.slave.take() {
            slave.signal("TERM");
            slave.wait();
        }
        self.master = None;
        let left = processes(&self.path(""));
        assert!(left.is_empty(), "left running: {left:?}");
        self.checked = true;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for file in ["master.log", "slave.log"] {
                let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
                eprintln!("--- {file}\n{text}");
            }
        }
        self.slave = None;
        self.master = None;
        self.host = None;
        let _ = fs::remove_dir_all(&self.dir);
        assert!(self.checked || std::thread::panicking(), "a test must end its world with end()");
    }
}

/// A network of the test's own: 10.99.<number>.0/24.
pub struct Network(String);

impl Network {
    /// Defines and starts it.
    pub fn new(name: &str, number: u8, dhcp: &str) -> Network {
        let bridge = format!("vt{number}");
        let xml = format!(
            "<network><name>{name}</name><forward mode='nat'/><bridge name='{bridge}' stp='off' delay='0'/>\
             <ip address='10.99.{number}.1' netmask='255.255.255.0'>{dhcp}</ip></network>"
        );
        let file = test_directory().join(format!("{name}.xml")).to_string_lossy().into_owned();
        fs::write(&file, xml).expect("network file");
        virsh(&["net-define", &file]);
        virsh(&["net-start", name]);
        fs::remove_file(&file).expect("network file");
        Network(name.to_string())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let quiet = |args: &[&str]| {
            let _ = Command::new("virsh").args(["-q", "-c", "qemu:///system"]).args(args).output();
        };
        quiet(&["net-destroy", &self.0]);
        quiet(&["net-undefine", &self.0]);
    }
}

/// The range of addresses of such a network.
pub fn dhcp(number: u8) -> String {
    format!("<dhcp><range start='10.99.{number}.2' end='10.99.{number}.254'/></dhcp>")
}

/// The command failed: TASK_FAILED with all of these words, nothing is left.
pub fn assert_failed(world: &World, output: &Output, words: &[&str]) {
    let err = stderr(output);
    assert_ne!(output.status.code(), Some(0), "{err}");
    assert!(err.contains("TASK_FAILED"), "{err}");
    for word in words {
        assert!(err.contains(word), "no {word:?} in:\n{err}");
    }
    world.assert_clean();
}

/// The slave still runs tasks. (As processes of the guest: a whole boot each, so only where a test has not run one yet.)
pub fn assert_works(world: &World) {
    let output = world.execute(&["--command=echo works"]);
    assert_eq!(stdout(&output), "works\n", "{}", stderr(&output));
}

/// Names in a directory; none if it is not there.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Command lines that hold this text.
pub fn processes(text: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    names(Path::new("/proc"))
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != own)
        .filter_map(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok().map(|line| (pid, line)))
        .map(|(pid, line)| format!("{pid}: {}", String::from_utf8_lossy(&line).replace('\0', " ")))
        .filter(|line| line.contains(text))
        .collect()
}

/// Stdout of a finished command as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Stderr of a finished command as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The lines of a reader, for those who follow a process.
pub fn lines(reader: impl Read) -> impl Iterator<Item = String> {
    BufReader::new(reader).lines().map_while(Result::ok)
}
