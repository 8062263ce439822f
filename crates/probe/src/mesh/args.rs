//! The command line of `mesh`, and the checks of its values.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Args;

use super::turns::{Ask, Direction};
use crate::load::{size, time};

/// Asks the neighbours of this node again and again, and shows what the paths to
/// them are like
#[derive(Args, Clone, Debug)]
#[command(verbatim_doc_comment)]
pub(crate) struct MeshArgs {
    /// The headless Service (or any DNS name) whose addresses are the nodes,
    /// and the port of their servers
    #[arg(verbatim_doc_comment, value_name = "NAME[:PORT]", value_parser = service)]
    pub(crate) service: Service,

    /// How many nodes this one asks: its successors on a hash ring of the
    /// addresses
    #[arg(verbatim_doc_comment, long, value_name = "N", default_value = "10",
          value_parser = neighbors)]
    pub(crate) neighbors: usize,

    /// Between two requests to one neighbour
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = interval)]
    pub(crate) interval: Duration,

    /// Between two look-ups of the name
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = interval)]
    pub(crate) lookup_interval: Duration,

    /// Bytes that are asked for, in turn
    #[arg(long, value_name = "LIST", default_value = "17,1K,64K,1M", value_parser = sizes)]
    pub(crate) sizes: Sizes,

    /// Bytes that are uploaded, in turn with the others; `none` for no
    /// uploads
    #[arg(verbatim_doc_comment, long, value_name = "LIST", default_value = "1K,64K",
          value_parser = upload_sizes)]
    pub(crate) upload_sizes: Sizes,

    /// Longest time for a request, a new connection included
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub(crate) timeout: Duration,

    /// Prefix of the servers' sized paths
    #[arg(long, value_name = "PATH", default_value = "/heartbeat/", value_parser = uri)]
    pub(crate) uri: String,

    /// The address of this node, which is not asked; found by itself if it
    /// is not given
    #[arg(verbatim_doc_comment, long = "self", value_name = "IP", value_parser = address)]
    pub(crate) own_address: Option<IpAddr>,

    /// The name of this node
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) node: Option<String>,

    /// The zone of this node
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) zone: Option<String>,

    /// Port of the pages and metrics
    #[arg(long, short, value_name = "PORT", default_value = "8081", value_parser = port)]
    pub(crate) port: u16,

    /// Port of the other nodes' probers, for the page of the cluster; --port
    /// if it is not given
    #[arg(verbatim_doc_comment, long, value_name = "PORT", value_parser = port)]
    pub(crate) peer_port: Option<u16>,

    /// Asks this DNS server instead of those in /etc/resolv.conf
    #[arg(long, value_name = "IP[:PORT]", value_parser = dns_server)]
    pub(crate) dns: Option<SocketAddr>,

    /// Ends after this time and prints what the paths are like; exits 1 if
    /// one is not well
    #[arg(verbatim_doc_comment, long, value_name = "TIME", value_parser = time)]
    pub(crate) duration: Option<Duration>,

    /// Prints events, and the result, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A name, and the port of the servers behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// Sizes in bytes, in the order in which they are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sizes(pub(crate) Vec<u64>);

impl MeshArgs {
    /// Every kind of request to a neighbour, in the order of the turns.
    pub(crate) fn asks(&self) -> Vec<Ask> {
        let all = |sizes: &Sizes, direction| {
            sizes.0.iter().map(move |bytes| Ask { direction, bytes: *bytes }).collect::<Vec<_>>()
        };
        let mut asks = all(&self.sizes, Direction::Down);
        asks.extend(all(&self.upload_sizes, Direction::Up));
        asks
    }
}

fn service(text: &str) -> Result<Service, String> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok().filter(|port| *port > 0)),
        None => (text, Some(SERVER_PORT)),
    };
    let port = port.ok_or("expected a port from 1 to 65535 behind the colon")?;
    if name.parse::<IpAddr>().is_ok() {
        return Err("expected a DNS name: the addresses of all nodes are behind it".to_owned());
    }
    super::dns::query(0, name, super::dns::Kind::A).map_err(|error| error.to_string())?;
    Ok(Service { name: name.to_owned(), port })
}

fn neighbors(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=NEIGHBORS_MAX) => Ok(number),
        _ => Err(format!("expected 1 to {NEIGHBORS_MAX}")),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time < INTERVAL_MIN {
        return Err("expected at least 100ms".to_owned());
    }
    Ok(time)
}

fn sizes(text: &str) -> Result<Sizes, String> {
    let mut sizes = Vec::new();
    for word in text.split(',') {
        match size(word.trim())? {
            bytes @ 1..=SIZE_BYTES_MAX if !sizes.contains(&bytes) => sizes.push(bytes),
            1..=SIZE_BYTES_MAX => return Err(format!("{word} is there twice")),
            _ => return Err(format!("expected sizes from 1 to 16M, not {word}")),
        }
    }
    if sizes.len() > SIZES_MAX {
        return Err(format!("expected at most {SIZES_MAX} sizes"));
    }
    Ok(Sizes(sizes))
}

