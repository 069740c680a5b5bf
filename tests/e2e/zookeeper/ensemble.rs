//! ZooKeeper servers of the distribution's package, and a client that makes and deletes nodes.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::loopback;
use crate::support::{Running, World, eventually};

/// Where Debian and Ubuntu have it; the jar names the others that it needs.
const JAR: &str = "/usr/share/java/zookeeper.jar";
const CONFIG: &str = "tickTime=200\ninitLimit=100\nsyncLimit=50\nadmin.enableServer=false\nstandaloneEnabled=true\n\
    4lw.commands.whitelist=*\n";

/// Servers of one ensemble.
pub struct Ensemble {
    pub servers: Vec<Option<Running>>,
    pub ports: Vec<u16>,
    dir: String,
}

impl Ensemble {
    /// Starts so many servers and waits until they serve. A session lives as long as is said, however long the slave would have it.
    pub fn start(world: &World, count: usize, session: Duration) -> Ensemble {
        let (clients, peers) = (ports(count), ports(count * 2));
        let mut ensemble = Ensemble { servers: Vec::new(), ports: clients, dir: world.path("zookeeper") };
        for place in 0..count {
            let data = format!("{}/{place}", ensemble.dir);
            fs::create_dir_all(&data).expect("data directory");
            let mut config = format!("{CONFIG}dataDir={data}\nclientPort={}\n", ensemble.ports[place]);
            config.push_str("clientPortAddress=127.0.0.1\n");
            config.push_str(&format!("maxSessionTimeout={}\n", session.as_millis()));
            if count > 1 {
                for (id, pair) in peers.chunks(2).enumerate() {
                    config.push_str(&format!("server.{}=127.0.0.1:{}:{}\n", id + 1, pair[0], pair[1]));
                }
                fs::write(format!("{data}/myid"), (place + 1).to_string()).expect("myid");
            }
            fs::write(format!("{data}/zoo.cfg"), config).expect("configuration");
            ensemble.servers.push(None);
            ensemble.run(place);
        }
        (0..count).for_each(|place| drop(ensemble.client(place)));
        ensemble
    }

    /// Starts a server; after a kill it goes on with what it has written.
    pub fn run(&mut self, place: usize) {
        let data = format!("{}/{place}", self.dir);
        let mut command = Command::new("java");
        command.args(["-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]);
        // The JVM asks the cgroups how large its container is, and trips over those of a private libvirt host.
        command.args(["-XX:-UseContainerSupport", "-cp"]);
        command.arg(format!("{JAR}:/usr/share/java/slf4j-simple.jar"));
        command.args(["org.apache.zookeeper.server.quorum.QuorumPeerMain", &format!("{data}/zoo.cfg")]);
        let log = format!("{data}/log");
        self.servers[place] = Some(Running::start("zookeeper", command, log.into()));
    }

    /// A client of this server, once it serves.
    pub fn client(&self, place: usize) -> Client {
        eventually("ZooKeeper serves", || Client::connect(self.ports[place]))
    }

    /// Whether any running server has this session among its connections.
    pub fn has_connection(&self, session: &str) -> bool {
        let running = (0..self.ports.len()).filter(|place| self.servers[*place].is_some());
        running.filter_map(|place| self.word(place, "cons")).any(|all| all.contains(&format!("sid={session},")))
    }

    /// What a server answers to one of its four-letter words.
    fn word(&self, place: usize, word: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[place])).ok()?;
        stream.write_all(word.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Kills servers as a power cut would.
    pub fn kill(&mut self, place: usize) {
        let mut server = self.servers[place].take().expect("running");
        server.signal("KILL");
        server.wait();
    }

    /// The place of the server that listens here.
    pub fn place(&self, port: u16) -> usize {
        self.ports.iter().position(|one| *one == port).expect("a server's port")
    }

    /// Before the world asks whether all has ended.
    pub fn end(mut self) {
        for place in 0..self.servers.len() {
            if self.servers[place].is_some() {
                self.kill(place);
            }
        }
    }

    /// `host:port,host:port`
    pub fn addresses(&self) -> String {
        let all: Vec<_> = self.ports.iter().map(|port| format!("localhost:{port}")).collect();
        all.join(",")
    }
}

/// Ports that are these servers', also while they do not run.
fn ports(count: usize) -> Vec<u16> {
    (0..count).map(|_| loopback::port_for_a_server()).collect()
}

/// How often a client says that it lives.
const PING: Duration = Duration::from_millis(500);
/// Its opcode, which is -11 as well in the end of a session.
const XID_PING: i32 = -2;

/// A ZooKeeper client that can make and delete nodes, and shares no code with what is tested. Its session lives as long as it does,
/// and ends at once when it is closed.
pub struct Client {
    stream: TcpStream,
    xid: i32,
    /// Dropped, it ends the thread that pings.
    pings: Option<(Sender<()>, JoinHandle<()>)>,
}

fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as i32).to_be_bytes()[..], text].concat()
}

