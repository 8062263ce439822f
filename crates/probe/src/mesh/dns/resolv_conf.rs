//! Parses resolv.conf(5): servers, search domains, options. Must not do I/O.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The settings of the name service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// The servers, in the order in which they are asked.
    pub servers: Vec<SocketAddr>,
    /// The time limit for each server and attempt.
    pub timeout: Duration,
    /// How often all servers are asked.
    pub attempts: u32,
    search: Vec<String>,
    ndots: usize,
}

impl ResolvConf {
    /// Parses the text of the file. Lines that are not understood are ignored. Without a server in
    /// it, the server is the one on this host (resolv.conf(5)).
    pub fn parse(text: &str) -> Self {
        let mut conf = Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(TIMEOUT_SECONDS),
            attempts: ATTEMPTS,
            search: Vec::new(),
            ndots: 1,
        };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if conf.servers.len() < SERVERS_MAX => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    conf.servers.extend(address.map(|address| SocketAddr::new(address, PORT)));
                }
                // The last search list counts, and `domain` is a search list of one domain.
                Some("search" | "domain") => {
                    conf.search = words.take(SEARCH_MAX).map(str::to_owned).collect();
                }
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers.push(SocketAddr::from(([127, 0, 0, 1], PORT)));
        }
        conf
    }

    /// The names that `name` may stand for, in the order in which they are tried.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.trim_end_matches('.').to_owned()];
        }
        let as_it_is = std::iter::once(name.to_owned());
        let with_domain = |domain: &String| match domain.trim_matches('.') {
            "" => name.to_owned(),
            domain => format!("{name}.{domain}"),
        };
        let searched = self.search.iter().map(with_domain);
        if name.matches('.').count() >= self.ndots {
            as_it_is.chain(searched).collect()
        } else {
            searched.chain(as_it_is).collect()
        }
    }

    fn option(&mut self, word: &str) {
        let Some((key, value)) = word.split_once(':') else { return };
        let Ok(number) = value.parse::<u32>() else { return };
        match key {
            "ndots" => self.ndots = number.min(NDOTS_MAX) as usize,
            "timeout" => {
                let seconds = u64::from(number).clamp(1, TIMEOUT_SECONDS);
                self.timeout = Duration::from_secs(seconds);
            }
            "attempts" => self.attempts = number.clamp(1, ATTEMPTS_MAX),
            _ => {}
        }
    }
}

const PORT: u16 = 53;
// From resolv.conf(5): the constants MAXNS, RES_MAXNDOTS, RES_TIMEOUT, RES_DFLRETRY and
// RES_MAXRETRY.
const SERVERS_MAX: usize = 3;
const NDOTS_MAX: u32 = 15;
const TIMEOUT_SECONDS: u64 = 5;
const ATTEMPTS: u32 = 2;
const ATTEMPTS_MAX: u32 = 5;
/// Kubernetes allows as many search domains.
const SEARCH_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "\
# of a pod
nameserver 10.96.0.10
nameserver fd00::a
nameserver not-an-address
search net.svc.cluster.local svc.cluster.local cluster.local ; by the kubelet
options ndots:5 timeout:1 attempts:3 edns0
";

    #[test]
    fn reads_servers_search_domains_and_options() {
        let conf = ResolvConf::parse(CLUSTER);
        let servers: Vec<SocketAddr> =
            vec!["10.96.0.10:53".parse().unwrap(), "[fd00::a]:53".parse().unwrap()];
        assert_eq!(conf.servers, servers);
        assert_eq!((conf.timeout, conf.attempts), (Duration::from_secs(1), 3));
        assert_eq!(
            conf.candidates("mesh"),
            ["mesh.net.svc.cluster.local", "mesh.svc.cluster.local", "mesh.cluster.local", "mesh"]
        );
    }

    #[test]
    fn a_name_with_enough_dots_is_tried_as_it_is_first() {
        let conf = ResolvConf::parse("search a.example\noptions ndots:2");
        assert_eq!(conf.candidates("x.y"), ["x.y.a.example", "x.y"]);
        assert_eq!(conf.candidates("x.y.z"), ["x.y.z", "x.y.z.a.example"]);
    }

    #[test]
    fn a_name_that_ends_in_a_dot_gets_no_search_domain() {
        assert_eq!(ResolvConf::parse(CLUSTER).candidates("mesh.example."), ["mesh.example"]);
    }

    #[test]
    fn an_empty_file_means_the_server_of_this_host() {
        let conf = ResolvConf::parse("");
        assert_eq!(conf.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!((conf.timeout, conf.attempts), (Duration::from_secs(5), 2));
        assert_eq!(conf.candidates("mesh"), ["mesh"]);
    }

    #[test]
    fn limits_servers_options_and_search_domains() {
        let lines = |count: usize| "nameserver 10.0.0.1\n".repeat(count);
        assert_eq!(ResolvConf::parse(&lines(3)).servers.len(), 3);
        assert_eq!(ResolvConf::parse(&lines(4)).servers.len(), 3);
        let search = |count: usize| format!("search {}", "a ".repeat(count));
        assert_eq!(ResolvConf::parse(&search(32)).candidates("x").len(), 33);
        assert_eq!(ResolvConf::parse(&search(33)).candidates("x").len(), 33);
        let conf = ResolvConf::parse("options timeout:99 attempts:99 ndots:99");
        assert_eq!((conf.timeout, conf.attempts), (Duration::from_secs(5), 5));
        assert_eq!(ResolvConf::parse("options attempts:0 timeout:0").attempts, 1);
    }

    #[test]
    fn the_last_search_list_wins() {
        let conf = ResolvConf::parse("domain a.example\nsearch b.example");
        assert_eq!(conf.candidates("x"), ["x.b.example", "x"]);
    }
}
