//! Owns the way from a request to its answer: which resource a path names, which methods it has.
//! Pure: what the process knows comes in as [`Facts`].

use crate::fields::decimal;
use crate::limits::SIZE_DIGITS_MAX;
use crate::response::Location;
use crate::{Content, Method, Payload, Request, Response, Site, Status, Target};

const GET: &str = "GET, HEAD, OPTIONS";
const GET_AND_UPLOAD: &str = "GET, HEAD, POST, PUT, OPTIONS";

/// The resources outside the prefix that are also served below it.
const SERVICE_PATHS: [(&[u8], Resource); 4] = [
    (b"healthz", Resource::Health),
    (b"readyz", Resource::Ready),
    (b"version", Resource::Version),
    (b"metrics", Resource::Metrics),
];

/// What the process knows when it answers.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// False once a drain has begun.
    pub ready: bool,
    /// The answer of `/version`.
    pub version: &'a str,
    /// The answer of `/version?format=json`.
    pub version_json: &'a str,
}

/// Which kind of resource an answer belongs to: a label, not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A payload of n bytes, asked for without a body.
    Heartbeat,
    /// A payload of n bytes, after an upload.
    Upload,
    /// A message of n bytes on the wire.
    Wire,
    /// `/healthz` and `/readyz`.
    Health,
    /// `/version`.
    Version,
    /// `/metrics`: its 200 comes without content, which the caller adds.
    Metrics,
    /// A redirect.
    Redirect,
    /// Anything else, refused messages included.
    Other,
}

/// Every route once, in the order of the enum, with the name that metrics give it.
const ROUTES: [(Route, &str); 8] = [
    (Route::Heartbeat, "heartbeat"),
    (Route::Upload, "upload"),
    (Route::Wire, "wire"),
    (Route::Health, "health"),
    (Route::Version, "version"),
    (Route::Metrics, "metrics"),
    (Route::Redirect, "redirect"),
    (Route::Other, "other"),
];

impl Route {
    /// Every route, in the order of [`Route::index`].
    pub const ALL: [Self; ROUTES.len()] = {
        let mut all = [Self::Other; ROUTES.len()];
        let mut index = 0;
        while index < ROUTES.len() {
            all[index] = ROUTES[index].0;
            index += 1;
        }
        all
    };

    /// The position of this route in [`Route::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The value of the `route` label in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        ROUTES[self.index()].1
    }
}

/// An answer and what it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routed<'a> {
    /// The kind of resource.
    pub route: Route,
    /// The answer.
    pub response: Response<'a>,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Payload(u64),
    Wire(u64),
    /// Below the prefix, and nothing that is served there.
    BadSize,
    /// The prefix without its last slash.
    Prefix,
    Home,
    Health,
    Ready,
    Version,
    Metrics,
    Missing,
}

/// The answer to `request`.
///
/// What is wrong with a request is told in this order: an unknown method (501), an expectation
/// that can not be met (417), a path that names nothing (400 below the prefix, 404 elsewhere), a
/// method that the resource has not (405).
#[must_use]
pub fn route<'a>(request: &Request<'_>, site: &'a Site, facts: &Facts<'a>) -> Routed<'a> {
    if request.method == Method::Unknown {
        return refusal(Status::NotImplemented);
    }
    if request.unknown_expectation {
        return refusal(Status::ExpectationFailed);
    }
    let Target::Path { path, query } = request.target else {
        return options(Route::Other, GET_AND_UPLOAD);
    };
    let resource = resource(path, site);
    let (route, allow) = match resource {
        Resource::Payload(_) if matches!(request.method, Method::Post | Method::Put) => {
            (Route::Upload, GET_AND_UPLOAD)
        }
        Resource::Payload(_) => (Route::Heartbeat, GET_AND_UPLOAD),
        Resource::Wire(_) => (Route::Wire, GET),
        Resource::Health | Resource::Ready => (Route::Health, GET),
        Resource::Version => (Route::Version, GET),
        Resource::Metrics => (Route::Metrics, GET),
        Resource::Home | Resource::Prefix => (Route::Redirect, GET),
        Resource::BadSize => return refusal(Status::BadRequest),
        Resource::Missing => return refusal(Status::NotFound),
    };
    match request.method {
        Method::Get | Method::Head => {}
        Method::Post | Method::Put if route == Route::Upload => {}
        Method::Options => return options(route, allow),
        _ => {
            let response =
                Response { allow: Some(allow), ..Response::new(Status::MethodNotAllowed) };
            return Routed { route: Route::Other, response };
        }
    }
    Routed { route, response: answer(resource, query, site, facts) }
}

