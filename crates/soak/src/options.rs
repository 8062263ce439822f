//! Owns the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// The largest payload that a server with default options sends, in bytes.
const SIZE_MAX: usize = 1 << 20;

/// Puts mixed load on a Heartbeat server and checks every byte of its answers.
#[derive(Debug, Parser)]
#[command(name = "heartbeat-soak", version, args_override_self = true)]
pub(crate) struct Options {
    /// How long each driver is soaked
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// How many requests each driver gets at most; 0: no limit
    #[arg(long, default_value_t = 0)]
    pub(crate) requests: u64,
    /// How many clients there are at a time
    #[arg(long, default_value_t = 8)]
    pub(crate) clients: u64,
    /// The server's --threads
    #[arg(long, default_value = "auto")]
    pub(crate) threads: String,
    /// What the random walk of each client begins with
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The payload sizes to request, up to 1M, e.g. 1K,64K,1M; without it, these and random ones
    #[arg(long, value_delimiter = ',', value_parser = size)]
    pub(crate) sizes: Vec<usize>,
    /// The driver or drivers, one after the other
    #[arg(long, value_enum, default_value = "both")]
    io: Io,
    /// The server to start; the heartbeat beside this program if it is not given
    #[arg(long)]
    program: Option<PathBuf>,
    /// A server that runs already with --max 1M; its memory is not watched
    #[arg(long, value_name = "IP:PORT", conflicts_with_all = ["program", "io", "threads"])]
    pub(crate) address: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Io {
    Uring,
    Epoll,
    Both,
}

impl Options {
    /// The value of the server's --io for each run; `running` stands for a server that runs
    /// already.
    pub(crate) fn drivers(&self) -> &'static [&'static str] {
        match (self.address, self.io) {
            (Some(_), _) => &["running"],
            (None, Io::Uring) => &["uring"],
            (None, Io::Epoll) => &["epoll"],
            (None, Io::Both) => &["uring", "epoll"],
        }
    }

    /// The server to start.
    pub(crate) fn program(&self) -> Result<PathBuf, String> {
        if let Some(program) = &self.program {
            return Ok(program.clone());
        }
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        Ok(this.with_file_name("heartbeat"))
    }

    /// The sizes as text.
    pub(crate) fn sizes(&self) -> String {
        let texts: Vec<_> = self.sizes.iter().map(usize::to_string).collect();
        if texts.is_empty() { "mixed".to_owned() } else { texts.join(",") }
    }

    /// The part of the ledger's line that is needed to repeat the run.
    pub(crate) fn ledger(&self) -> String {
        format!("clients={} seed={} sizes={}", self.clients, self.seed, self.sizes())
    }
}

fn size(text: &str) -> Result<usize, String> {
    let size = heartbeat_command_line::size(text).and_then(|size| usize::try_from(size).ok());
    size.filter(|size| (1..=SIZE_MAX).contains(size))
        .ok_or_else(|| "expected digits with an optional K or M, from 1 to 1M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_bounds() {
        let options = Options::parse_from(["soak", "--sizes", "1K,64K,1M,17"]);
        assert_eq!(options.sizes, [1024, 65_536, 1 << 20, 17]);
        for wrong in ["0", "1048577", "2M", "1G", "K", ""] {
            assert!(Options::try_parse_from(["soak", "--sizes", wrong]).is_err(), "{wrong}");
        }
        assert_eq!(Options::parse_from(["soak"]).sizes(), "mixed");
    }
}
