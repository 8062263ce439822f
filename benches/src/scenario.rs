//! Owns the scenarios: what the servers are asked for, and which figures matter.

use crate::client::Mode;
use crate::figure::{
    BUSIEST, CLIENT_BUSY, CONNECTION_BYTES, CPU, ELAPSED, P50, P99, P999, RATE, RESIDENT,
    RESIDENT_GROWTH, RESIDENT_PEAK, SERVER_BUSY, SERVER_WAITED, START,
};
use crate::peer::{Link, Work};

/// One question about the servers.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it measures, for the tables.
    pub title: &'static str,
    /// The servers that it measures.
    pub asked: Asked,
    /// The figures that matter. The first one is plotted.
    pub columns: &'static [&'static str],
    /// The number with which the labels of its cases begin; empty if there is no such number.
    pub axis: &'static str,
    /// Its cases on a machine with this many CPUs.
    pub cases: fn(usize) -> Vec<(String, Ask)>,
    /// Most rounds. There are fewer if the figures hardly vary or if there are many cases.
    pub rounds_max: usize,
}

/// The servers that a scenario measures, out of those of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Every server that can do the work.
    All,
    /// Heartbeat, nginx and the floor; every server if the command line names servers.
    Few,
    /// Heartbeat, with the access log and without, and nginx.
    Logging,
    /// Heartbeat, as it is and in each of its send tiers, and nginx.
    Tiers,
    /// Heartbeat.
    Ours,
}

/// What a case does with a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ask {
    /// Sends as many requests as the server answers.
    Load(Shape),
    /// The same, with the client on the server's CPU: the CPU time of both shows as latency.
    SameCpu(Shape),
    /// The same with wrk, a client that many people have.
    Wrk(Shape),
    /// Sends each request when it is due. The rate is a part of what the slowest of the measured
    /// servers can answer.
    Paced {
        /// The load.
        shape: Shape,
        /// The part.
        part: f64,
        /// Whether other clients request answers of 1 GB and scrapes at the same time.
        beside: bool,
    },
    /// Sends only the first request, and measures the time of the start.
    Start,
    /// Sends only the first request, and measures the memory with this many workers.
    Idle(usize),
    /// Sends one request on each of this many connections, and measures the memory of those.
    IdleConnections(usize),
    /// Sends a head of 16 KB on each of this many connections, then nothing for a minute, and
    /// measures the memory.
    LongHeads(usize),
    /// Load on two workers: measures how it is shared.
    Balance(Shape),
}

/// What the load generator sends, and what the server is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What the server is started for.
    pub work: Work,
    /// Connections of the client.
    pub connections: usize,
    /// What the client does with content.
    pub mode: Mode,
    /// Requests after which a measurement ends; 0 if only time ends it.
    pub requests: u64,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// The maximum of a scenario that has no reason for fewer rounds than the run.
const ROUNDS: usize = usize::MAX;
/// Idle connections whose memory is measured, as the contract asks.
const IDLE_CONNECTIONS: usize = 10_000;
/// Connections with a long head, as the contract asks.
const LONG_HEADS: usize = 6_000;

const LOAD: &[&str] = &[CPU, RATE, SERVER_BUSY, SERVER_WAITED, CLIENT_BUSY, P50, P99];
const PIPELINED: &[&str] = &[RATE, CPU, SERVER_BUSY, SERVER_WAITED, CLIENT_BUSY];
const ONCE: &[&str] = &[ELAPSED, CPU, SERVER_WAITED, RESIDENT, RESIDENT_GROWTH];
const UPLOAD: &[&str] = &[CPU, ELAPSED, SERVER_WAITED, RESIDENT, RESIDENT_GROWTH];
const LATENCY: &[&str] = &[P99, P50, P999, SERVER_WAITED, RATE, CPU];
const GROWTH: &[&str] = &[CPU, RATE, RESIDENT];

