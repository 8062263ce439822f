//! Eight hosts on one machine: network namespaces on a bridge, each with a server, a prober and a
//! resolver. This needs root, iproute2 and nftables.

// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::name_server::{NameServer, Zone};

pub(crate) const HOSTS: u8 = 8;
pub(crate) const NAME: &str = "heartbeat-mesh.test";
const SUBNET: [u8; 3] = [10, 177, 77];
/// The bridge, on which the name service listens.
const GATE: u8 = 254;

/// The network and everything that runs in it; all of it is removed at the end.
pub(crate) struct Hosts {
    pub(crate) names: NameServer,
    server: PathBuf,
    servers: Vec<Option<Child>>,
    probers: Vec<Option<Child>>,
}

/// What is missing on this machine to build the network, if anything is.
pub(crate) fn missing() -> Option<String> {
    if output("id", &["-u"]).is_none_or(|id| id.trim() != "0") {
        return Some("it needs root".to_owned());
    }
    for (program, arguments) in [("ip", ["-V"]), ("nft", ["-v"])] {
        if output(program, &arguments).is_none() {
            return Some(format!("it needs the program {program}"));
        }
    }
    if output("ip", &["netns", "add", "mesh-try"]).is_none() {
        return Some("it needs network namespaces".to_owned());
    }
    let _ = output("ip", &["netns", "delete", "mesh-try"]);
    let rules = "table bridge mesh_try { chain c { numgen random mod 2 < 1 drop; }; }";
    if !nft(rules) {
        return Some("it needs nftables for bridges in the kernel".to_owned());
    }
    nft("delete table bridge mesh_try");
    server()
        .is_none()
        .then(|| "it needs the server: build heartbeat, or name it in HEARTBEAT".to_owned())
}

impl Hosts {
    /// Builds the network. Only the name service runs, which knows no host yet.
    pub(crate) fn new() -> Self {
        remove();
        run("ip", "link add mesh-br type bridge");
        run("ip", &format!("addr add {}/24 dev mesh-br", address(GATE)));
        run("ip", "link set mesh-br up");
        for host in 1..=HOSTS {
            run("ip", &format!("netns add mesh-h{host}"));
            run(
                "ip",
                &format!("link add mesh-v{host} type veth peer name eth0 netns mesh-h{host}"),
            );
            run("ip", &format!("link set mesh-v{host} master mesh-br up"));
            let own = address(host);
            within(host, &format!("ip addr add {own}/24 dev eth0"));
            // Packets as on a real wire, instead of segments of 64 KB, which one rule drops or
            // passes as a whole.
            within(host, "ip link set dev eth0 gso_max_segs 1");
            within(host, "ip link set eth0 up");
            within(host, "ip link set lo up");
            let folder = resolver_folder(host);
            fs::create_dir_all(&folder).unwrap();
            let gate = address(GATE);
            let text = format!("nameserver {gate}\nsearch test\noptions timeout:1 attempts:1\n");
            fs::write(folder.join("resolv.conf"), text).unwrap();
        }
        nft(RULES);
        let at = SocketAddr::from((address(GATE), 53));
        let zone = Zone { name: NAME.to_owned(), ..Zone::default() };
        Self {
            names: NameServer::start(at, zone),
            server: server().unwrap(),
            servers: (0..=HOSTS).map(|_| None).collect(),
            probers: (0..=HOSTS).map(|_| None).collect(),
        }
    }

    /// Adds a host to DNS.
    pub(crate) fn name(&self, host: u8) {
        self.names.change(|zone| zone.addresses.push(IpAddr::from(address(host))));
    }

    pub(crate) fn start_server(&mut self, host: u8) {
        let zone = zone(host);
        let server = self.server.to_str().unwrap();
        let mut words = vec![server, "--port", "8080", "--threads", "1"];
        let node = format!("h{host}");
        words.extend(["--node", &node, "--zone", zone]);
        self.servers[usize::from(host)] = Some(spawn(host, &words));
    }