fn upload_sizes(text: &str) -> Result<Sizes, String> {
    if text == "none" { Ok(Sizes(Vec::new())) } else { sizes(text) }
}

fn uri(text: &str) -> Result<String, String> {
    let good = text.starts_with('/') && !text.contains(['?', '#', ' ']);
    if !good {
        return Err("expected a path that begins with a slash".to_owned());
    }
    Ok(format!("{}/", text.trim_end_matches('/')))
}

fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.len() > super::identity::NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return Err("expected at most 253 bytes of printable text".to_owned());
    }
    Ok(text.to_owned())
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port @ 1..) => Ok(port),
        _ => Err("expected 1 to 65535".to_owned()),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "expected an IP address".to_owned())
}

fn dns_server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, DNS_PORT));
    let address = address.or_else(|_| text.parse::<SocketAddr>());
    address.map_err(|_| "expected an IP address, with a port if it is not 53".to_owned())
}

/// The server's default.
const SERVER_PORT: u16 = 8080;
const DNS_PORT: u16 = 53;
/// Every neighbour costs memory, sockets and series, and ten are enough to show a fault.
pub(crate) const NEIGHBORS_MAX: usize = 100;
/// Requests that are sent every few seconds should not fill the network.
const SIZE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Each size is a series per neighbour.
pub(crate) const SIZES_MAX: usize = 6;
/// Shorter intervals are a load, for which `load` is the tool.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use clap::Parser;
    use heartbeat_command_line::Misuse;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        mesh: MeshArgs,
    }

    fn parse(line: &str) -> Result<MeshArgs, clap::Error> {
        Ok(Line::try_parse_from(std::iter::once("mesh").chain(line.split_whitespace()))?.mesh)
    }

    #[test]
    fn a_name_alone_is_enough() {
        let args = parse("heartbeat-mesh").unwrap();
        assert_eq!(args.service, Service { name: "heartbeat-mesh".to_owned(), port: 8080 });
        assert_eq!((args.neighbors, args.port), (10, 8081));
        assert_eq!(args.interval, Duration::from_secs(5));
        let asks: Vec<_> = args.asks().iter().map(Ask::key).collect();
        assert_eq!(asks, ["17", "1024", "65536", "1048576", "1024-up", "65536-up"]);
    }

    #[test]
    fn reads_every_option() {
        let args = parse(
            "mesh.net:9000 --neighbors 3 --interval 500ms --lookup-interval 10s --sizes 1,2K \
             --upload-sizes none --timeout 2s --uri /hb --self 10.0.0.1 --node n1 --zone a \
             --port 9001 --dns 10.96.0.10 --duration 1m --json",
        )
        .unwrap();
        assert_eq!(args.service, Service { name: "mesh.net".to_owned(), port: 9000 });
        assert_eq!((args.sizes, args.upload_sizes), (Sizes(vec![1, 2048]), Sizes(vec![])));
        assert_eq!((args.uri.as_str(), args.port, args.json), ("/hb/", 9001, true));
        assert_eq!(args.own_address, Some(IpAddr::from([10, 0, 0, 1])));
        assert_eq!(args.dns, Some(SocketAddr::from(([10, 96, 0, 10], 53))));
        assert_eq!(parse("m --dns [::1]:5353").unwrap().dns, "[::1]:5353".parse().ok());
    }

    #[test]
    fn rejects_values_beyond_each_limit() {
        let seven = "1,2,3,4,5,6,7";
        for wrong in [
            "",
            "10.0.0.1",
            "a..b",
            "m:0",
            "m:65536",
            "m --neighbors 0",
            "m --neighbors 101",
            "m --interval 99ms",
            "m --sizes 0",
            "m --sizes 17M",
            "m --sizes 1,1",
            "m --sizes none",
            &format!("m --sizes {seven}"),
            "m --uri hb",
            "m --port 0",
            "m --dns x",
            "m --self x",
            &format!("m --node {}", "n".repeat(254)),
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for right in [
            "m --neighbors 100",
            "m --interval 100ms",
            "m --sizes 16M",
            "m --sizes 1,2,3,4,5,6",
            &format!("m --node {}", "n".repeat(253)),
        ] {
            assert!(parse(right).is_ok(), "{right}");
        }
    }

    #[test]
    fn the_help_page_fits_80_columns() {
        let help = crate::mesh::command().render_help().to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn a_refusal_says_what_is_allowed() {
        for (line, refusal) in [
            ("m --port x", "--port x: not allowed: expected 1 to 65535"),
            ("m --port 0", "--port 0: not allowed: expected 1 to 65535"),
            ("m --peer-port 65536", "--peer-port 65536: not allowed: expected 1 to 65535"),
            ("m --self x", "--self x: not allowed: expected an IP address"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(Misuse::from(&error).to_string(), refusal);
        }
    }
}
