//! User records, created with a person's first message.

use tieline_core::envelope::EnvelopeV1;
use tieline_core::event::Sender;
use tieline_core::ids::{IntegrationId, OrganizationId, SenderId};
use tieline_store::StoreError;
use tieline_store::config::integration::Bound;
use tieline_store::config::user::{self, User};
use tokio::time::Instant;

use crate::accounts::Bot;
use crate::names;
use crate::state::known_users::UserFacts;
use crate::world::World;

/// Most attempts to create a record.
const MAX_RACES: u32 = 5;

/// Creates the record on first contact.
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
        // The platform doesn't say who it was.
        return Ok(());
    }
    let id = user::id_of(&envelope.integration, sender);
    // Taken before the read: the result is at least as recent as this.
    let begun = Instant::now();
    if world.known_users.holds(&id, begun) {
        return Ok(());
    }
    let platform = &bound.integration.platform;
    let now = world.clock.now();
    let person = User::first_contact(&envelope.organization, &envelope.integration, platform, sender, now);
    ensure_record(world, &person).await?;
    world.known_users.add(id, begun);
    Ok(())
}

/// Creates the record of a person, unless there is one.
///
/// # Errors
/// The table's.
pub(crate) async fn ensure_record(world: &World, person: &User) -> Result<(), StoreError> {
    for race in 0..MAX_RACES {
        match user::ensure(&world.store, person).await {
            // Another process creates the record just now.
            Err(StoreError::Conflict) => crate::pause_after_race(race).await,
            done => return done.map(drop),
        }
    }
    Err(StoreError::Conflict)
}

/// The cached facts of a sender, as sent to agents.
///
/// # Errors
/// The table's.
pub(crate) async fn facts(
    world: &World,
    organization: &OrganizationId,
    integration: &IntegrationId,
    sender: &SenderId,
) -> Result<UserFacts, StoreError> {
    if sender.as_str().is_empty() {
        return Ok(UserFacts::default());
    }
    let id = user::id_of(integration, sender);
    let begun = Instant::now();
    if let Some(facts) = world.known_users.facts(&id, begun) {
        return Ok(facts);
    }
    let found = user::look_up(&world.store, organization, &id).await?;
    let facts = found.map(facts_of).unwrap_or_default();
    world.known_users.keep(id, facts.clone(), begun);
    Ok(facts)
}

/// The sender's name, if known: from an operator or the mapper, the message, or the platform on request.
pub(crate) async fn display_name(world: &World, bot: &Bot, known: &UserFacts, sender: &Sender) -> Option<String> {
    match known.name.clone().or_else(|| sender.name.clone()) {
        None if !sender.id.as_str().is_empty() => names::person(world, bot, &sender.id).await,
        told => told,
    }
}

/// Name and mail address of a new record are derived from the platform's own id: they are no facts.
fn facts_of(user: User) -> UserFacts {
    let name = user.known_name();
    UserFacts {
        name: (name != user.external_id).then(|| name.to_owned()),
        person: user.known_person(),
        is_linked: user.linked.is_some(),
        mapping: user.mapping,
        unanswered: user.unanswered,
    }
}
