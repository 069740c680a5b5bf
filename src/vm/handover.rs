//! Handing a connected socket to ssh. The probe that finds out whether sshd greets has a connection already, and a second one would cost an
//! emulated guest another sshd, a tenth of a second. So ssh gets that one:
//!
//! ```text
//! vm-container (pid P, socket F) ── starts ──► ssh -o ProxyUseFdpass=yes -o ProxyCommand='/proc/P/exe vm-hand-over P F ADDRESS PORT'
//!        ▲                                        ▲
//!        └── pidfd_getfd(P, F) ── vm-hand-over ───┘ SCM_RIGHTS over its output, as ssh_config(5) has it
//! ```
//!
//! Where the kernel does not let it (before Linux 5.6, or without CAP_SYS_PTRACE), the helper connects anew.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::Pid;

use crate::subprocess::pidfd_open;

/// How long a new connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// What ssh has to be told to take this socket of ours. It must stay open until ssh is connected.
pub fn options(socket: &TcpStream, address: Ipv4Addr, port: u16) -> [OsString; 4] {
    let (pid, fd) = (std::process::id(), socket.as_raw_fd());
    let command = format!("ProxyCommand=/proc/{pid}/exe vm-hand-over {pid} {fd} {address} {port}");
    ["-o".into(), "ProxyUseFdpass=yes".into(), "-o".into(), command.into()]
}

/// `mesos-slave vm-hand-over PID FD ADDRESS PORT`: for ssh to start.
pub fn main(args: &[String]) -> ExitCode {
    match hand_over(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot hand the connection to ssh: {error}");
            ExitCode::FAILURE
        }
    }
}

fn hand_over(args: &[String]) -> io::Result<()> {
    let usage = || io::Error::new(io::ErrorKind::InvalidInput, "this command is for ssh to start");
    let [pid, fd, address, port] = args else { return Err(usage()) };
    let number = |text: &String| text.parse::<i32>().map_err(|_| usage());
    let address: Ipv4Addr = address.parse().map_err(|_| usage())?;
    let port: u16 = port.parse().map_err(|_| usage())?;
    let socket = match take(number(pid)?, number(fd)?) {
        Ok(socket) => socket,
        Err(_) => TcpStream::connect_timeout(&SocketAddrV4::new(address, port).into(), CONNECT)?.into(),
    };
    // ssh reads one byte, and the descriptor that comes with it.
    let (byte, descriptors) = ([0u8], [socket.as_raw_fd()]);
    sendmsg::<()>(
        io::stdout().as_raw_fd(),
        &[IoSlice::new(&byte)],
        &[ControlMessage::ScmRights(&descriptors)],
        MsgFlags::empty(),
        None,
    )?;
    Ok(())
}

/// A descriptor of another process, which keeps its own.
fn take(pid: i32, fd: RawFd) -> io::Result<OwnedFd> {
    let process = pidfd_open(Pid::from_raw(pid))?;
    // SAFETY: the call takes three integers and returns a new descriptor or -1.
    let taken = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) };
    if taken < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(taken as RawFd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn a_descriptor_that_was_taken_leads_to_the_same_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let ours = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (mut peer, _) = listener.accept().expect("accept");
        let taken = take(std::process::id() as i32, ours.as_raw_fd()).expect("pidfd_getfd");
        drop(ours);
        peer.write_all(b"SSH-").expect("write");
        let mut greeting = [0u8; 4];
        TcpStream::from(taken).read_exact(&mut greeting).expect("read");
        assert_eq!(&greeting, b"SSH-");
    }

    #[test]
    fn ssh_is_told_our_process_the_socket_and_the_way_without_them() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let socket = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let words = options(&socket, Ipv4Addr::new(10, 0, 0, 2), 22);
        let command = words[3].to_string_lossy().into_owned();
        let (pid, fd) = (std::process::id(), socket.as_raw_fd());
        assert_eq!(command, format!("ProxyCommand=/proc/{pid}/exe vm-hand-over {pid} {fd} 10.0.0.2 22"));
    }

    #[test]
    fn anything_else_than_four_numbers_is_refused() {
        for args in [vec![], vec!["1", "2", "x", "22"], vec!["a", "2", "10.0.0.2", "22"]] {
            let args: Vec<String> = args.into_iter().map(str::to_string).collect();
            assert!(hand_over(&args).is_err());
        }
    }
}
