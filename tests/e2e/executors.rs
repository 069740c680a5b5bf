//! Executors of the frameworks' own, on either of Mesos' APIs: `executors/executor.py`, which is written by hand against both, and
//! pymesos. What does not depend on the guest is tested with processes of the host.

mod failures;
mod fetched;
mod framework;
mod groups;
mod in_guest;
mod masters;
mod pymesos;

/// The Python that a distribution brings along, with which its `python3-…` packages work.
const PYTHON: &str = "/usr/bin/python3";

/// Flags of a slave whose executors are processes of the host.
const PROCESS: &[&str] = &["--isolation=process"];

/// Flags of a slave whose guests have Python.
const PYTHON_GUEST: &[&str] = &["--vm_image=python", "--resources=cpus:2;mem:2048"];
