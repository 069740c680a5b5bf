//! HTTP clients of ours, well-behaved and not.

use super::*;
use crate::libprocess::Guests;
use crate::libprocess::http::{Headers, Response};
use crate::libprocess::network::ConnectionId;

/// Turns until the client's text fulfils `done`; requests go to `answer`.
fn serve(
    network: &mut Network,
    client: &mut Plain,
    mut answer: impl FnMut(&mut Network, NetworkEvent),
    done: impl Fn(&Plain) -> bool,
) {
    let socket = client.socket.try_clone().expect("clone");
    until_with(&mut [network], &[&socket], |_, network, events| {
        events.into_iter().for_each(|event| answer(network, event));
        client.read();
        done(client)
    });
}

/// Turns until the next event.
fn next_event(network: &mut Network) -> NetworkEvent {
    let mut seen = Vec::new();
    until(&mut [network], |_, _, events| {
        seen.extend(events);
        !seen.is_empty()
    });
    assert_eq!(seen.len(), 1, "{seen:?}");
    seen.remove(0)
}

fn next_request(network: &mut Network) -> (ConnectionId, String) {
    match next_event(network) {
        NetworkEvent::Request { connection, request, .. } => (connection, request.path),
        other => panic!("{other:?}"),
    }
}

/// Answers with the path and the body's length.
fn echo(network: &mut Network, event: NetworkEvent) {
    match event {
        NetworkEvent::Request { connection, request, .. } => {
            network.respond(connection, Response::text(200, format!("{}:{};", request.path, request.body.len())));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn pipelined_requests_are_answered_one_after_the_other() {
    let mut network = listen();
    let mut client = Plain::connect(network.address());
    client.write(b"GET /one HTTP/1.1\r\n\r\nPOST /two HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /three HTTP/1.1\r\nConnection: close\r\n\r\n");
    let (first, path) = next_request(&mut network);
    assert_eq!(path, "/one");
    assert_eq!(turn_at(&mut network, Instant::now()), [], "the second waits for the first answer");
    network.respond(first, Response::text(200, "1;"));
    serve(&mut network, &mut client, echo, |client| client.ended);
    let bodies: Vec<String> =
        client.text().split("\r\n\r\n").skip(1).map(|part| part.split("HTTP").next().unwrap_or("").into()).collect();
    assert_eq!(bodies, ["1;", "/two:3;", "/three:0;"]);
    assert!(client.text().contains("Connection: close"));
}

#[test]
fn a_client_that_expects_it_is_told_to_go_on() {
    let mut network = listen();
    let mut client = Plain::connect(network.address());
    client.write(b"POST /big HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    serve(&mut network, &mut client, |_, event| panic!("{event:?}"), |client| !client.seen.is_empty());
    assert_eq!(client.text(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write(b"12345");
    serve(&mut network, &mut client, echo, |client| client.text().ends_with("/big:5;"));
    assert_eq!(client.text().matches("100 Continue").count(), 1);
}

#[test]
fn a_head_request_gets_a_length_and_no_body() {
    let mut network = listen();
    let mut client = Plain::connect(network.address());
    client.write(b"HEAD /x HTTP/1.1\r\nConnection: close\r\n\r\n");
    serve(&mut network, &mut client, echo, |client| client.ended);
    assert!(client.text().contains("Content-Length: 5\r\n"), "{}", client.text());
    assert!(client.text().ends_with("\r\n\r\n"));
}

#[test]
fn a_request_of_http_1_0_ends_with_its_connection() {
    let mut network = listen();
    let mut client = Plain::connect(network.address());
    client.write(b"GET /x HTTP/1.0\r\n\r\n");
    serve(&mut network, &mut client, echo, |client| client.ended);
    assert!(client.text().ends_with("/x:0;"));
    drop(client);
    until(&mut [&mut network], |_, network, _| network.counts().0 == 0);
}

#[test]
fn a_client_that_ends_its_side_still_gets_its_answer() {
    let mut network = listen();
    let mut client = Plain::connect(network.address());
    client.write(b"GET /x HTTP/1.1\r\n\r\n");
    client.socket.shutdown(std::net::Shutdown::Write).expect("shutdown");
    let ignore_closed = |network: &mut Network, event: NetworkEvent| {
        if !matches!(event, NetworkEvent::Closed { .. }) {
            echo(network, event);
        }
    };
    serve(&mut network, &mut client, ignore_closed, |client| client.ended);
    assert!(client.text().ends_with("/x:0;"));
    until(&mut [&mut network], |_, network, _| network.counts().0 == 0);
}

#[test]
fn a_stream_goes_out_in_chunks_and_the_connection_serves_on() {
    let mut network = listen();
    let mut client = Plain::connect(network.address());
    client.write(b"POST /stream HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET /after HTTP/1.1\r\n\r\n");
    let (connection, _) = next_request(&mut network);
    network.open_stream(connection, 200, Headers::new().with("Content-Type", "application/recordio"));
    assert!(network.write_stream(connection, b"first"));
    assert!(network.write_stream(connection, b""));
    assert!(network.write_stream(connection, b"second"));
    let far = Instant::now() + Duration::from_secs(100_000);
    assert_eq!(turn_at(&mut network, far), [], "a stream never idles out");
    network.close_stream(connection);
    assert!(!network.write_stream(connection, b"third"));
    serve(&mut network, &mut client, echo, |client| client.text().ends_with("/after:0;"));
    assert!(
        client.text().contains("Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\nHTTP/1.1 200")
    );
}

#[test]
fn a_stream_to_http_1_0_is_plain_bytes_until_the_end() {
    let mut network = listen();
    let mut client = Plain::connect(network.address());
    client.write(b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let (connection, _) = next_request(&mut network);
    network.open_stream(connection, 200, Headers::new());
    assert!(network.write_stream(connection, b"bytes"));
    network.close_stream(connection);
    serve(&mut network, &mut client, |_, event| panic!("{event:?}"), |client| client.ended);
    assert_eq!(client.text(), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbytes");
}

#[test]
fn a_client_that_leaves_its_stream_or_its_question_is_told_of() {
    let mut network = listen();
    for open in [true, false] {
        let mut client = Plain::connect(network.address());
        client.write(b"GET /stream HTTP/1.1\r\n\r\n");
        let (connection, _) = next_request(&mut network);
        if open {
            network.open_stream(connection, 200, Headers::new());
        }
        drop(client);
        assert_eq!(next_event(&mut network), NetworkEvent::Closed { connection });
        assert!(!network.write_stream(connection, b"x"));
    }
}

#[test]
fn a_subscriber_that_never_reads_is_dropped_at_its_limit() {
    let mut network = listen();
    let mut client = Plain::connect(network.address());
    client.write(b"GET /stream HTTP/1.1\r\n\r\n");
    let (connection, _) = next_request(&mut network);
    network.open_stream(connection, 200, Headers::new());
    let chunk = vec![0; 16 * 1024 * 1024];
    let written = (0..8).take_while(|_| network.write_stream(connection, &chunk)).count();
    assert!((4..6).contains(&written), "{written}");
    assert_eq!(next_event(&mut network), NetworkEvent::Closed { connection });
}

#[test]
fn half_a_request_and_then_silence_is_dropped_after_thirty_seconds() {
    let halves: [&[u8]; 3] = [
        b"G",
        b"POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
        b"POST /a/b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ];
    for half in halves {
        let mut network = listen();
        let began = Instant::now();
        let mut client = Plain::connect(network.address());
        client.write(half);
        until(&mut [&mut network], |_, network, events| {
            assert_eq!(events, []);
            network.deadline().is_some()
        });
        let deadline = network.deadline().expect("a deadline");
        assert!(deadline >= began + Duration::from_secs(30));
        assert_eq!(turn_at(&mut network, deadline - Duration::from_millis(1)), []);
        assert_eq!(network.counts().0, 1);
        assert_eq!(turn_at(&mut network, deadline), []);
        assert_eq!(network.counts().0, 0);
    }
}

#[test]
fn a_connection_between_two_requests_has_no_deadline_and_no_memory() {
    let mut network = listen();
    let mut client = Plain::connect(network.address());
    client.write(b"POST /x HTTP/1.1\r\nContent-Length: 100000\r\n\r\n");
    let sent = send_while_turning(&mut network, &mut client, &[b'x'; 100_000]);
    sent.into_iter().for_each(|event| echo(&mut network, event));
    serve(&mut network, &mut client, echo, |client| client.text().ends_with("/x:100000;"));
    assert_eq!((network.deadline(), network.held()), (None, 0));
    assert!(Network::idle_size() < 1024, "{}", Network::idle_size());
}

#[test]
fn an_answer_that_is_not_read_is_given_up() {
    let mut network = listen();
    // The kernel alone could hold all of it.
    network.set_kernel_buffer(NARROW);
    let mut client = Plain::connect_narrow(network.address());
    client.write(b"GET /x HTTP/1.1\r\n\r\n");
    let (connection, _) = next_request(&mut network);
    network.respond(connection, Response::text(200, "x".repeat(32 * 1024 * 1024)));
    until(&mut [&mut network], |_, network, _| network.deadline().is_some_and(|deadline| deadline > Instant::now()));
    network.flush();
    let deadline = network.deadline().expect("a deadline");
    turn_at(&mut network, deadline + Duration::from_secs(61));
    assert_eq!(network.counts().0, 0);
}

#[test]
fn the_connection_above_the_limit_is_closed_and_the_others_stay() {
    let mut network = listen();
    network.set_max_connections(2);
    let mut clients: Vec<Plain> = (0..2).map(|_| Plain::connect(network.address())).collect();
    until(&mut [&mut network], |_, network, _| network.counts().0 == 2);
    let mut third = Plain::connect(network.address());
    serve(&mut network, &mut third, |_, event| panic!("{event:?}"), |client| client.ended);
    for client in &mut clients {
        client.write(b"GET /x HTTP/1.1\r\n\r\n");
        serve(&mut network, client, echo, |client| client.text().ends_with("/x:0;"));
    }
}

#[test]
fn a_guest_that_opens_connections_without_end_keeps_nobody_out() {
    let mut network = listen();
    network.set_max_connections(200);
    // All of loopback are guests, but for the address that the others come from.
    network.set_guests(Some(Guests { gateway: Ipv4Addr::LOCALHOST, prefix: 8 }));
    let mut guests: Vec<Plain> = Vec::new();
    let [first, second, third] = [2, 3, 4].map(|last| Ipv4Addr::new(127, 0, 0, last));
    for (guest, held) in [(first, 64), (second, 100), (third, 100)] {
        guests.extend((0..64).map(|_| Plain::connect_from(guest, network.address())));
        until(&mut [&mut network], |_, network, _| network.counts().0 == held);
        let mut more = Plain::connect_from(guest, network.address());
        serve(&mut network, &mut more, |_, event| panic!("{event:?}"), |client| client.ended);
    }
    let mut other = Plain::connect(network.address());
    other.write(b"GET /x HTTP/1.1\r\n\r\n");
    serve(&mut network, &mut other, echo, |client| client.text().ends_with("/x:0;"));
    guests[0].write(b"POST /x HTTP/1.1\r\nContent-Length: 17000000\r\n\r\n");
    serve(&mut network, &mut guests[0], |_, event| panic!("{event:?}"), |client| client.ended);
    assert!(guests[0].text().starts_with("HTTP/1.1 413"), "{}", guests[0].text());
}

#[test]
fn requests_that_together_are_too_large_are_refused_one_by_one() {
    let mut network = listen();
    network.set_max_held(3 * 1024 * 1024);
    let part = vec![b'x'; 2 * 1024 * 1024];
    let begin = |network: &Network| {
        let mut client = Plain::connect(network.address());
        client.write(b"POST /x HTTP/1.1\r\nContent-Length: 4194304\r\n\r\n");
        client
    };
    let (mut first, mut second) = (begin(&network), begin(&network));
    assert_eq!(send_while_turning(&mut network, &mut first, &part), []);
    // All of the first is here before the second begins: a kernel may hold as much itself.
    until(&mut [&mut network], |_, network, _| network.unfinished() == part.len());
    assert_eq!(send_while_turning(&mut network, &mut second, &part), []);
    serve(&mut network, &mut second, |_, event| panic!("{event:?}"), |client| client.ended);
    assert!(second.text().starts_with("HTTP/1.1 503"), "{}", second.text());
    assert!(!first.ended && first.seen.is_empty());
}

/// Writes more than the kernel holds; gives the events of meanwhile.
fn send_while_turning(network: &mut Network, client: &mut Plain, bytes: &[u8]) -> Vec<NetworkEvent> {
    let (mut sent, mut seen) = (0, Vec::new());
    until(&mut [network], |_, _, events| {
        seen.extend(events);
        while sent < bytes.len() {
            match client.socket.write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => return true,
            }
        }
        true
    });
    seen
}
