//! People, known from their first message on.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tieline_core::envelope::EnvelopeV1;
use tieline_core::event::Message;
use tieline_core::ids::UserId;
use tieline_store::StoreError;
use tieline_store::config::integration::Bound;
use tieline_store::config::user::{self, User};

use crate::world::World;

/// Most people that are remembered as known.
const MAX_REMEMBERED: usize = 100_000;

/// People who are known to be known.
#[derive(Debug, Default)]
pub struct Known(Mutex<HashSet<UserId>>);

impl Known {
    fn holds(&self, id: &UserId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    fn add(&self, id: UserId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(id);
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
    message: &Message,
) -> Result<(), StoreError> {
    let id = user::id_of(&envelope.integration, &message.sender.id);
    if world.known.holds(&id) {
        return Ok(());
    }
    let platform = &bound.integration.platform;
    let now = world.clock.now();
    let person = User::first_contact(
        &envelope.organization,
        &envelope.integration,
        platform,
        &message.sender.id,
        now,
    );
    user::ensure(&world.store, &person).await?;
    world.known.add(id);
    Ok(())
}
