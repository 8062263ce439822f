//! Ways to reach a server: fixed addresses, every address of a name, proxies.

mod process;
mod stub;

use process::{Background, Folder, ask, finish, free_port, program, run, wait_for};
use stub::{Reply, Stub, answer};

const FILE: &str = r#"{"requests": [{"path": "/", "validation": {}}]}"#;

fn ok() -> Stub {
    Stub::start(|_| Reply::Raw(answer(200, "application/json", "{}")))
}

#[test]
fn an_address_of_resolve_replaces_that_of_the_name() {
    let stub = ok();
    let port = stub.port();
    let server = format!("http://name.invalid:{port}");
    let fixed = format!("name.invalid:{port}:127.0.0.1");
    let outcome = ask(&server, FILE, &["--resolve", &fixed]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    assert_eq!(stub.seen()[0].headers["host"], format!("name.invalid:{port}"));
}

#[test]
fn an_invalid_resolve_is_rejected() {
    let outcome = run(&Folder::new(), &["-s", "http://a", "-f", "f", "--resolve", "a:80"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.contains("--resolve: 'a:80' is not HOST:PORT:ADDRESS"), "{outcome:?}");
}

/// The exit code, the requests that a proxy sees for a server, and the messages.
fn by_proxy(server: &str, variables: &[(&str, &str)], more: &[&str]) -> (i32, String, String) {
    let folder = Folder::new();
    let file = folder.file("t.json", FILE);
    let mut command = program(&folder);
    command.args(["-s", server, "-f", &file, "-g", "Json", "--verbose-errors"]).args(more);
    let outcome = finish(command.envs(variables.iter().copied()));
    (outcome.code, outcome.out, outcome.err)
}

#[test]
fn a_proxy_is_asked_for_the_whole_url_and_reported() {
    let proxy = ok();
    let url = proxy.url().replace("http://", "http://user:secret@");
    let (code, _, told) = by_proxy("http://name.invalid:81", &[("http_proxy", &url)], &[]);
    assert_eq!(code, 0, "{told}");
    let seen = proxy.seen().remove(0);
    assert_eq!(seen.path, "http://name.invalid:81/");
    assert_eq!(seen.headers["host"], "name.invalid:81");
    assert_eq!(seen.headers["proxy-authorization"], "Basic dXNlcjpzZWNyZXQ=");
    assert!(told.contains("is reached by the proxy 127.0.0.1:"), "{told}");
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn a_tunnel_is_opened_by_connect_and_its_rejection_reported() {
    let proxy = Stub::start(|_| Reply::RawClose(answer(403, "", "")));
    let (code, out, told) =
        by_proxy("https://name.invalid", &[("https_proxy", &proxy.url())], &["--insecure"]);
    assert_eq!(code, 1, "{told}");
    let seen = proxy.seen().remove(0);
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("CONNECT", "name.invalid:443"));
    assert!(out.contains("cannot be used: it answers 403 to CONNECT name.invalid:443"), "{out}");
}

#[test]
fn a_load_asks_the_server_directly_and_reports_it() {
    let (stub, proxy, folder) = (ok(), ok(), Folder::new());
    let port = stub.port();
    let fixed = format!("name.invalid:{port}:127.0.0.1");
    let server = format!("http://name.invalid:{port}/");
    let mut command = program(&folder);
    command.args(["load", &server, "-n", "1", "--resolve", &fixed]).env("http_proxy", proxy.url());
    let outcome = finish(&mut command);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!((stub.seen().len(), proxy.seen().len()), (1, 0));
    let told = format!("warning: http://name.invalid:{port} is asked directly, not by the proxy");
    assert!(outcome.err.contains(&told), "{outcome:?}");
}

#[test]
fn a_host_in_no_proxy_is_asked_directly() {
    let (stub, proxy) = (ok(), ok());
    let variables = [("http_proxy", proxy.url()), ("no_proxy", "invalid".to_owned())];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let port = stub.port();
    let fixed = format!("name.invalid:{port}:127.0.0.1");
    let server = format!("http://name.invalid:{port}");
    assert_eq!(by_proxy(&server, &variables, &["--resolve", &fixed]).0, 0);
    assert_eq!((stub.seen().len(), proxy.seen().len()), (1, 0));
}

#[test]
fn cookies_are_sent_back_only_if_asked_for() {
    for (more, expected) in [(&[][..], None), (&["--cookies"], Some("id=7".to_owned()))] {
        let stub = Stub::start(|_| {
            let head = "HTTP/1.1 200 OK\r\nSet-Cookie: id=7; Path=/\r\nContent-Length: 0\r\n\r\n";
            Reply::Raw(head.as_bytes().to_vec())
        });
        let file = r#"{"requests": [{"path": "/"}, {"path": "/"}]}"#;
        assert_eq!(ask(&stub.url(), file, more).code, 0);
        let sent: Vec<_> =
            stub.seen().iter().map(|seen| seen.headers.get("cookie").cloned()).collect();
        assert_eq!(sent, [None, expected]);
    }
}

#[test]
fn every_address_of_a_name_is_asked_and_has_a_label() {
    let answering = |_: &stub::Seen| Reply::Raw(answer(200, "application/json", "{}"));
    let first = Stub::start(answering);
    let port = first.port();
    let others =
        [2, 3].map(|last| Stub::start_at(([127, 0, 0, last], port).into(), None, answering));
    let (folder, own) = (Folder::new(), free_port());
    let file = folder.file("t.json", FILE);
    let server = format!("http://name.invalid:{port}");
    let fixed = format!("name.invalid:{port}:127.0.0.1,127.0.0.2,127.0.0.3");
    let mut command = program(&folder);
    command.args(["-s", &server, "-f", &file, "-r", "-p", &own.to_string(), "-l", "50"]);
    command.args(["--resolve-all", "--resolve", &fixed, "-v", "-g", "Json"]);
    let mut background = Background::start(&mut command);
    let label = |last: u8| format!("address=\"127.0.0.{last}:{port}\"");
    let has = |page: &str, name: &str, last| {
        page.lines().any(|line| line.starts_with(name) && line.contains(&label(last)))
    };
    wait_for(own, |page| {
        (1..=3).all(|last| {
            has(page, "WebVDuration_count", last)
                && has(page, "WebVSummary_count", last)
                && has(page, "heartbeat_probe_request_duration_seconds_count", last)
        })
    });
    for stub in [&first].into_iter().chain(&others) {
        assert_eq!(stub.seen()[0].headers["host"], format!("name.invalid:{port}"));
    }
    background.line();
    let line: serde_json::Value = serde_json::from_str(&background.line()).unwrap();
    assert!(line["Address"].as_str().unwrap().starts_with("127.0.0."), "{line}");
    assert_eq!(line["Server"], server);
}

#[test]
fn a_name_without_address_is_reported_even_with_resolve_all() {
    let (folder, own) = (Folder::new(), free_port());
    let file = folder.file("t.json", FILE);
    let mut command = program(&folder);
    command.args(["-s", "http://no-such-host.invalid", "-f", &file, "-r"]);
    command.args(["-p", &own.to_string(), "-l", "100", "--resolve-all", "-t", "300"]);
    let _background = Background::start(&mut command);
    wait_for(own, |page| {
        let line = page.lines().find(|line| line.contains("kind=\"resolve\""));
        line.is_some_and(|line| !line.ends_with(" 0"))
    });
}
