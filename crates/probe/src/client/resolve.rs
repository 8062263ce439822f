//! Looks up names. At most one look-up of a name runs at a time, and everyone who needs it waits
//! for that one, and only a few look-ups run at a time. A look-up takes a thread that cannot be
//! interrupted: without these limits, a name service that does not answer would block every thread.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};

use crate::client::{ClientError, Target};

/// Finds the addresses of names. Clones share the running look-ups.
#[derive(Clone)]
pub(crate) struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    fixed: Vec<FixedAddress>,
    lookup: Box<Lookup>,
    permits: Semaphore,
    running: Mutex<HashMap<Name, watch::Receiver<Option<Found>>>>,
}

type Name = (String, u16);
type Found = Result<Arc<[SocketAddr]>, (io::ErrorKind, String)>;
type Lookup = dyn Fn(Name) -> LookupFuture + Send + Sync;
type LookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

impl Resolver {
    /// Asks the system's name service, except for the hosts and ports of `fixed`.
    pub(crate) fn new(fixed: Vec<FixedAddress>) -> Self {
        Self::with_lookup(fixed, |(host, port)| {
            Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
        })
    }

    /// Asks `lookup` instead of the system's name service.
    pub(crate) fn with_lookup(
        fixed: Vec<FixedAddress>,
        lookup: impl Fn(Name) -> LookupFuture + Send + Sync + 'static,
    ) -> Self {
        let (lookup, running) = (Box::new(lookup), Mutex::default());
        let permits = Semaphore::new(LOOKUPS_MAX);
        Self { shared: Arc::new(Shared { fixed, lookup, permits, running }) }
    }

    /// Every address of the host of `target` with its port, each once, in the order of the name
    /// service, and [`ADDRESSES_MAX`] at most. A host that is an address needs no look-up.
    ///
    /// # Errors
    ///
    /// A name without an address, a name service that does not answer.
    pub(crate) async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, ClientError> {
        if let Some(known) = self.known(target) {
            return Ok(known);
        }
        self.look_up(target.host(), target.port()).await
    }

    /// The addresses of `target` if it needs no name service.
    pub(crate) fn known(&self, target: &Target) -> Option<Vec<SocketAddr>> {
        let (host, port) = (target.host(), target.port());
        let fixed = self.shared.fixed.iter().rev().find(|fixed| fixed.is_for(host, port));
        match (fixed, target.address()) {
            (Some(fixed), _) => Some(fixed.addresses()),
            (None, Some(address)) => Some(vec![SocketAddr::new(address, port)]),
            (None, None) => None,
        }
    }

    /// Asks the name service for every address of a name.
    pub(super) async fn look_up(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, ClientError> {
        let failed = |source| ClientError::Resolve { host: host.to_owned(), source };
        let mut answer = self.running((host.to_ascii_lowercase(), port));
        let found = match answer.wait_for(Option::is_some).await {
            Ok(found) => found.clone(),
            Err(_) => None,
        };
        match found {
            Some(Ok(found)) if found.is_empty() => {
                Err(failed(io::Error::new(io::ErrorKind::NotFound, "no address")))
            }
            Some(Ok(found)) => Ok(found.to_vec()),
            Some(Err((kind, why))) => Err(failed(io::Error::new(kind, why))),
            None => Err(failed(io::Error::other("the look-up was abandoned"))),
        }
    }

    // The look-up has a separate task, so that it goes on if the caller that waits for it gives up.
    fn running(&self, name: Name) -> watch::Receiver<Option<Found>> {
        let mut running = self.shared.running();
        if let Some(answer) = running.get(&name) {
            return answer.clone();
        }
        let (tell, answer) = watch::channel(None);
        running.insert(name.clone(), answer.clone());
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            // It fails only if nobody may look up anything any more, which never happens.
            let permit = shared.permits.acquire().await;
            let found = (shared.lookup)(name.clone()).await;
            drop(permit);
            shared.running().remove(&name);
            let found = found.map(distinct).map_err(|error| (error.kind(), error.to_string()));
            let _ = tell.send(Some(found));
        });
        answer
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, HashMap<Name, watch::Receiver<Option<Found>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

fn distinct(found: Vec<SocketAddr>) -> Arc<[SocketAddr]> {
    let mut addresses = Vec::with_capacity(found.len());
    for address in found {
        if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
            addresses.push(address);
        }
    }
    addresses.into()
}

