//! One invented host for each thing that can be missing.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::access::{Chain, Entry, Identity};
use super::decide::decide;
use super::facts::*;
use super::routes::{Route, Subnet};
use super::*;
use crate::flags::{Accelerator as Wanted, GuestIsolation};

const QEMU: u32 = 64055;

fn chain(path: &str, parent_mode: u32, mode: u32) -> Chain {
    let entry = |path: &Path, mode| Entry { path: path.to_path_buf(), uid: 0, gid: 0, mode };
    let path = Path::new(path);
    let mut parents: Vec<_> = path.ancestors().skip(1).map(|parent| entry(parent, parent_mode)).collect();
    parents.reverse();
    Chain { parents, last: Some(entry(path, mode)) }
}

fn subnet(text: &str) -> Subnet {
    Subnet::parse(text).unwrap()
}

/// A host that lacks nothing.
fn good() -> Facts {
    let network = NetworkState::Active {
        bridge: "virbr0".into(),
        subnet: Some(subnet("192.168.122.1/24")),
        gateway: Ipv4Addr::new(192, 168, 122, 1),
    };
    let route = |interface: &str, to| Route { interface: interface.into(), subnet: subnet(to) };
    let qemu = Identity { uid: QEMU, groups: vec![108] };
    Facts {
        root: true,
        uri: "qemu:///system".into(),
        libvirt: Ok(LibvirtFacts { qemu, emulator: true, kvm: true, filters: true, network }),
        daemon: Daemon::Monolithic,
        packages: Packages::Apt,
        systemd: true,
        network_name: "default".into(),
        routes: vec![route("eth0", "10.0.0.0/24"), route("virbr0", "192.168.122.0/24")],
        image: Ok(ImageFacts { files: vec![chain("/images/default/disk.qcow2", 0o755, 0o644)], provisioned: true }),
        vm_dir: chain("/var/lib/mesos-slave", 0o755, 0o755),
        missing_programs: vec![],
        guest_isolation: GuestIsolation::Full,
        accelerator: Wanted::Auto,
        kvm: KvmFacts { node: Some(chain("/dev/kvm", 0o755, 0o666)), useless: None },
        firewall: FirewallFacts::default(),
        ssh_key: None,
    }
}

fn host(change: impl FnOnce(&mut Facts)) -> Report {
    let mut facts = good();
    change(&mut facts);
    decide(&facts)
}

fn libvirt(facts: &mut Facts) -> &mut LibvirtFacts {
    facts.libvirt.as_mut().unwrap()
}

/// The only failure.
fn failure(change: impl FnOnce(&mut Facts)) -> (String, String) {
    let report = host(change);
    let [one] = report.failures.as_slice() else { panic!("{report:?}") };
    (one.what.clone(), one.mend.clone())
}

/// The only warning, of a host without failures.
fn warning(change: impl FnOnce(&mut Facts)) -> (String, String) {
    let report = host(change);
    let ([], [one]) = (report.failures.as_slice(), report.warnings.as_slice()) else { panic!("{report:?}") };
    (one.what.clone(), one.mend.clone())
}

#[test]
fn a_host_that_lacks_nothing_has_no_findings_and_kvm() {
    assert_eq!(host(|_| {}), Report { failures: vec![], warnings: vec![], accelerator: Accelerator::Kvm });
}

#[test]
fn without_root_it_says_so() {
    assert!(failure(|facts| facts.root = false).0.contains("it takes root"));
}

#[test]
fn missing_programs_are_named_with_their_packages() {
    let (what, mend) = failure(|facts| facts.missing_programs = vec!["ssh", "scp"]);
    assert_eq!(what, "cannot run ssh, scp: not on the PATH");
    assert_eq!(mend, "apt-get install -y openssh-client");
    let (_, mend) = failure(|facts| {
        facts.missing_programs = vec!["ssh-keygen", "qemu-img"];
        facts.packages = Packages::Dnf;
    });
    assert_eq!(mend, "dnf install -y openssh-clients qemu-img");
}

