//! Decides whether a server is a Heartbeat, by asking it, and so whether requests may ask it for
//! its timing. Must not send the requests of the test files, nor use their connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::about::{ABOUT_BYTES_MAX, About};
use crate::client::{
    Capture, ClientError, Connection, Opening, Phases, Request, RequestBody, RequestError, Route,
    Target,
};

/// Asks one server, or one address of it, whether it is a Heartbeat: each address once an hour,
/// over a separate connection.
pub(crate) struct Recognition {
    target: Target,
    route: Route,
    request: Request,
    time_max: Duration,
    heard: Mutex<Heard>,
    stranger: Notify,
}

/// What the addresses of a server have said.
#[derive(Debug, Default)]
struct Heard {
    /// Whether each is a Heartbeat.
    peers: HashMap<SocketAddr, bool>,
    /// Addresses that are still to be asked.
    strangers: Vec<SocketAddr>,
    is_heartbeat: bool,
}

impl Recognition {
    /// Asks below the path `prefix`, which reaches a Heartbeat even if nothing else is routed to
    /// it. It waits for an answer for `time_max`, and for [`ANSWER_TIME_MAX`] at most.
    ///
    /// # Errors
    ///
    /// A prefix that cannot be written in HTTP.
    pub(crate) fn new(
        target: Target,
        route: Route,
        prefix: &str,
        time_max: Duration,
    ) -> Result<Self, RequestError> {
        let path = format!("{prefix}version?format=json");
        Ok(Self {
            request: Request::new(&target, "GET", &path, &[], RequestBody::Empty)?,
            target,
            route,
            time_max: time_max.min(ANSWER_TIME_MAX),
            heard: Mutex::default(),
            stranger: Notify::new(),
        })
    }

    /// Whether every address that was asked has said that it is a Heartbeat.
    pub(crate) fn is_heartbeat(&self) -> bool {
        self.heard().is_heartbeat
    }

    /// Notes that a request has opened a connection to `peer`.
    pub(crate) fn connected(&self, peer: SocketAddr) {
        if self.heard().meet(peer) {
            self.stranger.notify_one();
        }
    }

    /// Notes that an answer had no timing although it was asked for: another program may have taken
    /// over the address, or the server is older, or it is configured not to report it.
    pub(crate) fn deny(&self) {
        self.heard().deny();
    }

    /// Asks now, again each hour, and each new address.
    pub(crate) async fn follow(&self) {
        let mut hours = interval(ASK_AGAIN);
        hours.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = hours.tick() => {
                    self.heard().forget();
                    self.ask(None).await;
                }
                () = self.stranger.notified() => {
                    while let Some(peer) = self.next_stranger() {
                        self.ask(Some(peer)).await;
                    }
                }
            }
        }
    }

    /// Asks `peer`, or, without one, whichever address answers. If none does, nothing changes.
    pub(crate) async fn ask(&self, peer: Option<SocketAddr>) {
        let mut opening = Opening::default();
        let answer = timeout(self.time_max, self.answer(peer, &mut opening)).await;
        let is_heartbeat = matches!(answer, Ok(Ok(true)));
        // A peer that accepts a connection and does not answer as a Heartbeat does is none.
        if let Some(peer) = opening.peer {
            self.heard().note(peer, is_heartbeat);
        }
    }

    async fn answer(
        &self,
        peer: Option<SocketAddr>,
        opening: &mut Opening,
    ) -> Result<bool, ClientError> {
        let mut route = self.route.clone();
        if route.proxy.is_none() {
            route.address = route.address.or(peer);
        }
        let mut connection = Connection::dial(&self.target, &route, true, opening).await?;
        let mut body = Capture::new(ABOUT_BYTES_MAX);
        let answer = connection.request(&self.request, &mut body, &mut Phases::default()).await?;
        Ok(answer.status == StatusCode::OK && About::read(body.bytes()).is_some())
    }

    // The peer may have been asked by chance meanwhile.
    fn next_stranger(&self) -> Option<SocketAddr> {
        let mut heard = self.heard();
        while let Some(peer) = heard.strangers.pop() {
            if !heard.peers.contains_key(&peer) {
                return Some(peer);
            }
        }
        None
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    /// Whether `peer` must be asked.
    fn meet(&mut self, peer: SocketAddr) -> bool {
        let is_known = self.peers.contains_key(&peer) || self.strangers.contains(&peer);
        let has_room = self.peers.len() + self.strangers.len() < PEERS_MAX;
        if is_known || !has_room {
            return false;
        }
        self.strangers.push(peer);
        true
    }

    fn note(&mut self, peer: SocketAddr, is_heartbeat: bool) {
        self.peers.insert(peer, is_heartbeat);
        // The next request may go to any of them.
        self.is_heartbeat = self.peers.values().all(|is_heartbeat| *is_heartbeat);
    }

    /// Any of them may have answered.
    fn deny(&mut self) {
        self.peers.values_mut().for_each(|is_heartbeat| *is_heartbeat = false);
        self.is_heartbeat = false;
    }

    /// `is_heartbeat` stays as it is until the next answer.
    fn forget(&mut self) {
        self.peers.clear();
    }
}

