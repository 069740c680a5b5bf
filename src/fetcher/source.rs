//! How a file comes from each kind of source: by a program that runs as the user for whom it is fetched, and prints the file. So a
//! framework gets no file of the host, by whatever way, that its user could not read, and what parses a server's answers is not root.
//!
//! ```text
//! local      cat -- PATH
//! http(s)    curl --config -            its command line, with the URI in it, comes by its input
//! others     hadoop fs -copyToLocal URI TEMPORARY; cat TEMPORARY
//! ```

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::User;

use super::error::FetchError;
use super::pipe;
use super::plan::Source;
use crate::process::start::become_user;
use crate::subprocess::Exit;

/// Redirections that curl follows; curl's own default, where Mesos' libcurl has no end.
const REDIRECTIONS: u32 = 50;
/// curl's exit status when a file is larger than it may be.
const TOO_LARGE: i32 = 63;
/// curl's exit status when the server answers with an error.
const REFUSED: i32 = 22;
/// Variables that curl is to have: the proxies and where certificates are (`docs/fetcher.md` of Mesos).
const CURL_VARIABLES: [&str; 12] = [
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "socks4_proxy",
    "socks5_proxy",
];

/// What fetching needs to know.
#[derive(Debug)]
pub struct Tools {
    /// Who reads and runs.
    pub user: User,
    /// `--fetcher_stall_timeout`.
    pub stall: Duration,
    /// `--hadoop_home`.
    pub hadoop_home: Option<PathBuf>,
}

