//! What the fuzz targets share: the slave's readers, taken from its own files, and what each has to keep to.
//!
//! The slave is a binary, so its modules are declared here again, no more of them than are fuzzed; `crate::` in them finds its way
//! because they have the same places here. The files are links to the slave's; where what is fuzzed is private there, the
//! directory has a `mod.rs` of its own that opens it (`libprocess`, `detector`, ...).
//!
//! ```text
//! targets/X.rs ── bytes ──► a reader of ../src, whole and in pieces ──► the same result? round trip? memory within its bound?
//! check.rs     pieces of an input, texts in it
//! memory.rs    an allocator that counts
//! ```

// Here all is public, which the slave's modules were not made for.
#![allow(missing_docs, dead_code, clippy::should_implement_trait, clippy::new_without_default)]

pub mod check;
pub mod memory;

pub mod checks;
pub mod container;
pub mod detector;
pub mod flags;
pub mod libprocess;
pub mod messages;
pub mod resources;
pub mod slave;

#[path = "../../src/archive/stream.rs"]
pub mod archive;
#[path = "../../src/credential.rs"]
pub mod credential;
#[path = "../../src/ids.rs"]
pub mod ids;
#[path = "../../src/poll.rs"]
pub mod poll;
#[path = "../../src/random.rs"]
pub mod random;
#[path = "../../src/secret_file.rs"]
pub mod secret_file;
#[path = "../../src/token.rs"]
pub mod token;

/// The full names of all messages, v1's included: lines of the table that the slave's build.rs writes.
pub fn message_names() -> impl Iterator<Item = &'static str> {
    let table = include_str!(concat!(env!("OUT_DIR"), "/schema.rs"));
    table.lines().filter_map(|line| line.strip_prefix("Message { name: \"")?.split('"').next())
}
