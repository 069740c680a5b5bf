//! `HOST:GUEST`: where guests have what the host has elsewhere. `--vm_path_map` is nothing but that; the homes may be.

use std::path::PathBuf;

use super::values;
use crate::path_map::{Mapping, PathMap, PathMapError};

/// What stands for the value of a home.
pub(super) const HOME_HINT: &str = "DIR[:GUEST]";

/// Whether a value is a home that is a mapping as well.
pub(super) fn is_mapping(hint: &str, value: &str) -> bool {
    hint == HOME_HINT && value.contains(':')
}

/// Reads mappings with commas between them.
pub(super) fn add(map: &mut PathMap, text: &str) -> Result<(), String> {
    let add = |text: &str| map.add(text.parse()?);
    text.split(',').try_for_each(add).map_err(|error: PathMapError| error.to_string())
}

/// Reads a home: `DIR`, or `DIR:GUEST`, which is a mapping, too. The result is the host's directory.
pub(super) fn home(map: &mut PathMap, text: &str) -> Result<PathBuf, String> {
    if !text.contains(':') {
        return values::path(text);
    }
    let mapping: Mapping = text.parse().map_err(|error: PathMapError| error.to_string())?;
    let host = PathBuf::from(&mapping.host);
    map.add(mapping).map_err(|error| error.to_string())?;
    Ok(host)
}
