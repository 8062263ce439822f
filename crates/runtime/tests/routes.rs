//! The answer to each request, and whether its connection stays open.

mod support;

use std::net::IpAddr;

use support::{Client, each_driver, each_driver_with, request};

#[test]
fn the_cases_of_the_reference_hold() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        for path in ["/heartbeat/1048577", "/heartbeat/0"] {
            let head = client.get(path);
            assert_eq!((head.status, head.content_length()), (400, 0));
            assert_eq!(head.field("Content-Type"), None);
        }
        for bytes in [1024, 65_536, 1_048_576] {
            let head = client.get(&format!("/heartbeat/{bytes}"));
            assert_eq!((head.status, head.content_length()), (200, bytes));
            assert_eq!(head.field("Content-Type"), Some("text/plain"));
        }
        let head = client.get("/");
        assert_eq!((head.status, head.field("Location")), (301, Some("/heartbeat/17")));
        client.finish();
    }
}

#[test]
fn redirects_lead_to_17_bytes_and_reflect_nothing() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        for (path, location) in [
            ("/", "/heartbeat/17"),
            ("/?a=b", "/heartbeat/17"),
            ("/index.html", "/heartbeat/17"),
            ("/index.xyzzy", "/heartbeat/17"),
            ("/default.aspx", "/heartbeat/17"),
            ("/heartbeat", "/heartbeat/"),
            ("/heartbeat?xyzzy", "/heartbeat/"),
        ] {
            for method in ["GET", "HEAD"] {
                client.send(request(method, path));
                let head = client.answer();
                assert_eq!((head.status, head.field("Location")), (301, Some(location)), "{path}");
                assert!(!head.text.contains("xyzzy") && !head.closes(), "{}", head.text);
            }
        }
        client.finish();
    }
}

#[test]
fn a_path_below_the_prefix_that_is_no_size_is_400_and_keeps_the_connection() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        for rest in [
            "",
            "+17",
            "-1",
            "abc",
            "17a",
            "1.0",
            "0x11",
            "%31%37",
            "17/",
            "/17",
            "000000000000000000017",
            "18446744073709551616",
            "99999999999999999999",
            "wire",
            "wire/",
            "wire/x",
            "healthz/",
        ] {
            let head = client.get(&format!("/heartbeat/{rest}"));
            assert_eq!((head.status, head.closes()), (400, false), "{rest}");
        }
        for rest in ["00000000000000000017", "17?", "17?n=18", "017"] {
            let head = client.get(&format!("/heartbeat/{rest}"));
            assert_eq!((head.status, head.content_length()), (200, 17), "{rest}");
        }
        client.finish();
    }
}

#[test]
fn service_routes_answer_at_the_root_and_below_the_prefix() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        let version = concat!(env!("CARGO_PKG_VERSION"), "\n");
        for (path, expected) in [("healthz", "Pass\n"), ("readyz", "Ready\n"), ("version", version)]
        {
            for prefix in ["/", "/heartbeat/"] {
                let path = format!("{prefix}{path}");
                let (get, text) = client.get_text(&path);
                assert_eq!((get.status, text.as_str()), (200, expected), "{path}");
                assert_eq!(get.field("Content-Type"), Some("text/plain"));
                client.send(request("HEAD", &path));
                assert_eq!(client.head().without_date(), get.without_date());
            }
        }
        client.finish();
    }
}

#[test]
fn the_version_in_json_reports_what_the_server_runs_on() {
    for server in each_driver() {
        let report = server.report();
        let mut client = Client::connect(server.address());
        for path in ["/version?format=json", "/heartbeat/version?a=b&format=json"] {
            let (head, text) = client.get_text(path);
            assert_eq!((head.status, head.field("Content-Type")), (200, Some("application/json")));
            let fields = [
                format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION")),
                "\"revision\":\"unknown\"".to_owned(),
                format!("\"driver\":\"{}\"", report.driver.name()),
                format!("\"send\":\"{}\"", report.send.name()),
                "\"threads\":1,".to_owned(),
                "\"min\":1,\"max\":1048576}".to_owned(),
            ];
            for field in fields {
                assert!(text.contains(&field), "{field} in {text}");
            }
        }
        client.finish();
    }
}

