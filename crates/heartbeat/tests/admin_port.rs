//! The admin port of a running program: what it answers, what it takes off the main port, and the
//! names of the node and the zone there.

mod binary;

use binary::{drivers, start};
use heartbeat_testkit::{Client, Program, Signal, eventually};

/// Paths, and the status of each on the main port and on the admin port.
const STATUSES: [(&str, u16, u16); 13] = [
    ("/metrics", 404, 200),
    ("/version", 404, 200),
    ("/version?format=json", 404, 200),
    ("/heartbeat/metrics", 404, 404),
    ("/heartbeat/version", 404, 404),
    ("/heartbeat/version?format=json", 404, 404),
    ("/healthz", 200, 200),
    ("/readyz", 200, 200),
    ("/heartbeat/healthz", 200, 404),
    ("/heartbeat/readyz", 200, 404),
    ("/heartbeat/17", 200, 404),
    ("/", 301, 404),
    ("/nowhere", 404, 404),
];

const JSON: &str = "/version?format=json";

const NAMES: [&str; 4] = ["--node", "edge-7.example", "--zone", "eu-west-1a"];

/// The text of an answer of the admin port, which must be 200.
#[track_caller]
fn admin_text(program: &Program, path: &str) -> String {
    let (head, text) = Client::connect(program.admin_address()).get_text(path);
    assert_eq!(head.status, 200, "{path}");
    text
}

#[test]
fn metrics_and_version_are_on_the_admin_port_alone() {
    for driver in drivers() {
        for threads in ["1", "2"] {
            let program = start(driver, &["--threads", threads, "--admin-port", "0"]);
            let mut main = program.connect();
            let mut admin = Client::connect(program.admin_address());
            for (path, on_main, on_admin) in STATUSES {
                assert_eq!(main.get_text(path).0.status, on_main, "{path} on the main port");
                assert_eq!(admin.get_text(path).0.status, on_admin, "{path} on the admin port");
            }
            let (_, metrics) = admin.get_text("/metrics");
            assert!(metrics.contains("\nheartbeat_connections_total "), "{metrics}");
            assert_eq!(admin.get_text("/version").1, concat!(env!("CARGO_PKG_VERSION"), "\n"));
        }
    }
}

#[test]
fn without_an_admin_port_they_are_on_the_main_port_and_below_the_prefix() {
    for driver in drivers() {
        let program = start(driver, &[]);
        for path in ["/metrics", "/version", JSON, "/heartbeat/metrics", "/heartbeat/version"] {
            assert_eq!(program.get_text(path).0.status, 200, "{path}");
        }
    }
}

#[test]
fn the_admin_port_has_an_address_of_its_own() {
    for driver in drivers() {
        let options = ["--admin-port", "0", "--admin-address", "127.18.4.9"];
        let program = start(driver, &options);
        let admin = program.admin_address();
        assert_eq!(admin.ip().to_string(), "127.18.4.9");
        assert_eq!(program.address().ip().to_string(), "127.0.0.1");
        assert!(admin_text(&program, "/metrics").contains("\nheartbeat_threads "));
    }
}

#[test]
fn node_and_zone_are_in_the_version_and_in_the_metrics() {
    for driver in drivers() {
        let names = [NAMES.as_slice(), &["--admin-port", "0"]].concat();
        let program = start(driver, &names);
        let json = admin_text(&program, JSON);
        let told = ",\"node\":\"edge-7.example\",\"zone\":\"eu-west-1a\"}\n";
        assert!(json.ends_with(told), "{json}");
        let metrics = admin_text(&program, "/metrics");
        let series = "\nheartbeat_target_info{node=\"edge-7.example\",zone=\"eu-west-1a\"} 1\n";
        assert!(metrics.contains(series), "{metrics}");

        let program = start(driver, &NAMES[..2]);
        let (_, json) = program.get_text(JSON);
        assert!(json.ends_with(",\"node\":\"edge-7.example\"}\n"), "{json}");
        let series = "heartbeat_target_info{node=\"edge-7.example\",zone=\"\"}";
        assert!((program.metric(series) - 1.0).abs() < f64::EPSILON);

        let program = start(driver, &[]);
        let (_, json) = program.get_text(JSON);
        assert!(!json.contains("\"node\"") && !json.contains("\"zone\""), "{json}");
        assert!(!program.get_text("/metrics").1.contains("heartbeat_target_info"));
    }
}

#[test]
fn the_admin_port_reports_the_drain() {
    for driver in drivers() {
        let program = start(driver, &["--admin-port", "0", "--drain-delay", "10m"]);
        assert!(admin_text(&program, "/metrics").contains("\nheartbeat_draining 0\n"));
        program.signal(Signal::Terminate);
        let ready = || Client::connect(program.admin_address()).get_text("/readyz").0.status;
        eventually("not ready", || ready() == 503);
        assert_eq!(admin_text(&program, "/healthz"), "Pass\n");
        assert!(admin_text(&program, "/metrics").contains("\nheartbeat_draining 1\n"));
    }
}
