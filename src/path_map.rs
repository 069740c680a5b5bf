//! Which paths of the host are which of the guest's (`--vm_path_map`, and the homes of 2012 that are given as `HOST:GUEST`). Pure.
//!
//! ```text
//! /opt/spark:/usr/lib/spark      /opt/spark          ─►  /usr/lib/spark
//!                                /opt/spark/bin/x    ─►  /usr/lib/spark/bin/x
//!                                /opt/spark2         ─►  as it is: whole components only
//! ```
//!
//! The longest prefix wins, in whatever order they are given, and what has been put in is not looked at again. VirtualMesos, which did
//! this first, cut as many characters as the prefix has from wherever one of its letters stood.

use std::fmt;
use std::str::FromStr;

use crate::messages::container::{PathMapping, Spec};

/// Longest HOST or GUEST, in bytes; Linux' `PATH_MAX` is 4096 with its NUL.
const LONGEST: usize = 1024;
/// Most mappings.
const MOST: usize = 100;

/// What a path in a text may stand behind, if that is not a quote.
const BEFORE: &str = "=:;,({[<>|&@";
/// Words that end in another character, and what follows is a path nevertheless: a URI, the shell's `${NAME:-/opt/x}`.
const BEGINNINGS: [&str; 3] = ["file://", "file://localhost", ":-"];
/// What ends a path in a text, beside white space.
const AFTER: &str = ":;,)}]<>|&`";
/// What stands around a path and is no part of it.
const QUOTES: [char; 3] = ['"', '\'', '`'];

/// A prefix of the host's, and the guest's in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Absolute, of plain characters, not `/`.
    pub host: String,
    /// Absolute, of plain characters: nothing that would mean anything to a shell.
    pub guest: String,
}

/// Why something is no mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMapError {
    /// Not two paths.
    Form(String),
    /// A path that will not do: whose, which, why.
    Path(&'static str, String, &'static str),
    /// The host's path has two of the guest's.
    Twice(Mapping, Mapping),
    /// More than anybody needs.
    TooMany,
}

impl fmt::Display for PathMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathMapError::Form(text) => {
                write!(f, "'{text}' is not HOST:GUEST; write two absolute paths with one ':' between them")
            }
            PathMapError::Path(whose, path, why) => write!(f, "the {whose}'s path '{path}' {why}"),
            PathMapError::Twice(one, other) => write!(
                f,
                "{one} contradicts {other} (--vm_path_map, or one of the --..._home=HOST:GUEST); leave one of them out"
            ),
            PathMapError::TooMany => write!(f, "there are more than {MOST} mappings; map a directory above them"),
        }
    }
}

impl std::error::Error for PathMapError {}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.guest)
    }
}

impl FromStr for Mapping {
    type Err = PathMapError;

    /// Reads `HOST:GUEST`.
    fn from_str(text: &str) -> Result<Mapping, PathMapError> {
        match text.split_once(':') {
            Some((host, guest)) if !guest.contains(':') && !host.is_empty() && !guest.is_empty() => {
                let (host, guest) = (plain("host", host)?, plain("guest", guest)?);
                if host == "/" {
                    return Err(PathMapError::Path(
                        "host",
                        host,
                        "is everything; name the directories that are to be mapped",
                    ));
                }
                Ok(Mapping { host, guest })
            }
            _ => Err(PathMapError::Form(text.to_string())),
        }
    }
}

impl Mapping {
    /// A path that is the prefix, or below it.
    fn path(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(&self.host)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| format!("{}{rest}", self.before(rest)))
    }

    /// What is put before the rest of a path.
    fn before(&self, rest: &str) -> &str {
        if self.guest == "/" && rest.starts_with('/') { "" } else { &self.guest }
    }
}

/// A path that stands in a command as it is, and in one way only.
fn plain(whose: &'static str, text: &str) -> Result<String, PathMapError> {
    let bad = |why| Err(PathMapError::Path(whose, text.chars().take(200).collect(), why));
    let path = match text.trim_end_matches('/') {
        "" if text.starts_with('/') => "/",
        path => path,
    };
    if !path.starts_with('/') {
        return bad("is not absolute; begin it with '/'");
    }
    if path.len() > LONGEST {
        return bad("is longer than 1024 bytes");
    }
    if !path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c)) {
        return bad("holds a character that a shell may read otherwise; use letters, digits, '/', '.', '_', '-', '+'");
    }
    if path != "/" && path.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
        return bad("holds '..', '.' or '//'; write it without");
    }
    Ok(path.to_string())
}