/// All scenarios, in the order they run.
pub const SCENARIOS: &[Scenario] = &[
    load("17b-c64", "17 B, keep-alive, 64 connections", |_| {
        one(Ask::Load(shape(17, 64, Mode::Read)))
    }),
    load("1k-c64", "1 KB, keep-alive, 64 connections", |_| {
        one(Ask::Load(shape(KIB, 64, Mode::Read)))
    }),
    Scenario {
        asked: Asked::Few,
        ..load("17b-c8", "17 B, keep-alive, 8 connections", |_| {
            one(Ask::Load(shape(17, 8, Mode::Read)))
        })
    },
    Scenario {
        asked: Asked::Few,
        ..load("17b-c1000", "17 B, keep-alive, 1,000 connections", |_| {
            one(Ask::Load(shape(17, 1000, Mode::Read)))
        })
    },
    Scenario {
        asked: Asked::Few,
        columns: LATENCY,
        ..load("alone", "17 B, one connection, client on the server's CPU", |_| {
            one(Ask::SameCpu(shape(17, 1, Mode::Read)))
        })
    },
    Scenario {
        columns: PIPELINED,
        ..load("pipelined-16", "17 B, 16 requests in one segment, 64 connections", |_| {
            one(Ask::Load(with_depth(shape(17, 64, Mode::Read), 16)))
        })
    },
    Scenario {
        columns: PIPELINED,
        asked: Asked::Few,
        ..load("pipelined-50000", "17 B, 50,000 requests in one go, one connection", |_| {
            one(Ask::Load(with_depth(shape(17, 1, Mode::Read), 50_000)))
        })
    },
    Scenario {
        asked: Asked::Few,
        ..load("16k-discard", "16 KB to 64 connections that discard", |_| {
            one(Ask::Load(shape(16 * KIB, 64, Mode::Discard)))
        })
    },
    load("64k-discard", "64 KB to 64 connections that discard", |_| {
        one(Ask::Load(shape(64 * KIB, 64, Mode::Discard)))
    }),
    Scenario {
        asked: Asked::Few,
        ..load("1m-read", "1 MB to 64 connections that read", |_| {
            one(Ask::Load(shape(MIB, 64, Mode::Read)))
        })
    },
    load("1m-discard", "1 MB to 64 connections that discard", |_| {
        one(Ask::Load(shape(MIB, 64, Mode::Discard)))
    }),
    Scenario {
        asked: Asked::Tiers,
        ..load("veth", "over a veth pair to 64 connections that discard", |_| {
            sizes(&[64 * KIB, 256 * KIB, MIB], |n| {
                let plain = shape(n, 64, Mode::Discard);
                Ask::Load(Shape { work: Work { link: Link::Veth, ..plain.work }, ..plain })
            })
        })
    },
    Scenario {
        columns: ONCE,
        ..load("1g", "1 GB to one connection that discards", |_| {
            one(Ask::Load(Shape { requests: 1, ..shape(GIB, 1, Mode::Discard) }))
        })
    },
    Scenario {
        columns: UPLOAD,
        ..load("upload-1g", "1 GB from one connection with Content-Length, 17 B back", |_| {
            one(Ask::Load(upload(false)))
        })
    },
    Scenario {
        columns: UPLOAD,
        ..load(
            "upload-1g-chunked",
            "1 GB from one connection in chunks of 16 KiB, 17 B back",
            |_| one(Ask::Load(upload(true))),
        )
    },
    Scenario {
        asked: Asked::Logging,
        ..load("log-on", "17 B, 64 connections, access log to a file in memory or none", |_| {
            one(Ask::Load(shape(17, 64, Mode::Read)))
        })
    },
    Scenario {
        columns: &[RESIDENT, CONNECTION_BYTES],
        rounds_max: 3,
        ..load("memory", "resident memory", |_| {
            vec![
                ("idle, 1 worker".to_owned(), Ask::Idle(1)),
                ("idle, 2 workers".to_owned(), Ask::Idle(2)),
                ("10,000 idle connections".to_owned(), Ask::IdleConnections(IDLE_CONNECTIONS)),
            ]
        })
    },
    Scenario {
        asked: Asked::Ours,
        columns: &[RESIDENT, RESIDENT_PEAK],
        rounds_max: 2,
        ..load("long-heads", "a minute after 6,000 connections sent a head of 16 KB each", |_| {
            one(Ask::LongHeads(LONG_HEADS))
        })
    },
    Scenario { columns: &[START], ..load("start", "start to first answer", |_| one(Ask::Start)) },
    Scenario {
        asked: Asked::Few,
        ..load("short-lived", "17 B, a connection for each request, 64 at a time", |_| {
            let plain = shape(17, 64, Mode::Read);
            one(Ask::Load(Shape { work: Work { short_lived: true, ..plain.work }, ..plain }))
        })
    },
    Scenario {
        asked: Asked::Few,
        columns: LATENCY,
        axis: "connections",
        rounds_max: 5,
        ..load("latency", "17 B, half of the requests that the slowest can answer", |_| {
            over("connections", &[1, 64, 1000], |n| Ask::Paced {
                shape: shape(17, n, Mode::Read),
                part: 0.5,
                beside: false,
            })
        })
    },
    Scenario {
        asked: Asked::Logging,
        columns: LATENCY,
        rounds_max: 5,
        ..load(
            "latency-noise",
            "17 B, a quarter of that rate, beside answers of 1 GB and scrapes",
            |_| {
                let mut shape = shape(17, 64, Mode::Read);
                shape.work.long_answers = true;
                // Only a quarter of the rate, because long answers take all the time they can get.
                let paced = |beside| Ask::Paced { shape, part: 0.25, beside };
                vec![("alone".to_owned(), paced(false)), ("beside".to_owned(), paced(true))]
            },
        )
    },
    Scenario {
        asked: Asked::Ours,
        columns: &[BUSIEST, RATE, CPU],
        axis: "connections",
        rounds_max: 3,
        ..load("balance", "17 B, 2 workers: share of the busier one", |_| {
            over("connections", &[2, 4, 8, 16, 32, 64], |n| {
                Ask::Balance(with_threads(shape(17, n, Mode::Read), 2))
            })
        })
    },
    Scenario {
        asked: Asked::Few,
        columns: GROWTH,
        axis: "bytes in an answer",
        rounds_max: 3,
        ..load("growth-size", "larger answers, 8 connections that discard", |_| {
            let numbers =
                [1, 1 << 10, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 24, 1 << 27, 1 << 30];
            sizes(&numbers, |n| Ask::Load(shape(n, 8, Mode::Discard)))
        })
    },
    Scenario {
        asked: Asked::Few,
        columns: GROWTH,
        axis: "connections",
        rounds_max: 3,
        ..load("growth-connections", "more connections, 17 B", |_| {
            over("connections", &[1, 4, 16, 64, 256, 1024, 4096, 9000], |n| {
                Ask::Load(shape(17, n, Mode::Read))
            })
        })
    },
    Scenario {
        asked: Asked::Few,
        columns: GROWTH,
        rounds_max: 3,
        ..load("growth-workers", "more workers, 17 B, 256 connections", |n| {
            let workers: Vec<usize> = (1..=n).collect();
            over("workers", &workers, |n| Ask::Load(with_threads(shape(17, 256, Mode::Read), n)))
        })
    },
    Scenario {
        asked: Asked::Few,
        columns: &[CPU, RATE, SERVER_BUSY],
        rounds_max: 3,
        ..load("wrk", "the same asked by wrk, 64 connections", |_| {
            sizes(&[17, MIB], |n| Ask::Wrk(shape(n, 64, Mode::Read)))
        })
    },
];

