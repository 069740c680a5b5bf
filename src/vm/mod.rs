//! The child's half of `--isolation=vm`: one virtual machine, from its overlay to its end.
//!
//! ```text
//! mesos-slave vm-container DIR        life.rs decides, shell.rs does
//!   ├── qemu-img, ssh-keygen          image.rs, keys.rs
//!   ├── mesos-slave vm-worker OP DIR  worker.rs: one libvirt operation
//!   ├── ssh -M                        connection.rs, over ssh.rs; the sessions of jobs.rs and output.rs ride on it
//!   ├── mesos-slave fetch DIR         src/fetcher/
//!   ├── mesos-slave vm-bring …        bring.rs
//!   └── mesos-slave vm-collect …      collect.rs
//! ```

pub mod banner;
pub mod bring;
pub mod checks;
pub mod collect;
pub mod connection;
pub mod domain;
pub mod filter;
pub mod handover;
pub mod host;
pub mod image;
pub mod jobs;
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
pub mod record;
pub mod shell;
pub mod ssh;
pub mod table;
pub mod turn;
pub mod worker;
pub mod worker_error;

#[cfg(test)]
mod domain_tests;
#[cfg(test)]
mod host_port;
#[cfg(test)]
mod host_tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::checks::Watch;
use crate::container::directory::{DirectoryError, RuntimeDirectory};
use crate::container::server::{Channel, ChannelError};
use crate::container::status::{StatusMaker, tells_of_killing};
use crate::ids::ContainerId;
use crate::messages::container::{Joined, Spec, Vm, VmState};
use crate::poll::Signals;

use self::image::Image;
use self::jobs::Plan;
use self::life::{Settings, Shape};
use self::record::Record;
use self::shell::{SIGNALS, Shell};

/// Why a child could not even begin, or go on; the slave reads it in the child's log.
#[derive(Debug)]
pub enum VmError {
    /// Called wrongly.
    Usage,
    /// The runtime directory.
    Directory(DirectoryError),
    /// The channel to the slave.
    Channel(ChannelError),
    /// The spec has no VM.
    Spec(&'static str),
    /// The VM's directory could not be made.
    Files(PathBuf, io::Error),
    /// A system call failed.
    Io(&'static str, io::Error),
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VmError::Usage => write!(f, "usage: mesos-slave vm-container DIR; it is for the slave to start"),
            VmError::Directory(source) => write!(f, "{source}"),
            VmError::Channel(source) => write!(f, "{source}"),
            VmError::Spec(what) => write!(f, "the container's spec has no {what}"),
            VmError::Files(path, source) => {
                write!(f, "cannot make {}: {source}; check --vm_dir and its file system", path.display())
            }
            VmError::Io(what, source) => write!(f, "{what}: {source}"),
        }
    }
}

impl std::error::Error for VmError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            VmError::Usage | VmError::Spec(_) => None,
            VmError::Directory(source) => Some(source),
            VmError::Channel(source) => Some(source),
            VmError::Files(_, source) | VmError::Io(_, source) => Some(source),
        }
    }
}

impl From<DirectoryError> for VmError {
    fn from(source: DirectoryError) -> VmError {
        VmError::Directory(source)
    }
}

/// `mesos-slave vm-container DIR`: runs the container whose spec is in DIR, to its end.
pub fn main(args: &[String]) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<(), VmError> {
    let [directory] = args else {
        return Err(VmError::Usage);
    };
    crate::logging::to_stderr("vm-container", log::LevelFilter::Info);
    let directory = RuntimeDirectory::new(directory);
    let spec = directory.read_spec()?;
    let now = Instant::now();
    let channel = Channel::inherited(&spec.container_id, spec.checkpoint(), now).map_err(VmError::Channel)?;
    let signals = Signals::block(&SIGNALS).map_err(|error| VmError::Io("cannot block signals", error))?;
    let vm = spec.vm.clone().ok_or(VmError::Spec("virtual machine"))?;
    let statuses = StatusMaker::new(&spec);
    let files = PathBuf::from(&vm.directory);
    let shape = shape(&spec)?;
    let state = match spec.joins.as_ref() {
        None => write_state(&directory, &spec, &vm)?,
        Some(joins) => write_joined(&directory, joins, &vm)?,
    };
    image::make_directory(&files).map_err(|error| VmError::Files(files.clone(), error))?;
    let record = Record::open(Path::new(&spec.sandbox));
    let image = Image::load(Path::new(&vm.image)).map_err(|error| error.to_string());
    let plan = Plan { directory, spec, vm, files, image, owner: record.owner() };
    let settings = settings(&plan, shape, &state);
    match shape {
        Shape::Command | Shape::Holder => log::info!(
            "container {}: domain {}, {} MiB, {} vCPUs",
            plan.spec.container_id,
            state.domain,
            plan.vm.memory_mb,
            plan.vm.vcpus
        ),
        Shape::Joined(address) => {
            log::info!("container {}: in domain {}, at {address}", plan.spec.container_id, state.domain);
        }
    }
    let shell = Shell::begin(plan, settings, channel, signals, record, statuses);
    shell.run().map_err(|error| VmError::Io("poll", error))
}

