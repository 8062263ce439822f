//! `heartbeat-probe path` through common proxies: nginx, HAProxy, Caddy, TLS.
//!
//! A proxy that is not installed is left out, with a message.

// A failure in a helper function is a failure of the test.
#![allow(clippy::unwrap_used)]

mod authority;
mod process;
mod real;
mod stub;

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use process::{Folder, free_port, run};
use rcgen::CertificateParams;
use serde_json::Value;
use stub::{Reply, Stub, answer};

/// A proxy that runs until the end of the test.
struct Proxy {
    child: Child,
    url: String,
    folder: Folder,
}

impl Proxy {
    /// Starts a program with a configuration for this port; `None` if it is not installed.
    fn start(
        program: &str,
        arguments: &[&str],
        configuration: impl Fn(u16, &Folder) -> String,
    ) -> Option<Self> {
        let (port, folder) = (free_port(), Folder::new());
        let file = folder.file("configuration", &configuration(port, &folder));
        let mut command = Command::new(program);
        command.args(arguments).arg(&file).current_dir(folder.path());
        command.env("HOME", folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(child) = command.spawn() else {
            eprintln!("LEFT OUT: this test needs the program {program}");
            return None;
        };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "{program} does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Self { child, url: format!("http://127.0.0.1:{port}"), folder })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address of the server of this tree.
fn server() -> String {
    real::start([127, 0, 0, 1].into(), 0, || {}).to_string()
}

/// The report, the codes of its findings, and the exit code.
fn ask(url: &str, more: &[&str]) -> (Value, Vec<String>, i32) {
    let folder = Folder::new();
    if std::env::var_os("PATH_SHOW").is_some() {
        let mut arguments = vec!["path", url];
        arguments.extend(more);
        println!("{}", run(&folder, &arguments).out);
    }
    let mut arguments = vec!["path", url, "--json"];
    arguments.extend(more);
    let outcome = run(&folder, &arguments);
    println!("{}{}", outcome.out, outcome.err);
    let report: Value = serde_json::from_str(&outcome.out).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let codes = findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned());
    let codes = codes.collect();
    (report, codes, outcome.code)
}

fn nginx(more: &str) -> Option<Proxy> {
    let (server, more) = (server(), more.to_owned());
    Proxy::start("nginx", &["-e", "stderr", "-c"], move |port, folder| {
        let folder = folder.path().display();
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {folder}/{name};"))
            .concat();
        format!(
            "daemon off; master_process off; pid {folder}/pid; events {{}}
            http {{ access_log off; {paths} {more}
                server {{ listen 127.0.0.1:{port}; location / {{
                    proxy_pass http://{server}; proxy_http_version 1.1;
                    proxy_set_header Connection \"\"; }} }} }}"
        )
    })
}

#[test]
fn nginx_with_gzip_and_buffering_is_found() {
    let gzip = "gzip on; gzip_types text/plain; gzip_proxied any;";
    let Some(proxy) = nginx(gzip) else { return };
    let (report, codes, code) = ask(&proxy.url, &["--duration", "5s", "--max-bytes", "64M"]);
    assert_eq!(codes, ["compressed", "body-capped", "upload-buffered"]);
    assert_eq!(code, 0);
    let middle = &report["middle"];
    assert!(middle["via"].as_str().unwrap().starts_with("nginx"));
    assert_eq!((&middle["compresses"], &middle["buffers_uploads"]), (&true.into(), &true.into()));
    assert_eq!(middle["body_max"], 1 << 20);
    assert_eq!(report["server"]["node"], real::NODE);
    assert_eq!(report["mtu"]["down"]["path_mtu"], Value::Null);
    for name in ["down_1", "down_8", "up_1", "up_8"] {
        assert!(report["throughput_bps"][name].as_u64().unwrap() > 1_000_000, "{name}");
    }
}

#[test]
fn nginx_that_streams_is_no_finding() {
    let streams = "proxy_request_buffering off; client_max_body_size 0;";
    let Some(proxy) = nginx(streams) else { return };
    let (report, codes, code) = ask(&proxy.url, &["--quick", "--strict"]);
    assert_eq!((codes.len(), code), (0, 0));
    assert_eq!(report["middle"]["compresses"], false);
    assert!(proxy.folder.path().exists());
}

#[test]
fn haproxy_is_found_by_the_case_of_its_field_names() {
    let server = server();
    let proxy = Proxy::start("haproxy", &["-f"], move |port, _| {
        format!(
            "defaults\n mode http\n timeout client 30s\n timeout server 30s\n timeout connect 5s\n\
             frontend f\n bind 127.0.0.1:{port}\n default_backend b\n\
             backend b\n server s {server}\n"
        )
    });
    let Some(proxy) = proxy else { return };
    let (report, codes, code) = ask(&proxy.url, &["--quick", "--strict"]);
    assert_eq!((codes.len(), code), (0, 0));
    assert_eq!(report["middle"]["buffers_uploads"], false);
    let folder = Folder::new();
    let text = run(&folder, &["path", &proxy.url, "--quick"]).out;
    assert!(text.contains("field names in lower case"), "{text}");
}

#[test]
fn caddy_is_found_by_its_name() {
    let server = server();
    let proxy = Proxy::start("caddy", &["run", "--adapter", "caddyfile", "--config"], {
        move |port, _| {
            format!(
                "{{\n admin off\n auto_https off\n}}\n\
                 http://127.0.0.1:{port} {{\n reverse_proxy {server}\n}}\n"
            )
        }
    });
    let Some(proxy) = proxy else { return };
    let (report, codes, code) = ask(&proxy.url, &["--quick", "--strict"]);
    assert_eq!((codes.len(), code), (0, 0));
    assert_eq!(report["middle"]["via"], "Caddy");
}

/// A Heartbeat behind TLS, and the file with the authority that has signed its certificate.
fn secured(days: i64) -> (Stub, Folder, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let now = std::time::SystemTime::now();
    let end = now + Duration::from_secs(u64::try_from(days * 86_400 + 3600).unwrap());
    params.not_before = now.into();
    params.not_after = end.into();
    let (acceptor, authority) = authority::acceptor("authority of a proxy", &params);
    let stub = Stub::start_with(Some(acceptor), |seen| {
        let path = seen.path.split('?').next().unwrap();
        let size = path.strip_prefix("/heartbeat/").and_then(|size| size.parse().ok());
        match size {
            // In one write: the second of two would wait for an acknowledgement.
            Some(size) => {
                let body: String = "0123456789ABCDEF".chars().cycle().take(size).collect();
                Reply::Raw(answer(200, "", &body))
            }
            None => Reply::Raw(answer(404, "", "")),
        }
    });
    let folder = Folder::new();
    let file = folder.file("ca.pem", &authority);
    (stub, folder, file)
}

#[test]
fn a_private_authority_is_trusted_if_it_is_named() {
    let (stub, _folder, file) = secured(90);
    let url = format!("https://localhost:{}", stub.port());
    let (report, codes, code) = ask(&url, &["--ca-file", &file, "--quick", "--strict"]);
    assert_eq!((codes.len(), code), (0, 0));
    assert_eq!(report["tls"]["trusted"], true);
    assert_eq!(report["tls"]["version"], "TLSv1.3");
    assert!(report["tls"]["expires"].as_str().unwrap().ends_with('Z'));
    assert!(report["mtu"]["down"]["largest"].as_u64().unwrap() > 1500);
    let (report, _, _) = ask(&url, &["--ca-file", &file, "--duration", "5s"]);
    for name in ["down_1", "down_8", "up_1", "up_8"] {
        assert!(report["throughput_bps"][name].as_u64().unwrap() > 1_000_000, "{name}");
    }
}

#[test]
fn an_untrusted_or_expiring_certificate_is_found_and_the_rest_is_measured() {
    let (stub, _folder, _) = secured(5);
    let (_other, _other_folder, other_file) = secured(5);
    let url = format!("https://localhost:{}", stub.port());
    let (report, codes, code) = ask(&url, &["--ca-file", &other_file, "--quick"]);
    assert_eq!(codes, ["tls-untrusted", "tls-expires-soon"]);
    assert_eq!(code, 1);
    assert_eq!(report["tls"]["trusted"], false);
    assert!(report["latency_us"]["p50"].as_f64().unwrap() > 0.0);
}
