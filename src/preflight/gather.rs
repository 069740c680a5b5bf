//! Gathers the facts: looks at files, and asks libvirt through a child with a deadline.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::flags::Flags;
use crate::subprocess::{Job, Spawn};
use crate::vm::image::{Image, Provision};

use super::access::{Chain, Identity};
use super::facts::{Daemon, Facts, ImageFacts, KeyFacts, KvmFacts, LibvirtFacts, Packages, Silence};
use super::{firewall, kvm, probe, routes};

/// How long libvirt may take to answer; it needs 2 s when it has to probe QEMU first.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The same where `/dev/kvm` is such that libvirt's probing of QEMU fails slowly; 84 s were measured.
pub(super) const LONG_PATIENCE: Duration = Duration::from_secs(120);

/// What runs as a child of ours.
const PROGRAMS: [&str; 4] = ["ssh", "scp", "ssh-keygen", "qemu-img"];

pub(super) fn gather(flags: &Flags) -> Facts {
    let kvm = kvm::look();
    Facts {
        root: nix::unistd::geteuid().is_root(),
        uri: flags.vm.uri.clone(),
        libvirt: ask_libvirt(flags, &kvm),
        daemon: daemon(),
        packages: packages(),
        systemd: Path::new("/run/systemd/system").exists(),
        network_name: flags.vm.network.clone(),
        routes: routes::parse(&fs::read_to_string("/proc/net/route").unwrap_or_default()),
        image: image(&flags.vm.image_dir.join(&flags.vm.image)),
        // A VM to be: then the directories above it, as far as they exist, are all on the way.
        vm_dir: Chain::look(&flags.vm.dir.join("vms").join("-")),
        missing_programs: PROGRAMS.into_iter().filter(|program| !on_path(program)).collect(),
        accelerator: flags.vm.accelerator,
        guest_isolation: flags.vm.guest_isolation,
        kvm,
        firewall: firewall::look(),
        ssh_key: flags.vm.ssh_key.as_deref().map(key),
    }
}

fn ask_libvirt(flags: &Flags, kvm: &KvmFacts) -> Result<LibvirtFacts, Silence> {
    let private = |node: &Chain| node.last.as_ref().is_some_and(|entry| entry.mode & 0o066 == 0);
    let patience = if kvm.node.as_ref().is_some_and(private) { LONG_PATIENCE } else { PATIENCE };
    let spawn = Spawn::ourselves(probe::SUBCOMMAND).arg(&flags.vm.uri).arg(&flags.vm.network);
    let job = Job::start(spawn, Instant::now() + patience)
        .map_err(|error| Silence::Refused(format!("cannot start a child: {error}")))?;
    let end = job.wait().map_err(|error| Silence::Refused(format!("cannot wait for a child: {error}")))?;
    if end.exit.is_none() {
        return Err(Silence::Hangs(patience.as_secs()));
    }
    if !end.is_success() {
        return Err(Silence::Refused(end.reason()));
    }
    let mut facts = probe::parse(&String::from_utf8_lossy(&end.stdout)).map_err(Silence::Refused)?;
    if let Some(gid) = facts.qemu.groups.first() {
        facts.qemu = Identity::lookup(facts.qemu.uid, *gid);
    }
    Ok(facts)
}

fn daemon() -> Daemon {
    if on_path("libvirtd") || Path::new("/usr/sbin/libvirtd").exists() {
        Daemon::Monolithic
    } else if on_path("virtqemud") || Path::new("/usr/sbin/virtqemud").exists() {
        Daemon::Modular
    } else {
        Daemon::None
    }
}

fn packages() -> Packages {
    match () {
        () if on_path("apt-get") => Packages::Apt,
        () if on_path("dnf") => Packages::Dnf,
        () => Packages::Other,
    }
}

fn on_path(program: &str) -> bool {
    let runs =
        |path: &Path| fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| runs(&directory.join(program)))
}

fn image(directory: &Path) -> Result<ImageFacts, String> {
    let image = Image::load(directory).map_err(|error| error.to_string())?;
    let disk = image.disk();
    let files = [Some(&disk), image.kernel.as_ref(), image.initrd.as_ref()];
    Ok(ImageFacts {
        files: files.into_iter().flatten().map(|file| Chain::look(file)).collect(),
        provisioned: image.provision == Provision::FwCfg,
    })
}

fn key(path: &Path) -> KeyFacts {
    let mode = fs::metadata(path).map(|facts| facts.permissions().mode() & 0o777).map_err(|error| error.to_string());
    KeyFacts { path: path.to_path_buf(), mode }
}