/// The prefix below which most of these paths ask for a payload (`{prefix}{n}`); `None` if no path
/// does.
pub(crate) fn payload_prefix<'a>(paths: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for prefix in paths.filter_map(prefix_of) {
        match counts.iter_mut().find(|(known, _)| *known == prefix) {
            Some((_, count)) => *count += 1,
            None => counts.push((prefix, 1)),
        }
    }
    // If several prefixes are equally frequent, the first of them.
    let most = counts.iter().rev().max_by_key(|(_, count)| *count);
    most.map(|(prefix, _)| (*prefix).to_owned())
}

/// Whether a path asks for a payload below `prefix`.
pub(crate) fn asks_for_payload(path: &str, prefix: &str) -> bool {
    prefix_of(path) == Some(prefix)
}

/// A message of an exact length on the wire (`wire/{n}`) does not count, because the timing would
/// take bytes from its body. Nor does a path below the root, which is never a Heartbeat's prefix.
fn prefix_of(path: &str) -> Option<&str> {
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let (before, size) = path.rsplit_once('/')?;
    let is_size = (1..=SIZE_DIGITS_MAX).contains(&size.len())
        && size.bytes().all(|byte| byte.is_ascii_digit());
    (is_size && !before.is_empty() && !before.ends_with("/wire")).then(|| &path[..=before.len()])
}

/// A server that works answers this at once.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// Within an hour another program may have taken over the address.
const ASK_AGAIN: Duration = Duration::from_secs(3600);
/// Pods come and go behind one name; within an hour no more of them are asked.
const PEERS_MAX: usize = 64;
/// Heartbeat accepts no longer numbers.
const SIZE_DIGITS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], u16::try_from(number).unwrap()))
    }

    #[test]
    fn the_prefix_is_the_one_of_most_payload_paths() {
        let of = |paths: &[&str]| payload_prefix(paths.iter().copied());
        assert_eq!(of(&["/heartbeat/17", "/healthz"]).as_deref(), Some("/heartbeat/"));
        assert_eq!(of(&["/api/5", "/x/1?a=b", "/x/2"]).as_deref(), Some("/x/"));
        assert_eq!(of(&["/a/5", "/x/1"]).as_deref(), Some("/a/"));
        for other in [
            "/healthz",
            "/17",
            "/heartbeat/",
            "/heartbeat/x1",
            "/heartbeat/+1",
            "/heartbeat/wire/400",
            "/heartbeat/123456789012345678901",
            "/?a=/1",
        ] {
            assert_eq!(of(&[other]), None, "{other}");
        }
        assert!(asks_for_payload("/heartbeat/12345678901234567890", "/heartbeat/"));
        assert!(!asks_for_payload("/api/17", "/heartbeat/"));
        assert!(!asks_for_payload("/heartbeat/wire/400", "/heartbeat/"));
    }

    #[test]
    fn one_address_that_is_no_heartbeat_denies_it_for_all() {
        let mut heard = Heard::default();
        assert!(!heard.is_heartbeat);
        heard.note(peer(1), true);
        assert!(heard.is_heartbeat);
        heard.note(peer(2), false);
        assert!(!heard.is_heartbeat);
        heard.note(peer(2), true);
        assert!(heard.is_heartbeat);
        heard.deny();
        heard.note(peer(3), true);
        assert!(!heard.is_heartbeat, "an answer without timing says more");
    }

    #[test]
    fn each_address_is_asked_once_an_hour() {
        let mut heard = Heard::default();
        assert!(heard.meet(peer(1)));
        assert!(!heard.meet(peer(1)), "it waits to be asked");
        heard.strangers.clear();
        heard.note(peer(1), true);
        assert!(!heard.meet(peer(1)), "it was asked");
        heard.forget();
        assert!(heard.is_heartbeat, "it holds until it is asked again");
        assert!(heard.meet(peer(1)));
    }

    #[test]
    fn at_most_64_addresses_are_asked() {
        let mut heard = Heard::default();
        let asked = (1..=PEERS_MAX + 1).map(|number| heard.meet(peer(number)));
        let asked: Vec<_> = asked.collect();
        assert!(asked[..PEERS_MAX].iter().all(|asked| *asked));
        assert!(!asked[PEERS_MAX]);
    }
}
