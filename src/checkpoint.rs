//! What the slave keeps on disk of its master's word: the resources that masters have reserved or made volumes of.
//!
//! ```text
//! <work_dir>/meta/resources/resources.info     4 bytes length (little-endian), mesos.Resource; and again
//! <work_dir>/meta/resources/resources.target   the next one, until it is complete
//! ```
//!
//! Name, records and the old form of reservations are those of Mesos' agent (`src/slave/state.hpp`, stout's `protobuf.hpp`).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use prost::Message;

use crate::messages::{self, mesos};
use crate::resources::{downgrade, upgrade};

/// Bytes of a record's length.
const HEAD: usize = size_of::<u32>();

/// Replaces what is kept, all of it or nothing, and returns when it is on the disk.
///
/// # Errors
/// What the file system says; the old content is there then.
pub fn write_resources(path: &Path, resources: &[mesos::Resource]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    let target = path.with_extension("target");
    let mut file = File::create(&target)?;
    file.write_all(&encode(resources))?;
    file.sync_all()?;
    fs::rename(&target, path)?;
    File::open(directory)?.sync_all()
}

/// What is kept; nothing if there is no file.
///
/// # Errors
/// What the file system says, or that the file is not what was written.
pub fn read_resources(path: &Path) -> io::Result<Vec<mesos::Resource>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(facts) if facts.len() > messages::MAX_BODY as u64 => return Err(damaged("it is too large")),
        Ok(_) | Err(_) => {}
    }
    decode(&fs::read(path)?)
}

fn encode(resources: &[mesos::Resource]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for resource in resources {
        let mut resource = resource.clone();
        downgrade(&mut resource);
        let record = resource.encode_to_vec();
        bytes.extend((record.len() as u32).to_le_bytes());
        bytes.extend(record);
    }
    bytes
}

fn decode(mut bytes: &[u8]) -> io::Result<Vec<mesos::Resource>> {
    let mut resources = Vec::new();
    while !bytes.is_empty() {
        let cut = || damaged("it ends within a record");
        let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or_else(cut)?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*head) as usize).ok_or_else(cut)?;
        let mut resource: mesos::Resource = messages::decode(record).map_err(|error| damaged(&error.to_string()))?;
        upgrade(&mut resource);
        resources.push(resource);
        bytes = rest;
    }
    Ok(resources)
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the file is damaged: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::scratch::Scratch;
    use crate::messages::mesos::resource::{ReservationInfo, reservation_info};
    use crate::resources::scalar;

    fn reserved(role: &str) -> mesos::Resource {
        let dynamic = ReservationInfo {
            r#type: Some(reservation_info::Type::Dynamic as i32),
            role: Some(role.into()),
            principal: Some("p".into()),
            ..Default::default()
        };
        mesos::Resource { reservations: vec![dynamic], ..scalar("cpus", 1.5) }
    }

    #[test]
    fn what_is_written_is_read_and_replaced_as_a_whole() {
        let scratch = Scratch::new();
        let path = scratch.path().join("meta/resources/resources.info");
        assert_eq!(read_resources(&path).expect("no file"), []);
        let both = [reserved("a"), reserved("b")];
        write_resources(&path, &both).expect("written");
        assert_eq!(read_resources(&path).expect("read"), both);
        write_resources(&path, &[]).expect("written");
        assert_eq!(read_resources(&path).expect("read"), []);
        assert!(!path.with_extension("target").exists());
    }

    #[test]
    fn a_record_is_mesos_own() {
        let bytes = encode(&[mesos::Resource { scalar: None, ..reserved("a") }]);
        let record = b"\n\x04cpus\x10\x00\x32\x01aB\x03\n\x01p";
        assert_eq!(bytes[..HEAD], (record.len() as u32).to_le_bytes());
        assert_eq!(bytes[HEAD..], *record);
    }

    #[test]
    fn a_damaged_file_is_said_to_be_so() {
        let whole = encode(&[reserved("a")]);
        for bytes in [&whole[..3], &whole[..whole.len() - 1], b"\x01\x00\x00\x00\xff", b"\xff\xff\xff\xff"] {
            assert_eq!(decode(bytes).expect_err("damaged").kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }
}
