//! Owns a child process from its start to its end, and what it writes to standard error.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::waiting::comes_true_within;
use crate::{PATIENCE, Process, Signal, send_signal};

/// A command with an empty environment, no standard input, a standard output that is thrown away,
/// and a pipe for standard error.
pub fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end, and kills it if it does not end.
#[track_caller]
pub fn finish(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
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

/// Runs a command that must write exactly one line to standard error. Returns its exit code and
/// that line.
#[track_caller]
pub fn failing(mut command: Command) -> (Option<i32>, String) {
    let output = finish(&mut command);
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

/// A program that is starting, is running, or has ended. It is killed when this is dropped.
#[derive(Debug)]
pub struct Launch {
    child: Child,
    said: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Launch {
    /// Starts a program whose standard error is a pipe, as [`command`] makes it.
    ///
    /// # Errors
    /// As exec(2) reports them.
    pub fn new(command: &mut Command) -> io::Result<Self> {
        let mut child = spawn(command).map_err(|error| {
            let program = command.get_program().display();
            io::Error::new(error.kind(), format!("{program}: {error}"))
        })?;
        let said = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("a pipe");
        let reader = listen(stderr, Arc::clone(&said));
        Ok(Self { child, said, reader })
    }

    /// What the program has written to standard error so far.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the program has closed standard error, usually by ending.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.reader.is_finished()
    }

    /// The pipe that its standard output was connected to.
    #[track_caller]
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("a pipe")
    }

    /// What the kernel reports of it.
    #[must_use]
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Sends it a signal. The process must not have been waited for yet.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        send_signal(self.child.id(), signal);
    }

    /// How it ended, if it has ended.
    #[track_caller]
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits until it has ended and all its output has been read.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let has_ended = comes_true_within(limit, || self.ended().is_some() && self.is_silent());
        if has_ended { self.ended() } else { None }
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("failed on a program that said: {}", self.said());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program, which this process may have written a moment ago. A child that another thread
/// starts meanwhile has the file open for writing too, until it executes its own program, and so
/// long the kernel refuses to execute the file (ETXTBSY).
fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut spawned = command.spawn();
    comes_true_within(PATIENCE, || {
        let is_busy = |error: &io::Error| error.kind() == io::ErrorKind::ExecutableFileBusy;
        let is_over = !spawned.as_ref().is_err_and(is_busy);
        if !is_over {
            spawned = command.spawn();
        }
        is_over
    });
    spawned
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
