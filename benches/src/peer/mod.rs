//! Owns the servers that are compared: what each can do, and how it is built and started.

mod config;
mod workshop;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::machine::first_line;
use crate::network::{LOOPBACK_IP, VETH_IP};
use crate::process::Group;
pub use workshop::Workshop;

/// Largest answer in a configuration file. Larger ones come from files with nginx and caddy;
/// haproxy and may_minihttp are left out.
const INLINE_BYTES_MAX: u64 = 1024;
/// Largest answer of the floor. It sends one constant buffer, and a longer buffer would measure the
/// memory of the machine.
const FLOOR_BYTES_MAX: u64 = 1 << 20;
/// Largest answer of fortio, which truncates longer ones.
const FORTIO_BYTES_MAX: u64 = 256 << 10;

/// Bytes of content in a long answer beside a measurement.
pub const LONG_BYTES: u64 = 1 << 30;

/// What a server is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Bytes of content in each answer.
    pub bytes: u64,
    /// Bytes of content in each request.
    pub upload: u64,
    /// Whether the content of requests comes in chunks.
    pub chunked: bool,
    /// Requests in one write of the client.
    pub depth: u32,
    /// Whether every connection has one request and then ends.
    pub short_lived: bool,
    /// Workers: event loops, processes or threads.
    pub threads: usize,
    /// Whether answers of 1 GB are requested as well.
    pub long_answers: bool,
    /// The path between clients and the server.
    pub link: Link,
}

/// The path between a client and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The loopback interface.
    Loopback,
    /// A veth pair, from a network namespace of the client's own.
    Veth,
}

impl Work {
    /// One worker that answers with this many bytes.
    pub const fn answers(bytes: u64) -> Self {
        Self {
            bytes,
            upload: 0,
            chunked: false,
            depth: 1,
            short_lived: false,
            threads: 1,
            long_answers: false,
            link: Link::Loopback,
        }
    }
}

/// The ending of the name of a Heartbeat that writes an access log.
pub const LOGGING: &str = "+log";
/// The ending of the name of a Heartbeat that copies large answers.
pub const COPYING: &str = "+copy";

/// How a Heartbeat waits for its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the option")]
pub enum Driver {
    Uring,
    Epoll,
}

/// One of the servers that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name in the tables.
    pub name: String,
    /// Which program it is.
    pub kind: Kind,
}

/// The program of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of programs")]
pub enum Kind {
    Heartbeat {
        program: PathBuf,
        arguments: Vec<String>,
        log: Option<PathBuf>,
    },
    Nginx,
    Haproxy,
    H2o,
    Caddy,
    Fortio,
    /// The Go net/http server in peers/go.
    Go,
    /// The Go fasthttp server in peers/fasthttp.
    Fasthttp,
    /// The may_minihttp server in peers/may.
    May,
    /// The C epoll loop in peers/floor.c.
    Floor,
}

/// A server that listens.
pub struct Running {
    /// Its processes.
    pub group: Group,
    /// The address on which it listens.
    pub address: SocketAddr,
    /// The request-target for an answer of the size that is measured.
    pub path: String,
    /// The request-target for an answer of [`LONG_BYTES`], if the server has one.
    pub long_path: Option<String>,
}

/// The servers beside Heartbeat that are measured if the command line names none.
pub const KNOWN: [(&str, Kind); 9] = [
    ("nginx", Kind::Nginx),
    ("floor", Kind::Floor),
    ("go", Kind::Go),
    ("may_minihttp", Kind::May),
    ("fasthttp", Kind::Fasthttp),
    ("haproxy", Kind::Haproxy),
    ("h2o", Kind::H2o),
    ("caddy", Kind::Caddy),
    ("fortio", Kind::Fortio),
];

impl Peer {
    /// Heartbeat with arguments of its own.
    pub fn heartbeat(name: &str, program: &Path, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let program = program.to_owned();
        Self { name: name.to_owned(), kind: Kind::Heartbeat { program, arguments, log: None } }
    }

    /// All servers, with both drivers of the Heartbeat in `program`.
    pub fn all(program: &Path) -> Vec<Self> {
        let ours = [
            Self::heartbeat("heartbeat-uring", program, &["--io", "uring"]),
            Self::heartbeat("heartbeat-epoll", program, &["--io", "epoll"]),
        ];
        let others = KNOWN.map(|(name, kind)| Self { name: name.to_owned(), kind });
        ours.into_iter().chain(others).collect()
    }

