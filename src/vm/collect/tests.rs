//! Archives from a real tar, and hostile ones made by hand.

use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use tar::{EntryType, Header};

static NEXT: AtomicU32 = AtomicU32::new(0);
const LIMITS: Limits = Limits { bytes: 10_000_000, files: 1000 };

struct Directories {
    base: PathBuf,
    guest: PathBuf,
    host: PathBuf,
}

impl Drop for Directories {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.base);
    }
}

impl Directories {
    fn new() -> Directories {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let base = std::env::temp_dir().join(format!("mesos-collect-{}-{number}", std::process::id()));
        let all = Directories { guest: base.join("the guest's"), host: base.join("host"), base };
        fs::create_dir_all(&all.guest).expect("guest");
        fs::create_dir_all(&all.host).expect("host");
        all
    }

    fn owner(&self) -> Owner {
        let there = fs::metadata(&self.host).expect("host");
        Owner { uid: there.uid(), gid: there.gid() }
    }

    fn extract(&self, archive: &[u8], limits: Limits) -> Summary {
        extract(archive, &self.host, limits, self.owner()).expect("extract")
    }

    /// The guest's directory through the very script that runs in a guest.
    fn archive(&self) -> Vec<u8> {
        let script = remote_script(&self.base.to_string_lossy(), self.guest.to_str().expect("utf-8"));
        let output = Command::new("/bin/sh").arg("-c").arg(script).output().expect("tar");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.host)
            .expect("host")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("utf-8"))
            .collect();
        names.sort();
        names
    }
}

/// One member: header, data, padding.
fn member(name: &[u8], entry_type: EntryType, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_entry_type(entry_type);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    finished(header, content)
}

fn finished(mut header: Header, content: &[u8]) -> Vec<u8> {
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    let mut all = members.concat();
    all.extend([0u8; 1024]);
    all
}

#[test]
fn files_and_directories_come_back_with_their_bytes_modes_and_times() {
    let all = Directories::new();
    let long = "a long name ".repeat(15);
    let deep = all.guest.join("deep/er").join(&long);
    fs::create_dir_all(deep.parent().expect("parent")).expect("directories");
    fs::write(&deep, "long").expect("file");
    fs::write(all.guest.join("empty"), "").expect("file");
    let content: Vec<u8> = (0..300_001u32).map(|n| n as u8).collect();
    fs::write(all.guest.join("data"), &content).expect("file");
    fs::set_permissions(all.guest.join("data"), fs::Permissions::from_mode(0o6751)).expect("mode");
    fs::set_permissions(all.guest.join("deep"), fs::Permissions::from_mode(0o1770)).expect("mode");
    let status = Command::new("touch").args(["-d", "@1000000000"]).arg(all.guest.join("data")).status().expect("touch");
    assert!(status.success());

    let summary = all.extract(&all.archive(), LIMITS);
    assert!(summary.incomplete.is_none(), "{summary}");
    assert_eq!(summary.to_string(), "brought back: 3 files, 293.0 KiB");
    assert_eq!(summary.directories, 2);
    assert!(fs::read(all.host.join("data")).expect("data") == content);
    assert_eq!(fs::read_to_string(all.host.join("deep/er").join(long)).expect("long"), "long");
    let data = fs::metadata(all.host.join("data")).expect("data");
    assert_eq!((data.mode() & 0o7777, data.mtime()), (0o751, 1_000_000_000));
    assert_eq!(fs::metadata(all.host.join("deep")).expect("deep").mode() & 0o7777, 0o770);
}

