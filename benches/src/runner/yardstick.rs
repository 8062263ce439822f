//! Owns the yardsticks: fixed pieces of work, timed beside each measurement. A virtual machine is
//! not the same from one minute to the next: its CPUs may be two threads of one core now and
//! cores that share no cache later, and then every request that crosses from one to the other
//! costs several times as much. The yardsticks tell such times apart.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::sys;

/// Messages sent through loopback and received again by the same thread.
const MESSAGES: u32 = 1000;
/// Bytes of each.
const MESSAGE_BYTES: usize = 256;
/// How often a cache line crosses to the other CPU and back.
const CROSSINGS: u32 = 20_000;

/// What the machine is like at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Yardstick {
    /// One small message over loopback within the server's CPU, nanoseconds.
    pub message_ns: f64,
    /// A cache line to the client's CPU and back, nanoseconds; 0 where both share one CPU.
    pub crossing_ns: f64,
}

/// Measures on these CPUs.
pub fn yardstick(server: &[usize], client: &[usize]) -> io::Result<Yardstick> {
    let before = sys::allowed_cpus()?;
    sys::pin(server)?;
    let message_ns = time_messages();
    let crossing_ns = if server == client { Ok(0.0) } else { time_crossings(client) };
    sys::pin(&before)?;
    Ok(Yardstick { message_ns: message_ns?, crossing_ns: crossing_ns? })
}

fn time_messages() -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    near.set_nodelay(true)?;
    let (mut far, _) = listener.accept()?;
    let mut message = [b'x'; MESSAGE_BYTES];
    let begin = Instant::now();
    for _ in 0..MESSAGES {
        near.write_all(&message)?;
        far.read_exact(&mut message)?;
    }
    Ok(begin.elapsed().as_nanos() as f64 / f64::from(MESSAGES))
}

/// The other thread answers each odd number with the next even one.
fn time_crossings(other: &[usize]) -> io::Result<f64> {
    let ball = AtomicU32::new(0);
    thread::scope(|scope| {
        let far = scope.spawn(|| {
            // Unpinned it would measure something else, and still end.
            let pinned = sys::pin(other);
            for number in (1..2 * CROSSINGS).step_by(2) {
                while ball.load(Ordering::Acquire) != number {
                    std::hint::spin_loop();
                }
                ball.store(number + 1, Ordering::Release);
            }
            pinned
        });
        let mut begin = Instant::now();
        for number in (0..2 * CROSSINGS).step_by(2) {
            while ball.load(Ordering::Acquire) != number {
                std::hint::spin_loop();
            }
            if number == 2 {
                // The first crossing waited for the thread to start.
                begin = Instant::now();
            }
            ball.store(number + 1, Ordering::Release);
        }
        far.join().map_err(|_| io::Error::other("the other thread panicked"))??;
        Ok(begin.elapsed().as_nanos() as f64 / f64::from(CROSSINGS - 1))
    })
}
