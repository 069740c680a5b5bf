//! `/files/read`, a file's bytes in pieces, and `/files/download`, a whole file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::open::{Found, OpenError, find};
use super::{DOWNLOAD_LIMIT, Place, refused};
use crate::api::{as_jsonp, bad_request, with_text};
use crate::libprocess::{Request, Response};

/// Mesos reads 16 pages at most, whatever `length` says.
const READ_LIMIT: u64 = 16 * 4096;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    /// `None`: only the length is wanted (`offset=-1`, or no offset at all).
    offset: Option<u64>,
    /// `None`: to the end.
    length: Option<u64>,
}

/// Answers `{"data": "…", "offset": n}`.
pub(super) fn read(place: &Place, path: &str, request: &Request) -> Response {
    let range = match range(request) {
        Ok(range) => range,
        Err(text) => return bad_request(&text),
    };
    let found = match find(place) {
        Ok(found) => found,
        Err(error) => return refused(&error, path),
    };
    if let Some(refusal) = unreadable(&found, path, "read") {
        return refusal;
    }
    match piece(&found, &range) {
        Ok((data, offset)) => as_jsonp(encode(&data, offset), request),
        Err(error) => refused(&error, path),
    }
}

fn range(request: &Request) -> Result<Range, String> {
    Ok(Range { offset: number(request, "offset")?, length: number(request, "length")? })
}

/// A number of the query; -1 is as good as none.
fn number(request: &Request, name: &str) -> Result<Option<u64>, String> {
    let Some(text) = request.query_param(name) else {
        return Ok(None);
    };
    let number: i64 =
        text.parse().map_err(|_| format!("Failed to parse {name}: Failed to convert '{text}' to number.\n"))?;
    match number {
        -1 => Ok(None),
        ..-1 => Err(format!("Negative {name} provided: {number}.\n")),
        0.. => Ok(Some(number.unsigned_abs())),
    }
}

fn unreadable(found: &Found, path: &str, verb: &str) -> Option<Response> {
    if found.is_directory() {
        return Some(bad_request(&format!("Cannot {verb} a directory.\n")));
    }
    let other = !found.is_regular();
    other.then(|| bad_request(&format!("Cannot {verb} '{path}': it is not a regular file.\n")))
}

/// The bytes and the offset to answer: the one asked for, or the file's length if none was.
fn piece(found: &Found, range: &Range) -> Result<(Vec<u8>, u64), OpenError> {
    let file = found.open()?;
    let size = file.metadata().map_err(OpenError::Io)?.len();
    let Some(offset) = range.offset else {
        return Ok((Vec::new(), size));
    };
    let left = size.saturating_sub(offset);
    let length = range.length.unwrap_or(left).min(left).min(READ_LIMIT);
    let data = read_at(&file, offset, length).map_err(OpenError::Io)?;
    Ok((data, offset))
}

/// Bytes from an offset on, as many as may be read at once, and the file's length.
pub(super) fn sized_piece(
    place: &Place,
    path: &str,
    offset: u64,
    length: Option<u64>,
) -> Result<(u64, Vec<u8>), Response> {
    let failed = |error: OpenError| refused(&error, path);
    let found = find(place).map_err(failed)?;
    if let Some(refusal) = unreadable(&found, path, "read") {
        return Err(refusal);
    }
    let (_, size) = piece(&found, &Range { offset: None, length: None }).map_err(failed)?;
    let (data, _) = piece(&found, &Range { offset: Some(offset), length }).map_err(failed)?;
    Ok((size, data))
}

/// Reads until that much is read or the file ends, which may have been cut meanwhile.
fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut data = vec![0; length as usize];
    let mut filled = 0;
    while filled < data.len() {
        match file.read_at(&mut data[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    data.truncate(filled);
    Ok(data)
}

/// Bytes that are no UTF-8 stand in the string as they are: that is no JSON, but what Mesos sends (its writer does not
/// check encodings), and the only way in which nothing is lost.
fn encode(data: &[u8], offset: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(data.len() + data.len() / 8 + 40);
    body.extend_from_slice(b"{\"data\":\"");
    for byte in data {
        match byte {
            b'"' => body.extend_from_slice(b"\\\""),
            b'\\' => body.extend_from_slice(b"\\\\"),
            b'\n' => body.extend_from_slice(b"\\n"),
            b'\r' => body.extend_from_slice(b"\\r"),
            b'\t' => body.extend_from_slice(b"\\t"),
            0x08 => body.extend_from_slice(b"\\b"),
            0x0c => body.extend_from_slice(b"\\f"),
            0..0x20 => body.extend_from_slice(format!("\\u{byte:04X}").as_bytes()),
            _ => body.push(*byte),
        }
    }
    body.extend_from_slice(format!("\",\"offset\":{offset}}}").as_bytes());
    body
}

/// Answers a file's bytes as they are.
pub(super) fn download(place: &Place, path: &str) -> Response {
    let found = match find(place) {
        Ok(found) => found,
        Err(error) => return refused(&error, path),
    };
    if let Some(refusal) = unreadable(&found, path, "download") {
        return refusal;
    }
    let file = match found.open() {
        Ok(file) => file,
        Err(error) => return refused(&error, path),
    };
    match whole(&file) {
        Ok(Some(body)) => Response::ok("application/octet-stream", body)
            .with("Content-Disposition", format!("attachment; filename={}", file_name(path))),
        Ok(None) => with_text(413, "The file is too long for a download; read it in pieces with /files/read.\n"),
        Err(error) => refused(&OpenError::Io(error), path),
    }
}

/// All of the file, or nothing if that is too much.
fn whole(file: &File) -> io::Result<Option<Vec<u8>>> {
    if file.metadata()?.len() > DOWNLOAD_LIMIT {
        return Ok(None);
    }
    let mut body = Vec::new();
    file.take(DOWNLOAD_LIMIT).read_to_end(&mut body)?;
    Ok(Some(body))
}

/// The last component, fit to stand in a header.
fn file_name(path: &str) -> String {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    name.chars().map(|c| if c.is_ascii_graphic() && !"\";\\,".contains(c) { c } else { '_' }).collect()
}
