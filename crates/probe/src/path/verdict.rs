//! Judges a report: which figures are a finding, how bad it is, and what to do about it. It only
//! reads the report.

use std::net::SocketAddr;
use std::time::Duration;

use super::middle::BODIES;
use super::quantiles::interval;
use super::report::{Direction, Finding, Level, Report, Segments};

/// All findings about the path, the worst first.
pub(super) fn findings(report: &Report) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |level, code, text: String, remedy: &str| {
        let remedy = (!remedy.is_empty()).then(|| remedy.to_owned());
        findings.push(Finding { level, code, text, remedy });
    };
    names(report, &mut add);
    packets(report, &mut add);
    loss(report, &mut add);
    load(report, &mut add);
    middle(report, &mut add);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    findings
}

fn names(report: &Report, add: &mut impl FnMut(Level, &'static str, String, &str)) {
    let refused: Vec<_> = report.addresses.iter().filter(|a| a.error.is_some()).collect();
    let level = if refused.len() == report.addresses.len() { Level::Fault } else { Level::Warning };
    for address in refused {
        let why = address.error.as_deref().unwrap_or_default();
        add(
            level,
            "address-unreachable",
            format!("{} cannot be reached: {why}.", address.address),
            // A name without an address stands in the place of one.
            match address.address.parse::<SocketAddr>() {
                Ok(_) => {
                    "Look at routes, firewalls and the listener; take an address that nobody \
                     serves out of the name service."
                }
                Err(_) => "Look at the spelling, and at the name servers (/etc/resolv.conf).",
            },
        );
    }
    if let Some(tls) = &report.tls {
        if let Some(why) = &tls.refusal {
            add(
                Level::Fault,
                "tls-untrusted",
                format!("The certificate is not trusted: {why}."),
                "Name a private authority with --ca-file; else renew or replace the certificate.",
            );
        }
        if let Some(days) = tls.days_left.filter(|days| *days < EXPIRY_DAYS_MIN) {
            add(
                Level::Warning,
                "tls-expires-soon",
                match days {
                    ..0 => "The certificate has expired.".to_owned(),
                    0 => "The certificate expires within a day.".to_owned(),
                    1 => "The certificate expires in 1 day.".to_owned(),
                    _ => format!("The certificate expires in {days} days."),
                },
                "Renew it, and look why nothing has renewed it by itself.",
            );
        }
    }
    if !report.is_heartbeat() && report.beside.is_identified {
        add(
            Level::Note,
            "not-heartbeat",
            "The server is not a Heartbeat: facts that only a Heartbeat reports are missing."
                .to_owned(),
            "Run a Heartbeat beside it, and measure the same path to that.",
        );
    }
}

fn packets(report: &Report, add: &mut impl FnMut(Level, &'static str, String, &str)) {
    let holes = [report.mtu.down, report.mtu.up].into_iter().filter(|p| p.black_hole == Some(true));
    // An interface has one MTU for both directions, so the remedy is the same for both.
    let remedy_mtu = holes.map(|packets| packets.largest.unwrap_or(LARGEST_GUESS)).min();
    for direction in [Direction::Down, Direction::Up] {
        let packets = report.mtu.of(direction);
        if packets.black_hole != Some(true) {
            continue;
        }
        let way = way(direction);
        let code = match direction {
            Direction::Down => "mtu-black-hole-down",
            Direction::Up => "mtu-black-hole-up",
        };
        let text = match (packets.largest, report.beside.lost_packet.of(direction)) {
            (Some(largest), _) => format!(
                "IP packets of more than {largest} bytes disappear on the way {way}: small \
                 answers work, large ones hang.{}",
                suspect(largest)
            ),
            (None, lost) => format!(
                "Not even IP packets of {} bytes pass on the way {way}, though smaller ones do.",
                lost.unwrap_or_default()
            ),
        };
        let largest = remedy_mtu.unwrap_or(LARGEST_GUESS);
        add(
            Level::Fault,
            code,
            text,
            &format!(
                "Set the MTU of the interfaces at both ends (pods, tunnels) to {largest}, or let \
                 the router lower the MSS (nft: tcp option maxseg size set rt mtu), and let ICMP \
                 \"fragmentation needed\" and \"packet too big\" through."
            ),
        );
    }
    let largest = [report.mtu.down, report.mtu.up]
        .map(|packets| packets.largest.filter(|_| packets.black_hole == Some(false)));
    let below = largest.iter().flatten().copied().min().filter(|least| *least < ETHERNET_MTU);
    if let Some(least) = below {
        add(
            Level::Note,
            "mtu-below-1500",
            format!("The path carries IP packets of up to {least} bytes.{}", suspect(least)),
            "Nothing is lost by it: both ends know. Make sure that no interface on the way is set \
             to more.",
        );
    }
}

/// The technologies that use an MTU of this size.
fn suspect(mtu: u32) -> String {
    let names: Vec<_> = SUSPECTS.iter().filter(|(size, _)| *size == mtu).map(|(_, n)| *n).collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!(" That is the size of {}.", names.join(", or of ")),
    }
}

fn loss(report: &Report, add: &mut impl FnMut(Level, &'static str, String, &str)) {
    for direction in [Direction::Down, Direction::Up] {
        let calm = *report.beside.calm.of(direction);
        // If too little was sent in the calm phase, segments under load are better than nothing.
        let enough = calm.sent.is_some_and(|sent| sent >= CALM_SEGMENTS_MIN);
        let segments = if enough { calm } else { *report.retransmitted.of(direction) };
        let Segments { segments: Some(again), sent: Some(sent) } = segments else { continue };
        let (least, most) = interval(again, sent);
        if least < LOSS_NOTED || again < LOSSES_MIN {
            continue;
        }
        let share = again as f64 / sent as f64;
        let level = if share >= LOSS_FAULT { Level::Fault } else { Level::Warning };
        let code = match direction {
            Direction::Down => "loss-down",
            Direction::Up => "loss-up",
        };
        let sure = format!("{:.1} to {:.1} %", least * 100.0, most * 100.0);
        let text = format!(
            "{:.1} % of the segments {} were sent again ({again} of {sent}; with 95 % confidence \
             {sure}){}.",
            share * 100.0,
            way(direction),
            if enough { ", although no queue was full" } else { "" },
        );
        add(
            level,
            code,
            text,
            "Look at the error and drop counters of every interface on the way (ip -s link, \
             ethtool -S), at cables and optics, at policers, and at the receive queues of both \
             ends.",
        );
    }
}

fn load(report: &Report, add: &mut impl FnMut(Level, &'static str, String, &str)) {
    let Some(idle) = report.latency_us.p50 else { return };
    for direction in [Direction::Down, Direction::Up] {
        let Some(loaded) = report.loaded_latency_us.of(direction).p50 else { continue };
        // A queue delays the kernels' handshakes as well; busy programs at the ends do not.
        let connect = report.beside.loaded_connect_us.of(direction).unwrap_or(loaded);
        let least = loaded.min(connect);
        if least - idle < BLOAT_US_MIN || least < idle * BLOAT_FACTOR_MIN {
            continue;
        }
        let code = match direction {
            Direction::Down => "bufferbloat-down",
            Direction::Up => "bufferbloat-up",
        };
        add(
            Level::Warning,
            code,
            format!(
                "Under load {} a small request takes {} instead of {}: a queue on the way is too \
                 deep.",
                way(direction),
                shown(loaded),
                shown(idle)
            ),
            "Put a queue that keeps itself short before the bottleneck (tc qdisc: fq_codel or \
             cake, slightly below its rate), or lower the limit of the one that is there.",
        );
    }
}

fn middle(report: &Report, add: &mut impl FnMut(Level, &'static str, String, &str)) {
    let middle = &report.middle;
    if middle.compresses == Some(true) && report.is_heartbeat() {
        add(
            Level::Warning,
            "compressed",
            "Something on the way compresses answers: what clients receive says nothing about \
             the path."
                .to_owned(),
            "Switch compression off for this route (nginx: gzip off), or let it heed \
             Cache-Control: no-transform.",
        );
    }
    if middle.buffers_uploads == Some(true) {
        add(
            Level::Note,
            "upload-buffered",
            "A proxy receives the whole body of a request before it passes it on.".to_owned(),
            "Where it matters, let it stream (nginx: proxy_request_buffering off).",
        );
    }
    if let Some(bytes) = middle.body_max.filter(|bytes| *bytes < BODIES[BODIES.len() - 1]) {
        let over = BODIES.iter().find(|body| **body > bytes).copied().unwrap_or_default();
        add(
            Level::Warning,
            "body-capped",
            format!("A body of {} MB is refused (413).", over >> 20),
            "Where larger uploads are meant to work, raise the limit of the proxy (nginx: \
             client_max_body_size).",
        );
    }
    if let Some(how) = &report.beside.lowered {
        add(
            Level::Note,
            "http-downgraded",
            format!("Something on the way speaks HTTP/1.0: {how}."),
            "Let it speak HTTP/1.1 (nginx: proxy_http_version 1.1), so that connections are kept.",
        );
    }
    if let Some((idle, closed)) = report.beside.idle.and_then(|idle| Some((idle, idle.closed?))) {
        let (waited, after) = (idle.waited.as_secs_f64(), closed.as_secs_f64());
        let text = match closed {
            Duration::ZERO => "The connection is closed after each answer.".to_owned(),
            _ if closed < idle.waited => {
                format!("An idle connection was closed after {after:.1} s of {waited:.1} s.")
            }
            _ => format!("After {waited:.1} s without a request, a connection no longer works."),
        };
        let remedy = match closed {
            Duration::ZERO => "Let the server and every proxy keep connections (keep-alive).",
            _ => "Let clients give up idle connections sooner, or let the proxy keep them longer.",
        };
        add(Level::Warning, "idle-closed", text, remedy);
    }
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Down => "down",
        Direction::Up => "up",
    }
}

/// Microseconds in a readable form.
pub(super) fn shown(us: f64) -> String {
    let decimals = decimals(us);
    format!("{:.decimals$} ms", us.max(0.0) / 1e3)
}

/// How many decimal places of milliseconds a time is shown with.
pub(super) fn decimals(us: f64) -> usize {
    match us {
        ..1e3 => 3,
        ..1e5 => 2,
        _ => 0,
    }
}

/// MTUs that are smaller than Ethernet's, and what uses them.
const SUSPECTS: &[(u32, &str)] = &[
    (1280, "the least that IPv6 allows, which tunnels use"),
    (1400, "many VPNs"),
    (1420, "WireGuard"),
    (1440, "WireGuard over IPv4"),
    (1450, "VXLAN over Ethernet"),
    (1430, "VXLAN over IPv6"),
    (1460, "clouds that tunnel"),
    (1476, "GRE"),
    (1480, "IP in IP"),
    (1492, "PPPoE"),
];
const ETHERNET_MTU: u32 = 1500;
/// RFC 8200: every IPv6 path carries it.
const LARGEST_GUESS: u32 = 1280;
/// Shares of the segments. TCP's rate is inversely proportional to the square root of the loss: at
/// 1 %, loss is the limit of most paths.
const LOSS_FAULT: f64 = 0.01;
const LOSS_NOTED: f64 = 0.001;
/// One or two are chance, or a timer that was too fast.
const LOSSES_MIN: u64 = 3;
const CALM_SEGMENTS_MIN: u64 = 300;
/// A delay that people notice in a call.
const BLOAT_US_MIN: f64 = 40_000.0;
const BLOAT_FACTOR_MIN: f64 = 2.0;
/// Certificates that are renewed automatically are renewed earlier.
const EXPIRY_DAYS_MIN: i64 = 14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::report::{Address, Idle, Packets, Server, TlsFacts};

    fn codes(change: impl Fn(&mut Report)) -> Vec<(Level, &'static str)> {
        let mut report = Report { server: Some(Server::default()), ..Report::default() };
        report.beside.is_identified = true;
        change(&mut report);
        let findings = findings(&report);
        findings.iter().map(|finding| (finding.level, finding.code)).collect()
    }

    fn segments(segments: u64, sent: u64) -> Segments {
        Segments { segments: Some(segments), sent: Some(sent) }
    }

    #[test]
    fn a_path_without_faults_has_no_findings() {
        let good = Packets { largest: Some(1500), black_hole: Some(false), ..Packets::default() };
        let found = codes(|report| {
            (report.mtu.down, report.mtu.up) = (good, good);
            report.beside.calm.down = segments(0, 10_000);
            report.beside.calm.up = segments(2, 10_000);
            report.latency_us.p50 = Some(100.0);
            report.loaded_latency_us.down.p50 = Some(500_000.0);
            report.beside.loaded_connect_us.down = Some(1000.0);
            report.middle.body_max = Some(100 << 20);
            report.middle.compresses = Some(false);
        });
        assert_eq!(found, []);
    }

    #[test]
    fn a_black_hole_is_a_fault_and_a_small_mtu_a_note() {
        let hole = Packets { largest: Some(1400), black_hole: Some(true), ..Packets::default() };
        assert_eq!(codes(|r| r.mtu.up = hole), [(Level::Fault, "mtu-black-hole-up")]);
        let none = Packets { largest: None, ..hole };
        assert_eq!(codes(|r| r.mtu.down = none), [(Level::Fault, "mtu-black-hole-down")]);
        let least = |largest| Packets {
            largest: Some(largest),
            black_hole: Some(false),
            ..Packets::default()
        };
        assert_eq!(codes(|r| r.mtu.up = least(1499)), [(Level::Note, "mtu-below-1500")]);
        assert_eq!(codes(|r| r.mtu.up = least(1500)), []);
    }

    #[test]
    fn loss_counts_if_no_queue_was_full() {
        let lossy = |calm: Segments, loaded: Segments| {
            codes(|report| {
                report.beside.calm.up = calm;
                report.retransmitted.up = loaded;
            })
        };
        assert_eq!(lossy(segments(0, 3000), segments(500, 9000)), []);
        assert_eq!(lossy(segments(60, 3000), segments(0, 0)), [(Level::Fault, "loss-up")]);
        assert_eq!(lossy(segments(10, 3000), segments(0, 0)), [(Level::Warning, "loss-up")]);
        assert_eq!(lossy(segments(0, 299), segments(60, 3000)), [(Level::Fault, "loss-up")]);
        assert_eq!(lossy(segments(2, 300), segments(60, 3000)), []);
    }

    #[test]
    fn bufferbloat_needs_a_noticeable_time_and_a_factor() {
        let bloated = |idle, loaded| {
            codes(|report| {
                report.latency_us.p50 = Some(idle);
                report.loaded_latency_us.down.p50 = Some(loaded);
            })
        };
        assert_eq!(bloated(1000.0, 41_000.0), [(Level::Warning, "bufferbloat-down")]);
        assert_eq!(bloated(1000.0, 40_999.0), []);
        assert_eq!(bloated(100_000.0, 199_000.0), []);
    }

    #[test]
    fn reports_what_proxies_do() {
        assert_eq!(codes(|r| r.middle.compresses = Some(true)), [(Level::Warning, "compressed")]);
        let buffered = codes(|r| r.middle.buffers_uploads = Some(true));
        assert_eq!(buffered, [(Level::Note, "upload-buffered")]);
        let capped = codes(|r| r.middle.body_max = Some(10 << 20));
        assert_eq!(capped, [(Level::Warning, "body-capped")]);
        let lowered = codes(|r| r.beside.lowered = Some("x".to_owned()));
        assert_eq!(lowered, [(Level::Note, "http-downgraded")]);
        let waited = Duration::from_secs(9);
        let idle = |closed| codes(|r| r.beside.idle = Some(Idle { waited, closed }));
        assert_eq!(idle(Some(Duration::from_secs(5))), [(Level::Warning, "idle-closed")]);
        assert_eq!(idle(None), []);
    }

    /// The texts of the findings, each with its remedy.
    fn texts(change: impl Fn(&mut Report)) -> Vec<(String, String)> {
        let mut report = Report { server: Some(Server::default()), ..Report::default() };
        change(&mut report);
        let findings = findings(&report).into_iter();
        findings.map(|finding| (finding.text, finding.remedy.unwrap_or_default())).collect()
    }

    #[test]
    fn the_remedy_for_black_holes_of_both_directions_is_one_mtu() {
        let hole = |largest| Packets {
            largest: Some(largest),
            black_hole: Some(true),
            ..Packets::default()
        };
        let found = texts(|report| (report.mtu.down, report.mtu.up) = (hole(1450), hole(1399)));
        assert!(found[0].0.contains("more than 1450") && found[1].0.contains("more than 1399"));
        assert!(found.iter().all(|(_, remedy)| remedy.contains(" to 1399, ")), "{found:?}");
    }

    #[test]
    fn the_remedy_for_a_name_without_an_address_is_about_names() {
        let refused = |address: &str| {
            let (address, error) = (address.to_owned(), Some("x".to_owned()));
            let address = Address { address, connect_us: None, error };
            texts(move |report| report.addresses = vec![address.clone()]).remove(0).1
        };
        assert!(refused("name.invalid").contains("/etc/resolv.conf"));
        assert!(refused("127.0.0.1:80").contains("listener"));
        assert!(refused("[::1]:80").contains("listener"));
    }

    #[test]
    fn an_idle_connection_that_is_dead_was_not_closed() {
        let waited = Duration::from_secs(9);
        let idle = |closed| {
            let closed = Some(closed);
            texts(move |report| report.beside.idle = Some(Idle { waited, closed })).remove(0).0
        };
        let closed = "An idle connection was closed after 0.4 s of 9.0 s.";
        assert_eq!(idle(Duration::from_millis(400)), closed);
        let dead = "After 9.0 s without a request, a connection no longer works.";
        assert_eq!(idle(waited), dead);
        assert_eq!(idle(Duration::ZERO), "The connection is closed after each answer.");
    }

    #[test]
    fn times_are_shown_with_three_digits_or_four() {
        let texts = [53.4, 9_999.0, 20_444.0, 141_400.0].map(shown);
        assert_eq!(texts, ["0.053 ms", "10.00 ms", "20.44 ms", "141 ms"]);
    }

    #[test]
    fn a_certificate_must_be_trusted_and_not_expire_soon() {
        let tls = |refusal: Option<&str>, days| {
            let refusal = refusal.map(str::to_owned);
            let facts = TlsFacts { refusal, days_left: Some(days), ..TlsFacts::default() };
            codes(move |report| report.tls = Some(facts.clone()))
        };
        assert_eq!(tls(None, 14), []);
        assert_eq!(tls(None, 13), [(Level::Warning, "tls-expires-soon")]);
        let both = [(Level::Fault, "tls-untrusted"), (Level::Warning, "tls-expires-soon")];
        assert_eq!(tls(Some("expired"), -1), both);
    }

    #[test]
    fn a_server_is_another_one_only_if_it_has_answered() {
        assert_eq!(codes(|r| r.server = None), [(Level::Note, "not-heartbeat")]);
        let silent = |report: &mut Report| {
            report.server = None;
            report.beside.is_identified = false;
        };
        assert_eq!(codes(silent), []);
    }
}
