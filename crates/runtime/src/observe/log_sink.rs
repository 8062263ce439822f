//! Owns standard output as all workers of a process share it: whole lines, never waiting.
//!
//! Standard output belongs to others too, so it is not made non-blocking. A pipe or terminal is
//! asked by poll(2) and then given no more than PIPE_BUF bytes, which it takes at once; a socket
//! is written with MSG_DONTWAIT; a file takes all. One worker writes at a time: the lock is tried
//! and never waited for.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Mutex, TryLockError};

use crate::os::sys::{self, FileKind};

/// PIPE_BUF (pipe(7)): a pipe that is writable has space for this much, and accepts it in one
/// piece.
const PIPE_CHUNK_BYTES: usize = 4096;

/// Bytes of one write to a file or a socket.
const FILE_CHUNK_BYTES: usize = 64 * 1024;

/// Bytes that one flush writes at most, so that the event loop is not held up.
const FLUSH_BYTES_MAX: usize = 256 * 1024;

/// Standard output.
#[derive(Debug)]
pub(crate) struct LogSink {
    descriptor: RawFd,
    kind: FileKind,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The rest of a chunk that was accepted in part: it is written before anything else.
    rest: Vec<u8>,
    /// The reader is gone for good.
    is_closed: bool,
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
    /// The sink behind a descriptor, which stays open.
    pub(crate) fn new(descriptor: RawFd) -> Self {
        Self { descriptor, kind: sys::file_kind(descriptor), state: Mutex::default() }
    }

    /// Writes from the front of `lines`, which are whole and each shorter than a chunk, and takes
    /// away what has been written or lost.
    pub(crate) fn write(&self, lines: &mut Vec<u8>) -> Outcome {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            // Another worker is writing: the lines wait for the next flush.
            Err(TryLockError::WouldBlock) => return Outcome::Stalled,
        };
        if state.is_closed {
            return lose(lines, usize::MAX);
        }
        let mut done = 0;
        let outcome = loop {
            let rest = std::mem::take(&mut state.rest);
            let chunk = if rest.is_empty() { self.next_chunk(&lines[done..]) } else { &rest[..] };
            if chunk.is_empty() {
                break Outcome::Taken;
            }
            if done >= FLUSH_BYTES_MAX {
                break Outcome::Stalled;
            }
            match sys::write_at_once(self.descriptor, self.kind, chunk) {
                Ok(written) => {
                    if rest.is_empty() {
                        done += chunk.len();
                    }
                    state.rest = chunk[written..].to_vec();
                }
                Err(error) if is_stalled(&error) => {
                    state.rest = rest;
                    break Outcome::Stalled;
                }
                Err(error) => {
                    state.is_closed = matches!(
                        error.raw_os_error(),
                        Some(libc::EPIPE | libc::EBADF | libc::ECONNRESET)
                    );
                    // The rest of a line that has begun is written once there is space again.
                    state.rest = rest;
                    lines.drain(..done);
                    let chunk_bytes = self.next_chunk(lines).len();
                    return lose(lines, if state.is_closed { usize::MAX } else { chunk_bytes });
                }
            }
        };
        lines.drain(..done);
        outcome
    }

    /// As many whole lines as one write takes.
    fn next_chunk<'l>(&self, lines: &'l [u8]) -> &'l [u8] {
        let bytes_max = match self.kind {
            FileKind::Pipe => PIPE_CHUNK_BYTES,
            FileKind::File | FileKind::Socket => FILE_CHUNK_BYTES,
        };
        if lines.len() <= bytes_max {
            return lines;
        }
        let end = lines[..bytes_max].iter().rposition(|byte| *byte == b'\n');
        &lines[..end.map_or(bytes_max, |end| end + 1)]
    }
}

fn is_stalled(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn lose(lines: &mut Vec<u8>, bytes_max: usize) -> Outcome {
    let bytes = lines.len().min(bytes_max);
    let count = lines.drain(..bytes).filter(|byte| *byte == b'\n').count();
    Outcome::Lost(count as u64)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn lines(count: usize) -> Vec<u8> {
        (0..count).flat_map(|index| format!("line {index:06}\n").into_bytes()).collect()
    }

    fn check_whole_lines(text: &[u8], first: usize) -> usize {
        let text = std::str::from_utf8(text).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        let mut next = first;
        for line in text.lines() {
            assert_eq!(line, format!("line {next:06}"));
            next += 1;
        }
        next
    }

    #[test]
    fn a_full_pipe_stalls_and_goes_on_where_it_stopped() {
        let (mut reader, writer) = io::pipe().unwrap();
        let sink = LogSink::new(writer.as_raw_fd());
        let mut waiting = lines(20_000);
        assert_eq!(sink.write(&mut waiting), Outcome::Stalled);
        let mut next = 0;
        let mut buffer = vec![0; 8192];
        let mut text = Vec::new();
        while next < 20_000 {
            let read = reader.read(&mut buffer).unwrap();
            text.extend_from_slice(&buffer[..read]);
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            next = check_whole_lines(&text[..whole], next);
            text.drain(..whole);
            sink.write(&mut waiting);
        }
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_socket_that_takes_a_part_gets_the_rest_first() {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        let sink = LogSink::new(writer.as_raw_fd());
        let mut waiting = lines(100_000);
        assert_eq!(sink.write(&mut waiting), Outcome::Stalled);
        let total = lines(100_000).len();
        let mut text = vec![0; total];
        let mut read = 0;
        while read < total {
            read += reader.read(&mut text[read..]).unwrap();
            sink.write(&mut waiting);
        }
        assert_eq!(check_whole_lines(&text, 0), 100_000);
    }

    #[test]
    fn a_closed_pipe_loses_all_and_says_how_many() {
        let (reader, writer) = io::pipe().unwrap();
        let sink = LogSink::new(writer.as_raw_fd());
        drop(reader);
        let mut waiting = lines(1000);
        assert_eq!(sink.write(&mut waiting), Outcome::Lost(1000));
        assert!(waiting.is_empty());
        assert_eq!(sink.write(&mut lines(3)), Outcome::Lost(3));
    }

    #[test]
    fn a_full_disk_loses_a_chunk_at_a_time() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let sink = LogSink::new(full.as_raw_fd());
        let mut waiting = lines(3);
        assert_eq!(sink.write(&mut waiting), Outcome::Lost(3));
        assert_eq!(sink.write(&mut lines(1)), Outcome::Lost(1));
    }
}
