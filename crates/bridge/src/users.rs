//! People, known from their first message on.

use tieline_core::envelope::EnvelopeV1;
use tieline_core::ids::SenderId;
use tieline_store::StoreError;
use tieline_store::config::integration::Bound;
use tieline_store::config::user::{self, User};
use tokio::time::Instant;

use crate::world::World;

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
