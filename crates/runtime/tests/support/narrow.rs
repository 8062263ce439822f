//! Connections with small buffers, so that the writes of the server are short.

use std::io;
use std::os::fd::BorrowedFd;

use heartbeat_runtime::Server;
use socket2::{Domain, SockRef, Socket, Type};

use super::Client;

/// Receive buffer of a slow client, in bytes. With the smallest one that the kernel allows, the
/// window shrinks to a few hundred bytes, and occasionally waits for a probe of the sender.
const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;

/// A client of a connection with small buffers, so that every write of the server is short and most
/// accept nothing.
pub(crate) fn narrow(server: &Server) -> Client {
    let address = server.address();
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).expect("SO_RCVBUF");
    socket.connect(&address.into()).expect("a server that listens");
    let mut client = Client::over(socket.into());
    with_server_end(&mut client, |socket| socket.set_send_buffer_size(1));
    client
}

/// Finds the server's end of a connection, which is in this process, and calls `act` on it.
fn with_server_end(client: &mut Client, act: impl Fn(SockRef<'_>) -> io::Result<()>) {
    // Once the client has an answer, the server has accepted the connection.
    assert_eq!(client.get("/heartbeat/1").status, 200);
    let ends = |socket: SockRef<'_>| {
        Some((socket.local_addr().ok()?.as_socket()?, socket.peer_addr().ok()?.as_socket()?))
    };
    let (near, far) = ends(client.stream().into()).expect("a connection");
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("procfs");
    let names = descriptors.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for descriptor in names {
        // SAFETY: only its addresses are read, and an option is set if they are those of the
        // connection. If its owner closes it meanwhile, the calls fail with EBADF.
        let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
        if ends(SockRef::from(&socket)) == Some((far, near)) {
            return act(SockRef::from(&socket)).expect("an option of sockets");
        }
    }
    panic!("the server's end of {near} is not in this process");
}
