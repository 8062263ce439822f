//! Owns what the program writes to standard error, which may have no reader.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

/// How long a write may take while standard error accepts nothing: it is a stopped terminal, or a
/// full pipe.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long a write may take although standard error accepts it, because the thread that writes
/// gets no CPU.
const PATIENCE_MAX: Duration = Duration::from_secs(10);

/// Writes to standard error. The program continues if nobody reads that, so that neither its
/// signals nor its end wait for a reader.
pub(crate) fn print(text: &str) {
    let (done, is_done) = channel();
    let owned = text.to_owned();
    let write = move || {
        // If standard error is closed, there is no other place for the text.
        let _ = io::stderr().write_all(owned.as_bytes());
        let _ = done.send(());
    };
    match thread::Builder::new().name("notice".to_owned()).spawn(write) {
        Ok(_) => wait(&is_done, is_writable),
        Err(_) => drop(io::stderr().write_all(text.as_bytes())),
    }
}

/// Waits for the end of a write, as long as it may take.
fn wait(is_done: &Receiver<()>, is_writable: impl Fn() -> bool) {
    let begin = Instant::now();
    while is_done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout)
        && is_writable()
        && begin.elapsed() < PATIENCE_MAX
    {}
}

/// Whether standard error accepts bytes now.
fn is_writable() -> bool {
    let stderr = io::stderr();
    let at_once = 0;
    poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], at_once).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_gets_no_cpu_is_waited_for() {
        let (done, is_done) = channel();
        thread::spawn(move || {
            thread::sleep(3 * PATIENCE);
            let _ = done.send(());
        });
        let begin = Instant::now();
        wait(&is_done, || true);
        assert!(begin.elapsed() >= 3 * PATIENCE);
    }

    #[test]
    fn a_write_that_nobody_reads_is_not_waited_for() {
        let (_done, is_done) = channel();
        let begin = Instant::now();
        wait(&is_done, || false);
        let elapsed = begin.elapsed();
        assert!((PATIENCE..PATIENCE_MAX).contains(&elapsed), "{elapsed:?}");
    }
}
