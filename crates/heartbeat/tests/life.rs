//! The life of the program: what it prints at its start, why it fails to start, and how it ends.

mod binary;

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use binary::{drivers, not_tested, program, serving};
use heartbeat_testkit::{
    Client, Program, Sandbox, Signal, at_once, eventually, failing, free_port, is_root, send_signal,
};

const DRIVERS: [&str; 2] = ["auto", "epoll"];

/// More connections than the limits of the process allow.
const ASKED_CONNECTIONS: &str = "100000";

#[test]
fn the_banner_reports_the_configuration_and_why_it_has_its_driver_and_send_tier() {
    let server = Program::start(serving(&[
        "-uri",
        "/x",
        "-min",
        "2",
        "-max=4K",
        "-l",
        "-t",
        "2",
        "--io",
        "epoll",
        "--max-connections",
        "9",
    ]));
    let first = server.banner().lines().next().unwrap();
    assert!(first.starts_with(concat!("heartbeat ", env!("CARGO_PKG_VERSION"), " (")), "{first}");
    assert_eq!(server.reported("address"), server.address().to_string());
    assert_eq!(server.reported("uri"), "/x/{n}, 2 to 4096 bytes");
    assert_eq!(server.reported("log"), "tsv");
    assert_eq!(server.reported("threads"), "2, at most 9 connections");
    assert_eq!(server.reported("driver"), "epoll (as configured)");
    let send = server.reported("send");
    assert_eq!(send, "splice (sends without a copy)");
    assert_eq!(server.banner().lines().count(), 7, "{}", server.banner());

    let mut client = server.connect();
    for (path, status) in [("/x/1", 400), ("/x/2", 200), ("/x/4096", 200), ("/x/4097", 400)] {
        assert_eq!(client.get(path).status, status, "{path}");
    }
    let json = server.get_text("/version?format=json").1;
    let told = "\"driver\":\"epoll\",\"send\":\"splice\",\"threads\":2,\
                \"uri\":\"/x/\",\"min\":2,\"max\":4096}\n";
    assert!(json.ends_with(told), "{json}");
}

#[test]
fn kernels_since_linux_6_15_send_from_registered_buffers_if_asked() {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("procfs");
    let mut numbers = release.split(|digit: char| !digit.is_ascii_digit()).map(str::parse::<u32>);
    let version = (numbers.next().unwrap().unwrap(), numbers.next().unwrap().unwrap());
    let server = Program::start(serving(&["--send", "registered"]));
    if version >= (6, 15) && server.reported("driver").starts_with("io_uring") {
        assert!(server.reported("send").starts_with("registered ("), "{}", server.banner());
        let zerocopy = Program::start(serving(&["--send", "zerocopy"]));
        assert!(zerocopy.reported("send").starts_with("zerocopy ("), "{}", zerocopy.banner());
    }
    let copy = Program::start(serving(&["--send", "copy"]));
    assert_eq!(copy.reported("send"), "copy (as configured)");
}

#[test]
fn port_0_is_a_free_port_on_every_address() {
    let mut command = program(&["--port", "0"]);
    command.env("HEARTBEAT_PORT", "tcp://10.0.0.1:80").env("HB_MAX", "2K").env("HB_URI", "/y");
    let server = Program::start(command);
    assert!(server.address().ip().is_unspecified() && server.address().port() > 0);
    assert_eq!(server.reported("uri"), "/y/{n}, 1 to 2048 bytes");
    let mut client = Client::connect((Ipv4Addr::LOCALHOST, server.address().port()).into());
    assert_eq!(client.get("/y/17").status, 200);
}

