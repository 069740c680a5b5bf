//! Thin, safe wrappers over libvirt: what the `virt` crate does well is passed on, what it lacks (DHCP leases) is called in
//! `virt-sys` here, and every error becomes text that tells an operator what to do.
//!
//! Any of these calls can hang for ever when libvirtd does, so only `vm-worker` makes them: a process that is killed at its
//! deadline.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::net::Ipv4Addr;

use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{ErrorNumber, clear_error_callback};
use virt::network::Network;
use virt::sys;

use super::lease::Lease;

/// A libvirt call that failed.
#[derive(Debug)]
pub enum LibvirtError {
    /// No connection.
    Connect {
        /// The connection's URI.
        uri: String,
        /// libvirt's reason.
        source: virt::error::Error,
    },
    /// Any other call.
    Call {
        /// What was tried, to follow "cannot".
        what: String,
        /// libvirt's reason.
        source: virt::error::Error,
    },
}

impl LibvirtError {
    fn call(what: impl Into<String>) -> impl FnOnce(virt::error::Error) -> LibvirtError {
        let what = what.into();
        move |source| LibvirtError::Call { what, source }
    }

    /// libvirt's own text, in one line.
    pub fn text(&self) -> String {
        let (LibvirtError::Connect { source, .. } | LibvirtError::Call { source, .. }) = self;
        one_line(source.message())
    }
}

impl fmt::Display for LibvirtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LibvirtError::Connect { uri, .. } => write!(
                f,
                "cannot connect to libvirt at {uri}: is libvirtd running? systemctl start libvirtd, or name another with --vm_uri ({})",
                self.text()
            ),
            LibvirtError::Call { what, .. } => write!(f, "cannot {what}: {}", self.text()),
        }
    }
}

impl std::error::Error for LibvirtError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let (LibvirtError::Connect { source, .. } | LibvirtError::Call { source, .. }) = self;
        Some(source)
    }
}

/// QEMU's messages come with line ends in them; an error is one line, since the last line of a worker's stderr is its reason.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// A connection to libvirt.
pub struct Libvirt {
    connection: Connect,
}

impl Libvirt {
    /// Connects; libvirt prints nothing by itself from now on.
    ///
    /// # Errors
    /// [`LibvirtError::Connect`].
    pub fn connect(uri: &str) -> Result<Libvirt, LibvirtError> {
        clear_error_callback();
        match Connect::open(Some(uri)) {
            Ok(connection) => Ok(Libvirt { connection }),
            Err(source) => Err(LibvirtError::Connect { uri: uri.to_string(), source }),
        }
    }

    /// What the host can do, as libvirt's XML.
    ///
    /// # Errors
    /// [`LibvirtError::Call`].
    pub fn capabilities(&self) -> Result<String, LibvirtError> {
        self.connection.capabilities().map_err(LibvirtError::call("read libvirt's capabilities"))
    }

    /// The domain of this name, if there is one.
    ///
    /// # Errors
    /// [`LibvirtError::Call`].
    pub fn domain(&self, name: &str) -> Result<Option<Domain>, LibvirtError> {
        absent_is_none(self.connection.lookup_domain_by_name(name), ErrorNumber::NoDomain)
            .map_err(LibvirtError::call(format!("look up domain {name}")))
    }

    /// Makes and starts a transient domain.
    ///
    /// # Errors
    /// [`LibvirtError::Call`].
    pub fn create_domain(&self, name: &str, xml: &str) -> Result<Domain, LibvirtError> {
        self.connection
            .create_domain_xml(xml, sys::VIR_DOMAIN_NONE)
            .map_err(LibvirtError::call(format!("start domain {name}")))
    }

    /// Ends a domain at once. One that is gone already is no error.
    ///
    /// # Errors
    /// [`LibvirtError::Call`].
    pub fn destroy_domain(&self, name: &str) -> Result<(), LibvirtError> {
        let Some(domain) = self.domain(name)? else {
            return Ok(());
        };
        match domain.destroy() {
            Ok(()) => Ok(()),
            Err(error) if is(&error, ErrorNumber::NoDomain) || is(&error, ErrorNumber::OperationInvalid) => Ok(()),
            Err(error) => Err(LibvirtError::call(format!("destroy domain {name}"))(error)),
        }
    }

