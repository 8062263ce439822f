//! Owns what the program writes to standard error, which may have no reader.

use std::io::{self, Write};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// How long a write may take. Only a stopped terminal or a full pipe takes longer.
const PATIENCE: Duration = Duration::from_millis(200);

/// Writes to standard error. The program continues if that takes too long, so that neither its
/// signals nor its end wait for a reader.
pub(crate) fn print(text: &str) {
    let (done, is_done) = channel();
    let owned = text.to_owned();
    let write = move || {
        // If standard error is closed, there is no other place for the text.
        let _ = io::stderr().write_all(owned.as_bytes());
        let _ = done.send(());
    };
    match thread::Builder::new().name("notice".to_owned()).spawn(write) {
        Ok(_) => drop(is_done.recv_timeout(PATIENCE)),
        Err(_) => drop(io::stderr().write_all(text.as_bytes())),
    }
}
