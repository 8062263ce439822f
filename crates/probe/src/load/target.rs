//! The requests of a load, and what their answers must be.

use std::time::Duration;

use hyper::HeaderMap;

use super::NAME;
use super::args::{Check, LoadArgs};
use crate::client::{Answer, BodySink, Request, RequestBody, RequestError, Target};
use crate::fault::Fault;
use crate::output::complain;
use crate::pattern::PatternCheck;
use crate::record::whole_milliseconds;
use crate::testfile::{self, Case, Validation};
use crate::validation::{BodyCheck, validate};

/// One of the requests that the load sends in turns.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// The index of its server.
    pub(crate) server: usize,
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) request: Request,
    pub(crate) expected: Expected,
}

/// What an answer must be like.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// A status of 200 to 299, and this content.
    Success(Content),
    /// What the test file demands.
    File(Box<Case>),
}

/// What a body must be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) length: Option<u64>,
    /// Whether it is the repeating pattern.
    pub(crate) pattern: bool,
}

/// Reads a body and checks as much of it as the expectation needs.
pub(crate) enum Sink {
    Content(Option<PatternCheck>),
    File(BodyCheck),
}

/// The turns of a load, and the servers that they go to.
///
/// # Errors
///
/// A message about an invalid URL or an unusable file.
pub(crate) fn turns(args: &LoadArgs) -> Result<(Vec<Target>, Vec<Turn>), String> {
    let cases = cases(args)?;
    let mut servers: Vec<Target> = Vec::new();
    let mut turns = Vec::new();
    for url in &args.urls {
        let (base, path) = split(url);
        let server = Target::parse(base).map_err(|error| error.to_string())?;
        let number = servers.iter().position(|known| *known == server).unwrap_or_else(|| {
            servers.push(server);
            servers.len() - 1
        });
        if args.files.is_empty() {
            let path = prefixed(&args.url_prefix, path);
            turns.push(of_url(args, &servers[number], number, path)?);
        } else if path != "/" {
            return Err(format!("{url}: with --files a URL names a server, without a path"));
        }
        for case in &cases {
            turns.push(of_case(args, &servers[number], number, case)?);
        }
    }
    Ok((servers, turns))
}

impl Expected {
    pub(crate) fn sink(&self) -> Sink {
        match self {
            Self::Success(content) => Sink::Content(content.pattern.then(PatternCheck::default)),
            Self::File(case) => Sink::File(BodyCheck::new(case.validation.as_ref())),
        }
    }

    /// Returns the first fault of an answer and its description, if it has one.
    pub(crate) fn judge(
        &self,
        answer: &Answer,
        sink: &Sink,
        took: Duration,
    ) -> Option<(Fault, String)> {
        match (self, sink) {
            (Self::Success(content), Sink::Content(check)) => {
                content.judge(answer, check.as_ref().and_then(PatternCheck::mismatch))
            }
            (Self::File(case), Sink::File(body)) => {
                let verdict = validate(case, answer, body, whole_milliseconds(took));
                verdict.fault.zip(verdict.errors.first().map(str::to_owned))
            }
            // Each expectation creates its own kind of sink.
            _ => None,
        }
    }
}

impl Content {
    /// What the body must be if no test file says so.
    fn of_path(path: &str, method: &str, check: Check) -> Self {
        let path = path.split('?').next().unwrap_or(path);
        let mut parts = path.rsplit('/');
        let number: Option<u64> = parts.next().and_then(|last| last.parse().ok());
        // Under `wire/` the number is the length of the whole message, not of the body.
        let is_length = parts.next() != Some("wire");
        match check {
            _ if method == "HEAD" => Self::default(),
            Check::Auto => Self { length: number.filter(|_| is_length), pattern: number.is_some() },
            Check::On => Self { length: None, pattern: true },
            Check::Off => Self::default(),
        }
    }

