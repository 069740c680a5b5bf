//! VMs that were cleaned up while libvirt did not answer: their QEMU and files are gone, but libvirt may still hold a reservation, a
//! lease, or a start that it will carry out when it comes to life again.
//!
//! Each is a note, `<vm_dir>/leftovers/<container id>` with its `container.VmState`. The next worker that reaches
//! libvirt settles them before it does its own work.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use prost::Message;

use super::libvirt::Libvirt;
use super::worker;
use crate::messages;
use crate::messages::container::VmState;

/// Longest note, in bytes: a state holds a few paths.
const MAX_NOTE: u64 = 64 * 1024;

/// A note that cannot be written or read.
#[derive(Debug)]
pub struct LeftoverError {
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for LeftoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot use {}: {}", self.path.display(), self.source)
    }
}

impl std::error::Error for LeftoverError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> LeftoverError {
    move |source| LeftoverError { path: path.to_path_buf(), source }
}

/// Notes a VM of which libvirt could not be told.
///
/// # Errors
/// [`LeftoverError`].
pub fn note(vm_dir: &Path, state: &VmState) -> Result<(), LeftoverError> {
    let directory = vm_dir.join("leftovers");
    fs::create_dir_all(&directory).map_err(failed(&directory))?;
    let path = directory.join(&state.domain);
    let beside = directory.join(format!(".{}.new", state.domain));
    fs::write(&beside, state.encode_to_vec()).map_err(failed(&beside))?;
    fs::rename(&beside, &path).map_err(failed(&path))
}

/// Settles what is noted. One that cannot be settled yet is told and kept for the next time.
///
/// # Errors
/// [`LeftoverError`], when the notes cannot be listed or removed.
pub fn settle(vm_dir: &Path, libvirt: &Libvirt) -> Result<(), LeftoverError> {
    for (path, state) in noted(vm_dir)? {
        match worker::undo(libvirt, &state) {
            Ok(()) => match fs::remove_file(&path) {
                // Another worker was quicker.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result.map_err(failed(&path))?,
            },
            Err(error) => eprintln!("{} is still to be cleaned up: {error}", state.domain),
        }
    }
    Ok(())
}

/// The notes, with what they say.
fn noted(vm_dir: &Path) -> Result<Vec<(PathBuf, VmState)>, LeftoverError> {
    let directory = vm_dir.join("leftovers");
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed(&directory))?,
    };
    let mut notes = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed(&directory))?;
        let short = entry.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_NOTE);
        if !short || entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let state = fs::read(entry.path()).ok().and_then(|bytes| messages::decode::<VmState>(&bytes).ok());
        // The name is part of what was noted: a note under another name is none of ours.
        if let Some(state) = state.filter(|state| entry.file_name() == state.domain.as_str()) {
            notes.push((entry.path(), state));
        }
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::scratch::Scratch;

    fn state(domain: &str) -> VmState {
        VmState { uri: "test:///default".into(), network: "gone".into(), domain: domain.into(), ..Default::default() }
    }

    #[test]
    fn a_noted_vm_is_settled_once_libvirt_answers() {
        let scratch = Scratch::new();
        note(scratch.path(), &state("mesos-a")).expect("note");
        note(scratch.path(), &state("mesos-a")).expect("note again");
        note(scratch.path(), &state("mesos-b")).expect("note");
        assert_eq!(noted(scratch.path()).expect("notes").len(), 2);
        let libvirt = Libvirt::connect("test:///default").expect("libvirt's test driver");
        settle(scratch.path(), &libvirt).expect("settle");
        assert!(noted(scratch.path()).expect("notes").is_empty());
        settle(scratch.path(), &libvirt).expect("settle nothing");
    }

    #[test]
    fn what_is_no_note_of_ours_is_left_alone() {
        let scratch = Scratch::new();
        note(scratch.path(), &state("mesos-a")).expect("note");
        let directory = scratch.path().join("leftovers");
        fs::rename(directory.join("mesos-a"), directory.join("other")).expect("rename");
        fs::write(directory.join("rubbish"), b"\xff\xff").expect("write");
        fs::create_dir(directory.join("mesos-c")).expect("mkdir");
        assert!(noted(scratch.path()).expect("notes").is_empty());
        assert!(noted(&scratch.path().join("nothing")).expect("no directory").is_empty());
    }
}
