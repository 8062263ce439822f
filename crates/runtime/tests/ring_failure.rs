//! A companion ring that fails while it is used. This test is alone in its file, because it looks
//! for the ring among the descriptors of its process.

use std::fs;
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use heartbeat_runtime::Tier;

mod support;

use support::{Client, each_driver_with};

/// The submission queue of a companion ring has 8 entries, unlike that of every other ring here.
const SQ_MASK: &str = "SqMask:\t0x7";

fn companion_ring() -> Option<RawFd> {
    let entries = fs::read_dir("/proc/self/fdinfo").expect("the descriptors");
    entries.flatten().find_map(|entry| {
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        let is_companion = info.lines().any(|line| line.trim_end() == SQ_MASK);
        is_companion.then(|| entry.file_name().to_str()?.parse().ok())?
    })
}

#[test]
fn ordinary_writes_continue_an_answer_if_the_companion_ring_fails() {
    for server in each_driver_with(|config| {
        config.threads = Some(1);
        config.send = Some(Tier::Registered);
    }) {
        let mut client = Client::connect(server.address());
        assert_eq!(client.get("/heartbeat/1048576").content_length(), 1 << 20);
        if server.report().send.name() == "registered" {
            let ring = companion_ring().expect("a ring of the registered tier");
            let nothing = File::open("/dev/null").expect("a file that is no ring");
            // SAFETY: dup2 takes no memory; the ring's descriptor stays open, as another file.
            assert_eq!(unsafe { libc::dup2(nothing.as_raw_fd(), ring) }, ring);
        } else {
            eprintln!("no registered tier on {}", server.report().driver.name());
        }
        for _ in 0..3 {
            assert_eq!(client.get("/heartbeat/1048576").content_length(), 1 << 20);
            let mut fresh = Client::connect(server.address());
            assert_eq!(fresh.get("/heartbeat/1000000").content_length(), 1_000_000);
        }
    }
}