/// Addresses that a user sets for a host and a port, as curl's `--resolve` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FixedAddress {
    host: String,
    port: u16,
    addresses: Vec<IpAddr>,
}

impl FixedAddress {
    /// Parses `HOST:PORT:ADDR`; several addresses are separated by commas, and those of IPv6 may
    /// stand in brackets.
    ///
    /// # Errors
    ///
    /// Text that is not of this form.
    pub(crate) fn parse(text: &str) -> Result<Self, FixedAddressError> {
        let (host, rest) = split_host(text).ok_or(FixedAddressError)?;
        let (port, addresses) = rest.split_once(':').ok_or(FixedAddressError)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or(FixedAddressError)?;
        let bare = |address: &str| address.trim_start_matches('[').trim_end_matches(']').parse();
        let addresses: Result<Vec<_>, _> = addresses.split(',').map(bare).collect();
        let addresses = addresses.map_err(|_| FixedAddressError)?;
        Ok(Self { host: host.to_ascii_lowercase(), port, addresses })
    }

    fn is_for(&self, host: &str, port: u16) -> bool {
        self.port == port && self.host.eq_ignore_ascii_case(host)
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.iter().map(|address| SocketAddr::new(*address, self.port)).collect()
    }
}

fn split_host(text: &str) -> Option<(&str, &str)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once("]:")?,
        None => text.split_once(':')?,
    };
    (!host.is_empty()).then_some((host, rest))
}

/// Text that does not have this form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FixedAddressError;

impl fmt::Display for FixedAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected HOST:PORT:ADDRESS")
    }
}

impl std::error::Error for FixedAddressError {}

