//! Decides which node asks which: every address has a place on a ring, and asks its successors.
//!
//! All nodes see the same addresses and hash them in the same way, so that they agree without
//! communication. Each is asked by as many nodes as it asks. A node that joins or leaves changes
//! only whom its predecessors ask.

use std::net::IpAddr;

/// Addresses in the order of their hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    places: Vec<(u64, IpAddr)>,
}

impl Ring {
    /// Gives every address its place. An address that occurs twice has one place. Beyond
    /// [`ADDRESSES_MAX`], those with the largest hashes are left out, so that all nodes leave out
    /// the same ones.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut places: Vec<_> =
            addresses.into_iter().map(|address| (place(address), address)).collect();
        places.sort_unstable();
        places.dedup();
        places.truncate(ADDRESSES_MAX);
        Self { places }
    }

    /// The next `count` addresses after `of`, which need not be on the ring itself.
    pub fn successors(&self, of: IpAddr, count: usize) -> Vec<IpAddr> {
        let start = self.places.partition_point(|at| *at <= (place(of), of));
        let (before, behind) = self.places.split_at(start);
        let others = behind.iter().chain(before).map(|(_, address)| *address);
        others.filter(|address| *address != of).take(count).collect()
    }

    /// Every address that has a place.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.places.iter().map(|(_, address)| *address)
    }

    /// How many addresses have a place.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no address has a place.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// FNV-1a over the bytes of the address, then the finalizer of SplitMix64, which places
/// neighbouring addresses far apart. The standard library's hash may change with its version, and
/// nodes of two versions must agree.
fn place(address: IpAddr) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let start = 0xcbf2_9ce4_8422_2325;
    let hash = match address {
        IpAddr::V4(address) => address.octets().iter().fold(start, fnv),
        IpAddr::V6(address) => address.octets().iter().fold(start, fnv),
    };
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The limit of one DNS message over TCP (64 KiB, 16 bytes per record): no look-up finds more.
pub const ADDRESSES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        IpAddr::from([10, 0, high, low])
    }

    #[test]
    fn a_place_never_changes_between_versions() {
        // These figures were computed from the rule, so that nodes of other versions have the same.
        assert_eq!(place(IpAddr::from([10, 0, 0, 1])), 0xe7a7_7091_5e3a_6bb4);
    }

    #[test]
    fn goes_on_at_the_beginning_of_the_ring_and_leaves_itself_out() {
        let ring = Ring::new((0..5).map(address));
        let order: Vec<_> = ring.addresses().collect();
        assert_eq!(ring.successors(order[3], 3), [order[4], order[0], order[1]]);
        assert_eq!(ring.successors(order[0], 99), order[1..]);
    }

    #[test]
    fn an_address_that_is_not_on_the_ring_has_neighbours() {
        let ring = Ring::new((0..5).map(address));
        assert_eq!(ring.successors(address(77), 3).len(), 3);
    }

    #[test]
    fn the_order_of_the_answer_and_repeated_addresses_change_nothing() {
        let ring = Ring::new((0..100).map(address));
        assert_eq!(Ring::new((0..100).rev().chain(0..50).map(address)), ring);
    }

    #[test]
    fn leaves_out_the_same_addresses_everywhere_beyond_the_limit() {
        let max = u16::try_from(ADDRESSES_MAX).unwrap();
        assert_eq!(Ring::new((0..max).map(address)).len(), ADDRESSES_MAX);
        let ring = Ring::new((0..=max).map(address));
        assert_eq!(ring.len(), ADDRESSES_MAX);
        assert_eq!(ring, Ring::new((0..=max).rev().map(address)));
    }

    #[test]
    fn a_single_node_is_not_its_own_neighbour() {
        assert!(Ring::new([address(1)]).successors(address(1), 10).is_empty());
        assert!(Ring::default().successors(address(1), 10).is_empty());
    }
}