    /// The server that a word of the command line names: a known one by its name, or a Heartbeat by
    /// `NAME=PROGRAM` or `NAME=PROGRAM:ARGUMENT,ARGUMENT`.
    pub fn parse(word: &str, program: &Path) -> Result<Self, String> {
        if let Some((name, rest)) = word.split_once('=') {
            let (path, arguments) = rest.split_once(':').unwrap_or((rest, ""));
            let arguments: Vec<&str> = arguments.split(',').filter(|a| !a.is_empty()).collect();
            return Ok(Self::heartbeat(name, Path::new(path), &arguments));
        }
        if word == "heartbeat" {
            return Ok(Self::heartbeat(word, program, &[]));
        }
        Self::all(program).into_iter().find(|peer| peer.name == word).ok_or_else(|| {
            let names: Vec<String> = Self::all(program).into_iter().map(|p| p.name).collect();
            format!("no server is called {word}: NAME=PROGRAM[:ARG,ARG], {}", names.join(", "))
        })
    }

    /// Whether it is a Heartbeat.
    pub fn is_heartbeat(&self) -> bool {
        matches!(self.kind, Kind::Heartbeat { .. })
    }

    /// Whether it can do this work. A server that cannot is left out.
    pub fn can(&self, work: &Work) -> bool {
        match self.kind {
            Kind::Heartbeat { .. } | Kind::Go => true,
            // nginx answers an upload by `return`, but not with a file.
            Kind::Nginx => work.upload == 0 || work.bytes <= INLINE_BYTES_MAX,
            Kind::H2o | Kind::Caddy | Kind::Fasthttp => work.upload == 0,
            Kind::Haproxy | Kind::May => work.upload == 0 && work.bytes <= INLINE_BYTES_MAX,
            Kind::Fortio => work.upload == 0 && work.bytes <= FORTIO_BYTES_MAX,
            Kind::Floor => {
                work.upload == 0
                    && work.depth == 1
                    && work.bytes <= FLOOR_BYTES_MAX
                    && work.threads == 1
                    && work.link == Link::Loopback
            }
        }
    }

    /// Whether it can send long answers beside small ones.
    pub fn has_long_answers(&self) -> bool {
        matches!(self.kind, Kind::Heartbeat { .. } | Kind::Nginx)
    }

    /// How many connections it allows at once.
    pub fn connections_max(&self) -> usize {
        if self.kind == Kind::Haproxy { config::HAPROXY_CONNECTIONS_MAX } else { usize::MAX }
    }

    /// The driver of a Heartbeat.
    pub fn driver(&self) -> Option<Driver> {
        let Kind::Heartbeat { arguments, .. } = &self.kind else { return None };
        let forced =
            arguments.iter().any(|argument| argument == "epoll" || argument == "--io=epoll");
        Some(if forced { Driver::Epoll } else { Driver::Uring })
    }

    /// The same Heartbeat with its access log in a file.
    pub fn logging_to(&self, file: PathBuf) -> Self {
        let mut logging = self.clone();
        if let Kind::Heartbeat { log, .. } = &mut logging.kind {
            *log = Some(file);
            logging.name += LOGGING;
        }
        logging
    }

    /// The same Heartbeat in every send tier that its driver has, by names like [`COPYING`].
    pub fn in_every_tier(&self) -> Vec<Self> {
        let tiers: &[&str] = match self.driver() {
            None => &[],
            Some(Driver::Uring) => &["copy", "splice", "registered", "zerocopy"],
            // The other tiers need a ring. On epoll they would be `copy` under another name.
            Some(Driver::Epoll) => &["copy", "splice"],
        };
        let with = |tier: &&str| {
            let mut peer = self.clone();
            if let Kind::Heartbeat { arguments, .. } = &mut peer.kind {
                arguments.extend(["--send".to_owned(), (*tier).to_owned()]);
            }
            peer.name += &format!("+{tier}");
            peer
        };
        tiers.iter().map(with).collect()
    }

