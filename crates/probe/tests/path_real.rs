//! `heartbeat-probe path` on paths with known properties: compares its report with them.
//!
//! The paths are network namespaces, so these tests need root, iproute2, ethtool, nftables and
//! python3; if one is missing they print that they are left out. With `PATH_SHOW=1` and
//! `--nocapture` they print the text for people, too.

// A failure in a helper function is a failure of the test.
#![allow(clippy::unwrap_used)]

mod authority;
mod path_ground;
mod path_tls;
mod path_twin;
mod path_witness;
mod real;

use std::ops::RangeInclusive;

use path_ground::{FAR, FAR_INSIDE, FAR_IPV6, Ground};
use path_witness::{Testimony, Witness};
use serde_json::Value;

/// How many of thousands of segments a busy machine may retransmit although none was lost, because
/// their acknowledgements came late.
const AGAIN_MAX: f64 = 20.0;

/// The most measurements of one path, as long as the machine itself drops or delays packets.
const MEASUREMENTS_MAX: u32 = 5;

/// How far a delay may be from what a witness measures in the same seconds.
const DELAY_ERROR_MS_MAX: f64 = 1.0;

/// How many segments are lost, beyond a tenth of all, without `path` counting them: those of
/// measurements before the counted ones, and of transfers that it aborts.
const LOST_UNSEEN_MAX: u64 = 10;

/// The report of the prober about a path, and its exit code.
struct Said {
    report: Value,
    code: i32,
}

impl Said {
    fn codes(&self) -> Vec<&str> {
        let findings = self.report["findings"].as_array().unwrap();
        findings.iter().map(|finding| finding["code"].as_str().unwrap()).collect()
    }

    fn number(&self, pointer: &str) -> f64 {
        let value = self.report.pointer(pointer);
        value.and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {}", self.report))
    }

