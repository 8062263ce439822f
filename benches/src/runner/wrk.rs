//! Owns the cross-check with wrk, a well-known load generator.

use std::io;
use std::process::{Command, Stdio};

use super::{Bench, start};
use crate::figure::{CPU, ELAPSED, Figures, RATE, SERVER_BUSY};
use crate::peer::Peer;
use crate::process::Group;
use crate::scenario::Shape;

/// The figures that wrk has printed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Said {
    requests: f64,
    rate: f64,
}

pub(super) fn load(peer: &Peer, shape: &Shape, bench: &Bench) -> io::Result<Figures> {
    let (running, _) = start(peer, &shape.work, bench)?;
    let mut command = Command::new("wrk");
    // wrk accepts whole seconds only.
    let duration = format!("{}s", bench.seconds.ceil().max(1.0));
    command.args(["-t1", &format!("-c{}", shape.connections), "-d", &duration]);
    command.arg(format!("http://{}{}", running.address, running.path));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let cpu_before = running.group.cpu_time();
    let mut wrk = Group::start(command, &bench.client_cpus)?;
    let mut text = String::new();
    if let Some(mut out) = wrk.child.stdout.take() {
        io::Read::read_to_string(&mut out, &mut text)?;
    }
    let cpu = running.group.cpu_time().saturating_sub(cpu_before).as_secs_f64();
    let said = parse(&text).map_err(io::Error::other)?;
    let elapsed = said.requests / said.rate;
    let figures = [
        (RATE, said.rate),
        (CPU, cpu * 1e6 / said.requests),
        (SERVER_BUSY, cpu / elapsed),
        (ELAPSED, elapsed),
    ];
    Ok(figures.map(|(name, value)| (name.to_owned(), value)).into())
}

/// Parses the output of wrk: `  12345 requests in 1.00s, 2.00MB read`, lines about errors if there
/// were any, and `Requests/sec:  12345.67`.
fn parse(text: &str) -> Result<Said, String> {
    if let Some(line) = text.lines().find(|l| l.contains("Non-2xx") || l.contains("errors:")) {
        return Err(format!("wrk: {}", line.trim()));
    }
    let requests = text
        .lines()
        .find_map(|line| line.split_once(" requests in "))
        .and_then(|(number, _)| number.trim().parse().ok());
    let rate = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))
        .and_then(|number| number.trim().parse().ok());
    match (requests, rate) {
        (Some(requests), Some(rate)) if requests > 0.0 && rate > 0.0 => Ok(Said { requests, rate }),
        _ => Err(format!("wrk said: {}", text.lines().last().unwrap_or("nothing"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n\
        \x20 20000 requests in 1.10s, 3.00MB read\nRequests/sec:  18181.81\nTransfer/sec: 2MB\n";

    #[test]
    fn the_figures_in_the_output_of_wrk_are_found() {
        assert_eq!(parse(TEXT), Ok(Said { requests: 20_000.0, rate: 18_181.81 }));
    }

    #[test]
    fn errors_that_wrk_counted_fail_the_measurement() {
        let wrong = format!("{TEXT}  Non-2xx or 3xx responses: 20000\n");
        assert!(parse(&wrong).is_err());
        let socket = format!("{TEXT}  Socket errors: connect 0, read 1, write 0, timeout 0\n");
        assert!(parse(&socket).is_err());
        assert!(parse("").is_err());
    }
}
