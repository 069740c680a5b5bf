//! The shell against a scripted master and agent on loopback: what goes over the wire, and what comes out of it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::calls::Task;
use super::outcome::Outcome;
use super::scheduler::Scheduler;
use super::shell::{Shell, Streams};
use crate::libprocess::recordio;
use crate::poll::Signals;
use crate::resources::{self, Resources};

/// A request as the other side saw it: its line, its `Mesos-Stream-Id`, its body.
#[derive(Debug, Clone)]
struct Seen {
    line: String,
    stream: Option<String>,
    body: Vec<u8>,
}

impl Seen {
    fn call(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

fn read_request(stream: &TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length, mut id) = (String::new(), 0, None);
    reader.read_line(&mut line).ok()?;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim().split_once(": ") {
            None => break,
            Some(("Content-Length", value)) => length = value.parse().ok()?,
            Some(("Mesos-Stream-Id", value)) => id = Some(value.to_string()),
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { line: line.trim().to_string(), stream: id, body })
}

fn answer(mut stream: &TcpStream, head: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

/// Listens on loopback; each request is given to the script with its connection.
fn serve(script: impl Fn(Seen, TcpStream) + Send + 'static) -> SocketAddrV4 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Some(seen) = read_request(&stream) {
                script(seen, stream);
            }
        }
    });
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => unreachable!("bound to an IPv4 address"),
    }
}

fn task() -> Task {
    let list = resources::parse("cpus:1;mem:32").expect("resources");
    Task {
        id: "j".to_string(),
        name: "j".to_string(),
        command: "true".to_string(),
        env: Vec::new(),
        resources: Resources::checked(&list).expect("resources"),
        user: "root".to_string(),
        run_as: None,
    }
}

struct Ran {
    outcome: Outcome,
    stdout: Vec<u8>,
    stderr: String,
}

fn run(name: &str, master: SocketAddrV4) -> Ran {
    let path = |stream: &str| -> PathBuf {
        std::env::temp_dir().join(format!("mesos-slave-shell-{name}-{stream}-{}", std::process::id()))
    };
    let (out, err) = (path("out"), path("err"));
    let streams = Streams { stdout: File::create(&out).expect("file"), stderr: File::create(&err).expect("file") };
    let mut signals = Signals::block(&[]).expect("signals");
    let now = Instant::now();
    let (scheduler, first) = Scheduler::new(task().into(), Some(Duration::from_secs(60)), now);
    let outcome = Shell::new(master, scheduler, &mut signals, None, streams, now).run(first).expect("poll");
    let ran = Ran { outcome, stdout: fs::read(&out).expect("file"), stderr: fs::read_to_string(&err).expect("file") };
    let _ = (fs::remove_file(out), fs::remove_file(err));
    ran
}

