//! Makes sure that the process may open as many descriptors as a load needs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors besides those of connections: standard streams, files, the event loop, the timer,
/// the name service.
const SPARE: u64 = 64;

/// Raises the limit of this process to the number that `connections` need.
///
/// # Errors
///
/// A sentence that says how many are needed, and how many the system allows.
pub(crate) fn reserve(connections: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    let needed = connections.saturating_add(SPARE);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    check(connections, limit.maximum)?;
    let raised = Rlimit { current: Some(needed), ..limit };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| format!("the limit of open files cannot be raised to {needed}: {error}"))
}

fn check(connections: u64, maximum: Option<u64>) -> Result<(), String> {
    let needed = connections.saturating_add(SPARE);
    let Some(maximum) = maximum.filter(|maximum| *maximum < needed) else { return Ok(()) };
    let most = maximum.saturating_sub(SPARE);
    Err(format!(
        "{connections} connections need {needed} open files, and the limit is {maximum}: raise it \
         (ulimit -n {needed}), or use at most {most} connections"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_below_what_is_needed_is_reported_with_both_numbers() {
        assert_eq!(check(1000, Some(1064)), Ok(()));
        assert_eq!(check(1000, None), Ok(()));
        let why = check(1000, Some(1063)).unwrap_err();
        for part in ["1000 connections", "need 1064", "limit is 1063", "at most 999 "] {
            assert!(why.contains(part), "{why}");
        }
        assert!(check(u64::MAX, Some(10)).is_err());
    }

    #[test]
    fn a_limit_that_is_high_enough_stays() {
        assert_eq!(reserve(1), Ok(()));
    }
}
