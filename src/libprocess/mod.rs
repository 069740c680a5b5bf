//! libprocess, the layer under every Mesos program: named processes that send each other messages over HTTP.
//!
//! ```text
//! POST /<to.id>/<message name> HTTP/1.1          one connection carries messages in one direction only:
//! User-Agent: libprocess/<from>                  we connect to the peer to send, the peer connects to us;
//! Libprocess-From: <from>                        the receiver answers each with an empty `202 Accepted`
//!
//! POST /<to.id>/<message name> HTTP/1.0          in 2012: no reply ever; many connections live for
//! User-Agent: libprocess/<from>                  one message only
//! ```
//!
//! ```text
//! pid        `slave(1)@127.0.0.1:5051`
//! http       requests, responses, headers, as the other rooms see them
//! parse      bytes in, heads and bodies out: pure, incremental, bounded; body: where a body ends
//! message    what makes a request a message, and a message a request
//! dialect    1.x or 2012: what a peer has shown
//! recordio   the framing of the v1 APIs' streams
//! buffer     bytes that wait to be written
//! socket     listen, connect, read and write without blocking
//! guests     peers that may take a share only
//! inbound    connections that others made to us        ─┐    connection: one of them
//! link       connections on which we send messages      ├─ network: all of them, under one poll
//! client     HTTP requests that we make                ─┘
//! ```

pub mod http;
pub mod pid;
pub mod recordio;

mod body;
mod buffer;
mod client;
mod connection;
mod dialect;
mod guests;
mod inbound;
mod link;
mod message;
pub mod network;
mod parse;
pub mod socket;
#[cfg(test)]
mod tests;

pub use dialect::Dialect;
pub use guests::Guests;
pub use http::{Headers, Request, Response};
#[cfg(test)]
pub use message::{Message, encode as encode_message, recognise};
pub use network::{ConnectionId, Network, NetworkEvent, RequestId};
#[cfg(test)]
pub use parse::{RequestHead, RequestParser};
pub use pid::Pid;
