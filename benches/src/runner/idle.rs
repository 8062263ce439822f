//! Owns the measurements of memory while a server has nothing to do.

use std::io;
use std::thread;
use std::time::Duration;

use super::{Bench, LoadProcess, start};
use crate::client::Mode;
use crate::figure::{CONNECTION_BYTES, Figures, RESIDENT};
use crate::peer::{Peer, Work};
use crate::scenario::Shape;

/// How long a server is left alone before its memory is read.
const REST: Duration = Duration::from_millis(500);
const MIB: f64 = (1 << 20) as f64;

/// Resident memory after the first answer.
pub(super) fn memory(peer: &Peer, threads: usize, bench: &Bench) -> io::Result<Figures> {
    let work = Work { threads, ..Work::answers(17) };
    let (running, _) = start(peer, &work, bench)?;
    thread::sleep(REST);
    let resident = running.group.resident_bytes() as f64;
    Ok(Figures::from([(RESIDENT.to_owned(), resident / MIB)]))
}

/// Resident memory that each connection adds. Each had one answer and is kept open.
pub(super) fn connections(peer: &Peer, connections: usize, bench: &Bench) -> io::Result<Figures> {
    let work = Work::answers(17);
    let (running, _) = start(peer, &work, bench)?;
    thread::sleep(REST);
    let before = running.group.resident_bytes() as f64;
    let requests = connections as u64;
    let shape = Shape { work, connections, mode: Mode::Read, requests };
    let mut load = LoadProcess::start(&running, &shape, 0.0, &bench.client_cpus, bench)?;
    let outcome = load.go()?;
    if outcome.errors > 0 || outcome.answers < requests {
        let reason = outcome.first_error.unwrap_or_default();
        return Err(io::Error::other(format!("{} of {requests}: {reason}", outcome.answers)));
    }
    thread::sleep(REST);
    let after = running.group.resident_bytes() as f64;
    Ok(Figures::from([
        (RESIDENT.to_owned(), after / MIB),
        (CONNECTION_BYTES.to_owned(), (after - before) / connections as f64),
    ]))
}
