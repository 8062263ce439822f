//! Owns the command `run`: which servers, which scenarios, where results go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use clap::Args;
use heartbeat_bench::machine::{Machine, first_line};
use heartbeat_bench::network::Namespace;
use heartbeat_bench::peer::{Peer, Workshop};
use heartbeat_bench::report;
use heartbeat_bench::results::Results;
use heartbeat_bench::runner::{Bench, run_scenario};
use heartbeat_bench::scenario::{SCENARIOS, Scenario, named};
use heartbeat_bench::sys;

/// The shortest measurement in seconds. A shorter one would measure little but its beginning.
const SECONDS_MIN: f64 = 0.05;

/// Options of `run`.
#[derive(Args)]
pub(crate) struct RunOptions {
    /// A scenario by its name, again for more; all unless given
    #[arg(long)]
    scenario: Vec<String>,
    /// A server by its name, or NAME=PROGRAM[:ARG,ARG] for a Heartbeat, again for more; all unless
    /// given. Tables show ratios to the first
    #[arg(long)]
    server: Vec<String>,
    /// The Heartbeat of `heartbeat`, `heartbeat-uring` and `heartbeat-epoll` [default: the one
    /// beside this program]
    #[arg(long)]
    program: Option<PathBuf>,
    /// How often each server is measured
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How long one measurement takes
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// The congestion control of all connections, for this run alone (root) [default: the machine's]
    #[arg(long)]
    congestion: Option<String>,
    /// What the page of results has to say of the circumstances
    #[arg(long)]
    note: Option<String>,
    /// A folder for results.json, results.md and plots; none are written unless given
    #[arg(long)]
    out: Option<PathBuf>,
    /// Keep the scenarios in that folder that this run does not measure
    #[arg(long, requires = "out")]
    add: bool,
}

pub(crate) fn list() {
    for scenario in SCENARIOS {
        println!("{:20} {}", scenario.name, scenario.title);
    }
    let names: Vec<String> = Peer::all(Path::new("")).into_iter().map(|peer| peer.name).collect();
    println!("\nservers: {}", names.join(", "));
}

pub(crate) fn run(options: &RunOptions) -> Result<(), String> {
    if options.rounds == 0 || options.seconds.is_nan() || options.seconds < SECONDS_MIN {
        return Err(format!("--rounds from 1, --seconds from {SECONDS_MIN}"));
    }
    let mut scenarios = scenarios(options)?;
    sys::block_ending_signals();
    let mut bench = bench(options).map_err(|error| error.to_string())?;
    end_children_with_us(bench.workshop.folder().to_owned());
    let mut versions = BTreeMap::new();
    let peers = peers(options, &bench, &mut versions)?;
    bench.client_namespace = network(options, &bench).map_err(|error| error.to_string())?;
    scenarios.retain(|scenario| scenario.name != "veth" || bench.client_namespace.is_some());
    if first_line("wrk", &["--version"]).is_none() {
        bench.miss("wrk is left out: it does not run here".to_owned());
        scenarios.retain(|scenario| scenario.name != "wrk");
    }
    let mut found = Vec::new();
    for scenario in scenarios {
        let begin = Instant::now();
        let mut result = run_scenario(scenario, &peers, !options.server.is_empty(), &bench);
        result.command = repeating(options, scenario);
        println!("{} ({})\n\n{}", scenario.name, scenario.title, report::scenario_table(&result));
        eprintln!("{} took {:.0} s", scenario.name, begin.elapsed().as_secs_f64());
        found.push(result);
    }
    let results = Results {
        machine: Machine::here(),
        note: options.note.clone(),
        versions,
        missing: bench.missing.lock().map(|m| m.iter().cloned().collect()).unwrap_or_default(),
        scenarios: found,
    };
    println!("{}", report::targets_table(&results, &peers));
    if let Some(folder) = &options.out {
        let written = write(results, &peers, options.add, folder);
        written.map_err(|error| format!("{}: {error}", folder.display()))?;
        println!("written to {}", folder.display());
    }
    Ok(())
}

