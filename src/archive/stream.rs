//! A tar archive as it comes: the blocks' fields are the `tar` crate's to read, the order of the blocks and every bound are ours. The
//! crate's own iterator keeps a long name or a pax header of any size in memory; this one does not.
//!
//! Understood are the old, ustar, pax and GNU forms, and GNU's sparse files (`tar --format=gnu -S`). A file in another sparse form
//! is an entry of kind `Other`.

use std::fmt;
use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header, PaxExtensions};

/// tar's unit.
const BLOCK: usize = 512;
/// Longest long name or pax header that is kept; a path has at most 4096 bytes.
const LONGEST_EXTENSION: u64 = 64 * 1024;
/// Extensions before one entry: GNU tar writes two.
const MOST_EXTENSIONS: u32 = 8;
/// Most parts of a sparse file, 16 bytes each in memory; one with more is left.
const MOST_SEGMENTS: usize = 64 * 1024;

/// Why a stream cannot be read on.
#[derive(Debug)]
pub enum StreamError {
    /// It cannot be read.
    Read(io::Error),
    /// It ended in the middle, or never began.
    BrokenOff,
    /// A block is not what tar writes there.
    Malformed(&'static str),
    /// It is longer than it may be.
    TooLong,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamError::Read(error) => {
                write!(f, "the archive cannot be read: {error}")
            }
            StreamError::BrokenOff => write!(f, "the archive broke off"),
            StreamError::Malformed(what) => write!(f, "the archive is not as tar writes it: {what}"),
            StreamError::TooLong => write!(f, "the archive is much larger than the task's disk"),
        }
    }
}

impl std::error::Error for StreamError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StreamError::Read(error) => Some(error),
            StreamError::BrokenOff | StreamError::Malformed(_) | StreamError::TooLong => None,
        }
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name of a file of the archive.
    HardLink,
    /// Anything else.
    Other,
}

/// One member of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, as the archive has it.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Where a link leads, as the archive has it; empty for what is none.
    pub link: Vec<u8>,
    /// All its mode bits.
    pub mode: u32,
    /// Seconds since the epoch.
    pub mtime: u64,
    /// Bytes of the file, holes included.
    pub size: u64,
    /// Where its data lie: offset and length, ascending, within `size`. Their bytes come from [`Stream::data`], in order.
    pub segments: Vec<(u64, u64)>,
}

/// Reads an archive.
pub struct Stream<R> {
    reader: R,
    /// Bytes that may still be read.
    budget: u64,
    /// Bytes of the entry's data that have not been read.
    data: u64,
    /// Bytes that fill its last block.
    padding: u64,
}

#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    foreign_sparse: bool,
}

impl<R: Read> Stream<R> {
    /// Reads at most `most` bytes.
    pub fn new(reader: R, most: u64) -> Stream<R> {
        Stream { reader, budget: most, data: 0, padding: 0 }
    }

    /// Skips what is left of the last entry, and gives the next; `None` at the archive's end.
    ///
    /// # Errors
    /// [`StreamError`]; the stream cannot be read on.
    pub fn next(&mut self) -> Result<Option<Entry>, StreamError> {
        let mut extensions = Extensions::default();
        for _ in 0..=MOST_EXTENSIONS {
            self.skip()?;
            let Some(block) = self.block()? else {
                return Ok(None);
            };
            let header = Header::from_byte_slice(&block);
            check_sum(header, &block)?;
            let size = header.entry_size().map_err(|_| StreamError::Malformed("a size that is no number"))?;
            self.expect(size)?;
            match header.entry_type() {
                EntryType::GNULongName => extensions.path = Some(without_nul(self.extension()?)),
                EntryType::XHeader => extensions.read_pax(&self.extension()?)?,
                EntryType::GNULongLink => extensions.link = Some(without_nul(self.extension()?)),
                EntryType::XGlobalHeader => {}
                _ => return self.entry(header, size, extensions).map(Some),
            }
        }
        Err(StreamError::Malformed("too many extensions before a file"))
    }

    /// The next bytes of the entry's data, exactly as many as the buffer takes.
    ///
    /// # Errors
    /// [`StreamError::Malformed`] when the entry has no more.
    pub fn data(&mut self, buffer: &mut [u8]) -> Result<(), StreamError> {
        self.data =
            self.data.checked_sub(buffer.len() as u64).ok_or(StreamError::Malformed("data that are not there"))?;
        self.fill(buffer)
    }

    fn entry(&mut self, header: &Header, stored: u64, extensions: Extensions) -> Result<Entry, StreamError> {
        let stored = match extensions.size {
            Some(size) => {
                self.expect(size)?;
                size
            }
            None => stored,
        };
        let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let kind = kind(header.entry_type(), &path);
        let link = match kind {
            Kind::Symlink | Kind::HardLink => {
                extensions.link.or_else(|| header.link_name_bytes().map(|link| link.into_owned())).unwrap_or_default()
            }
            Kind::File | Kind::Directory | Kind::Other => Vec::new(),
        };
        let mut entry = Entry {
            kind,
            path,
            link,
            mode: header.mode().unwrap_or(0o600),
            mtime: header.mtime().unwrap_or(0),
            size: stored,
            segments: vec![(0, stored)],
        };
        if header.entry_type() == EntryType::GNUSparse {
            self.sparse(header, stored, &mut entry)?;
        }
        if extensions.foreign_sparse {
            entry.kind = Kind::Other;
        }
        Ok(entry)
    }

