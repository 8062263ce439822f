//! The built program as a child process, as an operator sees it: its banner, its signals, its
//! exit code, and what the kernel tells about it.

// Every test file is a program of its own and uses its own part of this.
#![allow(dead_code, unused_imports)]

#[path = "../binary/mod.rs"]
mod binary;
mod peer;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use peer::{Answer, Peer, is_pattern, request};

/// How long anything may take: far more than it does, on the busiest of machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Clock ticks of a second in /proc/PID/stat, on every Linux that there is.
const TICKS_PER_SECOND: u64 = 100;

/// signal(7).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    Interrupt = 2,
    Terminate = 15,
    Continue = 18,
    Stop = 19,
}

unsafe extern "C" {
    safe fn kill(process: i32, signal: i32) -> i32;
}

/// The drivers that this machine has. What it has not is said once, past the capture of output.
pub(crate) fn drivers() -> &'static [&'static str] {
    static HAS_URING: OnceLock<bool> = OnceLock::new();
    let has_uring = HAS_URING.get_or_init(|| {
        let has = Program::start("auto", &[]).said().contains("driver   io_uring");
        if !has {
            let line = b"\nWARNING: NOT TESTED on this machine: --io uring\n";
            let _ = std::io::stderr().write_all(line);
        }
        has
    });
    if *has_uring { &["uring", "epoll"] } else { &["epoll"] }
}

/// A running program; it is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    driver: String,
    address: SocketAddr,
    said: Arc<Mutex<String>>,
}

impl Program {
    /// Starts it on a free port of the loopback; standard output goes nowhere.
    #[track_caller]
    pub(crate) fn start(driver: &str, options: &[&str]) -> Self {
        Self::start_with(driver, options, Stdio::null(), None)
    }

    /// Starts it with a standard output, and no more than so many descriptors.
    #[track_caller]
    pub(crate) fn start_with(
        driver: &str,
        options: &[&str],
        stdout: Stdio,
        descriptors: Option<u32>,
    ) -> Self {
        let program = binary::path();
        let mut command = match descriptors {
            None => Command::new(program),
            Some(count) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!("ulimit -n {count}; exec \"$0\" \"$@\"")]).arg(program);
                shell
            }
        };
        command.args(["--port", "0", "--address", "127.0.0.1", "--io", driver]).args(options);
        command.env_clear().stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut banner = String::new();
        while !banner.contains("\n  send ") {
            let read = stderr.read_line(&mut banner).expect("UTF-8");
            assert!(read > 0, "no banner: {banner}");
        }
        let address = banner.lines().find_map(|line| line.strip_prefix("  address  "));
        let address = address.and_then(|text| text.parse().ok()).expect("an address");
        let said = Arc::new(Mutex::new(banner));
        let heard = Arc::clone(&said);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *heard.lock().expect("not poisoned") += &(line + "\n");
            }
        });
        Self { child, driver: driver.to_owned(), address, said }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has written to standard error.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("not poisoned").clone()
    }

    pub(crate) fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("a pipe")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let process = i32::try_from(self.child.id()).expect("a process id");
        assert_eq!(kill(process, signal as i32), 0, "it runs");
    }

    /// Waits for its end, which comes within `limit`.
    #[track_caller]
    pub(crate) fn expect_exit(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(start.elapsed() < limit, "still there after {limit:?}: {}", self.said());
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    pub(crate) fn assert_is_running(&mut self) {
        assert_eq!(self.child.try_wait().expect("a child"), None, "{}", self.said());
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> Peer {
        Peer::connect(self.address).expect("a server that listens")
    }

    /// One answer on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.connect().get(path).expect("an answer")
    }

    /// The value of a metric, which has no labels or is named with them; 0 where there is none.
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Open descriptors, as the kernel lists them.
    pub(crate) fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.child.id());
        fs::read_dir(path).expect("procfs").count()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("procfs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        number.and_then(|number| number.parse().ok()).expect("a number of kB")
    }

    /// Processor time that it has taken, in user and system mode.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("procfs");
        // The name before it may hold anything; the times are fields 14 and 15.
        let (_, rest) = stat.rsplit_once(')').expect("a name in brackets");
        let fields: Vec<_> = rest.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap_or(0)).sum();
        Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
    }

    /// Its worker threads; io_uring lists threads of the kernel beside them.
    pub(crate) fn workers(&self) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("procfs");
        let names =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.starts_with("worker-")).count()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("failed over --io {}, which said: {}", self.driver, self.said());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again whether something has come to pass, for as long as anybody would wait.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "still not so after {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
