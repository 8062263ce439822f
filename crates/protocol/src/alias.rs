//! Owns the paths under which other measuring tools ask for the same payload and the same sink.
//!
//! Every alias takes GET, HEAD, POST and PUT; an upload is read, counted and thrown away. A size
//! of 0 is an empty 200; any other size must be within the sizes of the site.

use crate::Site;
use crate::query::parameter;
use crate::site::size;

/// One path of another tool.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Alias {
    /// The path; the size follows it if it ends with a slash.
    pub(crate) path: &'static str,
    size: Size,
    /// Whether pages of other origins call this path: the answer then lets them read it (CORS).
    pub(crate) cross_origin: bool,
    /// The name under which the tool looks for the server's own time in Server-Timing.
    pub(crate) app_name: Option<&'static str>,
}

/// Where the size of the payload comes from.
#[derive(Debug, PartialEq, Eq)]
enum Size {
    /// The rest of the path, in bytes.
    Path,
    /// A parameter of the query.
    Parameter {
        name: &'static [u8],
        /// The value if the parameter is missing.
        default: u64,
        /// Bytes per unit, if the query names no unit.
        unit_bytes: u64,
        /// The allowed values of the parameter `unit`, and the bytes of each.
        units: &'static [(&'static str, u64)],
    },
    /// The answer is always empty.
    Zero,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const UNITS: [(&str, u64); 4] = [("KB", KIB), ("MB", MIB), ("GB", GIB), ("TB", GIB << 10)];

// The defaults are those of the tools.
const BYTES: Size = Size::Parameter { name: b"bytes", default: 0, unit_bytes: 1, units: &[] };
const CHUNKS: Size = Size::Parameter { name: b"ckSize", default: 4, unit_bytes: MIB, units: &[] };
const UNIT_SIZE: Size = Size::Parameter { name: b"size", default: 1, unit_bytes: 1, units: &UNITS };
const ECHO_SIZE: Size = Size::Parameter { name: b"size", default: 0, unit_bytes: 1, units: &[] };

/// The name of the server's own time that Cloudflare's speed test looks for.
const CLOUDFLARE: Option<&str> = Some("cfRequestDuration");

/// Every alias.
///
/// Only the speed tests of Cloudflare and LibreSpeed run in a browser, and their page may come from
/// another origin. The other tools run in a terminal and ignore CORS.
pub(crate) static ALIASES: [Alias; 7] = [
    // httpbin: /bytes/1024
    Alias { path: "/bytes/", size: Size::Path, cross_origin: false, app_name: None },
    // Cloudflare's speed test: /__down?bytes=1000 and POST /__up
    Alias { path: "/__down", size: BYTES, cross_origin: true, app_name: CLOUDFLARE },
    Alias { path: "/__up", size: Size::Zero, cross_origin: true, app_name: CLOUDFLARE },
    // LibreSpeed: /garbage?ckSize=4 in chunks of 1 MiB, and /empty for pings and uploads
    Alias { path: "/garbage", size: CHUNKS, cross_origin: true, app_name: None },
    Alias { path: "/empty", size: Size::Zero, cross_origin: true, app_name: None },
    // whoami: /data?size=1&unit=KB
    Alias { path: "/data", size: UNIT_SIZE, cross_origin: false, app_name: None },
    // fortio: /echo?size=1024
    Alias { path: "/echo", size: ECHO_SIZE, cross_origin: false, app_name: None },
];

