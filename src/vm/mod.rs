//! The child's half of a container in a virtual machine.

pub mod domain;
pub mod image;
pub mod keys;
pub mod lease;
pub mod libvirt;
pub mod network;
pub mod qemu;
pub mod worker;
