//! Rows that matter with `--isolation=vm` only.

use std::time::Duration;

use super::CommandKind::{Execute, Slave};
use super::table::{Group, Row, put, put_some};
use super::{Accelerator, GuestIsolation, mappings, values};

/// Longest `--vm_dir`, in bytes: `/vms/<container id>/ssh` (45 bytes) and the 17 that ssh appends while it makes its control
/// socket have to fit behind it in a Unix socket's address of 107 bytes.
const VM_DIR_LENGTH: usize = 107 - 45 - 17;

const MEGABYTE: u64 = 1 << 20;

const VM: Row = Row { group: Group::Vm, commands: &[Slave, Execute], for_local_slave: true, ..Row::PLAIN };

pub(super) static ROWS: &[Row] = &[
    Row {
        name: "vm_dir",
        hint: "DIR",
        default: Some("/var/lib/mesos-slave"),
        allowed: "an absolute path of at most 45 bytes: letters, digits, '/', '.', '_', '-', '+'",
        help: "Where the VMs' disks, consoles and keys are.",
        doc: "QEMU's user must be able to pass through it and its parents. All that libvirt sees is below it.",
        set: |s, v| {
            let why = "ssh makes a socket below it, whose path Linux limits to 107 bytes";
            values::path_at_most(v, VM_DIR_LENGTH, why)?;
            put(&mut s.slave.vm.dir, values::plain_path(v))
        },
        ..VM
    },
    Row {
        name: "vm_image_dir",
        hint: "DIR",
        allowed: "an absolute path: letters, digits, '/', '.', '_', '-', '+'",
        help: "Where guest images are; <vm_dir>/images if not given.",
        doc: "An image is a directory there with disk.qcow2, image.conf and perhaps vmlinuz and initrd.",
        set: |s, v| put(&mut s.slave.vm.image_dir, values::plain_path(v)),
        ..VM
    },
    Row {
        name: "vm_image",
        hint: "NAME",
        default: Some("default"),
        allowed: "a directory's name below --vm_image_dir: letters, digits, '.', '_', '-'; at most 64",
        help: "The image for tasks that do not choose one.",
        set: |s, v| put(&mut s.slave.vm.image, values::name(v)),
        ..VM
    },
    Row {
        name: "vm_network",
        hint: "NAME",
        default: Some("default"),
        allowed: "the name of a libvirt network: letters, digits, '.', '_', '-'; at most 64",
        help: "The libvirt network that guests are in; 'mesos' is made if missing.",
        doc: "'default' is libvirt's own. 'mesos' is the better one for many VMs: it has a large range, short leases and no ping \
              check, and the slave makes it if it is missing.",
        set: |s, v| put(&mut s.slave.vm.network, values::name(v)),
        ..VM
    },
    Row {
        name: "vm_guest_isolation",
        hint: "KIND",
        default: Some("full"),
        allowed: "full, address or none",
        help: "What keeps guests from each other: 'full', 'address' (no foreign address) or 'none'.",
        doc: "With full, a guest reaches its network's gateway and the world outside, but no other guest, and sends from no other \
              address than its own. With address it may reach its neighbours: for frameworks whose executors speak to each other. \
              Both need libvirt's network filters. With none a guest may take another's address, and so speak for its executor.",
        set: |s, v| put(&mut s.slave.vm.guest_isolation, guest_isolation(v)),
        ..VM
    },
    Row {
        name: "vm_uri",
        hint: "URI",
        default: Some("qemu:///system"),
        allowed: "qemu:///system, or qemu+unix:///system?socket=PATH",
        help: "libvirt's URI.",
        doc: "It is always one of this host: disks and sockets are files here.",
        set: |s, v| put(&mut s.slave.vm.uri, uri(v)),
        ..VM
    },
    Row {
        name: "vm_accelerator",
        hint: "KIND",
        default: Some("auto"),
        allowed: "auto, kvm or tcg",
        help: "What runs guests: 'kvm', 'tcg' (slow, works anywhere), 'auto'.",
        doc: "auto takes KVM if it works on this host, and else TCG, QEMU's emulator, with a warning that says why.",
        set: |s, v| put(&mut s.slave.vm.accelerator, accelerator(v)),
        ..VM
    },
    Row {
        name: "vm_ssh_user",
        hint: "USER",
        allowed: "a user's name: letters, digits, '.', '_', '-'; at most 32 characters",
        help: "The guest's user that ssh logs in as, if not the image's (image.conf).",
        set: |s, v| put_some(&mut s.slave.vm.ssh_user, values::user(v)),
        ..VM
    },
    Row {
        name: "vm_ssh_key",
        hint: "FILE",
        allowed: "an absolute path without '..'",
        help: "A private key that the image accepts, if keys are not made for each VM.",
        doc: "For images that cannot be given a key when they boot: the public half has to be in the image already.",
        set: |s, v| put_some(&mut s.slave.vm.ssh_key, values::path(v)),
        ..VM
    },
    Row {
        name: "vm_path_map",
        hint: "MAP",
        allowed: "HOST:GUEST[,HOST:GUEST...], absolute paths of letters, digits, '/', '.', '_', '-', '+'",
        help: "HOST:GUEST[,...]: guests have at GUEST what frameworks name as HOST.",
        doc: "For software that the image has elsewhere than frameworks expect it: with /opt/spark:/usr/lib/spark, a command that names \
              /opt/spark/bin/x runs /usr/lib/spark/bin/x, and a URI below /opt/spark is not fetched from this host, but taken from the \
              guest. HOST and what is below it is meant (not /opt/spark2), the longest HOST wins, and HOST and GUEST may be the same. \
              --mesos_home, --hadoop_home, --spark_home and --frameworks_home may be HOST:GUEST as well. See docs/executors.md.",
        set: |s, v| mappings::add(&mut s.slave.path_map, v),
        ..VM
    },
    Row {
        name: "vm_boot_timeout",
        hint: "DURATION",
        default: Some("2mins"),
        allowed: "a duration from 1secs to 1hrs",
        help: "From the start of a VM to a working ssh.",
        set: |s, v| {
            let bounds = Duration::from_secs(1)..=Duration::from_secs(3600);
            put(&mut s.slave.vm.boot_timeout, values::duration(v, bounds))
        },
        ..VM
    },
    Row {
        name: "vm_memory_overhead",
        hint: "SIZE",
        default: Some("64MB"),
        allowed: "a size from 0B to 16GB",
        help: "The host's memory that a VM takes beyond its guest's.",
        doc: "So much is kept back for each of the host's CPUs from the memory that is detected. Memory that --resources \
              names is offered as it is named.",
        set: |s, v| put(&mut s.slave.vm.memory_overhead, values::bytes(v, 0..=16 * 1024 * MEGABYTE)),
        ..VM
    },
];

fn accelerator(text: &str) -> Result<Accelerator, String> {
    match text {
        "auto" => Ok(Accelerator::Auto),
        "kvm" => Ok(Accelerator::Kvm),
        "tcg" => Ok(Accelerator::Tcg),
        _ => Err("no such accelerator".into()),
    }
}

fn guest_isolation(text: &str) -> Result<GuestIsolation, String> {
    let kinds = [GuestIsolation::Full, GuestIsolation::Address, GuestIsolation::None];
    kinds.into_iter().find(|kind| kind.text() == text).ok_or_else(|| "no such isolation of guests".into())
}

fn uri(text: &str) -> Result<String, String> {
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    if !matches!(address, "qemu:///system" | "qemu+unix:///system") {
        return Err("not the system's QEMU driver on this host".into());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=&%".contains(c);
    if query.len() > 256 || !query.chars().all(plain) {
        return Err("what follows '?' is not a plain query".into());
    }
    Ok(text.into())
}
