//! Why a request counts as bad, in one word: for labels, and for the result of `load`.

use crate::client::ClientError;

/// What is wrong with a request or its answer; if several things are, the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The host's name has no address.
    Resolve,
    /// No connection could be made.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The timeout expired before the answer was complete.
    Timeout,
    /// The connection closed before the answer was complete.
    Truncated,
    /// The connection broke.
    Broken,
    /// The answer is not HTTP.
    Protocol,
    /// The answer has another status.
    Status,
    /// The answer has another content type.
    ContentType,
    /// The answer has another length.
    Length,
    /// The answer has other bytes.
    Pattern,
    /// The answer fails another rule of its test file.
    Validation,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Resolve,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Truncated,
        Self::Broken,
        Self::Protocol,
        Self::Status,
        Self::ContentType,
        Self::Length,
        Self::Pattern,
        Self::Validation,
    ];

    /// Its name, which is fit for a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Truncated => "truncated",
            Self::Broken => "broken",
            Self::Protocol => "protocol",
            Self::Status => "status",
            Self::ContentType => "content_type",
            Self::Length => "length",
            Self::Pattern => "pattern",
            Self::Validation => "validation",
        }
    }

    /// Whether the answer was lost, so that there is no complete one.
    pub fn lost_the_answer(self) -> bool {
        self <= Self::Protocol
    }
}

impl From<&ClientError> for Fault {
    fn from(error: &ClientError) -> Self {
        match error {
            ClientError::Resolve { .. } => Self::Resolve,
            ClientError::Connect { .. } | ClientError::Proxy { .. } => Self::Connect,
            ClientError::Tls { .. } => Self::Tls,
            ClientError::Timeout(_) => Self::Timeout,
            ClientError::Truncated { .. } => Self::Truncated,
            ClientError::NoHttp2(_) => Self::Protocol,
            ClientError::Http(error) if error.is_parse() => Self::Protocol,
            ClientError::Http(_) => Self::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_place_and_a_name_of_its_own() {
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, index);
        }
        let mut names = Fault::ALL.map(Fault::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn faults_before_a_complete_answer_lose_the_answer() {
        assert!(Fault::Protocol.lost_the_answer());
        assert!(!Fault::Status.lost_the_answer());
    }
}
