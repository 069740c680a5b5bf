//! The child's half of `--isolation=vm`: one virtual machine, from its overlay to its end.

pub mod banner;
pub mod collect;
pub mod launcher;
pub mod output;
pub mod quote;
pub mod ssh;
