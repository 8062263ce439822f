//! The server under the soak: started, watched through procfs, and ended.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take to end, and to close what its clients have left.
const PATIENCE: Duration = Duration::from_secs(40);

const SIGTERM: i32 = 15;

unsafe extern "C" {
    safe fn kill(process: i32, signal: i32) -> i32;
}

pub(crate) struct Watched {
    child: Option<Child>,
    address: SocketAddr,
    description: String,
}

impl Watched {
    /// A server that somebody else has started.
    pub(crate) fn running(address: SocketAddr) -> Self {
        Self { child: None, address, description: address.to_string() }
    }

    pub(crate) fn start(program: &Path, driver: &str, threads: &str) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.args(["--port", "0", "--address", "127.0.0.1", "--io", driver]);
        command.args(["--threads", threads, "--drain-delay", "0s"]);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let mut stderr = BufReader::new(child.stderr.take().ok_or("no pipe")?);
        let mut banner = String::new();
        while !banner.contains("\n  send ") {
            match stderr.read_line(&mut banner) {
                Ok(0) | Err(_) => return Err(format!("no start: {banner}")),
                Ok(_) => {}
            }
        }
        thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(drop));
        let field = |name: &str| {
            let line = banner.lines().find_map(|line| line.trim().strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        let address = field("address").parse().map_err(|_| format!("no address: {banner}"))?;
        let description = format!(
            "driver {}, send {}, threads {}",
            field("driver"),
            field("send"),
            field("threads")
        );
        Ok(Self { child: Some(child), address, description })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn description(&self) -> &str {
        &self.description
    }

    /// Resident memory.
    pub(crate) fn resident_kib(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> Option<usize> {
        Some(fs::read_dir(format!("/proc/{}/fd", self.id()?)).ok()?.count())
    }

    /// Waits until no more descriptors are open than were; tells how many are where they stay.
    pub(crate) fn expect_descriptors(&self, before: usize) -> Result<(), usize> {
        let start = Instant::now();
        loop {
            let now = self.descriptors().unwrap_or(usize::MAX);
            if now <= before {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(now);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it, by a drain whose exit code is 0.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        let Some(child) = &mut self.child else { return Ok(()) };
        kill(child.id() as i32, SIGTERM);
        let start = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("the server has ended with {status}")),
                Ok(None) if start.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(20));
                }
                other => return Err(format!("the server does not end: {other:?}")),
            }
        }
    }

    fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
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
    /// When it had warmed up.
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

    /// How much has come after the first tenth of the time.
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
