//! Owns the choice of the answer to a request: which methods a resource has, and what it answers.
//! A pure function: the caller passes in what the process knows, as [`Facts`].

use crate::query::parameter;
use crate::resource::{Resource, at_admin_port, at_main_port};
use crate::response::Location;
use crate::responsiveness;
use crate::table::table;
use crate::timing::TimingRequest;
use crate::{Content, Method, Payload, Request, Response, Site, Status, Target};

const GET: &str = "GET, HEAD, OPTIONS";
const GET_AND_UPLOAD: &str = "GET, HEAD, POST, PUT, OPTIONS";

/// The size to which `/` redirects. If the site does not allow it, `/` redirects to the nearest
/// allowed size.
const HOME_BYTES: u64 = 17;

/// Which listener a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The listener for clients.
    Main,
    /// The listener for operators. It serves `/metrics`, `/version`, `/healthz` and `/readyz`, and
    /// nothing else.
    Admin,
}

/// What the process knows at the time of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// False once a drain has begun.
    pub ready: bool,
    /// The answer of `/version`.
    pub version: &'a str,
    /// The answer of `/version?format=json`.
    pub version_json: &'a str,
}

table! {
    /// The kind of resource that an answer belongs to. It is a label for metrics, not a path.
    pub enum Route {
        /// A payload of n bytes, requested by GET or HEAD.
        Heartbeat = "heartbeat",
        /// A payload of n bytes, after an upload.
        Upload = "upload",
        /// A message of n bytes on the wire.
        Wire = "wire",
        /// `/healthz` and `/readyz`.
        Health = "health",
        /// `/version`.
        Version = "version",
        /// `/metrics`. Its 200 has no content here; the caller adds it.
        Metrics = "metrics",
        /// A redirect.
        Redirect = "redirect",
        /// A payload or an upload under the path of another tool.
        Alias = "alias",
        /// `/.well-known/nq`.
        Responsiveness = "responsiveness",
        /// Anything else, and every message that is refused or rejected.
        Other = "other",
    }

    /// The value of the `route` label in metrics.
    pub fn name(self) -> &'static str;
}

/// An answer and the kind of resource it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Routed<'a> {
    /// The kind of resource.
    pub route: Route,
    response: Response<'a>,
    /// JSON that was made for this request; it takes the place of the content.
    json: Option<Box<str>>,
}

impl Routed<'_> {
    /// The answer.
    pub fn response(&self) -> Response<'_> {
        match &self.json {
            Some(text) => Response { content: json(text), ..self.response },
            None => self.response,
        }
    }

    /// Whether the answer reports measurements: the caller adds them with
    /// [`Response::with_timing`] when it sends the answer.
    pub fn wants_timing(&self) -> bool {
        self.response.timing_request.is_some()
    }
}

/// The answer to `request`, which came through `port`.
///
/// A request may be wrong in several ways. The first of these decides: an unknown method (501), an
/// expectation that is not supported (417), a path that names nothing (400 below the prefix; 404
/// elsewhere, and for what only the admin listener serves), a method that the resource does not
/// have (405), a size in the query that is not allowed (400).
pub fn route<'a>(
    request: &Request<'_>,
    port: Port,
    site: &'a Site,
    facts: &Facts<'a>,
) -> Routed<'a> {
    let other = |response| Routed { route: Route::Other, response, json: None };
    if request.method == Method::Unknown {
        return other(Response::new(Status::NotImplemented));
    }
    if request.unknown_expectation {
        return other(Response::new(Status::ExpectationFailed));
    }
    let Target::Path { path, query } = request.target else {
        return other(Response { allow: Some(GET_AND_UPLOAD), ..Response::new(Status::NoContent) });
    };
    let resource = match port {
        Port::Main => at_main_port(path, site),
        Port::Admin => at_admin_port(path),
    };
    let resource = match resource {
        Ok(resource) => resource,
        Err(status) => return other(Response::new(status)),
    };
    let (allow, routed) = answer(resource, request, path, query, site, facts);
    match request.method {
        Method::Get | Method::Head => routed,
        Method::Post | Method::Put if allow == GET_AND_UPLOAD => routed,
        Method::Options => {
            let cross_origin = matches!(resource, Resource::Alias(alias) if alias.cross_origin);
            let allow = Some(allow);
            let response = Response { allow, cross_origin, ..Response::new(Status::NoContent) };
            Routed { response, json: None, ..routed }
        }
        _ => other(Response { allow: Some(allow), ..Response::new(Status::MethodNotAllowed) }),
    }
}