/// The command that measures one of the scenarios again.
fn repeating(options: &RunOptions, scenario: &Scenario) -> String {
    let mut words = vec!["heartbeat-bench run".to_owned()];
    words.extend(options.program.iter().map(|path| format!("--program {}", path.display())));
    words.push(format!("--rounds {} --seconds {}", options.rounds, options.seconds));
    words.extend(options.congestion.iter().map(|name| format!("--congestion {name}")));
    words.extend(options.server.iter().map(|word| format!("--server {word}")));
    words.push(format!("--scenario {}", scenario.name));
    words.join(" ")
}

fn write(results: Results, peers: &[Peer], add: bool, folder: &Path) -> io::Result<()> {
    let earlier = if add { report::read(folder)? } else { None };
    let results = match earlier {
        Some(earlier) => results.added_to(earlier, &report::order()),
        None => results,
    };
    report::write(&results, peers, folder)
}

/// Moves the run into a network namespace of its own, and makes another one for clients, if the run
/// has the right to do so. Peers whose build needs the network must have been built before.
fn network(options: &RunOptions, bench: &Bench) -> io::Result<Option<Namespace>> {
    let congestion = options.congestion.as_deref();
    let joined = Namespace::new(congestion).and_then(|own| {
        let clients = Namespace::new(congestion)?;
        own.enter()?;
        clients.join_by_veth()?;
        Ok(clients)
    });
    match joined {
        Ok(clients) => Ok(Some(clients)),
        Err(error) if congestion.is_none() => {
            bench.miss(format!("veth is left out: no network namespaces here ({error})"));
            Ok(None)
        }
        Err(error) => Err(io::Error::new(error.kind(), format!("--congestion: {error}"))),
    }
}

/// Kills what the run has started if a panic or a signal ends it, because neither runs destructors.
/// After a signal the scratch folder is removed as well.
fn end_children_with_us(folder: PathBuf) {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        sys::kill_groups();
        told(info);
    }));
    thread::spawn(move || {
        let signal = sys::wait_for_ending_signal();
        sys::kill_groups();
        // What cannot be removed now is removed by the next run.
        let _ = fs::remove_dir_all(folder);
        std::process::exit(128 + signal);
    });
}

fn bench(options: &RunOptions) -> io::Result<Bench> {
    sys::raise_open_files()?;
    let all_cpus = sys::allowed_cpus()?;
    let server_cpus = vec![all_cpus[0]];
    let client_cpus = vec![all_cpus[all_cpus.len() - 1]];
    // This program, and the children that get no CPUs of their own, run on the client's CPU, so
    // that they do not disturb the server.
    sys::pin(&client_cpus)?;
    let workshop = Workshop::open()?;
    Ok(Bench {
        workshop,
        all_cpus,
        server_cpus,
        client_cpus,
        client_namespace: None,
        seconds: options.seconds,
        rounds: options.rounds,
        missing: Mutex::new(BTreeSet::new()),
    })
}

fn peers(
    options: &RunOptions,
    bench: &Bench,
    versions: &mut BTreeMap<String, String>,
) -> Result<Vec<Peer>, String> {
    let program = options.program.clone().unwrap_or_else(own_heartbeat);
    let mut peers = Vec::new();
    for word in &options.server {
        peers.push(Peer::parse(word, &program)?);
    }
    if peers.is_empty() {
        peers = Peer::all(&program);
    }
    peers.retain(|peer| match peer.version(&bench.workshop) {
        Ok(version) => {
            versions.insert(peer.name.clone(), version);
            true
        }
        Err(missing) => {
            bench.miss(missing);
            false
        }
    });
    if peers.is_empty() { Err("no server is left".to_owned()) } else { Ok(peers) }
}

fn scenarios(options: &RunOptions) -> Result<Vec<&'static Scenario>, String> {
    if options.scenario.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    let of = |name: &String| {
        let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        named(name).ok_or_else(|| format!("no scenario is called {name}: {}", names.join(", ")))
    };
    options.scenario.iter().map(of).collect()
}

/// The `heartbeat` in the folder of this program.
fn own_heartbeat() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().unwrap_or(Path::new(".")).join("heartbeat")
}
