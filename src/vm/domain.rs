//! The XML of a VM's transient libvirt domain. Pure.
//!
//! Every path in it lies in a directory of ours and holds only our container id; what a framework chose (its ids) is in the metadata and
//! nowhere else. The domain needs no relabelling: its one static DAC label names QEMU's user with `relabel='no'`, so libvirt never changes
//! the owner of a file, neither the image's (it would for `<kernel>` and `<initrd>` too, which have no label of their own) nor ours;
//! whoever starts the domain gives the overlay and the host key to QEMU's user first.

use std::fmt::{self, Write};
use std::path::Path;

use super::image::{Image, Provision};
use crate::messages::container::vm::GuestIsolation;
use crate::messages::container::{self, Spec, VmState};
use crate::random::Random;

/// The name space of our element in a domain's metadata.
pub const NAMESPACE: &str = "urn:mesos-slave:container";
/// fw_cfg names of what a guest of `provision=fw_cfg` picks up at boot.
const FW_CFG: &str = "opt/mesos-slave";
/// Longest host name, in bytes (`HOST_NAME_MAX` is 64 with the end).
const MAX_HOST_NAME: usize = 63;

/// A user and group that QEMU runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Its user id.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
}

/// The name of a container's domain.
pub fn name(container_id: &str) -> String {
    format!("mesos-{container_id}")
}

/// A MAC of the range that libvirt and QEMU use (52:54:00), at random.
///
/// # Errors
/// No randomness from the kernel.
pub fn random_mac() -> std::io::Result<String> {
    let [a, b, c, ..] = Random::from_system()?.next_u64().to_be_bytes();
    Ok(format!("52:54:00:{a:02x}:{b:02x}:{c:02x}"))
}

/// The domain of a container: what it is given (`spec.vm`), under the name, MAC and directory that `state` records.
///
/// `owner` is QEMU's user, as libvirt tells it.
pub fn xml(spec: &Spec, vm: &container::Vm, state: &VmState, image: &Image, owner: Owner) -> String {
    let mut xml = String::with_capacity(4096);
    // Writing to a String cannot fail.
    let _ = write_domain(&mut xml, spec, vm, state, image, owner);
    xml
}

fn write_domain(
    xml: &mut String,
    spec: &Spec,
    vm: &container::Vm,
    state: &VmState,
    image: &Image,
    owner: Owner,
) -> fmt::Result {
    let kvm = vm.accelerator() == container::vm::Accelerator::Kvm;
    writeln!(xml, "<domain type='{}'>", if kvm { "kvm" } else { "qemu" })?;
    writeln!(xml, "<name>{}</name>", Escaped(&state.domain))?;
    if is_uuid(&spec.container_id) {
        writeln!(xml, "<uuid>{}</uuid>", spec.container_id)?;
    }
    write_metadata(xml, spec)?;
    writeln!(xml, "<memory unit='MiB'>{}</memory>", vm.memory_mb)?;
    writeln!(xml, "<vcpu>{}</vcpu>", vm.vcpus)?;
    if image.provision == Provision::FwCfg {
        write_credentials(xml, state)?;
    }
    write_boot(xml, image, kvm)?;
    writeln!(xml, "<features><acpi/><apic/></features>")?;
    // Under TCG `maximum` costs a boot 0.2 s of 3.2 s of CPU more than the bare `qemu64`, but distributions that are built for
    // newer CPUs (x86-64-v2 and up) do not even start on that.
    writeln!(xml, "<cpu mode='{}'/>", if kvm { "host-passthrough" } else { "maximum" })?;
    writeln!(xml, "<clock offset='utc'/>")?;
    writeln!(xml, "<on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>destroy</on_crash>")?;
    writeln!(xml, "<devices>")?;
    write_disk(xml, image, state)?;
    write_devices(xml, vm, state)?;
    writeln!(xml, "</devices>")?;
    writeln!(
        xml,
        "<seclabel type='static' model='dac' relabel='no'><label>+{}:+{}</label></seclabel>",
        owner.uid, owner.gid
    )?;
    writeln!(xml, "</domain>")
}

fn write_metadata(xml: &mut String, spec: &Spec) -> fmt::Result {
    writeln!(xml, "<metadata><mesos:container xmlns:mesos='{NAMESPACE}'>")?;
    writeln!(xml, "<mesos:slave>{}</mesos:slave>", Escaped(&spec.slave_id.value))?;
    let framework = spec.framework.id.as_ref().map_or("", |id| &id.value);
    writeln!(xml, "<mesos:framework>{}</mesos:framework>", Escaped(framework))?;
    writeln!(xml, "<mesos:executor>{}</mesos:executor>", Escaped(&spec.executor.executor_id.value))?;
    writeln!(xml, "<mesos:id>{}</mesos:id>", Escaped(&spec.container_id))?;
    writeln!(xml, "</mesos:container></metadata>")
}