impl Tools {
    /// Gets a file, handing it on as it comes; of `most` bytes at most.
    ///
    /// # Errors
    /// [`FetchError`]; what was handed on is of no use then.
    pub fn get(
        &self,
        source: &Source,
        most: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), FetchError>,
    ) -> Result<(), FetchError> {
        let mut left = most;
        let bounded = |bytes: &[u8]| {
            left = left.checked_sub(bytes.len() as u64).ok_or(FetchError::TooLarge(most))?;
            take(bytes)
        };
        match source {
            Source::Local(path) => self.cat(Path::new(path), bounded),
            Source::Net(url) => self.curl(url, most, bounded),
            Source::Hadoop(uri) => self.hadoop(uri, most, bounded),
        }
    }

    /// A program in the user's name, with a plain environment.
    ///
    /// # Errors
    /// [`FetchError::User`].
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command, FetchError> {
        let mut command = Command::new(program);
        crate::vm::ssh::clean_environment(&mut command);
        become_user(&mut command, &self.user).map_err(FetchError::User)?;
        Ok(command)
    }

    fn cat(&self, path: &Path, take: impl FnMut(&[u8]) -> Result<(), FetchError>) -> Result<(), FetchError> {
        let mut command = self.command("cat")?;
        command.arg("--").arg(path);
        let end = pipe::run("cat", command, b"", Some(self.stall), take)?;
        match end.exit {
            Exit::Status(0) => Ok(()),
            _ => Err(FetchError::Local(end.reason("cat"), self.user.name.clone())),
        }
    }

    /// The last three bytes that come are the answer's status.
    fn curl(
        &self,
        url: &str,
        most: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), FetchError>,
    ) -> Result<(), FetchError> {
        let mut command = self.command("curl")?;
        command.args(["--disable", "--config", "-"]);
        command.envs(CURL_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        let mut held = Vec::new();
        let body = |bytes: &[u8]| {
            held.extend_from_slice(bytes);
            let ready = held.len().saturating_sub(3);
            if ready > 0 {
                take(&held[..ready])?;
                held.drain(..ready);
            }
            Ok(())
        };
        let end = pipe::run("curl", command, curl_config(url, most, self.stall).as_bytes(), Some(self.stall), body)?;
        let status = String::from_utf8_lossy(&held).into_owned();
        match (end.exit, status.as_str()) {
            (Exit::Status(0), "200") => Ok(()),
            (Exit::Status(TOO_LARGE), _) => Err(FetchError::TooLarge(most)),
            (Exit::Status(0 | REFUSED), code) if code.len() == 3 => Err(FetchError::Status(status)),
            _ => Err(FetchError::Net(end.reason("curl"))),
        }
    }

    /// Whatever the client prints, the file is what it has written.
    fn hadoop(
        &self,
        uri: &str,
        most: u64,
        take: impl FnMut(&[u8]) -> Result<(), FetchError>,
    ) -> Result<(), FetchError> {
        let scheme = uri.split_once("://").map_or(uri, |(scheme, _)| scheme);
        let program = self.hadoop_client().ok_or_else(|| FetchError::NoHadoop(scheme.to_string()))?;
        let temporary = Temporary::new(&self.user).map_err(|error| FetchError::Io("no temporary directory", error))?;
        let file = temporary.0.join("file");
        let mut command = self.command(program)?;
        // As Mesos does: all that the slave has but what is Mesos' own.
        command.env_clear().envs(std::env::vars_os().filter(|(name, _)| {
            !name.to_string_lossy().starts_with("MESOS_") && !name.to_string_lossy().starts_with("LIBPROCESS_")
        }));
        if let Some(home) = &self.hadoop_home {
            command.env("HADOOP_HOME", home);
        }
        command.env("HOME", &self.user.dir).current_dir(&temporary.0);
        command.args(["fs", "-copyToLocal", uri]).arg(&file);
        // As in Mesos it has no stall timeout: a client may be silent for long. What it may write is bounded by the kernel.
        let limit = |soft, hard| setrlimit(Resource::RLIMIT_FSIZE, soft, hard);
        let (soft, hard) =
            getrlimit(Resource::RLIMIT_FSIZE).map_err(|error| FetchError::Io("no limits", error.into()))?;
        limit(soft.min(most), hard).map_err(|error| FetchError::Io("cannot limit a file's size", error.into()))?;
        let end = pipe::run("hadoop", command, b"", None, |_| Ok(()));
        limit(soft, hard).map_err(|error| FetchError::Io("cannot lift a limit", error.into()))?;
        let end = end?;
        if end.exit != Exit::Status(0) {
            return Err(FetchError::Hadoop(end.reason("copyToLocal")));
        }
        let written =
            fs::symlink_metadata(&file).map_err(|error| FetchError::Hadoop(format!("no file came: {error}")))?;
        if written.len() > most {
            return Err(FetchError::TooLarge(most));
        }
        self.cat(&file, take)
    }

    /// `--hadoop_home`, or else `HADOOP_HOME`, or else what is on the `PATH` (`HDFS::create` in `src/hdfs/hdfs.cpp`).
    fn hadoop_client(&self) -> Option<PathBuf> {
        let home = self.hadoop_home.clone().or_else(|| std::env::var_os("HADOOP_HOME").map(PathBuf::from));
        let candidates = match home {
            Some(home) => vec![home.join("bin/hadoop")],
            None => std::env::split_paths(&std::env::var_os("PATH")?).map(|place| place.join("hadoop")).collect(),
        };
        let runs = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|there| there.is_file() && there.permissions().mode() & 0o111 != 0)
        };
        candidates.into_iter().find(runs)
    }
}

/// curl's command line. The URI has no control characters and no backslash; a quote is escaped.
fn curl_config(url: &str, most: u64, stall: Duration) -> String {
    let url = url.replace('"', "\\\"");
    let seconds = stall.as_secs().max(1);
    format!(
        "url = \"{url}\"\ngloboff\nlocation\nfail\nsilent\nshow-error\nproto = \"=http,https\"\nproto-redir = \"=http,https\"\n\
         max-redirs = {REDIRECTIONS}\nspeed-limit = 1\nspeed-time = {seconds}\nmax-filesize = {most}\noutput = \"-\"\n\
         write-out = \"%{{http_code}}\"\n"
    )
}

/// A directory of the user's, for programs that write a file themselves.
struct Temporary(PathBuf);

impl Temporary {
    fn new(user: &User) -> std::io::Result<Temporary> {
        let name = crate::random::Random::from_system()?.uuid_text();
        let path = std::env::temp_dir().join(format!("mesos-fetch-{name}"));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let temporary = Temporary(path);
        lchown(&temporary.0, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_uri_makes_another_line_of_curls_command_line() {
        let config = curl_config("http://h/a\" b", 7, Duration::from_millis(1));
        assert!(config.starts_with("url = \"http://h/a\\\" b\"\n"));
        assert!(config.contains("\nmax-filesize = 7\n") && config.contains("\nspeed-time = 1\n"));
        assert!(config.contains("\nproto-redir = \"=http,https\"\n"));
    }
}
