//! Parses what a Heartbeat says about itself (`/version?format=json`). Must not accept the answer
//! of another server.

use serde::Deserialize;

/// The answer of `/version?format=json`. A server that omits a key whose field here is no `Option`
/// is no Heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct About {
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) node: Option<String>,
    #[serde(default)]
    pub(crate) zone: Option<String>,
    /// Its I/O driver.
    pub(crate) driver: String,
    /// The way in which large answers are sent.
    pub(crate) send: String,
    /// The path below which it serves payloads; it begins and ends with a slash.
    pub(crate) uri: String,
    /// The size of the smallest payload in bytes.
    pub(crate) min: u64,
    /// The size of the largest payload in bytes.
    pub(crate) max: u64,
}

impl About {
    /// Reads the answer; `None` if it is not that of a Heartbeat.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let about: Self = serde_json::from_slice(body).ok()?;
        (about.min <= about.max && about.uri.starts_with('/')).then_some(about)
    }
}

/// A whole answer has some hundred bytes; a longer one is another program's.
pub(crate) const ABOUT_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_heartbeat_says() {
        let body = br#"{"version":"0.6.0","revision":"x","driver":"uring","send":"splice",
            "threads":2,"uri":"/heartbeat/","min":1,"max":1048576,"node":"n1"}"#;
        let about = About::read(body).unwrap();
        assert_eq!((about.version.as_str(), about.driver.as_str()), ("0.6.0", "uring"));
        assert_eq!((about.uri.as_str(), about.min, about.max), ("/heartbeat/", 1, 1 << 20));
        assert_eq!((about.node.as_deref(), about.zone), (Some("n1"), None));
    }

    #[test]
    fn another_server_is_no_heartbeat() {
        let others = [
            "",
            "0.6.0\n",
            r#"{"version":"1.0"}"#,
            r#"{"version":"1","driver":"a","send":"b","uri":"x","min":1,"max":2}"#,
            r#"{"version":"1","driver":"a","send":"b","uri":"/x/","min":3,"max":2}"#,
        ];
        for body in others {
            assert_eq!(About::read(body.as_bytes()), None, "{body}");
        }
    }
}
