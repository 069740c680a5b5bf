//! What real Mesos programs sent must be understood, and what we send must be what they sent.

use super::super::dialect::Dialect;
use super::super::message::{self, Message};
use super::super::parse::{RequestParser, ResponseParser, ResponsePart};
use super::*;

macro_rules! capture {
    ($path:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/framing/", $path))
    };
}

type Case = (&'static [u8], &'static str, &'static str, &'static str, &'static [u8]);

/// Request, sender, receiver, name, body.
const MESOS_1_11: [Case; 8] = [
    (
        capture!("mesos-1.11/master_RegisterSlaveMessage.http"),
        "slave(1)@127.0.0.1:5051",
        "master",
        "mesos.internal.RegisterSlaveMessage",
        capture!("mesos-1.11/master_RegisterSlaveMessage.pb"),
    ),
    (
        capture!("mesos-1.11/slave1_PingSlaveMessage.http"),
        "slave-observer(1)@127.0.0.1:5050",
        "slave(1)",
        "mesos.internal.PingSlaveMessage",
        capture!("mesos-1.11/slave1_PingSlaveMessage.pb"),
    ),
    (
        capture!("mesos-1.11/slave-observer1_PongSlaveMessage.http"),
        "slave(1)@127.0.0.1:5051",
        "slave-observer(1)",
        "mesos.internal.PongSlaveMessage",
        b"",
    ),
    (
        capture!("mesos-1.11/slave1_RunTaskMessage.http"),
        "master@127.0.0.1:5050",
        "slave(1)",
        "mesos.internal.RunTaskMessage",
        capture!("mesos-1.11/slave1_RunTaskMessage.pb"),
    ),
    (
        capture!("mesos-1.11/slave1_StatusUpdateMessage.http"),
        "executor(1)@127.0.0.1:35253",
        "slave(1)",
        "mesos.internal.StatusUpdateMessage",
        capture!("mesos-1.11/slave1_StatusUpdateMessage.pb"),
    ),
    (
        capture!("mesos-1.11/slave1_RegisterExecutorMessage.http"),
        "executor(1)@127.0.0.1:35253",
        "slave(1)",
        "mesos.internal.RegisterExecutorMessage",
        capture!("mesos-1.11/slave1_RegisterExecutorMessage.pb"),
    ),
    (
        capture!("mesos-1.11/slave1_ShutdownFrameworkMessage.http"),
        "master@127.0.0.1:5050",
        "slave(1)",
        "mesos.internal.ShutdownFrameworkMessage",
        capture!("mesos-1.11/slave1_ShutdownFrameworkMessage.pb"),
    ),
    (
        capture!("mesos-1.11/crammd5-authenticatee1_AuthenticationCompletedMessage.http"),
        "crammd5-authenticator-session(1)@127.0.0.1:5050",
        "crammd5-authenticatee(1)",
        "mesos.internal.AuthenticationCompletedMessage",
        b"",
    ),
];

/// Request, sender, receiver, name, and how long the body is.
pub const MESOS_0_9: [(&[u8], &str, &str, &str, usize); 7] = [
    (
        capture!("mesos-0.9/slave-to-master_RegisterSlaveMessage.http"),
        "slave@127.0.0.1:5061",
        "master",
        "mesos.internal.RegisterSlaveMessage",
        0x36,
    ),
    (capture!("mesos-0.9/master.2-to-slave_PING.http"), "2@127.0.0.1:5060", "slave", "PING", 0),
    (capture!("mesos-0.9/slave-to-master_PONG.http"), "slave@127.0.0.1:5061", "2", "PONG", 0),
    (
        capture!("mesos-0.9/master-to-slave_SlaveRegisteredMessage.http"),
        "master@127.0.0.1:5060",
        "slave",
        "mesos.internal.SlaveRegisteredMessage",
        0x25,
    ),
    (
        capture!("mesos-0.9/master-to-slave_RunTaskMessage.http"),
        "master@127.0.0.1:5060",
        "slave",
        "mesos.internal.RunTaskMessage",
        0xed,
    ),
    (
        capture!("mesos-0.9/exec-to-slave_RegisterExecutorMessage.http"),
        "1@127.0.0.1:34559",
        "slave",
        "mesos.internal.RegisterExecutorMessage",
        0x33,
    ),
    (
        capture!("mesos-0.9/slave-to-exec_ShutdownExecutorMessage.http"),
        "slave@127.0.0.1:5061",
        "1",
        "mesos.internal.ShutdownExecutorMessage",
        0,
    ),
];

/// All requests of a stream that comes in pieces of a size.
fn parse(stream: &[u8], size: usize) -> Vec<(Option<Message>, bool, Vec<u8>)> {
    let mut parser = RequestParser::new(1024 * 1024);
    let mut seen = Vec::new();
    for piece in stream.chunks(size) {
        parser.push(piece);
        while let Some((head, body)) = parser.next().expect("a request") {
            seen.push((message::recognise(&head), head.version_1_1, body));
        }
    }
    assert!(parser.is_idle());
    assert_eq!(parser.held(), 0);
    seen
}

fn expected(from: &str, to: &str, name: &str) -> Option<Message> {
    Some(Message { from: from.parse().expect("a pid"), to: to.to_string(), name: name.to_string() })
}

#[test]
fn messages_of_mesos_1_11_are_understood_however_they_are_cut() {
    for (bytes, from, to, name, body) in MESOS_1_11 {
        for size in [1, 2, 3, 7, bytes.len()] {
            assert_eq!(parse(bytes, size), [(expected(from, to, name), true, body.to_vec())], "{name} by {size}");
        }
    }
}

#[test]
fn messages_of_2012_are_understood_however_they_are_cut() {
    for (bytes, from, to, name, length) in MESOS_0_9 {
        for size in [1, 2, 3, 7, bytes.len()] {
            let seen = parse(bytes, size);
            assert_eq!(
                (seen.len(), seen[0].0.clone(), seen[0].1),
                (1, expected(from, to, name), false),
                "{name} by {size}"
            );
            assert_eq!(seen[0].2.len(), length);
        }
    }
}

#[test]
fn messages_that_follow_each_other_are_all_understood() {
    let stream: Vec<u8> = MESOS_1_11.iter().flat_map(|(bytes, ..)| bytes.to_vec()).collect();
    for size in [1, 5, 100, stream.len()] {
        let names: Vec<String> =
            parse(&stream, size).into_iter().flat_map(|(message, ..)| message).map(|m| m.name).collect();
        assert_eq!(names, MESOS_1_11.map(|(_, _, _, name, _)| name));
    }
}

#[test]
fn what_we_send_is_byte_for_byte_what_mesos_sends() {
    for (bytes, from, to, name, body) in MESOS_1_11 {
        let from: Pid = from.parse().expect("a pid");
        let to = Pid { id: to.to_string(), address: any_port() };
        let sent = message::encode(Dialect::Unknown, &from, &to, name, body);
        assert_eq!(sent.escape_ascii().to_string(), bytes.escape_ascii().to_string());
    }
}

#[test]
fn what_we_send_to_2012_is_byte_for_byte_what_it_sends() {
    for (bytes, from, to, name, _) in MESOS_0_9 {
        let body = parse(bytes, bytes.len()).remove(0).2;
        let to = Pid { id: to.to_string(), address: any_port() };
        let sent = message::encode(Dialect::V2012, &from.parse().expect("a pid"), &to, name, &body);
        assert_eq!(sent.escape_ascii().to_string(), bytes.escape_ascii().to_string());
    }
}

#[test]
fn requests_that_are_no_messages_stay_requests() {
    let captures: [&[u8]; 2] =
        [capture!("mesos-1.11/version.http"), capture!("mesos-1.11/master_api_v1_scheduler.http")];
    for bytes in captures {
        let seen = parse(bytes, 3);
        assert_eq!((seen.len(), &seen[0].0), (1, &None));
    }
    let others = [
        "GET /master/x HTTP/1.1\r\nLibprocess-From: a@1.2.3.4:5\r\n\r\n",
        "POST /master/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        "POST /slave(1)/api/v1 HTTP/1.1\r\nLibprocess-From: a@1.2.3.4:5\r\n\r\n",
        "POST /master HTTP/1.1\r\nLibprocess-From: a@1.2.3.4:5\r\n\r\n",
        "POST /master/ HTTP/1.1\r\nLibprocess-From: a@1.2.3.4:5\r\n\r\n",
        "POST /mas%2fter/x HTTP/1.1\r\nLibprocess-From: a@1.2.3.4:5\r\n\r\n",
        "POST /master/x HTTP/1.1\r\nLibprocess-From: a@localhost:5\r\n\r\n",
    ];
    for text in others {
        assert_eq!(parse(text.as_bytes(), 1000)[0].0, None, "{text}");
    }
}

#[test]
fn the_receiver_may_be_percent_encoded_and_the_sender_only_in_the_user_agent() {
    let text = "POST /slave%281%29/PING HTTP/1.1\r\nuser-agent: libprocess/2@1.2.3.4:5\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(parse(text.as_bytes(), 4), [(expected("2@1.2.3.4:5", "slave(1)", "PING"), true, b"hi".to_vec())]);
}

#[test]
fn several_chunks_extensions_and_trailers_make_one_body() {
    let text = "POST /a/b HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=1\r\nabc\r\n0A \r\n0123456789\r\n0\r\nX: y\r\n\r\n";
    for size in [1, 2, text.len()] {
        assert_eq!(parse(text.as_bytes(), size)[0].2, b"abc0123456789");
    }
}

#[test]
fn responses_of_mesos_are_understood_however_they_are_cut() {
    let plain: [(&[u8], u16, usize); 3] = [
        (capture!("mesos-1.11/response_202.http"), 202, 0),
        (capture!("mesos-1.11/response_200_version.http"), 200, 173),
        (capture!("mesos-1.11/response_404.http"), 404, 14),
    ];
    for (bytes, status, length) in plain {
        for size in [1, 10, bytes.len()] {
            assert_eq!(parse_response(bytes, size), (status, length, Some(true)));
        }
    }
    let stream = capture!("mesos-1.11/response_200_stream.http");
    let (status, length, end) = parse_response(stream, 1);
    assert_eq!((status, end), (200, None));
    assert!(length > 0x188);
}

fn parse_response(bytes: &[u8], size: usize) -> (u16, usize, Option<bool>) {
    let mut parser = ResponseParser::new(false);
    let (mut status, mut length, mut end) = (0, 0, None);
    for piece in bytes.chunks(size) {
        parser.push(piece);
        while let Some(part) = parser.next().expect("a response") {
            match part {
                ResponsePart::Head(head) => status = head.status,
                ResponsePart::Data(data) => length += data.len(),
                ResponsePart::End { keep } => end = Some(keep),
            }
        }
    }
    (status, length, end)
}

/// All captures, of requests and of responses.
pub fn captures() -> Vec<&'static [u8]> {
    let requests = MESOS_1_11.iter().map(|(bytes, ..)| *bytes).chain(MESOS_0_9.iter().map(|(bytes, ..)| *bytes));
    let others: [&[u8]; 5] = [
        capture!("mesos-1.11/version.http"),
        capture!("mesos-1.11/master_api_v1_scheduler.http"),
        capture!("mesos-1.11/response_202.http"),
        capture!("mesos-1.11/response_200_version.http"),
        capture!("mesos-1.11/response_200_stream.http"),
    ];
    requests.chain(others).collect()
}
