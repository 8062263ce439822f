//! Identifies the server: whether it is a Heartbeat, below which prefix, and whether something on
//! the way changes its answers.

use std::io;
use std::time::Duration;

use super::head::Head;
use super::report::Server;
use super::wire::{Answer, Destination, Wire};
use crate::about::About;
use crate::client::Target;
use crate::pattern::PATTERN;
use crate::timing::{FIELD, ServerTiming};

/// The server, and what it can be asked for.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// `None` for a server that is not a Heartbeat.
    pub(super) server: Option<Server>,
    /// The prefix of a Heartbeat; the path of the URL for any other server.
    pub(super) uri: String,
    /// The sizes of the smallest and the largest payload.
    pub(super) sizes: (u64, u64),
    /// Whether answers come from the Heartbeat itself, as far as can be seen.
    pub(super) is_direct: bool,
    /// Whether it answers `?timing` with its kernel's facts.
    pub(super) tells: bool,
    /// The head of a small answer.
    pub(super) head: Head,
    /// The body length of a small answer; of another server, of the only answer that is known. If
    /// that answer does not say its length and is long, this is what was read of it.
    pub(super) body_bytes: u64,
    /// Whether that answer was read to its end.
    pub(super) is_whole: bool,
    /// How that head differs from what a Heartbeat sends.
    pub(super) rewritten: Vec<String>,
}

impl Site {
    /// Identifies the server at `to`.
    ///
    /// # Errors
    ///
    /// It does not answer in HTTP.
    pub(super) async fn identify(to: &Destination, target: &Target) -> io::Result<Self> {
        let mut line = Line { to, wire: None };
        let given = target.path();
        let prefix = prefix_of(given);
        // If only the prefix is routed, `version` is reachable only below it.
        let below = format!("{prefix}version?format=json");
        let versions = if given.is_empty() {
            ["/version?format=json", below.as_str()]
        } else {
            [below.as_str(); 2]
        };
        let mut about = None;
        for path in versions {
            let answer = line.ask(path).await?;
            about = answer.head.is_success().then(|| About::read(&answer.body)).flatten();
            if about.is_some() {
                break;
            }
        }
        let known = about.is_some();
        let uri = match &about {
            // The prefix of the URL is used, because an ingress may rewrite it.
            Some(about) if given.is_empty() => about.uri.clone(),
            _ => prefix,
        };
        let sizes = about.as_ref().map_or(SIZES, |about| (about.min, about.max));
        let size = SMALL_BYTES.clamp(sizes.0, sizes.1);
        let small = line.ask(&format!("{uri}{size}")).await?;
        let pattern: Vec<u8> = PATTERN.iter().copied().cycle().take(size as usize).collect();
        let is_payload = small.head.status == 200 && small.body == pattern;
        if !(known || is_payload) {
            let path = if given.is_empty() { "/" } else { given };
            let answer = line.ask(path).await?;
            return Ok(Self::foreign(path, answer));
        }
        let timed = line.ask(&format!("{uri}{size}?timing")).await?;
        let tells = ServerTiming::of_values(timed.head.all(FIELD)).is_some();
        let exact = line.is_exact(&uri).await?;
        let rewritten = rewritten(&small.head, exact);
        let is_direct = rewritten.is_empty() && to.trust.is_none();
        let server = Some(about.map_or_else(nameless, server));
        let Answer { head, body_bytes, is_whole, .. } = small;
        Ok(Self { server, uri, sizes, is_direct, tells, head, body_bytes, is_whole, rewritten })
    }

    fn foreign(path: &str, answer: Answer) -> Self {
        let length = answer.head.length().unwrap_or_default();
        Self {
            server: None,
            uri: path.to_owned(),
            sizes: (0, 0),
            is_direct: false,
            tells: false,
            head: answer.head,
            body_bytes: answer.body_bytes.max(length),
            is_whole: answer.is_whole,
            rewritten: Vec::new(),
        }
    }

    pub(super) fn is_heartbeat(&self) -> bool {
        self.server.is_some()
    }

    /// The path of an answer of about `bytes`; another server has only one path.
    pub(super) fn path(&self, bytes: u64) -> String {
        if !self.is_heartbeat() {
            return self.uri.clone();
        }
        let size = bytes.clamp(self.sizes.0, self.sizes.1);
        let query = if self.tells { "?timing" } else { "" };
        format!("{}{size}{query}", self.uri)
    }

    /// A request with a small answer, as it is sent. It is a HEAD request to another server whose
    /// only answer is large.
    pub(super) fn small_request(&self, to: &Destination) -> String {
        let path = self.path(SMALL_BYTES);
        let is_large = !self.is_heartbeat() && self.body_bytes > SMALL_FOREIGN_BYTES_MAX;
        if is_large { to.head_of(&path) } else { to.get(&path, "") }
    }
}

/// A connection that is opened again if the server closes it.
struct Line<'a> {
    to: &'a Destination,
    wire: Option<Wire>,
}

