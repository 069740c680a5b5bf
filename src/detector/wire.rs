//! ZooKeeper's protocol, the part that detection needs: frames, and in them records of its encoding "jute".
//!
//! ```text
//! frame     length (32 bits, big-endian), then so many bytes
//! request   xid, opcode, record                                   answers come in the order of the requests
//! reply     xid, zxid (64 bits), error; if error is 0, record
//!           xid -1: a watch's event   -2: answer to a ping   -4: answer to auth
//! connect   the first frame each way has no header
//! string, buffer   length (32 bits; -1 for none), bytes            vector   count (32 bits), elements
//! ```
//!
//! Facts: `zookeeper.jute`, `ZooDefs.java` and `KeeperException.java` of Apache ZooKeeper; the same from 3.3 to 3.9.

use std::fmt;

/// Longest frame, as with ZooKeeper's own clients and servers (`jute.maxbuffer`).
pub const MAX_FRAME: usize = 1 << 20;
/// Longest password of a session; it has 16 bytes.
const MAX_PASSWORD: usize = 256;

const XID_EVENT: i32 = -1;
const XID_PING: i32 = -2;
const XID_AUTH: i32 = -4;

const OP_EXISTS: i32 = 3;
const OP_GET_DATA: i32 = 4;
const OP_GET_CHILDREN: i32 = 8;
const OP_PING: i32 = 11;
const OP_AUTH: i32 = 100;
const OP_CLOSE: i32 = -11;

/// Why bytes are not ZooKeeper's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    /// A frame's length is negative or beyond [`MAX_FRAME`].
    FrameLength(i32),
    /// A record ends before its last field.
    Short,
    /// A length inside a record is negative or beyond the record.
    Length(i32),
    /// A string is not UTF-8.
    NotUtf8,
    /// An answer to nothing that was asked.
    Unasked(i32),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::FrameLength(length) => {
                write!(f, "a frame of {length} bytes (at most {MAX_FRAME}): is this ZooKeeper's client port?")
            }
            WireError::Short => f.write_str("a record that ends too early"),
            WireError::Length(length) => write!(f, "a field of {length} bytes in a shorter record"),
            WireError::NotUtf8 => f.write_str("a name that is not UTF-8"),
            WireError::Unasked(xid) => write!(f, "an answer to request {xid}, which was not made"),
        }
    }
}

impl std::error::Error for WireError {}

/// A server's error, as a reply's header has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub i32);

impl Code {
    /// All is well.
    pub const OK: Code = Code(0);
    /// There is no such node.
    pub const NO_NODE: Code = Code(-101);
    /// The node's ACL does not let us read.
    pub const NO_AUTH: Code = Code(-102);
    /// The session is over.
    pub const SESSION_EXPIRED: Code = Code(-112);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "ok",
            -4 => "connection loss",
            -5 => "marshalling error",
            -6 => "unimplemented",
            -7 => "operation timeout",
            -8 => "bad arguments",
            -101 => "no node",
            -102 => "not authorized",
            -112 => "session expired",
            -115 => "authentication failed",
            -118 => "session moved",
            code => return write!(f, "error {code}"),
        };
        f.write_str(name)
    }
}

/// Puts a stream of bytes together into frames. Holds at most one frame and what came with it.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// How much of it has been handed out.
    done: usize,
}

impl Frames {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        // Once for all frames of a push: thousands of small ones may come together.
        self.bytes.drain(..self.done);
        self.done = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// A length that no frame has; there is no going on after it.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        let rest = &self.bytes[self.done..];
        let Some((head, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*head);
        let size = usize::try_from(length).ok().filter(|size| *size <= MAX_FRAME);
        let size = size.ok_or(WireError::FrameLength(length))?;
        let frame = rest.get(..size).map(<[u8]>::to_vec);
        if frame.is_some() {
            self.done += 4 + size;
        }
        Ok(frame)
    }
}

/// Writes one frame.
struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Writer {
        Writer(vec![0; 4])
    }

    fn request(xid: i32, opcode: i32) -> Writer {
        Writer::new().int(xid).int(opcode)
    }

    fn int(mut self, value: i32) -> Writer {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn long(mut self, value: i64) -> Writer {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn bool(mut self, value: bool) -> Writer {
        self.0.push(u8::from(value));
        self
    }

    /// What we write is short: the flags' parser sees to that.
    fn bytes(self, value: &[u8]) -> Writer {
        let mut writer = self.int(value.len() as i32);
        writer.0.extend_from_slice(value);
        writer
    }

    fn finish(mut self) -> Vec<u8> {
        let length = (self.0.len() - 4) as i32;
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// A session, as client and server know it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SessionId {
    /// 0: none yet.
    pub id: i64,
    /// What proves that the session is ours.
    pub password: Vec<u8>,
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.id)
    }
}

