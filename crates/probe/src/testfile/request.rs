//! Builds the HTTP request of a test file's request.

use hyper::body::Bytes;

use crate::client::{Request, RequestBody, RequestError, Target};
use crate::testfile::{Case, CaseBody};

impl Case {
    /// The request to `target`, with `prefix` before its path.
    ///
    /// # Errors
    ///
    /// A path or header that cannot be written in HTTP.
    pub(crate) fn request(&self, target: &Target, prefix: &str) -> Result<Request, RequestError> {
        let mut headers = Vec::with_capacity(self.headers.len() + 1);
        headers.extend(self.content_type());
        headers.extend(self.headers.iter().cloned());
        let body = match &self.body {
            CaseBody::Empty => RequestBody::Empty,
            CaseBody::Text(text) => RequestBody::Bytes(Bytes::from(text.clone())),
            CaseBody::Generated(length) => RequestBody::pattern(*length),
        };
        let path = encoded(&format!("{prefix}{}", self.path));
        Request::new(target, &self.verb, &path, &headers, body)
    }

    /// Declares a body of text as JSON if the file does not name its type.
    pub(crate) fn default_to_json(&mut self) {
        if matches!(self.body, CaseBody::Text(_)) {
            self.content_media_type.get_or_insert_with(|| "application/json".to_owned());
        }
    }

    // As .NET writes it for text: with the charset UTF-8, and `text/plain` by default.
    fn content_type(&self) -> Option<(String, String)> {
        let media_type = self.content_media_type.as_deref().map(str::trim);
        let media_type = media_type.filter(|text| !text.is_empty());
        let value = match (&self.body, media_type) {
            (CaseBody::Empty, _) => return None,
            (CaseBody::Generated(_), media_type) => {
                media_type.unwrap_or("application/octet-stream").to_owned()
            }
            (CaseBody::Text(_), Some(whole)) if whole.contains(';') => whole.to_owned(),
            (CaseBody::Text(_), media_type) => {
                format!("{}; charset=utf-8", media_type.unwrap_or("text/plain"))
            }
        };
        Some(("Content-Type".to_owned(), value))
    }
}

// Encodes only bytes that a request-target must not contain; the rest is sent as it is written.
fn encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for &byte in path.as_bytes() {
        if byte.is_ascii_graphic() && !br#""<>\^`{|}#"#.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_sent_as_written_except_for_bytes_that_are_not_allowed() {
        assert_eq!(encoded("/a%20b/../c?d=e&f=[1]"), "/a%20b/../c?d=e&f=[1]");
        assert_eq!(encoded("/a b/ä\"#"), "/a%20b/%C3%A4%22%23");
    }

    #[test]
    fn the_media_type_is_sent_only_with_a_body() {
        let body = || CaseBody::Text("x".to_owned());
        let told = |body, media_type: Option<&str>| {
            let content_media_type = media_type.map(str::to_owned);
            let case = Case { body, content_media_type, ..Case::default() };
            case.content_type().map(|(_, value)| value)
        };
        assert_eq!(told(CaseBody::Empty, Some("a/b")), None);
        assert_eq!(told(body(), None).unwrap(), "text/plain; charset=utf-8");
        assert_eq!(told(body(), Some("a/b")).unwrap(), "a/b; charset=utf-8");
        assert_eq!(told(body(), Some("a/b; x=y")).unwrap(), "a/b; x=y");
        assert_eq!(told(CaseBody::Generated(9), None).unwrap(), "application/octet-stream");
    }
}
