//! A server's side of HTTP: requests, and which of them are libprocess messages, in the dialects of 1.x and of 2012.
//!
//! However the stream is cut, the same requests come out. A message or request that was understood is understood again
//! when we send it, in either dialect. A message's sender shows no dialect for another address. The parser holds no more than it was given, nor more than its limits.

#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::libprocess::dialect::{Dialect, shown_by};
use mesos_slave_fuzz::libprocess::message::{Message, encode, plain, recognise};
use mesos_slave_fuzz::libprocess::parse::{MAX_HEAD, RequestHead, RequestParser};
use mesos_slave_fuzz::libprocess::{Pid, encode_request};
use mesos_slave_fuzz::slave::FromMaster;
use mesos_slave_fuzz::slave::executor::FromExecutor;
use mesos_slave_fuzz::{check, memory};

/// Header fields of a request that still has room for ours.
const ROOM: usize = 60;

type Requests = (Vec<(RequestHead, Vec<u8>)>, bool);

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, max_body: usize) -> Requests {
    let (mut parser, mut requests) = (RequestParser::new(max_body), Vec::new());
    for piece in pieces {
        parser.push(piece);
        loop {
            match parser.next() {
                Ok(Some((head, body))) => {
                    assert!(body.len() <= max_body);
                    requests.push((head, body));
                }
                Ok(None) => break,
                Err(error) => {
                    assert!((400..600).contains(&error.status()), "{error}");
                    return (requests, true);
                }
            }
        }
        assert!(parser.held() <= MAX_HEAD + max_body + piece.len());
        parser.take_continue();
    }
    (requests, false)
}

fn one(bytes: &[u8]) -> (RequestHead, Vec<u8>) {
    let (mut requests, broken) = read([bytes].into_iter(), bytes.len());
    assert!(!broken && requests.len() == 1, "{:?}", String::from_utf8_lossy(bytes));
    requests.remove(0)
}

fn message_comes_back(message: Message, body: &[u8]) {
    let to = Pid { id: message.to.clone(), address: message.from.address };
    let (own, other) = (SocketAddr::from(message.from.address), SocketAddr::from((Ipv4Addr::UNSPECIFIED, 1)));
    for dialect in [Dialect::V1, Dialect::V2012, Dialect::Unknown] {
        let (head, again) = one(&encode(dialect, &message.from, &to, &message.name, body));
        assert_eq!(recognise(&head).as_ref(), Some(&message));
        assert_eq!(again, body);
        let shown = if dialect == Dialect::V2012 { dialect } else { Dialect::V1 };
        assert_eq!(shown_by(&head, &message.from, own), shown);
        assert!(own.ip() == other.ip() || shown_by(&head, &message.from, other) == Dialect::Unknown);
    }
    // What the slave makes of it.
    let _ = FromMaster::decode(&message.name, body);
    let _ = FromExecutor::of_driver(&message.from, &message.name, body);
}

fn request_comes_back(head: RequestHead, body: Vec<u8>) {
    let (room, target) = (head.headers.0.len() <= ROOM, head.target.clone());
    let request = plain(head, body);
    request.query_param("path");
    request.path_segments();
    if let Some(bytes) = encode_request(&request).filter(|_| room) {
        let (head, body) = one(&bytes);
        assert_eq!((head.method, head.target, body), (request.method, target, request.body));
    }
}

fuzz_target!(|data: &[u8]| {
    let max_body = [16, 1024, 64 << 20][(check::number(data) % 3) as usize];
    let whole = memory::within(16 * 1024 + 8 * data.len(), || read([data].into_iter(), max_body));
    assert_eq!(whole, read(check::pieces(data), max_body));
    for (head, body) in whole.0 {
        if let Some(message) = recognise(&head) {
            message_comes_back(message, &body);
        }
        request_comes_back(head, body);
    }
});
