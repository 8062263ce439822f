//! Owns the load beside a measurement of latency: long answers and scrapes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Bench;
use crate::peer::{Peer, Running};
use crate::sys;

/// The pause between two scrapes. A Prometheus scrapes far less often, every few seconds.
const SCRAPE_EVERY: Duration = Duration::from_millis(100);
/// Most bytes of a long answer that are discarded at a time.
const DISCARD_BYTES: u64 = 1 << 20;

/// The threads of this load. They end when this is dropped.
pub(super) struct Noise {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Noise {
    /// Starts a connection that requests 1 GB again and again, if the server has such an answer,
    /// and the scrapes, if the server is a Heartbeat.
    pub(super) fn start(peer: &Peer, running: &Running, bench: &Bench) -> io::Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let mut noise = Self { ends: ends.clone(), threads: Vec::new() };
        let (address, cpus) = (running.address, bench.client_cpus.clone());
        if let Some(path) = running.long_path.clone() {
            let ends = ends.clone();
            let cpus = cpus.clone();
            noise.threads.push(thread::spawn(move || long_answers(address, &path, &cpus, &ends)));
        }
        if peer.is_heartbeat() {
            noise.threads.push(thread::spawn(move || scrapes(address, &cpus, &ends)));
        }
        Ok(noise)
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if let Ok(Err(error)) = thread.join() {
                eprintln!("beside the measurement: {error}");
            }
        }
    }
}

fn long_answers(
    address: SocketAddr,
    path: &str,
    cpus: &[usize],
    ends: &AtomicBool,
) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    sys::pin(cpus)?;
    sys::be_nice();
    let mut stream = TcpStream::connect(address)?;
    while !ends.load(Ordering::Relaxed) {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
        let mut left = 1 << 30;
        while left > 0 && !ends.load(Ordering::Relaxed) {
            let n = sys::discard(stream.as_raw_fd(), DISCARD_BYTES.min(left))?;
            if n == 0 {
                return Err(io::Error::other("a long answer ended early"));
            }
            left -= n;
        }
    }
    Ok(())
}

fn scrapes(address: SocketAddr, cpus: &[usize], ends: &AtomicBool) -> io::Result<()> {
    sys::pin(cpus)?;
    sys::be_nice();
    let mut page = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        page.clear();
        stream.read_to_end(&mut page)?;
        if !page.starts_with(b"HTTP/1.1 200 ") {
            return Err(io::Error::other("a scrape was refused"));
        }
        thread::sleep(SCRAPE_EVERY);
    }
    Ok(())
}