#[test]
fn links_fifos_and_devices_are_left_and_counted() {
    let all = Directories::new();
    symlink("/etc/passwd", all.guest.join("link")).expect("symlink");
    symlink("/", all.guest.join("root")).expect("symlink");
    fs::write(all.guest.join("one"), "1").expect("file");
    fs::hard_link(all.guest.join("one"), all.guest.join("two")).expect("hard link");
    nix::unistd::mkfifo(&all.guest.join("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    let mut bytes = all.archive();
    let end = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    bytes.truncate(end.next_multiple_of(512));
    bytes.extend(archive(&[member(b"./device", EntryType::Block, b""), member(b"./char", EntryType::Char, b"")]));
    let summary = all.extract(&bytes, LIMITS);
    assert!(summary.incomplete.is_none(), "{summary}");
    assert_eq!((summary.files.count, summary.special), (1, 6), "{summary}");
    assert_eq!(all.names().len(), 1);
}

#[test]
fn no_name_leads_out_of_the_sandbox() {
    let all = Directories::new();
    let file = |name: &[u8]| member(name, EntryType::Regular, b"evil");
    let deep = vec![b"d/".to_vec(); 66].concat();
    let mut members: Vec<Vec<u8>> =
        [&b"/tmp/mesos-evil"[..], b"../evil", b"a/../../evil", b"..", b"a/.."].iter().map(|name| file(name)).collect();
    members.push(member(b"././@LongLink", EntryType::GNULongName, &deep));
    members.push(file(b"x"));
    members.push(member(b"././@LongLink", EntryType::GNULongName, &[b'x'; 300]));
    members.push(file(b"x"));
    members.push(member(b"pax", EntryType::XHeader, b"16 path=../evil\n"));
    members.push(file(b"x"));
    members.push(file(b"./good"));
    let summary = all.extract(&archive(&members), LIMITS);
    assert!(summary.incomplete.is_none(), "{summary}");
    assert_eq!((summary.names, summary.files.count), (8, 1));
    assert_eq!(all.names(), ["good"]);
    assert!(!all.base.join("evil").exists() && !Path::new("/tmp/mesos-evil").exists());
}

#[test]
fn a_link_that_the_host_has_is_neither_followed_nor_written_through() {
    let all = Directories::new();
    let outside = all.base.join("outside");
    fs::create_dir_all(&outside).expect("outside");
    fs::write(outside.join("file"), "mine").expect("file");
    symlink(&outside, all.host.join("directory")).expect("symlink");
    symlink(outside.join("file"), all.host.join("file")).expect("symlink");
    fs::create_dir(all.host.join("taken")).expect("directory");
    let file = |name: &[u8]| member(name, EntryType::Regular, b"evil");
    let bytes = archive(&[
        file(b"directory/file"),
        member(b"directory", EntryType::Directory, b""),
        file(b"file"),
        file(b"file/below"),
        file(b"taken"),
    ]);
    let summary = all.extract(&bytes, LIMITS);
    assert_eq!((summary.in_the_way, summary.files.count), (4, 1), "{summary}");
    assert_eq!(fs::read_to_string(outside.join("file")).expect("file"), "mine");
    assert!(fs::symlink_metadata(all.host.join("file")).expect("file").is_file());
    assert_eq!(fs::read_dir(&outside).expect("outside").count(), 1);
}

#[test]
fn the_hosts_own_files_are_never_touched() {
    let all = Directories::new();
    fs::write(all.host.join("stdout"), "from the follower").expect("stdout");
    let mut members: Vec<Vec<u8>> =
        OUR_FILES.iter().map(|name| member(name.as_bytes(), EntryType::Regular, b"evil")).collect();
    members.push(member(b"./stdout/x", EntryType::Regular, b"evil"));
    members.push(member(b"below/stdout", EntryType::Regular, b"fine"));
    let summary = all.extract(&archive(&members), LIMITS);
    assert_eq!((all.names(), summary.files.count), (vec!["below".to_string(), "stdout".to_string()], 1));
    assert_eq!(fs::read_to_string(all.host.join("stdout")).expect("stdout"), "from the follower");
}

#[test]
fn a_sparse_terabyte_is_left_at_once_and_a_small_sparse_file_stays_one() {
    let all = Directories::new();
    let file = fs::File::create(all.guest.join("a terabyte")).expect("file");
    file.set_len(1 << 40).expect("length");
    std::os::unix::fs::FileExt::write_all_at(&file, b"in the middle", 1 << 39).expect("write");
    let file = fs::File::create(all.guest.join("small")).expect("file");
    for n in 0..60u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, &n.to_le_bytes(), n * 131_072).expect("write");
    }
    file.set_len(8_000_000).expect("length");
    fs::write(all.guest.join("z"), "after").expect("file");
    let bytes = all.archive();
    assert!(bytes.len() < 2_000_000, "{}", bytes.len());
    let summary = all.extract(&bytes, LIMITS);
    let text = "brought back: 2 files, 7.6 MiB\nnot brought back: 1 files, 1.0 TiB: larger than the task's disk";
    assert_eq!(summary.to_string(), text);
    assert!(fs::read(all.host.join("small")).expect("small") == fs::read(all.guest.join("small")).expect("small"));
    assert!(fs::metadata(all.host.join("small")).expect("small").blocks() * 512 < 4_000_000);
    assert_eq!(all.names(), ["small", "z"]);
}

#[test]
fn more_bytes_or_files_than_the_limits_are_left_and_the_rest_comes() {
    let all = Directories::new();
    let file = |name: &str, size: usize| member(name.as_bytes(), EntryType::Regular, &vec![b'x'; size]);
    let bytes = archive(&[file("1", 60), file("2", 60), file("3", 40), file("4", 0), file("5", 0)]);
    let summary = all.extract(&bytes, Limits { bytes: 100, files: 3 });
    assert_eq!(summary.too_large, Tally { count: 1, bytes: 60 });
    assert_eq!((summary.too_many, all.names()), (1, vec!["1".to_string(), "3".to_string(), "4".to_string()]));
}

