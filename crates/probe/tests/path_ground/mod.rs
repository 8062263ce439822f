//! Paths with known properties: network namespaces in a row, `near - left - right - far`, joined by
//! veth pairs. The prober runs in `near`, the server in `far`; a test sets the properties between
//! `left` and `right`.

// Every test file is a separate program and uses only a part of this module. A failure here is a
// failure of the test.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::CpuSet;

use crate::path_twin::{self, Manners};
use crate::real;

/// Four namespaces; they are removed at the end.
pub(crate) struct Ground {
    prefix: String,
    relay: Option<Child>,
    /// Only one path exists at a time, because measurements would disturb each other.
    _turn: MutexGuard<'static, ()>,
}

/// The address of `far`.
pub(crate) const FAR: &str = "10.77.3.2";
/// The same over IPv6.
pub(crate) const FAR_IPV6: &str = "[fd77:3::2]";
/// Its address through a tunnel.
pub(crate) const FAR_INSIDE: &str = "10.78.0.2";

/// Keeps this thread, and the programs and threads that it starts, on one CPU. A veth pair forwards
/// a packet on the CPU that sends it, so packets of two CPUs may overtake each other. TCP takes
/// that for loss, and retransmits segments that no path has lost.
fn stay_on_one_cpu() {
    let all = rustix::process::sched_getaffinity(None).unwrap();
    let first = (0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)).unwrap();
    let mut one = CpuSet::new();
    one.set(first);
    rustix::process::sched_setaffinity(None, &one).unwrap();
}

impl Ground {
    /// Builds the row; `None`, and a line with the reason, if this machine does not allow it.
    pub(crate) fn new() -> Option<Self> {
        for tool in ["ip", "ethtool", "nft", "tc", "python3"] {
            let found =
                Command::new(tool).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
            if found.is_err() {
                eprintln!("LEFT OUT: this test needs the program {tool}");
                return None;
            }
        }
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("path-{}-{number}", std::process::id());
        stay_on_one_cpu();
        let ground = Self { prefix, relay: None, _turn };
        if !is_run("ip", &["netns", "add", &ground.name("near")]) {
            eprintln!("LEFT OUT: this test needs root, to add network namespaces");
            return None;
        }
        for other in ["left", "right", "far"] {
            run("ip", &["netns", "add", &ground.name(other)]);
        }
        for name in NAMES {
            ground.ip(name, "link set lo up");
            ground.inside(name, "sysctl -qw net.ipv4.ip_forward=1");
            ground.inside(name, "sysctl -qw net.ipv6.conf.all.forwarding=1");
            // The default congestion control of a namespace may pace, which hides the effect of a
            // queue.
            let cubic = ["netns", "exec", &ground.name(name), "sysctl", "-qw", CUBIC];
            if !is_run("ip", &cubic) {
                ground.inside(name, RENO);
            }
        }
        for (index, pair) in NAMES.windows(2).enumerate() {
            ground.link(index + 1, pair[0], pair[1]);
        }
        ground.route();
        Some(ground)
    }

    /// Starts the server of this tree in `far`; returns its URL as seen from `near`.
    pub(crate) fn serve(&self, address: &str) -> String {
        let ip = address.trim_matches(['[', ']']).parse().unwrap();
        format!("http://{}", real::start(ip, 0, self.way_to_far()))
    }

    /// Starts a server in `far` that is not Heartbeat. It has one page, of `bytes` bytes.
    pub(crate) fn serve_page(&self, address: &str, bytes: u64) -> String {
        let manners = Manners { foreign: Some(bytes), ..Manners::default() };
        format!("http://{}", path_twin::start(&format!("{address}:0"), manners, self.way_to_far()))
    }

