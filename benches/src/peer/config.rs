//! Owns the configurations of the peers, each as the peer's documentation recommends for speed.

use std::io;
use std::net::SocketAddr;

use super::{INLINE_BYTES_MAX, Work, Workshop};

/// Connections that nginx and h2o allow, and descriptors that nginx asks for.
const CONNECTIONS_MAX: usize = 16_000;

/// Connections that haproxy allows. It needs two descriptors for each, and starts only if it gets
/// them.
pub(super) const HAPROXY_CONNECTIONS_MAX: usize = 4_000;

/// nginx: small answers by `return`, longer ones by sendfile from files whose descriptors stay
/// open.
pub(super) fn nginx(address: SocketAddr, work: &Work, shop: &Workshop) -> io::Result<String> {
    let folder = shop.folder().display();
    let inline = if work.bytes <= INLINE_BYTES_MAX {
        format!(
            "location = /heartbeat/{0} {{ return 200 \"{1}\"; }}",
            work.bytes,
            pattern(work.bytes)
        )
    } else {
        String::new()
    };
    let files = shop.file(work.bytes)?;
    let files = files.display();
    let threads = work.threads;
    let cpus = if threads > 1 { "worker_cpu_affinity auto;" } else { "" };
    Ok(format!(
        "worker_processes {threads}; {cpus} worker_rlimit_nofile {CONNECTIONS_MAX};
daemon off; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections {CONNECTIONS_MAX}; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000;
  keepalive_timeout 3600s; reset_timedout_connection on; server_tokens off;
  open_file_cache max=100 inactive=3600s; client_max_body_size 0;
  client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi; uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  server {{ listen {address} reuseport backlog=4096; default_type text/plain;
    {inline} location / {{ root {files}; }} }}
}}
"
    ))
}

/// haproxy: answers by `http-request return`, with the content in the configuration.
pub(super) fn haproxy(address: SocketAddr, work: &Work) -> String {
    format!(
        "global
  maxconn {HAPROXY_CONNECTIONS_MAX}
  nbthread {}
defaults
  mode http
  timeout client 1h
  timeout server 1h
  timeout connect 5s
frontend all
  bind {address} backlog 4096
  http-request return status 200 content-type text/plain string {}
",
        work.threads,
        pattern(work.bytes)
    )
}

/// h2o: answers from files by `file.dir`.
pub(super) fn h2o(address: SocketAddr, work: &Work, shop: &Workshop) -> io::Result<String> {
    Ok(format!(
        "num-threads: {}
max-connections: {CONNECTIONS_MAX}
{}listen:
  host: {}
  port: {}
http1-request-timeout: 3600
hosts:
  default:
    paths:
      /:
        file.dir: {}
",
        work.threads,
        if shop.is_root() { "user: root\n" } else { "" },
        address.ip(),
        address.port(),
        shop.file(work.bytes)?.display()
    ))
}

/// caddy: small answers by `respond`, longer ones by `file_server`.
pub(super) fn caddy(address: SocketAddr, work: &Work, shop: &Workshop) -> io::Result<String> {
    let answer = if work.bytes <= INLINE_BYTES_MAX {
        format!("respond \"{}\" 200", pattern(work.bytes))
    } else {
        format!("root * {}\n  file_server", shop.file(work.bytes)?.display())
    };
    Ok(format!(
        "{{\n  admin off\n  auto_https off\n}}\nhttp://{address} {{\n  bind {}\n  {answer}\n}}\n",
        address.ip()
    ))
}

/// The payload of Heartbeat's answers.
fn pattern(bytes: u64) -> String {
    "0123456789ABCDEF".chars().cycle().take(bytes as usize).collect()
}
