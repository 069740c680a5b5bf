//! Zip files from a real zip (Python's), and damaged ones.

use super::*;
use crate::container::scratch::Scratch;
use std::path::PathBuf;
use std::process::Command;

/// Runs Python with a zip file `z` open for writing, and gives the file.
fn zipped(scratch: &Scratch, script: &str) -> PathBuf {
    let path = scratch.path().join("a.zip");
    let text =
        format!("import sys, zipfile as Z\nz = Z.ZipFile(sys.argv[1], 'w', Z.ZIP_DEFLATED)\n{script}\nz.close()");
    let output = Command::new("python3").args(["-c", &text]).arg(&path).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

fn read_all(path: &std::path::Path) -> Result<Vec<(String, Kind, u32, String)>, ZipError> {
    let mut zip = Zip::open(File::open(path)?)?;
    let mut all = Vec::new();
    while let Some(entry) = zip.next()? {
        let mut text = Vec::new();
        zip.content(&entry)?.read_to_end(&mut text)?;
        let name = String::from_utf8_lossy(&entry.path).into_owned();
        all.push((name, entry.kind, entry.mode, String::from_utf8_lossy(&text).into_owned()));
    }
    Ok(all)
}

const TWO: &str = "
z.writestr('d/', '')
i = Z.ZipInfo('d/run'); i.external_attr = 0o100755 << 16; i.compress_type = Z.ZIP_DEFLATED
z.writestr(i, 'deflated ' * 1000)
z.writestr('stored', 'as it is', Z.ZIP_STORED)
i = Z.ZipInfo('link'); i.external_attr = 0o120777 << 16
z.writestr(i, 'd/run')";

#[test]
fn files_directories_and_links_are_read_with_their_modes() {
    let scratch = Scratch::new();
    for script in [TWO.to_string(), format!("{TWO}\nz.comment = b'PK\\x05\\x06 is no end'")] {
        let all = read_all(&zipped(&scratch, &script)).expect("zip");
        let told: Vec<_> = all.iter().map(|(name, kind, mode, _)| (name.as_str(), *kind, *mode)).collect();
        assert_eq!(told[0].1, Kind::Directory);
        assert_eq!(told[1], ("d/run", Kind::File, 0o755));
        assert_eq!(told[2], ("stored", Kind::File, 0o600), "as Python writes it");
        assert_eq!((told[3].0, told[3].1, all[3].3.as_str()), ("link", Kind::Symlink, "d/run"));
        assert_eq!(all[1].3, "deflated ".repeat(1000));
    }
}

#[test]
fn sizes_of_64_bits_and_what_lies_before_the_first_file_are_understood() {
    let scratch = Scratch::new();
    let wide = "f = z.open('wide', 'w', force_zip64=True); f.write(b'x' * 10); f.close()\n\
                z._didModify = True\nZ.ZIP64_LIMIT = 1; Z.ZIP_FILECOUNT_LIMIT = 0";
    let path = zipped(&scratch, wide);
    assert_eq!(read_all(&path).expect("zip64")[0].3, "xxxxxxxxxx");
    let plain = std::fs::read(zipped(&scratch, "z.writestr('a', 'b')")).expect("read");
    std::fs::write(&path, [b"#!/bin/sh\n".to_vec(), plain].concat()).expect("write");
    assert_eq!(read_all(&path).expect("prefixed")[0].3, "b");
}

#[test]
fn every_byte_that_is_lost_or_changed_is_an_error_or_harmless() {
    let scratch = Scratch::new();
    let path = zipped(&scratch, "z.writestr('a', 'some text')\nz.writestr('b', 'more')");
    let whole = std::fs::read(&path).expect("read");
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).expect("write");
        assert!(read_all(&path).is_err(), "{length} bytes of {}", whole.len());
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0xff;
        std::fs::write(&path, &changed).expect("write");
        if let Ok(all) = read_all(&path) {
            assert!(all.iter().all(|(.., text)| "some text" == text || "more" == text), "byte {at}: {all:?}");
        }
    }
}

#[test]
fn what_is_encrypted_or_packed_otherwise_is_named() {
    let scratch = Scratch::new();
    let path = zipped(&scratch, "z.writestr('a', 'x', Z.ZIP_LZMA)");
    assert!(matches!(read_all(&path), Err(ZipError::Method(14))));
    let mut bytes = std::fs::read(zipped(&scratch, "z.writestr('a', 'x')")).expect("read");
    let directory = bytes.windows(4).rposition(|window| window == ENTRY).expect("directory");
    bytes[directory + 8] |= 1;
    std::fs::write(&path, bytes).expect("write");
    assert!(matches!(read_all(&path), Err(ZipError::Encrypted)));
}
