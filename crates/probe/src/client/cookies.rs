//! The cookies of one server (RFC 6265), as far as a prober needs them: names, values, paths and
//! expiry times. Domains do not matter, because there is one host.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::{HeaderValue, SET_COOKIE};

/// Keeps the cookies that the server sets, and sends them back.
#[derive(Debug, Default)]
pub(super) struct Cookies {
    kept: Mutex<Vec<Cookie>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cookie {
    name: String,
    value: String,
    path: String,
    end: Option<SystemTime>,
}

impl Cookies {
    /// Stores the cookies that the answer to a request for `path` sets.
    pub(super) fn take(&self, path: &str, headers: &HeaderMap, now: SystemTime) {
        for field in headers.get_all(SET_COOKIE) {
            let Some(cookie) = field.to_str().ok().and_then(|text| Cookie::parse(text, path, now))
            else {
                continue;
            };
            let mut kept = self.kept();
            kept.retain(|old| (&old.name, &old.path) != (&cookie.name, &cookie.path));
            if cookie.is_alive(now) && kept.len() < COOKIES_MAX {
                kept.push(cookie);
            }
        }
    }

    /// The value of `Cookie` for a request for `path`, if there is one.
    pub(super) fn field(&self, path: &str, now: SystemTime) -> Option<HeaderValue> {
        let mut kept = self.kept();
        kept.retain(|cookie| cookie.is_alive(now));
        let mut fit: Vec<_> = kept.iter().filter(|cookie| cookie.is_for(path)).collect();
        // RFC 6265 section 5.4: the longest path first.
        fit.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<_> = fit.iter().map(|it| format!("{}={}", it.name, it.value)).collect();
        (!pairs.is_empty()).then(|| HeaderValue::from_str(&pairs.join("; ")).ok()).flatten()
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Cookie>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cookie {
    fn parse(field: &str, request_path: &str, now: SystemTime) -> Option<Self> {
        let mut parts = field.split(';').map(str::trim);
        let (name, value) = parts.next()?.split_once('=')?;
        let (mut path, mut expires, mut max_age) = (default_path(request_path), None, None);
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key.trim().to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => path = value.to_owned(),
                "expires" => expires = httpdate::parse_http_date(&value.replace('-', " ")).ok(),
                "max-age" => max_age = value.parse::<i64>().ok(),
                _ => {}
            }
        }
        // RFC 6265 section 5.3: Max-Age overrides Expires.
        let end = match max_age {
            Some(seconds) => {
                now.checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
            }
            None => expires,
        };
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        (!name.is_empty()).then_some(Self { name, value, path, end })
    }

    fn is_alive(&self, now: SystemTime) -> bool {
        self.end.is_none_or(|end| end > now)
    }

    // RFC 6265 section 5.1.4.
    fn is_for(&self, path: &str) -> bool {
        let path = path.split('?').next().unwrap_or(path);
        path.strip_prefix(self.path.as_str()).is_some_and(|rest| {
            rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/')
        })
    }
}

fn default_path(request_path: &str) -> String {
    let path = request_path.split('?').next().unwrap_or(request_path);
    match path.rfind('/') {
        Some(end @ 1..) => path[..end].to_owned(),
        _ => "/".to_owned(),
    }
}

// RFC 6265 section 6.1: a client should support at least 50 cookies per host.
const COOKIES_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn given(jar: &Cookies, path: &str, fields: &[&str]) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(SET_COOKIE, HeaderValue::from_str(field).unwrap());
        }
        jar.take(path, &headers, SystemTime::UNIX_EPOCH);
    }

    fn sent(jar: &Cookies, path: &str, seconds: u64) -> String {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        jar.field(path, now).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn cookies_come_back_for_their_path_and_until_their_end() {
        let jar = Cookies::default();
        given(
            &jar,
            "/a/b?c",
            &["one=1; Path=/; HttpOnly", "two=2", "three=3; Max-Age=10; Path=/a"],
        );
        assert_eq!(sent(&jar, "/", 0), "one=1");
        assert_eq!(sent(&jar, "/a?x", 9), "two=2; three=3; one=1");
        assert_eq!(sent(&jar, "/ab", 0), "one=1");
        assert_eq!(sent(&jar, "/a/b/c", 10), "two=2; one=1");
        given(
            &jar,
            "/",
            &["one=new; Path=/", "two=; Path=/a; Expires=Thu, 01-Jan-1970 00:00:00 GMT"],
        );
        assert_eq!(sent(&jar, "/a", 11), "one=new");
    }

    #[test]
    fn no_more_cookies_are_kept_than_the_limit() {
        let jar = Cookies::default();
        for number in 0..=COOKIES_MAX {
            given(&jar, "/", &[&format!("n{number}=v")]);
        }
        assert_eq!(sent(&jar, "/", 0).split("; ").count(), COOKIES_MAX);
    }
}
