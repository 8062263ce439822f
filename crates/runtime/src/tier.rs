//! Owns the choice of the send tier: tries what was asked for, and says why it is what it is.

use std::io;

use crate::arena::{ARENA_BYTES, Arena};
use crate::config::SendTier;
use crate::send_ring::{Operation, SendRing};

/// Payloads from this many bytes on go through the companion ring.
///
/// Measured on loopback (Linux 6.18, 64 connections, a client that discards, medians of nine
/// rounds of CPU per answer, copy against registered): 8 KiB 2.8 and 3.4 us, 64 KiB 8.9 and 9.6,
/// 128 KiB 9.2 and 10.2, 256 KiB 18.3 and 20.1, 1 MiB 60 and 77. The second io_uring_enter is a
/// fifth of a small answer and a tenth of one this long; what registration saves, the look-up of
/// pages, loopback does not show.
pub(crate) const RING_BYTES_MIN: u64 = 256 * 1024;

/// How large answers leave, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tier {
    pub(crate) name: &'static str,
    pub(crate) reason: String,
}

/// Builds the companion ring for what was asked, where it can be had.
pub(crate) fn build(asked: SendTier, arena: &Arena) -> (Option<SendRing>, Tier) {
    let (operation, name) = match asked {
        SendTier::Copy => return (None, Tier::copy("asked for".to_string())),
        SendTier::Auto | SendTier::Registered => (Operation::WritevFixed, "registered"),
        SendTier::Zerocopy => (Operation::SendmsgZc, "zerocopy"),
    };
    match SendRing::new(arena, operation) {
        Ok(ring) => {
            let reason = format!("{} KiB registered per worker", ARENA_BYTES / 1024);
            (Some(ring), Tier { name, reason })
        }
        Err(error) => (None, Tier::copy(refusal(&error))),
    }
}

impl Tier {
    fn copy(reason: String) -> Self {
        Self { name: "copy", reason }
    }

    /// The tier of a worker that runs on epoll.
    pub(crate) fn of_epoll() -> Self {
        Self::copy("registered buffers need io_uring".to_string())
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
        let (ring, tier) = build(SendTier::Copy, &arena);
        assert!(ring.is_none());
        assert_eq!(tier, Tier { name: "copy", reason: "asked for".to_string() });
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
