//! As `src/libprocess/mod.rs`, open.

pub mod body;
pub mod buffer;
pub mod client;
pub mod connection;
pub mod dialect;
pub mod guests;
pub mod http;
pub mod inbound;
pub mod link;
pub mod message;
pub mod network;
pub mod parse;
pub mod pid;
pub mod recordio;
pub mod socket;

pub use dialect::Dialect;
pub use http::{Headers, Request, Response};
pub use network::{ConnectionId, Network, NetworkEvent, RequestId};
pub use pid::Pid;

/// A request as our client sends it.
pub fn encode_request(request: &Request) -> Option<Vec<u8>> {
    http::encode_request(request, "host:1", true)
}

/// A response as our server sends it.
pub fn encode_response(response: &Response) -> Vec<u8> {
    http::encode_response(response, true, false)
}
