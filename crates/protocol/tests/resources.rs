//! What the optional resources answer: bytes in, the whole head and the length of the content out.

use heartbeat_protocol::limits::{AUTHORITY_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX};
use heartbeat_protocol::{
    Connection, Content, DateLine, Event, Facts, Port, ServerTiming, Site, SiteOptions, route,
};

#[allow(dead_code, reason = "every test uses its part of the rig")]
mod rig;

use rig::random::Random;

const FACTS: Facts<'static> = Facts { ready: true, version: "1\n", version_json: "{}\n" };

const TIMING: ServerTiming = ServerTiming {
    app_us: 1_012,
    rtt_us: Some(251),
    rttvar_us: Some(34),
    min_rtt_us: Some(198),
    retransmits: Some(0),
    segments: Some(31),
    mss: Some(1448),
    path_mtu: Some(1500),
    rate_bytes_per_second: Some(118_000_000),
    recv_us: None,
    recv_bytes: None,
};

const ALL: SiteOptions = SiteOptions { admin_port: false, responsiveness: true, aliases: true };

fn site(options: SiteOptions) -> Site {
    let site = Site::new("/heartbeat/", 1, 8 << 20).expect("a valid site");
    site.with_options(options).expect("a prefix that hides nothing")
}

/// An answer: its head and its content.
struct Answer {
    status: u16,
    head: String,
    content_bytes: u64,
    text: String,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Answers one request as the server does. `timing` is what it measures.
fn ask(site: &Site, port: Port, request: &str, timing: &ServerTiming) -> Answer {
    let mut connection = Connection::new();
    let received = connection.receive(request.as_bytes());
    let Event::Request(head) = received.event else { panic!("no request: {request}") };
    let routed = route(&head, port, site, &FACTS);
    let mut response = routed.response();
    if routed.wants_timing() {
        response = response.with_timing(timing);
    }
    let mut out = Vec::new();
    let (status, content) = connection.send(&response, &DateLine::new(0), &mut out);
    let text = match content {
        Content::Text { text, .. } => text.to_string(),
        _ => String::new(),
    };
    let head = String::from_utf8(out).expect("a head is text");
    Answer { status: status.code(), head, content_bytes: content.bytes(), text }
}

fn get(site: &Site, target: &str) -> Answer {
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    ask(site, Port::Main, &request, &TIMING)
}

#[test]
fn a_payload_reports_its_timing_when_the_query_asks() {
    let site = site(SiteOptions::default());
    let plain = get(&site, "/heartbeat/17?timings");
    assert_eq!(plain.head, get(&site, "/heartbeat/17").head);
    assert!(plain.head.len() <= 142 && !plain.head.contains("Timing"), "{}", plain.head);
    for target in ["/heartbeat/17?timing", "/heartbeat/17?a=b&timing=1&c"] {
        let answer = get(&site, target);
        assert_eq!((answer.status, answer.content_bytes), (200, 17));
        assert_eq!(
            answer.field("Server-Timing"),
            Some(
                "app;dur=1.012, rtt;dur=0.251, rttvar;dur=0.034, minrtt;dur=0.198, \
                 retrans;desc=\"0\", segs;desc=\"31\", mss;desc=\"1448\", pmtu;desc=\"1500\", \
                 rate;desc=\"118000000\""
            )
        );
        assert_eq!(answer.field("Timing-Allow-Origin"), Some("*"));
        assert!(!answer.head.contains("Access-Control"), "{}", answer.head);
    }
}

#[test]
fn an_upload_and_a_head_report_their_timing() {
    let site = site(SiteOptions::default());
    let timing = ServerTiming { recv_us: Some(1_500), recv_bytes: Some(0), ..TIMING };
    for (method, content_bytes) in [("POST", 17), ("PUT", 17), ("HEAD", 0)] {
        let request = format!("{method} /heartbeat/17?timing HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = ask(&site, Port::Main, &request, &timing);
        assert_eq!((answer.status, answer.content_bytes), (200, content_bytes));
        let value = answer.field("Server-Timing").unwrap();
        assert!(value.ends_with("recv;dur=1.500, recv-bytes;desc=\"0\""), "{value}");
    }
}

#[test]
fn answers_without_a_payload_report_no_timing() {
    let site = site(ALL);
    for target in [
        "/?timing",
        "/heartbeat?timing",
        "/heartbeat/0?timing",
        "/heartbeat/x?timing",
        "/healthz?timing",
        "/version?timing",
        "/nothing?timing",
        "/.well-known/nq?timing",
        "/heartbeat/wire/1?timing",
    ] {
        let answer = get(&site, target);
        assert!(!answer.head.contains("Timing"), "{target}: {}", answer.head);
    }
    let options = "OPTIONS /heartbeat/17?timing HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = ask(&site, Port::Main, options, &TIMING);
    assert!(!answer.head.contains("Timing"), "{}", answer.head);
}

#[test]
fn a_wire_size_counts_the_timing_in() {
    let site = site(SiteOptions::default());
    let minimum = |timing: &ServerTiming| {
        let request = "GET /heartbeat/wire/1?timing HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = ask(&site, Port::Main, request, timing);
        assert_eq!(answer.status, 400);
        answer.field("X-Heartbeat-Wire-Min").unwrap().parse::<u64>().unwrap()
    };
    let bare = ServerTiming { app_us: 5, ..ServerTiming::default() };
    for timing in [bare, TIMING, longest()] {
        let minimum = minimum(&timing);
        for bytes in (minimum..minimum + 300).chain(9_900..10_500).chain(99_900..101_000) {
            let target = format!("/heartbeat/wire/{bytes}?timing");
            let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            let answer = ask(&site, Port::Main, &request, &timing);
            assert_eq!(answer.status, 200, "{target}");
            assert!(answer.field("Server-Timing").is_some());
            assert_eq!(answer.head.len() as u64 + answer.content_bytes, bytes);
        }
        let request =
            format!("GET /heartbeat/wire/{}?timing HTTP/1.1\r\nHost: a\r\n\r\n", minimum - 1);
        assert_eq!(ask(&site, Port::Main, &request, &timing).status, 400);
    }
}

/// Every measurement with as many digits as its type allows.
fn longest() -> ServerTiming {
    ServerTiming {
        app_us: u64::MAX,
        rtt_us: Some(u32::MAX),
        rttvar_us: Some(u32::MAX),
        min_rtt_us: Some(u32::MAX),
        retransmits: Some(u32::MAX),
        segments: Some(u32::MAX),
        mss: Some(u32::MAX),
        path_mtu: Some(u32::MAX),
        rate_bytes_per_second: Some(u64::MAX),
        recv_us: Some(u64::MAX),
        recv_bytes: Some(u64::MAX),
    }
}

#[test]
fn the_longest_head_is_within_its_limit() {
    let site = Site::new("/heartbeat/", 1, 1 << 30).unwrap().with_options(ALL).unwrap();
    let mut longest_bytes = 0;
    for target in ["/heartbeat/1073741824", "/heartbeat/wire/1073741824", "/__down"] {
        let query = if target == "/__down" { "bytes=1073741824&" } else { "" };
        let request =
            format!("GET {target}?{query}timing HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = ask(&site, Port::Main, &request, &longest());
        assert_eq!(answer.status, 200);
        longest_bytes = longest_bytes.max(answer.head.len());
    }
    assert!(longest_bytes <= RESPONSE_HEAD_BYTES_MAX, "{longest_bytes}");
    assert!(longest_bytes > RESPONSE_HEAD_BYTES_MAX - 64, "the limit is too generous");
}

#[test]
fn home_redirects_to_a_size_in_range_and_is_not_cached() {
    for (min, max, location) in
        [(1, 1 << 20, "/heartbeat/17"), (1, 5, "/heartbeat/5"), (100, 200, "/heartbeat/100")]
    {
        let site = Site::new("/heartbeat/", min, max).unwrap();
        for path in ["/", "/index.html", "/default.aspx"] {
            let answer = get(&site, path);
            assert_eq!(answer.status, 301);
            assert_eq!(answer.field("Location"), Some(location));
            assert_eq!(answer.field("Cache-Control"), Some("no-cache"));
        }
        assert_eq!(get(&site, location).status, 200);
        assert_eq!(get(&site, "/heartbeat").field("Cache-Control"), None);
    }
}

#[test]
fn an_admin_port_takes_metrics_and_version_off_the_main_port() {
    let site = site(SiteOptions { admin_port: true, ..SiteOptions::default() });
    for (path, main, admin) in [
        ("/metrics", 404, 200),
        ("/version", 404, 200),
        ("/version?format=json", 404, 200),
        ("/healthz", 200, 200),
        ("/readyz", 200, 200),
        ("/heartbeat/metrics", 404, 404),
        ("/heartbeat/version", 404, 404),
        ("/heartbeat/healthz", 200, 404),
        ("/heartbeat/readyz", 200, 404),
        ("/heartbeat/17", 200, 404),
        ("/heartbeat/x", 400, 404),
        ("/heartbeat", 301, 404),
        ("/", 301, 404),
        ("/index.html", 301, 404),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(ask(&site, Port::Main, &request, &TIMING).status, main, "{path}");
        assert_eq!(ask(&site, Port::Admin, &request, &TIMING).status, admin, "{path}");
    }
    let request = "DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(ask(&site, Port::Main, request, &TIMING).status, 404);
    assert_eq!(ask(&site, Port::Admin, request, &TIMING).status, 405);
}

#[test]
fn optional_resources_are_off_by_default() {
    let site = site(SiteOptions::default());
    for path in [
        "/.well-known/nq",
        "/bytes/17",
        "/__down?bytes=17",
        "/__up",
        "/garbage?ckSize=1",
        "/empty",
        "/data?size=17",
        "/echo?size=17",
    ] {
        assert_eq!(get(&site, path).status, 404, "{path}");
    }
}

#[test]
fn aliases_answer_the_payload_and_take_uploads() {
    let site = site(ALL);
    for (target, status, content_bytes) in [
        ("/bytes/17", 200, 17),
        ("/bytes/0", 200, 0),
        ("/bytes/8388609", 400, 0),
        ("/__down?bytes=1000", 200, 1000),
        ("/__down?bytes=8388609", 400, 0),
        ("/__up", 200, 0),
        ("/garbage?ckSize=2", 200, 2 << 20),
        ("/garbage?ckSize=9", 400, 0),
        ("/empty", 200, 0),
        ("/data?size=1&unit=KB", 200, 1024),
        ("/echo?size=5", 200, 5),
        ("/echo?size=x", 400, 0),
    ] {
        for method in ["GET", "POST", "PUT"] {
            let request = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            let answer = ask(&site, Port::Main, &request, &TIMING);
            assert_eq!((answer.status, answer.content_bytes), (status, content_bytes), "{target}");
            assert_eq!(answer.field("Content-Type").is_some(), status == 200, "{target}");
        }
        let request = format!("DELETE {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = ask(&site, Port::Main, &request, &TIMING);
        assert_eq!(answer.status, 405, "{target}");
        assert_eq!(answer.field("Allow"), Some("GET, HEAD, POST, PUT, OPTIONS"));
    }
}

#[test]
fn cloudflares_speed_test_finds_the_duration_first() {
    let site = site(ALL);
    for path in ["/__down?bytes=17", "/__up"] {
        let answer = get(&site, path);
        assert_eq!(answer.field("Server-Timing"), Some("cfRequestDuration;dur=1.012"));
        assert_eq!(answer.field("Access-Control-Allow-Origin"), Some("*"));
        assert_eq!(answer.field("Access-Control-Expose-Headers"), Some("Server-Timing"));
    }
    let answer = get(&site, "/__down?bytes=17&timing");
    let value = answer.field("Server-Timing").unwrap();
    assert!(value.starts_with("cfRequestDuration;dur=1.012, rtt;dur=0.251, "), "{value}");
}

#[test]
fn only_browser_tests_get_cross_origin_fields() {
    let site = site(ALL);
    let options = |path: &str| {
        let request = format!("OPTIONS {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        ask(&site, Port::Main, &request, &TIMING)
    };
    for path in ["/__down", "/__up", "/garbage?ckSize=1", "/empty"] {
        assert_eq!(get(&site, path).field("Access-Control-Allow-Origin"), Some("*"), "{path}");
        let answer = options(path);
        assert_eq!(answer.status, 204);
        assert_eq!(answer.field("Access-Control-Allow-Origin"), Some("*"), "{path}");
        let allowed = answer.field("Access-Control-Allow-Headers");
        assert_eq!(allowed, Some("Content-Encoding, Content-Type"), "{path}");
    }
    for path in ["/bytes/17", "/data?size=1", "/echo", "/heartbeat/17?timing", "/healthz", "/"] {
        assert!(!get(&site, path).head.contains("Access-Control"), "{path}");
        assert!(!options(path).head.contains("Access-Control"), "{path}");
    }
}

/// The JSON of `/.well-known/nq` for a request with these field lines.
fn configuration(site: &Site, fields: &str) -> Answer {
    let request = format!("GET /.well-known/nq HTTP/1.1\r\n{fields}\r\n");
    ask(site, Port::Main, &request, &TIMING)
}

#[test]
fn the_responsiveness_configuration_names_urls_that_work() {
    let site = site(ALL);
    let answer = configuration(&site, "Host: edge-7.example:8080\r\n");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("Content-Type"), Some("application/json"));
    assert_eq!(
        answer.text,
        "{\"version\":1,\"urls\":{\
         \"small_download_url\":\"http://edge-7.example:8080/heartbeat/1\",\
         \"large_download_url\":\"http://edge-7.example:8080/heartbeat/8388608\",\
         \"upload_url\":\"http://edge-7.example:8080/heartbeat/1\",\
         \"small_https_download_url\":\"http://edge-7.example:8080/heartbeat/1\",\
         \"large_https_download_url\":\"http://edge-7.example:8080/heartbeat/8388608\",\
         \"https_upload_url\":\"http://edge-7.example:8080/heartbeat/1\"}}\n"
    );
    assert_eq!(get(&site, "/heartbeat/1").content_bytes, 1);
    assert_eq!(get(&site, "/heartbeat/8388608").content_bytes, 8 << 20);
    let upload = "POST /heartbeat/1 HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(ask(&site, Port::Main, upload, &TIMING).status, 200);
    let head = "HEAD /.well-known/nq HTTP/1.1\r\nHost: edge-7.example:8080\r\n\r\n";
    let head = ask(&site, Port::Main, head, &TIMING);
    assert_eq!((head.head, head.content_bytes), (answer.head, 0));
}

#[test]
fn the_responsiveness_scheme_is_http_or_https_and_nothing_else() {
    let site = site(ALL);
    for (fields, scheme) in [
        ("", "http"),
        ("X-Forwarded-Proto: https\r\n", "https"),
        ("x-forwarded-proto: HTTPS\r\n", "https"),
        ("X-Forwarded-Proto: http\r\n", "http"),
        ("X-Forwarded-Proto: javascript\r\n", "http"),
        ("X-Forwarded-Proto: https://evil\r\n", "http"),
        ("X-Forwarded-Proto: https, http\r\n", "http"),
        ("X-Forwarded-Proto:\r\n", "http"),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "http"),
        ("X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n", "http"),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: https\r\n", "https"),
    ] {
        let answer = configuration(&site, &format!("Host: a\r\n{fields}"));
        let url = format!("\"upload_url\":\"{scheme}://a/heartbeat/1\"");
        assert!(answer.text.contains(&url), "{fields:?}: {}", answer.text);
    }
}

#[test]
fn the_responsiveness_authority_is_the_validated_one() {
    let site = site(ALL);
    let absolute = "GET http://b:81/.well-known/nq HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = ask(&site, Port::Main, absolute, &TIMING);
    assert!(answer.text.contains("\"http://b:81/heartbeat/1\""), "{}", answer.text);
    let old = "GET /.well-known/nq HTTP/1.0\r\n\r\n";
    assert_eq!(ask(&site, Port::Main, old, &TIMING).status, 400);
    let host = |bytes: usize| configuration(&site, &format!("Host: {}\r\n", "h".repeat(bytes)));
    assert_eq!(host(AUTHORITY_BYTES_MAX).status, 200);
    assert_eq!(host(AUTHORITY_BYTES_MAX + 1).status, 400);
    for byte in 0..=255_u8 {
        let head = [b"GET /.well-known/nq HTTP/1.1\r\nHost: a", &[byte][..], b"b\r\n\r\n"].concat();
        let mut connection = Connection::new();
        let Event::Request(request) = connection.receive(&head).event else { continue };
        let routed = route(&request, Port::Main, &site, &FACTS);
        let Content::Text { text, .. } = routed.response().content else { panic!("no text") };
        let quotes = text.bytes().filter(|byte| *byte == b'"').count();
        assert!(quotes == 28 && !text.contains(['\\', '<', '>', ' ']), "{text}");
    }
}

/// A target made of pieces that the server knows, and of one that it does not know (`xyzzy`).
fn random_target(random: &mut Random) -> String {
    let paths: &[&str] = &[
        "/",
        "/heartbeat/",
        "/heartbeat/wire/",
        "/.well-known/nq",
        "/bytes/",
        "/__down",
        "/__up",
        "/garbage",
        "/empty",
        "/data",
        "/echo",
        "/version",
        "/metrics",
        "/readyz",
        "/heartbeat",
    ];
    let pieces: &[&str] = &[
        "0",
        "1",
        "17",
        "400",
        "1048576",
        "99999999999",
        "?",
        "&",
        "=",
        "timing",
        "bytes=",
        "size=",
        "ckSize=",
        "unit=KB",
        "unit=",
        "format=json",
        "xyzzy",
        "%41",
        "/",
    ];
    let mut target = random.pick(paths).to_string();
    for _ in 0..random.below(7) {
        target.push_str(random.pick(pieces));
    }
    target
}

#[test]
fn every_answer_of_every_resource_agrees_with_itself_and_reflects_nothing() {
    let random = &mut Random::new(5);
    let mut statuses = [0_usize; 600];
    for round in 0..30_000 {
        let options = SiteOptions { admin_port: random.one_in(2), ..ALL };
        let site = site(options);
        let port = if random.one_in(5) { Port::Admin } else { Port::Main };
        let method = random.pick(&["GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "DELETE"]);
        let target = random_target(random);
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: xyzzy\r\nX: xyzzy\r\n\r\n"
        );
        let timing = if random.one_in(3) { longest() } else { TIMING };
        let answer = ask(&site, port, &request, &timing);
        let context = format!("round {round}: {request}{}", answer.head);
        assert!(answer.head.len() <= RESPONSE_HEAD_BYTES_MAX, "{context}");
        assert!(!answer.head.contains("xyzzy") && !answer.text.contains("xyzzy"), "{context}");
        let mut storage = [httparse::EMPTY_HEADER; 16];
        let mut parsed = httparse::Response::new(&mut storage);
        let parsed_bytes = parsed.parse(answer.head.as_bytes()).expect("an answer parses");
        assert_eq!(parsed_bytes, httparse::Status::Complete(answer.head.len()), "{context}");
        let length = answer.field("Content-Length").map(|length| length.parse::<u64>());
        match (answer.status, method) {
            (204, _) => assert_eq!(length, None, "{context}"),
            (_, "HEAD") => assert_eq!(answer.content_bytes, 0, "{context}"),
            _ => assert_eq!(length, Some(Ok(answer.content_bytes)), "{context}"),
        }
        let is_sized = target.strip_prefix("/heartbeat/wire/").is_some();
        if is_sized && answer.status == 200 && method == "GET" {
            let digits = target["/heartbeat/wire/".len()..].split('?').next();
            let bytes = digits.and_then(|digits| digits.parse().ok());
            assert_eq!(Some(answer.head.len() as u64 + answer.content_bytes), bytes, "{context}");
        }
        statuses[answer.status as usize] += 1;
    }
    for status in [200, 204, 301, 400, 404, 405] {
        assert!(statuses[status] > 100, "{status}: {}", statuses[status]);
    }
}