/// The first frame: a new session (id 0), or one to go on with. The last flag, that a read-only server will not do, is unknown
/// to servers before 3.4, which do not read so far.
pub fn connect(session: &SessionId, last_zxid: i64, timeout_ms: i32) -> Vec<u8> {
    let none = [0u8; 16];
    let password = if session.id == 0 { &none[..] } else { &session.password };
    let writer = Writer::new().int(0).long(last_zxid).int(timeout_ms).long(session.id);
    writer.bytes(password).bool(false).finish()
}

/// `user:password` for the scheme `digest`.
pub fn auth(credentials: &str) -> Vec<u8> {
    Writer::request(XID_AUTH, OP_AUTH).int(0).bytes(b"digest").bytes(credentials.as_bytes()).finish()
}

/// Keeps the session alive.
pub fn ping() -> Vec<u8> {
    Writer::request(XID_PING, OP_PING).finish()
}

/// Ends the session.
pub fn close(xid: i32) -> Vec<u8> {
    Writer::request(xid, OP_CLOSE).finish()
}

/// The names of a node's children, and an event when they change.
pub fn get_children(xid: i32, path: &str) -> Vec<u8> {
    watched(xid, OP_GET_CHILDREN, path)
}

/// Whether there is a node, and an event when that changes.
pub fn exists(xid: i32, path: &str) -> Vec<u8> {
    watched(xid, OP_EXISTS, path)
}

/// A node's data, and an event when it changes.
pub fn get_data(xid: i32, path: &str) -> Vec<u8> {
    watched(xid, OP_GET_DATA, path)
}

fn watched(xid: i32, opcode: i32, path: &str) -> Vec<u8> {
    Writer::request(xid, opcode).bytes(path.as_bytes()).bool(true).finish()
}

/// Reads one record; what is left of it at the end is a newer version's and of no interest.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn int(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_be_bytes)
    }

    fn long(&mut self) -> Result<i64, WireError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Nothing (-1) is taken for empty.
    fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        match self.int()? {
            -1 => Ok(&[]),
            length => match usize::try_from(length) {
                Ok(size) if size <= self.0.len() => self.take(size),
                _ => Err(WireError::Length(length)),
            },
        }
    }

    fn string(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::NotUtf8)
    }
}

/// The server's first frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Connected {
    /// Milliseconds that the session outlives a connection; 0: the session that was asked for is over.
    pub timeout_ms: i32,
    /// The session, the one asked for or a new one.
    pub session: SessionId,
}

/// Reads the server's first frame.
///
/// # Errors
/// A record that is none.
pub fn read_connected(frame: &[u8]) -> Result<Connected, WireError> {
    let mut reader = Reader(frame);
    let _version = reader.int()?;
    let timeout_ms = reader.int()?;
    let id = reader.long()?;
    let password = reader.bytes()?;
    if password.len() > MAX_PASSWORD {
        return Err(WireError::Length(password.len() as i32));
    }
    Ok(Connected { timeout_ms, session: SessionId { id, password: password.to_vec() } })
}

/// Any later frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// A ping came back.
    Pong,
    /// The credentials were taken, or not.
    Auth(Code),
    /// Something that we watch has changed, or the server tells of the session.
    Event {
        /// The node; empty for the session.
        path: &'a str,
    },
    /// The answer to a request.
    Answer {
        /// Which.
        xid: i32,
        /// The latest transaction that the server knows.
        zxid: i64,
        /// How it went.
        code: Code,
        /// What was asked for.
        body: &'a [u8],
    },
}

/// Reads a frame after the first.
///
/// # Errors
/// A frame that is none.
pub fn read_reply(frame: &[u8]) -> Result<Reply<'_>, WireError> {
    let mut reader = Reader(frame);
    let (xid, zxid, code) = (reader.int()?, reader.long()?, Code(reader.int()?));
    match xid {
        XID_PING => Ok(Reply::Pong),
        XID_AUTH => Ok(Reply::Auth(code)),
        XID_EVENT => {
            let (_kind, _state) = (reader.int()?, reader.int()?);
            Ok(Reply::Event { path: reader.string()? })
        }
        xid => Ok(Reply::Answer { xid, zxid, code, body: reader.0 }),
    }
}

/// Reads the answer to [`get_children`].
///
/// # Errors
/// A record that is none.
pub fn read_children(body: &[u8]) -> Result<Vec<&str>, WireError> {
    let mut reader = Reader(body);
    let count = match reader.int()? {
        -1 => 0,
        count => usize::try_from(count).map_err(|_| WireError::Length(count))?,
    };
    // Each takes four bytes at least; a count is not believed before its elements are there.
    let mut names = Vec::with_capacity(count.min(body.len() / 4));
    for _ in 0..count {
        names.push(reader.string()?);
    }
    Ok(names)
}

/// Reads the answer to [`get_data`]; what else it tells about the node is left.
///
/// # Errors
/// A record that is none.
pub fn read_data(body: &[u8]) -> Result<&[u8], WireError> {
    Reader(body).bytes()
}

#[cfg(test)]
mod tests;
