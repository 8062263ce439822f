//! Owns the choice of the send tier: tries what was asked for, says why it is what it is.

use std::io;

use crate::config::SendTier;
use crate::send::arena::{ARENA_BYTES, Arena};
use crate::send::pipe::PayloadPipe;
use crate::send::ring::{Operation, SendRing};

/// Payloads from this many bytes on go through the companion ring.
///
/// Measured on loopback (Linux 6.18, 64 connections, a client that discards, medians of nine
/// rounds of CPU per answer, copy against registered): 8 KiB 2.8 and 3.4 us, 64 KiB 8.9 and 9.6,
/// 128 KiB 9.2 and 10.2, 256 KiB 18.3 and 20.1, 1 MiB 60 and 77. The second io_uring_enter is a
/// fifth of a small answer and a tenth of one this long; what registration saves, the look-up of
/// pages, loopback does not show.
pub(crate) const RING_BYTES_MIN: u64 = 256 * 1024;

/// Payloads from this many bytes on are spliced, where the peer is one to splice to.
///
/// Measured as above, cycles of the CPU per answer in thousands, copy against splice: to a client
/// that discards 16 KiB 11.0 and 10.4, 64 KiB 23 and 22, 256 KiB 52 and 40, 1 MiB 188 and 155; to
/// one that reads 64 KiB 40 and 34, 256 KiB 126 and 76, 1 MiB 195 and 102.
pub(crate) const SPLICE_BYTES_MIN: u64 = 64 * 1024;

/// What a worker sends large payloads with, besides ordinary writes.
#[derive(Default)]
pub(crate) struct Means {
    pub(crate) ring: Option<SendRing>,
    pub(crate) pipe: Option<PayloadPipe>,
}

/// The tier of a worker on either driver: which one it gets is known when all have built theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tiers {
    pub(crate) uring: Tier,
    pub(crate) epoll: Tier,
}

/// How large answers leave, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tier {
    pub(crate) name: &'static str,
    pub(crate) reason: String,
}

/// Builds what was asked for, where it can be had; the ring only for a worker with io_uring.
pub(crate) fn build(asked: SendTier, arena: &Arena, has_uring: bool) -> (Means, Tiers) {
    let mut means = Means::default();
    let mut pipe_error = None;
    if matches!(asked, SendTier::Auto | SendTier::Splice) {
        match PayloadPipe::new(arena) {
            Ok(pipe) => means.pipe = Some(pipe),
            Err(error) => pipe_error = Some(error),
        }
    }
    let (operation, name) = match asked {
        SendTier::Copy => return (means, Tiers::same(Tier::copy("asked for".to_string()))),
        SendTier::Splice => {
            let tier = match pipe_error {
                None => Tier { name: "splice", reason: "asked for".to_string() },
                Some(error) => Tier::copy(format!("splice refused: {error}")),
            };
            return (means, Tiers::same(tier));
        }
        SendTier::Auto | SendTier::Registered => (Operation::WritevFixed, "registered"),
        SendTier::Zerocopy => (Operation::SendmsgZc, "zerocopy"),
    };
    let mut tiers = Tiers::same(Tier::copy("registered buffers need io_uring".to_string()));
    if has_uring {
        tiers.uring = match SendRing::new(arena, operation) {
            Ok(ring) => {
                means.ring = Some(ring);
                Tier { name, reason: format!("{} KiB registered per worker", ARENA_BYTES / 1024) }
            }
            Err(error) => Tier::copy(refusal(&error)),
        };
    }
    if means.pipe.is_some() {
        for tier in [&mut tiers.uring, &mut tiers.epoll] {
            tier.reason.push_str("; splice to peers on this host");
        }
    }
    (means, tiers)
}

impl Tiers {
    fn same(tier: Tier) -> Self {
        Self { uring: tier.clone(), epoll: tier }
    }

    /// Of two workers' tiers the lesser ones: what all workers have is told.
    pub(crate) fn lesser(self, other: Self) -> Self {
        Self { uring: self.uring.lesser(other.uring), epoll: self.epoll.lesser(other.epoll) }
    }
}

impl Tier {
    fn copy(reason: String) -> Self {
        Self { name: "copy", reason }
    }

    fn lesser(self, other: Self) -> Self {
        if self.name != "copy" && other.name == "copy" { other } else { self }
    }
}

fn refusal(error: &io::Error) -> String {
    let cause = match error.raw_os_error() {
        Some(libc::ENOMEM) => "RLIMIT_MEMLOCK (ulimit -l) has no room for them",
        Some(libc::EOPNOTSUPP | libc::EINVAL) => "they need Linux 6.15",
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => {
            "a seccomp profile without io_uring_register"
        }
        _ => "no known cause",
    };
    format!("registered buffers refused: {error}: {cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_is_had_for_the_asking() {
        let arena = Arena::new().unwrap();
        let (means, tiers) = build(SendTier::Copy, &arena, true);
        assert!(means.ring.is_none() && means.pipe.is_none());
        assert_eq!(tiers.uring, Tier { name: "copy", reason: "asked for".to_string() });
        assert_eq!(tiers.epoll, tiers.uring);
    }

    #[test]
    fn splice_needs_no_io_uring_and_is_part_of_auto() {
        let arena = Arena::new().unwrap();
        let (means, tiers) = build(SendTier::Splice, &arena, false);
        assert!(means.ring.is_none() && means.pipe.is_some());
        assert_eq!(tiers.epoll.name, "splice");
        let (means, tiers) = build(SendTier::Auto, &arena, false);
        assert!(means.ring.is_none() && means.pipe.is_some());
        assert_eq!(tiers.epoll.name, "copy");
        assert!(tiers.epoll.reason.ends_with("splice to peers on this host"), "{tiers:?}");
        let (means, _) = build(SendTier::Registered, &arena, false);
        assert!(means.pipe.is_none(), "what was asked for and nothing else");
    }

    #[test]
    fn the_least_of_the_workers_is_told() {
        let tier = |name| Tier { name, reason: name.to_string() };
        let had = Tiers { uring: tier("registered"), epoll: tier("copy") };
        let refused = Tiers::same(tier("copy"));
        assert_eq!(had.clone().lesser(refused.clone()), refused);
        assert_eq!(refused.clone().lesser(had.clone()), refused);
        assert_eq!(had.clone().lesser(had.clone()), had);
    }

    #[test]
    fn a_refusal_names_its_cause() {
        for (errno, cause) in
            [(libc::ENOMEM, "RLIMIT_MEMLOCK"), (libc::EOPNOTSUPP, "6.15"), (libc::EPERM, "seccomp")]
        {
            assert!(refusal(&io::Error::from_raw_os_error(errno)).contains(cause));
        }
    }
}
