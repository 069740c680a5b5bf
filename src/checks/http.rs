//! The little of HTTP/1.1 that a check needs: a request, the head of the answer, and where a redirection leads. What comes is a task's word:
//! it is bounded by who reads it, and names nothing but a port and a path of the same loopback.

use super::Target;

/// The head of an answer, or several of them: 1xx come before the one that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u32,
    /// Where a redirection leads.
    pub location: Option<String>,
}

/// A path as a request may have it: what would end it, or has no place in it, is encoded.
pub fn path(text: &str) -> String {
    let text = text.split('#').next().unwrap_or_default();
    let slash = if text.starts_with('/') { "" } else { "/" };
    let mut path = String::from(slash);
    for byte in text.bytes() {
        match byte {
            0x21..=0x7e => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

/// A request for a path.
pub fn request(target: Target, text: &str) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "GET {} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: mesos-slave/{version}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        path(text)
    )
    .into_bytes()
}

/// The head that counts, once it is there.
///
/// # Errors
/// When it is none.
pub fn head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let mut rest = bytes;
    loop {
        let Some(end) = end_of_head(rest) else {
            // What does not begin as an answer will not become one.
            let start = &rest[..rest.len().min(5)];
            return if b"HTTP/".starts_with(start) { Ok(None) } else { Err(no_answer()) };
        };
        let head = parse(&rest[..end])?;
        // 101 would be the last one; nothing here asks for it.
        if !(100..=199).contains(&head.status) {
            return Ok(Some(head));
        }
        rest = &rest[end..];
    }
}

fn no_answer() -> String {
    "the server's answer is not HTTP".to_string()
}

/// The number of bytes up to the empty line, and with it.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let line_ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let is_empty = |rest: &[u8]| rest.starts_with(b"\n") || rest.starts_with(b"\r\n");
    let at = line_ends.into_iter().find(|at| is_empty(&bytes[at + 1..]))?;
    Some(at + if bytes[at + 1] == b'\n' { 2 } else { 3 })
}

fn parse(head: &[u8]) -> Result<Head, String> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split_ascii_whitespace();
    let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let code = words.next().filter(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()));
    let status = code.and_then(|code| code.parse().ok()).filter(|_| is_http).ok_or_else(no_answer)?;
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let location =
        fields.find(|(name, _)| name.eq_ignore_ascii_case("location")).map(|(_, value)| value.trim().to_string());
    Ok(Head { status, location: location.filter(|location| !location.is_empty()) })
}

/// Where a redirection leads, seen from a path of a target.
///
/// # Errors
/// When it leads away from the task's own loopback, or to what is not asked in this way.
pub fn follow(location: &str, from: Target, path: &str) -> Result<(Target, String), String> {
    let away = || format!("the server redirects to {location:?}, and a check asks http://127.0.0.1 only");
    if location.starts_with('/') && !location.starts_with("//") {
        return Ok((from, location.to_string()));
    }
    let lower = location.to_ascii_lowercase();
    let absolute = lower.strip_prefix("http://").or(lower.strip_prefix("//"));
    let Some(rest) = absolute.map(|rest| &location[location.len() - rest.len()..]) else {
        // No scheme: a path beside the one that was asked for.
        let before_path = location.split(['/', '?', '#']).next().unwrap_or_default();
        let directory = path.split(['?', '#']).next().unwrap_or_default();
        let directory = directory.rfind('/').map_or("/", |slash| &directory[..=slash]);
        return if before_path.contains(':') { Err(away()) } else { Ok((from, format!("{directory}{location}"))) };
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((host, port)) => (host, port.parse().map_err(|_| away())?),
        None => (authority, 80),
    };
    let is_ipv6 = match host {
        "127.0.0.1" => false,
        "[::1]" => true,
        _ if host.eq_ignore_ascii_case("localhost") => from.is_ipv6,
        _ => return Err(away()),
    };
    Ok((Target { port, is_ipv6 }, path.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Target = Target { port: 8080, is_ipv6: false };

    #[test]
    fn a_path_cannot_end_its_line() {
        let request = String::from_utf8(request(HERE, "/a b\r\nHost: evil\r\n\r\nä#part")).expect("text");
        assert!(
            request.starts_with("GET /a%20b%0D%0AHost:%20evil%0D%0A%0D%0A%C3%A4 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n")
        );
        assert_eq!(request.matches("\r\n\r\n").count(), 1);
        assert_eq!(path(""), "/");
        assert_eq!(path("/x?a=%20&b"), "/x?a=%20&b");
    }

    fn status(answer: &str) -> Result<Option<u32>, String> {
        head(answer.as_bytes()).map(|head| head.map(|head| head.status))
    }

    #[test]
    fn the_head_that_counts_comes_after_those_that_only_say_go_on() {
        assert_eq!(status("HTTP/1.1 200 OK\r\n\r\nbody"), Ok(Some(200)));
        assert_eq!(status("HTTP/1.0 404\n\n"), Ok(Some(404)));
        assert_eq!(status("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nA: b\r\n\r\n"), Ok(Some(503)));
        assert_eq!(status("HTTP/1.1 100 Continue\r\n\r\nHTTP/1."), Ok(None));
    }

    #[test]
    fn what_is_cut_off_is_waited_for_and_what_is_no_answer_is_not() {
        for part in ["", "H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n"] {
            assert_eq!(status(part), Ok(None), "{part:?}");
        }
        for other in
            ["SSH-2.0-OpenSSH", "<html>", "HTTP/2 200\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 -12 OK\r\n\r\n"]
        {
            assert!(status(other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn every_prefix_of_an_answer_is_either_waited_for_or_understood() {
        let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nLocation:  /there \r\nB: c\r\n\r\nbody";
        for end in 0..answer.len() {
            match head(&answer[..end]).expect("an answer") {
                None => {}
                Some(head) => assert_eq!(head, Head { status: 302, location: Some("/there".into()) }),
            }
        }
    }

    #[test]
    fn a_redirection_is_followed_on_the_loopback_and_nowhere_else() {
        let to = |location: &str| follow(location, HERE, "/a/b?c=/d");
        let there = |port, path: &str| Ok((Target { port, is_ipv6: false }, path.to_string()));
        assert_eq!(to("/x?y"), there(8080, "/x?y"));
        assert_eq!(to("x"), there(8080, "/a/x"));
        assert_eq!(to("x?at=12:30"), there(8080, "/a/x?at=12:30"));
        assert_eq!(to("HTTP://LocalHost:81/x"), there(81, "/x"));
        assert_eq!(to("//127.0.0.1/x"), there(80, "/x"));
        assert_eq!(to("http://127.0.0.1"), there(80, ""));
        assert_eq!(to("http://[::1]:9/x"), Ok((Target { port: 9, is_ipv6: true }, "/x".into())));
        for away in [
            "https://127.0.0.1/",
            "http://169.254.169.254/",
            "http://127.0.0.1@evil/",
            "http://127.0.0.1:x/",
            "http://127.0.0.1:99999/",
            "file:///etc/passwd",
            "gopher:x",
            "http://[::1]evil:80/",
        ] {
            assert!(to(away).is_err(), "{away}");
        }
    }
}