fn answer<'a>(resource: Resource, query: &[u8], site: &'a Site, facts: &Facts<'a>) -> Response<'a> {
    let redirect = |rest| Response {
        location: Some(Location { prefix: site.uri(), rest }),
        ..Response::new(Status::MovedPermanently)
    };
    match resource {
        Resource::Payload(bytes) => Response::with_content(Content::Payload(Payload { bytes })),
        Resource::Wire(message_bytes) => {
            Response::with_content(Content::Wire { message_bytes, payload_bytes_max: site.max() })
        }
        Resource::Prefix => redirect(""),
        Resource::Home => redirect("17"),
        Resource::Health => text("Pass\n"),
        Resource::Ready if facts.ready => text("Ready\n"),
        Resource::Ready => Response::new(Status::ServiceUnavailable),
        Resource::Version if asks_for_json(query) => Response::with_content(Content::Text {
            media_type: "application/json",
            text: facts.version_json,
        }),
        Resource::Version => text(facts.version),
        Resource::Metrics => Response::new(Status::Ok),
        Resource::BadSize => Response::new(Status::BadRequest),
        Resource::Missing => Response::new(Status::NotFound),
    }
}

fn refusal(status: Status) -> Routed<'static> {
    Routed { route: Route::Other, response: Response::new(status) }
}

fn options(route: Route, allow: &'static str) -> Routed<'static> {
    Routed { route, response: Response { allow: Some(allow), ..Response::new(Status::NoContent) } }
}

fn text(text: &str) -> Response<'_> {
    Response::with_content(Content::Text { media_type: "text/plain", text })
}

fn asks_for_json(query: &[u8]) -> bool {
    query.split(|byte| *byte == b'&').any(|pair| pair == b"format=json")
}

/// What `path` names, compared byte by byte: nothing is decoded, so that a path has one spelling.
fn resource(path: &[u8], site: &Site) -> Resource {
    let uri = site.uri().as_bytes();
    if let Some(rest) = path.strip_prefix(uri) {
        if let Some(bytes) = size(rest) {
            let allowed = (site.min()..=site.max()).contains(&bytes);
            return if allowed { Resource::Payload(bytes) } else { Resource::BadSize };
        }
        if let Some(bytes) = rest.strip_prefix(b"wire/").and_then(size) {
            return Resource::Wire(bytes);
        }
        return service_resource(rest).unwrap_or(Resource::BadSize);
    }
    if uri.strip_suffix(b"/") == Some(path) {
        return Resource::Prefix;
    }
    fixed_resource(path)
}

/// Whether a path outside the prefix names something: a prefix must not hide it.
pub(crate) fn is_fixed_route(path: &[u8]) -> bool {
    fixed_resource(path) != Resource::Missing
}

fn fixed_resource(path: &[u8]) -> Resource {
    let Some(rest) = path.strip_prefix(b"/") else { return Resource::Missing };
    if rest.is_empty() || rest.starts_with(b"index.") || rest.starts_with(b"default.") {
        return Resource::Home;
    }
    service_resource(rest).unwrap_or(Resource::Missing)
}

fn service_resource(name: &[u8]) -> Option<Resource> {
    SERVICE_PATHS.iter().find(|(path, _)| *path == name).map(|(_, resource)| *resource)
}

/// `{n}`: up to [`SIZE_DIGITS_MAX`] digits of a 64-bit number, leading zeros allowed.
fn size(digits: &[u8]) -> Option<u64> {
    if digits.len() > SIZE_DIGITS_MAX {
        return None;
    }
    decimal(digits)
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
            version: Version::Http11,
            framing: Framing::Length(0),
            unknown_expectation: false,
        }
    }

    /// Status, length of the content and Location of the answer.
    fn answer_to(method: &'static str, target: &'static str) -> (u16, u64, String) {
        let site = site();
        let response = route(&request(method, target), &site, &FACTS).response;
        let location = response.location.map(|location| [location.prefix, location.rest].concat());
        (response.status.code(), response.content.bytes(), location.unwrap_or_default())
    }

    #[test]
    fn the_table_of_routes_is_in_the_order_of_the_indexes() {
        for (index, route) in Route::ALL.into_iter().enumerate() {
            assert_eq!(route.index(), index, "{route:?}");
        }
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
        let status = |path| route(&request("GET", path), &site, &facts).response.status.code();
        assert_eq!(status("/readyz"), 503);
        assert_eq!(status("/heartbeat/readyz"), 503);
        assert_eq!(status("/healthz"), 200);
    }

    #[test]
    fn methods_a_resource_has_not_are_405_with_allow() {
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
            let response = route(&request(method, path), &site, &FACTS).response;
            assert_eq!((response.status.code(), response.allow), (405, Some(allow)), "{path}");
            let response = route(&request("OPTIONS", path), &site, &FACTS).response;
            assert_eq!((response.status.code(), response.allow), (204, Some(allow)), "{path}");
        }
        let response = route(&request("OPTIONS", "*"), &site, &FACTS).response;
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
        assert_eq!(route(&expecting, &site, &FACTS).response.status.code(), 417);
    }
}