/// Secrets go by file: a value would be in QEMU's arguments and in libvirt's log.
fn write_credentials(xml: &mut String, state: &VmState) -> fmt::Result {
    let file = |name: &str| Path::new(&state.directory).join(name).to_string_lossy().into_owned();
    writeln!(xml, "<sysinfo type='fwcfg'>")?;
    writeln!(xml, "<entry name='{FW_CFG}/hostname'>{}</entry>", host_name(&state.domain))?;
    writeln!(xml, "<entry name='{FW_CFG}/authorized_keys' file='{}'/>", Escaped(&file("key.pub")))?;
    writeln!(xml, "<entry name='{FW_CFG}/ssh_host_ed25519_key' file='{}'/>", Escaped(&file("host_key")))?;
    writeln!(xml, "</sysinfo>")
}

fn write_boot(xml: &mut String, image: &Image, kvm: bool) -> fmt::Result {
    writeln!(xml, "<os><type arch='x86_64' machine='q35'>hvm</type>")?;
    match &image.kernel {
        Some(kernel) => {
            writeln!(xml, "<kernel>{}</kernel>", Escaped(&kernel.to_string_lossy()))?;
            if let Some(initrd) = &image.initrd {
                writeln!(xml, "<initrd>{}</initrd>", Escaped(&initrd.to_string_lossy()))?;
            }
            // The kernel counts the timer's ticks when it boots and panics (IO-APIC + timer doesn't work) if an emulated guest on a
            // busy host is short of them. Under KVM it leaves that out by itself.
            let ticks = if kvm { "" } else { " no_timer_check" };
            writeln!(xml, "<cmdline>{}{ticks}</cmdline>", Escaped(&image.cmdline))?;
        }
        None => writeln!(xml, "<boot dev='hd'/>")?,
    }
    writeln!(xml, "</os>")
}

/// `cache='unsafe'`: the overlay never outlives the VM, so nothing of it needs to reach the disk.
fn write_disk(xml: &mut String, image: &Image, state: &VmState) -> fmt::Result {
    let overlay = Path::new(&state.directory).join("disk.qcow2");
    writeln!(xml, "<disk type='file' device='disk'>")?;
    writeln!(xml, "<driver name='qemu' type='qcow2' cache='unsafe' discard='unmap'/>")?;
    writeln!(xml, "<source file='{}'/>", Escaped(&overlay.to_string_lossy()))?;
    writeln!(xml, "<backingStore type='file'><format type='qcow2'/>")?;
    writeln!(xml, "<source file='{}'/>", Escaped(&image.disk().to_string_lossy()))?;
    writeln!(xml, "<backingStore/></backingStore>")?;
    writeln!(xml, "<target dev='vda' bus='virtio'/>")?;
    writeln!(xml, "</disk>")
}

fn write_devices(xml: &mut String, vm: &container::Vm, state: &VmState) -> fmt::Result {
    writeln!(xml, "<controller type='usb' model='none'/>")?;
    writeln!(xml, "{}", interface(vm, state, None))?;
    let console = Path::new(&state.directory).join("console.log");
    writeln!(
        xml,
        "<serial type='file'><source path='{}'/><target port='0'/></serial>",
        Escaped(&console.to_string_lossy())
    )?;
    writeln!(xml, "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>")?;
    writeln!(xml, "<video><model type='none'/></video>")?;
    writeln!(xml, "<memballoon model='virtio'/>")?;
    writeln!(xml, "<panic model='isa'/>")
}

/// The guest's interface, with a reference to a network filter if it has one by now. A guest that is kept from its neighbours has an
/// isolated port: the bridge passes nothing from one such port to another.
pub fn interface(vm: &container::Vm, state: &VmState, filter: Option<&str>) -> String {
    let (mac, network) = (Escaped(&state.mac), Escaped(&state.network));
    let port = match vm.guest_isolation() {
        GuestIsolation::Full => "<port isolated='yes'/>",
        GuestIsolation::Address | GuestIsolation::None => "",
    };
    format!(
        "<interface type='network'><mac address='{mac}'/><source network='{network}'/>{port}<model type='virtio'/>{}<rom enabled='no'/></interface>",
        filter.unwrap_or_default()
    )
}

/// A container id of the slave's is a random UUID, and so fit to be its domain's; otherwise libvirt makes one up.
pub(super) fn is_uuid(id: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let mut parts = id.split('-');
    let hex = |part: &str, length| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    lengths.iter().all(|length| parts.next().is_some_and(|part| hex(part, *length))) && parts.next().is_none()
}

/// Only what a host name may hold, of the domain's name.
pub(super) fn host_name(domain: &str) -> String {
    domain.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(MAX_HOST_NAME).collect()
}

/// A text in XML, in an element or a quoted attribute. What XML 1.0 cannot hold at all becomes U+FFFD; line ends and tabs go as
/// references, so that no parser makes spaces of them.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '\'' => f.write_str("&apos;")?,
                '"' => f.write_str("&quot;")?,
                '\t' | '\n' | '\r' => write!(f, "&#{};", u32::from(character))?,
                '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => f.write_char(char::REPLACEMENT_CHARACTER)?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}
