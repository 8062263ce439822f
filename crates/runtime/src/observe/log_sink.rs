//! Owns standard output, which all workers of a server share: lines stay whole, and no worker
//! waits for it.
//!
//! Only a thread can guarantee that. O_NONBLOCK would apply to every process that shares the
//! output, and has no effect on a file on a slow disk. For a file description of its own, the
//! server would need procfs and the right to open the file again. So a thread writes, and may wait:
//! for a pipe that nobody reads, a terminal that has been stopped, or a disk that hangs. Workers
//! send it lines through a channel, which never waits, up to a bound.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::os::refusal::Refusal;
use crate::os::sys;

/// The most bytes that wait for the thread, those that it is writing included.
const WAITING_BYTES_MAX: usize = 128 * 1024;

/// Stack of the thread, which calls little but write(2).
const STACK_BYTES: usize = 64 * 1024;

/// Standard output. Dropping this ends the thread once it has written what waits.
#[derive(Debug)]
pub(crate) struct LogSink {
    batches: Sender<Vec<u8>>,
    counts: Arc<Counts>,
}

/// The numbers that the thread and the workers share.
#[derive(Debug, Default)]
struct Counts {
    /// Bytes that have been handed over and are neither written nor lost.
    waiting_bytes: AtomicUsize,
    /// Lines that could not be written and that no worker has counted yet.
    lost_lines: AtomicU64,
}

impl LogSink {
    /// The sink behind a descriptor, which may be closed afterwards.
    ///
    /// # Errors
    /// The descriptor cannot be duplicated, or the thread cannot be started.
    pub(crate) fn new(descriptor: BorrowedFd<'_>) -> Result<Self, Refusal> {
        let output = File::from(descriptor.try_clone_to_owned().map_err(Refusal::of("fcntl"))?);
        let (batches, received) = channel();
        let sink = Self { batches, counts: Arc::default() };
        let counts = Arc::clone(&sink.counts);
        let thread = thread::Builder::new().name("log".to_string()).stack_size(STACK_BYTES);
        let writing = thread.spawn(move || write_all(output, &received, &counts));
        writing.map_err(Refusal::of(sys::THREAD_CALLS))?;
        Ok(sink)
    }

    /// Takes from the front of `lines`, which are whole, as many as there is room for. Returns
    /// whether these are all.
    pub(crate) fn write(&self, lines: &mut Vec<u8>) -> bool {
        let waiting_bytes = self.counts.waiting_bytes.load(Ordering::Relaxed);
        let taken = whole_lines(lines, WAITING_BYTES_MAX.saturating_sub(waiting_bytes));
        if taken > 0 {
            self.counts.waiting_bytes.fetch_add(taken, Ordering::Relaxed);
            // The thread receives as long as there is a sender.
            let _ = self.batches.send(lines.drain(..taken).collect());
        }
        lines.is_empty()
    }

    /// How many lines have turned out to be lost since the last call: they could not be written.
    pub(crate) fn take_lost(&self) -> u64 {
        self.counts.lost_lines.swap(0, Ordering::Relaxed)
    }

    /// Whether everything that was taken has been written, or has been lost and counted.
    pub(crate) fn is_idle(&self) -> bool {
        self.counts.waiting_bytes.load(Ordering::Acquire) == 0
            && self.counts.lost_lines.load(Ordering::Relaxed) == 0
    }
}

/// Writes all batches. The thread ends with the last sender.
fn write_all(mut output: impl Write + AsRawFd, batches: &Receiver<Vec<u8>>, counts: &Counts) {
    // If a line has been written in part, its rest goes before anything else.
    let mut waiting = Vec::new();
    let mut has_begun = false;
    for batch in batches {
        waiting.extend_from_slice(&batch);
        let (written, result) = write(&mut output, &waiting);
        if let Some(last) = waiting[..written].last() {
            has_begun = *last != b'\n';
        }
        waiting.drain(..written);
        if result.is_err() {
            let line_end = waiting.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let kept = if has_begun { line_end } else { 0 };
            counts.lost_lines.fetch_add(count(&waiting[kept..]), Ordering::Relaxed);
            waiting.truncate(kept);
        }
        counts.waiting_bytes.fetch_sub(batch.len(), Ordering::Release);
    }
}

