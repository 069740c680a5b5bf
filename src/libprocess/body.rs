//! Where a body ends: by a length, by chunks, or with the connection. Two ways at once are refused, since two receivers could then
//! see two different requests.

use super::http::Headers;
use super::parse::ParseError;

/// Longest line of a chunk's size with its extensions, or of a trailer, in bytes.
const MAX_LINE: usize = 1024;
/// Most lines of trailers.
const MAX_TRAILERS: usize = 64;

/// What is to be read until the body ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// That many more bytes.
    Length(u64),
    /// The line with the next chunk's size.
    ChunkSize,
    /// That many more bytes of this chunk.
    ChunkData(u64),
    /// The line break after a chunk.
    ChunkEnd,
    /// Trailers, that many lines of which are allowed still.
    Trailers(usize),
    /// Everything, until the connection ends.
    UntilClose,
    /// Nothing.
    Done,
}

impl Body {
    /// How a head says that its body is framed; `None` if it says nothing.
    pub fn of(headers: &Headers) -> Result<Option<Body>, ParseError> {
        let lengths: Vec<&str> = headers.all("Content-Length").collect();
        let codings: Vec<&str> = headers.all("Transfer-Encoding").collect();
        match (lengths.first(), codings.as_slice()) {
            (None, []) => Ok(None),
            (Some(_), [_, ..]) => Err(ParseError::Ambiguous),
            (None, [coding]) if coding.trim().eq_ignore_ascii_case("chunked") => Ok(Some(Body::ChunkSize)),
            (None, codings) => Err(ParseError::Coding(codings.join(", "))),
            (Some(first), []) if lengths.iter().all(|length| length == first) => {
                Ok(Some(Body::Length(parse_length(first)?)))
            }
            (Some(_), []) => Err(ParseError::Length(lengths.join(", "))),
        }
    }

    /// Takes what it can of the input, appends the body's bytes to `out`, and says how much was taken.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, ParseError> {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            match self {
                Body::Done | Body::Length(0) => {
                    *self = Body::Done;
                    return Ok(used);
                }
                Body::ChunkData(0) => *self = Body::ChunkEnd,
                Body::UntilClose => {
                    out.extend_from_slice(rest);
                    return Ok(input.len());
                }
                Body::Length(left) | Body::ChunkData(left) => {
                    let take = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    if take == 0 {
                        return Ok(used);
                    }
                    out.extend_from_slice(&rest[..take]);
                    *left -= take as u64;
                    used += take;
                }
                Body::ChunkSize | Body::ChunkEnd | Body::Trailers(_) => {
                    let Some((line, length)) = take_line(rest)? else {
                        return Ok(used);
                    };
                    *self = self.after_line(line)?;
                    used += length;
                }
            }
        }
    }

    /// The state after one of the lines of the chunk framing.
    fn after_line(&self, line: &[u8]) -> Result<Body, ParseError> {
        match self {
            Body::ChunkSize => match parse_chunk_size(line)? {
                0 => Ok(Body::Trailers(MAX_TRAILERS)),
                size => Ok(Body::ChunkData(size)),
            },
            Body::ChunkEnd if line.is_empty() => Ok(Body::ChunkSize),
            Body::Trailers(_) if line.is_empty() => Ok(Body::Done),
            Body::Trailers(left) if *left > 0 => Ok(Body::Trailers(left - 1)),
            _ => Err(ParseError::Chunk),
        }
    }

    /// How many bytes are known to come; a body that will not fit is refused before it is there.
    pub fn announced(&self) -> u64 {
        match self {
            Body::Length(left) | Body::ChunkData(left) => *left,
            Body::ChunkSize | Body::ChunkEnd | Body::Trailers(_) | Body::UntilClose | Body::Done => 0,
        }
    }
}

/// Digits only: no sign, no list, no space within.
fn parse_length(text: &str) -> Result<u64, ParseError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| ParseError::Length(text.to_string()))
}

/// Hexadecimal digits, then nothing, blanks, or an extension, which is skipped.
fn parse_chunk_size(line: &[u8]) -> Result<u64, ParseError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let tail = line[digits..].trim_ascii_start();
    if digits == 0 || digits > 15 || !(tail.is_empty() || tail[0] == b';') {
        return Err(ParseError::Chunk);
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| ParseError::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| ParseError::Chunk)
}

/// The first line without its CRLF, and its length with it. A bare LF is no line's end: senders of chunks write CRLF.
fn take_line(input: &[u8]) -> Result<Option<(&[u8], usize)>, ParseError> {
    let seen = &input[..input.len().min(MAX_LINE)];
    match seen.iter().position(|byte| *byte == b'\n') {
        Some(end) if end > 0 && seen[end - 1] == b'\r' => Ok(Some((&seen[..end - 1], end + 1))),
        Some(_) => Err(ParseError::Chunk),
        None if input.len() >= MAX_LINE => Err(ParseError::Chunk),
        None => Ok(None),
    }
}
