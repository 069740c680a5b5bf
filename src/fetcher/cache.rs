//! Fetched files that are kept for the next task, one for each user and URI, all together no more than `--fetcher_cache_size`.
//!
//! ```text
//! <fetcher_cache_dir>/fetched/          root's alone
//!   lock                                held while files come and go
//!   <MD5 of user and URI>/
//!     lock                              held while the file is fetched: others wait here for the first
//!     about                             size, user, URI; written before `data` is there; its time is that of the last use
//!     data                              the file, whole
//! ```
//!
//! A file goes into the cache once it is in the sandbox, when its size is known; so the limit holds at all times, and what was not
//! fetched whole leaves nothing. Which files go to make room is decided by the time of their last use. Who reads a file holds it open: it may go
//! meanwhile.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use md5::{Digest, Md5};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

/// Longest `about`: a URI, a user and a number.
const LONGEST_ABOUT: u64 = 16 * 1024;

/// The cache.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    limit: u64,
}

/// What the cache has of a URI.
#[derive(Debug)]
pub enum Found {
    /// The file.
    Hit(File),
    /// Nothing: whoever holds this is the one to fetch it.
    Miss(Slot),
}

/// A place for a file that is being fetched.
#[derive(Debug)]
pub struct Slot {
    directory: PathBuf,
    key: String,
    _lock: Flock<File>,
}

impl Cache {
    /// Opens the cache below a directory, making it. Nobody else may own it, or look into it.
    ///
    /// # Errors
    /// What the file system gives, or that it is somebody else's.
    pub fn open(below: &Path, limit: u64) -> io::Result<Cache> {
        fs::create_dir_all(below)?;
        let directory = below.join("fetched");
        make(&directory)?;
        let there = fs::symlink_metadata(&directory)?;
        if !there.is_dir() || there.uid() != geteuid().as_raw() || there.mode() & 0o077 != 0 {
            let text = format!("{} is not a directory of the slave's alone; remove it", directory.display());
            return Err(io::Error::other(text));
        }
        Ok(Cache { directory, limit })
    }

    /// Looks for the file of a user and a URI; waits while another fetches it.
    ///
    /// # Errors
    /// What the file system gives.
    pub fn find(&self, user: &str, uri: &str) -> io::Result<Found> {
        let key = format!("{user}\n{uri}");
        let sum = Md5::digest(key.as_bytes());
        let name: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        let directory = self.directory.join(name);
        let lock = lock_entry(&directory)?;
        if let Some(file) = valid(&directory, &key) {
            touch(&directory)?;
            return Ok(Found::Hit(file));
        }
        remove_files(&directory)?;
        Ok(Found::Miss(Slot { directory, key, _lock: lock }))
    }

    /// Takes a copy of a fetched file, and makes room for it.
    ///
    /// # Errors
    /// When there is no room, or what the file system gives; nothing is kept then.
    pub fn fill(&self, slot: &Slot, file: &File, size: u64) -> io::Result<()> {
        let _all = lock(&self.directory.join("lock"), FlockArg::LockExclusive)?;
        self.reserve(size)?;
        let result = slot.write(file, size);
        if result.is_err() {
            remove_files(&slot.directory)?;
        }
        result
    }

    /// Removes all that is not being fetched: a slave begins with an empty cache, as in Mesos.
    ///
    /// # Errors
    /// What the file system gives.
    pub fn clear(&self) -> io::Result<()> {
        let _all = lock(&self.directory.join("lock"), FlockArg::LockExclusive)?;
        self.entries()?.iter().try_for_each(|entry| entry.evict().map(|_| ()))
    }

    /// Removes what was not used for longest, until so many bytes are free.
    fn reserve(&self, size: u64) -> io::Result<()> {
        let mut entries = self.entries()?;
        let mut used: u64 = entries.iter().map(|entry| entry.size).sum();
        entries.sort_by_key(|entry| entry.used);
        for entry in entries {
            if used.saturating_add(size) <= self.limit || size > self.limit {
                break;
            }
            if entry.evict()? {
                used -= entry.size;
            }
        }
        match used.saturating_add(size) <= self.limit {
            true => Ok(()),
            false => Err(io::Error::other("could not free up enough fetcher cache space (--fetcher_cache_size)")),
        }
    }

    fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for each in fs::read_dir(&self.directory)? {
            let directory = each?.path();
            if !directory.is_dir() {
                continue;
            }
            let length = |name| fs::symlink_metadata(directory.join(name)).map_or(0, |there| there.len());
            let about = fs::symlink_metadata(directory.join("about")).and_then(|there| there.modified());
            let (size, used) = (length("data") + length("part"), about.unwrap_or(SystemTime::UNIX_EPOCH));
            entries.push(Entry { directory, size, used });
        }
        Ok(entries)
    }
}

struct Entry {
    directory: PathBuf,
    size: u64,
    used: SystemTime,
}

impl Entry {
    /// Removes it, unless it is being fetched.
    fn evict(&self) -> io::Result<bool> {
        let Ok(_lock) = lock(&self.directory.join("lock"), FlockArg::LockExclusiveNonblock) else {
            return Ok(false);
        };
        fs::remove_dir_all(&self.directory)?;
        Ok(true)
    }
}

impl Slot {
    fn write(&self, mut file: &File, size: u64) -> io::Result<()> {
        let part = self.directory.join("part");
        let mut copy = create(&part)?;
        file.seek(SeekFrom::Start(0))?;
        let copied = io::copy(&mut file.take(size.saturating_add(1)), &mut copy)?;
        if copied != size {
            return Err(io::Error::other("the fetched file has changed"));
        }
        create(&self.directory.join("about"))?.write_all(format!("{size}\n{}", self.key).as_bytes())?;
        fs::rename(part, self.directory.join("data"))
    }
}

fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}

fn lock(path: &Path, how: FlockArg) -> io::Result<Flock<File>> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    Flock::lock(options.open(path)?, how).map_err(|(_, error)| error.into())
}

/// The lock of an entry that is there: while it was waited for, the entry may have been removed.
fn lock_entry(directory: &Path) -> io::Result<Flock<File>> {
    let path = directory.join("lock");
    loop {
        make(directory)?;
        let lock = match lock(&path, FlockArg::LockExclusive) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let held = lock.metadata()?;
        if fs::symlink_metadata(&path).is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())) {
            return Ok(lock);
        }
    }
}

/// The file, when it is the one that `about` tells of.
fn valid(directory: &Path, key: &str) -> Option<File> {
    let mut about = String::new();
    File::open(directory.join("about")).ok()?.take(LONGEST_ABOUT).read_to_string(&mut about).ok()?;
    let (size, of) = about.split_once('\n')?;
    let size: u64 = size.parse().ok()?;
    let file = File::open(directory.join("data")).ok()?;
    (of == key && file.metadata().ok()?.len() == size).then_some(file)
}

fn touch(directory: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(directory.join("about"))?.set_modified(SystemTime::now())
}