/// The methods that a resource has, and its answer to one of them.
fn answer<'a>(
    resource: Resource,
    request: &Request<'_>,
    path: &[u8],
    query: &[u8],
    site: &'a Site,
    facts: &Facts<'a>,
) -> (&'static str, Routed<'a>) {
    let redirect = |size| Response {
        location: Some(Location { prefix: site.uri(), size }),
        ..Response::new(Status::MovedPermanently)
    };
    // With what the query asks for, or what another tool expects in every answer.
    let measured = |content, app_name: Option<&'static str>| {
        let with_path = !query.is_empty() && parameter(query, b"timing").is_some();
        let timing_request = (with_path || app_name.is_some())
            .then(|| TimingRequest { app_name: app_name.unwrap_or("app"), with_path });
        Response { timing_request, ..Response::with_content(content) }
    };
    let mut configuration = None;
    let (allow, route, response) = match resource {
        Resource::Payload(bytes) => {
            let is_upload = matches!(request.method, Method::Post | Method::Put);
            let route = if is_upload { Route::Upload } else { Route::Heartbeat };
            (GET_AND_UPLOAD, route, measured(Content::Payload(Payload { bytes }), None))
        }
        Resource::Wire(message_bytes) => {
            let content = Content::Wire { message_bytes, payload_bytes_max: site.max() };
            (GET, Route::Wire, measured(content, None))
        }
        Resource::Prefix => (GET, Route::Redirect, redirect(None)),
        Resource::Home => {
            let bytes = HOME_BYTES.clamp(site.min(), site.max());
            (GET, Route::Redirect, redirect(Some(bytes)))
        }
        Resource::Health => (GET, Route::Health, text("Pass\n")),
        Resource::Ready if facts.ready => (GET, Route::Health, text("Ready\n")),
        Resource::Ready => (GET, Route::Health, Response::new(Status::ServiceUnavailable)),
        Resource::Version if parameter(query, b"format") == Some(b"json") => {
            (GET, Route::Version, Response::with_content(json(facts.version_json)))
        }
        Resource::Version => (GET, Route::Version, text(facts.version)),
        Resource::Metrics => (GET, Route::Metrics, Response::new(Status::Ok)),
        Resource::Responsiveness => {
            configuration = responsiveness::configuration(request, site);
            let status = if configuration.is_some() { Status::Ok } else { Status::BadRequest };
            (GET, Route::Responsiveness, Response::new(status))
        }
        Resource::Alias(alias) => {
            let payload = alias.payload_bytes(path, query, site).map(|bytes| Response {
                cross_origin: alias.cross_origin,
                ..measured(Content::Payload(Payload { bytes }), alias.app_name)
            });
            (GET_AND_UPLOAD, Route::Alias, payload.unwrap_or(Response::new(Status::BadRequest)))
        }
    };
    (allow, Routed { route, response, json: configuration })
}

fn text(text: &str) -> Response<'_> {
    Response::with_content(Content::Text { media_type: "text/plain", text })
}

