//! What a guest may send, as a network filter of libvirt's. Pure: the filter's XML, and the reference to it in a domain's.
//!
//! ```text
//! guest ─► MAC and IPv4 address its own, ARP tells of no others ─► to the gateway, or DHCP ─────► out
//!          (libvirt's clean-traffic, with the explicit address)    to the rest of its subnet,
//!                                                                  to all at once ──────────────► dropped
//!                                                                  elsewhere ───────────────────► out, by NAT
//! ```
//!
//! The rules sit on the guest's own port of the bridge and look at the IPv4 destination, so that both ways to a neighbour are
//! closed: the direct one, and the detour by which the gateway would route the packet back into the subnet. Beside that the port is
//! isolated, which closes what is not IPv4 and costs nothing.
//!
//! The filter is bound to the guest's interface while the guest boots: libvirt carries the rules out by some eighty runs of ebtables and
//! iptables (0.3 s on a quiet host, more than a second on a busy one), which so cost a launch next to nothing. Until then nothing
//! of a framework's runs in the guest, only the operator's image.

use std::net::Ipv4Addr;

use super::network_xml::NetworkFacts;
use crate::messages::container::vm::GuestIsolation;

/// The filter that is defined by us.
pub const OUR_FILTER: &str = "mesos-slave-guest";
/// The one that it includes, which comes with libvirt.
pub const CLEAN_TRAFFIC: &str = "clean-traffic";

/// Our filter. The priorities put its rules between those by which clean-traffic judges an IPv4 packet's source (-710) and its
/// acceptance of all that is left (-650); 3 bits of 224.0.0.0 are all that is no unicast, the reserved addresses with it.
///
/// `uuid` is that of the filter of this name that is there: libvirt defines one anew under the same id only.
pub fn definition(uuid: Option<&str>) -> String {
    let uuid = uuid.map(|uuid| format!("\n  <uuid>{uuid}</uuid>")).unwrap_or_default();
    format!(
        "<filter name='{OUR_FILTER}' chain='root'>{uuid}
  <filterref filter='{CLEAN_TRAFFIC}'/>
  <rule action='accept' direction='out' priority='-690'><ip dstipaddr='$GATEWAY'/></rule>
  <rule action='accept' direction='out' priority='-690'><ip dstipaddr='255.255.255.255' protocol='udp' dstportstart='67'/></rule>
  <rule action='drop' direction='out' priority='-680'><ip dstipaddr='$SUBNET' dstipmask='$PREFIX'/></rule>
  <rule action='drop' direction='out' priority='-680'><ip dstipaddr='224.0.0.0' dstipmask='3'/></rule>
</filter>
"
    )
}

/// The filter that an interface is bound to; none if guests are not to be kept apart.
pub fn name(isolation: GuestIsolation) -> Option<&'static str> {
    match isolation {
        GuestIsolation::Full => Some(OUR_FILTER),
        GuestIsolation::Address => Some(CLEAN_TRAFFIC),
        GuestIsolation::None => None,
    }
}

/// The element of an interface that binds it to its address and, with `full`, keeps it from its neighbours.
pub fn reference(isolation: GuestIsolation, address: Ipv4Addr, network: &NetworkFacts) -> Option<String> {
    let name = name(isolation)?;
    let mut parameters = vec![("IP", address.to_string())];
    if isolation == GuestIsolation::Full {
        parameters.push(("GATEWAY", network.gateway.to_string()));
        parameters.push(("SUBNET", network.first_address().to_string()));
        parameters.push(("PREFIX", network.prefix.to_string()));
    }
    let parameters = parameters.iter().map(|(name, value)| format!("<parameter name='{name}' value='{value}'/>"));
    Some(format!("<filterref filter='{name}'>{}</filterref>", parameters.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> NetworkFacts {
        NetworkFacts::parse(
            "<network><bridge name='b'/><ip address='10.97.5.1' prefix='20'><dhcp><range start='10.97.0.2' end='10.97.0.9'/></dhcp></ip></network>",
        )
        .expect("a network")
    }

    #[test]
    fn the_filter_is_xml_that_includes_clean_traffic_and_drops_the_subnet_but_for_the_gateway_first() {
        let text = definition(Some("6d65736f-732d-736c-6176-652d67756573"));
        assert!(!definition(None).contains("uuid"));
        let document = roxmltree::Document::parse(&text).expect("XML");
        let included = document.descendants().find(|node| node.has_tag_name("filterref")).expect("a reference");
        assert_eq!(included.attribute("filter"), Some(CLEAN_TRAFFIC));
        let rules = document.descendants().filter(|node| node.has_tag_name("rule"));
        let rules: Vec<(i32, &str, &str)> = rules
            .map(|rule| {
                let priority = rule.attribute("priority").and_then(|text| text.parse().ok()).expect("a priority");
                let ip = rule.first_element_child().expect("a condition");
                (priority, rule.attribute("action").expect("action"), ip.attribute("dstipaddr").expect("address"))
            })
            .collect();
        let accepted = rules.iter().filter(|rule| rule.1 == "accept").map(|rule| rule.0).max();
        let dropped = rules.iter().filter(|rule| rule.1 == "drop").map(|rule| rule.0).min();
        assert!(accepted < dropped, "what is allowed is judged first: {rules:?}");
        assert!(rules.iter().all(|rule| (-709..-650).contains(&rule.0)), "after the source, before all is accepted");
        assert!(rules.iter().any(|rule| rule.1 == "drop" && rule.2 == "$SUBNET"));
    }

    #[test]
    fn each_isolation_names_its_filter_with_the_explicit_address() {
        let address = Ipv4Addr::new(10, 97, 3, 7);
        let of = |isolation| reference(isolation, address, &network());
        let full = of(GuestIsolation::Full).expect("a filter");
        for part in [OUR_FILTER, "'IP' value='10.97.3.7'", "'GATEWAY' value='10.97.5.1'", "'SUBNET' value='10.97.0.0'"]
        {
            assert!(full.contains(part), "{part} in {full}");
        }
        assert!(full.contains("'PREFIX' value='20'"), "{full}");
        let only = "<filterref filter='clean-traffic'><parameter name='IP' value='10.97.3.7'/></filterref>";
        assert_eq!(of(GuestIsolation::Address).as_deref(), Some(only));
        assert_eq!(of(GuestIsolation::None), None);
    }
}
