//! Owns the listening sockets: their options in one place, and the loop that accepts whatever
//! errors come.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use monoio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::os::sys::{self, Way};

/// Connections that wait to be accepted at most; the kernel takes the lower of this and
/// net.core.somaxconn, whose default it is.
const BACKLOG: i32 = 4096;

/// Pause after the first failure to accept for want of a resource, and after many.
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_millis(100);

/// Time in which a handshake that has begun is expected to end, once no new one may begin.
const SETTLE: Duration = Duration::from_millis(200);

/// How long queued connections are waited for at most while a listener closes.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// What the accept loop and whoever ends it know of each other.
#[derive(Debug, Default)]
pub(crate) struct Door {
    accepted: Cell<u64>,
    is_closed: Cell<bool>,
}

/// Binds one listening socket per worker, and tells their address.
///
/// `address` none means every address, of both families where the machine has IPv6.
///
/// # Errors
/// Those of bind(2), with the address they are about.
pub(crate) fn bind(
    address: Option<IpAddr>,
    port: u16,
    workers: usize,
) -> Result<(Vec<std::net::TcpListener>, SocketAddr), (SocketAddr, io::Error)> {
    let Some(address) = address else {
        let any_v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        return match bind(Some(any_v6), port, workers) {
            Err((_, error)) if is_without_ipv6(&error) => {
                bind(Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port, workers)
            }
            result => result,
        };
    };
    let wanted = SocketAddr::new(address, port);
    bind_to(wanted, workers).map_err(|error| (wanted, error))
}

fn bind_to(
    wanted: SocketAddr,
    workers: usize,
) -> io::Result<(Vec<std::net::TcpListener>, SocketAddr)> {
    let shared = workers > 1;
    if shared && wanted.port() != 0 {
        // With SO_REUSEPORT a second server of the same user would quietly take half of the
        // connections; without it, a taken port is an error.
        bound_socket(wanted, false)?;
    }
    let first: std::net::TcpListener = bound_socket(wanted, shared)?.into();
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..workers {
        listeners.push(bound_socket(address, shared)?.into());
    }
    for listener in &listeners {
        SockRef::from(listener).listen(BACKLOG)?;
    }
    Ok((listeners, address))
}

fn bound_socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for connections of the last run to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Accepted sockets inherit it (tcp(7)). Answers are written whole: nothing is gained by
    // waiting for more, and a short last segment would wait for an acknowledgement.
    socket.set_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// Accepts until [`close`] has ended the listener.
///
/// One accept is in flight at any time, and never dropped: monoio 0.2.4 would lose the socket.
pub(crate) async fn accept(
    listener: TcpListener,
    door: Rc<Door>,
    admit: impl Fn(TcpStream, SocketAddr),
) {
    let mut back_off = BACK_OFF_MIN;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                back_off = BACK_OFF_MIN;
                door.accepted.set(door.accepted.get() + 1);
                admit(stream, peer);
            }
            Err(_) if door.is_closed.get() => return,
            Err(error) if is_of_the_connection(&error) => {}
            // No descriptor, no memory: the queue keeps the connection, and asking again at once
            // would spin. Whatever else this may be, it gets the same patience.
            Err(_) => {
                monoio::time::sleep(back_off).await;
                back_off = (back_off * 2).min(BACK_OFF_MAX);
            }
        }
    }
}

/// Errors that are about the connection that would have been accepted, and not about accepting
/// (accept(2)): the next one may be good.
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

/// Ends a listener so that nobody who has connected is reset.
///
/// Closing a listening socket resets what waits in its queue. So new handshakes are kept out
/// first, by a packet filter that drops pure SYNs: a client repeats its SYN after a second, and
/// finds the next server, or the port closed. Then the queue runs dry while [`accept`] goes on.
pub(crate) async fn close(listener: &std::net::TcpListener, door: &Door) {
    // A kernel without socket filters leaves the race of a SYN against the last accept.
    let _ = SockRef::from(listener).attach_filter(&DROP_SYN);
    let mut waited = Duration::ZERO;
    let mut accepted = door.accepted.get();
    loop {
        monoio::time::sleep(SETTLE).await;
        waited += SETTLE;
        let now = door.accepted.get();
        if now == accepted || waited >= SETTLE_MAX {
            break;
        }
        accepted = now;
    }
    close_at_once(listener, door);
}

/// Ends a listener and resets what waits in its queue.
pub(crate) fn close_at_once(listener: &std::net::TcpListener, door: &Door) {
    door.is_closed.set(true);
    // The accept in flight ends with EINVAL.
    let _ = sys::shutdown(listener.as_raw_fd(), Way::Read);
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
            let (wanted, error) = bind(Some(LOOPBACK), address.port(), workers).unwrap_err();
            assert_eq!((wanted, error.kind()), (address, io::ErrorKind::AddrInUse));
        }
    }

    #[test]
    fn no_address_means_both_families() {
        let (listeners, address) = bind(None, 0, 1).unwrap();
        if address.is_ipv6() {
            std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).unwrap();
            std::net::TcpStream::connect((Ipv6Addr::LOCALHOST, address.port())).unwrap();
        }
        drop(listeners);
    }

    #[test]
    fn accepted_sockets_do_not_delay() {
        let (listeners, address) = bind(Some(LOOPBACK), 0, 1).unwrap();
        let _peer = std::net::TcpStream::connect(address).unwrap();
        assert!(listeners[0].accept().unwrap().0.nodelay().unwrap());
    }

    #[test]
    fn the_filter_keeps_new_handshakes_out_and_old_connections_in() {
        let (listeners, address) = bind(Some(LOOPBACK), 0, 1).unwrap();
        let before = std::net::TcpStream::connect(address).unwrap();
        SockRef::from(&listeners[0]).attach_filter(&DROP_SYN).unwrap();
        let late = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (accepted, _) = listeners[0].accept().unwrap();
        io::Write::write_all(&mut &before, b"x").unwrap();
        let mut byte = [0];
        io::Read::read_exact(&mut &accepted, &mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }
}