/// Writes all of `bytes`, however long that takes. Returns how many were written before an error.
fn write(output: &mut (impl Write + AsRawFd), bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match output.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process that shares the output has set O_NONBLOCK.
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

/// Length of the lines at the front of `lines` that fit into `bytes_max`. `lines` has whole lines.
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
    use std::sync::Mutex;

    use heartbeat_testkit::eventually;

    use super::*;

    fn lines(count: usize) -> Vec<u8> {
        (0..count).flat_map(|index| format!("line {index:06}\n").into_bytes()).collect()
    }

    /// Fills the sink until it takes nothing, although its thread had time to write.
    fn fill(sink: &LogSink, waiting: &mut Vec<u8>) {
        let mut before = usize::MAX;
        eventually("the output is full", || {
            let is_full = !sink.write(waiting) && waiting.len() == before;
            before = waiting.len();
            is_full && sink.counts.waiting_bytes.load(Ordering::Relaxed) > WAITING_BYTES_MAX / 2
        });
    }

    /// All lines arrive whole and in their order, from an output that was full for a while.
    fn check_order(reader: impl Read + Send + 'static, sink: &LogSink) {
        let expected = lines(100_000);
        let mut waiting = expected.clone();
        fill(sink, &mut waiting);
        let mut reader = reader.take(expected.len() as u64);
        // It reads in a thread of its own: if this thread read, it could wait for lines that the
        // sink has not taken yet.
        let reading = thread::spawn(move || {
            let mut text = Vec::new();
            reader.read_to_end(&mut text).map(|_| text)
        });
        eventually("the lines are taken", || sink.write(&mut waiting));
        let text = reading.join().unwrap().unwrap();
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
            sink.write(waiting);
            lost += sink.take_lost();
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
        lose(&sink, &mut lines(3), 3);
    }

    #[test]
    fn a_full_disk_loses_lines_and_is_tried_again() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let sink = LogSink::new(full.as_fd()).unwrap();
        lose(&sink, &mut lines(3), 3);
        assert!(sink.write(&mut lines(1)));
        lose(&sink, &mut Vec::new(), 1);
    }

    #[test]
    fn what_waits_is_written_after_the_last_worker_has_gone() {
        let (mut reader, writer) = io::pipe().unwrap();
        let sink = LogSink::new(writer.as_fd()).unwrap();
        drop(writer);
        let mut waiting = lines(1000);
        eventually("the lines are taken", || sink.write(&mut waiting));
        drop(sink);
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        assert!(text == lines(1000));
    }

    /// An output that takes as many bytes as its next answer allows; 0 is an error.
    struct Limited {
        answers: Vec<usize>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Limited {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let most = if self.answers.is_empty() { usize::MAX } else { self.answers.remove(0) };
            if most == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(most);
            self.taken.lock().unwrap().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl AsRawFd for Limited {
        fn as_raw_fd(&self) -> std::os::fd::RawFd {
            -1
        }
    }

    #[test]
    fn a_line_that_has_begun_is_finished_however_often_the_output_fails() {
        let (sender, batches) = channel();
        for batch in ["one\n", "two\n", "three\n"] {
            sender.send(batch.as_bytes().to_vec()).unwrap();
        }
        drop(sender);
        let (counts, taken) = (Counts::default(), Arc::default());
        counts.waiting_bytes.store(14, Ordering::Relaxed);
        let output = Limited { answers: vec![2, 0, 0], taken: Arc::clone(&taken) };
        write_all(output, &batches, &counts);
        assert_eq!(*taken.lock().unwrap(), b"one\nthree\n");
        assert_eq!(counts.lost_lines.load(Ordering::Relaxed), 1);
        assert_eq!(counts.waiting_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn only_whole_lines_are_taken() {
        for (bytes_max, expected) in [(0, 0), (11, 0), (12, 12), (23, 12), (24, 24), (99, 24)] {
            assert_eq!(whole_lines(&lines(2), bytes_max), expected, "{bytes_max}");
        }
    }
}
