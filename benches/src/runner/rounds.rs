//! Owns the order of measurements: in each round every server has its turn, and each round begins
//! with another one.

use std::collections::BTreeMap;
use std::io;

use super::{Bench, take_sample, yardstick};
use crate::figure::{RATE, Regime};
use crate::peer::{Kind, Peer, Work};
use crate::results::{Case, Row, ScenarioResult};
use crate::scenario::{Ask, Asked, Scenario};

/// Runs all cases of a scenario. `everybody` asks those the scenario would leave out.
pub fn run_scenario(
    scenario: &Scenario,
    peers: &[Peer],
    everybody: bool,
    bench: &Bench,
) -> ScenarioResult {
    let peers = asked(scenario.asked, peers, everybody, bench);
    let cases = (scenario.cases)(bench.all_cpus.len());
    let rounds = bench.rounds.min(scenario.rounds_max);
    let cases = cases
        .into_iter()
        .map(|(label, ask)| {
            let rows = run_case(&ask, &peers, rounds, bench);
            for row in &rows {
                if let Some(why) = &row.failure {
                    bench.miss(format!("{} {label}: {}: {why}", scenario.name, row.server));
                }
            }
            Case { label, rows }
        })
        .collect();
    ScenarioResult {
        name: scenario.name.to_owned(),
        title: scenario.title.to_owned(),
        columns: scenario.columns.iter().map(|&column| column.to_owned()).collect(),
        cases,
    }
}

fn asked(asked: Asked, peers: &[Peer], everybody: bool, bench: &Bench) -> Vec<Peer> {
    let ours = || peers.iter().filter(|peer| peer.is_heartbeat());
    let nginx = |peer: &&Peer| peer.kind == Kind::Nginx;
    match asked {
        Asked::All => peers.to_vec(),
        Asked::Few => {
            let few = |peer: &&Peer| {
                everybody || peer.is_heartbeat() || matches!(peer.kind, Kind::Nginx | Kind::Floor)
            };
            peers.iter().filter(few).cloned().collect()
        }
        Asked::Ours => ours().cloned().collect(),
        Asked::Logging => {
            let logging = |peer: &Peer| peer.logging_to(bench.workshop.folder().join("access.log"));
            let both = ours().flat_map(|peer| [peer.clone(), logging(peer)]);
            both.chain(peers.iter().filter(nginx).cloned()).collect()
        }
    }
}

fn run_case(ask: &Ask, peers: &[Peer], rounds: usize, bench: &Bench) -> Vec<Row> {
    let able: Vec<&Peer> = peers.iter().filter(|peer| can(peer, ask)).collect();
    let new_row =
        |peer: &&Peer| Row { server: peer.name.clone(), samples: Vec::new(), failure: None };
    let mut rows: Vec<Row> = able.iter().map(new_row).collect();
    let mut rates = BTreeMap::new();
    for round in 0..rounds {
        let rate = match rate(ask, &able, &mut rates, bench) {
            Ok(rate) => rate,
            Err(error) => {
                rows.iter_mut().for_each(|row| row.failure = Some(error.to_string()));
                break;
            }
        };
        for turn in 0..able.len() {
            let index = (turn + round) % able.len();
            if rows[index].failure.is_some() {
                continue;
            }
            match take_sample(able[index], ask, rate, bench) {
                Ok(sample) => rows[index].samples.push(sample),
                Err(error) => rows[index].failure = Some(error.to_string()),
            }
        }
    }
    rows
}

fn can(peer: &Peer, ask: &Ask) -> bool {
    match ask {
        Ask::Load(shape) | Ask::Wrk(shape) | Ask::Balance(shape) => peer.can(&shape.work),
        Ask::Paced { shape, beside, .. } => {
            peer.can(&shape.work) && (peer.has_long_answers() || !beside)
        }
        Ask::Idle(threads) => peer.can(&Work { threads: *threads, ..Work::answers(17) }),
        Ask::IdleConnections(connections) => *connections <= peer.connections_max(),
        Ask::Start => true,
    }
}

/// The rate for the machine as it is now: what all can answer twice over. 0 where none is needed.
fn rate(
    ask: &Ask,
    peers: &[&Peer],
    known: &mut BTreeMap<Regime, f64>,
    bench: &Bench,
) -> io::Result<f64> {
    let Ask::Paced { shape, part, .. } = ask else { return Ok(0.0) };
    let now = yardstick(&bench.server_cpus, &bench.client_cpus)?;
    if let Some(&rate) = known.get(&Regime::of(now.crossing_ns)) {
        return Ok(rate);
    }
    let mut slowest = f64::INFINITY;
    let mut regime = Regime::of(now.crossing_ns);
    for peer in peers {
        let sample = take_sample(peer, &Ask::Load(*shape), 0.0, bench)?;
        slowest = slowest.min(sample.figures.get(RATE).copied().unwrap_or(0.0));
        regime = regime.max(sample.regime);
    }
    known.insert(regime, slowest * part);
    Ok(slowest * part)
}
