//! `mesos-slave check-port`: asks one port of a loopback, this host's or, with the words of an ssh that goes there, a guest's. It takes
//! its time: who starts it kills it when that is over. It is a process of its own because it reads what a guest sends.
//!
//! ```text
//! check-port tcp 127.0.0.1:80                       ──►  succeeded=true, or succeeded=false
//! check-port http 127.0.0.1:80 /path [ssh … -W @target@ …]
//!                                                   ──►  status=200, or failed=<why>
//! ```
//!
//! It fails, with the reason on stderr, when it could not ask.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};

use super::{Target, http};
use crate::container::text::printable;
use crate::vm::ssh::{FORWARD_TARGET, FORWARDED, NOT_FORWARDED, clean_environment};

/// How many redirections are followed, as curl does.
const REDIRECTIONS: usize = 50;
/// Longest head of an answer, in bytes.
const LONGEST_HEAD: u64 = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    /// The server is not there, or makes no sense.
    Failed(String),
    /// There is no way to ask.
    Unavailable(String),
}

/// `mesos-slave check-port KIND TARGET [PATH [SSH…]]`.
pub fn main(arguments: &[OsString]) -> ExitCode {
    match check(arguments) {
        Ok(answer) => println!("{answer}"),
        Err(Trouble::Failed(why)) => println!("failed={}", printable(&why)),
        Err(Trouble::Unavailable(why)) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn check(arguments: &[OsString]) -> Result<String, Trouble> {
    let usage = || Trouble::Unavailable("usage: mesos-slave check-port tcp|http TARGET PATH [SSH…]".to_string());
    let [kind, target, path, ssh @ ..] = arguments else {
        return Err(usage());
    };
    let target = target.to_str().and_then(parse_target).ok_or_else(usage)?;
    match kind.to_str() {
        Some("tcp") => match connect(ssh, target) {
            Ok(()) => Ok("succeeded=true".to_string()),
            Err(Trouble::Failed(_)) => Ok("succeeded=false".to_string()),
            Err(trouble) => Err(trouble),
        },
        Some("http") => Ok(format!("status={}", ask(ssh, target, path.to_str().ok_or_else(usage)?)?)),
        _ => Err(usage()),
    }
}

fn parse_target(text: &str) -> Option<Target> {
    let (host, port) = text.rsplit_once(':')?;
    let is_ipv6 = host == "[::1]";
    (is_ipv6 || host == "127.0.0.1").then_some(())?;
    Some(Target { port: port.parse().ok()?, is_ipv6 })
}

/// The status code of the last of the answers: redirections are followed.
fn ask(ssh: &[OsString], mut target: Target, path: &str) -> Result<u32, Trouble> {
    let mut path = path.to_string();
    for _ in 0..=REDIRECTIONS {
        let answer = if ssh.is_empty() { exchange_here(target, &path) } else { exchange_there(ssh, target, &path) };
        let head = answer?;
        match head.location.filter(|_| (300..=399).contains(&head.status)) {
            None => return Ok(head.status),
            Some(location) => (target, path) = http::follow(&location, target, &path).map_err(Trouble::Failed)?,
        }
    }
    Err(Trouble::Failed(format!("the server redirects more than {REDIRECTIONS} times")))
}

fn connect(ssh: &[OsString], target: Target) -> Result<(), Trouble> {
    if ssh.is_empty() {
        return connect_here(target).map(drop);
    }
    let mut child = forward(ssh, target, true)?;
    let stderr = child.stderr.take().map(|pipe| BufReader::new(pipe.take(LONGEST_HEAD)));
    let stderr = stderr.into_iter().flat_map(BufRead::lines);
    let mut said = String::new();
    for line in stderr.map_while(Result::ok) {
        if line.contains(FORWARDED) {
            let _ = child.kill();
            let _ = child.wait();
            return Ok(());
        }
        said.push_str(&line);
        said.push('\n');
    }
    // A server that has closed at once was there, too.
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(refused(&said, target)),
    }
}

fn connect_here(target: Target) -> Result<TcpStream, Trouble> {
    let connected = match target.is_ipv6 {
        true => TcpStream::connect((Ipv6Addr::LOCALHOST, target.port)),
        false => TcpStream::connect((Ipv4Addr::LOCALHOST, target.port)),
    };
    connected.map_err(|error| Trouble::Failed(format!("cannot connect to {target}: {error}")))
}

fn exchange_here(target: Target, path: &str) -> Result<http::Head, Trouble> {
    let mut stream = connect_here(target)?;
    let sent = stream.write_all(&http::request(target, path));
    sent.map_err(|error| Trouble::Failed(format!("{target} does not take the request: {error}")))?;
    read_head(&mut stream)?.ok_or_else(|| closed(target))
}

fn exchange_there(ssh: &[OsString], target: Target, path: &str) -> Result<http::Head, Trouble> {
    let mut child = forward(ssh, target, false)?;
    let mut stdin = child.stdin.take();
    // What goes wrong here is seen in what comes, or does not come, back.
    let _ = stdin.as_mut().map(|pipe| pipe.write_all(&http::request(target, path)));
    let head = child.stdout.take().map_or(Ok(None), |mut pipe| read_head(&mut pipe));
    if let Ok(None) = head {
        drop(stdin);
        let mut said = String::new();
        let stderr = child.stderr.take().map(|pipe| pipe.take(LONGEST_HEAD));
        let _ = stderr.map(|mut pipe| pipe.read_to_string(&mut said));
        let ended = child.wait();
        return Err(if ended.is_ok_and(|status| status.success()) { closed(target) } else { refused(&said, target) });
    }
    let _ = child.kill();
    let _ = child.wait();
    head?.ok_or_else(|| closed(target))
}

fn closed(target: Target) -> Trouble {
    Trouble::Failed(format!("{target} ends the connection without an answer"))
}

/// The head that counts; the body is left unread.
fn read_head(stream: &mut impl Read) -> Result<Option<http::Head>, Trouble> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let mut stream = stream.take(LONGEST_HEAD);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) if stream.limit() == 0 => return Err(Trouble::Failed("the server's answer has no end".to_string())),
            Ok(0) => return Ok(None),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Trouble::Failed(format!("the server's answer breaks off: {error}"))),
        }
        if let Some(head) = http::head(&bytes).map_err(Trouble::Failed)? {
            return Ok(Some(head));
        }
    }
}

/// Starts the ssh that leads to the target. It is of our session, and so is killed with us.
fn forward(ssh: &[OsString], target: Target, verbose: bool) -> Result<Child, Trouble> {
    let target = target.to_string();
    let words = ssh.iter().map(|word| if word == FORWARD_TARGET { OsString::from(&target) } else { word.clone() });
    let mut words = words.collect::<Vec<_>>().into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    clean_environment(&mut command);
    command.args(verbose.then_some("-v")).args(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map_err(|error| Trouble::Unavailable(format!("cannot start ssh: {error}")))
}

/// What ssh's end without a connection means.
fn refused(said: &str, target: Target) -> Trouble {
    if said.contains(NOT_FORWARDED) {
        return Trouble::Failed(format!("cannot connect to {target} in the guest"));
    }
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("debug"));
    Trouble::Unavailable(last.unwrap_or("ssh ended without a word").to_string())
}

#[cfg(test)]
#[path = "port_tests.rs"]
mod tests;
