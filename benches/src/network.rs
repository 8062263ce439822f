//! Owns the network namespaces of a run, as root: one for the run itself, so that it may choose the
//! congestion control, and one at the other end of a veth pair. They have no name outside the run,
//! so the kernel removes them and the pair, however the run ends.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::thread;

use crate::sys;

/// The addresses of the pair, from the block for benchmarks (RFC 2544).
const SERVER_ADDRESS: &str = "198.18.0.1/30";
const CLIENT_ADDRESS: &str = "198.18.0.2/30";
/// The address of a server whose clients come over the pair.
pub const VETH_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
/// The address of a server whose clients come over loopback.
pub const LOOPBACK_IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SERVER_DEVICE: &str = "hbbench0";
const CLIENT_DEVICE: &str = "hbbench1";
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// A network namespace in which loopback is up.
pub struct Namespace {
    descriptor: OwnedFd,
}

impl Namespace {
    /// A new namespace, with this congestion control or that of the machine.
    pub fn new(congestion: Option<&str>) -> io::Result<Self> {
        // A thread of its own makes the namespace, so that the caller stays in the old one.
        let made = thread::scope(|scope| {
            scope
                .spawn(|| -> io::Result<File> {
                    sys::leave_network_namespace()?;
                    let file = File::open("/proc/thread-self/ns/net")?;
                    ip(Command::new("ip"), "link set lo up")?;
                    if let Some(name) = congestion {
                        fs::write(CONGESTION_CONTROL, name).map_err(|error| {
                            let reason = format!("congestion control {name}: {error}");
                            io::Error::new(error.kind(), reason)
                        })?;
                    }
                    Ok(file)
                })
                .join()
        });
        let file = made.map_err(|_| io::Error::other("the thread of the namespace panicked"))??;
        Ok(Self { descriptor: file.into() })
    }

    /// Moves the calling thread into the namespace, and with it what the thread starts from now on.
    pub fn enter(&self) -> io::Result<()> {
        sys::enter_network_namespace(self.descriptor.as_raw_fd())
    }

    /// Makes a command start inside the namespace.
    pub fn hold(&self, command: &mut Command) {
        sys::start_in_network_namespace(command, self.descriptor.as_raw_fd());
    }

    /// Joins the namespace of the calling thread and this one with a veth pair, with the MTU and
    /// the offloads that the kernel gives it.
    pub fn join_by_veth(&self) -> io::Result<()> {
        let other = format!("/proc/{}/fd/{}", std::process::id(), self.descriptor.as_raw_fd());
        let pair =
            format!("link add {SERVER_DEVICE} type veth peer name {CLIENT_DEVICE} netns {other}");
        ip(Command::new("ip"), &pair)?;
        ip(Command::new("ip"), &format!("address add {SERVER_ADDRESS} dev {SERVER_DEVICE}"))?;
        ip(Command::new("ip"), &format!("link set {SERVER_DEVICE} up"))?;
        let inside = || {
            let mut command = Command::new("ip");
            self.hold(&mut command);
            command
        };
        ip(inside(), &format!("address add {CLIENT_ADDRESS} dev {CLIENT_DEVICE}"))?;
        ip(inside(), &format!("link set {CLIENT_DEVICE} up"))
    }
}

fn ip(mut command: Command, arguments: &str) -> io::Result<()> {
    let output = command.args(arguments.split(' ')).stdin(Stdio::null()).output();
    let output = output.map_err(|error| io::Error::new(error.kind(), format!("ip: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {arguments}: {}", said.trim())))
}
