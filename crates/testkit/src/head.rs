//! Owns the head of an answer and the rules that every answer of the server keeps.

/// The Cache-Control of every 200.
const CACHE_CONTROL: &str = "no-cache, no-transform";

/// The longest head that this client accepts, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 512;

/// The fields that an answer may have, in lower case. Those of CORS are missing, because no test
/// with this client requests an answer that has them.
const FIELDS: [&str; 10] = [
    "allow",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "location",
    "server-timing",
    "timing-allow-origin",
    "x-heartbeat-wire-min",
];

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The text as it was received, with the empty line at its end.
    pub text: String,
}

impl Head {
    /// Parses a head and checks the rules of every answer; the error names the broken rule.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8(bytes.to_vec()).map_err(|_| format!("{bytes:?}"))?;
        let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.and_then(|digits| digits.parse().ok());
        let Some(status) = status else { return Err(format!("not a status line: {text:?}")) };
        let head = Self { status, text };
        match head.broken_rule() {
            None => Ok(head),
            Some(rule) => Err(format!("{rule}: {:?}", head.text)),
        }
    }

    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of Content-Length, which must be there.
    #[must_use]
    #[track_caller]
    pub fn content_length(&self) -> u64 {
        self.body_bytes().unwrap_or_else(|| panic!("no Content-Length: {}", self.text))
    }

    /// The value of Content-Length, if the head has one.
    pub(crate) fn body_bytes(&self) -> Option<u64> {
        self.field("Content-Length")?.parse().ok()
    }

    /// Whether this is a 200 whose content has this length.
    #[must_use]
    pub fn is_payload(&self, bytes: u64) -> bool {
        self.status == 200 && self.body_bytes() == Some(bytes)
    }

    /// Whether the head has `Connection: close`.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.field("Connection") == Some("close")
    }

    /// The head without its Date line, the only one that may differ between equal answers.
    #[must_use]
    pub fn without_date(&self) -> String {
        self.text.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: ")).collect()
    }

    /// The names and values of all fields; a line without a colon has an empty name.
    fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.text.trim_end_matches("\r\n").split("\r\n").skip(1);
        lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap_or(("", line));
            (name, value.trim_start_matches(' '))
        })
    }

    /// The first rule of every answer that this head breaks.
    fn broken_rule(&self) -> Option<&'static str> {
        let text = &self.text;
        let is_bare = |(at, byte): (usize, &u8)| match byte {
            b'\r' => text.as_bytes().get(at + 1) != Some(&b'\n'),
            b'\n' => at == 0 || text.as_bytes()[at - 1] != b'\r',
            _ => false,
        };
        let is_repeated = |name: &str| {
            self.fields().filter(|(other, _)| other.eq_ignore_ascii_case(name)).count() > 1
        };
        let is_allowed = |name: &str| FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name));
        let date = self.field("Date").unwrap_or_default();
        let is_ok = self.status == 200;
        // A redirect to a size depends on the configuration, so caches must revalidate it.
        let names_a_size = self.field("Location").is_some_and(|path| !path.ends_with('/'));
        let cache_control = match is_ok {
            true => Some(CACHE_CONTROL),
            false => names_a_size.then_some("no-cache"),
        };
        let length = self.body_bytes();
        let rules = [
            (text.len() <= HEAD_BYTES_MAX, "the head is too long"),
            (!text.bytes().enumerate().any(|(at, byte)| is_bare((at, &byte))), "bare CR or LF"),
            (!self.fields().any(|(name, _)| is_repeated(name)), "a field is repeated"),
            (self.fields().all(|(name, _)| is_allowed(name)), "an unknown field"),
            (date.len() == 29 && date.ends_with(" GMT"), "no Date, or not an IMF-fixdate"),
            (
                self.field("Cache-Control") == cache_control,
                "Cache-Control belongs to every 200, to a redirect to a size, and to no other answer",
            ),
            (
                self.field("Content-Type").is_some() == is_ok,
                "Content-Type belongs to every 200 and to no other answer",
            ),
            (
                match self.status {
                    200 => length.is_some(),
                    204 => self.field("Content-Length").is_none(),
                    _ => length == Some(0),
                },
                "the Content-Length does not fit the status",
            ),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map(|(_, rule)| rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

    fn ok(fields: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\n{DATE}Content-Type: text/plain\r\nContent-Length: 17\r\n\
             Cache-Control: no-cache, no-transform\r\n{fields}\r\n"
        )
    }

    #[test]
    fn reads_the_fields_of_a_head() {
        let head = Head::parse(ok("Connection: close\r\n").as_bytes()).unwrap();
        assert!(head.is_payload(17) && !head.is_payload(16) && head.closes());
        assert_eq!(head.content_length(), 17);
        assert!(!head.without_date().contains("1994"));
    }

    #[test]
    fn names_the_rule_that_a_head_breaks() {
        let empty = |status: &str| format!("HTTP/1.1 {status}\r\n{DATE}Content-Length: 0\r\n\r\n");
        assert!(Head::parse(empty("404 Not Found").as_bytes()).is_ok());
        let cases = [
            ("SSH-2.0\r\n\r\n".to_owned(), "not a status line"),
            (ok(&format!("Location: {}\r\n", "a".repeat(HEAD_BYTES_MAX))), "too long"),
            (ok("Location: a\nb\r\n"), "bare"),
            (ok("Location: a\rb\r\n"), "bare"),
            (ok("content-length: 17\r\n"), "repeated"),
            (ok("Server: a\r\n"), "unknown field"),
            (ok("nonsense\r\n"), "unknown field"),
            (ok("").replace(DATE, ""), "no Date"),
            (ok("").replace("no-transform", "private"), "Cache-Control"),
            (ok("").replace("Content-Type: text/plain\r\n", ""), "Content-Type"),
            (ok("").replace(": 17", ": many"), "Content-Length"),
            (empty("204 No Content"), "Content-Length"),
            (empty("404 Not Found").replace(": 0", ": 1"), "Content-Length"),
        ];
        for (text, rule) in cases {
            let broken = Head::parse(text.as_bytes()).expect_err(&text);
            assert!(broken.contains(rule), "{broken}\nis not about: {rule}");
        }
    }
}
