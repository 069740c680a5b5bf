//! What the fuzz targets share: the slave's readers, taken from its own files, and what each has to keep to.
//!
//! The slave is a binary, so its modules are declared here again, by path, and no more of them than are fuzzed; `crate::` in
//! them finds its way because they have the same places here. Where a module is private in the slave, a small file of the same
//! name opens it (`libprocess.rs`, `detector.rs`, ...).
//!
//! ```text
//! targets/X.rs ── bytes ──► a reader of ../src, whole and in pieces ──► the same result? round trip? memory within its bound?
//! check.rs     pieces of an input, texts in it
//! memory.rs    an allocator that counts
//! ```

// Here all is public, which the slave's modules were not made for.
#![allow(missing_docs, dead_code, clippy::should_implement_trait)]

pub mod check;
pub mod container;
pub mod detector;
pub mod flags;
pub mod libprocess;
pub mod memory;

#[path = "../../src/vm/collect/stream.rs"]
pub mod archive;
#[path = "../../src/credential.rs"]
pub mod credential;
#[path = "../../src/ids.rs"]
pub mod ids;
#[path = "../../src/messages/mod.rs"]
pub mod messages;
#[path = "../../src/poll.rs"]
pub mod poll;
#[path = "../../src/random.rs"]
pub mod random;
#[path = "../../src/resources/mod.rs"]
pub mod resources;
#[path = "../../src/slave/mod.rs"]
pub mod slave;

/// The full names of all messages, v1's included: lines of the table that the slave's build.rs writes.
pub fn message_names() -> impl Iterator<Item = &'static str> {
    let table = include_str!(concat!(env!("OUT_DIR"), "/schema.rs"));
    table.lines().filter_map(|line| line.strip_prefix("Message { name: \"")?.split('"').next())
}
