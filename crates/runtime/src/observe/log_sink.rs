//! Owns standard output as all workers of a process share it: whole lines, and no worker waits.
//!
//! Only a thread can promise that. O_NONBLOCK would hold for every process that shares the output,
//! means nothing to a file on a slow disk, and can not be set on a file description of one's own
//! without procfs and the right to open the file again. So a thread writes, and may wait: for a
//! pipe that nobody reads, a terminal that has been stopped, a disk that hangs. Workers hand it
//! lines as long as it has room for them; the lock is tried and never waited for.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;

use crate::os::sys;

/// Bytes that wait for the thread at most, besides those that it is writing.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// Stack of the thread, which calls little but write(2).
const STACK_BYTES: usize = 64 * 1024;

/// Standard output. Dropping it ends the thread, once that has written what waits.
#[derive(Debug)]
pub(crate) struct LogSink {
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// Whether there is something for the thread to do.
    is_due: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines that the thread writes next.
    waiting: Vec<u8>,
    /// The thread is writing others.
    is_writing: bool,
    /// Lines that could not be written and that nobody has counted yet.
    lost: u64,
    /// The reader is gone for good.
    is_closed: bool,
    /// No worker is left.
    is_over: bool,
}

/// What became of lines that were handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All were taken.
    Taken,
    /// Some were not; they wait.
    Stalled,
    /// This many can not be written and are gone.
    Lost(u64),
}

impl LogSink {
    /// The sink behind a descriptor, which may be closed afterwards.
    ///
    /// # Errors
    /// The descriptor can not be duplicated, or the thread can not be started.
    pub(crate) fn new(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        let output = File::from(descriptor.try_clone_to_owned()?);
        let queue = Arc::new(Queue::default());
        let sink = Self { queue: Arc::clone(&queue) };
        let thread = thread::Builder::new().name("log".to_string()).stack_size(STACK_BYTES);
        thread.spawn(move || queue.write_all(output))?;
        Ok(sink)
    }

    /// Takes from the front of `lines`, which are whole, as many as there is room for.
    pub(crate) fn write(&self, lines: &mut Vec<u8>) -> Outcome {
        let mut state = match self.queue.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            // Somebody else is here for a moment: the lines wait for the next flush.
            Err(TryLockError::WouldBlock) => return Outcome::Stalled,
        };
        match std::mem::take(&mut state.lost) {
            0 => {}
            lost => return Outcome::Lost(lost),
        }
        if state.is_closed {
            let lost = count(lines);
            lines.clear();
            return Outcome::Lost(lost);
        }
        let taken = whole_lines(lines, WAITING_BYTES_MAX.saturating_sub(state.waiting.len()));
        let was_empty = state.waiting.is_empty();
        state.waiting.extend_from_slice(&lines[..taken]);
        if was_empty && taken > 0 && !state.is_writing {
            self.queue.is_due.notify_one();
        }
        lines.drain(..taken);
        if lines.is_empty() { Outcome::Taken } else { Outcome::Stalled }
    }

    /// Whether everything that was taken has been written or lost.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.queue.lock();
        state.waiting.is_empty() && !state.is_writing && state.lost == 0
    }
}

impl Drop for LogSink {
    fn drop(&mut self) {
        self.queue.lock().is_over = true;
        self.queue.is_due.notify_one();
    }
}

impl Queue {
    /// Held for a moment only, whoever holds it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the thread.
    fn write_all(&self, mut output: File) {
        let mut lines = Vec::new();
        // The rest of a line of which the output has taken a part: it goes before anything else.
        let mut rest = Vec::new();
        while self.next(&mut lines) {
            rest.append(&mut lines);
            let (written, result) = write(&mut output, &rest);
            let begun = rest[..written].last().is_some_and(|byte| *byte != b'\n');
            rest.drain(..written);
            let mut state = self.lock();
            state.is_writing = false;
            if let Err(error) = result {
                let line_end = rest.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let kept = if begun { line_end } else { 0 };
                state.lost += count(&rest[kept..]);
                rest.truncate(kept);
                state.is_closed = is_final(&error);
                if state.is_closed {
                    state.lost += count(&state.waiting);
                    state.waiting.clear();
                }
            }
        }
    }

    /// Waits for lines, and swaps them for `lines`, which are none. False if there will be none.
    fn next(&self, lines: &mut Vec<u8>) -> bool {
        let mut state = self.lock();
        while state.waiting.is_empty() && !state.is_over {
            state = self.is_due.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.waiting, lines);
        state.is_writing = !lines.is_empty();
        state.is_writing
    }
}

