//! A second measurement of a path, independent of the prober: round trips of a few bytes between
//! plain sockets, and what the kernels of both ends measure on that connection.
//!
//! A relay that is a program adds its own time to the delay that was set, and a busy machine adds
//! more. A measurement at the same time through the same relay meets the same addition. So `path`
//! is compared with the witness, and the delay that was set is only the lower bound of both.

// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use heartbeat_tcp_info::tcp_info;

use crate::path_ground::Ground;

/// Measures from `near` to `far` until it is asked for its testimony.
pub(crate) struct Witness {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Testimony>,
}

/// What a witness has measured.
pub(crate) struct Testimony {
    round_trips: Vec<RoundTrip>,
    /// The shortest round trip by the account of the kernel in `near`.
    pub(crate) min_ms: f64,
}

/// One round trip.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundTrip {
    /// The time that the program has waited.
    pub(crate) program_ms: f64,
    /// The smoothed round-trip time of the kernel in `near`.
    pub(crate) near_ms: f64,
    /// The smoothed round-trip time of the kernel in `far`.
    pub(crate) far_ms: f64,
}

impl Witness {
    pub(crate) fn start(ground: &Ground, address: &str) -> Self {
        let to = echo(address.parse().unwrap(), ground.way_to("far"));
        let enter = ground.way_to("near");
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            enter();
            measure(to, &seen)
        });
        Self { is_over, thread }
    }

    /// Ends the measurement.
    pub(crate) fn testify(self) -> Testimony {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

impl Testimony {
    /// The lowest and the highest median of all windows of [`WINDOW`] round trips. The median over
    /// several windows lies between theirs, so the median of another measurement lies in this
    /// range, whichever of the windows it covers. The busier the machine is with other work, the
    /// wider is the range; on a quiet machine its ends are nearly equal.
    pub(crate) fn medians(&self, of: impl Fn(&RoundTrip) -> f64) -> RangeInclusive<f64> {
        let windows = self.round_trips.chunks_exact(WINDOW);
        let medians = windows.map(|window| {
            let mut times: Vec<_> = window.iter().map(&of).collect();
            times.sort_by(f64::total_cmp);
            times[WINDOW / 2]
        });
        let ends = medians.map(|median| (median, median));
        let (least, most) = ends.reduce(|(a, b), (c, d)| (a.min(c), b.max(d))).unwrap();
        least..=most
    }
}

/// Answers each byte on one connection with the round-trip time that this kernel measures.
fn echo(address: IpAddr, enter: impl FnOnce() + Send + 'static) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        enter();
        let listener = TcpListener::bind((address, 0)).unwrap();
        tell.send(listener.local_addr().unwrap()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        while stream.read_exact(&mut [0]).is_ok() {
            let rtt_us = tcp_info(stream.as_fd()).unwrap().rtt_us;
            stream.write_all(&rtt_us.to_le_bytes()).unwrap();
        }
    });
    told.recv().unwrap()
}

fn measure(to: SocketAddr, is_over: &AtomicBool) -> Testimony {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(SILENCE_MAX)).unwrap();
    let ms = |us: u32| f64::from(us) / 1000.0;
    let mut round_trips = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let start = Instant::now();
        stream.write_all(&[0]).unwrap();
        let mut far_us = [0; 4];
        stream.read_exact(&mut far_us).unwrap();
        let program_ms = start.elapsed().as_secs_f64() * 1000.0;
        let near_ms = ms(tcp_info(stream.as_fd()).unwrap().rtt_us);
        let far_ms = ms(u32::from_le_bytes(far_us));
        round_trips.push(RoundTrip { program_ms, near_ms, far_ms });
    }
    let min_ms = ms(tcp_info(stream.as_fd()).unwrap().min_rtt_us.unwrap());
    Testimony { round_trips, min_ms }
}

/// With a round trip of 20 ms, a window is half a second: `path` measures longer than that.
const WINDOW: usize = 25;
/// Longer than TCP needs to repeat a segment that was lost several times.
const SILENCE_MAX: Duration = Duration::from_secs(30);