    /// Moves the thread that calls the result to `far`.
    pub(crate) fn way_to_far(&self) -> impl FnOnce() + Send + 'static {
        self.way_to("far")
    }

    /// Moves the thread that calls the result to this namespace.
    pub(crate) fn way_to(&self, name: &str) -> impl FnOnce() + Send + 'static {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        let space = File::open(Path::new("/run/netns").join(self.name(name))).unwrap();
        move || {
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        }
    }

    /// The prober as a command, in `near`.
    pub(crate) fn prober(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name("near"), env!("CARGO_BIN_EXE_heartbeat-probe")]);
        command
    }

    /// Sets the MTU between `left` and `right`.
    pub(crate) fn narrow(&self, mtu: u32) {
        self.ip("left", &format!("link set right2 mtu {mtu}"));
        self.ip("right", &format!("link set left2 mtu {mtu}"));
    }

    /// Lets `left` drop packets to `near` that match the rule.
    pub(crate) fn drop_down(&self, rule: &str) {
        self.drop("left", "right2", rule);
    }

    /// Lets `right` drop packets to `far` that match the rule.
    pub(crate) fn drop_up(&self, rule: &str) {
        self.drop("right", "left2", rule);
    }

    /// Lets `left` drop this many of 1,000 packets to `near`, at random.
    pub(crate) fn lose_down(&self, per_mille: u32) {
        self.lose("left", "right2", per_mille);
    }

    /// Lets `right` drop this many of 1,000 packets to `far`, at random.
    pub(crate) fn lose_up(&self, per_mille: u32) {
        self.lose("right", "left2", per_mille);
    }

    /// How many packets with payload `left` and `right` have dropped at random.
    pub(crate) fn lost(&self) -> [u64; 2] {
        ["left", "right"].map(|name| {
            let words = ["netns", "exec", &self.name(name), "nft", "list", "chain", "inet", "t"];
            let output = Command::new("ip").args(words).arg("f").output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let (_, count) = text.split_once("counter packets ").unwrap();
            count.split(' ').next().unwrap().parse().unwrap()
        })
    }

    /// Lets hosts merge several segments into one (GSO, GRO), as is common.
    pub(crate) fn offload(&self) {
        for (name, device) in [
            ("near", "left1"),
            ("left", "near1"),
            ("left", "right2"),
            ("right", "left2"),
            ("right", "far3"),
            ("far", "right3"),
        ] {
            self.inside(name, &format!("ethtool -K {device} gso on tso on gro on"));
        }
    }

    fn drop(&self, name: &str, from: &str, rule: &str) {
        self.inside(name, "nft add table inet t");
        self.inside(name, "nft add chain inet t f { type filter hook forward priority 0 ; }");
        self.inside(name, &format!("nft add rule inet t f iifname {from} {rule} drop"));
    }

    fn lose(&self, name: &str, from: &str, per_mille: u32) {
        // TCP retransmits only packets with payload, so a rule of their own counts them.
        let chance = format!("numgen random mod 1000 < {per_mille}");
        self.drop(name, from, &format!("meta length > {HEADERS_MAX} {chance} counter"));
        self.drop(name, from, &format!("meta length <= {HEADERS_MAX} {chance}"));
    }

    /// Sets up a bottleneck for each direction, with a queue of `queue_bytes` in front of it.
    pub(crate) fn bottleneck(&self, down: &str, up: &str, queue_bytes: u32) {
        for (name, device, rate) in [("left", "near1", down), ("right", "far3", up)] {
            let limits = format!("rate {rate} burst 5k limit {queue_bytes}");
            self.inside(name, &format!("tc qdisc add dev {device} root tbf {limits}"));
        }
    }

    /// Sets up a tunnel between `near` and `far`, such as overlay networks have.
    pub(crate) fn vxlan(&self) {
        let ends = [("near", "10.77.1.1", FAR, "10.78.0.1"), ("far", FAR, "10.77.1.1", FAR_INSIDE)];
        for (name, local, remote, inside) in ends {
            let tunnel = format!("vxlan id 7 local {local} remote {remote} dstport 4789");
            self.ip(name, &format!("link add vx0 type {tunnel}"));
            self.ip(name, "link set vx0 mtu 1450 up");
            self.ip(name, &format!("address add {inside}/24 dev vx0"));
            self.inside(name, "ethtool -K vx0 gso off tso off gro off");
        }
    }

    /// Puts a relay between `near` and `far` instead of the row, with this delay each way and this
    /// loss in each direction.
    pub(crate) fn relay(&mut self, delay_ms: f64, loss_down: f64, loss_up: f64) {
        // Delays are compared to the millisecond, so other work of this machine must not add to
        // them. Threads and processes that are started from here on inherit the priority.
        let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
        is_run("chrt", &["--fifo", "--pid", "1", &thread]);
        let (near, far) = (format!("{}n", self.short()), format!("{}f", self.short()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/path_relay.py");
        let mut relay = Command::new("python3");
        relay.arg(script).args([&near, &far]);
        relay.args([delay_ms, loss_up, loss_down].map(|number| number.to_string()));
        let mut relay = relay.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        let out = relay.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        self.relay = Some(relay);
        for (device, name, address, other) in
            [(&near, "near", "10.78.0.1", FAR_INSIDE), (&far, "far", FAR_INSIDE, "10.78.0.1")]
        {
            run("ip", &["link", "set", device, "netns", &self.name(name)]);
            self.ip(name, &format!("address add {address} peer {other} dev {device}"));
            self.ip(name, &format!("link set {device} mtu 1500 up"));
        }
    }

    fn link(&self, number: usize, left: &str, right: &str) {
        // Each end has the name of the namespace at the other end.
        let (near_end, far_end) = (format!("{right}{number}"), format!("{left}{number}"));
        let (left_space, right_space) = (self.name(left), self.name(right));
        let words = format!(
            "link add {near_end} netns {left_space} type veth peer name {far_end} netns \
             {right_space}"
        );
        run("ip", &words.split(' ').collect::<Vec<_>>());
        for (name, device, host) in [(left, &near_end, 1), (right, &far_end, 2)] {
            self.ip(name, &format!("address add 10.77.{number}.{host}/24 dev {device}"));
            let ipv6 = format!("address add fd77:{number}::{host}/64 dev {device} nodad");
            self.ip(name, &ipv6);
            // Packets are dropped by their length, so they must be as long as on a cable.
            self.inside(name, &format!("ethtool -K {device} gso off tso off gro off"));
            self.ip(name, &format!("link set {device} up"));
        }
    }

    fn route(&self) {
        for (name, net, via) in [
            ("near", "10.77.2.0/24", "10.77.1.2"),
            ("near", "10.77.3.0/24", "10.77.1.2"),
            ("left", "10.77.3.0/24", "10.77.2.2"),
            ("right", "10.77.1.0/24", "10.77.2.1"),
            ("far", "10.77.1.0/24", "10.77.3.1"),
            ("far", "10.77.2.0/24", "10.77.3.1"),
        ] {
            self.ip(name, &format!("route add {net} via {via}"));
        }
        for (name, net, via) in [
            ("near", "fd77:2::/64", "fd77:1::2"),
            ("near", "fd77:3::/64", "fd77:1::2"),
            ("left", "fd77:3::/64", "fd77:2::2"),
            ("right", "fd77:1::/64", "fd77:2::1"),
            ("far", "fd77:1::/64", "fd77:3::1"),
            ("far", "fd77:2::/64", "fd77:3::1"),
        ] {
            self.ip(name, &format!("-6 route add {net} via {via}"));
        }
    }

    fn ip(&self, name: &str, words: &str) {
        let space = self.name(name);
        let words: Vec<_> = ["-n", &space].into_iter().chain(words.split(' ')).collect();
        run("ip", &words);
    }

    fn inside(&self, name: &str, words: &str) {
        let space = self.name(name);
        let words: Vec<_> = ["netns", "exec", &space].into_iter().chain(words.split(' ')).collect();
        run("ip", &words);
    }

    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    // The name of a device has at most 15 characters.
    fn short(&self) -> String {
        self.prefix.replace("path-", "pt").replace('-', "x")
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Some(relay) = &mut self.relay {
            let _ = relay.kill();
            let _ = relay.wait();
        }
        for name in NAMES {
            is_run("ip", &["netns", "del", &self.name(name)]);
        }
    }
}

fn run(program: &str, words: &[&str]) {
    assert!(is_run(program, words), "{program} {words:?}");
}

fn is_run(program: &str, words: &[&str]) -> bool {
    Command::new(program).args(words).stdout(Stdio::null()).status().unwrap().success()
}

/// Bytes of the IPv4 header and of the longest TCP header.
const HEADERS_MAX: u32 = 80;
const NAMES: [&str; 4] = ["near", "left", "right", "far"];
const CUBIC: &str = "net.ipv4.tcp_congestion_control=cubic";
const RENO: &str = "sysctl -qw net.ipv4.tcp_congestion_control=reno";
