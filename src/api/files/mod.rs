//! `/files`: the sandboxes that a slave shows over HTTP, under virtual paths, as Mesos does (`src/files/files.cpp`).
//!
//! ```text
//! attach("/work/slaves/S0/…/runs/c1", "/frameworks/F/executors/E/runs/latest")
//!          real directory               virtual path
//!
//! /files/read?path=/frameworks/F/executors/E/runs/latest/stdout&offset=0
//!    longest attached prefix ──► real directory ──► walk, one component at a time ──► file
//! ```
//!
//! What lies in a sandbox was written by a guest that may be hostile. So nothing below an attached directory is opened by
//! its path: no symbolic link is followed, and only regular files are read. Mesos follows links that stay inside. The slave's own at
//! `tasks/<task id>` in the sandbox of a default executor, for which Mesos' web interface asks, are read, not followed (`open`).

mod browse;
mod open;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{bad_request, json_response, not_found, with_text};
use crate::libprocess::{Request, Response};
use crate::messages::mesos::FileInfo;
use open::OpenError;

/// The largest file that `/files/download` gives, in bytes: the answer is made in memory. Longer ones are read in pieces.
pub const DOWNLOAD_LIMIT: u64 = 16 << 20;

/// Longest virtual path, in bytes, Linux' `PATH_MAX`: each entry of a listing repeats it.
const LONGEST_PATH: usize = 4096;

/// Virtual paths and the real directories or files behind them.
#[derive(Debug, Default)]
pub struct Files {
    attached: BTreeMap<String, PathBuf>,
}

/// Where a virtual path leads.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    /// The directory or file that was attached.
    root: &'a Path,
    /// The components below it.
    below: Vec<&'a str>,
}

impl Files {
    /// Nothing attached.
    pub fn new() -> Files {
        Files::default()
    }

    /// Shows a real directory or file, which need not be there yet, under a virtual path; replaces what was there.
    /// All of the real path but what will be below it must be under our own control.
    pub fn attach(&mut self, virtual_path: &str, real_path: impl Into<PathBuf>) {
        self.attached.insert(clean(virtual_path), real_path.into());
    }

    /// Shows a real directory no more under a virtual path. If another has taken its place there, that one stays.
    pub fn detach(&mut self, virtual_path: &str, real_path: &Path) {
        let virtual_path = clean(virtual_path);
        if self.attached.get(&virtual_path).is_some_and(|real| real == real_path) {
            self.attached.remove(&virtual_path);
        }
    }

    /// The longest attached prefix, and the rest. A call of the v1 API may name a path of megabytes.
    fn resolve<'a>(&'a self, path: &'a str) -> Option<Place<'a>> {
        if path.len() > LONGEST_PATH {
            return None;
        }
        let components: Vec<&str> = path.split('/').filter(|each| !each.is_empty()).collect();
        (0..=components.len()).rev().find_map(|length| {
            let prefix = format!("/{}", components[..length].join("/"));
            let root = self.attached.get(&prefix)?;
            Some(Place { root, below: components[length..].to_vec() })
        })
    }

    /// Answers a request whose path, after `/files/`, is this.
    pub(super) fn handle(&self, endpoint: &str, request: &Request) -> Response {
        match endpoint {
            "debug" | "debug.json" => self.debug(request),
            "read" | "read.json" => self.with_place(request, |place, path| read::read(place, path, request)),
            "browse" | "browse.json" => self.with_place(request, |place, path| browse::browse(place, path, request)),
            "download" | "download.json" => self.with_place(request, read::download),
            _ => not_found(),
        }
    }

    fn with_place(&self, request: &Request, serve: impl Fn(&Place, &str) -> Response) -> Response {
        let Some(path) = request.query_param("path").filter(|path| !path.is_empty()) else {
            return bad_request("Expecting 'path=value' in query.\n");
        };
        match self.resolve(&path) {
            Some(place) => serve(&place, &path),
            None => nothing_there(),
        }
    }

    /// What is in the directory at a virtual path; of what is no directory, nothing, as in Mesos.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn list(&self, path: &str) -> Result<Vec<FileInfo>, Response> {
        let place = self.resolve(path).ok_or_else(nothing_there)?;
        browse::infos(&place, path).map_err(|error| refused(&error, path))
    }

    /// A piece of the file at a virtual path, and the whole file's length.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn piece(&self, path: &str, offset: u64, length: Option<u64>) -> Result<(u64, Vec<u8>), Response> {
        let place = self.resolve(path).ok_or_else(nothing_there)?;
        read::sized_piece(&place, path, offset, length)
    }

    fn debug(&self, request: &Request) -> Response {
        let paths = self.attached.iter();
        let object = paths.map(|(path, real)| (path.clone(), real.to_string_lossy().into())).collect();
        json_response(serde_json::Value::Object(object), request)
    }
}

/// A virtual path with one leading slash and none at the end.
fn clean(path: &str) -> String {
    let components: Vec<&str> = path.split('/').filter(|each| !each.is_empty()).collect();
    format!("/{}", components.join("/"))
}

/// Mesos answers a path that is not there with an empty body.
fn nothing_there() -> Response {
    with_text(404, "")
}

fn refused(error: &OpenError, path: &str) -> Response {
    match error {
        OpenError::NotFound => nothing_there(),
        OpenError::Inaccessible => bad_request(&format!("'{path}' is inaccessible.\n")),
        OpenError::Io(error) => with_text(500, &format!("Failed to open file at '{path}': {error}.\n")),
    }
}
