//! Requests that we make, to servers well-behaved and not.

use std::net::TcpListener;

use super::*;
use crate::libprocess::http::{Headers, Request, Response};
use crate::libprocess::network::RequestId;
use crate::loopback::{self, Nobody};

const TIMEOUT: Duration = PATIENCE;

fn get(path: &str) -> Request {
    Request::new("GET", path, Vec::new())
}

/// Serves with `answer` until the client has as many events.
fn exchange(
    client: &mut Network,
    server: &mut Network,
    count: usize,
    mut answer: impl FnMut(&mut Network, NetworkEvent),
) -> Vec<NetworkEvent> {
    let mut seen = Vec::new();
    until(&mut [client, server], |at, network, events| {
        match at {
            0 => seen.extend(events),
            _ => events.into_iter().for_each(|event| answer(network, event)),
        }
        seen.len() >= count
    });
    seen
}

fn echo(network: &mut Network, event: NetworkEvent) {
    if let NetworkEvent::Request { connection, request, .. } = event {
        network.respond(connection, Response { body: request.body, ..Response::text(200, "") });
    }
}

/// A server that answers the first request with fixed bytes and ends.
fn canned(
    bytes: &[u8],
    request: impl FnOnce(&mut Network, SocketAddrV4) -> RequestId,
) -> (RequestId, Vec<NetworkEvent>) {
    let listener = TcpListener::bind(any_port()).expect("a listener");
    let std::net::SocketAddr::V4(address) = listener.local_addr().expect("address") else { panic!("IPv4") };
    let mut network = Network::client();
    let id = request(&mut network, address);
    let mut server = Plain::new(listener.accept().expect("a connection").0);
    let socket = server.socket.try_clone().expect("clone");
    until_with(&mut [&mut network], &[&socket], |_, _, _| {
        server.read();
        server.seen.windows(4).any(|end| end == b"\r\n\r\n")
    });
    server.write(bytes);
    drop((server, socket));
    let mut seen = Vec::new();
    until(&mut [&mut network], |_, _, events| {
        seen.extend(events);
        matches!(seen.last(), Some(NetworkEvent::Response { .. } | NetworkEvent::RequestEnded { .. }))
    });
    (id, seen)
}

