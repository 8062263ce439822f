//! A program in a memory cgroup of 32 MiB, as in the default pod: connections alone never get it
//! killed. Needs the right to make a cgroup; without it a warning says that nothing was tested.

mod binary;

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use binary::{drivers, not_tested, serving};
use heartbeat_testkit::{Client, Program, eventually, limit_own};
use rustix::net::{AddressFamily, SocketAddrV4, SocketFlags, SocketType};
use rustix::net::{bind_v4, connect_v4, socket_with};

const LIMIT_BYTES: u64 = 32 << 20;

/// Heads that are never finished, each of nearly the length that is allowed: twice what the limit
/// has room for, and fewer than the connections that it allows.
const HEADS: usize = 4000;
const HEAD_BYTES: usize = 15_900;

/// Connections that send nothing. A program without a limit of connections was killed at 11,444.
const SILENT: usize = 13_000;

/// Connections from one address, so that a free port is found at once.
const PER_ADDRESS: usize = 5_000;

/// Descriptors that this program needs besides its connections.
const DESCRIPTORS_RESERVED: usize = 64;

/// Raises this program's soft limit of descriptors, and returns how many connections there may be.
/// Only one test runs at a time, because each may use all of them.
fn room() -> (MutexGuard<'static, ()>, usize) {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    limit_own(libc::RLIMIT_NOFILE, u64::MAX);
    let limit = limit_own(libc::RLIMIT_NOFILE, u64::MAX);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    (alone, limit.saturating_sub(DESCRIPTORS_RESERVED))
}

/// A memory cgroup of its own, removed when this is dropped.
struct Group(PathBuf);

impl Group {
    /// None, with a warning, if it cannot be made here.
    fn new(name: &str) -> Option<Self> {
        let name = format!("heartbeat-test-{}-{name}", std::process::id());
        for (mount, limit) in
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
        {
            let group = Self(Path::new(mount).join(&name));
            if fs::create_dir(&group.0).is_ok()
                && group.0.join(limit).exists()
                && fs::write(group.0.join(limit), LIMIT_BYTES.to_string()).is_ok()
            {
                return Some(group);
            }
        }
        not_tested("a memory limit, for which no cgroup can be made here");
        None
    }

    /// Starts the program in this group: a shell enters the group, and then executes the program.
    fn start(&self, driver: &str) -> Program {
        let plain = serving(&["--io", driver, "--threads", "1"]);
        let mut command = Command::new("/bin/sh");
        command.env_clear().stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        command.arg(self.0.join("cgroup.procs")).arg(plain.get_program()).args(plain.get_args());
        Program::start(command)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Checks that the program has not been killed, and serves as soon as the others have left.
#[track_caller]
fn assert_recovers(program: &mut Program) {
    program.assert_is_running();
    eventually("it serves again", || {
        let Ok(mut peer) = Client::try_connect(program.address()) else { return false };
        peer.try_send("GET /heartbeat/17 HTTP/1.1\r\nHost: test\r\n\r\n").is_ok()
            && peer.try_answer().is_ok_and(|head| head.is_payload(17))
    });
    program.assert_is_running();
}

/// Whether a peer has been answered with 431.
fn is_refused(peer: &mut Client) -> bool {
    let mut line = [0; 12];
    let stream = peer.stream();
    stream.set_nonblocking(true).is_ok()
        && stream.peek(&mut line).is_ok_and(|bytes| bytes == line.len())
        && &line == b"HTTP/1.1 431"
}

#[test]
fn long_heads_that_are_held_never_end_the_program() {
    let (_alone, room) = room();
    for driver in drivers() {
        let Some(group) = Group::new(&format!("heads-{driver}")) else { return };
        let mut program = group.start(driver);
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(HEAD_BYTES));
        let mut peers = Vec::new();
        for _ in 0..HEADS.min(room) {
            let Ok(mut peer) = Client::try_connect(program.address()) else { break };
            // Near the limit the server refuses the head, and the write may fail with a reset.
            let _ = peer.try_send(&head);
            peers.push(peer);
        }
        eventually("a head is refused", || peers.iter_mut().any(is_refused));
        program.assert_is_running();
        drop(peers);
        assert_recovers(&mut program);
        let (_, metrics) = program.get_text("/metrics");
        assert!(metrics.contains("code=\"431\"} "), "{metrics}");
    }
}

#[test]
fn silent_connections_never_end_the_program() {
    let (_alone, room) = room();
    for driver in drivers() {
        let Some(group) = Group::new(&format!("silent-{driver}")) else { return };
        let mut program = group.start(driver);
        let port = program.address().port();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let peers: Vec<_> =
            (0..SILENT.min(room)).filter_map(|index| begin_to_connect(index, &address)).collect();
        assert!(peers.len() > SILENT / 2, "{} connections", peers.len());
        let descriptors = || program.process().descriptors().unwrap_or(0);
        eventually("connections are there", || descriptors() > 1000);
        program.assert_is_running();
        drop(peers);
        assert_recovers(&mut program);
    }
}

/// Begins to connect, and does not wait for it: connections above the limit stay in the listener's
/// queue.
fn begin_to_connect(index: usize, address: &SocketAddrV4) -> Option<OwnedFd> {
    let socket =
        socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).ok()?;
    let last = 2 + u8::try_from(index / PER_ADDRESS).expect("few addresses");
    bind_v4(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 0)).ok()?;
    let _ = connect_v4(&socket, address);
    Some(socket)
}
