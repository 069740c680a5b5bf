//! What libvirt's capabilities say of the host. Pure.

use std::fmt;

use super::domain::Owner;

/// Why the capabilities are of no use.
#[derive(Debug)]
pub enum HostError {
    /// They are no XML.
    Malformed(roxmltree::Error),
    /// The label is not of the form `+uid:+gid`.
    Label(String),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostError::Malformed(source) => {
                write!(f, "libvirt's capabilities are malformed: {source}")
            }
            HostError::Label(label) => {
                write!(f, "libvirt's capabilities name QEMU's user as {label:?} instead of as +UID:+GID")
            }
        }
    }
}

impl std::error::Error for HostError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            HostError::Malformed(source) => Some(source),
            HostError::Label(_) => None,
        }
    }
}

/// Who QEMU runs as: the base label of the `dac` security model, which is what `user` and `group` in `qemu.conf` say. A libvirt
/// without that model starts QEMU as itself, root.
///
/// # Errors
/// [`HostError`].
pub fn qemu_user(capabilities: &str) -> Result<Owner, HostError> {
    let document = roxmltree::Document::parse(capabilities).map_err(HostError::Malformed)?;
    let models = document.descendants().filter(|node| node.has_tag_name("secmodel"));
    let child = |node: roxmltree::Node<'_, '_>, name: &str| {
        let child = node.children().find(|child| child.has_tag_name(name));
        child.and_then(|child| child.text()).map(str::to_string)
    };
    let dac = models.into_iter().find(|model| child(*model, "model").as_deref() == Some("dac"));
    match dac.and_then(|model| child(model, "baselabel")) {
        Some(label) => parse_label(&label).ok_or(HostError::Label(label)),
        None => Ok(Owner { uid: 0, gid: 0 }),
    }
}

fn parse_label(label: &str) -> Option<Owner> {
    let (uid, gid) = label.trim().split_once(':')?;
    let number = |text: &str| text.strip_prefix('+')?.parse().ok();
    Some(Owner { uid: number(uid)?, gid: number(gid)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemus_user_is_the_dac_models_base_label() {
        let xml = "<capabilities><host>
            <secmodel><model>apparmor</model><doi>0</doi></secmodel>
            <secmodel><model>dac</model><doi>0</doi>
              <baselabel type='kvm'>+64055:+107</baselabel><baselabel type='qemu'>+64055:+107</baselabel>
            </secmodel></host></capabilities>";
        assert_eq!(qemu_user(xml).expect("a user"), Owner { uid: 64055, gid: 107 });
    }

    #[test]
    fn without_the_dac_model_qemu_is_root() {
        let xml = "<capabilities><host/></capabilities>";
        assert_eq!(qemu_user(xml).expect("a user"), Owner { uid: 0, gid: 0 });
    }

    #[test]
    fn a_label_that_is_no_pair_of_numbers_is_refused() {
        for label in ["root:root", "+1", "1:1", "+1:+x", "+-1:+1", "+4294967296:+1"] {
            let xml = format!("<c><secmodel><model>dac</model><baselabel>{label}</baselabel></secmodel></c>");
            assert!(matches!(qemu_user(&xml), Err(HostError::Label(_))), "{label}");
        }
        assert!(matches!(qemu_user("<c>"), Err(HostError::Malformed(_))));
    }
}
