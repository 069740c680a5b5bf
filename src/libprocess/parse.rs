//! Bytes in, HTTP heads and bodies out. Pure and incremental: any split of the stream gives the same result. What is
//! waiting for its end is bounded: a head by [`MAX_HEAD`] and [`MAX_HEADERS`], a body by the caller.

use std::fmt;

use super::body::Body;
use super::http::Headers;

/// Longest head, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// Most header fields.
pub const MAX_HEADERS: usize = 64;

/// Why bytes are no HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseError {
    /// A head that httparse does not accept.
    Head(httparse::Error),
    /// A head above the limits.
    HeadTooLarge,
    /// A `Content-Length` that is no number, or several that differ.
    Length(String),
    /// Both `Content-Length` and `Transfer-Encoding`: two receivers could see two different bodies.
    Ambiguous,
    /// A transfer coding other than chunked.
    Coding(String),
    /// A chunk whose size or end is wrong.
    Chunk,
    /// A body above the limit.
    BodyTooLarge,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::Head(error) => write!(f, "malformed HTTP head: {error}"),
            ParseError::HeadTooLarge => write!(f, "HTTP head longer than {MAX_HEAD} bytes or {MAX_HEADERS} fields"),
            ParseError::Length(text) => write!(f, "{text:?} is no content length"),
            ParseError::Ambiguous => write!(f, "both a content length and a transfer encoding"),
            ParseError::Coding(text) => write!(f, "transfer encoding {text:?} is not supported, use chunked"),
            ParseError::Chunk => write!(f, "malformed chunk"),
            ParseError::BodyTooLarge => write!(f, "body longer than allowed"),
        }
    }
}

impl std::error::Error for ParseError {}

impl ParseError {
    /// The status that tells a client so.
    pub fn status(&self) -> u16 {
        match self {
            ParseError::Head(httparse::Error::TooManyHeaders) | ParseError::HeadTooLarge => 431,
            ParseError::Head(_) | ParseError::Length(_) | ParseError::Ambiguous | ParseError::Chunk => 400,
            ParseError::Coding(_) => 501,
            ParseError::BodyTooLarge => 413,
        }
    }
}

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub target: String,
    /// HTTP/1.1 or later in 1.x, otherwise 1.0.
    pub version_1_1: bool,
    /// The header fields.
    pub headers: Headers,
}

impl RequestHead {
    /// Whether another request may follow on the connection.
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(self.version_1_1, &self.headers)
    }

    /// Whether the client waits for a word before it sends the body.
    fn expects_continue(&self) -> bool {
        self.version_1_1 && self.headers.has_token("Expect", "100-continue")
    }
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// HTTP/1.1 or later in 1.x, otherwise 1.0.
    pub version_1_1: bool,
    /// The header fields.
    pub headers: Headers,
}

fn keeps_alive(version_1_1: bool, headers: &Headers) -> bool {
    if version_1_1 { !headers.has_token("Connection", "close") } else { headers.has_token("Connection", "keep-alive") }
}

/// Bytes that came and are not understood yet. Holds no memory when all is understood.
#[derive(Debug, Default)]
struct Input {
    bytes: Vec<u8>,
    start: usize,
    /// Where the search for the head's end goes on, so that a slow sender costs no quadratic work.
    searched: usize,
}

impl Input {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.searched = self.start;
        if self.start == self.bytes.len() {
            *self = Input::default();
        }
    }

    /// Gives back what was consumed.
    fn compact(&mut self) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
    }

    /// The next head's bytes, once they are all there; empty lines before it are skipped.
    fn head(&mut self) -> Result<Option<&[u8]>, ParseError> {
        let blank = self.rest().iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if self.searched == self.start && blank > 0 {
            self.consume(blank);
        }
        let from = self.searched.max(self.start);
        let found =
            self.bytes[from..].iter().enumerate().find(|(at, byte)| **byte == b'\n' && self.ends_head(from + at));
        let end = found.map(|(at, _)| from + at + 1);
        self.searched = self.bytes.len();
        let length = end.unwrap_or(self.bytes.len()) - self.start;
        if length > MAX_HEAD {
            return Err(ParseError::HeadTooLarge);
        }
        Ok(end.map(|end| &self.bytes[self.start..end]))
    }

    /// Whether the line feed there closes an empty line.
    fn ends_head(&self, at: usize) -> bool {
        let before = &self.bytes[self.start..at];
        before.ends_with(b"\n") || before.ends_with(b"\n\r")
    }
}

fn copy_headers(headers: &[httparse::Header<'_>]) -> Headers {
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_string();
    Headers(headers.iter().map(|header| (header.name.to_string(), text(header.value))).collect())
}

fn parse_request_head(bytes: &[u8]) -> Result<RequestHead, ParseError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes).map_err(ParseError::Head)? {
        httparse::Status::Complete(length) if length == bytes.len() => {}
        httparse::Status::Complete(_) | httparse::Status::Partial => {
            return Err(ParseError::Head(httparse::Error::NewLine));
        }
    }
    Ok(RequestHead {
        method: request.method.unwrap_or_default().to_string(),
        target: request.path.unwrap_or_default().to_string(),
        version_1_1: request.version == Some(1),
        headers: copy_headers(request.headers),
    })
}

fn parse_response_head(bytes: &[u8]) -> Result<ResponseHead, ParseError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(bytes).map_err(ParseError::Head)? {
        httparse::Status::Complete(length) if length == bytes.len() => {}
        httparse::Status::Complete(_) | httparse::Status::Partial => {
            return Err(ParseError::Head(httparse::Error::NewLine));
        }
    }
    Ok(ResponseHead {
        status: response.code.unwrap_or_default(),
        version_1_1: response.version == Some(1),
        headers: copy_headers(response.headers),
    })
}

