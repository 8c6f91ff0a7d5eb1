//! Virtual shards: fixed shares of all bots. The virtual shard of a bot determines its relay shard.
//!
//! Their number never changes, so items stored by virtual shard keep their keys when the number of relay shards changes.

use crate::ids::{IntegrationId, digest};

/// Number of virtual shards. A relay shard with this number or a higher one has no bots.
pub const N_VIRTUAL_SHARDS: usize = 1 << u8::BITS;

/// A virtual shard. That of a bot never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualShard(u8);

impl VirtualShard {
    /// The virtual shard of a bot.
    #[must_use]
    pub fn of(integration: &IntegrationId) -> Self {
        let text = digest(&[integration.as_str()]);
        let hash = text
            .bytes()
            .take(8)
            .fold(0u64, |sum, byte| sum.wrapping_mul(257).wrapping_add(u64::from(byte)));
        Self(hash.to_le_bytes()[0])
    }

    /// All virtual shards.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    /// The virtual shards of a relay shard.
    pub fn of_relay_shard(shard: usize, n_shards: usize) -> impl Iterator<Item = Self> {
        Self::all().filter(move |one| one.relay_shard(n_shards) == shard)
    }

    /// The relay shard of its bots.
    #[must_use]
    pub fn relay_shard(self, n_shards: usize) -> usize {
        usize::from(self.0) % n_shards.max(1)
    }

    /// Its number, below [`N_VIRTUAL_SHARDS`].
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// The relay shard of a bot. The same in every process with the same number of relay shards.
#[must_use]
pub fn shard_of(integration: &IntegrationId, n_shards: usize) -> usize {
    VirtualShard::of(integration).relay_shard(n_shards)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u32) -> IntegrationId {
        IntegrationId::new(format!("int_{n}"))
    }

    /// The relay shard as computed by versions without virtual shards.
    fn shard_before(integration: &IntegrationId, n_shards: usize) -> usize {
        let text = digest(&[integration.as_str()]);
        let hash = text
            .bytes()
            .take(8)
            .fold(0u64, |sum, byte| sum.wrapping_mul(257).wrapping_add(u64::from(byte)));
        usize::try_from(hash % n_shards as u64).unwrap()
    }

    proptest! {
        #[test]
        fn no_bot_changes_its_relay_shard_if_their_number_is_a_power_of_two(name in ".{0,40}", power in 0u32..=8) {
            let (id, n_shards) = (IntegrationId::new(name), 1 << power);
            prop_assert_eq!(shard_of(&id, n_shards), shard_before(&id, n_shards));
        }

        #[test]
        fn a_relay_shard_has_the_virtual_shards_of_its_bots(name in ".{0,40}", n_shards in 1usize..300) {
            let id = IntegrationId::new(name);
            let shard = shard_of(&id, n_shards);
            prop_assert!(shard < n_shards);
            prop_assert!(VirtualShard::of_relay_shard(shard, n_shards).any(|one| one == VirtualShard::of(&id)));
        }

        #[test]
        fn each_virtual_shard_belongs_to_one_relay_shard(n_shards in 1usize..300) {
            let mut all: Vec<_> = (0..n_shards)
                .flat_map(|shard| VirtualShard::of_relay_shard(shard, n_shards))
                .collect();
            all.sort_unstable();
            prop_assert!(all.iter().copied().eq(VirtualShard::all()));
        }
    }

    /// Stored entries have these numbers in their keys.
    #[test]
    fn the_virtual_shard_of_a_bot_never_changes() {
        let numbers = [1, 2, 3].map(|n| VirtualShard::of(&id(n)).number());
        assert_eq!(numbers, [202, 186, 179]);
    }

    #[test]
    fn bots_spread_over_relay_shards() {
        for n_shards in [8, 12, 16, 64] {
            let mut counts = vec![0; n_shards];
            for n in 0..6_400 {
                counts[shard_of(&id(n), n_shards)] += 1;
            }
            let fair = 6_400 / n_shards;
            assert!(
                counts.iter().all(|count| (fair / 2..fair * 3 / 2).contains(count)),
                "{counts:?}"
            );
        }
    }

    /// The low byte of the hash is not distributed evenly. Relay shards balance that; the test ensures that no list is much longer than the others.
    #[test]
    fn no_virtual_shard_has_more_than_twice_its_share() {
        let mut counts = [0; N_VIRTUAL_SHARDS];
        for n in 0..25_600 {
            counts[usize::from(VirtualShard::of(&id(n)).number())] += 1;
        }
        assert!(counts.iter().all(|count| (20..200).contains(count)), "{counts:?}");
    }
}
