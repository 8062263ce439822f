//! The name and zone that a neighbour reports. Must not trust them: they are limited and printable.

use serde::Deserialize;

/// Node and zone, as `/version?format=json` reports them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Identity {
    /// `None` if the server was not given a name.
    #[serde(default)]
    pub(crate) node: Option<String>,
    /// `None` if the server was not given a zone.
    #[serde(default)]
    pub(crate) zone: Option<String>,
}

impl Identity {
    /// Parses the answer; `None` if it is not a JSON object.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let told: Self = serde_json::from_slice(body).ok()?;
        Some(Self { node: told.node.and_then(clean), zone: told.zone.and_then(clean) })
    }
}

/// A name that is fit for a label and for a page; `None` if it is empty.
pub(crate) fn clean(name: String) -> Option<String> {
    let mut name: String = name.chars().filter(|letter| !letter.is_control()).collect();
    while name.len() > NAME_BYTES_MAX {
        name.pop();
    }
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The longest name of a Kubernetes node (a DNS subdomain).
pub(crate) const NAME_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<(Option<String>, Option<String>)> {
        Identity::read(body.as_bytes()).map(|told| (told.node, told.zone))
    }

    #[test]
    fn reads_node_and_zone_and_ignores_the_rest() {
        let body = r#"{"version":"0.6.0","node":"n1","zone":"a","threads":2}"#;
        assert_eq!(read(body), Some((Some("n1".to_owned()), Some("a".to_owned()))));
        assert_eq!(read(r#"{"version":"0.5.0"}"#), Some((None, None)));
        assert_eq!(read(r#"{"node":"","zone":null}"#), Some((None, None)));
    }

    #[test]
    fn anything_else_than_such_an_object_has_no_identity() {
        for body in ["", "0.5.0\n", "5", "{\"node\":5}", "{"] {
            assert_eq!(read(body), None, "{body}");
        }
    }

    #[test]
    fn limits_names_and_drops_control_characters() {
        assert_eq!(clean("a\n\u{7}b".to_owned()), Some("ab".to_owned()));
        assert_eq!(clean("n".repeat(253)).map(|name| name.len()), Some(253));
        assert_eq!(clean("n".repeat(254)).map(|name| name.len()), Some(253));
        assert_eq!(clean("\u{e9}".repeat(200)).map(|name| name.len()), Some(252));
    }
}
