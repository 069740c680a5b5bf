//! As `src/libprocess/mod.rs`, open and only what is fuzzed.

#[path = "../../src/libprocess/body.rs"]
pub mod body;
#[path = "../../src/libprocess/http.rs"]
pub mod http;
#[path = "../../src/libprocess/message.rs"]
pub mod message;
#[path = "../../src/libprocess/parse.rs"]
pub mod parse;
#[path = "../../src/libprocess/pid.rs"]
pub mod pid;
#[path = "../../src/libprocess/recordio.rs"]
pub mod recordio;

pub use http::{Headers, Request, Response};
pub use pid::Pid;

/// A request as our client sends it.
pub fn encode_request(request: &Request) -> Option<Vec<u8>> {
    http::encode_request(request, "host:1", true)
}

/// A response as our server sends it.
pub fn encode_response(response: &Response) -> Vec<u8> {
    http::encode_response(response, true, false)
}
