//! URIs that name what the guest has already: local paths that are mapped (`--vm_path_map`). Nothing of them is fetched; when the guest is
//! there they are linked into its sandbox under the names that fetched ones would have, and unpacked where those would be.

use super::items;
use super::plan::{Finish, Item, Source};
use crate::messages::container::Spec;
use crate::path_map::PathMap;

/// A file of the guest's that a command names as a URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFile {
    /// As the framework has it.
    pub uri: String,
    /// Where it is in the guest.
    pub path: String,
    /// Its path in the sandbox: relative, without `..`.
    pub output: String,
    /// What becomes of it.
    pub finish: Finish,
}

/// Where the guest has what a URI names, if it is not to be fetched.
pub(super) fn path(item: &Item, map: &PathMap) -> Option<String> {
    match &item.source {
        Source::Local(path) => map.path(path),
        Source::Net(_) | Source::Hadoop(_) => None,
    }
}

/// What the guest has to find in itself for a container's command. What is wrong with its URIs is the fetcher's to tell.
pub fn guest_files(spec: &Spec) -> Vec<GuestFile> {
    let map = PathMap::of(spec);
    let file = |item: Item| {
        let path = path(&item, &map)?;
        Some(GuestFile { uri: item.uri, path, output: item.output, finish: item.finish })
    };
    items(spec).unwrap_or_default().into_iter().filter_map(file).collect()
}
