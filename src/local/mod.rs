//! What one machine needs to be a whole Mesos of its own: a master, and a scheduler for one command.

mod embedded;
pub mod execute;
pub mod master;

pub use embedded::{Embedded, EmbeddedError};