/// Writes all of `bytes`, however long that takes. Says how many were written before an error.
fn write(output: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match output.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Somebody who shares the output has set O_NONBLOCK.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Err(error) = sys::wait_writable(output.as_raw_fd()) {
                    return (written, Err(error));
                }
            }
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Whether no later write can succeed.
fn is_final(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPIPE | libc::EBADF | libc::ECONNRESET))
}

/// Length of the whole lines at the front of `lines` that fit into `bytes_max`, all of them whole.
fn whole_lines(lines: &[u8], bytes_max: usize) -> usize {
    if lines.len() <= bytes_max {
        return lines.len();
    }
    lines[..bytes_max].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use heartbeat_testkit::eventually;

    use super::*;

    fn lines(count: usize) -> Vec<u8> {
        (0..count).flat_map(|index| format!("line {index:06}\n").into_bytes()).collect()
    }

    /// Fills the sink until it takes nothing, although its thread had time to write.
    fn fill(sink: &LogSink, waiting: &mut Vec<u8>) {
        let mut before = usize::MAX;
        eventually("the output is full", || {
            let is_full = sink.write(waiting) == Outcome::Stalled && waiting.len() == before;
            before = waiting.len();
            is_full && sink.queue.lock().waiting.len() > WAITING_BYTES_MAX / 2
        });
    }

    /// All lines arrive whole and in their order, from an output that was full for a while.
    fn check_order(mut reader: impl Read, sink: &LogSink) {
        let expected = lines(100_000);
        let mut waiting = expected.clone();
        fill(sink, &mut waiting);
        let mut text = Vec::new();
        let mut part = vec![0; 8192];
        while text.len() < expected.len() {
            sink.write(&mut waiting);
            let read = reader.read(&mut part).unwrap();
            text.extend_from_slice(&part[..read]);
        }
        assert!(text == expected, "lines are missing or out of order");
        eventually("all is written", || sink.is_idle());
    }

    #[test]
    fn a_full_pipe_stalls_and_goes_on_where_it_stopped() {
        let (reader, writer) = io::pipe().unwrap();
        check_order(reader, &LogSink::new(writer.as_fd()).unwrap());
    }

    #[test]
    fn an_output_that_others_made_non_blocking_is_waited_for() {
        let (reader, writer) = UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        check_order(reader, &LogSink::new(writer.as_fd()).unwrap());
    }

    /// Writes until as many lines as this have been reported as lost.
    fn lose(sink: &LogSink, waiting: &mut Vec<u8>, expected: u64) {
        let mut lost = 0;
        eventually("lines are lost", || {
            if let Outcome::Lost(count) = sink.write(waiting) {
                lost += count;
            }
            lost >= expected
        });
        assert_eq!((lost, waiting.len()), (expected, 0));
    }

    #[test]
    fn a_closed_pipe_loses_all_and_says_how_many() {
        let (reader, writer) = io::pipe().unwrap();
        let sink = LogSink::new(writer.as_fd()).unwrap();
        drop(reader);
        lose(&sink, &mut lines(1000), 1000);
        assert_eq!(sink.write(&mut lines(3)), Outcome::Lost(3));
    }

    #[test]
    fn a_full_disk_loses_lines_and_is_tried_again() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let sink = LogSink::new(full.as_fd()).unwrap();
        lose(&sink, &mut lines(3), 3);
        assert_eq!(sink.write(&mut lines(1)), Outcome::Taken);
        lose(&sink, &mut Vec::new(), 1);
    }

    #[test]
    fn what_waits_is_written_after_the_last_worker_has_gone() {
        let (mut reader, writer) = io::pipe().unwrap();
        let sink = LogSink::new(writer.as_fd()).unwrap();
        drop(writer);
        let mut waiting = lines(1000);
        eventually("the lines are taken", || sink.write(&mut waiting) == Outcome::Taken);
        drop(sink);
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        assert!(text == lines(1000));
    }

    #[test]
    fn only_whole_lines_are_taken() {
        for (bytes_max, expected) in [(0, 0), (11, 0), (12, 12), (23, 12), (24, 24), (99, 24)] {
            assert_eq!(whole_lines(&lines(2), bytes_max), expected, "{bytes_max}");
        }
    }
}