#[test]
fn a_libvirt_that_does_not_answer_is_mended_by_the_daemon_that_is_installed() {
    let mend = |daemon, systemd| {
        let (what, mend) = failure(|facts| {
            facts.libvirt = Err(Silence::Refused("no answer".into()));
            facts.daemon = daemon;
            facts.systemd = systemd;
        });
        assert_eq!(what, "cannot use libvirt at qemu:///system: no answer");
        mend
    };
    assert_eq!(mend(Daemon::Monolithic, true), "systemctl enable --now libvirtd");
    assert!(mend(Daemon::Modular, true).contains("virtqemud.socket virtnetworkd.socket"));
    assert!(mend(Daemon::None, true).starts_with("apt-get install -y libvirt-daemon-system"));
    assert!(mend(Daemon::Monolithic, false).contains("scripts/libvirt-host up"));
    assert!(mend(Daemon::Modular, false).contains("virtqemud -d"));
}

#[test]
fn a_libvirt_that_hangs_is_restarted() {
    let (what, mend) = failure(|facts| facts.libvirt = Err(Silence::Hangs(20)));
    assert_eq!(what, "cannot use libvirt at qemu:///system: it did not answer within 20 seconds");
    assert_eq!(mend, "systemctl restart libvirtd");
}

#[test]
fn a_libvirt_without_network_filters_cannot_keep_guests_apart_unless_it_need_not() {
    let (what, mend) = failure(|facts| libvirt(facts).filters = false);
    assert_eq!(what, "cannot keep guests from each other: libvirt has no network filter clean-traffic");
    assert!(mend.starts_with("apt-get install -y libvirt-daemon-config-nwfilter, then systemctl restart"), "{mend}");
    assert!(mend.ends_with("or --vm_guest_isolation=none"), "{mend}");
    let report = host(|facts| {
        libvirt(facts).filters = false;
        facts.guest_isolation = GuestIsolation::None;
    });
    assert!(report.is_good(), "{report:?}");
}

#[test]
fn a_libvirt_without_qemu_is_found() {
    let (what, mend) = failure(|facts| libvirt(facts).emulator = false);
    assert!(what.contains("knows no QEMU") && mend.contains("apt-get install -y qemu-system-x86"), "{what} {mend}");
}

#[test]
fn a_network_that_cannot_serve_is_found() {
    let network = |name: &str, state| {
        let name = name.to_string();
        failure(move |facts| {
            facts.network_name = name;
            libvirt(facts).network = state;
        })
    };
    let (what, mend) = network("default", NetworkState::Inactive);
    assert_eq!(what, "cannot use network default: it is not active");
    assert_eq!(mend, "virsh -c qemu:///system net-start default && virsh -c qemu:///system net-autostart default");
    assert!(network("default", NetworkState::Missing).1.contains("net-define /usr/share/libvirt/networks/default.xml"));
    assert!(network("lan", NetworkState::Missing).1.contains("--vm_network=mesos"));
    let (what, mend) = network("lan", NetworkState::Unusable("it serves no IPv4 addresses by DHCP".into()));
    assert!(what.ends_with("by DHCP") && mend.contains("net-edit lan"), "{what} {mend}");
    assert!(network("mesos", NetworkState::Inactive).1.contains("net-start mesos"));
}

#[test]
fn the_network_that_the_slave_makes_itself_is_not_missed() {
    let report = host(|facts| {
        facts.network_name = "mesos".into();
        libvirt(facts).network = NetworkState::Missing;
    });
    assert!(report.is_good(), "{report}");
}

#[test]
fn a_subnet_that_another_interface_has_is_a_failure_and_one_within_a_wider_is_a_warning() {
    let add = |to: &'static str| {
        move |facts: &mut Facts| facts.routes.push(Route { interface: "tun0".into(), subnet: subnet(to) })
    };
    let (what, mend) = failure(add("192.168.122.0/24"));
    assert_eq!(
        what,
        "cannot reach guests: network default has the subnet 192.168.122.1/24, and tun0 leads to 192.168.122.0/24"
    );
    assert!(mend.starts_with("--vm_network=mesos"), "{mend}");
    assert!(failure(add("192.168.122.128/25")).0.contains("tun0"));
    assert!(warning(add("192.168.0.0/16")).0.contains("hidden"));
    assert!(host(add("192.168.123.0/24")).warnings.is_empty());
}

#[test]
fn an_image_that_is_missing_is_found() {
    let (what, mend) = failure(|facts| facts.image = Err("guest image default not found".into()));
    assert_eq!(what, "cannot use the image: guest image default not found");
    assert!(mend.starts_with("scripts/build-guest-image"));
}

