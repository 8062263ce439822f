//! Headless Chromium, driven by ChromeDriver (W3C WebDriver).

// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A browser with one window; it ends with the test.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

/// The size and the settings of the window.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) is_dark: bool,
}

/// What is missing on this machine to run a browser, if anything is.
pub(crate) fn missing() -> Option<&'static str> {
    let is_there = |name| {
        Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    match (is_there("chromedriver"), is_there("chromium")) {
        (true, true) => None,
        _ => Some("it needs the programs chromium and chromedriver"),
    }
}

impl Browser {
    pub(crate) fn start(port: u16, folder: &Path, window: Window) -> Self {
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut browser = Self { driver, port, session: String::new() };
        let profile = format!("--user-data-dir={}", folder.join("profile").display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &profile,
        ];
        let metrics = json!({"width": window.width, "height": window.height, "pixelRatio": 1.0});
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {
                "args": arguments, "mobileEmulation": {"deviceMetrics": metrics}
            },
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "chromedriver does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        let answer = browser.call("POST", "/session", &capabilities);
        browser.session = answer["sessionId"].as_str().unwrap().to_owned();
        let scheme = if window.is_dark { "dark" } else { "light" };
        let feature = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        browser.command("Emulation.setEmulatedMedia", &json!({"features": feature}));
        browser
    }

    pub(crate) fn open(&self, url: &str) {
        self.call("POST", &self.path("url"), &json!({"url": url}));
    }

    /// Runs the body of a function and returns its result.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.call("POST", &self.path("execute/sync"), &json!({"script": script, "args": []}))
    }

    /// All messages of the console.
    pub(crate) fn console(&self) -> Vec<Value> {
        let log = self.call("POST", &self.path("se/log"), &json!({"type": "browser"}));
        log.as_array().unwrap().clone()
    }

    /// A picture of the page: as much as fits into the window, without the empty rest.
    pub(crate) fn picture(&self, window: Window) -> Vec<u8> {
        let end = "return Math.ceil(document.body.getBoundingClientRect().bottom)";
        let height = self.run(end).as_u64().unwrap().min(window.height.into());
        let clip = json!({"x": 0, "y": 0, "width": window.width, "height": height, "scale": 1});
        let what = json!({"format": "png", "clip": clip, "captureBeyondViewport": true});
        let shot = self.command("Page.captureScreenshot", &what);
        base64(shot["data"].as_str().unwrap())
    }

    fn command(&self, name: &str, parameters: &Value) -> Value {
        let body = json!({"cmd": name, "params": parameters});
        self.call("POST", &self.path("goog/cdp/execute"), &body)
    }

    fn path(&self, rest: &str) -> String {
        format!("/session/{}/{rest}", self.session)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        // ChromeDriver announces that it closes the connection, and does not: the answer ends by
        // its length.
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut field = String::new();
            reader.read_line(&mut field).unwrap();
            if field.trim().is_empty() {
                break;
            }
            if let Some(value) = field.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert!(answer["value"].get("error").is_none(), "{path}: {answer}");
        answer["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.call("DELETE", &format!("/session/{}", self.session), &json!({}));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// RFC 4648 section 4.
fn base64(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        bits = bits << 6 | u32::from(value(letter));
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