    /// The text of the finding with this code.
    fn text(&self, code: &str) -> &str {
        let findings = self.report["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["code"] == code);
        finding.and_then(|finding| finding["text"].as_str()).unwrap_or_else(|| panic!("{code}"))
    }
}

/// Gets the JSON, and prints the text of the same path if PATH_SHOW is set.
fn ask(ground: &Ground, address: &str, more: &[&str]) -> Said {
    ask_url(ground, &ground.serve(address), more)
}

fn ask_url(ground: &Ground, url: &str, more: &[&str]) -> Said {
    if std::env::var_os("PATH_SHOW").is_some() {
        let output = ground.prober().args(["path", url]).args(more).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        println!("{}\n{text}", std::thread::current().name().unwrap_or_default());
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }
    let mut measurements = 0;
    loop {
        let dropped = packets_dropped();
        let said = ask_once(ground, url, more);
        measurements += 1;
        if packets_dropped() == dropped || measurements == MEASUREMENTS_MAX {
            return said;
        }
        println!("this machine has dropped packets itself: measured again");
    }
}

fn ask_once(ground: &Ground, url: &str, more: &[&str]) -> Said {
    let output = ground.prober().args(["path", url, "--json"]).args(more).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    println!("{text}");
    let report = serde_json::from_str(&text).unwrap();
    Said { report, code: output.status.code().unwrap() }
}

/// Asks through a relay, together with a witness. A machine that is busy with other work does not
/// delay all packets equally: then the two are asked again, if possible.
fn ask_with_witness(ground: &Ground, more: &[&str]) -> (Said, Testimony) {
    let url = ground.serve(FAR_INSIDE);
    let mut measurements = 0;
    loop {
        let witness = Witness::start(ground, FAR_INSIDE);
        let said = ask_url(ground, &url, more);
        let seen = witness.testify();
        measurements += 1;
        let medians = seen.medians(|seen| seen.program_ms);
        let is_steady = medians.end() - medians.start() < DELAY_ERROR_MS_MAX;
        if is_steady || measurements == MEASUREMENTS_MAX {
            return (said, seen);
        }
        println!("the delay varied from {medians:?} ms: measured again");
    }
}

/// Fails unless a delay is within a millisecond of the medians of a witness. A path of this delay
/// delays all packets at least by what was set.
fn assert_delay(name: &str, ms: f64, witness: &RangeInclusive<f64>, set_ms: f64) {
    println!("{name}: {ms:.3} ms, the witness {:.3} to {:.3}", witness.start(), witness.end());
    let (least, most) = (witness.start() - DELAY_ERROR_MS_MAX, witness.end() + DELAY_ERROR_MS_MAX);
    assert!((least..most).contains(&ms), "{name}: {ms}, but the witness: {witness:?}");
    assert!(ms >= set_ms && *witness.start() >= set_ms, "{name}: {ms}, {witness:?}");
}

/// Packets that this machine has dropped because it had no time for them: the second column of
/// softnet_stat, for each CPU. No path has lost them, but `path` reports them as loss.
fn packets_dropped() -> u64 {
    let text = std::fs::read_to_string("/proc/net/softnet_stat").unwrap();
    let dropped = |line: &str| u64::from_str_radix(line.split(' ').nth(1).unwrap(), 16).unwrap();
    text.lines().map(dropped).sum()
}

macro_rules! ground {
    () => {
        match Ground::new() {
            Some(ground) => ground,
            None => return,
        }
    };
}

#[test]
fn a_clean_path_of_1500_has_no_finding() {
    let ground = ground!();
    let said = ask(&ground, FAR, &["--quick"]);
    assert_eq!((said.codes(), said.code), (vec![], 0));
    for way in ["down", "up"] {
        assert_eq!(said.number(&format!("/mtu/{way}/largest")), 1500.0);
        assert_eq!(said.number(&format!("/mtu/{way}/path_mtu")), 1500.0);
        assert_eq!(said.number(&format!("/mtu/{way}/mss")), 1448.0);
        assert_eq!(said.report["mtu"][way]["black_hole"], false);
        let again = said.number(&format!("/retransmitted/{way}/segments"));
        assert!(again <= AGAIN_MAX, "{way}: {again}");
    }
}

#[test]
fn a_smaller_mtu_with_icmp_is_found_exactly() {
    for mtu in [1400, 1337] {
        let ground = ground!();
        ground.narrow(mtu);
        let said = ask(&ground, FAR, &["--quick"]);
        assert_eq!((said.codes(), said.code), (vec!["mtu-below-1500"], 0));
        for way in ["down", "up"] {
            assert_eq!(said.number(&format!("/mtu/{way}/largest")), f64::from(mtu));
            assert_eq!(said.number(&format!("/mtu/{way}/path_mtu")), f64::from(mtu));
            assert_eq!(said.report["mtu"][way]["black_hole"], false);
        }
    }
}

#[test]
fn a_black_hole_down_is_found_exactly() {
    for most in [1400, 1281, 1495] {
        let ground = ground!();
        ground.drop_down(&format!("meta length > {most}"));
        let said = ask(&ground, FAR, &["--quick"]);
        assert_eq!((said.codes(), said.code), (vec!["mtu-black-hole-down"], 1));
        assert_eq!(said.number("/mtu/down/largest"), f64::from(most));
        assert_eq!(said.report["mtu"]["down"]["black_hole"], true);
        assert_eq!(said.number("/mtu/up/largest"), 1500.0);
        assert_eq!(said.report["mtu"]["up"]["black_hole"], false);
    }
}

#[test]
fn a_black_hole_up_is_found_exactly() {
    let ground = ground!();
    ground.drop_up("meta length > 1400");
    let said = ask(&ground, FAR, &["--quick"]);
    assert_eq!((said.codes(), said.code), (vec!["mtu-black-hole-up"], 1));
    assert_eq!(said.number("/mtu/up/largest"), 1400.0);
    assert_eq!(said.number("/mtu/down/largest"), 1500.0);
}

#[test]
fn black_holes_of_both_directions_are_distinguished_even_with_loss() {
    let ground = ground!();
    ground.drop_down("meta length > 1399");
    ground.drop_up("meta length > 1450");
    ground.drop_down("numgen random mod 1000 < 20");
    ground.drop_up("numgen random mod 1000 < 20");
    let said = ask(&ground, FAR, &["--quick"]);
    assert_eq!(said.number("/mtu/down/largest"), 1399.0);
    assert_eq!(said.number("/mtu/up/largest"), 1450.0);
    let codes = said.codes();
    assert!(codes.contains(&"mtu-black-hole-down") && codes.contains(&"mtu-black-hole-up"));
}

#[test]
fn ipv6_headers_are_twenty_bytes_longer() {
    let ground = ground!();
    ground.drop_down("meta length > 1440");
    let said = ask(&ground, FAR_IPV6, &["--quick"]);
    assert_eq!((said.codes(), said.code), (vec!["mtu-black-hole-down"], 1));
    assert_eq!(said.number("/mtu/down/largest"), 1440.0);
    assert_eq!(said.number("/mtu/up/largest"), 1500.0);
    assert_eq!(said.number("/mtu/up/mss"), 1428.0);
}

#[test]
fn a_black_hole_is_found_even_if_hosts_merge_segments() {
    let ground = ground!();
    ground.offload();
    ground.drop_down("meta length > 1400");
    ground.drop_up("meta length > 1300");
    let said = ask(&ground, FAR, &["--quick"]);
    assert_eq!(said.number("/mtu/down/largest"), 1400.0);
    assert_eq!(said.number("/mtu/up/largest"), 1300.0);
}

#[test]
fn a_tunnel_is_recognized_by_its_mtu() {
    let ground = ground!();
    ground.vxlan();
    let said = ask(&ground, FAR_INSIDE, &["--quick"]);
    assert_eq!((said.codes(), said.code), (vec!["mtu-below-1500"], 0));
    assert_eq!(said.number("/mtu/down/largest"), 1450.0);
    assert_eq!(said.number("/mtu/up/largest"), 1450.0);
    assert!(said.report["findings"][0]["text"].as_str().unwrap().contains("VXLAN"));
}

#[test]
fn an_overlay_with_a_wrong_mtu_is_a_black_hole() {
    let ground = ground!();
    ground.vxlan();
    // The tunnel's own packets are 50 bytes longer, which its ends do not know.
    ground.drop_down("meta length > 1470");
    let said = ask(&ground, FAR_INSIDE, &["--quick"]);
    assert_eq!((said.codes()[0], said.code), ("mtu-black-hole-down", 1));
    assert_eq!(said.number("/mtu/down/largest"), 1420.0);
}

#[test]
fn loss_is_within_its_confidence_interval() {
    let ground = ground!();
    ground.lose_down(20);
    ground.lose_up(20);
    let said = ask(&ground, FAR, &[]);
    for way in ["down", "up"] {
        let again = said.number(&format!("/retransmitted/{way}/segments"));
        let sent = said.number(&format!("/retransmitted/{way}/sent"));
        assert!(sent > 500.0);
        // Four standard deviations, and a tenth for segments that were retransmitted but not lost.
        let spread = 4.0 * (0.02 * 0.98 / sent).sqrt() + 0.002;
        assert!((again / sent - 0.02).abs() < spread, "{way}: {again} of {sent}");
        // The interval in the text contains the true share in 95 of 100 measurements, and an
        // interval of twice its width in nearly all.
        let text = said.text(&format!("loss-{way}"));
        let (least, most) = interval(text);
        let middle = (least + most) / 2.0;
        assert!(most > least && (middle - 2.0).abs() < most - least, "{text}");
    }
    assert_eq!(said.code, 1);
}

/// The confidence interval in the text of a finding, in percent.
fn interval(text: &str) -> (f64, f64) {
    let (_, interval) = text.split_once("with 95 % confidence ").unwrap();
    let (least, rest) = interval.split_once(" to ").unwrap();
    let (most, _) = rest.split_once(" %").unwrap();
    (least.parse().unwrap(), most.parse().unwrap())
}

#[test]
fn as_many_segments_are_sent_again_as_the_path_has_dropped() {
    let ground = ground!();
    ground.lose_down(20);
    ground.lose_up(20);
    let url = ground.serve(FAR);
    let (dropped, lost) = (packets_dropped(), ground.lost());
    let said = ask_once(&ground, &url, &["--quick", "--duration", "20s"]);
    let by_machine = packets_dropped() - dropped;
    let now = ground.lost();
    for (index, way) in ["down", "up"].into_iter().enumerate() {
        let again = said.number(&format!("/retransmitted/{way}/segments")) as u64;
        let lost = now[index] - lost[index];
        println!("{way}: {again} sent again, {lost} lost, {by_machine} by the machine");
        assert!(lost > 50);
        // The small segments of a transfer in the other direction do not count: there is one for
        // some twenty large ones.
        assert!(again + lost / 10 + LOST_UNSEEN_MAX >= lost, "{way}: {again} of {lost}");
        // A timer that was too fast sends segments again that were not lost.
        assert!(again <= lost + by_machine + lost / 10, "{way}: {again} of {lost}");
    }
}

#[test]
fn loss_of_one_direction_is_not_reported_for_the_other() {
    let ground = ground!();
    ground.drop_up("numgen random mod 1000 < 30");
    let said = ask(&ground, FAR, &["--quick"]);
    assert_eq!((said.codes(), said.code), (vec!["loss-up"], 1));
}

#[test]
fn a_bottleneck_with_a_deep_queue_is_found_with_its_rate() {
    let ground = ground!();
    ground.bottleneck("20mbit", "20mbit", 600_000);
    let said = ask(&ground, FAR, &["--duration", "15s"]);
    let codes = said.codes();
    assert_eq!(codes, ["bufferbloat-down", "bufferbloat-up"]);
    assert_eq!(said.code, 0);
    assert_rates(&said, 20e6, 20e6);
    for way in ["down", "up"] {
        // 600,000 bytes at 20 Mbit/s wait 240 ms.
        let loaded = said.number(&format!("/loaded_latency_us/{way}/p50"));
        assert!((100e3..300e3).contains(&loaded), "{way}: {loaded}");
        assert!(said.number(&format!("/rpm/{way}")) < 600.0);
    }
}

#[test]
fn each_direction_has_its_own_rate() {
    let ground = ground!();
    ground.bottleneck("40mbit", "8mbit", 100_000);
    let said = ask(&ground, FAR, &[]);
    assert_rates(&said, 40e6, 8e6);
}

/// Fails unless the rates are within a tenth of those of the bottlenecks, in bits per second.
fn assert_rates(said: &Said, down: f64, up: f64) {
    for (name, bottleneck) in [("down_1", down), ("down_8", down), ("up_1", up), ("up_8", up)] {
        // Of each frame of 1514 bytes, 1448 are payload.
        let payload = bottleneck * 1448.0 / 1514.0;
        let rate = said.number(&format!("/throughput_bps/{name}"));
        println!("{name}: {rate} of {payload}");
        assert!((rate / payload - 1.0).abs() < 0.1, "{name}: {rate} of {payload}");
    }
}

#[test]
fn delay_is_within_a_millisecond_of_what_a_witness_measures() {
    let mut ground = ground!();
    ground.relay(10.0, 0.0, 0.0);
    let (said, seen) = ask_with_witness(&ground, &["--quick"]);
    let ms = |figure| said.number(&format!("/latency_us/{figure}")) / 1000.0;
    assert!(seen.min_ms >= 20.0, "{}", seen.min_ms);
    assert_delay("p50", ms("p50") - ms("server"), &seen.medians(|seen| seen.program_ms), 20.0);
    assert_delay("rtt_client", ms("rtt_client"), &seen.medians(|seen| seen.near_ms), 20.0);
    assert_delay("rtt_server", ms("rtt_server"), &seen.medians(|seen| seen.far_ms), 20.0);
    assert_eq!(said.code, 0);
}

#[test]
fn delay_and_loss_together_are_distinguished() {
    let mut ground = ground!();
    ground.relay(5.0, 0.03, 0.0);
    let (said, seen) = ask_with_witness(&ground, &["--quick", "--duration", "30s"]);
    assert_eq!((said.codes(), said.code), (vec!["loss-down"], 1));
    let ms = |figure| said.number(&format!("/latency_us/{figure}")) / 1000.0;
    assert_delay("p50", ms("p50") - ms("server"), &seen.medians(|seen| seen.program_ms), 10.0);
}

#[test]
fn a_page_of_another_server_that_hangs_is_measured_with_smaller_packets() {
    let ground = ground!();
    ground.drop_down("meta length > 1400");
    let said = ask_url(&ground, &ground.serve_page(FAR, 200_000), &["--quick"]);
    assert_eq!((said.codes(), said.code), (vec!["mtu-black-hole-down", "not-heartbeat"], 1));
    assert_eq!(said.number("/mtu/down/largest"), 1400.0);
    assert!(said.number("/latency_us/p50") > 0.0);
}

#[test]
fn a_black_hole_that_drops_the_certificates_of_the_server_is_found() {
    for (down, up) in [(Some(1400), None), (None, Some(1400)), (Some(1380), Some(1420))] {
        let ground = ground!();
        if let Some(most) = down {
            ground.drop_down(&format!("meta length > {most}"));
        }
        if let Some(most) = up {
            ground.drop_up(&format!("meta length > {most}"));
        }
        let secured = path_tls::serve(&ground, FAR);
        let said = ask_url(&ground, &secured.url, &["--quick", "--ca-file", &secured.ca_file]);
        let holes = [("mtu-black-hole-down", down), ("mtu-black-hole-up", up)];
        let wanted: Vec<_> =
            holes.iter().filter(|(_, most)| most.is_some()).map(|(code, _)| *code).collect();
        assert_eq!((said.codes(), said.code), (wanted, 1));
        assert_eq!(said.number("/mtu/down/largest"), f64::from(down.unwrap_or(1500)));
        assert_eq!(said.number("/mtu/up/largest"), f64::from(up.unwrap_or(1500)));
        assert_eq!(said.report["tls"]["trusted"], true);
        assert!(said.number("/latency_us/p50") > 0.0);
    }
}

#[test]
fn a_clean_path_with_tls_has_no_finding() {
    let ground = ground!();
    let secured = path_tls::serve(&ground, FAR);
    let said = ask_url(&ground, &secured.url, &["--quick", "--ca-file", &secured.ca_file]);
    assert_eq!((said.codes(), said.code), (vec![], 0));
    for way in ["down", "up"] {
        assert_eq!(said.number(&format!("/mtu/{way}/largest")), 1500.0);
        assert_eq!(said.report["mtu"][way]["black_hole"], false);
    }
}