    fn judge(&self, answer: &Answer, mismatch: Option<u64>) -> Option<(Fault, String)> {
        if !answer.status.is_success() {
            return Some((Fault::Status, format!("{}, expected 2xx", answer.status.as_u16())));
        }
        let length = answer.body_length;
        match (self.length, mismatch) {
            (Some(expected), _) if length != expected => {
                Some((Fault::Length, format!("{length} bytes, expected {expected}")))
            }
            (_, Some(at)) => {
                Some((Fault::Pattern, format!("byte {at} is not of 0123456789ABCDEF repeated")))
            }
            _ => None,
        }
    }
}

impl BodySink for Sink {
    fn begin(&mut self, headers: &HeaderMap) {
        if let Self::File(check) = self {
            check.begin(headers);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        match self {
            Self::Content(Some(check)) => check.take(bytes),
            Self::Content(None) => {}
            Self::File(check) => check.take(bytes),
        }
    }
}

fn cases(args: &LoadArgs) -> Result<Vec<Case>, String> {
    if args.files.is_empty() {
        return Ok(Vec::new());
    }
    let loaded = testfile::load(&args.files).map_err(|error| error.to_string())?;
    for warning in &loaded.warnings {
        complain(NAME, warning);
    }
    Ok(loaded.cases)
}

/// Puts `prefix` before `path`, and a slash before the empty path of `http://server?query`.
fn prefixed(prefix: &str, path: &str) -> String {
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{prefix}{slash}{path}")
}

fn of_url(args: &LoadArgs, server: &Target, number: usize, path: String) -> Result<Turn, String> {
    let default = if args.body_size.is_some() { "POST" } else { "GET" };
    let method = args.method.as_deref().unwrap_or(default).to_ascii_uppercase();
    let body = args.body_size.map(RequestBody::pattern).unwrap_or_default();
    let request = Request::new(server, &method, &path, &args.header, body);
    let request = timed(args, request)?;
    let expected = Expected::Success(Content::of_path(&path, &method, args.check));
    let url = format!("{}{path}", server.as_str());
    Ok(Turn { server: number, method, url, request, expected })
}

fn of_case(args: &LoadArgs, server: &Target, number: usize, case: &Case) -> Result<Turn, String> {
    let mut case = case.clone();
    case.headers.extend(args.header.iter().cloned());
    let request = timed(args, case.request(server, &args.url_prefix))?;
    let content = Content::of_path(&case.path, &case.verb, args.check);
    let url = format!("{}{}", server.as_str(), prefixed(&args.url_prefix, &case.path));
    let method = case.verb.clone();
    let expected = match &mut case.validation {
        Some(validation) => {
            validation.pattern = wants_pattern(validation, content, args.check);
            Expected::File(Box::new(case))
        }
        None => Expected::Success(content),
    };
    Ok(Turn { server: number, method, url, request, expected })
}

fn timed(args: &LoadArgs, request: Result<Request, RequestError>) -> Result<Request, String> {
    let request = match args.timing {
        true => request.and_then(|request| request.with_query("timing")),
        false => request,
    };
    request.map_err(|error| error.to_string())
}

/// Whether the pattern is checked: a test file may ask for it, and error answers do not have it.
fn wants_pattern(validation: &Validation, content: Content, check: Check) -> bool {
    let is_success = (200..300).contains(&validation.status_code);
    check != Check::Off && (validation.pattern || (content.pattern && is_success))
}

/// Splits a URL into its server and its path with the query; a fragment is never sent.
fn split(url: &str) -> (&str, &str) {
    let url = url.split('#').next().unwrap_or(url);
    let authority = url.find("://").map_or(0, |at| at + 3);
    match url[authority..].find(['/', '?']) {
        Some(at) => url.split_at(authority + at),
        None => (url, "/"),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{CONTENT_TYPE, HeaderValue};
    use hyper::{HeaderMap, StatusCode};

    use super::*;
    use crate::pattern::PATTERN;

    fn answer(status: u16, content_type: &'static str, length: u64) -> Answer {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            content_length: Some(length),
            body_length: length,
            bytes_received: 0,
            bytes_sent: 0,
        }
    }

    fn fault(expected: &Expected, answer: &Answer, body: &[u8]) -> Option<Fault> {
        let mut sink = expected.sink();
        sink.take(body);
        expected.judge(answer, &sink, Duration::ZERO).map(|(fault, _)| fault)
    }

    #[test]
    fn a_url_is_its_server_and_the_rest() {
        for (url, expected) in [
            ("http://a:1/heartbeat/17", ("http://a:1", "/heartbeat/17")),
            ("localhost/x?y#z", ("localhost", "/x?y")),
            ("http://[::1]:8", ("http://[::1]:8", "/")),
            ("a?q", ("a", "?q")),
        ] {
            assert_eq!(split(url), expected);
        }
    }

    #[test]
    fn a_prefix_goes_before_every_path() {
        for (prefix, path, expected) in
            [("", "/17", "/17"), ("", "?q", "/?q"), ("/p", "/17", "/p/17"), ("/p", "?q", "/p/?q")]
        {
            assert_eq!(prefixed(prefix, path), expected);
        }
    }

    #[test]
    fn a_path_that_ends_in_a_number_sets_length_and_pattern() {
        let of = |path, check| {
            let content = Content::of_path(path, "GET", check);
            (content.length, content.pattern)
        };
        assert_eq!(of("/heartbeat/1024?x=/5", Check::Auto), (Some(1024), true));
        assert_eq!(of("/index.html", Check::Auto), (None, false));
        assert_eq!(of("/heartbeat/wire/4096", Check::Auto), (None, true));
        assert_eq!(of("/file", Check::On), (None, true));
        assert_eq!(of("/heartbeat/17", Check::Off), (None, false));
        assert_eq!(Content::of_path("/17", "HEAD", Check::On), Content::default());
    }

    #[test]
    fn each_fault_has_its_name_with_and_without_a_file() {
        let content = Content { length: Some(32), pattern: true };
        let validation = Validation {
            content_type: Some("text/plain".to_owned()),
            length: Some(32),
            pattern: true,
            contains: vec!["0".to_owned()],
            ..Validation::default()
        };
        let case = Case { validation: Some(validation), ..Case::default() };
        let body = PATTERN.repeat(2);
        for (expected, is_file) in
            [(Expected::Success(content), false), (Expected::File(Box::new(case)), true)]
        {
            let good = answer(200, "text/plain; charset=utf-8", 32);
            assert_eq!(fault(&expected, &good, &body), None);
            for (found, body, wrong) in [
                (answer(404, "", 0), &body[..0], Fault::Status),
                (answer(301, "", 0), &body[..0], Fault::Status),
                (answer(200, "text/plain", 31), &body[..31], Fault::Length),
                (answer(200, "text/plain", 32), b"0123x".as_slice(), Fault::Pattern),
            ] {
                assert_eq!(fault(&expected, &found, body), Some(wrong));
            }
            let html = answer(200, "text/html", 32);
            assert_eq!(fault(&expected, &html, &body), is_file.then_some(Fault::ContentType));
        }
    }

    #[test]
    fn an_error_that_its_file_expects_is_good_and_needs_no_pattern() {
        let validation = Validation { status_code: 400, ..Validation::default() };
        let content = Content::of_path("/heartbeat/0", "GET", Check::Auto);
        assert!(!wants_pattern(&validation, content, Check::Auto));
        let case = Case { validation: Some(validation), ..Case::default() };
        let expected = Expected::File(Box::new(case));
        assert_eq!(fault(&expected, &answer(400, "", 0), b"oops"), None);
        assert_eq!(fault(&expected, &answer(200, "", 0), b""), Some(Fault::Status));
    }

    #[test]
    fn the_option_decides_about_the_pattern_of_a_file() {
        let validation = |pattern| Validation { pattern, ..Validation::default() };
        let wants = |path, pattern, check| {
            wants_pattern(&validation(pattern), Content::of_path(path, "GET", check), check)
        };
        assert!(wants("/heartbeat/17", false, Check::Auto));
        assert!(!wants("/index", false, Check::Auto));
        assert!(wants("/index", true, Check::Auto));
        assert!(wants("/index", false, Check::On));
        assert!(!wants("/heartbeat/17", true, Check::Off));
    }
}
