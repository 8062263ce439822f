//! Runs the program as a process with given arguments, and returns its output.

// Every test file is a separate program and uses only a part of this module. A failure here is a
// failure of the test.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use heartbeat_testkit::free_port;
use heartbeat_testkit::{Signal, eventually, send_signal};

/// A temporary folder, which is removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("probe-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The exit code and the output of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program, with nothing in its environment.
pub(crate) fn program(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat-probe"));
    command.env_clear().current_dir(folder.path());
    command
}

/// Runs the program to its end.
pub(crate) fn finish(command: &mut Command) -> Outcome {
    let output = heartbeat_testkit::finish(command);
    Outcome {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a load, and again as long as it reports that this machine was the limit: its exit code is
/// then about this machine.
pub(crate) fn unless_starved(run: impl Fn() -> Outcome) -> Outcome {
    let mut outcome = run();
    for _ in 1..LOADS_MAX {
        if !outcome.err.contains(IS_THE_LIMIT) {
            break;
        }
        outcome = run();
    }
    outcome
}

/// Whether a result of a load is good. It may also be bad for the one reason that this machine was
/// the limit, which it then says.
pub(crate) fn is_good(code: i32, result: &serde_json::Value) -> bool {
    code == 0 || code == 1 && result["saturated"] == true
}

/// The most loads until one has enough CPU time.
const LOADS_MAX: u32 = 10;
/// What the warning of a load without enough CPU time contains.
const IS_THE_LIMIT: &str = "this machine is the limit";

/// Runs the program with these arguments.
pub(crate) fn run(folder: &Folder, arguments: &[&str]) -> Outcome {
    finish(program(folder).args(arguments))
}

/// Runs the requests of `file`, which is the text of a test file, against `server`.
pub(crate) fn ask(server: &str, file: &str, more: &[&str]) -> Outcome {
    let folder = Folder::new();
    let file = folder.file("test.json", file);
    let mut command = program(&folder);
    command.args(["--server", server, "--files", &file]).args(more);
    finish(&mut command)
}

/// Runs a single request with this validation and returns the texts of its errors.
pub(crate) fn errors_of(server: &str, request: &str) -> Vec<String> {
    let file = format!("{{\"requests\": [{request}]}}");
    let more = ["--log-format", "Json", "--verbose", "--verbose-errors"];
    let outcome = ask(server, &file, &more);
    let line = outcome.out.lines().next().unwrap_or_else(|| panic!("{outcome:?}"));
    let record: serde_json::Value = serde_json::from_str(line).unwrap();
    let errors = record["Errors"].as_array().unwrap();
    errors.iter().map(|error| error.as_str().unwrap().to_owned()).collect()
}

/// A run in the background, which is killed at the end.
pub(crate) struct Background {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Background {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its standard output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(self.id(), signal);
    }

    /// The exit code, if it has ended.
    pub(crate) fn code(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// Waits for its end; returns the exit code and the rest of its output.
    pub(crate) fn end(mut self) -> (i32, String) {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code().unwrap_or(-1), rest)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Requests the program's own web page; returns the head and the body.
pub(crate) fn get(port: u16, path: &str) -> std::io::Result<(String, String)> {
    request(port, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
}

/// Requests the page of metrics until it is as `wanted`.
pub(crate) fn wait_for(port: u16, wanted: impl Fn(&str) -> bool) -> String {
    let mut page = String::new();
    eventually("the page of metrics", || {
        let (head, body) = get(port, "/metrics").unwrap_or_default();
        page = body;
        head.starts_with("HTTP/1.1 200") && wanted(&page)
    });
    page
}

/// Sends a complete request and reads until the connection ends.
pub(crate) fn request(port: u16, request: &str) -> std::io::Result<(String, String)> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((head.to_owned(), body.to_owned()))
}
