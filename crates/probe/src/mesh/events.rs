//! Logs one line for each change, and none while nothing changes.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use crate::output::Output;

/// Writes events to standard output.
#[derive(Clone)]
pub(crate) struct Events {
    output: Output,
    json: bool,
}

/// A change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Event {
    /// What has changed.
    #[serde(rename = "event")]
    pub(crate) name: &'static str,
    /// The neighbour, if it has reported its name.
    pub(crate) node: Option<String>,
    /// Its zone.
    pub(crate) zone: Option<String>,
    /// Its address; `None` if the event is not about a neighbour.
    pub(crate) address: Option<IpAddr>,
    /// Why.
    pub(crate) error: Option<String>,
}

#[derive(Serialize)]
struct Dated<'a> {
    date: String,
    #[serde(flatten)]
    event: &'a Event,
}

impl Events {
    /// Writes events as text, or as one JSON object per line.
    pub(crate) fn new(output: Output, json: bool) -> Self {
        Self { output, json }
    }

    /// Writes one event.
    pub(crate) async fn tell(&self, event: &Event) {
        let date = format!("{:.3}", Timestamp::now());
        let line = if self.json { json(date, event) } else { text(&date, event) };
        self.output.line(line).await;
    }
}

fn json(date: String, event: &Event) -> String {
    // Keys are text and values are text or null, so JSON can represent them all.
    serde_json::to_string(&Dated { date, event }).unwrap_or_default()
}

fn text(date: &str, event: &Event) -> String {
    let mut line = format!("{date} {}", event.name);
    let address = event.address.map(|address| address.to_string());
    for part in [event.node.as_deref(), address.as_deref()].into_iter().flatten() {
        line.push(' ');
        line.push_str(part);
    }
    if let Some(error) = &event.error {
        line.push_str(": ");
        line.push_str(error);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            name: "down",
            node: Some("n2".to_owned()),
            zone: None,
            address: Some(IpAddr::from([10, 0, 0, 2])),
            error: Some("GET 17: no connection within 5s".to_owned()),
        }
    }

    #[test]
    fn a_line_has_the_change_the_node_and_the_reason() {
        let line = text("D", &event());
        assert_eq!(line, "D down n2 10.0.0.2: GET 17: no connection within 5s");
        let bare = Event { name: "lookup-succeeded", ..Event::default() };
        assert_eq!(text("D", &bare), "D lookup-succeeded");
    }

    #[test]
    fn the_json_has_the_same() {
        assert_eq!(
            json("D".to_owned(), &event()),
            r#"{"date":"D","event":"down","node":"n2","zone":null,"address":"10.0.0.2","error":"#
                .to_owned()
                + r#""GET 17: no connection within 5s"}"#
        );
    }
}
