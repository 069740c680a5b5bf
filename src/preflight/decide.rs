//! From facts to findings. Pure: every check is a function of the facts.

use crate::flags::{Accelerator as Wanted, GuestIsolation};
use crate::messages::container::vm::Accelerator;
use crate::vm::filter::CLEAN_TRAFFIC;
use crate::vm::network::OUR_NETWORK;

use super::access::{Chain, Identity};
use super::facts::{Daemon, Facts, ImageFacts, LibvirtFacts, NetworkState, Packages, Silence};
use super::kvm::DEVICE;
use super::routes::Subnet;
use super::{Finding, Report};

fn finding(what: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { what: what.into(), mend: mend.into() }
}

/// All checks, the most fundamental first.
pub(super) fn decide(facts: &Facts) -> Report {
    let mut report = Report { failures: Vec::new(), warnings: Vec::new(), accelerator: Accelerator::Tcg };
    report.failures.extend(root(facts));
    report.failures.extend(programs(facts));
    match &facts.libvirt {
        Ok(libvirt) => libvirt_checks(facts, libvirt, &mut report),
        Err(why) => report.failures.push(unreachable(facts, why)),
    }
    report.failures.extend(image(facts));
    report.failures.extend(key(facts));
    report.warnings.extend(no_key(facts));
    report.warnings.extend(firewall(facts));
    accelerator(facts, &mut report);
    report
}

fn root(facts: &Facts) -> Option<Finding> {
    let what = "cannot make virtual machines: it takes root";
    (!facts.root).then(|| finding(what, "start mesos-slave by sudo, or by systemd as a system service"))
}

fn install(packages: Packages, apt: &str, dnf: &str) -> String {
    match packages {
        Packages::Apt => format!("apt-get install -y {apt}"),
        Packages::Dnf => format!("dnf install -y {dnf}"),
        Packages::Other => format!("install what Debian calls {apt}"),
    }
}

fn programs(facts: &Facts) -> Option<Finding> {
    let missing = &facts.missing_programs;
    if missing.is_empty() {
        return None;
    }
    let image = missing.contains(&"qemu-img");
    let ssh = missing.iter().any(|program| *program != "qemu-img");
    let names = |ssh_package: &str, image_package: &str| {
        let both = [(ssh, ssh_package), (image, image_package)];
        both.iter().filter(|(needed, _)| *needed).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
    };
    let mend = install(facts.packages, &names("openssh-client", "qemu-utils"), &names("openssh-clients", "qemu-img"));
    Some(finding(format!("cannot run {}: not on the PATH", missing.join(", ")), mend))
}

fn unreachable(facts: &Facts, why: &Silence) -> Finding {
    match why {
        Silence::Refused(why) => finding(format!("cannot use libvirt at {}: {why}", facts.uri), start_libvirt(facts)),
        Silence::Hangs(seconds) => {
            let what = format!("cannot use libvirt at {}: it did not answer within {seconds} seconds", facts.uri);
            finding(what, restart_libvirt(facts))
        }
    }
}

fn restart_libvirt(facts: &Facts) -> &'static str {
    match (facts.daemon, facts.systemd) {
        (Daemon::Modular, true) => "systemctl restart virtqemud virtnetworkd",
        (Daemon::Monolithic | Daemon::None, true) => "systemctl restart libvirtd",
        (_, false) => "end libvirt's daemon and start it again (guests go on running)",
    }
}

fn start_libvirt(facts: &Facts) -> String {
    match (facts.daemon, facts.systemd) {
        (Daemon::None, _) => install(
            facts.packages,
            "libvirt-daemon-system libvirt-daemon-config-network libvirt-daemon-config-nwfilter qemu-system-x86 qemu-utils",
            "libvirt-daemon-kvm libvirt-daemon-config-network qemu-kvm",
        ),
        (Daemon::Monolithic, true) => "systemctl enable --now libvirtd".to_string(),
        (Daemon::Modular, true) => {
            "systemctl enable --now virtqemud.socket virtnetworkd.socket virtlogd.socket".to_string()
        }
        (Daemon::Monolithic, false) => "virtlogd -d && libvirtd -d, or scripts/libvirt-host up".to_string(),
        (Daemon::Modular, false) => "virtlogd -d && virtnetworkd -d && virtqemud -d".to_string(),
    }
}

