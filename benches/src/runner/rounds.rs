//! Owns the order of the measurements. In each round every server has its turn, so that the figures
//! of one round are close in time, and their ratio holds on a machine whose speed changes.

use std::io;

use super::{Bench, take_sample};
use crate::figure::RATE;
use crate::peer::{Kind, Peer, Work};
use crate::results::{Case, Row, ScenarioResult};
use crate::scenario::{Ask, Asked, Scenario};

/// Runs all cases of a scenario. With `everybody`, [`Asked::Few`] leaves out no server.
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
        .map(|(label, ask)| Case { label, rows: run_case(&ask, &peers, rounds, bench) })
        .collect();
    ScenarioResult {
        name: scenario.name.to_owned(),
        title: scenario.title.to_owned(),
        axis: scenario.axis.to_owned(),
        command: String::new(),
        columns: scenario.columns.iter().map(|&column| column.to_owned()).collect(),
        cases,
    }
}

/// The servers that a scenario measures, in the order of its tables.
fn asked(asked: Asked, peers: &[Peer], everybody: bool, bench: &Bench) -> Vec<Peer> {
    let ours = || peers.iter().filter(|peer| peer.is_heartbeat()).cloned();
    let nginx = || peers.iter().filter(|peer| peer.kind == Kind::Nginx).cloned();
    match asked {
        Asked::All => peers.to_vec(),
        Asked::Few => {
            let few = |peer: &&Peer| {
                everybody || peer.is_heartbeat() || matches!(peer.kind, Kind::Nginx | Kind::Floor)
            };
            peers.iter().filter(few).cloned().collect()
        }
        Asked::Ours => ours().collect(),
        Asked::Logging => {
            let logging = |peer: &Peer| peer.logging_to(bench.workshop.folder().join("access.log"));
            let both = ours().flat_map(|peer| [peer.clone(), logging(&peer)]);
            both.chain(nginx()).collect()
        }
        Asked::Tiers => {
            let tiers = ours().flat_map(|peer| [vec![peer.clone()], peer.in_every_tier()].concat());
            tiers.chain(nginx()).collect()
        }
    }
}

fn run_case(ask: &Ask, peers: &[Peer], rounds: usize, bench: &Bench) -> Vec<Row> {
    let able: Vec<&Peer> = peers.iter().filter(|peer| can(peer, ask)).collect();
    let new_row =
        |peer: &&Peer| Row { server: peer.name.clone(), rounds: Vec::new(), failure: None };
    let mut rows: Vec<Row> = able.iter().map(new_row).collect();
    let mut slowest = None;
    for round in 0..rounds {
        let rate = match rate(ask, &able, &mut slowest, bench) {
            Ok(rate) => rate,
            Err(error) => {
                rows.iter_mut().for_each(|row| row.failure = Some(error.to_string()));
                break;
            }
        };
        for index in order(able.len(), round) {
            if rows[index].failure.is_some() {
                continue;
            }
            match take_sample(able[index], ask, rate, bench) {
                Ok(figures) => rows[index].rounds.push(figures),
                Err(error) => rows[index].failure = Some(error.to_string()),
            }
        }
    }
    rows
}

/// The order of the servers in a round. Every second round begins with another server, and those in
/// between repeat the round before backwards, so that a drift over time favors no server.
fn order(servers: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..servers).map(|turn| (turn + round / 2) % servers).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

fn can(peer: &Peer, ask: &Ask) -> bool {
    match ask {
        Ask::Load(shape) | Ask::SameCpu(shape) | Ask::Wrk(shape) | Ask::Balance(shape) => {
            peer.can(&shape.work)
        }
        Ask::Paced { shape, beside, .. } => {
            peer.can(&shape.work) && (peer.has_long_answers() || !beside)
        }
        Ask::Idle(threads) => peer.can(&Work { threads: *threads, ..Work::answers(17) }),
        Ask::IdleConnections(connections) => *connections <= peer.connections_max(),
        Ask::LongHeads(_) | Ask::Start => true,
    }
}

/// The rate for the current speed of the machine: a part of what the slowest server can answer. The
/// first round finds out which server that is. It is 0 if the case has no rate.
fn rate(ask: &Ask, peers: &[&Peer], slowest: &mut Option<usize>, bench: &Bench) -> io::Result<f64> {
    let Ask::Paced { shape, part, .. } = ask else { return Ok(0.0) };
    let rate_of = |peer: &Peer| -> io::Result<f64> {
        let figures = take_sample(peer, &Ask::Load(*shape), 0.0, bench)?;
        Ok(figures.get(RATE).copied().unwrap_or(0.0))
    };
    if let Some(index) = *slowest {
        return Ok(rate_of(peers[index])? * part);
    }
    let mut least = f64::INFINITY;
    for (index, peer) in peers.iter().enumerate() {
        let rate = rate_of(peer)?;
        if rate < least {
            least = rate;
            *slowest = Some(index);
        }
    }
    Ok(least * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_measures_every_server_and_drift_favors_none() {
        let orders: Vec<Vec<usize>> = (0..4).map(|round| order(3, round)).collect();
        assert_eq!(orders, [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]]);
    }
}
