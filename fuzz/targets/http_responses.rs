//! A client's side of HTTP: responses, in parts. However the stream is cut, the same heads and bodies come out, in as many
//! steps as there are bytes at most; a response that was understood is understood again when our server sends it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::libprocess::parse::{ResponseHead, ResponseParser, ResponsePart};
use mesos_slave_fuzz::libprocess::{Response, encode_response};
use mesos_slave_fuzz::{check, memory};

/// Header fields of a response that still has room for ours.
const ROOM: usize = 60;

#[derive(Debug, Default, PartialEq)]
struct Read {
    /// Heads, what came of their bodies, and whether the connection may go on after them.
    responses: Vec<(ResponseHead, Vec<u8>, Option<bool>)>,
    broken: bool,
    idle: bool,
    until_close: bool,
}

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, head_only: bool, length: usize) -> Read {
    let (mut parser, mut read, mut steps) = (ResponseParser::new(head_only), Read::default(), 0);
    for piece in pieces {
        parser.push(piece);
        loop {
            steps += 1;
            assert!(steps <= 4 * length + 4, "no end of parts");
            match (parser.next(), read.responses.last_mut()) {
                (Ok(None), _) => break,
                (Ok(Some(ResponsePart::Head(head))), _) => read.responses.push((head, Vec::new(), None)),
                (Ok(Some(ResponsePart::Data(bytes))), Some((_, body, None))) => {
                    assert!(!bytes.is_empty());
                    body.extend(bytes);
                }
                (Ok(Some(ResponsePart::End { keep })), Some((_, _, end @ None))) => *end = Some(keep),
                (Ok(Some(part)), _) => panic!("{part:?} out of turn"),
                (Err(error), _) => {
                    assert!(!error.to_string().is_empty());
                    read.broken = true;
                    return read;
                }
            }
        }
    }
    (read.idle, read.until_close) = (parser.is_idle(), parser.until_close());
    read
}

fn comes_back(head: ResponseHead, body: Vec<u8>) {
    let bodiless = matches!(head.status, 0..200 | 204 | 304);
    let response = Response { status: head.status, headers: head.headers, body };
    let bytes = encode_response(&response);
    let again = read([bytes.as_slice()].into_iter(), false, bytes.len());
    if head.status < 200 {
        return;
    }
    assert!(!again.broken && again.responses.len() == 1, "{:?}", String::from_utf8_lossy(&bytes));
    let (head, body, end) = &again.responses[0];
    assert_eq!(head.status, response.status);
    assert!(end.is_some() && (bodiless || *body == response.body));
}

fuzz_target!(|data: &[u8]| {
    let head_only = check::number(data).is_multiple_of(8);
    let whole = memory::within(16 * 1024 + 8 * data.len(), || read([data].into_iter(), head_only, data.len()));
    let mut cut = read(check::pieces(data), head_only, data.len());
    if whole.broken {
        // What came of a body before it turned out to be broken hangs on where it was cut.
        if let (Some(last), Some(cut)) = (whole.responses.last(), cut.responses.last_mut()) {
            cut.1.clone_from(&last.1);
        }
    }
    assert_eq!(whole, cut);
    for (head, body, end) in whole.responses {
        if end.is_some() && head.headers.0.len() <= ROOM {
            comes_back(head, body);
        }
    }
});