fn libvirt_checks(facts: &Facts, libvirt: &LibvirtFacts, report: &mut Report) {
    if !libvirt.emulator {
        let mend = install(facts.packages, "qemu-system-x86", "qemu-kvm") + " (then restart libvirt)";
        report
            .failures
            .push(finding("cannot start virtual machines: libvirt knows no QEMU for this host's CPUs", mend));
    }
    report.failures.extend(network(facts, &libvirt.network));
    report.failures.extend(filters(facts, libvirt));
    if let NetworkState::Active { bridge, subnet: Some(subnet), .. } = &libvirt.network {
        clashes(facts, bridge, *subnet, report);
    }
    if let Ok(image) = &facts.image {
        report.failures.extend(unreadable(image, &libvirt.qemu));
    }
    report.failures.extend(impassable(&facts.vm_dir, &libvirt.qemu));
    report.warnings.extend(slow_probe(facts, libvirt));
}

fn filters(facts: &Facts, libvirt: &LibvirtFacts) -> Option<Finding> {
    if libvirt.filters || facts.guest_isolation == GuestIsolation::None {
        return None;
    }
    let package = "libvirt-daemon-config-nwfilter";
    let mend = install(facts.packages, package, package);
    Some(finding(
        format!("cannot keep guests from each other: libvirt has no network filter {CLEAN_TRAFFIC}"),
        format!("{mend}, then {}; or --vm_guest_isolation=none", restart_libvirt(facts)),
    ))
}

fn network(facts: &Facts, state: &NetworkState) -> Option<Finding> {
    let name = &facts.network_name;
    let virsh = format!("virsh -c {}", facts.uri);
    let start = format!("{virsh} net-start {name} && {virsh} net-autostart {name}");
    match state {
        NetworkState::Active { .. } => None,
        NetworkState::Missing if name == OUR_NETWORK => None,
        NetworkState::Missing if name == "default" => Some(finding(
            "cannot use network default: libvirt has none of that name",
            format!(
                "{virsh} net-define /usr/share/libvirt/networks/default.xml && {start}; or --vm_network={OUR_NETWORK}"
            ),
        )),
        NetworkState::Missing => Some(finding(
            format!("cannot use network {name}: libvirt has none of that name"),
            format!("--vm_network={OUR_NETWORK} (the slave makes it), or one that '{virsh} net-list --all' shows"),
        )),
        NetworkState::Inactive => Some(finding(format!("cannot use network {name}: it is not active"), start)),
        NetworkState::Unusable(why) => Some(finding(
            format!("cannot use network {name}: {why}"),
            format!(
                "{virsh} net-edit {name}, with a <bridge> and an <ip> that has <dhcp><range .../></dhcp>, and {virsh} net-destroy \
                 {name} && {virsh} net-start {name}; or --vm_network={OUR_NETWORK}"
            ),
        )),
    }
}

/// A route that is as narrow as the network's takes guests' packets away. A wider one yields to it, but what it led to is cut off.
fn clashes(facts: &Facts, bridge: &str, subnet: Subnet, report: &mut Report) {
    let name = &facts.network_name;
    let others = facts.routes.iter().filter(|route| route.interface != bridge && route.subnet.overlaps(subnet));
    for route in others {
        let what = format!("{name} has the subnet {subnet}, and {} leads to {}", route.interface, route.subnet);
        let mend = if name == OUR_NETWORK {
            format!("virsh -c {} net-destroy {name} (the slave makes it again on a free subnet)", facts.uri)
        } else {
            format!(
                "--vm_network={OUR_NETWORK} (the slave makes it on a free subnet), or virsh -c {} net-edit {name}",
                facts.uri
            )
        };
        if route.subnet.prefix >= subnet.prefix {
            report.failures.push(finding(format!("cannot reach guests: network {what}"), mend));
        } else {
            report.warnings.push(finding(format!("part of another network is hidden: network {what}"), mend));
        }
    }
}

fn image(facts: &Facts) -> Option<Finding> {
    let why = facts.image.as_ref().err()?;
    Some(finding(format!("cannot use the image: {why}"), "scripts/build-guest-image, or --vm_image_dir and --vm_image"))
}

fn unreadable(image: &ImageFacts, qemu: &Identity) -> Vec<Finding> {
    let mut all = Vec::new();
    for file in &image.files {
        all.extend(impassable(file, qemu));
        let Some(entry) = file.last.as_ref().filter(|_| !file.end_allows(qemu, 4)) else {
            continue;
        };
        let path = entry.path.display();
        all.push(finding(
            format!("cannot read {path} as QEMU's user ({}): mode {:04o}", qemu.uid, entry.mode),
            format!("chmod o+r {path}"),
        ));
    }
    all.dedup();
    all
}