    /// Builds it, once a run, if its source is in this project. Returns the path of the program.
    fn built(&self, shop: &Workshop) -> io::Result<PathBuf> {
        match self.kind {
            Kind::Go => shop.go_program("go"),
            Kind::Fasthttp => shop.go_program("fasthttp"),
            Kind::May => shop.cargo_program("may"),
            Kind::Floor => shop.floor(),
            _ => Ok(PathBuf::new()),
        }
    }

    /// Its version, or a line that says what is missing. Builds it if its source is in this
    /// project, which may need the network.
    pub fn version(&self, shop: &Workshop) -> Result<String, String> {
        let left_out = |why: String| format!("{} is left out: {why}", self.name);
        let may = Workshop::sources("may/Cargo.toml");
        let fasthttp = Workshop::sources("fasthttp");
        let (program, arguments): (&Path, &[&str]) = match &self.kind {
            Kind::Heartbeat { program, .. } => (program, &["--version"]),
            Kind::Nginx => (Path::new("nginx"), &["-v"]),
            Kind::Haproxy => (Path::new("haproxy"), &["-v"]),
            Kind::H2o => (Path::new("h2o"), &["--version"]),
            Kind::Caddy => (Path::new("caddy"), &["version"]),
            Kind::Fortio => (Path::new("fortio"), &["version"]),
            Kind::Go => (Path::new("go"), &["version"]),
            Kind::Fasthttp => (
                Path::new("go"),
                &["-C", &fasthttp, "list", "-m", "-mod=mod", "github.com/valyala/fasthttp"],
            ),
            Kind::May => (
                Path::new("cargo"),
                &[
                    "tree",
                    "--quiet",
                    "--manifest-path",
                    &may,
                    "--depth",
                    "0",
                    "--invert",
                    "may_minihttp",
                ],
            ),
            Kind::Floor => (Path::new("cc"), &["--version"]),
        };
        let version = first_line(program, arguments)
            .ok_or_else(|| left_out(format!("{} does not run here", program.display())))?;
        self.built(shop).map_err(|error| left_out(error.to_string()))?;
        Ok(version)
    }

    /// Writes the files that it sends, so that the time of its start does not include that.
    pub fn prepare(&self, work: &Work, shop: &Workshop) -> io::Result<()> {
        let sends_files = matches!(self.kind, Kind::Nginx | Kind::H2o | Kind::Caddy);
        if sends_files && work.bytes > INLINE_BYTES_MAX {
            shop.file(work.bytes)?;
        }
        if self.kind == Kind::Nginx && work.long_answers {
            shop.file(LONG_BYTES)?;
        }
        Ok(())
    }

    /// Starts it on a free port, on these CPUs.
    pub fn start(&self, work: &Work, workshop: &Workshop, cpus: &[usize]) -> io::Result<Running> {
        let address = free_address(work.link)?;
        let mut command = self.command(address, work, workshop)?;
        command.stdin(Stdio::null()).stderr(workshop.log_file(&self.name)?);
        match &self.kind {
            Kind::Heartbeat { log: Some(path), .. } => {
                command.stdout(std::fs::File::create(path)?);
            }
            _ => {
                command.stdout(workshop.log_file(&self.name)?);
            }
        }
        let group = Group::start(command, cpus)?;
        let path = match self.kind {
            Kind::Fortio => format!("/echo?size={}", work.bytes),
            _ => format!("/heartbeat/{}", work.bytes),
        };
        let gives_long = match self.kind {
            Kind::Heartbeat { .. } => true,
            _ => self.has_long_answers() && work.long_answers,
        };
        let long_path = gives_long.then(|| format!("/heartbeat/{LONG_BYTES}"));
        Ok(Running { group, address, path, long_path })
    }

