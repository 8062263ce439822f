//! Owns how a connection gets to its worker: accepted, handed over, turned down, and counted for
//! as long as it is there.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use monoio::net::TcpStream;

use crate::connection::session::Session;
use crate::connection::socket::Socket;
use crate::handover::Accepted;
use crate::observe::end::End;
use crate::os::sys;
use crate::worker::Worker;

/// Connections above the maximum that still get an answer; more are closed without one, because
/// the answer costs the descriptor that there is none of.
const TURNED_DOWN_MAX: usize = 64;

/// Hands a connection that has been accepted to a worker that has fewer, or serves it, or
/// turns it down where there are too many.
pub(crate) fn admit(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let number = worker.shared().connections.fetch_add(1, Ordering::Relaxed) + 1;
    match worker.giver().find_room(&worker.shared().inboxes, worker.clock()) {
        Some(room) => room.fill(Accepted { stream: sys::leave_loop(stream), peer, number }),
        None => {
            worker.inbox().note_open();
            let place = Place { worker: Rc::clone(worker), number };
            begin(worker, stream, peer, place);
        }
    }
}

/// Takes over what others have accepted for this worker.
pub(crate) fn adopt(worker: &Rc<Worker>, handed_over: Vec<Accepted>) {
    for Accepted { stream, peer, number } in handed_over {
        let place = Place { worker: Rc::clone(worker), number };
        // Where epoll takes no more, the connection is closed, as one just accepted is.
        if let Ok(stream) = TcpStream::from_std(stream) {
            begin(worker, stream, peer, place);
        }
    }
}

fn begin(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, place: Place) {
    worker.counters().note_connection();
    let socket = Socket::new(stream, Rc::clone(worker));
    let remote = peer.ip();
    monoio::spawn(async move {
        let worker = &*place.worker;
        let watch = worker.deadlines().watch(socket.fd());
        let excess = place.number.saturating_sub(worker.shared().max_connections);
        let mut session = Session::new(worker, &watch, remote, socket);
        let end = match excess {
            0 => session.run().await,
            1..=TURNED_DOWN_MAX => session.turn_down().await,
            _ => End::TurnedDown,
        };
        worker.counters().note_end(end);
    });
}

/// A connection's place among those of the process and of its worker, where it has been counted;
/// given back when it is dropped.
struct Place {
    worker: Rc<Worker>,
    /// Connections of the process when it was accepted, itself included.
    number: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.shared().connections.fetch_sub(1, Ordering::Relaxed);
        self.worker.inbox().note_close();
    }
}