    pub(crate) fn start_prober(&mut self, host: u8) {
        let (own, node) = (address(host).to_string(), format!("h{host}"));
        let words = [
            env!("CARGO_BIN_EXE_heartbeat-probe"),
            "mesh",
            "heartbeat-mesh:8080",
            "--self",
            &own,
            "--node",
            &node,
            "--zone",
            zone(host),
            "--interval",
            "500ms",
            "--timeout",
            "2s",
            "--lookup-interval",
            "2s",
        ];
        self.probers[usize::from(host)] = Some(spawn(host, &words));
    }

    /// Stops the server of a host as an orchestrator does, and waits until it has drained.
    pub(crate) fn stop_server(&mut self, host: u8) {
        let mut server = self.servers[usize::from(host)].take().unwrap();
        run("kill", &format!("-s TERM {}", server.id()));
        server.wait().unwrap();
    }

    /// The process id of a prober.
    pub(crate) fn prober(&self, host: u8) -> u32 {
        self.probers[usize::from(host)].as_ref().unwrap().id()
    }

    /// Unplugs the cable of a host, or plugs it in.
    pub(crate) fn set_cable(&self, host: u8, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        run("ip", &format!("link set mesh-v{host} {state}"));
    }

    /// Adds a rule for packets that go to a host or come from it.
    pub(crate) fn add_rule(&self, host: u8, rule: &str) {
        for way in ["iifname", "oifname"] {
            assert!(nft(&format!("add rule bridge mesh_hosts f {way} mesh-v{host} {rule}")));
        }
    }

    /// Adds a rule for packets that go to a host.
    pub(crate) fn add_rule_towards(&self, host: u8, rule: &str) {
        assert!(nft(&format!("add rule bridge mesh_hosts f oifname mesh-v{host} {rule}")));
    }

    /// Removes all rules.
    pub(crate) fn clear_rules(&self) {
        assert!(nft("flush chain bridge mesh_hosts f"));
    }

    /// Sets the MTU of a host's own interface.
    pub(crate) fn set_mtu(&self, host: u8, mtu: u32) {
        within(host, &format!("ip link set eth0 mtu {mtu}"));
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for child in self.servers.iter_mut().chain(&mut self.probers).flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        remove();
    }
}

pub(crate) fn address(host: u8) -> Ipv4Addr {
    let [a, b, c] = SUBNET;
    Ipv4Addr::new(a, b, c, host)
}

pub(crate) fn zone(host: u8) -> &'static str {
    if host <= HOSTS / 2 { "a" } else { "b" }
}

/// The program of the server: the file that HEARTBEAT names, or the one beside the prober.
pub(crate) fn server() -> Option<PathBuf> {
    let named = std::env::var_os("HEARTBEAT").map(PathBuf::from);
    let prober = Path::new(env!("CARGO_BIN_EXE_heartbeat-probe"));
    let built = prober.with_file_name("heartbeat");
    let release = prober.parent()?.with_file_name("release").join("heartbeat");
    named.into_iter().chain([built, release]).find(|path| path.is_file())
}

fn spawn(host: u8, words: &[&str]) -> Child {
    let namespace = format!("mesh-h{host}");
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &namespace]).args(words);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn within(host: u8, line: &str) {
    run("ip", &format!("netns exec mesh-h{host} {line}"));
}

fn run(program: &str, line: &str) {
    let arguments: Vec<_> = line.split(' ').collect();
    assert!(output(program, &arguments).is_some(), "{program} {line}");
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn nft(rules: &str) -> bool {
    output("nft", &[rules]).is_some()
}

/// Also removes what a killed test has left.
fn remove() {
    let _ = output("nft", &["delete table bridge mesh_hosts"]);
    for host in 1..=HOSTS {
        let _ = output("ip", &["link", "delete", &format!("mesh-v{host}")]);
        let _ = output("ip", &["netns", "delete", &format!("mesh-h{host}")]);
        let _ = fs::remove_dir_all(resolver_folder(host));
    }
    let _ = output("ip", &["link", "delete", "mesh-br"]);
}

fn resolver_folder(host: u8) -> PathBuf {
    PathBuf::from(format!("/etc/netns/mesh-h{host}"))
}

const RULES: &str =
    "table bridge mesh_hosts { chain f { type filter hook forward priority 0; policy accept; }; }";