/// A master with one slave, which is its own agent, and a task that has written these bytes.
fn master(output: &'static [u8], calls: Sender<Seen>) -> SocketAddrV4 {
    let (events, queue): (Sender<Vec<u8>>, Receiver<Vec<u8>>) = channel();
    let queue = std::sync::Mutex::new(Some(queue));
    serve(move |seen, stream| {
        let port = stream.local_addr().expect("address").port();
        if seen.line.starts_with("GET /state ") {
            let state = r#"{"frameworks":[{"id":"F","executors":[{"container":"c","directory":"/w/x y"}]}]}"#;
            return answer(&stream, "200 OK", state.as_bytes());
        }
        if seen.line.starts_with("GET /files/read?path=/w/x%20y/stdout&") {
            let offset: usize = seen
                .line
                .split("offset=")
                .nth(1)
                .and_then(|rest| rest.split('&').next())
                .and_then(|text| text.parse().ok())
                .expect("offset");
            let body = [b"{\"data\":\"", &output[offset..], b"\",\"offset\":0}"].concat();
            return answer(&stream, "200 OK", &body);
        }
        if seen.line.starts_with("GET ") {
            return answer(&stream, "404 Not Found", b"");
        }
        let call = seen.call();
        let _ = calls.send(seen);
        match call["type"].as_str() {
            Some("SUBSCRIBE") => {
                let queue = queue.lock().expect("lock").take().expect("one subscription");
                thread::spawn(move || stream_events(stream, &queue));
                let offer = format!(
                    r#"{{"type":"OFFERS","offers":{{"offers":[{{"id":{{"value":"O"}},"framework_id":{{"value":"F"}},"agent_id":{{"value":"S"}},"hostname":"h","url":{{"scheme":"http","address":{{"ip":"127.0.0.1","port":{port}}},"path":"/slave(1)"}},"resources":[{{"name":"cpus","type":"SCALAR","scalar":{{"value":2.0}}}},{{"name":"mem","type":"SCALAR","scalar":{{"value":64.0}}}}]}}]}}}}"#
                );
                let _ = events.send(br#"{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"F"},"heartbeat_interval_seconds":15.0}}"#.to_vec());
                let _ = events.send(offer.into_bytes());
                return;
            }
            Some("ACCEPT") => {
                for (state, message) in [("TASK_RUNNING", ""), ("TASK_FAILED", "Command exited with status 3")] {
                    let status = format!(
                        r#"{{"type":"UPDATE","update":{{"status":{{"task_id":{{"value":"j"}},"state":"{state}","message":"{message}","agent_id":{{"value":"S"}},"uuid":"rDxkMkr4Rn6T47upY6MdhQ==","container_status":{{"container_id":{{"value":"c"}}}}}}}}}}"#
                    );
                    let _ = events.send(status.into_bytes());
                }
            }
            _ => {}
        }
        answer(&stream, "202 Accepted", b"");
    })
}

fn stream_events(mut stream: TcpStream, events: &Receiver<Vec<u8>>) {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nMesos-Stream-Id: the-stream\r\nContent-Type: application/json\r\n\r\n";
    let _ = stream.write_all(head.as_bytes());
    while let Ok(event) = events.recv() {
        let record = recordio::encode(&event);
        let chunk = [format!("{:x}\r\n", record.len()).as_bytes(), &record, b"\r\n"].concat();
        let _ = stream.write_all(&chunk);
    }
}

#[test]
fn a_task_runs_and_its_bytes_and_its_status_come_back() {
    let (calls, seen) = channel();
    let ran = run("whole", master(b"a\xff\x80z", calls));
    assert_eq!(ran.outcome, Outcome::Command(3));
    assert_eq!(ran.stdout, b"a\xff\x80z");
    let lines: Vec<&str> = ran.stderr.lines().map(|line| line.split_whitespace().next().unwrap_or_default()).collect();
    assert_eq!(lines, ["launching", "TASK_RUNNING", "TASK_FAILED"]);
    let seen: Vec<Seen> = seen.try_iter().collect();
    let types: Vec<String> =
        seen.iter().map(|seen| seen.call()["type"].as_str().unwrap_or_default().to_string()).collect();
    assert_eq!(types[..3], ["SUBSCRIBE", "ACCEPT", "ACKNOWLEDGE"]);
    assert_eq!((types.len(), types.contains(&"TEARDOWN".to_string())), (5, true));
    assert!(seen[0].stream.is_none() && seen[1..].iter().all(|seen| seen.stream.as_deref() == Some("the-stream")));
    assert_eq!(seen[0].line, "POST /api/v1/scheduler HTTP/1.1");
}

#[test]
fn a_master_that_does_not_lead_sends_us_on() {
    let (calls, _seen) = channel();
    let leader = master(b"", calls);
    let follower = serve(move |_, stream| {
        let head = format!("307 Temporary Redirect\r\nLocation: //{leader}/master/api/v1/scheduler");
        answer(&stream, &head, b"");
    });
    assert_eq!(run("redirect", follower).outcome, Outcome::Command(3));
}

#[test]
fn a_refusal_is_quoted() {
    let master = serve(|_, stream| answer(&stream, "401 Unauthorized", b"who are you?\n"));
    let Outcome::Failed(why) = run("refusal", master).outcome else {
        panic!("no failure");
    };
    assert!(
        why.starts_with("cannot subscribe with the master: ") && why.ends_with(" answers 401 who are you?"),
        "{why}"
    );
}

#[test]
fn a_master_that_hangs_up_is_lost() {
    let master = serve(|_, mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    });
    let outcome = run("hangup", master).outcome;
    assert!(
        matches!(&outcome, Outcome::Failed(why) if why.starts_with("cannot subscribe with the master: ")),
        "{outcome:?}"
    );
}

#[test]
fn a_stream_of_something_else_is_refused() {
    let master = serve(|_, stream| answer(&stream, "200 OK", b"hello, this is no master\n"));
    let outcome = run("other", master).outcome;
    assert!(matches!(&outcome, Outcome::Failed(why) if why.contains("it sent what is no event")), "{outcome:?}");
}
