//! `--isolation=vm`: each executor has a virtual machine of its own, and a child that drives it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::children::{Children, Cleanup};
use super::usage::Usages;
use super::{ContainerEvent, Isolation, LaunchError};
use crate::ids::ContainerId;
use crate::libprocess::Guests;
use crate::messages::container::{Spec, Vm, vm};
use crate::messages::mesos;
use crate::path_map::PathMap;
use crate::poll::PollSet;
use crate::subprocess::{Job, Spawn};

/// What the flags say about virtual machines.
#[derive(Debug, Clone)]
pub struct VmConfig {
    /// `--vm_uri`.
    pub uri: String,
    /// `--vm_network`.
    pub network: String,
    /// `--vm_dir`: VMs lie in `vms/<container id>` below it.
    pub vm_dir: PathBuf,
    /// `--vm_image_dir`.
    pub image_dir: PathBuf,
    /// `--vm_image`.
    pub image: String,
    /// The image's smallest memory in MiB; a guest never gets less.
    pub image_memory_mb: u64,
    /// `--vm_accelerator`, decided.
    pub accelerator: vm::Accelerator,
    /// `--vm_guest_isolation`.
    pub guest_isolation: vm::GuestIsolation,
    /// `--vm_ssh_user`.
    pub ssh_user: Option<String>,
    /// `--vm_ssh_key`.
    pub ssh_key: Option<PathBuf>,
    /// `--vm_boot_timeout`.
    pub boot_timeout: Duration,
    /// `--vm_path_map`, and the homes.
    pub path_map: PathMap,
}

/// Children that run `mesos-slave vm-container DIR`.
#[derive(Debug)]
pub struct VmIsolation {
    children: Children,
    config: VmConfig,
}

impl VmIsolation {
    /// No container yet.
    pub fn new(runtime_dir: PathBuf, config: VmConfig) -> VmIsolation {
        let children = Children::new(runtime_dir, program, Cleanup::Worker(cleanup));
        VmIsolation { children, config }
    }
}

fn program(directory: &Path) -> Spawn {
    Spawn::ourselves("vm-container").arg(directory)
}

fn cleanup(directory: &Path) -> Spawn {
    Spawn::ourselves("vm-worker").arg("cleanup").arg(directory)
}

impl VmConfig {
    /// How the VM of a container with these resources is to be made.
    pub(super) fn vm(&self, container: &str, resources: &[mesos::Resource]) -> Vm {
        Vm {
            uri: self.uri.clone(),
            network: self.network.clone(),
            directory: text(&self.vm_dir.join("vms").join(container)),
            image: text(&self.image_dir.join(&self.image)),
            accelerator: self.accelerator as i32,
            guest_isolation: Some(self.guest_isolation as i32),
            ssh_user: self.ssh_user.clone(),
            ssh_key: self.ssh_key.as_deref().map(text),
            boot_timeout_ms: self.boot_timeout.as_millis().min(u128::from(u64::MAX)) as u64,
            memory_mb: whole(sum(resources, "mem")).max(self.image_memory_mb),
            vcpus: whole(sum(resources, "cpus")).clamp(1, u64::from(u32::MAX)) as u32,
        }
    }
}

/// How long libvirt may take to make or show its network, and to take the guests' filter in; it starts a bridge and dnsmasq in less than a
/// second, and carries a filter that has changed out for each guest that there is.
const NETWORK_PATIENCE: Duration = Duration::from_secs(30);