#[test]
fn an_image_that_qemu_cannot_read_is_found_with_the_chmod() {
    let with = |parents, mode| {
        failure(move |facts| {
            let files = vec![chain("/images/default/disk.qcow2", parents, mode)];
            facts.image = Ok(ImageFacts { files, provisioned: true });
        })
    };
    let (what, mend) = with(0o755, 0o640);
    assert_eq!(what, "cannot read /images/default/disk.qcow2 as QEMU's user (64055): mode 0640");
    assert_eq!(mend, "chmod o+r /images/default/disk.qcow2");
    assert_eq!(with(0o750, 0o644).0, "cannot pass through / as QEMU's user (64055)");
}

#[test]
fn a_directory_of_vms_behind_a_closed_one_is_found_once() {
    let (what, mend) = failure(|facts| {
        facts.vm_dir = chain("/root/vm", 0o755, 0o755);
        facts.vm_dir.parents[1].mode = 0o700;
    });
    assert_eq!(what, "cannot pass through /root as QEMU's user (64055)");
    assert_eq!(mend, "chmod o+x /root, or another --vm_dir");
}

#[test]
fn groups_of_qemus_user_count() {
    let entry = |gid| Entry { path: PathBuf::from("/dev/kvm"), uid: 0, gid, mode: 0o660 };
    let open = |gid| {
        Chain { parents: vec![], last: Some(entry(gid)) }.end_allows(&Identity { uid: 9, groups: vec![1, 108] }, 6)
    };
    assert!(open(108));
    assert!(!open(109));
}

#[test]
fn a_key_that_ssh_would_refuse_is_found() {
    let with = |mode| failure(move |facts| facts.ssh_key = Some(KeyFacts { path: "/k".into(), mode }));
    assert_eq!(with(Ok(0o644)).1, "chmod 600 /k");
    assert_eq!(with(Err("no such file".into())).0, "cannot use --vm_ssh_key=/k: no such file");
    let plain = |facts: &mut Facts| facts.image.as_mut().unwrap().provisioned = false;
    assert!(warning(plain).1.starts_with("--vm_ssh_key=FILE"));
}

#[test]
fn kvm_that_does_not_work_is_a_failure_if_it_is_wanted_and_tcg_with_a_warning_if_not() {
    let broken = |facts: &mut Facts| facts.kvm.useless = Some("there is no /dev/kvm".into());
    let (what, mend) = failure(|facts| {
        broken(facts);
        facts.accelerator = Wanted::Kvm;
    });
    assert!(
        what == "cannot use KVM: there is no /dev/kvm" && mend.ends_with("or --vm_accelerator=auto"),
        "{what} {mend}"
    );
    assert!(warning(broken).0.ends_with("slower than on KVM: there is no /dev/kvm"));
    assert_eq!(host(broken).accelerator, Accelerator::Tcg);
    let tcg = host(|facts| facts.accelerator = Wanted::Tcg);
    assert_eq!(tcg, Report { failures: vec![], warnings: vec![], accelerator: Accelerator::Tcg });
    assert_eq!(host(|facts| libvirt(facts).kvm = false).accelerator, Accelerator::Tcg);
}

#[test]
fn a_device_that_qemus_user_cannot_open_is_warned_about_whatever_the_accelerator() {
    let close = |facts: &mut Facts| facts.kvm.node = Some(chain("/dev/kvm", 0o755, 0o600));
    let (what, mend) = warning(|facts| {
        close(facts);
        facts.accelerator = Wanted::Tcg;
    });
    assert_eq!(what, "libvirt starts slowly (84 s were seen): QEMU's user (64055) cannot open /dev/kvm");
    assert_eq!(mend, "chgrp kvm /dev/kvm && chmod 0660 /dev/kvm, then restart libvirt");
    let report = host(close);
    assert_eq!((report.accelerator, report.warnings.len()), (Accelerator::Tcg, 2));
}

#[test]
fn firewalls_in_the_way_are_warned_about() {
    let (what, mend) = warning(|facts| facts.firewall.ufw = Some("### RULES ###".into()));
    assert!(what.starts_with("ufw is active") && mend.starts_with("ufw allow in on virbr0 &&"), "{what} {mend}");
    assert!(
        host(|facts| facts.firewall.ufw = Some("-A ufw-user-input -i virbr0 -j ACCEPT".into())).warnings.is_empty()
    );
    assert!(warning(|facts| facts.firewall.firewalld = Some(false)).1.contains("--add-interface=virbr0"));
    assert!(host(|facts| facts.firewall.firewalld = Some(true)).warnings.is_empty());
    assert!(firewall::ufw_is_enabled("# conf\nENABLED=yes\n"));
    assert!(!firewall::ufw_is_enabled("#ENABLED=yes\nENABLED=no\n"));
}