#[test]
fn a_taken_port_is_one_line_and_exit_1() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = Program::start(serving(&["--threads", "2"]));
    let ports = [listener.local_addr().unwrap().port(), other.address().port()];
    let starts = DRIVERS.iter().flat_map(|io| [(*io, "1"), (*io, "2")]);
    let starts = starts.flat_map(|(driver, threads)| ports.map(|port| (driver, threads, port)));
    // Each start tries for two seconds, because the port may become free.
    at_once(starts, |(driver, threads, port)| {
        let text = port.to_string();
        let arguments = ["--port", &text, "--threads", threads, "--io", driver];
        let (code, line) = failing(serving(&arguments));
        assert_eq!(code, Some(1), "{line}");
        assert!(line.contains(&format!("127.0.0.1:{port}")), "{line}");
        assert!(line.contains("in use") && line.contains("another port"), "{line}");
    });
}

#[test]
fn an_address_of_another_machine_is_one_line_and_exit_1() {
    // RFC 5737 reserves this address for documentation.
    let (code, line) = failing(program(&["--port", "0", "--address", "192.0.2.1"]));
    assert_eq!(code, Some(1), "{line}");
    assert!(
        line.contains("192.0.2.1") && line.contains("an address that this machine has"),
        "{line}"
    );
}

#[test]
fn either_signal_ends_it_with_exit_0() {
    for driver in DRIVERS {
        for signal in [Signal::Terminate, Signal::Interrupt] {
            let mut server = Program::start(serving(&["--io", driver]));
            let mut client = server.connect();
            assert_eq!(client.get("/heartbeat/1048576").status, 200);
            server.signal(signal);
            client.expect_end();
            drop(client);
            assert_eq!(server.expect_exit(), Some(0), "{}", server.said());
        }
    }
}

#[test]
fn the_first_signal_begins_the_drain_and_the_second_ends_it_at_once() {
    for driver in DRIVERS {
        let mut server = Program::start(serving(&["--io", driver, "--drain-delay", "10m"]));
        let mut stuck = server.connect();
        stuck.send("GET /heartb");
        server.signal(Signal::Terminate);
        eventually("not ready", || server.get_text("/readyz").0.status == 503);
        assert_eq!(server.get_text("/healthz").1, "Pass\n");
        // Each worker notices the drain by itself, a moment later.
        eventually("an answer closes", || server.get("/heartbeat/17").closes());
        server.signal(Signal::Interrupt);
        assert_eq!(server.expect_exit(), Some(0), "{}", server.said());
        let said = server.said();
        assert!(said.contains("draining") && said.contains("second signal"), "{said}");
    }
}

#[test]
fn the_healthcheck_command_checks_a_server_of_the_same_program() {
    let port = free_port().to_string();
    let server = Program::start(serving(&["--port", &port]));
    let check = |port: &str| program(&["healthcheck"]).env("HB_PORT", port).status();
    assert_eq!(check(&port).expect("a run").code(), Some(0));
    let url = format!("http://127.0.0.1:{port}/readyz");
    assert!(program(&["healthcheck", &url]).status().expect("a run").success());
    drop(server);
    assert_eq!(check(&port).expect("a run").code(), Some(1));
}

#[test]
fn running_out_of_descriptors_ends_no_connection_and_lets_the_workers_sleep() {
    for driver in DRIVERS {
        let command = serving(&["--io", driver, "--threads", "1", "--max-connections", "1000"]);
        let mut server = Program::start(command.limit(libc::RLIMIT_NOFILE, 40));
        let mut served = server.connect();
        assert_eq!(served.get("/heartbeat/17").status, 200);
        let crowd: Vec<_> = (0..100).map(|_| server.connect()).collect();
        for _ in 0..20 {
            assert_eq!(served.get("/heartbeat/1048576").status, 200);
        }
        server.process().expect_sleeping_workers();
        drop(crowd);
        let is_served = |mut peer: Client| {
            peer.try_get("/heartbeat/17").is_ok_and(|answer| answer.is_payload(17))
        };
        eventually("a place is free", || is_served(server.connect()));
        server.signal(Signal::Terminate);
        assert_eq!(server.expect_exit(), Some(0), "{}", server.said());
    }
}

