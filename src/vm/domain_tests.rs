//! Tests of a domain's XML: that it says what it should, whatever a framework calls itself, and what AppArmor's helper makes of it.

use super::domain::*;
use super::image::{Image, Provision};
use crate::container::scratch::Scratch;
use crate::messages::container::{self, Spec, VmState};
use crate::messages::mesos;
use crate::subprocess::Job;
use crate::vm::image::overlay_command;
use std::path::Path;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const CONTAINER: &str = "2f1a6a8e-6d1c-4a57-9f0f-0d2b0c6f5f11";
/// Where Debian and Ubuntu have it.
const AA_HELPER: &str = "/usr/lib/libvirt/virt-aa-helper";

fn image() -> Image {
    Image {
        directory: PathBuf::from("/var/lib/mesos-slave/images/default"),
        ssh_user: "root".to_string(),
        kernel: Some(PathBuf::from("/var/lib/mesos-slave/images/default/vmlinuz")),
        initrd: Some(PathBuf::from("/var/lib/mesos-slave/images/default/initrd")),
        cmdline: "root=/dev/vda console=ttyS0 quiet".to_string(),
        provision: Provision::FwCfg,
        min_memory_mb: 96,
    }
}

fn state() -> VmState {
    VmState {
        uri: "qemu:///system".to_string(),
        network: "default".to_string(),
        domain: name(CONTAINER),
        mac: "52:54:00:12:34:56".to_string(),
        directory: format!("/var/lib/mesos-slave/vms/{CONTAINER}"),
        ..Default::default()
    }
}

fn spec(framework: &str, executor: &str) -> Spec {
    Spec {
        version: 1,
        container_id: CONTAINER.to_string(),
        slave_id: mesos::SlaveId { value: "S0".to_string() },
        framework: mesos::FrameworkInfo {
            id: Some(mesos::FrameworkId { value: framework.to_string() }),
            ..Default::default()
        },
        executor: mesos::ExecutorInfo {
            executor_id: mesos::ExecutorId { value: executor.to_string() },
            ..Default::default()
        },
        vm: Some(container::Vm { memory_mb: 128, vcpus: 2, ..Default::default() }),
        ..Default::default()
    }
}

fn xml_of(spec: &Spec, image: &Image) -> String {
    let vm = spec.vm.as_ref().expect("vm");
    xml(spec, vm, &state(), image, Owner { uid: 64055, gid: 107 })
}

fn text_of(xml: &str, tag: &str) -> String {
    let document = roxmltree::Document::parse(xml).expect("well-formed XML");
    let node = document.descendants().find(|node| node.tag_name().name() == tag).expect("the element");
    node.text().unwrap_or("").to_string()
}

/// Ids as hostile as Mesos lets them be, and worse.
fn hostile_ids() -> Vec<String> {
    let mut ids = vec![
        "a'b\"c<d>&amp;e]]>f".to_string(),
        "</mesos:executor></metadata><devices/><!--".to_string(),
        "$(touch /tmp/x);`id`|&\u{7f}\u{85}\u{2028}é🦀".to_string(),
        "../../etc %s %n {} \\".to_string(),
        "'/>\r\n\t<x y='".to_string(),
        "x".repeat(255),
    ];
    ids.extend((0..0x20u8).map(|byte| format!("a{}b", char::from(byte))));
    ids.push("a\u{fffe}\u{ffff}b".to_string());
    ids
}

#[test]
fn ids_of_any_bytes_come_back_from_the_xml_unchanged() {
    for id in hostile_ids() {
        let xml = xml_of(&spec(&id, &id), &image());
        let kept = |c: char| (c >= ' ' || matches!(c, '\t' | '\n' | '\r')) && !matches!(c, '\u{fffe}' | '\u{ffff}');
        let expected: String = id.chars().map(|c| if kept(c) { c } else { char::REPLACEMENT_CHARACTER }).collect();
        assert_eq!(text_of(&xml, "framework"), expected, "{id:?}");
        assert_eq!(text_of(&xml, "executor"), expected, "{id:?}");
        assert_eq!(text_of(&xml, "id"), CONTAINER);
    }
}

#[test]
fn an_id_is_in_the_metadata_and_nowhere_else() {
    let xml = xml_of(&spec("needle", "needle"), &image());
    let document = roxmltree::Document::parse(&xml).expect("well-formed XML");
    for node in document.descendants() {
        let ours = node.ancestors().any(|node| node.has_tag_name("metadata"));
        assert!(ours || !node.attributes().any(|attribute| attribute.value().contains("needle")));
        assert!(!node.is_text() || ours || !node.text().unwrap_or("").contains("needle"));
    }
}

#[test]
fn the_base_image_is_spelled_out_and_never_relabelled() {
    let xml = xml_of(&spec("f", "e"), &image());
    let document = roxmltree::Document::parse(&xml).expect("well-formed XML");
    let base = document
        .descendants()
        .find(|node| node.attribute("file") == Some("/var/lib/mesos-slave/images/default/disk.qcow2"))
        .expect("the base image");
    assert!(base.parent().is_some_and(|parent| parent.has_tag_name("backingStore")));
    // A label of its own on the base would be refused beside the domain's.
    let labels: Vec<_> = document.descendants().filter(|node| node.has_tag_name("seclabel")).collect();
    assert_eq!(labels.len(), 1);
    assert!(labels.iter().all(|label| label.attribute("relabel") == Some("no")));
}

#[test]
fn an_image_without_kernel_and_provisioning_boots_from_its_disk() {
    let plain = Image { kernel: None, initrd: None, provision: Provision::None, ..image() };
    let xml = xml_of(&spec("f", "e"), &plain);
    assert!(xml.contains("<boot dev='hd'/>"));
    assert!(!xml.contains("<kernel>") && !xml.contains("fwcfg"));
}

