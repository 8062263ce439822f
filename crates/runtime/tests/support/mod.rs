//! What the end-to-end tests share: servers of every driver and send tier in this process, and
//! what the kernel reports of their threads. The client is the one of the testkit.

// Every test file is a program of its own and uses its own part of this.
#![allow(dead_code, unused_imports)]

mod narrow;
mod servers;
mod threads;

pub(crate) use heartbeat_testkit::{
    Client, Deadline, Head, PATIENCE, at_once, comes_true_within, eventually, request,
};
pub(crate) use narrow::narrow;
pub(crate) use servers::{
    Served, config, each_driver, each_driver_with, each_tier, each_tier_with,
};
pub(crate) use threads::{of_each_worker, waits};
