//! `mesos-slave vm-preflight URI NETWORK`: asks libvirt, in a process of its own, since any of its calls can hang for ever.
//! It prints `key=value` lines; on failure the last line of stderr is the reason and the exit status is 1.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use crate::vm::filter::CLEAN_TRAFFIC;
use crate::vm::host;
use crate::vm::libvirt::{self, Libvirt};
use crate::vm::network_xml::NetworkFacts;

use super::access::Identity;
use super::facts::{LibvirtFacts, NetworkState};
use super::routes::Subnet;

/// The hidden subcommand's name.
pub(super) const SUBCOMMAND: &str = "vm-preflight";

/// The subcommand, with its arguments.
pub fn main(args: &[String]) -> ExitCode {
    let [uri, network] = args else {
        eprintln!("{SUBCOMMAND} is for mesos-slave itself: {SUBCOMMAND} URI NETWORK");
        return ExitCode::from(2);
    };
    match probe(uri, network) {
        Ok(lines) => {
            // A parent that is gone needs no answer.
            match std::io::stdout().write_all(lines.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn probe(uri: &str, network: &str) -> Result<String, Box<dyn Error>> {
    // The parent says what it is about and what mends it; here only libvirt's own reason.
    let libvirt = Libvirt::connect(uri).map_err(|error| error.text())?;
    let capabilities = libvirt.capabilities()?;
    let owner = host::qemu_user(&capabilities)?;
    let mut lines = format!("qemu={}:{}\n", owner.uid, owner.gid);
    for domain in domain_types(&capabilities, std::env::consts::ARCH)? {
        lines += &format!("domain_{domain}=yes\n");
    }
    // A libvirt without the driver for them says so by an error.
    if libvirt.filter(CLEAN_TRAFFIC).is_ok_and(|filter| filter.is_some()) {
        lines += "filters=yes\n";
    }
    lines += &match libvirt.network(network)? {
        None => "network=missing\n".to_string(),
        Some(network) if !libvirt::network_is_active(&network)? => "network=inactive\n".to_string(),
        Some(network) => network_lines(&libvirt::network_xml(&network)?),
    };
    Ok(lines)
}

/// The kinds of domain that libvirt offers for the architecture: `qemu`, `kvm`.
pub(super) fn domain_types(capabilities: &str, architecture: &str) -> Result<Vec<String>, roxmltree::Error> {
    let document = roxmltree::Document::parse(capabilities)?;
    let arch = document.descendants().filter(|node| node.has_tag_name("arch"));
    let ours = arch.filter(|node| node.attribute("name") == Some(architecture));
    let domains = ours.flat_map(|node| node.children().filter(|child| child.has_tag_name("domain")));
    let mut types: Vec<_> = domains.filter_map(|node| node.attribute("type")).map(str::to_string).collect();
    types.sort();
    types.dedup();
    Ok(types)
}

pub(super) fn network_lines(xml: &str) -> String {
    let facts = match NetworkFacts::parse(xml) {
        Ok(facts) => facts,
        Err(error) => {
            return format!("network=unusable\nproblem={}\n", error.to_string().replace('\n', " "));
        }
    };
    let NetworkFacts { bridge, gateway, prefix, .. } = &facts;
    format!("network=active\nbridge={bridge}\ngateway={gateway}\nsubnet={gateway}/{prefix}\n")
}

/// Reads the lines again.
pub(super) fn parse(stdout: &str) -> Result<LibvirtFacts, String> {
    let values: BTreeMap<&str, &str> = stdout.lines().filter_map(|line| line.split_once('=')).collect();
    let value = |key: &str| values.get(key).copied().ok_or_else(|| format!("{SUBCOMMAND} did not print {key}="));
    let number = |text: &str| text.parse::<u32>().map_err(|_| format!("{SUBCOMMAND} printed a bad number: {text}"));
    let (uid, gid) = value("qemu")?.split_once(':').ok_or_else(|| format!("{SUBCOMMAND} printed a bad user"))?;
    let network = match value("network")? {
        "missing" => NetworkState::Missing,
        "inactive" => NetworkState::Inactive,
        "active" => NetworkState::Active {
            bridge: value("bridge")?.to_string(),
            gateway: value("gateway")?.parse().map_err(|_| format!("{SUBCOMMAND} printed a bad gateway"))?,
            subnet: value("subnet").ok().and_then(Subnet::parse),
        },
        _ => NetworkState::Unusable(value("problem")?.to_string()),
    };
    let emulator = values.contains_key("domain_qemu") || values.contains_key("domain_kvm");
    let qemu = Identity { uid: number(uid)?, groups: vec![number(gid)?] };
    let (kvm, filters) = (values.contains_key("domain_kvm"), values.contains_key("filters"));
    Ok(LibvirtFacts { qemu, emulator, kvm, filters, network })
}