impl Alias {
    /// The alias that `path` names.
    pub(crate) fn find(path: &[u8]) -> Option<&'static Self> {
        ALIASES.iter().find(|alias| match alias.size {
            Size::Path => path.starts_with(alias.path.as_bytes()),
            _ => path == alias.path.as_bytes(),
        })
    }

    /// Length of the payload that a request asks for, in bytes; none if it is not a number or
    /// not within the sizes of `site`.
    pub(crate) fn payload_bytes(&self, path: &[u8], query: &[u8], site: &Site) -> Option<u64> {
        let bytes = match &self.size {
            Size::Path => size(path.strip_prefix(self.path.as_bytes())?)?,
            Size::Parameter { name, default, unit_bytes, units } => {
                let number = parameter(query, name).map_or(Some(*default), size)?;
                let unit = match parameter(query, b"unit") {
                    Some(value) if !units.is_empty() => named_unit(value, units)?,
                    _ => *unit_bytes,
                };
                number.checked_mul(unit)?
            }
            Size::Zero => 0,
        };
        (bytes == 0 || site.allows(bytes)).then_some(bytes)
    }
}

fn named_unit(value: &[u8], units: &[(&str, u64)]) -> Option<u64> {
    let named = units.iter().find(|(name, _)| value.eq_ignore_ascii_case(name.as_bytes()))?;
    Some(named.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Length of the payload. None means 404, and `Some(None)` means 400.
    fn bytes(path: &str, query: &str) -> Option<Option<u64>> {
        let site = Site::new("/heartbeat/", 2, 8 * MIB).unwrap();
        let alias = Alias::find(path.as_bytes())?;
        Some(alias.payload_bytes(path.as_bytes(), query.as_bytes(), &site))
    }

    #[test]
    fn sizes_are_read_as_the_tools_write_them() {
        for (path, query, expected) in [
            ("/bytes/17", "", 17),
            ("/bytes/017", "seed=1", 17),
            ("/__down", "bytes=1000", 1000),
            ("/__down", "measId=1&bytes=8388608", 8 * MIB),
            ("/__down", "", 0),
            ("/__up", "", 0),
            ("/__up", "bytes=9", 0),
            ("/garbage", "r=0.1&ckSize=8&cors=true", 8 * MIB),
            ("/garbage", "", 4 * MIB),
            ("/empty", "r=0.5", 0),
            ("/data", "size=3&unit=KB", 3 * KIB),
            ("/data", "size=1&unit=mb", MIB),
            ("/data", "size=5", 5),
            ("/echo", "size=1024", KIB),
            ("/echo", "size=20&unit=KB", 20),
            ("/echo", "", 0),
        ] {
            assert_eq!(bytes(path, query), Some(Some(expected)), "{path}?{query}");
        }
    }

    #[test]
    fn a_size_of_0_is_served_whatever_the_minimum_is() {
        for (path, query) in [
            ("/bytes/0", ""),
            ("/__down", "bytes=0"),
            ("/garbage", "ckSize=0"),
            ("/data", "size=0"),
            ("/echo", "size=0"),
        ] {
            assert_eq!(bytes(path, query), Some(Some(0)), "{path}?{query}");
        }
    }

    #[test]
    fn sizes_out_of_range_or_without_a_number_are_refused() {
        for (path, query) in [
            ("/bytes/1", ""),
            ("/bytes/8388609", ""),
            ("/bytes/", ""),
            ("/bytes/1a", ""),
            ("/bytes/17/", ""),
            ("/__down", "bytes=1"),
            ("/__down", "bytes=8388609"),
            ("/__down", "bytes="),
            ("/__down", "bytes=-5"),
            ("/__down", "bytes=1e3"),
            ("/garbage", "ckSize=9"),
            ("/garbage", "ckSize=18446744073709551615"),
            ("/data", ""),
            ("/data", "size=4&unit=XB"),
            ("/data", "size=1&unit=TB"),
            ("/echo", "size=1024:50,512:50"),
        ] {
            assert_eq!(bytes(path, query), Some(None), "{path}?{query}");
        }
    }

    #[test]
    fn other_paths_are_no_aliases() {
        for path in ["/bytes", "/__down/", "/__downs", "/garbage.php", "/Data", "/empty/x", "/"] {
            assert_eq!(bytes(path, ""), None, "{path}");
        }
    }
}
