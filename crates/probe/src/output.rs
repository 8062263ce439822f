//! Writes lines to standard output. Its reader may be slow or stop reading; a separate thread waits
//! for it, so that the schedule, the metrics and the signals do not have to.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::IntCounter;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::log;
use crate::paragraph::{self, COLUMNS};
use crate::settings::LogFormat;
use crate::stop::Stop;

/// Standard output, line by line.
#[derive(Clone)]
pub(crate) struct Output {
    queue: UnboundedSender<Message>,
    room: Arc<Semaphore>,
    full: Full,
    // Lines that were dropped and have not been reported yet.
    untold: Arc<AtomicU64>,
    format: LogFormat,
}

/// What happens to a line if the queue has no room for it.
#[derive(Clone)]
pub(crate) enum Full {
    /// It waits for room, because the log of a single run is complete; after a stop was asked for,
    /// it is queued without room.
    Wait(Stop),
    /// It is dropped and counted here, because the schedule of a loop must go on.
    Drop(IntCounter),
}

enum Message {
    // A line keeps its permit until it has been written.
    Line(String, Option<OwnedSemaphorePermit>),
    End(oneshot::Sender<()>),
}

impl Output {
    /// Starts the thread that writes to standard output; `format` is that of the line which reports
    /// dropped lines.
    ///
    /// # Errors
    ///
    /// The system cannot create the thread.
    pub(crate) fn start(format: LogFormat, full: Full) -> io::Result<Self> {
        Self::start_to(io::stdout(), format, full)
    }

    fn start_to(
        out: impl Write + Send + 'static,
        format: LogFormat,
        full: Full,
    ) -> io::Result<Self> {
        let (queue, lines) = unbounded_channel();
        let writer = std::thread::Builder::new().name("output".to_owned()).stack_size(STACK_BYTES);
        writer.spawn(move || write_all(lines, out))?;
        let room = Arc::new(Semaphore::new(ROOM_BYTES));
        Ok(Self { queue, room, full, untold: Arc::default(), format })
    }

