//! The child's half of `--isolation=vm`: one virtual machine, from its overlay to its end.

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
pub mod network;
pub mod network_xml;
pub mod qemu;
pub mod output;
pub mod quote;
pub mod random;
pub mod ssh;
pub mod worker;
