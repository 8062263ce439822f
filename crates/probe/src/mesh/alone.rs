//! Explains why a node has no neighbours, and what to do about it.

use std::net::IpAddr;

/// A look-up and its result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search<'a> {
    pub(super) name: &'a str,
    /// The port of the servers.
    pub(super) port: u16,
    /// Why a look-up failed.
    pub(super) error: Option<&'a str>,
    /// The addresses of both families.
    pub(super) found: &'a [IpAddr],
    /// The address of this node, if it is known.
    pub(super) own: Option<IpAddr>,
}

/// Why there are no neighbours.
pub(super) fn why(search: Search<'_>) -> String {
    let Search { name, port, error, found, own } = search;
    let name = name.trim_end_matches('.');
    if let Some(error) = error.filter(|_| found.is_empty()) {
        return format!(
            "{name} could not be looked up: {error}. See whether the name service of \
             /etc/resolv.conf answers, or name another one with --dns."
        );
    }
    let Some(own) = own.filter(|_| !found.is_empty()) else {
        return format!(
            "DNS has no address for {name}, neither A nor AAAA. Is that the name of a headless \
             Service (clusterIP: None), and does it select pods? /etc/hosts is not read."
        );
    };
    let family = if own.is_ipv4() { "IPv4" } else { "IPv6" };
    let itself = match found.contains(&own) {
        true => format!("{own} is this node itself, which it does not ask, and there is no other"),
        false => format!("This node has {own} (--self), and there is no"),
    };
    let url = match own {
        IpAddr::V4(own) => format!("http://{own}:{port}"),
        IpAddr::V6(own) => format!("http://[{own}]:{port}"),
    };
    format!(
        "{name} has {}. {itself} address of {family}. Name a headless Service: its name has the \
         address of every node. One server alone is measured by: heartbeat-probe path {url}",
        listed(found)
    )
}

fn listed(found: &[IpAddr]) -> String {
    let mut words: Vec<_> = found.iter().take(LISTED_MAX).map(IpAddr::to_string).collect();
    if let Some(more) = found.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
        words.push(format!("{more} more"));
    }
    let addresses = if found.len() == 1 { "the address" } else { "the addresses" };
    format!("{addresses} {}", words.join(", "))
}

/// Enough addresses to recognize them.
const LISTED_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn why_of(found: &[&str], own: Option<&str>, error: Option<&str>) -> String {
        let found: Vec<_> = found.iter().map(|text| text.parse().unwrap()).collect();
        let own = own.map(|text| text.parse().unwrap());
        why(Search { name: "mesh.test", port: 8080, error, found: &found, own })
    }

    #[test]
    fn its_own_address_is_left_out() {
        let text = why_of(&["10.0.0.1"], Some("10.0.0.1"), None);
        assert!(text.starts_with("mesh.test has the address 10.0.0.1. 10.0.0.1 is this node"));
        assert!(text.contains("there is no other address of IPv4"), "{text}");
        assert!(text.ends_with("heartbeat-probe path http://10.0.0.1:8080"), "{text}");
        let text = why_of(&["127.0.0.1", "::1"], Some("::1"), None);
        assert!(text.starts_with("mesh.test has the addresses 127.0.0.1, ::1. ::1 is this node"));
        assert!(text.ends_with("http://[::1]:8080"), "{text}");
    }

    #[test]
    fn addresses_of_the_other_family_are_no_neighbours() {
        let five = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"];
        let text = why_of(&five[..4], Some("fd00::1"), None);
        assert!(text.contains("10.0.0.3, 10.0.0.4. This node has fd00::1 (--self)"), "{text}");
        assert!(text.contains("there is no address of IPv6"), "{text}");
        let text = why_of(&five, Some("fd00::1"), None);
        assert!(text.contains("10.0.0.4, 1 more. This"), "{text}");
    }

    #[test]
    fn a_name_without_addresses_and_a_failed_look_up_are_told_apart() {
        let text = why_of(&[], Some("10.0.0.1"), None);
        assert!(text.starts_with("DNS has no address for mesh.test"), "{text}");
        let text = why_of(&[], None, Some("no DNS server answered in time"));
        let start = "mesh.test could not be looked up: no DNS server answered in time.";
        assert!(text.starts_with(start), "{text}");
        // Addresses that were found before still count.
        let text = why_of(&["10.0.0.1"], Some("10.0.0.1"), Some("no DNS server answered in time"));
        assert!(text.starts_with("mesh.test has the address 10.0.0.1"), "{text}");
    }
}
