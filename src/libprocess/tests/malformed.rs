//! Bytes that are no HTTP, or that mean to be taken for two different requests.

use super::super::parse::{MAX_HEAD, MAX_HEADERS, RequestParser, ResponseParser};
use super::*;
use crate::libprocess::http::Response;

/// The status that a stream of bytes is refused with; nothing if it is not.
fn refusal(bytes: &[u8], size: usize) -> Option<u16> {
    let mut parser = RequestParser::new(1000);
    for piece in bytes.chunks(size) {
        parser.push(piece);
        loop {
            match parser.next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return Some(error.status()),
            }
        }
    }
    None
}

#[test]
fn malformed_requests_are_refused_with_their_status() {
    let large_head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD));
    let endless_head = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD));
    let many_fields = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS + 1));
    let post = |head: &str, body: &str| format!("POST /a HTTP/1.1\r\n{head}\r\n\r\n{body}");
    let chunked = |body: &str| post("Transfer-Encoding: chunked", body);
    let cases = [
        (large_head, 431),
        (endless_head, 431),
        (many_fields, 431),
        ("nonsense\r\n\r\n".to_string(), 400),
        ("GET / HTTP/2.0\r\n\r\n".to_string(), 400),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_string(), 400),
        ("GET / HTTP/1.1\r\nX : y\r\n\r\n".to_string(), 400),
        (post("Content-Length: -1", ""), 400),
        (post("Content-Length: +1", "x"), 400),
        (post("Content-Length: 1,1", "x"), 400),
        (post("Content-Length: 0x1", "x"), 400),
        (post("Content-Length:", ""), 400),
        (post("Content-Length: 99999999999999999999999", ""), 400),
        (post("Content-Length: 18446744073709551615", ""), 413),
        (post("Content-Length: 1001", ""), 413),
        (post("Content-Length: 1\r\nContent-Length: 2", "x"), 400),
        (post("Content-Length: 1\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 1", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding: gzip, chunked", ""), 501),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", ""), 501),
        (post("Transfer-Encoding: xchunked", ""), 501),
        (chunked("x\r\n"), 400),
        (chunked("-1\r\n"), 400),
        (chunked("\r\n"), 400),
        (chunked("1 2\r\n"), 400),
        (chunked("1\nx\r\n"), 400),
        (chunked("1\r\nxy\r\n"), 400),
        (chunked("ffffffffffffffff\r\n"), 400),
        (chunked("fffffffffffffff\r\n"), 413),
        (chunked("3e9\r\n"), 413),
        (chunked(&format!("1;{}", "x".repeat(2000))), 400),
        (chunked(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(100))), 400),
        (chunked(&format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(1001))), 413),
    ];
    for (text, status) in cases {
        for size in [1, 1000, text.len()] {
            let shown: String = text.chars().take(80).collect();
            assert_eq!(refusal(text.as_bytes(), size), Some(status), "{shown:?} by {size}");
        }
    }
}

#[test]
fn a_refused_client_is_told_and_its_other_bytes_are_ignored() {
    let mut network = listen();
    let mut client = Plain::connect(network.address());
    client.write(b"POST /a HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n");
    let socket = client.socket.try_clone().expect("clone");
    until_with(&mut [&mut network], &[&socket], |_, _, events| {
        assert_eq!(events, []);
        client.read();
        client.ended
    });
    assert!(client.text().starts_with("HTTP/1.1 400 Bad Request\r\n"), "{}", client.text());
    drop((client, socket));
    until(&mut [&mut network], |_, network, _| network.counts().0 == 0);
}

#[test]
fn a_refused_client_that_stays_is_dropped() {
    let mut network = listen();
    let mut client = Plain::connect(network.address());
    client.write(b"nonsense\r\n\r\n");
    let socket = client.socket.try_clone().expect("clone");
    until_with(&mut [&mut network], &[&socket], |_, _, _| {
        client.read();
        client.ended
    });
    let deadline = network.deadline().expect("a deadline");
    turn_at(&mut network, deadline);
    assert_eq!(network.counts().0, 0);
}

/// A small generator of numbers, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }
}

/// A capture with some bytes changed, taken out, doubled or put in.
fn mutate(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut mutant = bytes.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(mutant.len());
        match numbers.below(5) {
            0 if !mutant.is_empty() => mutant[at] = numbers.below(256) as u8,
            1 if !mutant.is_empty() => drop(mutant.remove(at)),
            2 => mutant.insert(at, b"\r\n:;0f%/ "[numbers.below(9)]),
            3 => mutant.truncate(at),
            _ => {
                let end = (at + numbers.below(40)).min(mutant.len());
                let piece = mutant[at..end].to_vec();
                mutant.splice(at..at, piece);
            }
        }
    }
    mutant
}

#[test]
fn mutated_captures_never_panic_and_mean_the_same_however_they_are_cut() {
    let mut numbers = Numbers(2012);
    let captures: Vec<&[u8]> = golden::captures();
    for _ in 0..3000 {
        let mutant = mutate(captures[numbers.below(captures.len())], &mut numbers);
        let size = 1 + numbers.below(20);
        assert_eq!(requests(&mutant, size), requests(&mutant, mutant.len().max(1)), "{}", mutant.escape_ascii());
        assert_eq!(
            response_bytes(&mutant, size),
            response_bytes(&mutant, mutant.len().max(1)),
            "{}",
            mutant.escape_ascii()
        );
    }
}

/// The requests in a stream, and the status of its refusal.
fn requests(bytes: &[u8], size: usize) -> (Vec<(String, Vec<u8>)>, Option<u16>) {
    let mut parser = RequestParser::new(1000);
    let mut seen = Vec::new();
    for piece in bytes.chunks(size) {
        parser.push(piece);
        loop {
            match parser.next() {
                Ok(Some((head, body))) => seen.push((head.target, body)),
                Ok(None) => break,
                Err(error) => return (seen, Some(error.status())),
            }
        }
    }
    (seen, None)
}

/// How many parts that are not data a stream has as a response, its data's length, and whether it was refused.
fn response_bytes(bytes: &[u8], size: usize) -> (usize, bool) {
    let mut parser = ResponseParser::new(false);
    let mut others = 0;
    for piece in bytes.chunks(size) {
        parser.push(piece);
        loop {
            match parser.next() {
                Ok(Some(part)) => others += usize::from(!matches!(part, super::super::parse::ResponsePart::Data(_))),
                Ok(None) => break,
                Err(_) => return (others, true),
            }
        }
    }
    (others, false)
}

#[test]
fn a_network_survives_a_hundred_mutants() {
    let mut numbers = Numbers(2026);
    let captures: Vec<&[u8]> = golden::captures();
    let mut network = listen();
    for _ in 0..100 {
        let mutant = mutate(captures[numbers.below(captures.len())], &mut numbers);
        let mut client = Plain::connect(network.address());
        client.write(&mutant);
        client.socket.shutdown(std::net::Shutdown::Write).expect("shutdown");
        let socket = client.socket.try_clone().expect("clone");
        until_with(&mut [&mut network], &[&socket], |_, network, events| {
            for event in events {
                if let NetworkEvent::Request { connection, .. } = event {
                    network.respond(connection, Response::text(404, "not here"));
                }
            }
            client.read();
            client.ended
        });
    }
    until(&mut [&mut network], |_, network, _| network.counts().0 == 0);
    assert_eq!(network.held(), 0);
}