#[test]
fn refusals_of_well_formed_requests_keep_the_connection() {
    const UPLOAD: Option<&str> = Some("GET, HEAD, POST, PUT, OPTIONS");
    const GET: Option<&str> = Some("GET, HEAD, OPTIONS");
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        for (method, path, status, allow) in [
            ("GET", "/nowhere", 404, None),
            ("HEAD", "/nowhere", 404, None),
            ("GET", "/HEARTBEAT/17", 404, None),
            ("GET", "/heartbeats/17", 404, None),
            ("HEAD", "/heartbeat/0", 400, None),
            ("DELETE", "/heartbeat/17", 405, UPLOAD),
            ("PATCH", "/heartbeat/17", 405, UPLOAD),
            ("TRACE", "/heartbeat/17", 405, UPLOAD),
            ("POST", "/heartbeat/wire/200", 405, GET),
            ("POST", "/healthz", 405, GET),
            ("PUT", "/", 405, GET),
            ("DELETE", "/heartbeat/readyz", 405, GET),
            ("OPTIONS", "/heartbeat/17", 204, UPLOAD),
            ("OPTIONS", "/heartbeat/wire/200", 204, GET),
            ("OPTIONS", "/version", 204, GET),
            ("OPTIONS", "/", 204, GET),
            ("OPTIONS", "*", 204, UPLOAD),
            ("OPTIONS", "/nowhere", 404, None),
            ("BREW", "/heartbeat/17", 501, None),
            ("get", "/heartbeat/17", 501, None),
        ] {
            client.send(request(method, path));
            let head = client.answer();
            let got = (head.status, head.field("Allow"), head.closes());
            assert_eq!(got, (status, allow, false), "{method} {path}");
        }
        client.send("GET /heartbeat/17 HTTP/1.1\r\nHost: test\r\nExpect: tea\r\n\r\n");
        let head = client.answer();
        assert_eq!((head.status, head.closes()), (417, false));
        assert_eq!(client.get("/heartbeat/17").status, 200);
        client.finish();
    }
}

#[test]
fn malformed_requests_close_and_nothing_behind_them_is_answered() {
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000));
    let long_head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let many_fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200));
    let cases = [
        (400, "GET /heartbeat/17 HTTP/1.1\r\n\r\n"),
        (400, "GET /heartbeat/17 HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        (400, "GET /heartbeat/17 HTTP/1.1\nHost: a\n\n"),
        (400, "GET /heartbeat/17 HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n"),
        (400, "GET /heartbeat/17 HTTP/1.1\r\nHost : a\r\n\r\n"),
        (400, "GET  /heartbeat/17 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /heartbeat/17\r\n\r\n"),
        (400, "\u{16}\u{3}\u{1}\u{2}\r\n\r\n"),
        (400, "POST /heartbeat/17 HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
        (400, "POST /heartbeat/17 HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n"),
        (
            400,
            "POST /heartbeat/17 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (400, "POST /heartbeat/17 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"),
        (413, "PUT /heartbeat/17 HTTP/1.1\r\nHost: a\r\nContent-Length: 1099511627777\r\n\r\n"),
        (414, long_target.as_str()),
        (431, long_head.as_str()),
        (431, many_fields.as_str()),
        (501, "POST /heartbeat/17 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
        (501, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"),
        (505, "GET /heartbeat/17 HTTP/2.0\r\nHost: a\r\n\r\n"),
    ];
    for server in each_driver() {
        for (status, bytes) in cases {
            let mut client = Client::connect(server.address());
            client.send([bytes, &request("GET", "/heartbeat/16")].concat());
            let head = client.answer();
            assert_eq!((head.status, head.closes()), (status, true), "{bytes:?}");
            client.expect_end();
        }
    }
}

#[test]
fn http_1_0_closes_unless_it_asks_to_be_kept() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        for _ in 0..3 {
            client.send("GET /heartbeat/65536 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
            let head = client.answer();
            assert_eq!((head.status, head.field("Connection")), (200, Some("keep-alive")));
        }
        client.send("GET /nowhere HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        assert_eq!(client.answer().field("Connection"), Some("keep-alive"));
        client.send("GET /heartbeat/17 HTTP/1.0\r\nHost: test\r\n\r\n");
        assert!(client.answer().closes());
        client.expect_end();

        for bytes in [17, 1 << 20] {
            let mut client = Client::connect(server.address());
            client.send(format!("GET /heartbeat/{bytes} HTTP/1.0\r\n\r\n"));
            assert!(client.answer().closes());
            client.expect_end();
        }
    }
}

#[test]
fn a_connection_that_is_asked_to_close_closes_after_its_answer() {
    for server in each_driver() {
        for (method, path, status) in [
            ("GET", "/heartbeat/17", 200),
            ("GET", "/heartbeat/1048576", 200),
            ("GET", "/nowhere", 404),
            ("POST", "/heartbeat/17", 200),
            ("OPTIONS", "*", 204),
        ] {
            let mut client = Client::connect(server.address());
            client.send(format!(
                "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: x, Close\r\n\r\n\
                 GET /heartbeat/16 HTTP/1.1\r\nHost: test\r\n\r\n"
            ));
            let head = client.answer();
            assert_eq!((head.status, head.closes()), (status, true), "{method} {path}");
            client.expect_end();
        }
    }
}

#[test]
fn every_address_of_both_families_is_served_if_none_is_given() {
    for server in each_driver_with(|config| config.address = None) {
        let address = server.address();
        let families = if address.is_ipv6() { vec!["127.0.0.1", "::1"] } else { vec!["127.0.0.1"] };
        for family in families {
            let family: IpAddr = family.parse().unwrap();
            let mut client = Client::connect((family, address.port()).into());
            assert_eq!(client.get("/heartbeat/17").status, 200);
            client.finish();
        }
    }
}
