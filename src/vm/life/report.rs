//! What is told of the ends of a VM's life: state and reason as Mesos' own command executor and agent have them
//! (`launcher/executor.cpp`, `slave/slave.cpp`), and a message that names the step, the cause, and what to do.

use std::net::Ipv4Addr;

use super::types::{Cause, Failure, JobKind, Settings, Shape};
use crate::container::status::{Report, command_ended};
use crate::messages::mesos::TaskState;
use crate::messages::mesos::task_status::Reason;
use crate::subprocess::Exit;

fn failed(reason: Reason, message: String) -> Report {
    Report { reason: Some(reason), message: Some(message), ..Report::plain(TaskState::TaskFailed) }
}

fn not_launched(settings: &Settings, step: &str, cause: &str) -> Report {
    let what = match settings.shape {
        Shape::Command | Shape::Holder => "virtual machine not started",
        Shape::Joined(_) => "not started in its executor's virtual machine",
    };
    failed(Reason::ContainerLaunchFailed, format!("{what}, step {step}: {cause}"))
}

/// Where an operator finds the guest's console.
fn console(settings: &Settings) -> &'static str {
    match settings.shape {
        Shape::Command | Shape::Holder => "console.log in the sandbox",
        Shape::Joined(_) => "console.log in the executor's sandbox",
    }
}

/// What was in the guest.
fn what(settings: &Settings) -> &'static str {
    match settings.shape {
        Shape::Command | Shape::Joined(_) => "the command",
        Shape::Holder => "all that joined it",
    }
}

/// The overlay or a key could not be made.
pub fn prepare(settings: &Settings, job: JobKind, failure: &Failure) -> Report {
    let advice = match (job, failure.cause) {
        // The image says itself what is wrong with it.
        (_, Cause::Fatal) => String::new(),
        (JobKind::Overlay, _) => {
            format!("; check the image {} and the space on --vm_dir's file system", settings.image)
        }
        _ => "; check that ssh-keygen is installed, and the space on --vm_dir's file system".to_string(),
    };
    not_launched(settings, "overlay", &format!("{}{advice}", failure.text))
}

/// A file that the command names could not be fetched.
pub fn fetch(failure: &Failure) -> Report {
    failed(Reason::ContainerLaunchFailed, failure.text.clone())
}

/// What was fetched did not get into the guest.
pub fn bring(settings: &Settings, failure: &Failure) -> Report {
    if failure.cause == Cause::Fatal {
        return failed(Reason::ContainerLaunchFailed, format!("Failed to launch container: {}", failure.text));
    }
    not_launched(settings, "files", &format!("{}; is there room for them in the guest?", failure.text))
}

/// libvirt did not start the domain.
pub fn start(settings: &Settings, failure: &Failure) -> Report {
    match failure.cause {
        Cause::Deadline => not_launched(settings, "boot", &no_libvirt(settings)),
        _ => not_launched(settings, "boot", &failure.text),
    }
}

fn no_libvirt(settings: &Settings) -> String {
    format!("libvirt did not answer in time; see whether it runs and answers: virsh -c {} list", settings.uri)
}

/// No lease was seen.
pub fn lease(settings: &Settings, failure: &Failure) -> Report {
    match failure.cause {
        Cause::Deadline => not_launched(
            settings,
            "address",
            &format!(
                "no DHCP lease for {} on network {} within --vm_boot_timeout ({} s); console.log in the sandbox shows how far the guest \
                 booted; see virsh -c {} net-dhcp-leases {}, and give a slow host a longer --vm_boot_timeout",
                settings.mac,
                settings.network,
                settings.boot_timeout.as_secs_f64(),
                settings.uri,
                settings.network
            ),
        ),
        _ => not_launched(settings, "address", &failure.text),
    }
}

/// No connection could be made, and trying again is of no use.
pub fn ssh(settings: &Settings, address: Option<Ipv4Addr>, failure: &Failure) -> Report {
    not_launched(settings, "ssh", &format!("{}: {}; the image is {}", guest(address), failure.text, settings.image))
}

/// No connection was made in time.
pub fn ssh_deadline(settings: &Settings, address: Option<Ipv4Addr>, last: Option<&str>) -> Report {
    let last = last.map(|last| format!(" (last try: {last})")).unwrap_or_default();
    not_launched(
        settings,
        "ssh",
        &format!(
            "{}: no ssh connection within --vm_boot_timeout ({} s){last}; {} shows whether sshd runs; check \
             the host's firewall towards the guests, and give a slow host a longer --vm_boot_timeout",
            guest(address),
            settings.boot_timeout.as_secs_f64(),
            console(settings)
        ),
    )
}

