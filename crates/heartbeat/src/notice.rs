//! Owns what the program says on standard error, which nobody may be reading.

use std::io::{self, Write};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// How long a notice may take. Only a terminal that has been stopped, or a full pipe, takes longer.
const PATIENCE: Duration = Duration::from_millis(200);

/// Writes to standard error in one go. If that takes nothing, the program goes on without it:
/// neither its signals nor its end wait for a reader.
pub(crate) fn tell(text: &str) {
    let (done, is_done) = channel();
    let owned = text.to_owned();
    let write = move || {
        // If standard error is closed, nobody wants to know.
        let _ = io::stderr().write_all(owned.as_bytes());
        let _ = done.send(());
    };
    match thread::Builder::new().name("notice".to_owned()).spawn(write) {
        Ok(_) => drop(is_done.recv_timeout(PATIENCE)),
        Err(_) => drop(io::stderr().write_all(text.as_bytes())),
    }
}
