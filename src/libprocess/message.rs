//! What makes a request a libprocess message, and a message a request (`process/encoder.hpp` and `process.cpp`'s `parse`
//! in Mesos 1.11; for 2012's form see the captures of 0.9).

use super::dialect::Dialect;
use super::http::{Request, percent_decode};
use super::parse::RequestHead;
use super::pid::{Pid, is_id};

/// Longest message name, in bytes. The longest of Mesos has about 60.
const MAX_NAME: usize = 255;

/// The prefix of a `User-Agent` that names a sender.
const AGENT: &str = "libprocess/";

/// A message as it came in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The sender as it calls itself.
    pub from: Pid,
    /// The receiver's id, for example `slave(1)`.
    pub to: String,
    /// The message's name, for example `mesos.internal.PingSlaveMessage`.
    pub name: String,
}

/// A message's request, byte for byte as Mesos 1.11 sends it, or, to a peer of 2012, as Mesos 0.9 does. Whoever has not shown
/// itself gets the form of 1.11, which both take: `User-Agent` comes first since 2012's receivers lose the last header and
/// want that one. A message without body has no framing at all.
pub fn encode(dialect: Dialect, from: &Pid, to: &Pid, name: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256 + body.len());
    let (version, by, host) = match dialect {
        Dialect::V2012 => ("HTTP/1.0", String::new(), ""),
        Dialect::V1 | Dialect::Unknown => ("HTTP/1.1", format!("Libprocess-From: {from}\r\n"), "Host: \r\n"),
    };
    let head = format!(
        "POST /{}/{name} {version}\r\nUser-Agent: {AGENT}{from}\r\n{by}Connection: Keep-Alive\r\n{host}",
        to.id
    );
    bytes.extend_from_slice(head.as_bytes());
    if body.is_empty() {
        bytes.extend_from_slice(b"\r\n");
        return bytes;
    }
    bytes.extend_from_slice(format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(b"\r\n0\r\n\r\n");
    bytes
}

/// The message in a request: a POST to `/<id>/<name>` by a sender that says its PID.
pub fn recognise(head: &RequestHead) -> Option<Message> {
    if head.method != "POST" {
        return None;
    }
    let agent = head.headers.get("User-Agent").and_then(|agent| agent.strip_prefix(AGENT));
    let sender = head.headers.get("Libprocess-From").or(agent)?;
    let from = match sender.parse() {
        Ok(from) => from,
        Err(error) => {
            log::debug!("a message's sender is unusable: {error}");
            return None;
        }
    };
    let (to, name) = head.target.strip_prefix('/')?.split_once('/')?;
    let (to, name) = (percent_decode(to)?, percent_decode(name)?);
    (is_id(&to) && is_name(&name)).then_some(Message { from, to, name })
}

/// A word that can be a message's name.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"/?#%".contains(&byte);
    !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(fits)
}

/// Any other request. What a client says as to a proxy, `http://host/path`, means the path (RFC 9112, section 3.2.2).
pub fn plain(head: RequestHead, body: Vec<u8>) -> Request {
    let target = match head.target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")) {
        Some(scheme) => head.target[scheme.len()..].find('/').map_or("/", |at| &head.target[scheme.len() + at..]),
        None => &head.target,
    };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path.to_string(), Some(query.to_string())),
        None => (target.to_string(), None),
    };
    Request { method: head.method, path, query, headers: head.headers, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_may_name_the_host() {
        let parts = |target: &str| {
            let headers = super::super::http::Headers::new();
            let head = RequestHead { method: "GET".into(), target: target.into(), version_1_1: true, headers };
            let request = plain(head, Vec::new());
            (request.path, request.query)
        };
        assert_eq!(parts("http://h:5051/a?b=http://c/d"), ("/a".into(), Some("b=http://c/d".into())));
        assert_eq!(parts("HTTP://h"), ("/".into(), None));
        assert_eq!(parts("/http://h/a"), ("/http://h/a".into(), None));
    }
}