impl Line<'_> {
    async fn ask(&mut self, path: &str) -> io::Result<Answer> {
        let asked = tokio::time::timeout(ANSWER_TIME_MAX, async {
            let mut wire = match self.wire.take() {
                Some(wire) => wire,
                None => Wire::open(self.to).await?,
            };
            let request = self.to.get(path, "");
            let answer = wire.ask_for(&request, IDENTITY_BYTES_MAX).await?;
            if answer.is_whole && !answer.head.closes() {
                self.wire = Some(wire);
            }
            Ok(answer)
        });
        let silent = || format!("no complete answer to GET {path} within {ANSWER_TIME_MAX:?}");
        asked.await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, silent()))?
    }

    /// Whether a message arrives with the length with which it was sent; `None` if the server has
    /// no such messages.
    async fn is_exact(&mut self, uri: &str) -> io::Result<Option<bool>> {
        let answer = self.ask(&format!("{uri}wire/{WIRE_BYTES}")).await?;
        let bytes = answer.head.bytes as u64 + answer.body_bytes;
        Ok((answer.head.status == 200).then_some(bytes == WIRE_BYTES))
    }
}

fn server(about: About) -> Server {
    let told = |text: Option<String>| text.filter(|text| !text.is_empty());
    Server {
        version: told(Some(about.version)),
        node: told(about.node),
        zone: told(about.zone),
        driver: Some(about.driver),
        send: Some(about.send),
        ..nameless()
    }
}

/// A Heartbeat that reveals nothing more, such as one with an admin port.
fn nameless() -> Server {
    Server { product: Some(PRODUCT.to_owned()), ..Server::default() }
}

/// The prefix of a URL's path, which is the path without a size at its end.
fn prefix_of(path: &str) -> String {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    match path.rsplit_once('/') {
        None => URI.to_owned(),
        Some(("", last)) if is_number(last) => URI.to_owned(),
        Some((before, last)) if is_number(last) => format!("{before}/"),
        Some(_) => format!("{path}/"),
    }
}

fn rewritten(head: &Head, is_exact: Option<bool>) -> Vec<String> {
    let mut changes = Vec::new();
    let is_own = |name: &str| OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name));
    let lowered =
        head.fields.iter().any(|(name, _)| is_own(name) && !OWN_FIELDS.contains(&name.as_str()));
    if lowered {
        changes.push("field names in lower case".to_owned());
    }
    for (name, _) in head.fields.iter().filter(|(name, _)| !is_own(name)) {
        changes.push(format!("adds {name}"));
    }
    if head.is_chunked() {
        changes.push("chunked instead of Content-Length".to_owned());
    }
    if is_exact == Some(false) && changes.is_empty() {
        changes.push("another length of the head".to_owned());
    }
    changes
}

/// The fields that a Heartbeat sends with a payload.
const OWN_FIELDS: &[&str] = &[
    "Cache-Control",
    "Connection",
    "Content-Length",
    "Content-Type",
    "Date",
    "Server-Timing",
    "Timing-Allow-Origin",
    // A Heartbeat does not send it, but `is_chunked` reports it.
    "Transfer-Encoding",
];
const PRODUCT: &str = "heartbeat";
const URI: &str = "/heartbeat/";
/// The server's defaults.
const SIZES: (u64, u64) = (1, 1 << 20);
/// The size that is in Heartbeat's own redirects.
pub(super) const SMALL_BYTES: u64 = 17;
/// More than this is several packets.
const SMALL_FOREIGN_BYTES_MAX: u64 = 4 << 10;
/// Larger than the smallest message, and smaller than the smallest segment.
const WIRE_BYTES: u64 = 400;
/// What a Heartbeat says about itself is much shorter. This much of a page shows that it is large
/// enough for a transfer.
pub(super) const IDENTITY_BYTES_MAX: u64 = 64 << 10;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
impl Site {
    /// A site for the tests of other modules.
    pub(super) fn of(is_heartbeat: bool) -> Self {
        let (head, _) = Head::parse(b"HTTP/1.1 200 OK\r\n\r\n").unwrap().unwrap();
        Self {
            server: is_heartbeat.then(Server::default),
            uri: URI.to_owned(),
            sizes: (1, 1024),
            is_direct: true,
            tells: false,
            head,
            body_bytes: SMALL_BYTES,
            is_whole: true,
            rewritten: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &str) -> Head {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        Head::parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn finds_the_prefix_in_a_url() {
        assert_eq!(prefix_of(""), "/heartbeat/");
        assert_eq!(prefix_of("/17"), "/heartbeat/");
        assert_eq!(prefix_of("/heartbeat"), "/heartbeat/");
        assert_eq!(prefix_of("/heartbeat/17"), "/heartbeat/");
        assert_eq!(prefix_of("/a/b"), "/a/b/");
    }

    #[test]
    fn a_server_says_who_it_is() {
        let text = br#"{"version":"0.5.0","driver":"epoll","send":"splice","threads":2,
            "uri":"/x/","min":1,"max":1024,"node":"n1","zone":""}"#;
        let server = server(About::read(text).unwrap());
        assert_eq!(server.product.as_deref(), Some("heartbeat"));
        assert_eq!(server.driver.as_deref(), Some("epoll"));
        assert_eq!((server.node.as_deref(), server.zone), (Some("n1"), None));
    }

    #[test]
    fn finds_what_a_proxy_changes() {
        let own = head("Content-Length: 17\r\nDate: x\r\n");
        assert!(rewritten(&own, Some(true)).is_empty());
        assert!(rewritten(&own, None).is_empty());
        assert_eq!(rewritten(&own, Some(false)), ["another length of the head"]);
        assert_eq!(rewritten(&head("content-length: 17\r\n"), None), ["field names in lower case"]);
        assert_eq!(rewritten(&head("Server: nginx\r\n"), None), ["adds Server"]);
    }
}
