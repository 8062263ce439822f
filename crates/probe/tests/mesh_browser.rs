//! The pages in a browser: readable in the light and the dark scheme, on a screen and on a phone.

// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod browser;
mod fleet;
mod name_server;
mod nodes;
mod process;

use std::process::Command;
use std::sync::Arc;

use browser::{Browser, Window};
use fleet::Fleet;
use name_server::{NameServer, Zone};
use nodes::{Nodes, node, number_of, server, wait_for};
use process::{Background, Folder, free_port, program};

const DESK: Window = Window { width: 1200, height: 900, is_dark: false };
const DARK: Window = Window { is_dark: true, ..DESK };
const PHONE: Window = Window { width: 390, height: 844, is_dark: false };
const WINDOWS: [(&str, Window); 3] = [("light", DESK), ("dark", DARK), ("phone", PHONE)];

/// Every text whose contrast to its background is below the 4.5 to 1 of WCAG 2.2.
const CONTRAST: &str = r#"
const rgb = text => (text.match(/[\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => {
  const part = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
};
const behind = element => {
  for (let e = element; e; e = e.parentElement) {
    const color = rgb(getComputedStyle(e).backgroundColor);
    if (color.length === 3 || color[3] > 0) return color;
  }
  return [255, 255, 255];
};
const wrong = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || element.closest('svg')) continue;
  const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) wrong.push([ratio.toFixed(2), walker.currentNode.data.slice(0, 40)]);
}
return wrong;
"#;

struct Pages {
    folder: Folder,
    at: String,
    _names: NameServer,
    _nodes: Nodes,
    _prober: Background,
}

impl Pages {
    /// Starts the prober of node 0 of the fleet, and everything that it asks.
    fn start(fleet: &Arc<Fleet>) -> Self {
        let folder = Folder::new();
        let addresses = fleet.addresses();
        let zone = Zone { name: "mesh.test".to_owned(), addresses, ..Zone::default() };
        let names = NameServer::local(zone);
        let asked = Arc::clone(fleet);
        let nodes = Nodes::start(move |own, path| asked.answer(own, path));
        let (port, peer_port) = (free_port().to_string(), nodes.port.to_string());
        let mut command = program(&folder);
        command.args(["mesh", &format!("mesh.test.:{peer_port}"), "--port", &port]);
        command.args(["--dns", &names.address.to_string(), "--peer-port", &peer_port]);
        command.args(["--self", &node(0).to_string()]);
        command.args(["--node", &Fleet::name(0), "--zone", Fleet::zone(0)]);
        command.args(["--interval", "100ms", "--timeout", "1s"]);
        let prober = Background::start(&mut command);
        let at = format!("127.0.0.1:{port}");
        wait_for(&at, "/", |page| {
            let said = ["no answer", "large packets", "is leaving", "MTU is 1400", "sent again"];
            said.iter().all(|said| page.contains(said)) && page.contains("the latest 20 requests")
        });
        wait_for(&at, "/cluster", |page| page.contains("Who sees whom"));
        Self { folder, at, _names: names, _nodes: nodes, _prober: prober }
    }

    /// Opens a page in each window and checks that nothing hinders a reader.
    fn look(&self, name: &str, path: &str) {
        for (kind, window) in WINDOWS {
            let browser = Browser::start(free_port(), self.folder.path(), window);
            browser.open(&format!("http://{}{path}", self.at));
            let wrong = browser.run(CONTRAST);
            assert_eq!(wrong, serde_json::json!([]), "{name}, {kind}: too little contrast");
            let width = browser.run("return document.documentElement.scrollWidth");
            assert!(
                width.as_u64() <= Some(u64::from(window.width)),
                "{name}, {kind}: {width} wide"
            );
            let text = browser.run("return document.body.innerText.length");
            assert!(text.as_u64() > Some(100), "{name}, {kind}: {text} letters");
            let console = browser.console();
            assert!(console.is_empty(), "{name}, {kind}: {console:?}");
            self.keep(name, kind, &browser.picture(window));
        }
    }

    /// Stores a picture in the folder HEARTBEAT_PICTURES, if it is set, for the documentation.
    fn keep(&self, name: &str, kind: &str, picture: &[u8]) {
        assert!(picture.starts_with(b"\x89PNG"), "{name}, {kind}: no picture");
        if let Some(folder) = std::env::var_os("HEARTBEAT_PICTURES") {
            let path = std::path::Path::new(&folder).join(format!("{name}-{kind}.png"));
            std::fs::write(path, picture).unwrap();
        }
    }
}

fn is_left_out() -> bool {
    let missing = browser::missing();
    if let Some(why) = missing {
        eprintln!("left out: pages in a browser: {why}");
    }
    missing.is_some()
}

#[test]
fn the_pages_of_a_mesh_are_readable_in_the_light_the_dark_and_on_a_phone() {
    if is_left_out() {
        return;
    }
    let fleet = Arc::new(Fleet::new(24));
    let pages = Pages::start(&fleet);
    pages.look("mesh-node", "/");
    pages.look("mesh-cluster", "/cluster");
    pages.look("mesh-pair", &format!("/cluster?from={}&to={}", node(0), fleet.black_hole()));
}

#[test]
fn a_thousand_nodes_are_one_readable_page() {
    if is_left_out() {
        return;
    }
    let pages = Pages::start(&Arc::new(Fleet::new(1000)));
    pages.look("mesh-thousand", "/cluster");
    let browser = Browser::start(free_port(), pages.folder.path(), DESK);
    // By then the reports that were gathered for the last page are too old.
    std::thread::sleep(std::time::Duration::from_secs(4));
    browser.open(&format!("http://{}/cluster", pages.at));
    let timing = browser.run(
        "const t = performance.getEntriesByType('navigation')[0]; \
         return [t.responseStart, t.responseEnd, t.loadEventEnd, t.decodedBodySize]",
    );
    println!("a thousand nodes: first byte, last byte, loaded (ms), bytes: {timing}");
    assert!(timing[3].as_u64().is_some_and(|bytes| bytes < 500_000), "{timing}");
}

#[test]
fn the_page_of_the_loop_is_readable_in_the_light_the_dark_and_on_a_phone() {
    if is_left_out() {
        return;
    }
    let folder = Folder::new();
    let nodes = Nodes::start(|own, path| match number_of(own) {
        5 => None,
        _ => Some(server(path, "n", "a")),
    });
    let sizes: Vec<_> = [17, 1024, 65_536, 1_048_576]
        .iter()
        .map(|size| {
            let path = format!("/heartbeat/{size}");
            serde_json::json!({"path": path, "validation": {"contentType": "text/plain"}})
        })
        .collect();
    let file = serde_json::json!({"requests": sizes}).to_string();
    let port = free_port().to_string();
    let mut command: Command = program(&folder);
    command.args([
        "-f",
        &folder.file("t.json", &file),
        "-r",
        "-p",
        &port,
        "-l",
        "20",
        "-g",
        "None",
    ]);
    command.arg("-s");
    command.args([1, 5].map(|number| format!("http://{}:{}", node(number), nodes.port)));
    let prober = Background::start(&mut command);
    let at = format!("127.0.0.1:{port}");
    wait_for(&at, "/", |page| page.matches("class=\"spark\"").count() == 8);
    let names = NameServer::local(Zone::default());
    let pages = Pages { folder, at, _names: names, _nodes: nodes, _prober: prober };
    pages.look("loop", "/");
}
