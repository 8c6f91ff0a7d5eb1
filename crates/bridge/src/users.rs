//! People, known from their first message on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tieline_core::envelope::EnvelopeV1;
use tieline_core::ids::{OrganizationId, SenderId, UserId};
use tieline_store::StoreError;
use tieline_store::config::integration::Bound;
use tieline_store::config::user::{self, User};
use tokio::time::Instant;

use crate::world::World;

/// Most people that are remembered as known.
const MAX_REMEMBERED: usize = 100_000;
/// How long a recorded user is cached. Another process may have deleted the record meanwhile: then it is created again by the first
/// message after this. A person who talks all the time costs one small read per period.
const LIFE: Duration = Duration::from_secs(5 * 60);

/// Users already recorded, so that a message from one writes nothing, and since when. Cache; bounded.
#[derive(Debug, Default)]
pub struct KnownUsers(Mutex<HashMap<UserId, Instant>>);

impl KnownUsers {
    fn holds(&self, id: &UserId, now: Instant) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id).is_some_and(|since| now.duration_since(*since) < LIFE)
    }

    fn add(&self, id: UserId, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(id, now);
    }

    fn forget(&self, id: &UserId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// Creates the person on first contact.
///
/// # Errors
/// The table's.
pub(crate) async fn ensure(
    world: &World,
    envelope: &EnvelopeV1,
    bound: &Bound,
    sender: &SenderId,
) -> Result<(), StoreError> {
    if sender.as_str().is_empty() {
        // The platform doesn't tell who it was.
        return Ok(());
    }
    let id = user::id_of(&envelope.integration, sender);
    // Before the look: what it finds is as old as this.
    let begun = Instant::now();
    if world.known_users.holds(&id, begun) {
        return Ok(());
    }
    let platform = &bound.integration.platform;
    let now = world.clock.now();
    let person = User::first_contact(&envelope.organization, &envelope.integration, platform, sender, now);
    user::ensure(&world.store, &person).await?;
    world.known_users.add(id, begun);
    Ok(())
}

/// Deletes a person's record, which is created again at the next contact. `false` if there is no record of that id.
///
/// # Errors
/// The table's.
pub async fn forget(world: &World, organization: &OrganizationId, id: &UserId) -> Result<bool, StoreError> {
    let deleted = user::delete(&world.store, organization, id).await?;
    // After the table: a reader in between finds no record.
    world.known_users.forget(id);
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_known_for_a_while_and_not_when_forgotten() {
        let (known, now) = (KnownUsers::default(), Instant::now());
        let id = UserId::new("usr_1");
        assert!(!known.holds(&id, now));
        known.add(id.clone(), now);
        assert!(known.holds(&id, now + LIFE / 2));
        assert!(!known.holds(&id, now + LIFE));
        known.forget(&id);
        assert!(!known.holds(&id, now));
    }
}
