//! Owns the description of the machine on which a figure was measured.

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

/// What a figure depends on besides the programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Name and release of the kernel.
    pub kernel: String,
    /// Model of the CPU.
    pub cpu: String,
    /// CPUs of the machine. The runner itself uses one of them.
    pub cpus: usize,
    /// Congestion control of new connections in the network namespace of the calling thread.
    pub congestion_control: String,
}

impl Machine {
    /// The machine on which this program runs.
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpu_info = read("/proc/cpuinfo");
        let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name"));
        Self {
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease")),
            cpu: model.map_or("unknown", |m| m.trim_matches([' ', '\t', ':'])).to_owned(),
            cpus: cpu_info.lines().filter(|line| line.starts_with("processor")).count(),
            congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control"),
        }
    }
}

/// The first line that a command writes to standard output, or else to standard error. None if the
/// command cannot be run or writes nothing.
pub fn first_line(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    // The exit code is ignored, because wrk prints its version and fails.
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&said).into_owned();
    text.lines().next().map(|line| line.trim().to_owned())
}
