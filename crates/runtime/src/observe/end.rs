//! Owns the reasons for the end of a connection, and their names in the metrics.

use crate::deadlines::Wait;

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer closed between requests, or asked to close.
    Peer,
    /// The peer closed or reset the connection inside a request or an answer.
    Aborted,
    /// A message was not understood.
    Rejected,
    /// A refused body was not read.
    BodyUnread,
    /// A wait took too long.
    TimedOut(Wait),
    /// The server is draining.
    Drained,
    /// It was above the limit of connections: it was answered once, with 503 unless it asked for
    /// the health of the server.
    TurnedDown,
}

impl End {
    /// The names of the reasons in the metrics.
    pub(crate) const REASONS: [&'static str; 9] = [
        "peer",
        "aborted",
        "rejected",
        "body_unread",
        "idle_timeout",
        "header_timeout",
        "stall_timeout",
        "drained",
        "turned_down",
    ];

    /// The position of this end in [`End::REASONS`].
    pub(crate) fn reason_index(self) -> usize {
        match self {
            Self::Peer => 0,
            Self::Aborted => 1,
            Self::Rejected => 2,
            Self::BodyUnread => 3,
            Self::TimedOut(Wait::Idle) => 4,
            Self::TimedOut(Wait::Head) => 5,
            Self::TimedOut(Wait::Receive | Wait::Send | Wait::Linger) => 6,
            Self::Drained => 7,
            Self::TurnedDown => 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_own_name() {
        let named = [
            (End::Peer, "peer"),
            (End::Aborted, "aborted"),
            (End::Rejected, "rejected"),
            (End::BodyUnread, "body_unread"),
            (End::TimedOut(Wait::Idle), "idle_timeout"),
            (End::TimedOut(Wait::Head), "header_timeout"),
            (End::TimedOut(Wait::Receive), "stall_timeout"),
            (End::TimedOut(Wait::Send), "stall_timeout"),
            (End::TimedOut(Wait::Linger), "stall_timeout"),
            (End::Drained, "drained"),
            (End::TurnedDown, "turned_down"),
        ];
        for (end, name) in named {
            assert_eq!(End::REASONS[end.reason_index()], name, "{end:?}");
        }
        for reason in End::REASONS {
            assert!(named.iter().any(|(_, name)| *name == reason), "{reason}");
        }
    }
}