fn impassable(path: &Chain, qemu: &Identity) -> Option<Finding> {
    let barrier = path.barrier(qemu)?.display();
    Some(finding(
        format!("cannot pass through {barrier} as QEMU's user ({})", qemu.uid),
        format!("chmod o+x {barrier}, or another --vm_dir"),
    ))
}

fn key(facts: &Facts) -> Option<Finding> {
    let key = facts.ssh_key.as_ref()?;
    let path = key.path.display();
    match &key.mode {
        Err(why) => Some(finding(format!("cannot use --vm_ssh_key={path}: {why}"), format!("ls -l {path}"))),
        Ok(mode) if mode & 0o077 != 0 => Some(finding(
            format!("cannot use --vm_ssh_key={path}: ssh refuses a key that others can read (mode {mode:04o})"),
            format!("chmod 600 {path}"),
        )),
        Ok(_) => None,
    }
}

fn no_key(facts: &Facts) -> Option<Finding> {
    let plain = facts.image.as_ref().is_ok_and(|image| !image.provisioned);
    let what = "the image is not given a key when it boots, and there is no --vm_ssh_key: ssh has only root's own keys";
    (plain && facts.ssh_key.is_none()).then(|| finding(what, "--vm_ssh_key=FILE, or an image with provision=fw_cfg"))
}

/// QEMU's user cannot open the device: libvirt's probing of QEMU then takes 84 s after each of its starts.
fn slow_probe(facts: &Facts, libvirt: &LibvirtFacts) -> Option<Finding> {
    let why = closed_to_qemu(facts, &libvirt.qemu)?;
    Some(finding(format!("libvirt starts slowly (84 s were seen): {why}"), open_device()))
}

fn open_device() -> String {
    format!("chgrp kvm {DEVICE} && chmod 0660 {DEVICE}, then restart libvirt")
}

fn closed_to_qemu(facts: &Facts, qemu: &Identity) -> Option<String> {
    let node = facts.kvm.node.as_ref()?;
    let open = node.barrier(qemu).is_none() && node.end_allows(qemu, 6);
    (!open).then(|| format!("QEMU's user ({}) cannot open {DEVICE}", qemu.uid))
}

fn accelerator(facts: &Facts, report: &mut Report) {
    let why = kvm_is_useless(facts);
    match (facts.accelerator, why) {
        (Wanted::Tcg, _) => {}
        (Wanted::Kvm | Wanted::Auto, None) => report.accelerator = Accelerator::Kvm,
        (Wanted::Kvm, Some((why, mend))) => {
            report.accelerator = Accelerator::Kvm;
            report
                .failures
                .push(finding(format!("cannot use KVM: {why}"), format!("{mend}; or --vm_accelerator=auto")));
        }
        (Wanted::Auto, Some((why, mend))) => {
            report
                .warnings
                .push(finding(format!("guests run on TCG, about ten times slower than on KVM: {why}"), mend));
        }
    }
}

/// Why KVM cannot be used, and what would mend it. What libvirt does not say for want of an answer is a failure of its own.
fn kvm_is_useless(facts: &Facts) -> Option<(String, String)> {
    if let Some(why) = &facts.kvm.useless {
        let mend =
            "modprobe kvm_intel or kvm_amd; virtualization switched on in the firmware, or nested on the outer host";
        return Some((why.clone(), mend.to_string()));
    }
    let libvirt = facts.libvirt.as_ref().ok()?;
    if let Some(why) = closed_to_qemu(facts, &libvirt.qemu) {
        return Some((why, open_device()));
    }
    (!libvirt.kvm).then(|| ("libvirt offers no KVM domains".to_string(), restart_libvirt(facts).to_string()))
}

/// Firewalls are only warned about: whether their rules let guests through is more than we read.
fn firewall(facts: &Facts) -> Vec<Finding> {
    let bridge = match facts.libvirt.as_ref().map(|libvirt| &libvirt.network) {
        Ok(NetworkState::Active { bridge, .. }) => bridge.as_str(),
        Ok(_) | Err(_) if facts.network_name == "default" => "virbr0",
        Ok(_) | Err(_) => "virbr-mesos",
    };
    let mut all = Vec::new();
    if facts.firewall.ufw.as_ref().is_some_and(|rules| !rules.contains(bridge)) {
        let mend =
            format!("ufw allow in on {bridge} && ufw route allow in on {bridge} && ufw route allow out on {bridge}");
        all.push(finding(format!("ufw is active and has no rule for {bridge}: guests may get no address"), mend));
    }
    if facts.firewall.firewalld == Some(false) {
        let mend = format!("firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload");
        all.push(finding("firewalld runs without libvirt's zone: guests may get no address", mend));
    }
    all
}