fn frame(parts: &[&[u8]]) -> Vec<u8> {
    text(&parts.concat())
}

/// Says that the session lives, until its end.
fn ping(stream: TcpStream) -> (Sender<()>, JoinHandle<()>) {
    let (end, ended) = channel();
    let ping = frame(&[&XID_PING.to_be_bytes(), &11i32.to_be_bytes()]);
    let pings = move || {
        while ended.recv_timeout(PING) == Err(RecvTimeoutError::Timeout) && (&stream).write_all(&ping).is_ok() {}
    };
    (end, std::thread::spawn(pings))
}

impl Client {
    /// A client with a session of its own, if a server gives it one.
    pub fn connect(port: u16) -> Option<Client> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        let timeout = 60_000i32.to_be_bytes();
        stream.write_all(&frame(&[&[0; 12], &timeout, &[0; 8], &16i32.to_be_bytes(), &[0; 16]])).ok()?;
        let mut client = Client { stream: stream.try_clone().ok()?, xid: 0, pings: None };
        client.receive()?;
        client.pings = Some(ping(stream));
        Some(client)
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut body = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut body).ok()?;
        Some(body)
    }

    /// Error code and answer.
    fn call(&mut self, xid: i32, opcode: i32, body: &[u8]) -> (i32, Vec<u8>) {
        self.stream.write_all(&frame(&[&xid.to_be_bytes(), &opcode.to_be_bytes(), body])).expect("send");
        loop {
            let answer = self.receive().expect("answer");
            if answer[..4] != XID_PING.to_be_bytes() {
                assert_eq!(answer[..4], xid.to_be_bytes());
                return (i32::from_be_bytes(answer[12..16].try_into().expect("code")), answer[16..].to_vec());
            }
        }
    }

    fn request(&mut self, opcode: i32, body: &[u8]) -> (i32, Vec<u8>) {
        self.xid += 1;
        self.call(self.xid, opcode, body)
    }

    /// Makes itself known, for the nodes that it makes or reads from here on.
    pub fn authenticate(&mut self, credentials: &str) {
        let (code, _) = self.call(-4, 100, &[vec![0; 4], text(b"digest"), text(credentials.as_bytes())].concat());
        assert_eq!(code, 0);
    }

    /// Makes a node; its path, which for a sequential one is longer than what was asked for.
    pub fn create(&mut self, path: &str, data: impl AsRef<[u8]>, kind: Kind, readers: Readers) -> String {
        let (scheme, who) = match readers {
            Readers::All => ("world", "anyone"),
            Readers::Own => ("auth", ""),
        };
        let acl =
            [&1i32.to_be_bytes()[..], &31i32.to_be_bytes(), &text(scheme.as_bytes()), &text(who.as_bytes())].concat();
        let flags = (kind as i32).to_be_bytes();
        let (code, body) = self.request(1, &[&text(path.as_bytes())[..], &text(data.as_ref()), &acl, &flags].concat());
        assert_eq!(code, 0, "create {path}");
        String::from_utf8(body[4..].to_vec()).expect("path")
    }

    /// Deletes a node of any version.
    pub fn delete(&mut self, path: &str) {
        let (code, _) = self.request(2, &[text(path.as_bytes()), (-1i32).to_be_bytes().to_vec()].concat());
        assert_eq!(code, 0, "delete {path}");
    }

    /// Ends the session, and with it its ephemeral nodes.
    pub fn close(mut self) {
        let (code, _) = self.request(-11, &[]);
        assert_eq!(code, 0, "close");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.pings.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

/// What becomes of a node; the numbers are the protocol's.
#[derive(Clone, Copy)]
pub enum Kind {
    Plain = 0,
    Sequential = 2,
    /// It goes when the session does that made it.
    EphemeralSequential = 3,
}

/// Who may read a node.
#[derive(Clone, Copy)]
pub enum Readers {
    All,
    /// Those who authenticate as its maker did.
    Own,
}
