//! Owns the listening sockets: their options, and the loop that goes on accepting after every kind
//! of error.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::os::event_loop;
use crate::os::refusal::Refusal;
use crate::os::sys;
use crate::report::StartError;
use crate::turns::Turns;

/// The most connections that wait to be accepted. The kernel uses the lower of this and
/// net.core.somaxconn, whose default is the same (Linux 5.4).
const BACKLOG: i32 = 4096;

/// Pause after an accept has failed for lack of a resource. It doubles with each further failure,
/// up to the second value.
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_millis(100);

/// Connections accepted in a row before other tasks run.
const IN_A_ROW_MAX: usize = 16;

/// Binds one listening socket per worker, and returns their address.
///
/// No `address` means every address, of both families if the machine has IPv6.
///
/// # Errors
/// The system call that was refused, with the address that it is about.
pub(crate) fn bind(
    address: Option<IpAddr>,
    port: u16,
    workers: usize,
) -> Result<(Vec<TcpListener>, SocketAddr), StartError> {
    let wanted = SocketAddr::from((address.unwrap_or(Ipv6Addr::UNSPECIFIED.into()), port));
    match bind_to(wanted, workers) {
        Err(refusal) if address.is_none() && is_without_ipv6(&refusal.source) => {
            bind(Some(Ipv4Addr::UNSPECIFIED.into()), port, workers)
        }
        result => result.map_err(|refusal| StartError::Bind { address: wanted, refusal }),
    }
}

fn bind_to(wanted: SocketAddr, workers: usize) -> Result<(Vec<TcpListener>, SocketAddr), Refusal> {
    let shared = workers > 1;
    if shared && wanted.port() != 0 {
        // This bind without SO_REUSEPORT fails if the port is in use. With SO_REUSEPORT it would
        // succeed, and two servers of the same user would silently share the connections.
        bound_socket(wanted, false)?;
    }
    let first: TcpListener = bound_socket(wanted, shared)?.into();
    let address = first.local_addr().map_err(Refusal::of("getsockname"))?;
    let mut listeners = vec![first];
    for _ in 1..workers {
        listeners.push(bound_socket(address, shared)?.into());
    }
    for listener in &listeners {
        SockRef::from(listener).listen(BACKLOG).map_err(Refusal::of("listen"))?;
    }
    Ok((listeners, address))
}

fn bound_socket(address: SocketAddr, shared: bool) -> Result<Socket, Refusal> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
        .map_err(Refusal::of("socket"))?;
    let set = Refusal::of("setsockopt");
    if address.is_ipv6() {
        socket.set_only_v6(false).map_err(set)?;
    }
    // A restart must not wait for connections of the last run to leave TIME_WAIT.
    socket.set_reuse_address(true).map_err(set)?;
    socket.set_reuse_port(shared).map_err(set)?;
    // Accepted sockets inherit this option. Answers are written whole, so nothing is gained by
    // waiting for more bytes, and a short last segment would wait for an acknowledgment.
    socket.set_nodelay(true).map_err(set)?;
    socket.bind(&address.into()).map_err(Refusal::of("bind"))?;
    Ok(socket)
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// Accepts connections on one listener.
pub(crate) struct Acceptor {
    listener: TcpListener,
    /// A duplicate of the listener, for the event loop to watch: monoio's own accept cannot stop
    /// at a limit.
    ready: monoio::net::UnixStream,
    accepted: Cell<u64>,
}

impl Acceptor {
    /// Registers a listener with the event loop of the calling thread, and proves that accept4(2)
    /// is allowed. The listener does not block.
    ///
    /// # Errors
    /// Those of fcntl(2), epoll_ctl(2) and accept4(2).
    pub(crate) fn new(listener: TcpListener) -> Result<Self, Refusal> {
        let ready = event_loop::watch(listener.as_raw_fd())?;
        sys::may_accept(listener.as_raw_fd()).map_err(Refusal::of("accept4"))?;
        Ok(Self { listener, ready, accepted: Cell::new(0) })
    }