#[test]
fn a_maximum_that_the_limits_do_not_allow_is_lowered_with_one_warning() {
    for driver in drivers() {
        let command =
            serving(&["--io", driver, "--threads", "1", "--max-connections", ASKED_CONNECTIONS]);
        let server = Program::start(command.limit(libc::RLIMIT_NOFILE, 256));
        let reported = server.reported("threads").strip_prefix("1, at most ");
        let max = reported.and_then(|text| text.strip_suffix(" connections")).expect("a maximum");
        let lowered = format!(
            "heartbeat: warning: --max-connections {ASKED_CONNECTIONS} is lowered to {max}, which \
             is what the limits of this process allow (ulimit -n, memory limit)"
        );
        assert_eq!(server.warnings(), [lowered]);
        let max = max.parse().expect("a number");
        assert!((1..256).contains(&max), "{max}");
        let mut served: Vec<_> = (0..max).map(|_| server.connect()).collect();
        for client in &mut served {
            assert!(client.get("/heartbeat/1024").is_payload(1024));
        }
        assert_eq!(server.connect().answer().status, 503);
        for client in &mut served {
            assert!(client.get("/heartbeat/1024").is_payload(1024));
        }
    }
}

#[test]
fn no_standard_stream_is_needed() {
    for driver in DRIVERS {
        let port = free_port();
        let (text, driver) = (port.to_string(), driver.to_owned());
        let script = "exec \"$0\" \"$@\" <&- >&- 2>&-";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, &binary::path(), "--address", "127.0.0.1"]);
        command.args(["--port", &text, "--io", &driver, "--drain-delay", "0s", "--log"]);
        let mut child = command.spawn().expect("a shell");
        let address = (Ipv4Addr::LOCALHOST, port).into();
        eventually("it serves", || TcpStream::connect(address).is_ok());
        let mut client = Client::connect(address);
        for bytes in [17, 1 << 20] {
            assert_eq!(client.get(&format!("/heartbeat/{bytes}")).content_length(), bytes);
        }
        client.finish();
        send_signal(child.id(), Signal::Terminate);
        assert_eq!(child.wait().expect("a child").code(), Some(0));
    }
}

#[test]
fn process_1_of_a_container_ends_by_a_signal_too() {
    if !is_root()
        || !Command::new("unshare").args(["-fp", "true"]).status().is_ok_and(|s| s.success())
    {
        not_tested("process 1, which needs root and unshare(1)");
        return;
    }
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let plain = serving(&[]);
        let mut command = Command::new("unshare");
        command.args(["--fork", "--pid", "--kill-child"]).arg(plain.get_program());
        command.args(plain.get_args()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut server = Program::start(command);
        assert_eq!(server.connect().get("/heartbeat/17").status, 200);
        let outer = server.process().0;
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"));
        let inner: u32 = children.expect("procfs").trim().parse().expect("one child");
        let status = fs::read_to_string(format!("/proc/{inner}/status")).expect("procfs");
        let ids = status.lines().find(|line| line.starts_with("NSpid:")).expect("namespaces");
        assert!(ids.ends_with("\t1"), "{ids}");
        send_signal(inner, signal);
        assert_eq!(server.expect_exit(), Some(0), "{}", server.said());
    }
}

#[test]
fn signals_that_other_servers_reload_on_are_ignored() {
    for driver in DRIVERS {
        let mut program = Program::start(serving(&["--io", driver, "--threads", "1"]));
        for signal in [Signal::HangUp, Signal::User1, Signal::User2] {
            program.signal(signal);
            assert!(program.get("/heartbeat/17").is_payload(17));
        }
        program.signal(Signal::Terminate);
        assert_eq!(program.expect_exit(), Some(0));
    }
}

#[test]
fn a_misspelt_variable_is_named_in_one_warning() {
    let mut command = serving(&[]);
    command.envs([("HB_PROT", "1"), ("HB_MIN", "2"), ("HB_LOGS", "1"), ("HEARTBEAT_X", "1")]);
    let program = Program::start(command);
    let warnings: Vec<_> =
        program.warnings().into_iter().filter(|line| line.contains("HB_")).collect();
    assert_eq!(warnings, ["heartbeat: warning: no such option: HB_LOGS, HB_PROT; see --help"]);
}