fn json(text: &str) -> Content<'_> {
    Content::Text { media_type: "application/json", text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Framing, Version};

    const FACTS: Facts<'static> =
        Facts { ready: true, version: "0.5.0\n", version_json: "{\"version\":\"0.5.0\"}\n" };

    fn site() -> Site {
        Site::new("/heartbeat/", 1, 1 << 20).unwrap()
    }

    fn request(method: &'static str, target: &'static str) -> Request<'static> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request {
            method: Method::from_token(method.as_bytes()),
            method_token: method.as_bytes(),
            target: match target {
                "*" => Target::Asterisk,
                _ => Target::Path { path: path.as_bytes(), query: query.as_bytes() },
            },
            target_bytes: target.as_bytes(),
            authority: b"a",
            is_forwarded_https: false,
            version: Version::Http11,
            framing: Framing::Length(0),
            unknown_expectation: false,
            expects_continue: false,
            is_persistent: true,
        }
    }

    /// Status, length of the content and Location of the answer.
    fn answer_to(method: &'static str, target: &'static str) -> (u16, u64, String) {
        let site = site();
        let response = route(&request(method, target), Port::Main, &site, &FACTS).response;
        let location = response.location.map_or(String::new(), |location| {
            let size = location.size.map(|size| size.to_string());
            location.prefix.to_string() + &size.unwrap_or_default()
        });
        (response.status.code(), response.content.bytes(), location)
    }

    #[test]
    fn sizes_in_range_are_answered() {
        for (path, bytes) in [
            ("/heartbeat/1", 1),
            ("/heartbeat/17", 17),
            ("/heartbeat/017", 17),
            ("/heartbeat/00000000000000000017", 17),
            ("/heartbeat/1048576", 1_048_576),
            ("/heartbeat/17?x=18", 17),
            ("/heartbeat/17?", 17),
        ] {
            for method in ["GET", "HEAD", "POST", "PUT"] {
                assert_eq!(answer_to(method, path), (200, bytes, String::new()), "{path}");
            }
        }
    }

    #[test]
    fn anything_else_below_the_prefix_is_400() {
        for path in [
            "/heartbeat/",
            "/heartbeat/0",
            "/heartbeat/1048577",
            "/heartbeat/18446744073709551615",
            "/heartbeat/18446744073709551616",
            "/heartbeat/000000000000000000017",
            "/heartbeat/+17",
            "/heartbeat/-1",
            "/heartbeat/abc",
            "/heartbeat/1a",
            "/heartbeat/0x11",
            "/heartbeat/1.0",
            "/heartbeat/%31%37",
            "/heartbeat/17/",
            "/heartbeat/17;a",
            "/heartbeat//17",
            "/heartbeat/wire",
            "/heartbeat/wire/",
            "/heartbeat/wire/-1",
            "/heartbeat/wire/200/",
            "/heartbeat/healthz/",
            "/heartbeat/Healthz",
        ] {
            assert_eq!(answer_to("GET", path), (400, 0, String::new()), "{path}");
            assert_eq!(answer_to("DELETE", path).0, 400, "{path}");
        }
    }

    #[test]
    fn fixed_routes() {
        for (path, expected) in [
            ("/", (301, 0, "/heartbeat/17")),
            ("/index.html", (301, 0, "/heartbeat/17")),
            ("/index.", (301, 0, "/heartbeat/17")),
            ("/default.aspx", (301, 0, "/heartbeat/17")),
            ("/heartbeat", (301, 0, "/heartbeat/")),
            ("/heartbeat?x", (301, 0, "/heartbeat/")),
            ("/healthz", (200, 5, "")),
            ("/readyz", (200, 6, "")),
            ("/version", (200, 6, "")),
            ("/version?format=json", (200, 20, "")),
            ("/version?a=b&format=json", (200, 20, "")),
            ("/version?format=jsonp", (200, 6, "")),
            ("/metrics", (200, 0, "")),
            ("/heartbeat/healthz", (200, 5, "")),
            ("/heartbeat/readyz", (200, 6, "")),
            ("/heartbeat/version?format=json", (200, 20, "")),
            ("/heartbeat/metrics", (200, 0, "")),
            ("/index", (404, 0, "")),
            ("/healthz/", (404, 0, "")),
            ("/HEARTBEAT/17", (404, 0, "")),
            ("/heartbeats/17", (404, 0, "")),
            ("//heartbeat/17", (404, 0, "")),
            ("/foo", (404, 0, "")),
        ] {
            let (status, bytes, location) = expected;
            assert_eq!(answer_to("GET", path), (status, bytes, location.to_string()), "{path}");
        }
    }

    #[test]
    fn readiness_ends_with_a_drain_and_health_does_not() {
        let site = site();
        let facts = Facts { ready: false, ..FACTS };
        let status =
            |path| route(&request("GET", path), Port::Main, &site, &facts).response.status.code();
        assert_eq!(status("/readyz"), 503);
        assert_eq!(status("/heartbeat/readyz"), 503);
        assert_eq!(status("/healthz"), 200);
    }

    #[test]
    fn methods_that_a_resource_does_not_have_are_405_with_allow() {
        let site = site();
        for (method, path, allow) in [
            ("DELETE", "/heartbeat/17", GET_AND_UPLOAD),
            ("PATCH", "/heartbeat/17", GET_AND_UPLOAD),
            ("TRACE", "/heartbeat/17", GET_AND_UPLOAD),
            ("POST", "/heartbeat/wire/200", GET),
            ("POST", "/healthz", GET),
            ("PUT", "/", GET),
            ("POST", "/heartbeat", GET),
        ] {
            let response = route(&request(method, path), Port::Main, &site, &FACTS).response;
            assert_eq!((response.status.code(), response.allow), (405, Some(allow)), "{path}");
            let response = route(&request("OPTIONS", path), Port::Main, &site, &FACTS).response;
            assert_eq!((response.status.code(), response.allow), (204, Some(allow)), "{path}");
        }
        let response = route(&request("OPTIONS", "*"), Port::Main, &site, &FACTS).response;
        assert_eq!((response.status.code(), response.allow), (204, Some(GET_AND_UPLOAD)));
    }

    #[test]
    fn unknown_methods_are_501_and_unknown_expectations_417() {
        for method in ["get", "BREW", "PROPFIND"] {
            assert_eq!(answer_to(method, "/heartbeat/17").0, 501);
            assert_eq!(answer_to(method, "/nowhere").0, 501);
        }
        let site = site();
        let expecting = Request { unknown_expectation: true, ..request("GET", "/heartbeat/17") };
        assert_eq!(route(&expecting, Port::Main, &site, &FACTS).response.status.code(), 417);
    }
}