    fn command(&self, address: SocketAddr, work: &Work, shop: &Workshop) -> io::Result<Command> {
        let port = address.port().to_string();
        let threads = work.threads.to_string();
        Ok(match &self.kind {
            Kind::Heartbeat { program, arguments, log } => {
                let mut command = Command::new(program);
                let ip = address.ip().to_string();
                command.args(["-a", &ip, "-p", &port, "-t", &threads, "--max", "1G"]);
                command.args(arguments).args(log.iter().map(|_| "--log"));
                command
            }
            Kind::Nginx => {
                let text = config::nginx(address, work, shop)?;
                configured("nginx", &["-c"], shop.write("nginx.conf", &text)?)
            }
            Kind::Haproxy => {
                let text = config::haproxy(address, work);
                configured("haproxy", &["-f"], shop.write("haproxy.cfg", &text)?)
            }
            Kind::H2o => {
                let text = config::h2o(address, work, shop)?;
                configured("h2o", &["-c"], shop.write("h2o.conf", &text)?)
            }
            Kind::Caddy => {
                let text = config::caddy(address, work, shop)?;
                let file = shop.write("Caddyfile", &text)?;
                let mut command =
                    configured("caddy", &["run", "--adapter", "caddyfile", "--config"], file);
                command.env("GOMAXPROCS", &threads).env("XDG_DATA_HOME", shop.folder());
                command
            }
            Kind::Fortio => {
                let mut command = Command::new("fortio");
                command.args(["server", "-http-port", &address.to_string(), "-loglevel", "error"]);
                for other in ["-grpc-port", "-redirect-port", "-tcp-port", "-udp-port"] {
                    command.args([other, "disabled"]);
                }
                command.env("GOMAXPROCS", &threads);
                command
            }
            Kind::Go | Kind::Fasthttp => {
                let mut command = Command::new(self.built(shop)?);
                command.args(["-a", &address.to_string()]).env("GOMAXPROCS", &threads);
                command
            }
            Kind::May => {
                let mut command = Command::new(self.built(shop)?);
                command.args([&address.to_string(), &work.bytes.to_string(), &threads]);
                command
            }
            Kind::Floor => {
                let mut command = Command::new(self.built(shop)?);
                let ending = if work.short_lived { "close" } else { "keep" };
                command.args([&port, &work.bytes.to_string(), ending]);
                command
            }
        })
    }
}

fn configured(program: &str, arguments: &[&str], file: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg(file);
    command
}

/// An address with a port that was free a moment ago.
fn free_address(link: Link) -> io::Result<SocketAddr> {
    let ip = match link {
        Link::Loopback => LOOPBACK_IP,
        Link::Veth => VETH_IP,
    };
    TcpListener::bind((ip, 0))?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(word: &str) -> Result<Peer, String> {
        Peer::parse(word, Path::new("heartbeat"))
    }

    #[test]
    fn a_word_with_an_equals_sign_is_a_heartbeat_with_arguments() {
        let expected = Peer::heartbeat("a", Path::new("/x/heartbeat"), &["--send", "copy"]);
        assert_eq!(parse("a=/x/heartbeat:--send,copy"), Ok(expected));
        assert_eq!(parse("b=/x/y"), Ok(Peer::heartbeat("b", Path::new("/x/y"), &[])));
    }

    #[test]
    fn a_word_without_one_is_a_known_server() {
        assert_eq!(parse("nginx").map(|peer| peer.kind), Ok(Kind::Nginx));
        assert!(parse("heartbeat-epoll").is_ok_and(|peer| peer.is_heartbeat()));
        assert!(parse("apache").is_err_and(|text| text.contains("haproxy")));
    }

    #[test]
    fn a_heartbeat_has_the_tiers_of_its_driver() {
        let names = |word: &str| -> Vec<String> {
            parse(word).unwrap().in_every_tier().into_iter().map(|peer| peer.name).collect()
        };
        assert_eq!(names("a=/x/y"), ["a+copy", "a+splice", "a+registered", "a+zerocopy"]);
        assert_eq!(names("a=/x/y:--io,epoll"), ["a+copy", "a+splice"]);
        assert!(names("nginx").is_empty());
    }

    #[test]
    fn the_floor_is_left_out_of_work_that_it_can_not_do() {
        let floor = parse("floor").unwrap();
        let plain = Work::answers(17);
        assert!(floor.can(&plain));
        assert!(floor.can(&Work { bytes: FLOOR_BYTES_MAX, ..plain }));
        assert!(!floor.can(&Work { bytes: FLOOR_BYTES_MAX + 1, ..plain }));
        assert!(!floor.can(&Work { depth: 2, ..plain }));
        assert!(!floor.can(&Work { upload: 1, ..plain }));
    }
}
