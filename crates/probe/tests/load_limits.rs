//! `heartbeat-probe load`: what it reports if this machine is the limit.

// A failure in a helper function is a failure of the test.
#![allow(clippy::unwrap_used)]

mod process;
mod stub;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use process::{Folder, Outcome, finish, program};
use rustix::process::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;
use stub::{Reply, Seen, Stub, answer};

fn quick(_: &Seen) -> Reply {
    Reply::Raw(answer(200, "text/plain", "0123456789ABCDEF0"))
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.out).unwrap_or_else(|_| panic!("{outcome:?}"))
}

/// Only the first CPU that this process may use.
fn one_cpu() -> CpuSet {
    let all = sched_getaffinity(None).unwrap();
    let first = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).unwrap();
    let mut one = CpuSet::new();
    one.set(first);
    one
}

/// Threads that compete for a CPU until this is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn on(cpu: &CpuSet, threads: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let (over, cpu) = (Arc::clone(&over), *cpu);
            std::thread::spawn(move || {
                sched_setaffinity(None, &cpu).unwrap();
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(over)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_sender_without_cpu_time_reports_that_this_machine_is_the_limit_and_exits_with_1() {
    let stub = Stub::start(quick);
    let url = format!("{}/heartbeat/17", stub.url());
    // A small share of a CPU is too little for this rate on any machine.
    let cpu = one_cpu();
    let busy = Busy::on(&cpu, 2);
    let line = ["load", &url, "--rate", "50000", "-z", "400ms", "--timeout", "1s", "--json"];
    let folder = Folder::new();
    let outcome = std::thread::scope(|scope| {
        let starved = scope.spawn(|| {
            sched_setaffinity(None, &cpu).unwrap();
            let mut command = Command::new("nice");
            command.args(["-n", "19", env!("CARGO_BIN_EXE_heartbeat-probe")]).args(line);
            finish(command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(folder.path()))
        });
        starved.join().unwrap()
    });
    drop(busy);
    let result = json(&outcome);
    assert_eq!((outcome.code, &result["saturated"]), (1, &true.into()), "{outcome:?}");
    assert!(outcome.err.contains("this machine is the limit, not the server"), "{outcome:?}");
    assert!(result["sender"]["waiting_s"].as_f64().unwrap() > 0.2, "{outcome:?}");
}

#[test]
fn an_idle_sender_is_not_saturated() {
    let stub = Stub::start(|_| {
        let late = std::time::Duration::from_secs(1);
        Reply::Late(answer(200, "text/plain", "0123456789ABCDEF0"), late)
    });
    let url = format!("{}/heartbeat/17", stub.url());
    let outcome = finish(program(&Folder::new()).args(["load", &url, "-n", "2", "--json"]));
    let result = json(&outcome);
    assert_eq!((outcome.code, &result["saturated"]), (0, &false.into()), "{outcome:?}");
    assert_eq!(outcome.err, "");
    let busy = result["sender"]["busy_share"].as_f64().unwrap();
    assert!((0.0..0.9).contains(&busy), "{outcome:?}");
}

#[test]
fn too_few_descriptors_are_reported_at_once_with_what_is_needed() {
    let stub = Stub::start(quick);
    let url = format!("{}/heartbeat/17", stub.url());
    let folder = Folder::new();
    let with_limit = |limit: u32, connections: &str| {
        let script = format!("ulimit -n {limit} && exec \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_heartbeat-probe"), "load", &url]);
        finish(command.args(["-n", "200", "-c", connections]).current_dir(folder.path()))
    };
    let outcome = with_limit(163, "100");
    assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{outcome:?}");
    for part in ["100 connections need 164 open files", "limit is 163", "at most 99"] {
        assert!(outcome.err.contains(part), "{part} is not in {outcome:?}");
    }
    assert!(stub.seen().is_empty());
    assert_eq!(with_limit(164, "100").code, 0);
}