    /// Takes a line, without its line feed.
    pub(crate) async fn line(&self, line: impl Into<String>) {
        let line = line.into() + "\n";
        match &self.full {
            Full::Wait(stop) => {
                let mut stop = stop.clone();
                let room = tokio::select! {
                    biased;
                    room = Arc::clone(&self.room).acquire_many_owned(size(&line)) => room.ok(),
                    () = stop.asked() => None,
                };
                self.send(Message::Line(line, room));
            }
            Full::Drop(dropped) => {
                match Arc::clone(&self.room).try_acquire_many_owned(size(&line)) {
                    Ok(room) => {
                        self.tell_of_dropped();
                        self.send(Message::Line(line, Some(room)));
                    }
                    Err(_) => {
                        dropped.inc();
                        self.untold.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Waits until all lines are written; after a stop, and in a loop, for [`LAST_LINES_MAX`] at
    /// most.
    pub(crate) async fn finish(self) {
        self.tell_of_dropped();
        let (end, ended) = oneshot::channel();
        self.send(Message::End(end));
        let limit = async {
            if let Full::Wait(stop) = &self.full {
                stop.clone().asked().await;
            }
            tokio::time::sleep(LAST_LINES_MAX).await;
        };
        tokio::select! {
            biased;
            _ = ended => {}
            () = limit => complain(NAME, "nobody reads standard output: its last lines are lost"),
        }
    }

    // The report takes the place of the missing lines in the log.
    fn tell_of_dropped(&self) {
        let lines = self.untold.swap(0, Ordering::Relaxed);
        if let Some(line) = log::dropped(self.format, lines, Timestamp::now()) {
            self.send(Message::Line(line + "\n", None));
        }
    }

    fn send(&self, message: Message) {
        // The thread ends only after every sender is gone.
        let _ = self.queue.send(message);
    }
}

/// Writes `text` to standard output at once. An error is ignored: a reader that closes the pipe
/// early (`--help | head -1`) has seen enough.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Writes what is wrong to standard error, in the name of `who`.
pub(crate) fn complain(who: &str, what: impl Display) {
    let message = message(who, &what.to_string(), io::stderr().is_terminal());
    // Not `eprint!`: it panics if standard error is closed, and the exit code would be lost.
    let _ = io::stderr().write_all(message.as_bytes());
}

/// A message for people. Lines that are too long for a terminal are broken between words there;
/// elsewhere they stay whole, because logs are read line by line.
fn message(who: &str, what: &str, is_terminal: bool) -> String {
    let whole = format!("{who}: {what}\n");
    if !is_terminal {
        return whole;
    }
    let mut text = String::new();
    for line in whole.lines() {
        if line.chars().count() <= COLUMNS {
            text.push_str(&(line.to_owned() + "\n"));
        } else {
            paragraph::add(&mut text, "", MESSAGE_INDENT, line);
        }
    }
    text
}

fn write_all(lines: UnboundedReceiver<Message>, out: impl Write) {
    let (mut lines, mut out) = (lines, out);
    while let Some(message) = lines.blocking_recv() {
        match message {
            Message::Line(line, room) => {
                // A reader that has closed the pipe is no reason to stop probing.
                let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
                drop(room);
            }
            Message::End(end) => {
                let _ = end.send(());
            }
        }
    }
}

// A line that is longer than the limit takes all the room.
fn size(line: &str) -> u32 {
    u32::try_from(line.len().min(ROOM_BYTES)).unwrap_or(u32::MAX)
}

/// The name of the program in its messages.
pub(crate) const NAME: &str = "heartbeat-probe";

// What follows the first line of a message stands out from the next message.
const MESSAGE_INDENT: usize = 2;
// Some thousands of lines: enough for the moment in which a log shipper rotates its files.
const ROOM_BYTES: usize = 1024 * 1024;
// Enough for a reader that reads, and well within the grace period of an orchestrator.
const LAST_LINES_MAX: Duration = Duration::from_secs(1);
// The thread only copies bytes.
const STACK_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A reader that takes one line for each message on `open`.
    struct Gate {
        open: Receiver<()>,
        seen: Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.open.recv().map_err(io::Error::other)?;
            let _ = self.seen.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated(full: Full) -> (Output, Sender<()>, Receiver<String>) {
        let ((open, opened), (seen, written)) = (channel(), channel());
        let gate = Gate { open: opened, seen };
        (Output::start_to(gate, LogFormat::Json, full).unwrap(), open, written)
    }

    fn quarter(letter: &str) -> String {
        letter.repeat(ROOM_BYTES / 4 - 1)
    }

    #[test]
    fn a_long_message_is_broken_on_a_terminal_only() {
        let what = format!("warning: {}the end", "this machine is the limit ".repeat(12));
        let whole = format!("heartbeat-probe load: {what}\n");
        assert_eq!(message("heartbeat-probe load", &what, false), whole);
        let broken = message("heartbeat-probe load", &what, true);
        let lines: Vec<_> = broken.lines().collect();
        assert_eq!(lines.len(), whole.len().div_ceil(COLUMNS), "{broken}");
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{broken}");
        assert!(lines[0].starts_with("heartbeat-probe load: warning: this "), "{broken}");
        assert!(lines[1..].iter().all(|line| line.starts_with("  ")), "{broken}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&broken), words(&whole));
        assert!(broken.ends_with(" the end\n"), "{broken}");
    }

    #[test]
    fn a_message_that_fits_stays_as_it_is() {
        let last = "x".repeat(COLUMNS - "a: ".len());
        for what in ["expected:\n    one  of", &last] {
            assert_eq!(message("a", what, true), format!("a: {what}\n"));
        }
        assert_eq!(message("a", &(last + "x"), true).lines().count(), 2);
    }

    #[tokio::test]
    async fn drops_lines_without_room_and_reports_how_many_in_their_place() {
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let (output, open, written) = gated(Full::Drop(dropped.clone()));
        for letter in ["a", "b", "c", "d"] {
            output.line(quarter(letter)).await;
        }
        assert_eq!(dropped.get(), 0);
        output.line("").await;
        output.line("").await;
        assert_eq!(dropped.get(), 2);
        for letter in ["a", "b", "c", "d"] {
            open.send(()).unwrap();
            assert!(written.recv().unwrap().starts_with(letter));
        }
        // The permit is released a moment after the line was written.
        while output.room.available_permits() < ROOM_BYTES {
            tokio::task::yield_now().await;
        }
        output.line("e").await;
        open.send(()).unwrap();
        let notice = written.recv().unwrap();
        assert!(notice.ends_with("\"EventType\":\"Dropped\",\"Lines\":2}\n"), "{notice}");
        open.send(()).unwrap();
        assert_eq!(written.recv().unwrap(), "e\n");
    }

    #[tokio::test]
    async fn waits_for_room_in_a_single_run_until_the_end_is_asked_for() {
        let (ask, stop) = Stop::new();
        let (output, open, written) = gated(Full::Wait(stop));
        // The line is longer than the limit: it takes all the room.
        output.line("a".repeat(2 * ROOM_BYTES)).await;
        let waiting = tokio::spawn({
            let output = output.clone();
            async move { output.line("b").await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        open.send(()).unwrap();
        assert!(written.recv().unwrap().starts_with('a'));
        waiting.await.unwrap();
        open.send(()).unwrap();
        assert_eq!(written.recv().unwrap(), "b\n");
        output.line("c".repeat(2 * ROOM_BYTES)).await;
        ask.send(1).unwrap();
        output.line("d").await;
        // Nobody reads, but `finish` returns all the same.
        output.finish().await;
    }
}
