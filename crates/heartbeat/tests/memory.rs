//! How much memory the connections that wait cost. The figures are printed: `--nocapture` shows
//! them.

mod binary;

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use binary::{drivers, start};
use heartbeat_testkit::{Client, PATIENCE, Program, comes_true_within, eventually, limit_own};

/// Resident memory of an idle program in KiB. This is the debug profile: release takes less.
const IDLE_KIB_MAX: u64 = 6 * 1024;

/// What an idle connection may add, in bytes. Measured for a release are 661 on io_uring and 227 on
/// epoll.
const CONNECTION_BYTES_MAX: u64 = 1024;

/// What may be added independently of the number of connections: spare buffers, tables that double.
const SPARE_KIB_MAX: u64 = 1024;

/// Descriptors that this program needs besides its connections.
const DESCRIPTORS_RESERVED: u64 = 64;

/// The most of the program's code that is resident after the start, in percent. Measured are 23 to
/// 48, and all of it if nothing is given back: the kernel maps 64 KiB around each page that is
/// executed.
const CODE_PERCENT_MAX: u64 = 75;

/// Heads that are never finished, each of nearly the length that is allowed.
const HEADS: usize = 6000;
const HEAD_BYTES: usize = 15_900;

/// Resident memory after such a spike in KiB. This is the debug profile, as above.
const AFTER_SPIKE_KIB_MAX: u64 = 8 * 1024;

/// Only one test runs at a time, because each may use all descriptors of this program.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Raises this program's soft limit of descriptors to the hard limit, and returns it.
fn raise_descriptors() -> u64 {
    limit_own(libc::RLIMIT_NOFILE, u64::MAX);
    limit_own(libc::RLIMIT_NOFILE, u64::MAX)
}

/// Opens connections until there are `count`, each of which has been answered and waits.
fn fill(program: &Program, peers: &mut Vec<Client>, count: usize) {
    while peers.len() < count {
        let mut peer = program.connect();
        assert!(peer.get("/heartbeat/17").is_payload(17));
        peer.free_buffer();
        peers.push(peer);
    }
}

#[test]
fn an_idle_connection_costs_little_over_an_idle_program() {
    let _alone = alone();
    let room = raise_descriptors().saturating_sub(DESCRIPTORS_RESERVED);
    for driver in drivers() {
        let program = start(driver, &["--threads", "1"]);
        assert!(program.get("/heartbeat/1048576").is_payload(1 << 20));
        let idle_kib = program.status_kib("VmRSS");
        let mut figures = format!("--io {driver}: idle {idle_kib} KiB");
        assert!(idle_kib <= IDLE_KIB_MAX, "{figures}");
        let mut peers = Vec::new();
        for count in [1000, 10_000] {
            if count as u64 > room {
                figures += &format!("; {count}: no descriptors for them here");
                continue;
            }
            fill(&program, &mut peers, count);
            let more_kib = program.status_kib("VmRSS").saturating_sub(idle_kib);
            let each = more_kib * 1024 / count as u64;
            figures += &format!("; {count} connections {more_kib} KiB more, {each} bytes each");
            let allowed_kib = SPARE_KIB_MAX + CONNECTION_BYTES_MAX * count as u64 / 1024;
            assert!(more_kib <= allowed_kib, "{figures}");
            assert!(program.get("/heartbeat/65536").is_payload(65536));
        }
        let _ = std::io::stdout().write_all(format!("{figures}\n").as_bytes());
        peers.clear();
        eventually("they are gone", || program.metric("heartbeat_connections") < 2.0);
    }
}

#[test]
fn code_that_only_the_start_executes_is_given_back() {
    for driver in drivers() {
        let program = start(driver, &["--threads", "1"]);
        let mut code_kib = (0, 0);
        let is_small = comes_true_within(PATIENCE, || {
            code_kib = program.process().code_kib().expect("procfs");
            code_kib.1 * 100 <= code_kib.0 * CODE_PERCENT_MAX
        });
        assert!(is_small, "{} of {} KiB are resident on {driver}", code_kib.1, code_kib.0);
        assert!(program.get("/heartbeat/17").is_payload(17));
    }
}

#[test]
fn transparent_huge_pages_are_disabled() {
    for driver in drivers() {
        let program = start(driver, &["--threads", "1"]);
        let path = format!("/proc/{}/status", program.process().0);
        let status = std::fs::read_to_string(path).expect("procfs");
        // Linux 5.0 and later report it.
        if let Some((_, is_enabled)) = status.split_once("THP_enabled:") {
            assert_eq!(is_enabled.split_whitespace().next(), Some("0"));
        }
    }
}

#[test]
fn memory_of_a_spike_is_given_back_when_it_is_over() {
    let _alone = alone();
    let room = raise_descriptors().saturating_sub(DESCRIPTORS_RESERVED);
    let heads = HEADS.min(usize::try_from(room).unwrap_or(HEADS));
    for driver in drivers() {
        let program = start(driver, &["--threads", "1"]);
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(HEAD_BYTES));
        let mut peers = Vec::new();
        for _ in 0..heads {
            let mut peer = program.connect();
            peer.send(&head);
            peers.push(peer);
        }
        let spike_kib = program.status_kib("VmRSS");
        drop(peers);
        let mut after_kib = spike_kib;
        let is_small = comes_true_within(PATIENCE, || {
            after_kib = program.status_kib("VmRSS");
            after_kib <= AFTER_SPIKE_KIB_MAX
        });
        let figures =
            format!("--io {driver}: {heads} heads {spike_kib} KiB, then {after_kib} KiB\n");
        let _ = std::io::stdout().write_all(figures.as_bytes());
        assert!(is_small, "{figures}");
    }
}