/// The scenario of that name.
pub fn named(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

const fn load(
    name: &'static str,
    title: &'static str,
    cases: fn(usize) -> Vec<(String, Ask)>,
) -> Scenario {
    Scenario { name, title, asked: Asked::All, columns: LOAD, axis: "", cases, rounds_max: ROUNDS }
}

const fn shape(bytes: u64, connections: usize, mode: Mode) -> Shape {
    Shape { work: Work::answers(bytes), connections, mode, requests: 0 }
}

fn upload(chunked: bool) -> Shape {
    let plain = shape(17, 1, Mode::Read);
    Shape { work: Work { upload: GIB, chunked, ..plain.work }, requests: 1, ..plain }
}

fn with_depth(shape: Shape, depth: u32) -> Shape {
    Shape { work: Work { depth, ..shape.work }, ..shape }
}

fn with_threads(shape: Shape, threads: usize) -> Shape {
    Shape { work: Work { threads, ..shape.work }, ..shape }
}

fn one(ask: Ask) -> Vec<(String, Ask)> {
    vec![(String::new(), ask)]
}

fn over(what: &str, numbers: &[usize], ask: impl Fn(usize) -> Ask) -> Vec<(String, Ask)> {
    numbers.iter().map(|&n| (format!("{n} {what}"), ask(n))).collect()
}

fn sizes(numbers: &[u64], ask: impl Fn(u64) -> Ask) -> Vec<(String, Ask)> {
    numbers.iter().map(|&n| (size_label(n), ask(n))).collect()
}

const UNITS: [(&str, u64); 4] = [("GB", GIB), ("MB", MIB), ("KB", KIB), ("B", 1)];

/// A size in its largest unit: 17 B, 64 KB.
pub fn size_label(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    let (name, unit) = unit.unwrap_or(&("B", 1));
    format!("{} {name}", bytes / unit)
}

/// The number that the label of a case begins with. A size is returned in bytes.
pub fn number_of(label: &str) -> Option<f64> {
    let (number, what) = label.split_once(' ')?;
    let unit = UNITS.iter().find(|(name, _)| *name == what).map_or(1, |(_, unit)| *unit);
    Some(number.parse::<f64>().ok()? * unit as f64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn scenarios_have_different_names_and_their_cases_different_labels() {
        let names: HashSet<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        for scenario in SCENARIOS {
            let cases = (scenario.cases)(2);
            let labels: HashSet<_> = cases.iter().map(|(label, _)| label).collect();
            assert_eq!(labels.len(), cases.len(), "{}", scenario.name);
            assert_eq!(named(scenario.name).map(|found| found.title), Some(scenario.title));
        }
    }

    #[test]
    fn every_case_has_a_number_if_there_is_an_axis() {
        for scenario in SCENARIOS.iter().filter(|scenario| !scenario.axis.is_empty()) {
            let cases = (scenario.cases)(2);
            assert!(cases.iter().all(|(label, _)| number_of(label).is_some()), "{}", scenario.name);
        }
    }

    #[test]
    fn a_size_can_be_read_back_from_its_label() {
        assert_eq!(
            [17, 1 << 10, 3 << 16, 1 << 20].map(size_label),
            ["17 B", "1 KB", "192 KB", "1 MB"]
        );
        assert_eq!(number_of("192 KB"), Some(196_608.0));
        assert_eq!(number_of("64 connections"), Some(64.0));
        assert_eq!(number_of("idle, 1 worker"), None);
        assert_eq!(number_of(""), None);
    }
}