    /// Accepts until `is_closed`, and gives each connection to `admit`. While `can_accept` is
    /// false, connections stay in the queue of the listener.
    pub(crate) async fn run(
        &self,
        is_blocking: bool,
        is_closed: impl Fn() -> bool,
        can_accept: impl Fn() -> bool,
        admit: impl Fn(TcpStream, SocketAddr),
        turns: &Turns,
    ) {
        let mut back_off = BACK_OFF_MIN;
        let mut in_a_row = 0;
        while !is_closed() {
            if !can_accept() {
                monoio::time::sleep(BACK_OFF_MIN).await;
                continue;
            }
            if in_a_row == IN_A_ROW_MAX {
                in_a_row = 0;
                turns.give_way().await;
            }
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    back_off = BACK_OFF_MIN;
                    in_a_row += 1;
                    self.accepted.set(self.accepted.get() + 1);
                    // This fails only if the socket is gone, which the first read reports.
                    let _ = stream.set_nonblocking(!is_blocking);
                    admit(stream, peer);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    in_a_row = 0;
                    // The next accept reports an error of this wait again.
                    let _ = self.ready.readable(false).await;
                }
                Err(error) if is_of_the_connection(&error) => {}
                // No descriptor or no memory is left. The queue keeps the connection, and
                // accepting again at once would spin. Every other error is handled alike.
                Err(_) if !is_closed() => {
                    monoio::time::sleep(back_off).await;
                    back_off = (back_off * 2).min(BACK_OFF_MAX);
                }
                Err(_) => return,
            }
        }
    }

    /// Keeps new handshakes out, by a packet filter that drops pure SYNs: a client repeats its SYN
    /// after a second, and finds the next server, or the port closed. Closing a listening socket
    /// resets the connections in its queue; so the queue empties first, while [`Acceptor::run`]
    /// continues.
    pub(crate) fn keep_handshakes_out(&self) {
        // On a kernel without socket filters, a connection whose handshake ends after the last
        // accept is reset.
        let _ = SockRef::from(&self.listener).attach_filter(&DROP_SYN);
    }

    /// How many connections have been accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.get()
    }

    /// Shuts the listener down, and resets the connections in its queue. The wait for the next
    /// connection ends, and accept(2) reports EINVAL.
    pub(crate) fn close(&self) {
        let _ = sys::shutdown(self.listener.as_raw_fd(), Shutdown::Read);
    }
}

/// Errors of the connection that would have been accepted, and not of the listener (accept(2)): the
/// next connection may be good.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
        )
    )
}

/// Classic BPF over the TCP header: drop a segment whose flags are SYN without ACK, pass the rest.
const DROP_SYN: [libc::sock_filter; 5] = {
    const FLAGS_OFFSET: u32 = 13;
    const SYN: u32 = 0x02;
    const SYN_AND_ACK: u32 = 0x12;
    [
        statement(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, FLAGS_OFFSET, 0, 0),
        statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, SYN_AND_ACK, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, SYN, 0, 1),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        statement(libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0),
    ]
};

const fn statement(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn workers_share_a_port_that_nobody_else_gets() {
        let (listeners, address) = bind(Some(LOOPBACK), 0, 3).unwrap();
        assert_eq!(listeners.len(), 3);
        for listener in &listeners {
            assert_eq!(listener.local_addr().unwrap(), address);
        }
        for workers in [1, 2] {
            match bind(Some(LOOPBACK), address.port(), workers).unwrap_err() {
                StartError::Bind { address: wanted, refusal } => {
                    let kind = refusal.error().kind();
                    assert_eq!((wanted, kind), (address, io::ErrorKind::AddrInUse));
                }
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn no_address_means_both_families() {
        let (listeners, address) = bind(None, 0, 1).unwrap();
        if address.is_ipv6() {
            TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).unwrap();
            TcpStream::connect((Ipv6Addr::LOCALHOST, address.port())).unwrap();
        }
        drop(listeners);
    }

    #[test]
    fn accepted_sockets_do_not_delay() {
        let (listeners, address) = bind(Some(LOOPBACK), 0, 1).unwrap();
        let _peer = TcpStream::connect(address).unwrap();
        assert!(listeners[0].accept().unwrap().0.nodelay().unwrap());
    }

    #[test]
    fn the_filter_keeps_new_handshakes_out_and_old_connections_in() {
        let (listeners, address) = bind(Some(LOOPBACK), 0, 1).unwrap();
        let before = TcpStream::connect(address).unwrap();
        SockRef::from(&listeners[0]).attach_filter(&DROP_SYN).unwrap();
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(100));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (accepted, _) = listeners[0].accept().unwrap();
        io::Write::write_all(&mut &before, b"x").unwrap();
        let mut byte = [0];
        io::Read::read_exact(&mut &accepted, &mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }
}