fn remove_files(directory: &Path) -> io::Result<()> {
    for name in ["data", "about", "part"] {
        match fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::scratch::Scratch;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::mpsc;
    use std::time::Duration;

    fn put(cache: &Cache, scratch: &Scratch, uri: &str, text: &str) -> io::Result<()> {
        let Found::Miss(slot) = cache.find("alice", uri)? else {
            panic!("{uri} is there already");
        };
        let path = scratch.path().join("fetched file");
        fs::write(&path, text)?;
        cache.fill(&slot, &File::open(path)?, text.len() as u64)
    }

    fn get(cache: &Cache, uri: &str) -> Option<String> {
        match cache.find("alice", uri).expect("find") {
            Found::Hit(mut file) => {
                let mut text = String::new();
                file.read_to_string(&mut text).expect("read");
                Some(text)
            }
            Found::Miss(_) => None,
        }
    }

    /// Sets when a file was last used, `ago` seconds before now.
    fn used(cache: &Cache, ago: u64) {
        for entry in cache
            .entries()
            .expect("entries")
            .iter()
            .filter(|entry| entry.used.elapsed().map_or(0, |ago| ago.as_secs()) < 60)
        {
            let about = OpenOptions::new().write(true).open(entry.directory.join("about")).expect("about");
            about.set_modified(SystemTime::now() - Duration::from_secs(ago)).expect("time");
        }
    }

    #[test]
    fn a_file_is_found_by_its_user_and_uri_alone() {
        let scratch = Scratch::new();
        let cache = Cache::open(scratch.path(), 100).expect("cache");
        put(&cache, &scratch, "http://h/a", "text").expect("put");
        assert_eq!(get(&cache, "http://h/a").as_deref(), Some("text"));
        assert_eq!(get(&cache, "http://h/b"), None);
        assert!(matches!(cache.find("bob", "http://h/a"), Ok(Found::Miss(_))));
        let mode = fs::metadata(scratch.path().join("fetched")).expect("cache").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        cache.clear().expect("clear");
        assert_eq!(get(&cache, "http://h/a"), None);
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let scratch = Scratch::new();
        let cache = Cache::open(scratch.path(), 10).expect("cache");
        for (uri, ago) in [("a", 300), ("b", 200), ("c", 100)] {
            put(&cache, &scratch, uri, "xxx").expect("put");
            used(&cache, ago);
        }
        assert!(get(&cache, "a").is_some(), "used again");
        put(&cache, &scratch, "d", "xxxx").expect("put");
        assert!(get(&cache, "b").is_none());
        assert!(get(&cache, "a").is_some() && get(&cache, "c").is_some() && get(&cache, "d").is_some());
        let large = put(&cache, &scratch, "e", &"x".repeat(11)).expect_err("too large");
        assert!(large.to_string().contains("fetcher cache space"), "{large}");
        assert!(get(&cache, "a").is_some(), "nothing goes for what does not fit");
    }

    #[test]
    fn a_file_that_has_changed_is_fetched_again() {
        let scratch = Scratch::new();
        let cache = Cache::open(scratch.path(), 100).expect("cache");
        put(&cache, &scratch, "a", "text").expect("put");
        let data = cache.entries().expect("entries")[0].directory.join("data");
        fs::write(data, "longer text").expect("write");
        assert_eq!(get(&cache, "a"), None);
        put(&cache, &scratch, "a", "text").expect("put again");
        assert_eq!(get(&cache, "a").as_deref(), Some("text"));
    }

    #[test]
    fn who_wants_what_another_fetches_waits_for_it() {
        let scratch = Scratch::new();
        let cache = Cache::open(scratch.path(), 100).expect("cache");
        let Ok(Found::Miss(slot)) = cache.find("alice", "a") else { panic!("it cannot be there") };
        let (asked, was_asked) = mpsc::channel();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                asked.send(()).expect("the first listens");
                get(&cache, "a")
            });
            was_asked.recv().expect("the second asks");
            cache.clear().expect("what is being fetched stays");
            let path = scratch.path().join("file");
            fs::write(&path, "once").expect("write");
            cache.fill(&slot, &File::open(path).expect("open"), 4).expect("fill");
            drop(slot);
            assert_eq!(second.join().expect("thread").as_deref(), Some("once"));
        });
    }

    #[test]
    fn a_failed_fetch_leaves_nothing_and_the_next_one_tries() {
        let scratch = Scratch::new();
        let cache = Cache::open(scratch.path(), 100).expect("cache");
        drop(cache.find("alice", "a").expect("miss"));
        assert_eq!(cache.entries().expect("entries").iter().map(|entry| entry.size).sum::<u64>(), 0);
        put(&cache, &scratch, "a", "text").expect("put");
    }

    #[test]
    fn a_directory_that_others_may_enter_is_not_used() {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path().join("fetched")).expect("directory");
        fs::set_permissions(scratch.path().join("fetched"), fs::Permissions::from_mode(0o777)).expect("mode");
        assert!(Cache::open(scratch.path(), 100).is_err());
    }
}
