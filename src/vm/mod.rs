//! The child's half of a container in a virtual machine.

pub mod domain;
pub mod host;
pub mod image;
pub mod keys;
pub mod lease;
pub mod leftovers;
pub mod libvirt;
pub mod network;
pub mod network_xml;
pub mod qemu;
pub mod random;
pub mod worker;
pub mod worker_error;

#[cfg(test)]
mod domain_tests;
#[cfg(test)]
mod host_port;
#[cfg(test)]
mod host_tests;
