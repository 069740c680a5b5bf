//! A zip file, read from its directory at the end (PKWARE's APPNOTE.TXT, 4.3): one entry at a time, so that a directory of any length
//! takes no memory. Stored and deflated files, 64-bit sizes, and the modes that Unix tools add. Nothing encrypted, nothing in parts.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use super::stream::Kind;

const END: &[u8] = b"PK\x05\x06";
const END_LENGTH: usize = 22;
const LONGEST_COMMENT: usize = 0xffff;
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const LOCATOR_64_LENGTH: usize = 20;
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_LENGTH: usize = 30;
/// The extra field with 64-bit sizes.
const EXTRA_64: u16 = 1;
/// Systems whose attributes hold a Unix mode: Unix and macOS.
const UNIX: [u8; 2] = [3, 19];

/// Why a file cannot be read as zip.
#[derive(Debug)]
pub enum ZipError {
    /// It cannot be read at all.
    Read(io::Error),
    /// It is not what zip writes.
    Malformed(&'static str),
    /// A password is wanted.
    Encrypted,
    /// A compression other than stored and deflated.
    Method(u16),
}

impl fmt::Display for ZipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ZipError::Read(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                write!(f, "the zip file broke off")
            }
            ZipError::Read(error) => write!(f, "the zip file cannot be read: {error}"),
            ZipError::Malformed(what) => write!(f, "the zip file is damaged: {what}"),
            ZipError::Encrypted => write!(f, "the zip file is encrypted, and there is no password to be had"),
            ZipError::Method(method) => {
                write!(f, "the zip file uses compression method {method}; only stored and deflated files are read")
            }
        }
    }
}

impl std::error::Error for ZipError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ZipError::Read(error) => Some(error),
            ZipError::Malformed(_) | ZipError::Encrypted | ZipError::Method(_) => None,
        }
    }
}

impl From<io::Error> for ZipError {
    fn from(error: io::Error) -> ZipError {
        ZipError::Read(error)
    }
}

/// One member.
#[derive(Debug)]
pub struct Entry {
    /// Its name, as the directory has it.
    pub path: Vec<u8>,
    /// What it is; hard links do not exist in zip files.
    pub kind: Kind,
    /// Permissions.
    pub mode: u32,
    /// Bytes of its content, as the directory claims.
    pub size: u64,
    packed: u64,
    checksum: u32,
    method: u16,
    at: u64,
}

/// An open zip file.
pub struct Zip {
    file: Rc<File>,
    directory: BufReader<Section>,
    left: u64,
    /// What lies before the first member, which positions do not count (a program that unpacks itself).
    before: u64,
}

/// Bytes of a file from one position to another.
struct Section {
    file: Rc<File>,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let want = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..want], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Zip {
    /// Finds the directory.
    ///
    /// # Errors
    /// [`ZipError`].
    pub fn open(file: File) -> Result<Zip, ZipError> {
        let length = file.metadata()?.len();
        let tail_at = length.saturating_sub((END_LENGTH + LONGEST_COMMENT) as u64);
        let mut tail = vec![0u8; (length - tail_at) as usize];
        file.read_exact_at(&mut tail, tail_at)?;
        let none = ZipError::Malformed("it has no directory at its end");
        let at = tail.windows(END_LENGTH).rposition(|window| is_end(window, &tail)).ok_or(none)?;
        let record = Fields(&tail[at..at + END_LENGTH]);
        let mut end = tail_at + at as u64;
        let mut place = (u64::from(record.short(10)), u64::from(record.long(12)), u64::from(record.long(16)));
        let locator = at.checked_sub(LOCATOR_64_LENGTH).map(|from| &tail[from..at]);
        if let Some(locator) = locator.filter(|bytes| bytes.starts_with(LOCATOR_64)) {
            let mut record = [0u8; 56];
            let at = Fields(locator).longer(8);
            file.read_exact_at(&mut record, at)?;
            if !record.starts_with(END_64) {
                return Err(ZipError::Malformed("its 64-bit directory is not where it should be"));
            }
            let record = Fields(&record);
            place = (record.longer(32), record.longer(40), record.longer(48));
            end = at;
        }
        let (left, size, stated) = place;
        let start = end.checked_sub(size).ok_or(ZipError::Malformed("its directory is larger than the file"))?;
        let before = start.checked_sub(stated).ok_or(ZipError::Malformed("its directory is not where it should be"))?;
        let file = Rc::new(file);
        let directory = BufReader::new(Section { file: file.clone(), at: start, end });
        Ok(Zip { file, directory, left, before })
    }

    /// The next entry; `None` after the last.
    ///
    /// # Errors
    /// [`ZipError`]; the directory cannot be read on.
    pub fn next(&mut self) -> Result<Option<Entry>, ZipError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        let mut bytes = [0u8; 46];
        self.directory.read_exact(&mut bytes)?;
        if !bytes.starts_with(ENTRY) {
            return Err(ZipError::Malformed("its directory has fewer entries than it should"));
        }
        let fields = Fields(&bytes);
        let (path, extra) = (self.text(fields.short(28))?, self.text(fields.short(30))?);
        self.text(fields.short(32))?;
        if fields.short(8) & 1 != 0 {
            return Err(ZipError::Encrypted);
        }
        let attributes = if UNIX.contains(&bytes[5]) { fields.long(38) >> 16 } else { 0 };
        let kind = kind(attributes, &path);
        let mut sizes = [fields.long(24), fields.long(20), fields.long(42)].map(u64::from);
        widen(&mut sizes, &extra)?;
        let [size, packed, at] = sizes;
        let default = if kind == Kind::Directory { 0o755 } else { 0o644 };
        let mode = if attributes & 0o777 == 0 { default } else { attributes & 0o777 };
        let at = at.checked_add(self.before).ok_or(ZipError::Malformed("a position beyond all files"))?;
        Ok(Some(Entry { path, kind, mode, size, packed, checksum: fields.long(16), method: fields.short(10), at }))
    }

    fn text(&mut self, length: u16) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0u8; usize::from(length)];
        self.directory.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// What an entry holds: no more than it claims, and an error at its end when that is not what was packed.
    ///
    /// # Errors
    /// [`ZipError`].
    pub fn content(&self, entry: &Entry) -> Result<impl Read + use<>, ZipError> {
        let mut bytes = [0u8; LOCAL_LENGTH];
        self.file.read_exact_at(&mut bytes, entry.at)?;
        if !bytes.starts_with(LOCAL) {
            return Err(ZipError::Malformed("a file is not where the directory says"));
        }
        let fields = Fields(&bytes);
        let at = entry.at + LOCAL_LENGTH as u64 + u64::from(fields.short(26)) + u64::from(fields.short(28));
        let end = at.checked_add(entry.packed).ok_or(ZipError::Malformed("a file that is larger than all"))?;
        let packed = BufReader::new(Section { file: self.file.clone(), at, end });
        let packed = match entry.method {
            0 => Packed::Stored(packed),
            8 => Packed::Deflated(DeflateDecoder::new(packed)),
            method => return Err(ZipError::Method(method)),
        };
        Ok(Content { packed, left: entry.size, sum: Crc::new(), checksum: entry.checksum })
    }
}

