//! What the end-to-end tests share: a strict client, and servers of every driver and send tier.

// Every test file is a program of its own and uses its own part of this.
#![allow(dead_code, unused_imports)]

mod client;
mod narrow;
mod servers;
mod threads;

use std::thread;
use std::time::{Duration, Instant};

pub(crate) use client::{Client, Head, PATIENCE, request};
pub(crate) use narrow::narrow;
pub(crate) use servers::{
    Served, config, each_driver, each_driver_with, each_tier, each_tier_with,
};
pub(crate) use threads::{of_each_worker, ticks, waits};

/// Asks again and again whether something has come to pass, for as long as anybody would wait.
#[track_caller]
pub(crate) fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    assert!(comes_true_within(PATIENCE, is_so), "still not so after {PATIENCE:?}: {what}");
}

/// Whether something comes to pass in time.
pub(crate) fn comes_true_within(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}
