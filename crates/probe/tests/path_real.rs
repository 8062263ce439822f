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
mod real;

use path_ground::{FAR, FAR_INSIDE, FAR_IPV6, Ground};
use serde_json::Value;

/// How many of thousands of segments a busy machine may retransmit although none was lost, because
/// their acknowledgements came late.
const AGAIN_MAX: f64 = 20.0;

/// The most measurements of one path, as long as the machine itself drops packets.
const MEASUREMENTS_MAX: u32 = 5;

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
        let output = ground.prober().args(["path", url, "--json"]).args(more).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        println!("{text}");
        measurements += 1;
        if packets_dropped() == dropped || measurements == MEASUREMENTS_MAX {
            let report = serde_json::from_str(&text).unwrap();
            return Said { report, code: output.status.code().unwrap() };
        }
        println!("this machine has dropped packets itself: measured again");
    }
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
    ground.drop_down("numgen random mod 1000 < 20");
    ground.drop_up("numgen random mod 1000 < 20");
    let said = ask(&ground, FAR, &[]);
    for way in ["down", "up"] {
        assert!(said.codes().contains(&format!("loss-{way}").as_str()), "{:?}", said.codes());
        let again = said.number(&format!("/retransmitted/{way}/segments"));
        let sent = said.number(&format!("/retransmitted/{way}/sent"));
        assert!(sent > 500.0);
        // Four standard deviations, and a tenth for segments that were retransmitted but not lost.
        let spread = 4.0 * (0.02 * 0.98 / sent).sqrt() + 0.002;
        assert!((again / sent - 0.02).abs() < spread, "{way}: {again} of {sent}");
    }
    assert_eq!(said.code, 1);
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
    ground.bottleneck("20mbit", 600_000);
    let said = ask(&ground, FAR, &["--duration", "15s"]);
    let codes = said.codes();
    assert_eq!(codes, ["bufferbloat-down", "bufferbloat-up"]);
    assert_eq!(said.code, 0);
    // Of each frame of 1514 bytes, 1448 are payload.
    let payload = 20e6 * 1448.0 / 1514.0;
    for name in ["down_1", "down_8", "up_1", "up_8"] {
        let rate = said.number(&format!("/throughput_bps/{name}"));
        assert!((rate / payload - 1.0).abs() < 0.1, "{name}: {rate} of {payload}");
    }
    for way in ["down", "up"] {
        // 600,000 bytes at 20 Mbit/s wait 240 ms.
        let loaded = said.number(&format!("/loaded_latency_us/{way}/p50"));
        assert!((100e3..300e3).contains(&loaded), "{way}: {loaded}");
        assert!(said.number(&format!("/rpm/{way}")) < 600.0);
    }
}

#[test]
fn delay_is_found() {
    let mut ground = ground!();
    ground.relay(10.0, 0.0, 0.0);
    let said = ask(&ground, FAR_INSIDE, &["--quick"]);
    for figure in ["p50", "rtt_client", "rtt_server"] {
        let ms = said.number(&format!("/latency_us/{figure}")) / 1000.0;
        // The relay itself takes a little time, and more on a busy machine.
        assert!((20.0..30.0).contains(&ms), "{figure}: {ms}");
    }
    assert_eq!(said.code, 0);
}

#[test]
fn delay_and_loss_together_are_distinguished() {
    let mut ground = ground!();
    ground.relay(5.0, 0.03, 0.0);
    let said = ask(&ground, FAR_INSIDE, &["--quick", "--duration", "30s"]);
    assert_eq!((said.codes(), said.code), (vec!["loss-down"], 1));
    let ms = said.number("/latency_us/p50") / 1000.0;
    assert!((10.0..20.0).contains(&ms), "{ms}");
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
