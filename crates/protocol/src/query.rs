//! Owns the reading of a query: its parameters, compared byte by byte and never decoded.

/// The value of the first parameter called `name`; empty if it has no `=`, none if there is no such
/// parameter.
pub(crate) fn parameter<'q>(query: &'q [u8], name: &[u8]) -> Option<&'q [u8]> {
    query.split(|byte| *byte == b'&').find_map(|pair| match pair.strip_prefix(name)? {
        [] => Some(&[][..]),
        [b'=', value @ ..] => Some(value),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_by_its_whole_name() {
        for (query, value) in [
            ("timing", Some("")),
            ("timing=", Some("")),
            ("timing=1", Some("1")),
            ("a=b&timing=x=y&timing=z", Some("x=y")),
            ("&&timing", Some("")),
            ("", None),
            ("timings", None),
            ("xtiming", None),
            ("a=timing", None),
            ("Timing", None),
            ("timin%67", None),
        ] {
            let found = parameter(query.as_bytes(), b"timing");
            assert_eq!(found, value.map(str::as_bytes), "{query}");
        }
    }
}