fn guest(address: Option<Ipv4Addr>) -> String {
    address.map_or("the guest".to_string(), |address| format!("the guest at {address}"))
}

/// The connection broke before the command ran.
pub fn session(settings: &Settings, failure: &Failure) -> Report {
    not_launched(settings, "run", &format!("{}; {} may say why", failure.text, console(settings)))
}

/// The launcher did not start the command.
pub fn launch(settings: &Settings, failure: &Failure) -> Report {
    match failure.cause {
        Cause::NoUser => not_launched(
            settings,
            "run",
            &format!(
                "user '{}' is not in the guest image {}; make it there, or choose another user",
                settings.user, settings.image
            ),
        ),
        _ => not_launched(settings, "run", &failure.text),
    }
}

/// The VM ended by itself before the command ran.
pub fn ended_at_boot(settings: &Settings, panic: Option<&str>) -> Report {
    let step = match settings.shape {
        Shape::Command | Shape::Holder => "boot",
        Shape::Joined(_) => "ssh",
    };
    not_launched(settings, step, &format!("{}; see {}", ended(panic), console(settings)))
}

/// The VM ended by itself, and with it the command.
pub fn ended_while_running(settings: &Settings, panic: Option<&str>) -> Report {
    let ran = match settings.shape {
        Shape::Command | Shape::Joined(_) => "while the command ran",
        Shape::Holder => "while it was in use",
    };
    lost(&format!("{} {ran}; see {}", ended(panic), console(settings)))
}

fn ended(panic: Option<&str>) -> String {
    match panic {
        Some(panic) => format!("the guest's kernel panicked ({panic})"),
        None => "the virtual machine ended (the guest powered off, or QEMU was killed)".to_string(),
    }
}

/// The guest is another one now.
pub fn rebooted(settings: &Settings) -> Report {
    lost(&format!("the guest was booted again, and {} is gone; see {}", what(settings), console(settings)))
}

/// The guest is not heard of any more.
pub fn unreachable(settings: &Settings, why: &str) -> Report {
    lost(&format!("no ssh connection to the guest for two minutes ({why}); see {}", console(settings)))
}

/// The command is gone with its VM.
pub fn lost(message: &str) -> Report {
    failed(Reason::ExecutorTerminated, message.to_string())
}

/// The command ended by itself: as Mesos' command executor has it, without a reason (`CommandExecutor::reaped`).
pub fn exited(exit: Exit) -> Report {
    let state = if exit.is_success() { TaskState::TaskFinished } else { TaskState::TaskFailed };
    Report { message: Some(command_ended(exit)), exit: Some(exit), ..Report::plain(state) }
}

/// The command ended badly after the guest's kernel had killed a process for want of memory: what Mesos says of a container that
/// reached its limit (`MemorySubsystemProcess::oom`).
pub fn out_of_memory(settings: &Settings, exit: Exit) -> Report {
    let message = format!(
        "Memory limit exceeded: the guest's kernel had to kill processes for want of memory ({} tells which); {}",
        console(settings),
        command_ended(exit)
    );
    Report { exit: Some(exit), ..failed(Reason::ContainerLimitationMemory, message) }
}

/// The command ended because it was told to, or with its VM.
pub fn killed(exit: Option<Exit>) -> Report {
    let message = exit.map_or("Command terminated with its virtual machine".to_string(), command_ended);
    Report { message: Some(message), exit, ..Report::plain(TaskState::TaskKilled) }
}

/// The kill came before the command.
pub fn killed_during_launch(when: &str) -> Report {
    Report {
        reason: Some(Reason::TaskKilledDuringLaunch),
        message: Some(format!("killed while the virtual machine {when}")),
        ..Report::plain(TaskState::TaskKilled)
    }
}

/// A holder is not needed any more. What is run in the executor's place, the slave itself, has ended as it should.
pub fn let_go() -> Report {
    Report {
        message: Some("the virtual machine was told to end".to_string()),
        exit: Some(Exit::Status(0)),
        ..Report::plain(TaskState::TaskKilled)
    }
}
