//! Resolves a name to its addresses, and connects to each of them.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

use super::report::{Address, microseconds};
use crate::client::Target;

/// The addresses of a server.
pub(super) struct Found {
    /// The look-up of the name; an address needs none.
    pub(super) resolve: Option<Duration>,
    pub(super) addresses: Vec<Address>,
    /// The address that a client would use; `None` if no address answers.
    pub(super) chosen: Option<SocketAddr>,
}

/// Resolves the name of `target` and connects to each of its addresses.
///
/// # Errors
///
/// A name that has no address.
pub(super) async fn find(target: &Target) -> io::Result<Found> {
    let start = Instant::now();
    let (resolve, addresses) = match target.address() {
        Some(address) => (None, vec![SocketAddr::new(address, target.port())]),
        None => {
            let found = lookup_host((target.host(), target.port())).await?;
            let mut found: Vec<_> = found.take(ADDRESSES_MAX).collect();
            let mut seen = HashSet::new();
            found.retain(|address| seen.insert(*address));
            (Some(start.elapsed()), found)
        }
    };
    let mut attempts = JoinSet::new();
    for (index, address) in addresses.iter().copied().enumerate() {
        attempts.spawn(async move { (index, connect(address).await) });
    }
    let mut results: Vec<_> = attempts.join_all().await;
    results.sort_unstable_by_key(|(index, _)| *index);
    let times = results.iter().filter_map(|(index, result)| {
        // A client tries one address after the other, each a moment later (RFC 8305).
        let head_start = ATTEMPT_DELAY * u32::try_from(*index).unwrap_or(u32::MAX);
        Some((head_start + *result.as_ref().ok()?, addresses[*index]))
    });
    let chosen = times.min_by_key(|(time, _)| *time).map(|(_, address)| address);
    let addresses = results
        .iter()
        .map(|(index, result)| Address {
            address: addresses[*index].to_string(),
            connect_us: result.as_ref().ok().copied().map(microseconds),
            error: result.as_ref().err().map(io::Error::to_string),
        })
        .collect();
    Ok(Found { resolve, addresses, chosen })
}

async fn connect(address: SocketAddr) -> io::Result<Duration> {
    let start = Instant::now();
    let attempt = tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(address)).await;
    let silent = || io::Error::new(io::ErrorKind::TimedOut, "no answer within 3.2 s");
    attempt.map_err(|_| silent())??;
    Ok(start.elapsed())
}

/// RFC 8305 section 8: the recommended delay between attempts.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Long enough for the second and the third SYN, which are sent after one and after three seconds.
const CONNECT_TIME_MAX: Duration = Duration::from_millis(3_200);
/// More addresses of one name show nothing new.
const ADDRESSES_MAX: usize = 16;