#[test]
fn kvm_passes_the_hosts_cpu_through() {
    let mut spec = spec("f", "e");
    if let Some(vm) = &mut spec.vm {
        vm.set_accelerator(container::vm::Accelerator::Kvm);
    }
    let xml = xml_of(&spec, &image());
    assert!(xml.starts_with("<domain type='kvm'>") && xml.contains("<cpu mode='host-passthrough'/>"));
    assert_eq!(text_of(&xml, "memory"), "128");
}

#[test]
fn only_an_emulated_kernel_is_told_not_to_count_the_timers_ticks() {
    let line = |accelerator| {
        let mut spec = spec("f", "e");
        spec.vm.as_mut().expect("a VM").set_accelerator(accelerator);
        text_of(&xml_of(&spec, &image()), "cmdline")
    };
    assert_eq!(line(container::vm::Accelerator::Tcg), "root=/dev/vda console=ttyS0 quiet no_timer_check");
    assert_eq!(line(container::vm::Accelerator::Kvm), "root=/dev/vda console=ttyS0 quiet");
}

#[test]
fn macs_are_libvirts_and_differ() {
    let macs: std::collections::HashSet<String> = (0..16).map(|_| random_mac().expect("a MAC")).collect();
    assert!(macs.len() > 14);
    assert!(macs.iter().all(|mac| mac.starts_with("52:54:00:") && mac.len() == 17));
}

#[test]
fn a_container_id_that_is_no_uuid_is_not_the_domains() {
    assert!(is_uuid(CONTAINER));
    for id in ["", "x", "2f1a6a8e-6d1c-4a57-9f0f-0d2b0c6f5f1", "2f1a6a8e-6d1c-4a57-9f0f-0d2b0c6f5f11-"] {
        assert!(!is_uuid(id), "{id}");
    }
    let mut spec = spec("f", "e");
    spec.container_id = "a'<b>".to_string();
    assert!(!xml_of(&spec, &image()).contains("<uuid>"));
}

#[test]
fn a_host_name_holds_only_what_it_may() {
    assert_eq!(host_name("mesos-a_b c'd.e"), "mesos-abcde");
    assert_eq!(host_name(&"x".repeat(200)).len(), 63);
}

/// Files as a container has them, empty but for the overlay, whose chain of backing files the helper follows.
fn files(scratch: &Path) -> (Image, VmState) {
    let image = Image {
        directory: scratch.join("images/default"),
        kernel: Some(scratch.join("images/default/vmlinuz")),
        initrd: Some(scratch.join("images/default/initrd")),
        ..image()
    };
    let directory = scratch.join("vms").join(CONTAINER);
    for directory in [&image.directory, &directory] {
        std::fs::create_dir_all(directory).expect("directory");
    }
    for name in ["vmlinuz", "initrd"] {
        std::fs::write(image.directory.join(name), "").expect("file");
    }
    for name in ["console.log", "key.pub", "host_key"] {
        std::fs::write(directory.join(name), "").expect("file");
    }
    let base = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(image.disk()).arg("1M").status();
    assert!(base.is_ok_and(|status| status.success()), "qemu-img: install qemu-utils");
    let soon = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let overlay = Job::start(overlay_command(&image, &directory), soon).and_then(Job::wait);
    assert!(overlay.is_ok_and(|end| end.is_success()));
    let state = VmState { directory: directory.to_string_lossy().into_owned(), ..state() };
    (image, state)
}

/// AppArmor's helper, which libvirt on Ubuntu runs before each start, reads the XML and prints the profile that it would load.
fn profile(spec: &Spec, image: &Image, state: &VmState) -> String {
    use std::io::Write as _;
    let vm = spec.vm.as_ref().expect("vm");
    let xml = xml(spec, vm, state, image, Owner { uid: 64055, gid: 107 });
    let mut helper = Command::new(AA_HELPER)
        .args(["-d", "-c", "-u", &format!("libvirt-{CONTAINER}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{AA_HELPER}: {error}: install libvirt-daemon-system"));
    helper.stdin.take().expect("stdin").write_all(xml.as_bytes()).expect("the helper reads the XML");
    let output = helper.wait_with_output().expect("the helper's end");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "virt-aa-helper refuses:\n{text}\n{xml}");
    text
}

#[test]
fn apparmors_helper_takes_every_domain() {
    let scratch = Scratch::new();
    let (image, state) = files(scratch.path());
    let plain = Image { kernel: None, initrd: None, provision: Provision::None, ..image.clone() };
    for id in hostile_ids() {
        profile(&spec(&id, &id), &image, &state);
    }
    profile(&spec("f", "e"), &plain, &state);
}

#[test]
fn apparmors_helper_would_let_qemu_at_all_that_it_needs_and_write_only_what_is_its_own() {
    let scratch = Scratch::new();
    let (image, state) = files(scratch.path());
    let profile = profile(&spec("f", "e"), &image, &state);
    let rule = |file: &Path, access: &str| {
        let rule = format!("  \"{}\" {access},\n", file.display());
        assert!(profile.contains(&rule), "no rule {rule}{profile}");
    };
    let own = Path::new(&state.directory);
    rule(&own.join("disk.qcow2"), "rwk");
    rule(&own.join("console.log"), "rw");
    rule(&own.join("key.pub"), "r");
    rule(&own.join("host_key"), "r");
    rule(&image.disk(), "rk");
    rule(&image.directory.join("vmlinuz"), "r");
    rule(&image.directory.join("initrd"), "r");
}