    /// The map of a sparse file, which goes on in blocks between the header and the data.
    fn sparse(&mut self, header: &Header, stored: u64, entry: &mut Entry) -> Result<(), StreamError> {
        let gnu = header.as_gnu().ok_or(StreamError::Malformed("a sparse file in a form that is not GNU's"))?;
        entry.size = gnu.real_size().map_err(|_| StreamError::Malformed("a size that is no number"))?;
        entry.segments.clear();
        let mut map = Map { total: 0, end: 0, size: entry.size };
        let mut fits = map.add(&gnu.sparse, &mut entry.segments)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            let mut bytes = [0u8; BLOCK];
            self.fill(&mut bytes)?;
            block.as_mut_bytes().copy_from_slice(&bytes);
            fits &= map.add(block.sparse(), &mut entry.segments)?;
            more = block.is_extended();
        }
        if !fits {
            entry.kind = Kind::Other;
        } else if map.total != stored {
            return Err(StreamError::Malformed("a sparse file whose parts do not add up"));
        }
        Ok(())
    }

    /// What the archive was read from; behind its end there is padding, which a program that writes it should get rid of.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// The next header; `None` at the end, which the first block of zeros is.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, StreamError> {
        let mut block = [0u8; BLOCK];
        self.fill(&mut block)?;
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        Ok(None)
    }

    /// The content of a long name or pax header.
    fn extension(&mut self) -> Result<Vec<u8>, StreamError> {
        if self.data > LONGEST_EXTENSION {
            return Err(StreamError::Malformed("a name or an extension that is too long"));
        }
        let mut bytes = vec![0u8; self.data as usize];
        self.data(&mut bytes)?;
        Ok(bytes)
    }

    /// So much data come next. More than may be read at all is refused before any of it is.
    fn expect(&mut self, size: u64) -> Result<(), StreamError> {
        self.data = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        if size > self.budget { Err(StreamError::TooLong) } else { Ok(()) }
    }

    fn skip(&mut self) -> Result<(), StreamError> {
        let mut left = self.data + self.padding;
        (self.data, self.padding) = (0, 0);
        let mut buffer = [0u8; 16 * 1024];
        while left > 0 {
            let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.fill(&mut buffer[..count])?;
            left -= count as u64;
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), StreamError> {
        self.budget = self.budget.checked_sub(buffer.len() as u64).ok_or(StreamError::TooLong)?;
        match self.reader.read_exact(buffer) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(StreamError::BrokenOff),
            Err(error) => Err(StreamError::Read(error)),
        }
    }
}

impl Extensions {
    fn read_pax(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        for extension in PaxExtensions::new(bytes) {
            let extension = extension.map_err(|_| StreamError::Malformed("a pax header that is none"))?;
            let value = extension.value_bytes();
            match extension.key_bytes() {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    self.size = Some(size.ok_or(StreamError::Malformed("a size that is no number"))?);
                }
                key if key.starts_with(b"GNU.sparse.") => self.foreign_sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The parts of a sparse file, checked while they come.
struct Map {
    total: u64,
    end: u64,
    size: u64,
}

impl Map {
    /// Adds parts; false when there are more than are kept.
    fn add(&mut self, parts: &[GnuSparseHeader], segments: &mut Vec<(u64, u64)>) -> Result<bool, StreamError> {
        let malformed = StreamError::Malformed;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let offset = part.offset().map_err(|_| malformed("a sparse part that is no number"))?;
            let length = part.length().map_err(|_| malformed("a sparse part that is no number"))?;
            let end = offset.checked_add(length).filter(|end| *end <= self.size && offset >= self.end);
            self.end = end.ok_or(malformed("a sparse file with parts in disorder"))?;
            self.total += length;
            if segments.len() >= MOST_SEGMENTS {
                return Ok(false);
            }
            if length > 0 {
                segments.push((offset, length));
            }
        }
        Ok(true)
    }
}

fn kind(entry_type: EntryType, path: &[u8]) -> Kind {
    match entry_type {
        // Before POSIX, a directory was a file whose name ends in a slash.
        EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::HardLink,
        _ => Kind::Other,
    }
}

/// The sum of the header's bytes, its own field taken as spaces.
fn check_sum(header: &Header, block: &[u8; BLOCK]) -> Result<(), StreamError> {
    let sum: u32 =
        block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
    match header.cksum() {
        Ok(given) if given == sum => Ok(()),
        Ok(_) | Err(_) => Err(StreamError::Malformed("a header with a wrong sum")),
    }
}

fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}
