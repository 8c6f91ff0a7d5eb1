//! Plans which process holds which shard of bots: evenly, with as few moves as possible.
//!
//! Every process decides for itself from the same shard map. Two that read it at different times may want the same shard; a conditional
//! write lets one of them have it.

/// A process that is alive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Whether it is about to end: it releases its shards and acquires none.
    pub leaving: bool,
}

/// The plan of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Free shards to acquire.
    pub take: Vec<usize>,
    /// Shards of its own to release.
    pub give: Vec<usize>,
}

/// The plan of `me`. `holders` names the holder of each shard; `None` if it has no living holder.
#[must_use]
pub fn plan(members: &[Member], holders: &[Option<&str>], me: &str) -> Plan {
    let mut takers: Vec<&str> = members
        .iter()
        .filter(|member| !member.leaving)
        .map(|member| member.name.as_str())
        .collect();
    takers.sort_unstable();
    takers.dedup();
    let mine: Vec<usize> = (0..holders.len()).filter(|shard| holders[*shard] == Some(me)).collect();
    if !takers.contains(&me) {
        return Plan {
            take: Vec::new(),
            give: mine,
        };
    }
    let loads: Vec<Load<'_>> = takers.iter().map(|name| Load::of(name, holders)).collect();
    let n_give = to_give(&loads, holders.len(), me).min(mine.len());
    Plan {
        take: to_take(loads, holders, me),
        give: mine[mine.len() - n_give..].to_vec(),
    }
}

/// Number of shards of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Load<'a> {
    n: usize,
    name: &'a str,
}

impl<'a> Load<'a> {
    fn of(name: &'a str, holders: &[Option<&str>]) -> Self {
        let n = holders.iter().filter(|holder| **holder == Some(name)).count();
        Self { n, name }
    }
}

/// How many shards `me` has too many.
fn to_give(loads: &[Load<'_>], n_shards: usize, me: &str) -> usize {
    let least = n_shards / loads.len();
    let most = n_shards.div_ceil(loads.len());
    let mine = loads.iter().find(|load| load.name == me).map_or(0, |load| load.n);
    if mine > most {
        return mine - most;
    }
    // No member has too many, yet one may have too few: then members with one more than the least release that one.
    let wanted: usize = loads.iter().map(|load| least.saturating_sub(load.n)).sum();
    let held: usize = loads.iter().map(|load| load.n.min(most)).sum();
    let coming = n_shards - held;
    let n_givers = wanted.saturating_sub(coming);
    let mut givers = loads
        .iter()
        .filter(|load| load.n == most && most > least)
        .take(n_givers);
    usize::from(givers.any(|load| load.name == me))
}

/// Free shards for `me`, if each goes to the member with the fewest at that point.
fn to_take(mut loads: Vec<Load<'_>>, holders: &[Option<&str>], me: &str) -> Vec<usize> {
    let mut take = Vec::new();
    for shard in (0..holders.len()).filter(|shard| holders[*shard].is_none()) {
        let Some(poorest) = loads.iter_mut().min() else { break };
        poorest.n += 1;
        if poorest.name == me {
            take.push(shard);
        }
    }
    take
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(names: &[&str]) -> Vec<Member> {
        let member = |name: &&str| Member {
            name: (*name).to_owned(),
            leaving: false,
        };
        names.iter().map(member).collect()
    }

    #[track_caller]
    fn check(names: &[&str], holders: &[Option<&str>], me: &str, take: &[usize], give: &[usize]) {
        let plan = plan(&members(names), holders, me);
        assert_eq!((plan.take.as_slice(), plan.give.as_slice()), (take, give));
    }

    #[test]
    fn the_only_process_acquires_all_shards() {
        check(&["a"], &[None; 3], "a", &[0, 1, 2], &[]);
    }

    #[test]
    fn surplus_shards_are_released_before_a_joining_process_acquires_them() {
        let a = Some("a");
        check(&["a", "b"], &[a, a, a, a], "a", &[], &[2, 3]);
        check(&["a", "b"], &[a, a, a, a], "b", &[], &[]);
        check(&["a", "b"], &[a, a, None, a], "b", &[2], &[]);
    }

    #[test]
    fn a_difference_of_one_shard_stays() {
        let (a, b) = (Some("a"), Some("b"));
        check(&["a", "b"], &[a, a, b], "a", &[], &[]);
        check(&["a", "b"], &[a, a, b], "b", &[], &[]);
    }

    #[test]
    fn a_process_without_shards_gets_one_even_without_a_surplus() {
        let (a, b, c) = (Some("a"), Some("b"), Some("c"));
        let holders = [a, a, b, b, c, c];
        check(&["a", "b", "c", "d"], &holders, "a", &[], &[1]);
        check(&["a", "b", "c", "d"], &holders, "b", &[], &[]);
    }

    #[test]
    fn a_leaving_process_releases_all_and_acquires_nothing() {
        let mut members = members(&["a", "b"]);
        members[0].leaving = true;
        let plan = plan(&members, &[Some("a"), None, Some("a")], "a");
        assert_eq!((plan.take, plan.give), (vec![], vec![0, 2]));
    }

    /// All act once on the same shard map. Returns how many shards changed hands.
    fn round(members: &[Member], holders: &mut [Option<String>]) -> usize {
        let seen = holders.to_owned();
        let seen: Vec<_> = seen.iter().map(Option::as_deref).collect();
        let mut moves = 0;
        for member in members {
            let plan = plan(members, &seen, &member.name);
            for shard in plan.give {
                holders[shard] = None;
                moves += 1;
            }
            for shard in plan.take {
                assert_eq!(holders[shard], None, "two take one shard of the same picture");
                holders[shard] = Some(member.name.clone());
                moves += 1;
            }
        }
        moves
    }

    proptest! {
        #[test]
        fn shards_are_soon_held_evenly_after_members_change(
            n_shards in 1usize..40,
            n_members in 1usize..12,
            given in proptest::collection::vec(0usize..14, 40),
            leaving in proptest::collection::vec(proptest::bool::weighted(0.2), 12),
        ) {
            let mut members: Vec<Member> = (0..n_members)
                .map(|at| Member { name: format!("m{at:02}"), leaving: leaving[at] })
                .collect();
            // One member stays.
            members[0].leaving = false;
            // Members that are not alive hold nothing.
            let mut holders: Vec<Option<String>> =
                (0..n_shards).map(|at| members.get(given[at]).map(|member| member.name.clone())).collect();
            let mut rounds = 0;
            while round(&members, &mut holders) > 0 {
                rounds += 1;
                prop_assert!(rounds <= 4, "still moving: {holders:?}");
            }
            let staying = members.iter().filter(|member| !member.leaving);
            let counts: Vec<usize> = staying
                .map(|member| holders.iter().filter(|holder| holder.as_ref() == Some(&member.name)).count())
                .collect();
            prop_assert_eq!(counts.iter().sum::<usize>(), n_shards);
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        }
    }
}