    /// Changes an interface of a running domain to what the XML says.
    ///
    /// # Errors
    /// [`LibvirtError::Call`].
    pub fn update_interface(&self, domain: &Domain, xml: &str) -> Result<(), LibvirtError> {
        let result = domain.update_device_flags(xml, sys::VIR_DOMAIN_AFFECT_LIVE);
        result.map_err(LibvirtError::call("bind the guest to its address"))
    }

    /// The uuid of the network filter of this name, if there is one.
    ///
    /// # Errors
    /// [`LibvirtError::Call`]; also when this libvirt has no network filters at all.
    pub fn filter(&self, name: &str) -> Result<Option<String>, LibvirtError> {
        let found = absent_is_none(self.connection.lookup_nwfilter_by_name(name), ErrorNumber::NoNwfilter);
        let uuid = found.and_then(|filter| filter.map(|filter| filter.uuid_string()).transpose());
        uuid.map_err(LibvirtError::call(format!("look up network filter {name}")))
    }

    /// Defines a network filter, or defines it anew.
    ///
    /// # Errors
    /// [`LibvirtError::Call`].
    pub fn define_filter(&self, name: &str, xml: &str) -> Result<(), LibvirtError> {
        let defined = self.connection.define_nwfilter_xml(xml);
        defined.map(drop).map_err(LibvirtError::call(format!("define network filter {name}")))
    }

    /// Takes away what network filters are still bound to the interfaces of a domain that is gone: libvirt leaves them when a domain ends
    /// while its interface is being changed. A libvirt without such bindings has none to be taken away.
    pub fn unbind_filters(&self, domain: &str) {
        let mut array: *mut sys::virNWFilterBindingPtr = std::ptr::null_mut();
        // SAFETY: the connection is alive for the call, `array` takes the result.
        let count = unsafe { sys::virConnectListAllNWFilterBindings(self.connection.as_ptr(), &mut array, 0) };
        for index in 0..usize::try_from(count).unwrap_or(0) {
            // SAFETY: libvirt gave an array of `count` valid bindings, each to be freed by us, and each is touched once.
            unsafe {
                let binding = *array.add(index);
                if binding_owner(binding).as_deref() == Some(domain) {
                    sys::virNWFilterBindingDelete(binding);
                }
                sys::virNWFilterBindingFree(binding);
            }
        }
        // SAFETY: the array itself is malloc's and ours; free(NULL) is fine.
        unsafe { libc::free(array.cast()) };
    }

    /// The network of this name, if there is one.
    ///
    /// # Errors
    /// [`LibvirtError::Call`].
    pub fn network(&self, name: &str) -> Result<Option<Network>, LibvirtError> {
        absent_is_none(self.connection.lookup_network_by_name(name), ErrorNumber::NoNetwork)
            .map_err(LibvirtError::call(format!("look up network {name}")))
    }

    /// Makes and starts a transient network.
    ///
    /// # Errors
    /// [`LibvirtError::Call`].
    pub fn create_network(&self, name: &str, xml: &str) -> Result<Network, LibvirtError> {
        self.connection.create_network_xml(xml).map_err(LibvirtError::call(format!("start network {name}")))
    }
}

/// Whether the network runs.
///
/// # Errors
/// [`LibvirtError::Call`].
pub fn network_is_active(network: &Network) -> Result<bool, LibvirtError> {
    network.is_active().map_err(LibvirtError::call("ask whether the network is active"))
}

/// The network's XML, as it runs.
///
/// # Errors
/// [`LibvirtError::Call`].
pub fn network_xml(network: &Network) -> Result<String, LibvirtError> {
    network.xml_desc(0).map_err(LibvirtError::call("read the network's XML"))
}

/// Reserves an address for a MAC in the running network.
///
/// # Errors
/// [`LibvirtError::Call`]; also when either is reserved already.
pub fn add_reservation(network: &Network, mac: &str, address: Ipv4Addr) -> Result<(), LibvirtError> {
    let xml = format!("<host mac='{mac}' ip='{address}'/>");
    update_hosts(network, sys::VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, &xml)
        .map_err(LibvirtError::call(format!("reserve address {address}")))
}

/// Gives up a MAC's reservation; there must be one.
///
/// # Errors
/// [`LibvirtError::Call`].
pub fn remove_reservation(network: &Network, mac: &str) -> Result<(), LibvirtError> {
    let xml = format!("<host mac='{mac}'/>");
    update_hosts(network, sys::VIR_NETWORK_UPDATE_COMMAND_DELETE, &xml)
        .map_err(LibvirtError::call(format!("remove the reservation of {mac}")))
}

