//! Which program the tests run.

use std::path::PathBuf;

/// The one that Cargo has built for these tests, or the one that `HEARTBEAT_PROGRAM` names, which
/// may have been built for another C library or another processor.
pub(crate) fn path() -> PathBuf {
    let named = std::env::var_os("HEARTBEAT_PROGRAM");
    named.map_or_else(|| env!("CARGO_BIN_EXE_heartbeat").into(), PathBuf::from)
}
