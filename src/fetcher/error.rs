//! Why fetching failed. The text is what the framework reads, behind the URI; Mesos' own words where Mesos has some.

use std::fmt;
use std::io;
use std::time::Duration;

use super::plan::PlanError;
use super::unpack::UnpackError;
use crate::archive::place::PlaceError;
use crate::process::start::StartError;

/// Why a URI was not fetched.
#[derive(Debug)]
pub enum FetchError {
    /// The URI is none for us.
    Plan(PlanError),
    /// The local file cannot be read; `cat`'s words, and who tried.
    Local(String, String),
    /// The server said no.
    Status(String),
    /// curl could not get it; curl's words.
    Net(String),
    /// A program that is needed is not there, or cannot be started.
    Program(&'static str, io::Error),
    /// No client for what is neither local nor http.
    NoHadoop(String),
    /// The client failed; its words.
    Hadoop(String),
    /// Nothing came for so long.
    Stalled(Duration),
    /// The task's disk is too small, of so many bytes.
    TooLarge(u64),
    /// Who fetches cannot be found out.
    User(StartError),
    /// Something else has the name, or a directory on the way to it.
    InTheWay(String),
    /// The sandbox cannot be written.
    Write(io::Error),
    /// The archive (its path) was not unpacked.
    Unpack(String, UnpackError),
    /// A system call failed.
    Io(&'static str, io::Error),
}

impl FetchError {
    /// A file that has no place under its name.
    pub fn place(error: PlaceError, name: &str) -> FetchError {
        match error {
            PlaceError::InTheWay => FetchError::InTheWay(name.to_string()),
            PlaceError::Io(error) => FetchError::Write(error),
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Plan(error) => write!(f, "{error}"),
            FetchError::Local(why, user) => write!(f, "{why} (read as the user '{user}')"),
            FetchError::Status(code) => {
                write!(f, "Error downloading resource, received HTTP return code {code}")
            }
            FetchError::Net(why) => write!(f, "Error downloading resource: {why}"),
            FetchError::Program(name, error) => write!(f, "cannot run {name}: {error}; install it on the slave's host"),
            FetchError::NoHadoop(scheme) if is_known(scheme) => write!(
                f,
                "Failed to create HDFS client: no hadoop client on this host; start the slave with --hadoop_home, or with hadoop on its PATH"
            ),
            FetchError::NoHadoop(scheme) => write!(
                f,
                "this slave does not know {scheme}://, and has no hadoop client that might; use http, https, hdfs, or a local path"
            ),
            FetchError::Hadoop(why) => write!(f, "HDFS copyToLocal failed: {why}"),
            FetchError::Stalled(after) => write!(
                f,
                "Error downloading resource: nothing came for {} s (--fetcher_stall_timeout)",
                after.as_secs_f64()
            ),
            FetchError::TooLarge(bytes) => write!(
                f,
                "more than {:.1} MiB would be fetched and unpacked: the task's disk (10 GiB without one); ask for more disk",
                *bytes as f64 / 1_048_576.0
            ),
            FetchError::User(error) => write!(f, "{error}"),
            FetchError::InTheWay(name) => write!(f, "the sandbox has something else under the name {name:?} already"),
            FetchError::Write(error) => {
                write!(f, "the sandbox cannot be written: {error}; is the disk of --work_dir full?")
            }
            FetchError::Unpack(path, error) => write!(f, "Failed to extract archive '{path}': {error}"),
            FetchError::Io(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

/// Schemes that every hadoop client knows.
fn is_known(scheme: &str) -> bool {
    ["hdfs", "hftp", "hsftp", "webhdfs", "swebhdfs", "har", "viewfs", "s3", "s3n", "s3a"].contains(&scheme)
}

impl std::error::Error for FetchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FetchError::Plan(error) => Some(error),
            FetchError::Program(_, error) | FetchError::Write(error) | FetchError::Io(_, error) => Some(error),
            FetchError::User(error) => Some(error),
            FetchError::Unpack(_, error) => Some(error),
            FetchError::Local(..)
            | FetchError::Status(_)
            | FetchError::Net(_)
            | FetchError::NoHadoop(_)
            | FetchError::Hadoop(_)
            | FetchError::Stalled(_)
            | FetchError::TooLarge(_)
            | FetchError::InTheWay(_) => None,
        }
    }
}
