//! Owns the server that is soaked: its start, what procfs reports of it, and its end.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use heartbeat_testkit::{Client, PATIENCE, Program, Signal, comes_true_within, command};
use serde_json::Value;

/// How a line of `/metrics` begins that counts ends of connections for one reason.
const ENDS: &str = "heartbeat_connection_ends_total{reason=\"";

/// Which server it is: version, revision, driver, send tier and threads, as `/version` reports
/// them.
#[derive(Clone, Debug)]
pub(crate) struct Identity(Value);

impl Identity {
    fn of(address: SocketAddr) -> Result<Self, String> {
        // If the server does not listen, this returns an error. A wrong answer is a panic.
        drop(Client::try_connect(address).map_err(|error| format!("{address}: {error}"))?);
        let (_, text) = Client::connect(address).get_text("/version?format=json");
        serde_json::from_str(&text).map(Self).map_err(|error| format!("/version: {error}: {text}"))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in ["version", "revision", "driver", "send", "threads"].iter().enumerate()
        {
            let space = if index == 0 { "" } else { " " };
            match &self.0[name] {
                Value::String(text) => write!(formatter, "{space}{name}={text}")?,
                other => write!(formatter, "{space}{name}={other}")?,
            }
        }
        Ok(())
    }
}

/// The server that is soaked.
#[derive(Debug)]
pub(crate) struct Watched {
    /// None if the server was running already.
    program: Option<Program>,
    address: SocketAddr,
    identity: Identity,
}

impl Watched {
    /// A server that runs already.
    pub(crate) fn running(address: SocketAddr) -> Result<Self, String> {
        Ok(Self { program: None, address, identity: Identity::of(address)? })
    }

    /// Starts a server on a free port of the loopback.
    pub(crate) fn start(program: &Path, driver: &str, threads: &str) -> Result<Self, String> {
        let mut command = command(program, &["--port", "0", "--address", "127.0.0.1"]);
        command.args(["--io", driver, "--threads", threads, "--drain-delay", "0s"]);
        // A client that has to wait long for a CPU must not meet this timeout.
        command.args(["--header-timeout", "10m"]);
        let program = Program::try_start(command).map_err(|error| error.to_string())?;
        let address = program.address();
        Ok(Self { program: Some(program), address, identity: Identity::of(address)? })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Resident memory; none if the server was running already.
    pub(crate) fn resident_kib(&self) -> Option<u64> {
        self.program.as_ref()?.process().status_kib("VmRSS")
    }

    /// Open descriptors; none if the server was running already.
    pub(crate) fn descriptors(&self) -> Option<usize> {
        self.program.as_ref()?.process().descriptors()
    }

    /// Waits until no more descriptors are open than before. The error is how many are still open.
    pub(crate) fn expect_descriptors(&self, before: usize) -> Result<(), usize> {
        let now = || self.descriptors().unwrap_or(usize::MAX);
        if comes_true_within(PATIENCE, || now() <= before) { Ok(()) } else { Err(now()) }
    }

    /// Why connections have ended, as the server counts them. This names the cause of an error that
    /// the client can only describe as the end of a connection.
    pub(crate) fn ends(&self) -> String {
        let (_, text) = Client::connect(self.address).get_text("/metrics");
        let ends = text.lines().filter_map(|line| line.strip_prefix(ENDS));
        ends.map(|end| end.replace("\"} ", "=")).collect::<Vec<_>>().join(" ")
    }

    /// Ends the server with SIGTERM. Its exit code must be 0.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        let Some(program) = &mut self.program else { return Ok(()) };
        program.signal(Signal::Terminate);
        match program.try_exit() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("the server has ended with {status}: {}", program.said())),
            Err(error) => Err(format!("the server does not end: {error}")),
        }
    }
}

/// Resident memory over the time of a soak, in KiB.
#[derive(Default)]
pub(crate) struct Memory {
    first: Option<u64>,
    least: Option<u64>,
    most: Option<u64>,
    last: Option<u64>,
    /// The first value after a tenth of the time.
    warm: Option<u64>,
}

impl Memory {
    pub(crate) fn note(&mut self, now: Option<u64>, is_warm: bool) {
        let Some(now) = now else { return };
        self.first.get_or_insert(now);
        self.least = Some(self.least.map_or(now, |least| least.min(now)));
        self.most = Some(self.most.map_or(now, |most| most.max(now)));
        self.last = Some(now);
        if is_warm {
            self.warm.get_or_insert(now);
        }
    }

    /// How much it has grown since the first tenth of the time.
    pub(crate) fn growth_kib(&self) -> Option<u64> {
        Some(self.last?.saturating_sub(self.warm?))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first: Some(first), least: Some(least), most: Some(most), last: Some(last), ..
        } = self
        else {
            return formatter.write_str("memory not watched");
        };
        let warm = self.warm.unwrap_or(*last);
        write!(
            formatter,
            "resident KiB: first {first}, after a tenth {warm}, last {last}, \
             min {least}, max {most}"
        )
    }
}
