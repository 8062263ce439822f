//! `heartbeat-probe mesh`: every node watches the paths to its neighbours.

pub mod dns;
pub mod ring;