/// A server's side: requests, whole.
#[derive(Debug)]
pub struct RequestParser {
    input: Input,
    current: Option<(Box<RequestHead>, Body)>,
    body: Vec<u8>,
    max_body: usize,
    wants_continue: bool,
}

impl RequestParser {
    /// Refuses bodies above `max_body` bytes.
    pub fn new(max_body: usize) -> RequestParser {
        RequestParser { input: Input::default(), current: None, body: Vec::new(), max_body, wants_continue: false }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.input.bytes.extend_from_slice(bytes);
    }

    /// How many bytes it holds.
    pub fn held(&self) -> usize {
        self.input.rest().len() + self.body.len()
    }

    /// How much memory it has for bytes.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.input.bytes.capacity() + self.body.capacity()
    }

    /// Whether nothing of a request has come yet.
    pub fn is_idle(&self) -> bool {
        self.current.is_none() && self.input.rest().is_empty()
    }

    /// Whether a client waits for `100 Continue`. Says so once per request.
    pub fn take_continue(&mut self) -> bool {
        std::mem::take(&mut self.wants_continue)
    }

    /// The next whole request with its body, or nothing until more bytes have come.
    ///
    /// # Errors
    /// The stream is no HTTP, or above a limit. It cannot be read on.
    pub fn next(&mut self) -> Result<Option<(RequestHead, Vec<u8>)>, ParseError> {
        if self.current.is_none() && !self.begin()? {
            self.input.compact();
            return Ok(None);
        }
        let Some((_, body)) = &mut self.current else {
            return Ok(None);
        };
        let used = body.decode(self.input.rest(), &mut self.body)?;
        self.input.consume(used);
        if body.announced().saturating_add(self.body.len() as u64) > self.max_body as u64 {
            return Err(ParseError::BodyTooLarge);
        }
        if *body != Body::Done {
            self.input.compact();
            return Ok(None);
        }
        self.wants_continue = false;
        let body = std::mem::take(&mut self.body);
        Ok(self.current.take().map(|(head, _)| (*head, body)))
    }

    /// Takes a head, if one is there.
    fn begin(&mut self) -> Result<bool, ParseError> {
        let Some(bytes) = self.input.head()? else {
            return Ok(false);
        };
        let head = parse_request_head(bytes)?;
        let length = bytes.len();
        self.input.consume(length);
        let body = Body::of(&head.headers)?.unwrap_or(Body::Done);
        self.wants_continue = head.expects_continue() && body != Body::Done && body.announced() <= self.max_body as u64;
        self.current = Some((Box::new(head), body));
        Ok(true)
    }
}

/// A piece of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponsePart {
    /// Its head; interim ones (1xx) are skipped.
    Head(ResponseHead),
    /// Bytes of its body.
    Data(Vec<u8>),
    /// Its end; `keep` says whether the connection can serve another request.
    End {
        /// Neither side has said that the connection ends here.
        keep: bool,
    },
}

/// A client's side: responses, in parts as they come.
#[derive(Debug, Default)]
pub struct ResponseParser {
    input: Input,
    body: Option<Body>,
    keep: bool,
    head_only: bool,
}

impl ResponseParser {
    /// For the responses to requests; those to a `HEAD` have no body.
    pub fn new(head_only: bool) -> ResponseParser {
        ResponseParser { head_only, ..ResponseParser::default() }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.input.bytes.extend_from_slice(bytes);
    }

    /// The next part, or nothing until more bytes have come.
    ///
    /// # Errors
    /// The stream is no HTTP, or above a limit. It cannot be read on.
    pub fn next(&mut self) -> Result<Option<ResponsePart>, ParseError> {
        let Some(body) = &mut self.body else {
            return self.begin();
        };
        let mut data = Vec::new();
        let used = body.decode(self.input.rest(), &mut data)?;
        let done = *body == Body::Done;
        self.input.consume(used);
        if !data.is_empty() {
            return Ok(Some(ResponsePart::Data(data)));
        }
        if done {
            self.body = None;
            return Ok(Some(ResponsePart::End { keep: self.keep }));
        }
        self.input.compact();
        Ok(None)
    }

    /// Takes a head, if one is there.
    fn begin(&mut self) -> Result<Option<ResponsePart>, ParseError> {
        loop {
            let Some(bytes) = self.input.head()? else {
                self.input.compact();
                return Ok(None);
            };
            let head = parse_response_head(bytes)?;
            let length = bytes.len();
            self.input.consume(length);
            if (100..200).contains(&head.status) && head.status != 101 {
                continue;
            }
            let empty = self.head_only || head.status == 204 || head.status == 304;
            let body = if empty { Body::Done } else { Body::of(&head.headers)?.unwrap_or(Body::UntilClose) };
            self.keep = keeps_alive(head.version_1_1, &head.headers) && body != Body::UntilClose;
            self.body = Some(body);
            return Ok(Some(ResponsePart::Head(head)));
        }
    }

    /// Whether nothing of a response has come, or of another one after the last.
    pub fn is_idle(&self) -> bool {
        self.body.is_none() && self.input.rest().is_empty()
    }

    /// Whether a response has begun that ends with the connection.
    pub fn until_close(&self) -> bool {
        matches!(self.body, Some(Body::UntilClose))
    }
}
