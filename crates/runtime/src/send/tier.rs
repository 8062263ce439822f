//! Owns how large answers are sent: which tier a worker gets, and which way an answer takes.
//! Nothing else knows these thresholds and fallbacks.

use std::cell::Cell;

use crate::config::Tier;
use crate::os::event_loop::Driver;
use crate::os::refusal::Refusal;
use crate::send::arena::{ARENA_BYTES, Arena};
use crate::send::pipe::PayloadPipe;
use crate::send::ring::SendRing;

/// Payloads from this many bytes on go through the ring with the registered buffers.
///
/// Measured on loopback (Linux 6.18, 64 connections, a client that discards, medians of nine
/// rounds of CPU per answer, copy against registered): 8 KiB 2.8 and 3.4 us, 64 KiB 8.9 and 9.6,
/// 128 KiB 9.2 and 10.2, 256 KiB 18.3 and 20.1, 1 MiB 60 and 77. The second io_uring_enter(2) is a
/// fifth of the cost of a small answer, and a tenth of that of one this long. Registration saves
/// the look-up of pages, which does not show on loopback.
const RING_BYTES_MIN: u64 = 256 * 1024;

/// Payloads from this many bytes on are spliced.
///
/// Measured as above, cycles of the CPU per answer in thousands, copy against splice: to a client
/// that discards 16 KiB 11.0 and 10.4, 64 KiB 23 and 22, 256 KiB 52 and 40, 1 MiB 188 and 155; to
/// one that reads 64 KiB 40 and 34, 256 KiB 126 and 76, 1 MiB 195 and 102. Over a veth pair splice
/// costs 0.7 of a copy from 256 KiB on, and 0.9 at 64 KiB; shorter ones were not measured there.
const SPLICE_BYTES_MIN: u64 = 64 * 1024;

/// A way that bytes of an answer take, with what it needs.
// A worker has only one, so the size of a ring does not matter.
#[expect(clippy::large_enum_variant)]
#[derive(Default)]
pub(crate) enum Way {
    #[default]
    Copy,
    Splice(PayloadPipe),
    Ring(SendRing),
}

/// What a worker sends large payloads with.
#[derive(Default)]
pub(crate) struct Means {
    way: Way,
    /// Whether the kernel has refused this way after the start.
    is_refused: Cell<bool>,
}

/// The tier of a worker, and why it is this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) tier: Tier,
    pub(crate) reason: String,
}

impl Means {
    /// How the next bytes of an answer with a payload of this length are sent.
    pub(crate) fn way(&self, payload_bytes: u64) -> &Way {
        let bytes_min = match self.way {
            Way::Copy => 0,
            Way::Splice(_) => SPLICE_BYTES_MIN,
            Way::Ring(_) => RING_BYTES_MIN,
        };
        let is_usable = payload_bytes >= bytes_min && !self.is_refused.get();
        if is_usable { &self.way } else { &Way::Copy }
    }

    /// Makes [`Means::way`] return ordinary writes from now on: the kernel refuses the other way.
    pub(crate) fn give_up(&self) {
        self.is_refused.set(true);
    }
}

/// Builds the wanted tier as far as the kernel allows it. A refusal is never fatal: ordinary writes
/// are always possible.
pub(crate) fn build(asked: Option<Tier>, arena: &Arena, driver: Driver) -> (Means, Choice) {
    let tier = asked.unwrap_or(Tier::Splice);
    let built = match tier {
        Tier::Copy => Ok((Way::Copy, "as configured".to_string())),
        Tier::Splice => {
            let reason = if asked.is_none() { "sends without a copy" } else { "as configured" };
            PayloadPipe::new(arena)
                .map(|pipe| (Way::Splice(pipe), reason.to_string()))
                .map_err(|error| format!("splice refused: {error}"))
        }
        Tier::Registered | Tier::Zerocopy if driver != Driver::IoUring => {
            Err("registered buffers need io_uring".to_string())
        }
        Tier::Registered | Tier::Zerocopy => {
            let reason = format!("{} KiB registered per worker", ARENA_BYTES / 1024);
            SendRing::new(arena, tier == Tier::Zerocopy)
                .map(|ring| (Way::Ring(ring), reason))
                .map_err(|error| Refusal::of("io_uring_register")(error).to_string())
        }
    };
    let (way, choice) = match built {
        Ok((way, reason)) => (way, Choice { tier, reason }),
        Err(reason) => (Way::Copy, Choice { tier: Tier::Copy, reason }),
    };
    (Means { way, ..Means::default() }, choice)
}

impl Choice {
    /// The weaker of two workers' choices, because the banner must hold for every worker.
    pub(crate) fn weaker(self, other: Self) -> Self {
        if self.tier != Tier::Copy && other.tier == Tier::Copy { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_needs_nothing() {
        let arena = Arena::new().unwrap();
        let (means, choice) = build(Some(Tier::Copy), &arena, Driver::IoUring);
        assert!(matches!(means.way, Way::Copy));
        assert_eq!(choice, Choice { tier: Tier::Copy, reason: "as configured".to_string() });
        assert!(matches!(means.way(1 << 30), Way::Copy));
    }

    #[test]
    fn auto_splices_on_both_drivers_from_its_threshold_on() {
        let arena = Arena::new().unwrap();
        for driver in [Driver::IoUring, Driver::Epoll] {
            for asked in [None, Some(Tier::Splice)] {
                let (means, choice) = build(asked, &arena, driver);
                assert_eq!(choice.tier, Tier::Splice);
                assert!(matches!(means.way(SPLICE_BYTES_MIN), Way::Splice(_)));
                assert!(matches!(means.way(SPLICE_BYTES_MIN - 1), Way::Copy));
                means.give_up();
                assert!(matches!(means.way(SPLICE_BYTES_MIN), Way::Copy), "never again");
            }
        }
    }

    #[test]
    fn registered_buffers_are_used_from_their_threshold_on_and_need_io_uring() {
        let arena = Arena::new().unwrap();
        let (means, choice) = build(Some(Tier::Registered), &arena, Driver::Epoll);
        assert!(matches!((means.way(1 << 30), choice.tier), (Way::Copy, Tier::Copy)));
        let (means, choice) = build(Some(Tier::Registered), &arena, Driver::IoUring);
        if choice.tier == Tier::Registered {
            assert!(matches!(means.way(RING_BYTES_MIN), Way::Ring(_)));
            assert!(matches!(means.way(RING_BYTES_MIN - 1), Way::Copy));
        }
        assert!(!matches!(means.way, Way::Splice(_)), "nothing but what was asked for");
    }

    #[test]
    fn the_weakest_choice_of_the_workers_is_reported() {
        let choice = |tier, reason: &str| Choice { tier, reason: reason.to_string() };
        let splice = choice(Tier::Splice, "sends without a copy");
        let copy = choice(Tier::Copy, "refused");
        assert_eq!(splice.clone().weaker(copy.clone()), copy);
        assert_eq!(copy.clone().weaker(splice.clone()), copy);
        assert_eq!(splice.clone().weaker(splice.clone()), splice);
    }
}
