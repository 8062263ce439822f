//! How a server is reached: fixed addresses, every address of a name, proxies.

mod process;
mod stub;

use process::{Folder, ask, run};
use stub::{Reply, Stub, answer};

const FILE: &str = r#"{"requests": [{"path": "/", "validation": {}}]}"#;

fn ok() -> Stub {
    Stub::start(|_| Reply::Raw(answer(200, "application/json", "{}")))
}

#[test]
fn an_address_given_by_resolve_replaces_that_of_the_name() {
    let stub = ok();
    let port = stub.port();
    let server = format!("http://name.invalid:{port}");
    let fixed = format!("name.invalid:{port}:127.0.0.1");
    let outcome = ask(&server, FILE, &["--resolve", &fixed]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    assert_eq!(stub.seen()[0].headers["host"], format!("name.invalid:{port}"));
}

#[test]
fn a_resolve_that_is_none_is_refused() {
    let outcome = run(&Folder::new(), &["-s", "http://a", "-f", "f", "--resolve", "a:80"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.contains("--resolve: 'a:80' is not HOST:PORT:ADDRESS"), "{outcome:?}");
}
