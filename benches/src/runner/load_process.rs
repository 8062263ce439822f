//! Owns the load generator in a child process: this program, started with the command `client`.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use super::Bench;
use crate::client::{Mode, Outcome};
use crate::peer::{Link, Running};
use crate::process::Group;
use crate::scenario::Shape;

/// A load generator that is connected and warm.
pub struct LoadProcess {
    group: Group,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl LoadProcess {
    /// Starts a load generator on these CPUs, and waits until it is ready. A `rate` of 0 means a
    /// closed loop.
    pub fn start(
        server: &Running,
        shape: &Shape,
        rate: f64,
        cpus: &[usize],
        bench: &Bench,
    ) -> io::Result<Self> {
        let seconds = bench.seconds;
        // This very program, even if a build has replaced its file in the meantime.
        let mut command = Command::new("/proc/self/exe");
        let address = server.address.to_string();
        command.arg("client").args(["--address", &address, "--path", &server.path]);
        let mode = if shape.mode == Mode::Read { "read" } else { "discard" };
        let numbers = [
            ("--bytes", shape.work.bytes.to_string()),
            ("--connections", shape.connections.to_string()),
            ("--depth", shape.work.depth.to_string()),
            ("--upload", shape.work.upload.to_string()),
            ("--requests", shape.requests.to_string()),
            ("--seconds", seconds.to_string()),
            ("--warm-up", (seconds / 4.0).min(0.25).to_string()),
            ("--rate", rate.to_string()),
            ("--mode", mode.to_owned()),
        ];
        command.args(numbers.iter().flat_map(|(name, value)| [name, value.as_str()]));
        command.args(shape.work.short_lived.then_some("--short-lived"));
        command.args(shape.work.chunked.then_some("--chunked"));
        if shape.work.link == Link::Veth {
            let namespace = bench.client_namespace.as_ref();
            namespace.ok_or_else(|| io::Error::other("there is no veth pair"))?.hold(&mut command);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut group = Group::start(command, cpus)?;
        let (Some(to), Some(from)) = (group.child.stdin.take(), group.child.stdout.take()) else {
            return Err(io::Error::other("the load generator has no pipes"));
        };
        let mut process = Self { group, to, from: BufReader::new(from) };
        match process.line()?.as_str() {
            "ready" => Ok(process),
            other => Err(io::Error::other(format!("the load generator said {other:?}"))),
        }
    }

    /// Starts one measurement, and waits for its outcome.
    pub fn go(&mut self) -> io::Result<Outcome> {
        writeln!(self.to, "go")?;
        let line = self.line()?;
        Ok(serde_json::from_str(&line)?)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            let status = self.group.child.wait()?;
            return Err(io::Error::other(format!("the load generator ended: {status}")));
        }
        Ok(line.trim_end().to_owned())
    }
}