/// All mappings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PathMap {
    /// The longest host's path first.
    mappings: Vec<Mapping>,
}

impl fmt::Display for PathMap {
    /// As `--vm_path_map` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mappings: Vec<_> = self.mappings.iter().map(Mapping::to_string).collect();
        f.write_str(&mappings.join(","))
    }
}

impl PathMap {
    /// What a container is to go by.
    pub fn of(spec: &Spec) -> PathMap {
        let mut map = PathMap::default();
        for mapping in &spec.path_map {
            map.put(Mapping { host: mapping.host.clone(), guest: mapping.guest.clone() });
        }
        map
    }

    /// For [`Spec::path_map`].
    pub fn to_proto(&self) -> Vec<PathMapping> {
        let proto = |mapping: &Mapping| PathMapping { host: mapping.host.clone(), guest: mapping.guest.clone() };
        self.mappings.iter().map(proto).collect()
    }

    /// Adds a mapping; one that is there already may be added again.
    ///
    /// # Errors
    /// [`PathMapError::Twice`], [`PathMapError::TooMany`].
    pub fn add(&mut self, mapping: Mapping) -> Result<(), PathMapError> {
        match self.mappings.iter().find(|other| other.host == mapping.host) {
            Some(other) if other.guest == mapping.guest => Ok(()),
            Some(other) => Err(PathMapError::Twice(mapping, other.clone())),
            None if self.mappings.len() >= MOST => Err(PathMapError::TooMany),
            None => {
                self.put(mapping);
                Ok(())
            }
        }
    }

    fn put(&mut self, mapping: Mapping) {
        let place = self.mappings.partition_point(|other| other.host.len() >= mapping.host.len());
        self.mappings.insert(place, mapping);
    }

    /// Each mapping.
    pub fn mappings(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter()
    }

    /// The guest's path for a host's, if it is mapped.
    pub fn path(&self, path: &str) -> Option<String> {
        self.mappings.iter().find_map(|mapping| mapping.path(path))
    }

    /// A command's text, or one of its arguments, with the guest's paths in the place of the host's.
    ///
    /// A path is found where a word begins, or in a word behind one of `=:;,({[<>|&@`, `file://` or `:-`, with or without quotes; it
    /// is not found behind a name, a variable or another path. So `"$HOME"/opt/spark` and `hdfs://host/opt/spark` stay what they are.
    pub fn text(&self, text: &str) -> String {
        let mut mapped = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(slash) = rest.find('/') {
            let (before, here) = rest.split_at(slash);
            mapped.push_str(before);
            let found = begins(&text[..text.len() - here.len()]).then(|| self.find(here)).flatten();
            let length = match found {
                Some(mapping) => {
                    mapped.push_str(mapping.before(&here[mapping.host.len()..]));
                    mapping.host.len()
                }
                None => {
                    mapped.push('/');
                    1
                }
            };
            rest = &here[length..];
        }
        mapped + rest
    }

    fn find(&self, text: &str) -> Option<&Mapping> {
        self.mappings.iter().find(|mapping| text.strip_prefix(&mapping.host).is_some_and(ends))
    }
}

/// Whether a path may begin behind this text. A quote, which may be escaped, begins a word only where a word may begin: otherwise it closes
/// one (`"$X"/opt`), or the word goes on (`x"/opt"`).
fn begins(before: &str) -> bool {
    let before = before.trim_end_matches(|c| c == '\\' || QUOTES.contains(&c));
    let last = before.chars().next_back();
    last.is_none_or(|last| last.is_whitespace() || BEFORE.contains(last))
        || BEGINNINGS.iter().any(|beginning| before.ends_with(beginning))
}

/// Whether a path's component ends before this text. Behind a quote that closes, which may be escaped, the word may go on.
fn ends(after: &str) -> bool {
    let closed = match after.trim_start_matches('\\') {
        rest if rest.starts_with(['"', '\'']) => rest.trim_start_matches(['"', '\'']),
        _ => after,
    };
    closed.chars().next().is_none_or(|next| next == '/' || next.is_whitespace() || AFTER.contains(next))
}

#[cfg(test)]
#[path = "path_map_tests.rs"]
mod tests;