/// A record that ends the file, its comment included.
fn is_end(window: &[u8], tail: &[u8]) -> bool {
    let offset = window.as_ptr() as usize - tail.as_ptr() as usize;
    window.starts_with(END) && offset + END_LENGTH + usize::from(Fields(window).short(20)) <= tail.len()
}

/// Little-endian numbers of a record whose length is known to reach that far.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn short(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    fn long(&self, at: usize) -> u32 {
        u32::from(self.short(at)) | u32::from(self.short(at + 2)) << 16
    }

    fn longer(&self, at: usize) -> u64 {
        u64::from(self.long(at)) | u64::from(self.long(at + 4)) << 32
    }
}

/// Sizes that do not fit into 32 bits are in an extra field, in order.
fn widen(sizes: &mut [u64; 3], mut extra: &[u8]) -> Result<(), ZipError> {
    let missing = ZipError::Malformed("a size of 64 bits is missing");
    while extra.len() >= 4 {
        let (id, length) = (Fields(extra).short(0), usize::from(Fields(extra).short(2)));
        let Some(mut field) = extra.get(4..4 + length) else { break };
        extra = &extra[4 + length..];
        if id == EXTRA_64 {
            for size in sizes.iter_mut().filter(|size| **size == u64::from(u32::MAX)) {
                let Some((wide, rest)) = field.split_at_checked(8) else {
                    return Err(missing);
                };
                (*size, field) = (Fields(wide).longer(0), rest);
            }
        }
    }
    Ok(())
}

fn kind(attributes: u32, path: &[u8]) -> Kind {
    match attributes & libc::S_IFMT {
        libc::S_IFLNK => Kind::Symlink,
        libc::S_IFDIR => Kind::Directory,
        0 | libc::S_IFREG if path.ends_with(b"/") => Kind::Directory,
        0 | libc::S_IFREG => Kind::File,
        _ => Kind::Other,
    }
}

enum Packed<R> {
    Stored(R),
    Deflated(DeflateDecoder<R>),
}

struct Content<R> {
    packed: Packed<R>,
    left: u64,
    sum: Crc,
    checksum: u32,
}

impl<R: BufRead> Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.packed {
            Packed::Stored(reader) => reader.read(buffer)?,
            Packed::Deflated(reader) => reader.read(buffer)?,
        };
        let damaged = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        let Some(left) = self.left.checked_sub(count as u64) else {
            return damaged("a file in it is larger than its directory says");
        };
        self.left = left;
        self.sum.update(&buffer[..count]);
        match count {
            0 if !buffer.is_empty() && left > 0 => damaged("a file in it is smaller than its directory says"),
            0 if !buffer.is_empty() && self.sum.sum() != self.checksum => damaged("a file in it has a wrong checksum"),
            _ => Ok(count),
        }
    }
}

#[cfg(test)]
#[path = "zip_tests.rs"]
mod tests;
