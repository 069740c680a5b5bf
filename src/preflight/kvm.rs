//! Whether KVM works here. The device's file is not enough: on a nested host without VMX or SVM it can exist, and even make a VM,
//! and yet not run a stock kernel.
#![allow(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use super::access::Chain;
use super::facts::KvmFacts;

pub(super) const DEVICE: &str = "/dev/kvm";

/// `KVM_CREATE_VM` of `linux/kvm.h`: `_IO(0xAE, 0x01)`; the argument 0 is the plain machine type.
const KVM_CREATE_VM: libc::c_ulong = 0xAE01;

/// Looks at the device and tries it.
pub(super) fn look() -> KvmFacts {
    let device = Path::new(DEVICE);
    if !device.exists() {
        return KvmFacts { node: None, useless: Some(format!("there is no {DEVICE}")) };
    }
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let useless = match create_vm(device) {
        Err(error) => Some(format!("{DEVICE} makes no VM: {error}")),
        Ok(()) => lacks_virtualization(&flags, std::env::consts::ARCH),
    };
    KvmFacts { node: Some(Chain::look(device)), useless }
}

/// Why the CPUs cannot run guests; on other architectures the device itself is proof.
pub(super) fn lacks_virtualization(cpuinfo: &str, architecture: &str) -> Option<String> {
    let has = |flag: &str| {
        let mut lines = cpuinfo.lines().filter(|line| line.starts_with("flags"));
        lines.any(|line| line.split_ascii_whitespace().any(|word| word == flag))
    };
    if architecture != "x86_64" || has("vmx") || has("svm") {
        return None;
    }
    Some(format!("the CPUs have neither vmx nor svm (see /proc/cpuinfo), so {DEVICE} cannot run a stock kernel"))
}

fn create_vm(device: &Path) -> std::io::Result<()> {
    let device = OpenOptions::new().read(true).write(true).open(device)?;
    // SAFETY: the call takes an integer and gives a new descriptor or -1; it reads and writes no memory of ours.
    let fd = unsafe { libc::ioctl(device.as_raw_fd(), KVM_CREATE_VM as _, 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's; the VM ends when it is closed.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}