fn update_hosts(network: &Network, command: sys::virNetworkUpdateCommand, xml: &str) -> Result<(), virt::error::Error> {
    network.update(command, sys::VIR_NETWORK_SECTION_IP_DHCP_HOST, -1, xml, sys::VIR_NETWORK_UPDATE_AFFECT_LIVE)
}

/// The network's IPv4 leases: those of one MAC, or all.
///
/// # Errors
/// [`LibvirtError::Call`].
pub fn leases(network: &Network, mac: Option<&str>) -> Result<Vec<Lease>, LibvirtError> {
    let mac = match mac.map(CString::new) {
        Some(Ok(mac)) => Some(mac),
        Some(Err(_)) => return Ok(Vec::new()),
        None => None,
    };
    let mac = mac.as_ref().map_or(std::ptr::null(), |mac| mac.as_ptr());
    let mut array: *mut sys::virNetworkDHCPLeasePtr = std::ptr::null_mut();
    // SAFETY: the network is alive for the call, `mac` is null or a string that outlives it, `array` takes the result.
    let count = unsafe { sys::virNetworkGetDHCPLeases(network.as_ptr(), mac, &mut array, 0) };
    let Ok(count) = usize::try_from(count) else {
        return Err(LibvirtError::call("read the network's DHCP leases")(virt::error::Error::last_error()));
    };
    let mut leases = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: libvirt gave an array of `count` valid leases, each to be freed by us, and each is touched once.
        unsafe {
            let lease = *array.add(index);
            leases.extend(copy_lease(&*lease));
            sys::virNetworkDHCPLeaseFree(lease);
        }
    }
    // SAFETY: the array itself is malloc's and ours; free(NULL) is fine.
    unsafe { libc::free(array.cast()) };
    Ok(leases)
}

/// The name of the domain that a filter's binding is for.
///
/// # Safety
/// The binding is valid.
unsafe fn binding_owner(binding: sys::virNWFilterBindingPtr) -> Option<String> {
    // SAFETY: as the caller promises; the text is malloc's and ours, and freed once.
    let xml = unsafe {
        let raw = sys::virNWFilterBindingGetXMLDesc(binding, 0);
        let xml = text(raw);
        libc::free(raw.cast());
        xml?
    };
    let document = roxmltree::Document::parse(&xml).ok()?;
    let owner = document.descendants().find(|node| node.has_tag_name("owner"))?;
    let name = owner.children().find(|node| node.has_tag_name("name"))?;
    name.text().map(str::to_string)
}

/// Copies an IPv4 lease out of libvirt's memory.
///
/// # Safety
/// Every string of the lease is null or valid.
unsafe fn copy_lease(lease: &sys::virNetworkDHCPLease) -> Option<Lease> {
    if lease.type_ != sys::VIR_IP_ADDR_TYPE_IPV4 as i32 {
        return None;
    }
    // SAFETY: as the caller promises.
    let (mac, address, client_id) = unsafe { (text(lease.mac), text(lease.ipaddr), text(lease.clientid)) };
    Some(Lease { mac: mac?, address: address?.parse().ok()?, expiry: lease.expirytime, client_id })
}

/// # Safety
/// The pointer is null or a valid string.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

fn is(error: &virt::error::Error, number: ErrorNumber) -> bool {
    error.code().is_known_and(|code| code == number)
}

fn absent_is_none<T>(
    result: Result<T, virt::error::Error>,
    absent: ErrorNumber,
) -> Result<Option<T>, virt::error::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is(&error, absent) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_many_lines_becomes_one() {
        assert_eq!(one_line("process exited:\nqemu: no memory\n\n"), "process exited:; qemu: no memory");
    }

    #[test]
    fn no_libvirtd_is_told_with_what_to_do() {
        let error = match Libvirt::connect("qemu+unix:///system?socket=/nonexistent/libvirt-sock") {
            Ok(_) => panic!("connected to nothing"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains("is libvirtd running? systemctl start libvirtd"), "{error}");
    }

    /// libvirt's own test driver stands in for a host: its `default` network has no DHCP leases.
    #[test]
    fn what_is_absent_is_none_and_no_error() {
        let libvirt = Libvirt::connect("test:///default").expect("libvirt's test driver");
        assert!(libvirt.domain("mesos-none").expect("domain").is_none());
        assert!(libvirt.network("none").expect("network").is_none());
        libvirt.destroy_domain("mesos-none").expect("destroy");
    }
}
