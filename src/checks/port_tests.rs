//! Ports of this host, with servers of the tests' own; through ssh they are asked in `vm::ssh`'s tests.

use std::net::TcpListener;
use std::thread;

use super::*;

/// Answers each connection with the next of these, and gives the requests.
fn serve(answers: &'static [&'static str]) -> (Target, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let port = listener.local_addr().expect("address").port();
    let serve_one = move |answer: &&str| {
        let (mut stream, _) = listener.accept().expect("connection");
        let mut line = String::new();
        let mut reader = BufReader::new(stream.try_clone().expect("stream"));
        while !line.ends_with("\r\n\r\n") && reader.read_line(&mut line).expect("request") > 0 {}
        stream.write_all(answer.as_bytes()).expect("answer");
        line
    };
    (Target { port, is_ipv6: false }, thread::spawn(move || answers.iter().map(serve_one).collect()))
}

fn run(kind: &str, target: Target, path: &str) -> Result<String, Trouble> {
    check(&[kind.into(), target.to_string().into(), path.into()])
}

/// A port where nobody listens, and no test will: tcpmux.
const NOBODY: Target = Target { port: 1, is_ipv6: false };

#[test]
fn a_server_s_status_is_told_and_its_redirections_are_followed() {
    let (target, server) = serve(&[
        "HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\n",
        "HTTP/1.1 307 Found\r\nLocation: c?d\r\n\r\n",
        "HTTP/1.0 503 No\r\n\r\n",
    ]);
    assert_eq!(run("http", target, "/a"), Ok("status=503".to_string()));
    let requests = server.join().expect("server");
    let first: Vec<_> = requests.iter().filter_map(|request| request.split(' ').nth(1)).collect();
    assert_eq!(first, ["/a", "/b", "/c?d"]);
}

#[test]
fn a_redirection_without_a_place_is_the_answer() {
    let (target, server) = serve(&["HTTP/1.1 304 Not Modified\r\n\r\n"]);
    assert_eq!(run("http", target, "/"), Ok("status=304".to_string()));
    server.join().expect("server");
}

#[test]
fn a_server_that_makes_no_sense_or_hangs_up_is_a_failure() {
    for answer in [&["SSH-2.0-x\r\n"], &[""], &["HTTP/1.1 302 x\r\nLocation: http://example.org/\r\n\r\n"]] {
        let (target, server) = serve(answer);
        assert!(matches!(run("http", target, "/"), Err(Trouble::Failed(_))), "{answer:?}");
        server.join().expect("server");
    }
}

#[test]
fn a_head_without_an_end_is_read_to_its_limit() {
    let mut endless = std::io::Cursor::new(b"HTTP/1.1 200 OK\r\n".to_vec()).chain(std::io::repeat(b'x'));
    let error = read_head(&mut endless).expect_err("no head");
    assert_eq!(error, Trouble::Failed("the server's answer has no end".into()));
}

#[test]
fn a_port_is_open_or_it_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let open = Target { port: listener.local_addr().expect("address").port(), is_ipv6: false };
    assert_eq!(run("tcp", open, ""), Ok("succeeded=true".to_string()));
    assert_eq!(run("tcp", NOBODY, ""), Ok("succeeded=false".to_string()));
    assert!(matches!(run("http", NOBODY, ""), Err(Trouble::Failed(_))));
}

#[test]
fn an_ssh_that_is_not_there_or_has_no_connection_says_nothing_of_the_port() {
    let through = |script: &str| {
        let words = ["tcp", "127.0.0.1:1", "", "/bin/sh", "-c", script, FORWARD_TARGET];
        // `-v`, which is put in front, is a word for sh as well; what it prints there is no matter.
        check(&words.map(OsString::from))
    };
    let said = |text: &str| format!("echo '{text}' >&2; exit 255");
    assert_eq!(through(&said("debug1: x: master session id: 2")), Ok("succeeded=true".to_string()));
    assert_eq!(
        through(&said("mux_client_request_stdio_fwd: stdio forwarding request failed: Session open refused by peer")),
        Ok("succeeded=false".to_string())
    );
    let lost = through(&said("no-master-connection"));
    assert_eq!(lost, Err(Trouble::Unavailable("no-master-connection".into())));
    assert_eq!(through("exit 0"), Ok("succeeded=true".to_string()));
    assert!(matches!(
        check(&["tcp", "127.0.0.1:1", "", "/no/such/ssh"].map(OsString::from)),
        Err(Trouble::Unavailable(_))
    ));
}

#[test]
fn only_a_loopback_is_asked() {
    for other in ["192.168.122.1:80", "example.org:80", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:80000"] {
        assert_eq!(parse_target(other), None, "{other}");
    }
    assert_eq!(parse_target("[::1]:80"), Some(Target { port: 80, is_ipv6: true }));
}
