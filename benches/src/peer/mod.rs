//! Owns the servers that are compared: what each can do, how it is started, what it asks for.

mod config;
mod workshop;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::Group;
pub use workshop::Workshop;

/// Above this nginx, haproxy and caddy answer from files: their configuration holds no more.
const INLINE_BYTES_MAX: u64 = 1024;
/// The floor sends one constant buffer; a longer one would measure the memory of this machine.
const FLOOR_BYTES_MAX: u64 = 1 << 20;
/// fortio cuts longer answers down.
const FORTIO_BYTES_MAX: u64 = 256 << 10;

/// What a long answer beside a measurement has.
pub const LONG_BYTES: u64 = 1 << 30;

/// What a server is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Bytes of content in each answer.
    pub bytes: u64,
    /// Bytes of content in each request.
    pub upload: u64,
    /// Requests in one segment.
    pub depth: u32,
    /// Every connection has one request and ends.
    pub short_lived: bool,
    /// Event loops, processes or threads.
    pub threads: usize,
    /// Answers of 1 GB are asked for as well.
    pub long_answers: bool,
}

impl Work {
    /// One worker that answers with so many bytes.
    pub fn answers(bytes: u64) -> Self {
        Self { bytes, upload: 0, depth: 1, short_lived: false, threads: 1, long_answers: false }
    }
}

/// What is added to the name of a Heartbeat that logs.
pub const LOGGING: &str = "+log";

/// One of the servers that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What the tables call it.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// What a server is.
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
    /// The C epoll loop in peers/floor.c.
    Floor,
}

/// A server that listens.
pub struct Running {
    /// Its processes.
    pub group: Group,
    /// Where it listens.
    pub address: SocketAddr,
    /// The request-target that is answered with the bytes asked for.
    pub path: String,
    /// The one that is answered with [`LONG_BYTES`], where it can.
    pub long_path: Option<String>,
}

/// The servers of a run that names none, those beside Heartbeat.
pub const KNOWN: [(&str, Kind); 7] = [
    ("nginx", Kind::Nginx),
    ("floor", Kind::Floor),
    ("go", Kind::Go),
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

    /// All of them, with both drivers of the Heartbeat in `program`.
    pub fn all(program: &Path) -> Vec<Self> {
        let ours = [
            Self::heartbeat("heartbeat-uring", program, &["--io", "uring"]),
            Self::heartbeat("heartbeat-epoll", program, &["--io", "epoll"]),
        ];
        let others = KNOWN.map(|(name, kind)| Self { name: name.to_owned(), kind });
        ours.into_iter().chain(others).collect()
    }

    /// A server by a word of the command line: the name of a known one, or `NAME=PROGRAM` with
    /// `:ARGUMENT,ARGUMENT` behind it for a Heartbeat.
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

    /// Whether it is one of ours.
    pub fn is_heartbeat(&self) -> bool {
        matches!(self.kind, Kind::Heartbeat { .. })
    }

    /// Whether it can do this work: what can not be compared is left out.
    pub fn can(&self, work: &Work) -> bool {
        match self.kind {
            Kind::Heartbeat { .. } | Kind::Go => true,
            // Answers by `return` are given to uploads too; files are not.
            Kind::Nginx => work.upload == 0 || work.bytes <= INLINE_BYTES_MAX,
            Kind::H2o | Kind::Caddy => work.upload == 0,
            Kind::Haproxy => work.upload == 0 && work.bytes <= INLINE_BYTES_MAX,
            Kind::Fortio => work.upload == 0 && work.bytes <= FORTIO_BYTES_MAX,
            Kind::Floor => {
                work.upload == 0
                    && work.depth == 1
                    && work.bytes <= FLOOR_BYTES_MAX
                    && work.threads == 1
            }
        }
    }

    /// Whether it can give long answers beside others.
    pub fn has_long_answers(&self) -> bool {
        matches!(self.kind, Kind::Heartbeat { .. } | Kind::Nginx)
    }

    /// How many connections it takes at once.
    pub fn connections_max(&self) -> usize {
        if self.kind == Kind::Haproxy { config::HAPROXY_CONNECTIONS_MAX } else { usize::MAX }
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

    /// Makes what it needs: programs that are built here, files to send.
    pub fn prepare(&self, work: &Work, shop: &Workshop) -> io::Result<()> {
        match self.kind {
            Kind::Go => shop.go_server().map(|_| ()),
            Kind::Floor => shop.floor().map(|_| ()),
            Kind::Nginx if work.long_answers => shop.file(LONG_BYTES).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Its version, or what is missing.
    pub fn version(&self) -> Result<String, String> {
        let (program, argument) = match &self.kind {
            Kind::Heartbeat { program, .. } => (program.to_str().unwrap_or_default(), "--version"),
            Kind::Nginx => ("nginx", "-v"),
            Kind::Haproxy => ("haproxy", "-v"),
            Kind::H2o => ("h2o", "--version"),
            Kind::Caddy => ("caddy", "version"),
            Kind::Fortio => ("fortio", "version"),
            Kind::Go => ("go", "version"),
            Kind::Floor => ("cc", "--version"),
        };
        crate::machine::first_line(program, &[argument])
            .ok_or_else(|| format!("{} is left out: {program} does not run here", self.name))
    }

    /// Starts it on a free port, on these CPUs.
    pub fn start(&self, work: &Work, workshop: &Workshop, cpus: &[usize]) -> io::Result<Running> {
        let address = free_address()?;
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
                command.args(["-a", "127.0.0.1", "-p", &port, "-t", &threads, "--max", "1G"]);
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
            Kind::Go => {
                let mut command = Command::new(shop.go_server()?);
                command.args(["-a", &address.to_string()]).env("GOMAXPROCS", &threads);
                command
            }
            Kind::Floor => {
                let mut command = Command::new(shop.floor()?);
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

/// A port of the loopback interface that was free a moment ago.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
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
    fn the_floor_is_not_asked_for_what_it_does_not_do() {
        let floor = parse("floor").unwrap();
        let plain = Work::answers(17);
        assert!(floor.can(&plain));
        assert!(floor.can(&Work { bytes: FLOOR_BYTES_MAX, ..plain }));
        assert!(!floor.can(&Work { bytes: FLOOR_BYTES_MAX + 1, ..plain }));
        assert!(!floor.can(&Work { depth: 2, ..plain }));
        assert!(!floor.can(&Work { upload: 1, ..plain }));
    }
}