#[test]
fn endless_names_extensions_and_sizes_end_the_reading_early() {
    struct Endless(Vec<u8>, usize);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 += buffer.len();
            assert!(self.1 < 1_000_000, "it read on");
            let count = buffer.len().min(self.0.len());
            buffer[..count].copy_from_slice(&self.0.drain(..count).collect::<Vec<u8>>());
            buffer[count..].fill(b'x');
            Ok(buffer.len())
        }
    }
    let all = Directories::new();
    for (entry_type, size) in [
        (EntryType::GNULongName, 1 << 40),
        (EntryType::GNULongName, 50_000_000),
        (EntryType::XHeader, 70_000),
        (EntryType::Regular, u64::MAX / 2),
        (EntryType::Regular, 1 << 40),
    ] {
        let mut header = Header::new_gnu();
        header.set_entry_type(entry_type);
        header.set_size(size);
        let summary = extract(Endless(finished(header, b""), 0), &all.host, LIMITS, all.owner()).expect("extract");
        assert!(matches!(summary.incomplete, Some(CollectError::Stream(_))), "{entry_type:?} {size}: {summary}");
    }
    let bomb: Vec<Vec<u8>> = (0..50).map(|_| member(b"pax", EntryType::XHeader, b"10 path=x\n")).collect();
    assert!(all.extract(&archive(&bomb), LIMITS).incomplete.is_some());
    assert!(all.names().is_empty());
}

#[test]
fn a_stream_that_breaks_off_or_is_garbage_leaves_no_half_file() {
    let all = Directories::new();
    let mut bytes =
        archive(&[member(b"whole", EntryType::Regular, b"1"), member(b"half", EntryType::Regular, &[b'x'; 100_000])]);
    bytes.truncate(60_000);
    let summary = all.extract(&bytes, LIMITS);
    assert!(matches!(summary.incomplete, Some(CollectError::Stream(StreamError::BrokenOff))), "{summary}");
    assert_eq!(all.names(), ["whole"]);
    assert!(all.extract(b"", LIMITS).incomplete.is_some());
    assert!(all.extract(&[b'x'; 2048], LIMITS).incomplete.is_some());
    let mut wrong = archive(&[member(b"wrong", EntryType::Regular, b"1")]);
    wrong[0] = b'v';
    assert!(all.extract(&wrong, LIMITS).incomplete.is_some());
}

#[test]
fn a_sparse_map_in_disorder_or_beyond_its_file_is_refused() {
    let all = Directories::new();
    for (parts, stored) in [
        ([(0, 100), (50, 100)], 200),
        ([(0, 10), (990, 100)], 110),
        ([(0, u64::MAX / 4), (0, 0)], 5),
        ([(0, 10), (20, 10)], 30),
    ] {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNUSparse);
        header.as_mut_bytes()[..1].copy_from_slice(b"s");
        header.set_size(stored);
        let gnu = header.as_gnu_mut().expect("gnu");
        gnu.set_real_size(1000);
        for (at, (offset, length)) in parts.into_iter().enumerate() {
            gnu.sparse[at].set_offset(offset);
            gnu.sparse[at].set_length(length);
        }
        let bytes = archive(&[finished(header, &[b'x'; 256])]);
        let summary = all.extract(&bytes, LIMITS);
        assert!(
            matches!(summary.incomplete, Some(CollectError::Stream(StreamError::Malformed(_)))),
            "{parts:?}: {summary}"
        );
    }
    assert!(all.names().is_empty());
}

#[test]
fn other_tars_archives_are_read_too() {
    for format in ["ustar", "pax", "v7", "gnu"] {
        let all = Directories::new();
        fs::create_dir(all.guest.join("directory")).expect("directory");
        fs::write(all.guest.join("directory/file"), "content").expect("file");
        if format == "pax" {
            fs::write(all.guest.join("ä".repeat(100)), "long").expect("file");
        }
        let output = Command::new("tar")
            .arg(format!("--format={format}"))
            .arg("-C")
            .arg(&all.guest)
            .args(["-cf", "-", "."])
            .output();
        let summary = all.extract(&output.expect("tar").stdout, LIMITS);
        assert!(summary.incomplete.is_none(), "{format}: {summary}");
        assert_eq!(fs::read_to_string(all.host.join("directory/file")).expect("file"), "content", "{format}");
        assert_eq!(all.host.join("ä".repeat(100)).exists(), format == "pax");
    }
}

#[test]
fn what_was_fetched_comes_back_only_when_it_has_changed() {
    let all = Directories::new();
    fs::create_dir(all.guest.join("d")).expect("directory");
    for name in ["fetched", "d/fetched", "changed", "d/touched"] {
        fs::write(all.guest.join(name), "before").expect("file");
    }
    let before = fs::metadata(all.guest.join("d/touched")).expect("file").ctime();
    // The launcher's mark, later than all of them by more than a file system's clock may miss.
    let mark = fs::File::create(all.base.join("fetched")).expect("mark");
    let past = std::time::UNIX_EPOCH + Duration::from_secs(before as u64 + 1);
    mark.set_modified(past).expect("time");
    let later = past + Duration::from_secs(5);
    for name in ["changed", "d/touched", "d/new"] {
        fs::write(all.guest.join(name), "after").expect("file");
        fs::File::options().write(true).open(all.guest.join(name)).expect("file").set_modified(later).expect("time");
    }
    let summary = all.extract(&all.archive(), LIMITS);
    assert!(summary.incomplete.is_none(), "{summary}");
    assert_eq!(all.names(), ["changed", "d"]);
    let mut below: Vec<_> =
        fs::read_dir(all.host.join("d")).expect("d").map(|entry| entry.expect("entry").file_name()).collect();
    below.sort();
    assert_eq!(below, ["new", "touched"]);
}
