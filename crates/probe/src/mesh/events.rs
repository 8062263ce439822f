//! What is logged: one line for each change, none while nothing changes.

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

/// Something has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Event {
    /// What has.
    #[serde(rename = "event")]
    pub(crate) name: &'static str,
    /// The neighbour, if it has told its name.
    pub(crate) node: Option<String>,
    /// Its zone.
    pub(crate) zone: Option<String>,
    /// Its address; none if the event is not about a neighbour.
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
    /// As text, or as one JSON object a line.
    pub(crate) fn new(output: Output, json: bool) -> Self {
        Self { output, json }
    }

    /// Writes one.
    pub(crate) async fn tell(&self, event: &Event) {
        let date = format!("{:.3}", Timestamp::now());
        let line = if self.json { json(date, event) } else { text(&date, event) };
        self.output.line(line).await;
    }
}

fn json(date: String, event: &Event) -> String {
    // Keys are text and values are text or null: there is nothing that JSON could not hold.
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
    fn says_what_happened_to_whom_and_why() {
        let line = text("D", &event());
        assert_eq!(line, "D down n2 10.0.0.2: GET 17: no connection within 5s");
        let bare = Event { name: "lookup-succeeded", ..Event::default() };
        assert_eq!(text("D", &bare), "D lookup-succeeded");
    }

    #[test]
    fn says_the_same_in_json() {
        assert_eq!(
            json("D".to_owned(), &event()),
            r#"{"date":"D","event":"down","node":"n2","zone":null,"address":"10.0.0.2","error":"#
                .to_owned()
                + r#""GET 17: no connection within 5s"}"#
        );
    }
}
