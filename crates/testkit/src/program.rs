//! Owns a program in a child process, as an operator sees it: its banner, its signals, its exit
//! code, and what the kernel reports of it.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::waiting::comes_true_within;
use crate::{Client, Head, PATIENCE, Process, Signal, send_signal};

/// How the last line of the banner begins.
const LAST_LINE: &str = "\n  send ";

/// A command with an empty environment, no input, and an output that nobody reads.
pub fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end, and kills it if it does not end.
#[track_caller]
pub fn finish(mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a program that can be executed");
    let stdout = read_all(child.stdout.take().expect("a pipe"));
    let stderr = read_all(child.stderr.take().expect("a pipe"));
    let mut status = None;
    let has_ended = comes_true_within(PATIENCE, || {
        status = child.try_wait().expect("a child");
        status.is_some()
    });
    if !has_ended {
        let _ = child.kill();
        let _ = child.wait();
    }
    let stdout = stdout.join().expect("a reader");
    let stderr = stderr.join().expect("a reader");
    let said = String::from_utf8_lossy(&stderr).into_owned();
    let status = status.unwrap_or_else(|| panic!("no end after {PATIENCE:?}; it said: {said}"));
    Output { status, stdout, stderr }
}

/// Runs a command that must fail with one line on standard error; returns its exit code and the
/// line.
#[track_caller]
pub fn failing(command: Command) -> (Option<i32>, String) {
    let output = finish(command);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let is_one_line = said.ends_with('\n') && said.lines().count() == 1;
    assert!(is_one_line && said.starts_with("heartbeat: "), "{}, {said:?}", output.status);
    (output.status.code(), said)
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// A server that runs; it is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    address: SocketAddr,
    banner: String,
    said: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Program {
    /// Starts a server that must serve.
    #[track_caller]
    #[must_use]
    pub fn start(command: Command) -> Self {
        Self::try_start(command).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a server, and waits for its whole banner.
    ///
    /// # Errors
    /// As exec(2) reports them, or what the program said instead of a banner.
    pub fn try_start(mut command: Command) -> io::Result<Self> {
        let mut child = command.spawn().map_err(|error| {
            let program = command.get_program().display();
            io::Error::new(error.kind(), format!("{program}: {error}"))
        })?;
        let said = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("a pipe");
        let reader = listen(stderr, Arc::clone(&said));
        let text = || said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_decided = || text().contains(LAST_LINE) || reader.is_finished();
        comes_true_within(PATIENCE, is_decided);
        let banner = text();
        let address = banner.lines().find_map(|line| line.strip_prefix("  address  "));
        match address.and_then(|text| text.parse().ok()) {
            Some(address) if banner.contains(LAST_LINE) => {
                Ok(Self { child, address, banner, said, reader })
            }
            _ => {
                let _ = child.kill();
                let status = child.wait();
                Err(io::Error::other(format!("no whole banner: {banner:?}, {status:?}")))
            }
        }
    }

    /// The address that the banner names.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the program wrote to standard error before it served.
    #[must_use]
    pub fn banner(&self) -> &str {
        &self.banner
    }

    /// The line of the banner about `subject`, without the subject.
    #[track_caller]
    #[must_use]
    pub fn told(&self, subject: &str) -> &str {
        let mut lines = self.banner.lines();
        let line = lines.find_map(|line| line.strip_prefix("  ")?.strip_prefix(subject));
        line.unwrap_or_else(|| panic!("{subject} in {}", self.banner)).trim_start()
    }

    /// The lines of the banner that warn.
    #[must_use]
    pub fn warnings(&self) -> Vec<&str> {
        self.banner.lines().filter(|line| line.contains("warning")).collect()
    }

    /// What the program has written to standard error so far.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The pipe that its standard output was connected to.
    #[track_caller]
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("a pipe")
    }

    /// Its process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the kernel reports of it.
    #[must_use]
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        send_signal(self.child.id(), signal);
    }

    /// Waits for its end, after which all that it said has been read.
    ///
    /// # Errors
    /// `TimedOut` if it does not end within [`PATIENCE`].
    pub fn try_exit(&mut self) -> io::Result<ExitStatus> {
        let mut status = None;
        let has_ended = comes_true_within(PATIENCE, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some() && self.reader.is_finished()
        });
        match status {
            Some(status) if has_ended => Ok(status),
            _ => {
                let text = format!("still there after {PATIENCE:?}: {}", self.said());
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        }
    }

    /// Waits for its end, and returns its exit code.
    #[track_caller]
    pub fn expect_exit(&mut self) -> Option<i32> {
        self.try_exit().unwrap_or_else(|error| panic!("{error}")).code()
    }

    /// It must not have ended.
    #[track_caller]
    pub fn assert_is_running(&mut self) {
        assert_eq!(self.child.try_wait().expect("a child"), None, "{}", self.said());
    }

    /// A connection to it.
    #[track_caller]
    #[must_use]
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One answer on a connection of its own, whose content must be the pattern.
    #[track_caller]
    pub fn get(&self, path: &str) -> Head {
        self.connect().get(path)
    }

    /// One answer on a connection of its own, whose content must be a text.
    #[track_caller]
    #[must_use]
    pub fn get_text(&self, path: &str) -> (Head, String) {
        self.connect().get_text(path)
    }

    /// The value of a metric, which has no labels or is named with them; 0 if it is not there.
    #[track_caller]
    #[must_use]
    pub fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.get_text("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// A value of /proc/PID/status in KiB, such as `VmRSS`.
    #[track_caller]
    #[must_use]
    pub fn status_kib(&self, name: &str) -> u64 {
        self.process().status_kib(name).expect("a value in KiB")
    }

    /// How many descriptors it has open.
    #[track_caller]
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.process().descriptors().expect("procfs")
    }

    /// How many worker threads it has.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.process().worker_states().len()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("failed on a program that said: {}", self.said());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Collects standard error line by line, until its end.
fn listen(stderr: ChildStderr, said: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut stderr = BufReader::new(stderr);
        let mut line = String::new();
        while stderr.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            *said.lock().unwrap_or_else(PoisonError::into_inner) += &line;
            line.clear();
        }
    })
}
