//! The child's half of `--isolation=vm`: one virtual machine, from its overlay to its end.

#[cfg(test)]
mod host_tests;
pub mod banner;
pub mod collect;
pub mod domain;
pub mod host;
pub mod image;
pub mod keys;
pub mod launcher;
pub mod lease;
pub mod leftovers;
pub mod libvirt;
pub mod life;
pub mod network;
pub mod network_xml;
pub mod output;
pub mod qemu;
pub mod quote;
pub mod random;
pub mod ssh;
pub mod worker;
