//! Finds the addresses of the servers. A load uses all of them: a headless Service of Kubernetes
//! has one per pod, and a load on one address would test one pod.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::tally::ADDRESSES_MAX;
use crate::client::{Resolver, Route, Target};

/// The time in which an address of a name with both IPv4 and IPv6 must accept a connection.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// So many sockets fit in the default limit of descriptors, which is raised later.
const ATTEMPTS_MAX: usize = 256;

/// One address of a server.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// The index of its server.
    pub(crate) server: usize,
    /// How a result shows it.
    pub(crate) address: String,
    pub(crate) route: Route,
}

/// The addresses of all servers, in the order of the servers, each with `route` to it. Names are
/// looked up once; a name without an address is kept, and is looked up for every new connection.
pub(crate) async fn endpoints(
    servers: &[Target],
    route: &Route,
    warnings: &mut Vec<String>,
) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for (server, target) in servers.iter().enumerate() {
        let found = addresses(target, &route.resolver, warnings).await;
        if found.is_empty() {
            let address = target.host().to_owned();
            endpoints.push(Endpoint { server, address, route: route.clone() });
        }
        endpoints.extend(found.into_iter().map(|address| Endpoint {
            server,
            address: address.to_string(),
            route: Route { address: Some(address), ..route.clone() },
        }));
    }
    endpoints
}

/// Which of `count` addresses worker `worker` of `workers` uses. Each address has a worker, and the
/// numbers of workers per address differ by one at most.
pub(crate) fn shared_out(worker: usize, workers: usize, count: usize) -> Vec<usize> {
    if workers >= count {
        return vec![worker % count];
    }
    (worker..count).step_by(workers).collect()
}

async fn addresses(
    target: &Target,
    resolver: &Resolver,
    warnings: &mut Vec<String>,
) -> Vec<SocketAddr> {
    let mut found = match resolver.known(target) {
        Some(known) => known,
        // An error of the name service appears in the failed requests.
        None => match resolver.addresses(target).await {
            Ok(found) if is_mixed(&found) => of_one_family(found).await,
            Ok(found) => found,
            Err(_) => Vec::new(),
        },
    };
    if found.len() > ADDRESSES_MAX {
        let count = found.len();
        warnings
            .push(format!("{target} has {count} addresses; the first {ADDRESSES_MAX} are asked"));
        found.truncate(ADDRESSES_MAX);
    }
    found
}

fn is_mixed(addresses: &[SocketAddr]) -> bool {
    addresses.windows(2).any(|pair| pair[0].is_ipv4() != pair[1].is_ipv4())
}

/// The addresses of IPv4 and those of IPv6 lead to the same servers, and often only one family is
/// reachable. Returns the preferred family (RFC 6724 orders them), unless only the other accepts a
/// connection.
async fn of_one_family(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_preferred = |address: &SocketAddr| address.is_ipv4() == addresses[0].is_ipv4();
    let (preferred, others): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(is_preferred);
    if is_any_open(&preferred).await || !is_any_open(&others).await { preferred } else { others }
}

async fn is_any_open(addresses: &[SocketAddr]) -> bool {
    for some in addresses.chunks(ATTEMPTS_MAX) {
        let mut attempts = JoinSet::new();
        for address in some.iter().copied() {
            attempts.spawn(tokio::time::timeout(ANSWER_MAX, TcpStream::connect(address)));
        }
        while let Some(attempt) = attempts.join_next().await {
            if matches!(attempt, Ok(Ok(Ok(_)))) {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::FixedAddress;

    #[test]
    fn every_address_has_a_worker_and_the_workers_are_spread_evenly() {
        for workers in 1..20 {
            for count in 1..20 {
                let mut uses = vec![0; count];
                for worker in 0..workers {
                    let mine = shared_out(worker, workers, count);
                    assert!(!mine.is_empty());
                    mine.into_iter().for_each(|address| uses[address] += 1);
                }
                let (least, most) = (uses.iter().min().unwrap(), uses.iter().max().unwrap());
                assert!(*least >= 1 && most - least <= 1, "{workers} {count} {uses:?}");
            }
        }
        assert_eq!(shared_out(1, 2, 5), [1, 3]);
    }

    #[tokio::test]
    async fn an_address_needs_no_name_service_and_a_name_without_any_stays_a_name() {
        let servers = ["http://127.0.0.9:8080", "http://[::1]:1", "http://nowhere.invalid"];
        let servers = servers.map(|server| Target::parse(server).unwrap());
        let mut warnings = Vec::new();
        let found = endpoints(&servers, &Route::default(), &mut warnings).await;
        let read: Vec<_> = found.iter().map(|one| (one.server, one.address.as_str())).collect();
        let expected = [(0, "127.0.0.9:8080"), (1, "[::1]:1"), (2, "nowhere.invalid")];
        assert_eq!(read, expected);
        let routes: Vec<_> = found.iter().map(|one| one.route.address).collect();
        let addresses = ["127.0.0.9:8080", "[::1]:1"].map(|text| Some(text.parse().unwrap()));
        assert_eq!(routes, [addresses[0], addresses[1], None]);
        assert!(warnings.is_empty());
    }

    #[tokio::test]
    async fn of_two_families_the_one_that_accepts_connections_is_used() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        // Nobody listens on port 9 of this address.
        let closed: SocketAddr = "[::1]:9".parse().unwrap();
        assert!(is_mixed(&[closed, open]) && !is_mixed(&[open, open]));
        assert_eq!(of_one_family(vec![closed, open]).await, [open]);
        assert_eq!(of_one_family(vec![open, closed]).await, [open]);
        let nobody: SocketAddr = "127.0.0.1:9".parse().unwrap();
        assert_eq!(of_one_family(vec![closed, nobody]).await, [closed]);
    }

    #[tokio::test]
    async fn more_addresses_than_a_result_can_show_are_left_out_with_a_warning() {
        for (count, expected) in [(ADDRESSES_MAX, None), (ADDRESSES_MAX + 1, Some("257"))] {
            let list: Vec<_> =
                (0..count).map(|at| format!("10.0.{}.{}", at / 256, at % 256)).collect();
            let fixed = FixedAddress::parse(&format!("a:80:{}", list.join(","))).unwrap();
            let servers = [Target::parse("http://a").unwrap()];
            let route = Route { resolver: Resolver::new(vec![fixed]), ..Route::default() };
            let mut warnings = Vec::new();
            let found = endpoints(&servers, &route, &mut warnings).await;
            assert_eq!(found.len(), ADDRESSES_MAX);
            assert_eq!(found[1].route.address, Some("10.0.0.1:80".parse().unwrap()));
            let warning = warnings.first().map(String::as_str);
            assert!(warning.is_some() == expected.is_some(), "{warnings:?}");
            assert!(warning.is_none_or(|text| text.contains(expected.unwrap())), "{warnings:?}");
        }
    }
}
