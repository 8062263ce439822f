//! The two test files that every fleet has, against a server that answers like Heartbeat.

mod process;
mod stub;

use process::{Folder, run};
use stub::{Stub, heartbeat};

fn shipped(name: &str) -> String {
    format!("{}/testfiles/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn both_pass() {
    let stub = Stub::start(heartbeat);
    let files = [shipped("heartbeat-benchmark.json"), shipped("heartbeat-baseline.json")];
    let folder = Folder::new();
    let arguments = ["-s", &stub.url(), "-f", &files[0], &files[1], "-v", "--summary", "Tsv"];
    let outcome = run(&folder, &arguments);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    let lines: Vec<_> = outcome.out.lines().collect();
    let (summary, requests) = lines.split_last().unwrap();
    assert_eq!(*summary, "Test Completed\tErrors\t0\tValidationErrorCount\t0\tMaxErrors\t10");
    assert_eq!(requests.len(), stub.seen().len());
    assert!(requests.len() >= 6, "{requests:?}");
}
