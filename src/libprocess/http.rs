//! HTTP requests and responses as the other rooms see them: whole, with their bodies.

/// Header fields in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// No field.
    pub fn new() -> Headers {
        Headers::default()
    }

    /// The first field of that name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All fields of that name, whatever their case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// The same with one more field.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Headers {
        self.push(name, value);
        self
    }

    /// Whether a comma-separated field of that name has this word, whatever its case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
    }
}

/// A request, with its whole body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path as it was sent, still percent-encoded, without the query.
    pub path: String,
    /// What came after the `?`, still percent-encoded.
    pub query: Option<String>,
    /// The header fields.
    pub headers: Headers,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without query and headers.
    pub fn new(method: &str, path: &str, body: Vec<u8>) -> Request {
        Request { method: method.to_string(), path: path.to_string(), query: None, headers: Headers::new(), body }
    }

    /// The same with one more header field.
    pub fn with(mut self, name: &str, value: &str) -> Request {
        self.headers.push(name, value);
        self
    }

    /// The decoded value of a parameter of the query; empty if it has none; the first, if it comes more than once.
    pub fn query_param(&self, name: &str) -> Option<String> {
        let pairs = self.query.as_deref()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut decoded = pairs.map(|(key, value)| (decode_query(key), decode_query(value)));
        decoded.find(|(key, _)| key.as_deref() == Some(name)).and_then(|(_, value)| value)
    }

    /// The decoded segments of the path, or nothing if one is no percent-encoded UTF-8.
    pub fn path_segments(&self) -> Option<Vec<String>> {
        self.path.strip_prefix('/')?.split('/').map(percent_decode).collect()
    }
}

/// `+` means a space in a query, and only there.
fn decode_query(text: &str) -> Option<String> {
    percent_decode(&text.replace('+', " "))
}

/// The text behind `%28` and the like; nothing if a `%` has no two hexadecimal digits or the bytes are no UTF-8.
pub fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = (rest.next()? as char).to_digit(16)?;
        let low = (rest.next()? as char).to_digit(16)?;
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok()
}

/// A response, with its whole body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header fields; `Content-Length` and `Connection` are added when it is sent.
    pub headers: Headers,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
}

impl Response {
    /// A response without headers and body.
    pub fn new(status: u16) -> Response {
        Response { status, headers: Headers::new(), body: Vec::new() }
    }

    /// Plain text.
    pub fn text(status: u16, text: impl Into<String>) -> Response {
        Response { body: text.into().into_bytes(), ..Response::new(status) }
            .with("Content-Type", "text/plain; charset=utf-8")
    }

    /// 200 with a JSON text.
    pub fn ok_json(json: impl Into<Vec<u8>>) -> Response {
        Response { body: json.into(), ..Response::new(200) }.with("Content-Type", "application/json")
    }

    /// 200 with bytes of some type.
    pub fn ok(content_type: &str, body: impl Into<Vec<u8>>) -> Response {
        Response { body: body.into(), ..Response::new(200) }.with("Content-Type", content_type)
    }

    /// The same with one more header field.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Response {
        self.headers.push(name, value);
        self
    }
}

/// The words after a status code.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Payload Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

/// Fields that tell how a body is framed: they are ours to write, never a caller's.
const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "connection"];

/// Writes header fields as lines; what would break a line is left out.
fn push_fields(bytes: &mut Vec<u8>, headers: &Headers) {
    for (name, value) in &headers.0 {
        let safe = |text: &str| !text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        let framing = FRAMING.iter().any(|field| name.eq_ignore_ascii_case(field));
        if !name.is_empty() && !name.contains([':', ' ']) && safe(name) && safe(value) && !framing {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    }
}

/// How the end of a response's body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By its length.
    Length(usize),
    /// By the last chunk.
    Chunks,
    /// By the end of the connection, for HTTP/1.0.
    Close,
}

/// A response's head.
pub(super) fn encode_head(status: u16, headers: &Headers, end: End, keep: bool) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status} {}\r\n", reason(status)).into_bytes();
    push_fields(&mut bytes, headers);
    match end {
        End::Length(length) => bytes.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes()),
        End::Chunks => bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        End::Close => {}
    }
    if !keep {
        bytes.extend_from_slice(b"Connection: close\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// A whole response; to a `HEAD` the body is left out, its length is told all the same.
pub(super) fn encode_response(response: &Response, keep: bool, head_only: bool) -> Vec<u8> {
    let bodiless = response.status < 200 || response.status == 204 || response.status == 304;
    let end = if bodiless { End::Close } else { End::Length(response.body.len()) };
    let mut bytes = encode_head(response.status, &response.headers, end, keep);
    if !bodiless && !head_only {
        bytes.extend_from_slice(&response.body);
    }
    bytes
}

/// One chunk of a stream. Never an empty one: that would end it.
pub(super) fn encode_chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// A whole request, or nothing if its method or path cannot stand in a request line.
pub(super) fn encode_request(request: &Request, host: &str, keep: bool) -> Option<Vec<u8>> {
    let fits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{}{query}", request.path);
    if !fits(&request.method) || !fits(&target) || !target.starts_with('/') {
        return None;
    }
    let mut bytes = format!("{} {target} HTTP/1.1\r\n", request.method).into_bytes();
    if request.headers.get("Host").is_none() {
        bytes.extend_from_slice(format!("Host: {host}\r\n").as_bytes());
    }
    push_fields(&mut bytes, &request.headers);
    if !request.body.is_empty() || request.method == "POST" || request.method == "PUT" {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", request.body.len()).as_bytes());
    }
    if !keep {
        bytes.extend_from_slice(b"Connection: close\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&request.body);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_whatever_its_case() {
        let headers = Headers::new().with("Content-Type", "a").with("content-type", "b");
        assert_eq!(headers.get("CONTENT-TYPE"), Some("a"));
        assert_eq!(headers.get("Content"), None);
    }

    #[test]
    fn a_query_is_decoded() {
        let request =
            Request { query: Some("path=%2Fa%20b&offset=-1&flag&x=1+2&path=c".to_string()), ..Request::default() };
        assert_eq!(request.query_param("path").as_deref(), Some("/a b"));
        assert_eq!(request.query_param("offset").as_deref(), Some("-1"));
        assert_eq!(request.query_param("flag").as_deref(), Some(""));
        assert_eq!(request.query_param("x").as_deref(), Some("1 2"));
        assert_eq!(request.query_param("y"), None);
    }

    #[test]
    fn half_a_percent_code_is_no_text() {
        assert_eq!(percent_decode("slave%281%29").as_deref(), Some("slave(1)"));
        for text in ["%", "%2", "%zz", "%+1", "%ff"] {
            assert_eq!(percent_decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_header_with_a_line_break_does_not_split_the_response() {
        let response = Response::text(200, "x").with("Location", "a\r\nSet-Cookie: b").with("Content-Length", "99");
        let text = String::from_utf8(encode_response(&response, true, false)).expect("text");
        assert_eq!(text, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 1\r\n\r\nx");
    }

    #[test]
    fn a_path_with_a_line_break_is_no_request() {
        assert_eq!(encode_request(&Request::new("GET", "/a\r\nb", Vec::new()), "h", true), None);
        assert_eq!(encode_request(&Request::new("GET", "a", Vec::new()), "h", true), None);
        let bytes = encode_request(&Request::new("POST", "/a", Vec::new()), "h:1", false).expect("a request");
        assert_eq!(bytes, b"POST /a HTTP/1.1\r\nHost: h:1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
}