/// The most look-ups of a resolver that run at a time. If the name service is silent, each takes a
/// thread for half a minute; the others wait without one, so that threads are left for pages.
pub(crate) const LOOKUPS_MAX: usize = 12;
/// As many addresses as Kubernetes keeps in one Endpoints object.
pub(crate) const ADDRESSES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text).unwrap()
    }

    fn address(last: usize) -> SocketAddr {
        let [_, high, low] = [0, last / 250, last % 250].map(|byte| u8::try_from(byte).unwrap());
        SocketAddr::from(([10, 0, high, low], 80))
    }

    #[tokio::test]
    async fn one_lookup_per_name_runs_at_a_time() {
        static LOOKUPS: AtomicUsize = AtomicUsize::new(0);
        static GATE: Semaphore = Semaphore::const_new(0);
        let resolver = Resolver::with_lookup(Vec::new(), |_| {
            LOOKUPS.fetch_add(1, Ordering::SeqCst);
            Box::pin(async {
                GATE.acquire().await.map_err(io::Error::other)?.forget();
                Ok(vec![address(1)])
            })
        });
        let ask = |text: &str| {
            let (resolver, target) = (resolver.clone(), target(text));
            tokio::spawn(async move { resolver.addresses(&target).await })
        };
        // The look-up goes on although its caller gives up.
        let given_up = ask("http://a");
        tokio::task::yield_now().await;
        given_up.abort();
        let waiting = [ask("http://a"), ask("http://A"), ask("http://b")];
        tokio::task::yield_now().await;
        GATE.add_permits(2);
        for answer in waiting {
            assert_eq!(answer.await.unwrap().unwrap(), [address(1)]);
        }
        assert_eq!(LOOKUPS.load(Ordering::SeqCst), 2);
        // The next one is a new look-up.
        GATE.add_permits(1);
        ask("http://a").await.unwrap().unwrap();
        assert_eq!(LOOKUPS.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn no_more_lookups_run_at_a_time_than_leave_threads_for_pages() {
        static BEGUN: AtomicUsize = AtomicUsize::new(0);
        static GATE: Semaphore = Semaphore::const_new(0);
        let resolver = Resolver::with_lookup(Vec::new(), |_| {
            BEGUN.fetch_add(1, Ordering::SeqCst);
            Box::pin(async {
                GATE.acquire().await.map_err(io::Error::other)?.forget();
                Ok(vec![address(1)])
            })
        });
        let all = 2 * LOOKUPS_MAX;
        let ask = |number| {
            let (resolver, target) = (resolver.clone(), target(&format!("http://a{number}")));
            tokio::spawn(async move { resolver.addresses(&target).await })
        };
        let answers: Vec<_> = (0..all).map(ask).collect();
        // Only this thread runs tasks: after these turns, each has come as far as it can.
        let settle = async || {
            for _ in 0..10 * all {
                tokio::task::yield_now().await;
            }
        };
        settle().await;
        assert_eq!(BEGUN.load(Ordering::SeqCst), LOOKUPS_MAX);
        GATE.add_permits(1);
        settle().await;
        assert_eq!(BEGUN.load(Ordering::SeqCst), LOOKUPS_MAX + 1);
        GATE.add_permits(all);
        for answer in answers {
            assert_eq!(answer.await.unwrap().unwrap(), [address(1)]);
        }
    }

    #[tokio::test]
    async fn every_address_is_found_once_up_to_the_limit() {
        for (count, expected) in
            [(3, 3), (ADDRESSES_MAX, ADDRESSES_MAX), (ADDRESSES_MAX + 1, ADDRESSES_MAX)]
        {
            let resolver = Resolver::with_lookup(Vec::new(), move |_| {
                Box::pin(async move { Ok((0..count).chain(0..2).map(address).collect()) })
            });
            let found = resolver.addresses(&target("http://a")).await.unwrap();
            assert_eq!(found, (0..expected).map(address).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_name_without_address_and_a_failed_lookup_are_errors_that_name_the_host() {
        let none = Resolver::with_lookup(Vec::new(), |_| Box::pin(async { Ok(Vec::new()) }));
        let error = none.addresses(&target("http://a")).await.unwrap_err();
        assert_eq!(error.to_string(), "a cannot be resolved: no address");
        let broken = Resolver::with_lookup(Vec::new(), |_| {
            Box::pin(async { Err(io::Error::other("no answer")) })
        });
        let error = broken.addresses(&target("http://a")).await.unwrap_err();
        assert_eq!(error.to_string(), "a cannot be resolved: no answer");
    }

    #[tokio::test]
    async fn fixed_addresses_win_for_their_host_and_port_and_addresses_need_no_lookup() {
        let fixed = ["a:80:10.0.0.1", "A:80:10.0.0.2,[::1]"].map(FixedAddress::parse);
        let resolver = Resolver::with_lookup(fixed.map(Result::unwrap).to_vec(), |_| {
            Box::pin(async { Ok(vec![address(9)]) })
        });
        let found = |text: &'static str| {
            let resolver = resolver.clone();
            async move { resolver.addresses(&target(text)).await.unwrap() }
        };
        let ipv6 = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80));
        assert_eq!(found("http://a").await, [address(2), ipv6], "the last one wins");
        assert_eq!(found("http://a:81").await, [address(9)]);
        assert_eq!(found("http://b").await, [address(9)]);
        assert_eq!(found("http://10.0.0.5").await, [address(5)]);
    }

    #[test]
    fn a_fixed_address_is_a_host_a_port_and_addresses() {
        let fixed = FixedAddress::parse("[::1]:8080:127.0.0.1").unwrap();
        assert!(fixed.is_for("::1", 8080));
        for wrong in
            ["", "a", "a:80", "a:80:", ":80:1.2.3.4", "a:0:1.2.3.4", "a:80:b", "a:x:1.1.1.1"]
        {
            assert!(FixedAddress::parse(wrong).is_err(), "{wrong}");
        }
    }
}
