//! The DNS client of the mesh, against a server that answers in many ways.

// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod name_server;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use heartbeat_probe::dns::{Dns, DnsError, Found, ResolvConf};
use heartbeat_testkit::eventually;
use name_server::{Asked, NameServer, Zone};

const NAME: &str = "mesh.net.svc.cluster.local";

fn v4(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    IpAddr::from([10, 0, high, low])
}

fn v6(number: u16) -> IpAddr {
    IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number))
}

fn zone(addresses: Vec<IpAddr>) -> Zone {
    Zone { name: NAME.to_owned(), addresses, ..Zone::default() }
}

/// For how long a server is waited for that does not answer.
const SHORT: Duration = Duration::from_millis(200);

/// For how long a server is waited for that answers: longer than it takes even on a busy machine,
/// because a question that is repeated would be counted twice.
const LONG: Duration = Duration::from_secs(60);

fn conf(server: &NameServer, text: &str) -> ResolvConf {
    let mut conf = ResolvConf::parse(text);
    conf.servers = vec![server.address];
    conf.timeout = LONG;
    conf
}

fn look_up(dns: &mut Dns, conf: &ResolvConf, name: &str) -> Found {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(dns.look_up(conf, name))
}

#[test]
fn finds_addresses_of_both_families() {
    let server = NameServer::local(zone(vec![v4(1), v6(1), v4(2)]));
    let found = look_up(&mut Dns::default(), &conf(&server, ""), NAME);
    assert_eq!(found.v4.unwrap(), [v4(1), v4(2)]);
    assert_eq!(found.v6.unwrap(), [v6(1)]);
}

#[test]
fn a_thousand_addresses_come_over_tcp_after_a_truncated_datagram() {
    let addresses: Vec<_> = (0..1000).map(v4).chain((0..1000).map(v6)).collect();
    let server = NameServer::local(zone(addresses));
    let found = look_up(&mut Dns::default(), &conf(&server, ""), NAME);
    assert_eq!(found.v4.unwrap(), (0..1000).map(v4).collect::<Vec<_>>());
    assert_eq!(found.v6.unwrap(), (0..1000).map(v6).collect::<Vec<_>>());
    let over_tcp = server.asked().iter().filter(|asked| asked.over_tcp).count();
    assert_eq!((server.asked().len(), over_tcp), (4, 2));
}

#[test]
fn an_answer_that_fits_into_a_datagram_needs_no_tcp() {
    let server = NameServer::local(zone((0..60).map(v4).collect()));
    look_up(&mut Dns::default(), &conf(&server, ""), NAME);
    assert!(server.asked().iter().all(|asked| !asked.over_tcp));
    server.change(|zone| zone.addresses = (0..90).map(v4).collect());
    look_up(&mut Dns::default(), &conf(&server, ""), NAME);
    assert!(server.asked().iter().any(|asked| asked.over_tcp));
}

#[test]
fn tries_search_domains_and_remembers_the_one_that_had_the_name() {
    let server = NameServer::local(zone(vec![v4(1)]));
    let text = "search other.svc.cluster.local net.svc.cluster.local\noptions ndots:5";
    let conf = conf(&server, text);
    let mut dns = Dns::default();
    assert_eq!(look_up(&mut dns, &conf, "mesh").v4.unwrap(), [v4(1)]);
    let names = |asked: Vec<Asked>| {
        let mut names: Vec<_> = asked.into_iter().map(|asked| asked.name).collect();
        names.dedup();
        names
    };
    assert_eq!(names(server.asked()), ["mesh.other.svc.cluster.local", NAME]);
    let before = server.asked().len();
    look_up(&mut dns, &conf, "mesh");
    assert_eq!(names(server.asked()[before..].to_vec()), [NAME]);
}

#[test]
fn an_absolute_name_gets_no_search_domain() {
    let server = NameServer::local(zone(vec![v4(1)]));
    let conf = conf(&server, "search a.example\noptions ndots:9");
    let found = look_up(&mut Dns::default(), &conf, "mesh.net.svc.cluster.local.");
    assert_eq!(found.v4.unwrap(), [v4(1)]);
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn a_name_that_does_not_exist_has_no_addresses() {
    let server = NameServer::local(zone(vec![v4(1)]));
    let found = look_up(&mut Dns::default(), &conf(&server, "search a.example"), "other.example");
    assert!(found.v4.unwrap().is_empty() && found.v6.unwrap().is_empty());
    assert_eq!(server.asked().len(), 4);
}

#[test]
fn silence_and_failure_are_errors_and_never_mean_no_such_name() {
    let server = NameServer::local(Zone { is_silent: true, ..zone(vec![v4(1)]) });
    let mut conf = conf(&server, "search a.example b.example\noptions attempts:2 ndots:9");
    conf.timeout = SHORT;
    let found = look_up(&mut Dns::default(), &conf, NAME);
    assert!(matches!(found.v4, Err(DnsError::Silent)), "{found:?}");
    assert!(matches!(found.v6, Err(DnsError::Silent)), "{found:?}");
    // Two attempts for each family, and none for other names of the search list.
    eventually("all questions have arrived", || server.asked().len() >= 4);
    assert_eq!(server.asked().len(), 4);
    server.change(|zone| (zone.is_silent, zone.fails) = (false, true));
    conf.timeout = LONG;
    let found = look_up(&mut Dns::default(), &conf, NAME);
    assert!(matches!(found.v4, Err(DnsError::Refused("SERVFAIL"))), "{found:?}");
}

#[test]
fn the_next_server_is_asked_if_the_first_is_silent() {
    let silent = NameServer::local(Zone { is_silent: true, ..zone(vec![]) });
    let server = NameServer::local(zone(vec![v4(1)]));
    let mut conf = conf(&server, "");
    conf.servers.insert(0, silent.address);
    // Both servers have the same time, and the second one needs some on a busy machine.
    conf.timeout = Duration::from_secs(2);
    assert_eq!(look_up(&mut Dns::default(), &conf, NAME).v4.unwrap(), [v4(1)]);
    eventually("the question has arrived", || !silent.asked().is_empty());
}

#[test]
fn answers_that_belong_to_another_question_are_ignored() {
    let server = NameServer::local(Zone { is_forged: true, ..zone(vec![v4(1)]) });
    assert_eq!(look_up(&mut Dns::default(), &conf(&server, ""), NAME).v4.unwrap(), [v4(1)]);
}

#[test]
fn a_server_of_the_option_overrides_those_of_the_system() {
    let system = NameServer::local(zone(vec![v4(1)]));
    let own = NameServer::local(zone(vec![v4(2)]));
    let mut dns = Dns::new(Some(own.address));
    assert_eq!(look_up(&mut dns, &conf(&system, ""), NAME).v4.unwrap(), [v4(2)]);
    assert!(system.asked().is_empty());
}

#[test]
fn a_server_that_does_not_exist_is_an_error() {
    let mut conf = ResolvConf::parse("options attempts:1");
    conf.timeout = SHORT;
    conf.servers = vec![SocketAddr::from(([127, 0, 0, 1], 9))];
    let found = look_up(&mut Dns::default(), &conf, NAME);
    assert!(found.v4.is_err() && found.v6.is_err());
}