/// Where guests will be. It blocks for as long as libvirt takes, at most [`NETWORK_PATIENCE`].
///
/// # Errors
/// What keeps the network from being used, in an operator's words.
pub fn guests(config: &VmConfig) -> Result<Guests, String> {
    let worker = Spawn::ourselves("vm-worker").arg("network").arg(&config.uri).arg(&config.network).arg(&config.vm_dir);
    let worker = worker.arg(config.guest_isolation.as_str_name());
    let job = Job::start(worker, Instant::now() + NETWORK_PATIENCE).and_then(Job::wait);
    let end = job.map_err(|error| format!("cannot start a child: {error}"))?;
    if !end.is_success() {
        return Err(end.reason());
    }
    let lines = String::from_utf8_lossy(&end.stdout).into_owned();
    let value = |key: &str| lines.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let gateway = value("gateway").and_then(|gateway| gateway.parse().ok());
    let prefix = value("prefix").and_then(|prefix| prefix.parse().ok());
    match (gateway, prefix) {
        (Some(gateway), Some(prefix)) => Ok(Guests { gateway, prefix }),
        _ => Err("vm-worker did not say where its gateway is".to_string()),
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn sum(resources: &[mesos::Resource], name: &str) -> f64 {
    let named = resources.iter().filter(|resource| resource.name == name);
    named.filter_map(|resource| Some(resource.scalar?.value)).sum()
}

/// Rounded up, but not for the noise of a sum of decimals: Mesos' scalars have three digits (`common/values.cpp`).
fn whole(value: f64) -> u64 {
    ((value * 1000.0).round() / 1000.0).ceil() as u64
}

impl Isolation for VmIsolation {
    fn launch(&mut self, spec: Spec, now: Instant) -> Result<(), LaunchError> {
        let vm = self.config.vm(&spec.container_id, &spec.resources);
        self.children.launch(Spec { vm: Some(vm), path_map: self.config.path_map.to_proto(), ..spec }, now)
    }

    fn kill(&mut self, container: &ContainerId, grace: Duration, now: Instant) {
        self.children.kill(container, grace, now);
    }

    fn resources_changed(&mut self, container: &ContainerId, resources: &[mesos::Resource]) {
        self.children.resources_changed(container, resources);
    }

    fn acknowledge(&mut self, container: &ContainerId, uuid: &[u8]) {
        self.children.acknowledge(container, uuid);
    }

    fn usage(&mut self) -> Usages {
        self.children.usage()
    }

    fn destroy_errors(&self) -> u64 {
        self.children.destroy_errors()
    }

    fn register(&self, set: &mut PollSet) {
        self.children.register(set);
    }

    fn turn(&mut self, set: &PollSet, now: Instant) -> Vec<ContainerEvent> {
        self.children.turn(set, now)
    }

    fn deadline(&self) -> Option<Instant> {
        self.children.deadline()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::isolation) fn config() -> VmConfig {
        VmConfig {
            uri: "qemu:///system".into(),
            network: "mesos".into(),
            vm_dir: "/v".into(),
            image_dir: "/i".into(),
            image: "default".into(),
            image_memory_mb: 128,
            accelerator: vm::Accelerator::Tcg,
            guest_isolation: vm::GuestIsolation::Full,
            ssh_user: None,
            ssh_key: None,
            boot_timeout: Duration::from_secs(60),
            path_map: PathMap::default(),
        }
    }

    fn scalar(name: &str, value: f64) -> mesos::Resource {
        mesos::Resource { name: name.into(), scalar: Some(mesos::value::Scalar { value }), ..Default::default() }
    }

    #[test]
    fn a_small_task_gets_the_images_memory_and_one_vcpu() {
        let vm = config().vm("c", &[scalar("cpus", 0.1), scalar("mem", 32.0)]);
        assert_eq!((vm.memory_mb, vm.vcpus), (128, 1));
        assert_eq!((vm.directory.as_str(), vm.image.as_str()), ("/v/vms/c", "/i/default"));
    }

    #[test]
    fn executor_and_task_are_added_and_rounded_up_but_not_for_noise() {
        let resources = [scalar("cpus", 0.1), scalar("mem", 32.0), scalar("cpus", 0.2), scalar("mem", 512.5)];
        let vm = config().vm("c", &resources);
        assert_eq!((vm.memory_mb, vm.vcpus), (545, 1));
        let vm = config().vm("c", &[scalar("cpus", 0.1), scalar("cpus", 0.2), scalar("cpus", 1.7)]);
        assert_eq!(vm.vcpus, 2);
    }

    #[test]
    fn no_resources_at_all_make_the_smallest_vm() {
        let vm = config().vm("c", &[]);
        assert_eq!((vm.memory_mb, vm.vcpus), (128, 1));
    }
}
