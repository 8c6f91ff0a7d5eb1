//! Virtual shards: fixed shares of all bots, from which follows which relay shard a bot belongs to.
//!
//! Their number never changes, so what is stored by virtual shard stays where it is when the number of relay shards changes.

use crate::ids::{IntegrationId, digest};

/// How many virtual shards there are. A relay shard with a number from here on has no bots.
pub const N_VIRTUAL_SHARDS: usize = 1 << u8::BITS;

/// A virtual shard. Every bot belongs to one for ever.
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

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    /// Those of a relay shard.
    pub fn of_relay_shard(shard: usize, n_shards: usize) -> impl Iterator<Item = Self> {
        Self::all().filter(move |one| one.relay_shard(n_shards) == shard)
    }

    /// The relay shard that its bots belong to.
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

/// The relay shard of a bot. The same in every process as long as the number of relay shards is.
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

    /// How the relay shard was computed before there were virtual shards.
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
        fn no_bot_moves_where_the_number_of_relay_shards_is_a_power_of_two(name in ".{0,40}", power in 0u32..=8) {
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

    /// Entries are stored under these numbers.
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

    /// The hash is uneven in its low byte, which relay shards even out: what counts is that no list is much longer than the others.
    #[test]
    fn no_virtual_shard_has_more_than_twice_its_share() {
        let mut counts = [0; N_VIRTUAL_SHARDS];
        for n in 0..25_600 {
            counts[usize::from(VirtualShard::of(&id(n)).number())] += 1;
        }
        assert!(counts.iter().all(|count| (20..200).contains(count)), "{counts:?}");
    }
}