#[test]
fn all_failures_come_at_once_a_block_each() {
    let text = host(|facts| {
        facts.root = false;
        facts.libvirt = Err(Silence::Hangs(20));
        facts.missing_programs = vec!["ssh"];
        facts.image = Err("none".into());
    })
    .to_string();
    assert_eq!(text.lines().filter(|line| line.starts_with("cannot ")).count(), 4, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("    mend: ")).count(), 4, "{text}");
}

#[test]
fn cpus_without_vmx_or_svm_are_told_from_those_with() {
    let flags = |words: &str| kvm::lacks_virtualization(&format!("processor : 0\nflags\t\t: fpu {words}\n"), "x86_64");
    assert_eq!((flags("vmx sse"), flags("svm")), (None, None));
    assert!(flags("sse vmx_other").is_some_and(|why| why.contains("neither vmx nor svm")));
    assert_eq!(kvm::lacks_virtualization("", "aarch64"), None);
}

#[test]
fn what_the_child_prints_is_what_the_parent_reads() {
    let xml = "<network><bridge name='virbr0'/><ip address='192.168.122.1' netmask='255.255.255.0'>\
               <dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip></network>";
    let facts =
        probe::parse(&format!("qemu=64055:108\ndomain_qemu=yes\nfilters=yes\n{}", probe::network_lines(xml))).unwrap();
    let Ok(expected) = good().libvirt else { panic!() };
    assert_eq!(facts, LibvirtFacts { kvm: false, ..expected });
    let no_dhcp = probe::parse(&format!("qemu=1:2\n{}", probe::network_lines("<network><bridge name='b'/></network>")));
    assert!(matches!(no_dhcp.unwrap().network, NetworkState::Unusable(why) if why.contains("DHCP")));
    assert!(probe::parse("qemu=1:2\nnetwork=active\n").unwrap_err().contains("bridge="));
    assert!(probe::parse("").unwrap_err().contains("qemu="));
}

#[test]
fn capabilities_tell_which_domains_this_architecture_can_have() {
    let xml = "<capabilities><guest><arch name='x86_64'><domain type='qemu'/><domain type='kvm'/></arch></guest>\
               <guest><arch name='arm'><domain type='qemu'/></arch></guest></capabilities>";
    assert_eq!(probe::domain_types(xml, "x86_64").unwrap(), ["kvm", "qemu"]);
    assert_eq!(probe::domain_types(xml, "arm").unwrap(), ["qemu"]);
    assert!(probe::domain_types(xml, "riscv64").unwrap().is_empty());
}

#[test]
fn the_kernels_table_of_routes_is_read_with_its_interfaces() {
    let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                 eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                 virbr0\t007AA8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\nrubbish\n";
    let expected = Route { interface: "virbr0".into(), subnet: subnet("192.168.122.0/24") };
    assert_eq!(routes::parse(table), [expected]);
}

#[test]
fn a_real_path_is_looked_at_from_the_root_down() {
    let directory = std::env::temp_dir().join(format!("mesos-slave-preflight-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    let file = directory.join("disk");
    fs::write(&file, "").unwrap();
    let stranger = Identity { uid: 4_000_000, groups: vec![] };
    let (found, missing) = (Chain::look(&file), Chain::look(&directory.join("vms/x")));
    let real = fs::canonicalize(&directory).unwrap();
    // The tests' own directory may lie where no stranger comes.
    let closed = |path: &&Path| fs::metadata(path).unwrap().permissions().mode() & 0o1 == 0;
    let first = real.ancestors().filter(closed).last();
    assert!(first.is_some_and(|first| real.starts_with(first)));
    assert_eq!(found.barrier(&stranger), first);
    assert_eq!(found.last.map(|entry| entry.path), Some(real.join("disk")));
    assert_eq!((missing.barrier(&stranger), &missing.last), (first, &None));
    fs::remove_dir_all(&directory).unwrap();
}