/// Writes what must be undone, before there is anything to undo.
fn write_state(directory: &RuntimeDirectory, spec: &Spec, vm: &Vm) -> Result<VmState, VmError> {
    let state = VmState {
        uri: vm.uri.clone(),
        network: vm.network.clone(),
        domain: domain::name(&spec.container_id),
        mac: domain::random_mac().map_err(|error| VmError::Io("no random bytes for a MAC", error))?,
        directory: vm.directory.clone(),
        ..Default::default()
    };
    directory.write_vm(&state)?;
    Ok(state)
}

/// The same for a container that joins another: of libvirt's there is nothing.
fn write_joined(directory: &RuntimeDirectory, joins: &Joined, vm: &Vm) -> Result<VmState, VmError> {
    let state = VmState {
        uri: vm.uri.clone(),
        network: vm.network.clone(),
        domain: domain::name(&joins.container_id),
        directory: vm.directory.clone(),
        joins: Some(joins.container_id.clone()),
        ..Default::default()
    };
    directory.write_vm(&state)?;
    Ok(state)
}

/// The holder's id becomes part of paths.
fn shape(spec: &Spec) -> Result<Shape, VmError> {
    let Some(joins) = &spec.joins else {
        return Ok(if spec.holds_tasks() { Shape::Holder } else { Shape::Command });
    };
    let is_other = joins.container_id != spec.container_id;
    let fits = is_other && ContainerId::new(joins.container_id.as_str()).is_ok();
    let address = joins.address().parse().ok().filter(|_| fits);
    address.map(Shape::Joined).ok_or(VmError::Spec("container with an address that it could join"))
}

fn settings(plan: &Plan, shape: Shape, state: &VmState) -> Settings {
    let user = plan.spec.user.clone().or(plan.vm.ssh_user.clone());
    let holds = shape == Shape::Holder;
    Settings {
        shape,
        boot_timeout: Duration::from_millis(plan.vm.boot_timeout_ms),
        makes_keys: plan.makes_keys(),
        uri: plan.vm.uri.clone(),
        network: plan.vm.network.clone(),
        image: plan.vm.image.clone(),
        user: user.unwrap_or_else(|| "root".to_string()),
        mac: state.mac.clone(),
        tells_of_killing: tells_of_killing(&plan.spec),
        watch: plan.spec.task.as_ref().map(Watch::new).unwrap_or_default(),
        is_executor: plan.spec.task.is_none() && !holds,
        fetches: crate::fetcher::is_wanted(&plan.spec) && !holds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spec_decides_the_shape_and_a_holder_that_cannot_be_one_is_refused() {
        let spec = Spec { container_id: "t".into(), ..Default::default() };
        assert_eq!(shape(&spec).ok(), Some(Shape::Command));
        assert_eq!(shape(&Spec { holds_tasks: Some(true), ..spec.clone() }).ok(), Some(Shape::Holder));
        let joined = |id: &str, address: Option<&str>| {
            let joins = Joined { container_id: id.into(), address: address.map(str::to_string) };
            shape(&Spec { joins: Some(joins), ..spec.clone() }).ok()
        };
        let address = Some("10.0.0.2");
        assert_eq!(joined("holder", address), Some(Shape::Joined("10.0.0.2".parse().expect("address"))));
        for (id, address) in [("../x", address), ("", address), ("t", address), ("holder", None), ("holder", Some("x"))]
        {
            assert_eq!(joined(id, address), None, "{id} {address:?}");
        }
    }

    #[test]
    fn what_is_to_be_undone_for_a_container_in_anothers_vm_names_that_vm_and_only_its_own_directory() {
        let scratch = crate::container::scratch::Scratch::new();
        let directory = RuntimeDirectory::new(scratch.path());
        let vm = Vm { directory: "/v/vms/t".into(), ..Default::default() };
        write_joined(&directory, &Joined { container_id: "holder".into(), address: None }, &vm).expect("state");
        let state = directory.read_vm().expect("a whole state");
        assert_eq!(
            (state.domain.as_str(), state.directory.as_str(), state.joins()),
            ("mesos-holder", "/v/vms/t", "holder")
        );
    }
}