fn canned_get(bytes: &[u8]) -> Result<(u16, Vec<u8>), String> {
    let (_, mut seen) = canned(bytes, |network, to| network.request(to, get("/x"), TIMEOUT, Instant::now()));
    assert_eq!(seen.len(), 1);
    match seen.remove(0) {
        NetworkEvent::Response { response, .. } => Ok((response.status, response.body)),
        NetworkEvent::RequestEnded { error: Some(error), .. } => Err(error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_after_each_other_share_a_connection() {
    let (mut client, mut server) = (Network::client(), listen());
    for size in [0, 1, 300_000] {
        let request = Request::new("POST", "/x", vec![7; size]);
        let id = client.request(server.address(), request, TIMEOUT, Instant::now());
        let seen = exchange(&mut client, &mut server, 1, echo);
        let NetworkEvent::Response { request, response } = &seen[0] else { panic!("{seen:?}") };
        assert_eq!((*request, response.status, response.body.len()), (id, 200, size));
    }
    assert_eq!((client.counts().1, server.counts().0), (1, 1));
}

#[test]
fn a_kept_connection_that_the_server_closed_is_not_used_again() {
    // One that is nobody else's in the time between the two servers.
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, loopback::port_for_a_server());
    let (mut client, mut server) = (Network::client(), Network::listen(address).expect("a listener"));
    client.request(address, get("/x"), TIMEOUT, Instant::now());
    exchange(&mut client, &mut server, 1, echo);
    drop(server);
    until(&mut [&mut client], |_, network, _| network.counts().1 == 0);
    // A child that another test is just starting may hold the old listener for a moment.
    let end = Instant::now() + PATIENCE;
    let mut server = loop {
        match Network::listen(address) {
            Ok(server) => break server,
            Err(error) => assert!(Instant::now() < end, "the same port: {error}"),
        }
    };
    client.request(address, get("/x"), TIMEOUT, Instant::now());
    let seen = exchange(&mut client, &mut server, 1, echo);
    assert!(matches!(seen[0], NetworkEvent::Response { .. }), "{seen:?}");
}

#[test]
fn a_stream_comes_as_it_is_sent() {
    let (mut client, mut server) = (Network::client(), listen());
    let id = client.request_stream(server.address(), Request::new("POST", "/s", Vec::new()), Instant::now());
    let mut stream = None;
    let seen = exchange(&mut client, &mut server, 1, |network, event| {
        let NetworkEvent::Request { connection, .. } = event else { panic!("{event:?}") };
        network.open_stream(connection, 200, Headers::new().with("Mesos-Stream-Id", "7"));
        stream = Some(connection);
    });
    let headers = Headers(vec![("Mesos-Stream-Id".into(), "7".into()), ("Transfer-Encoding".into(), "chunked".into())]);
    assert_eq!(seen, [NetworkEvent::StreamHead { request: id, status: 200, headers }]);
    let stream = stream.expect("a stream");
    for bytes in [b"one".as_slice(), b"two"] {
        assert!(server.write_stream(stream, bytes));
        let seen = exchange(&mut client, &mut server, 1, |_, event| panic!("{event:?}"));
        assert_eq!(seen, [NetworkEvent::StreamData { request: id, bytes: bytes.to_vec() }]);
    }
    server.close_stream(stream);
    let seen = exchange(&mut client, &mut server, 1, |_, event| panic!("{event:?}"));
    assert_eq!(seen, [NetworkEvent::RequestEnded { request: id, error: None }]);
}

#[test]
fn a_cancelled_stream_is_seen_by_the_server_and_says_no_more() {
    let (mut client, mut server) = (Network::client(), listen());
    let id = client.request_stream(server.address(), get("/s"), Instant::now());
    let mut stream = None;
    exchange(&mut client, &mut server, 1, |network, event| {
        let NetworkEvent::Request { connection, .. } = event else { panic!("{event:?}") };
        network.open_stream(connection, 200, Headers::new());
        stream = Some(connection);
    });
    client.cancel(id);
    until(&mut [&mut client, &mut server], |at, _, events| {
        assert!(at == 1 || events.is_empty(), "{events:?}");
        events.iter().any(|event| matches!(event, NetworkEvent::Closed { connection } if Some(*connection) == stream))
    });
}

#[test]
fn a_request_that_is_not_answered_ends_at_its_deadline() {
    let silent = TcpListener::bind(any_port()).expect("a listener");
    let std::net::SocketAddr::V4(address) = silent.local_addr().expect("address") else { panic!("IPv4") };
    let mut network = Network::client();
    let now = Instant::now();
    let id = network.request(address, get("/x"), Duration::from_secs(3), now);
    until(&mut [&mut network], |_, network, _| network.deadline() == Some(now + Duration::from_secs(3)));
    assert_eq!(turn_at(&mut network, now + Duration::from_millis(2999)), []);
    let seen = turn_at(&mut network, now + Duration::from_secs(3));
    assert_eq!(
        seen,
        [NetworkEvent::RequestEnded { request: id, error: Some(format!("{address}: no answer in time")) }]
    );
    assert_eq!(network.deadline(), None);
}

#[test]
fn a_request_to_nobody_or_with_a_broken_path_fails_with_a_reason() {
    let mut network = Network::client();
    let nobody = Nobody::new();
    let address = nobody.address();
    for (path, reason) in [("/x", "cannot connect"), ("/x\r\ny", "method or path")] {
        network.request(address, get(path), TIMEOUT, Instant::now());
        let mut seen = Vec::new();
        until(&mut [&mut network], |_, _, events| {
            seen.extend(events);
            !seen.is_empty()
        });
        let NetworkEvent::RequestEnded { error: Some(error), .. } = &seen[0] else { panic!("{seen:?}") };
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn answers_are_read_by_length_by_chunks_and_to_the_end() {
    let ok = |body: &str| Ok((200, body.as_bytes().to_vec()));
    assert_eq!(canned_get(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), ok("hi"));
    assert_eq!(canned_get(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), ok("hi"));
    assert_eq!(canned_get(b"HTTP/1.0 200 OK\r\n\r\nto the end"), ok("to the end"));
    assert_eq!(canned_get(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), ok(""));
    assert_eq!(canned_get(b"HTTP/1.1 204 No Content\r\n\r\n"), Ok((204, Vec::new())));
}

#[test]
fn answers_that_are_cut_off_or_malformed_are_errors() {
    let cases: [(&[u8], &str); 5] = [
        (b"", "closed before"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", "closed before"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", "closed before"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "malformed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "malformed"),
    ];
    for (bytes, reason) in cases {
        let error = canned_get(bytes).expect_err("an error");
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn an_answer_to_head_has_no_body() {
    let head = |network: &mut Network, to| {
        network.request(to, Request::new("HEAD", "/x", Vec::new()), TIMEOUT, Instant::now())
    };
    let (_, seen) = canned(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", head);
    assert!(matches!(&seen[0], NetworkEvent::Response { response, .. } if response.body.is_empty()), "{seen:?}");
}

#[test]
fn a_stream_that_is_cut_off_ends_with_an_error() {
    let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n";
    let (id, seen) = canned(bytes, |network, to| network.request_stream(to, get("/s"), Instant::now()));
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert_eq!(seen[1], NetworkEvent::StreamData { request: id, bytes: b"hi".to_vec() });
    assert!(matches!(&seen[2], NetworkEvent::RequestEnded { error: Some(_), .. }));
}
