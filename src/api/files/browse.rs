//! `/files/browse`: what is in a directory, as `ls -l` would tell it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstatat};
use nix::unistd::{Gid, Group, Uid, User};
use serde_json::{Value, json};

use super::open::{Found, OpenError, find};
use super::{Place, refused};
use crate::api::json_response;
use crate::libprocess::{Request, Response};
use crate::messages::mesos::{FileInfo, TimeInfo};
use crate::slave::TASKS;

/// How many entries are looked at: a guest can make millions, and the loop must go on.
const ENTRY_LIMIT: usize = 5000;

/// Answers a sorted array of `{"mode", "nlink", "uid", "gid", "size", "mtime", "path"}`; an empty one for what is no directory,
/// as Mesos does.
pub(super) fn browse(place: &Place, path: &str, request: &Request) -> Response {
    let found = match find(place) {
        Ok(found) => found,
        Err(error) => return refused(&error, path),
    };
    if !found.is_directory() {
        return json_response(json!([]), request);
    }
    match list(place, &found) {
        Ok(entries) => {
            let mut names = Names::default();
            let listing = entries.iter().map(|(name, stat)| describe(path, name, stat, &mut names));
            json_response(Value::Array(listing.collect()), request)
        }
        Err(error) => refused(&error, path),
    }
}

/// The same as messages.
pub(super) fn infos(place: &Place, path: &str) -> Result<Vec<FileInfo>, OpenError> {
    let found = find(place)?;
    if !found.is_directory() {
        return Ok(Vec::new());
    }
    let mut names = Names::default();
    let info = |(name, stat): &(String, FileStat)| FileInfo {
        path: format!("{}/{name}", path.trim_end_matches('/')),
        nlink: Some(i32::try_from(stat.st_nlink).unwrap_or(i32::MAX)),
        size: Some(stat.st_size.unsigned_abs()),
        mtime: Some(TimeInfo { nanoseconds: stat.st_mtime.saturating_mul(1_000_000_000) }),
        mode: Some(stat.st_mode),
        uid: Some(names.user(stat.st_uid).to_string()),
        gid: Some(names.group(stat.st_gid).to_string()),
    };
    Ok(list(place, &found)?.iter().map(info).collect())
}

fn list(place: &Place, found: &Found) -> Result<Vec<(String, FileStat)>, OpenError> {
    let directory = found.open()?;
    // By the descriptor: what its path leads to may have been changed meanwhile.
    let entries = fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd())).map_err(OpenError::Io)?;
    let names = entries.take(ENTRY_LIMIT).map(|entry| entry.map(|entry| entry.file_name()));
    let mut names: Vec<OsString> = names.collect::<Result<_, _>>().map_err(OpenError::Io)?;
    if names.len() == ENTRY_LIMIT {
        log::warn!("a directory in a sandbox has {ENTRY_LIMIT} entries or more; only so many are shown");
    }
    names.sort();
    let look = |name: OsString| {
        // One that has vanished meanwhile is left out.
        let stat = fstatat(directory.as_fd(), name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        let name = name.to_string_lossy().into_owned();
        let stat = sandbox_of_task(place, &name, &stat).unwrap_or(stat);
        Some((name, stat))
    };
    Ok(names.into_iter().filter_map(look).collect())
}

/// What a link at `tasks/<task id>` leads to: Mesos tells that of every link, and its web interface has no way into what is no directory.
fn sandbox_of_task(tasks: &Place, name: &str, stat: &FileStat) -> Option<FileStat> {
    let is_link = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFLNK;
    if !is_link || tasks.below.last() != Some(&TASKS) {
        return None;
    }
    let below = tasks.below.iter().copied().chain([name]).collect();
    Some(*find(&Place { root: tasks.root, below }).ok()?.stat())
}

fn describe(directory: &str, name: &str, stat: &FileStat, names: &mut Names) -> Value {
    json!({
        "mode": mode(stat.st_mode),
        "nlink": stat.st_nlink,
        "uid": names.user(stat.st_uid),
        "gid": names.group(stat.st_gid),
        "size": stat.st_size,
        "mtime": stat.st_mtime as f64,
        "path": format!("{}/{name}", directory.trim_end_matches('/')),
    })
}

/// `-rw-r--r--`.
fn mode(bits: u32) -> String {
    let kind = match SFlag::from_bits_truncate(bits & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => 'd',
        SFlag::S_IFCHR => 'c',
        SFlag::S_IFBLK => 'b',
        SFlag::S_IFIFO => 'p',
        SFlag::S_IFLNK => 'l',
        SFlag::S_IFSOCK => 's',
        _ => '-',
    };
    let letters = "rwxrwxrwx".chars().enumerate();
    let permissions = letters.map(|(place, letter)| if bits & (0o400 >> place) != 0 { letter } else { '-' });
    std::iter::once(kind).chain(permissions).collect()
}

/// Names of users and groups, looked up once each.
#[derive(Default)]
struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    fn user(&mut self, id: u32) -> &str {
        self.users.entry(id).or_insert_with(|| match User::from_uid(Uid::from_raw(id)) {
            Ok(Some(user)) => user.name,
            Ok(None) | Err(_) => id.to_string(),
        })
    }

    fn group(&mut self, id: u32) -> &str {
        self.groups.entry(id).or_insert_with(|| match Group::from_gid(Gid::from_raw(id)) {
            Ok(Some(group)) => group.name,
            Ok(None) | Err(_) => id.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_reads_as_ls_prints_it() {
        assert_eq!(mode(0o100644), "-rw-r--r--");
        assert_eq!(mode(0o040751), "drwxr-x--x");
        assert_eq!(mode(0o010200), "p-w-------");
        assert_eq!(mode(0o120777), "lrwxrwxrwx");
    }
}
