//! Pairing of strangers with a bot, and linking of people to persons known to the operators.

use std::time::Duration;

use tieline_core::ids::{IntegrationId, MessageId, OrganizationId, SenderId, UserId, fresh};
use tieline_core::pairing::{self as rules, Guess, PairingBook, PairingRequest};
use tieline_core::secret::Secret;
use tieline_core::timestamp::Timestamp;
use tieline_store::config::integration::IntegrationRecord;
use tieline_store::config::user::{self, User, UserChange};
use tieline_store::{Store, StoreError, pairing};

use crate::users;
use crate::world::{World, random};

/// How often a lost race is retried.
const MAX_RACES: u32 = 20;
/// Lifetime of a link code.
const LINK_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Outcome of redeeming a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeemed {
    /// It was right: the person who was let in, or to whom the sender was linked.
    Done(String),
    /// It is unknown, used up or expired.
    Wrong,
    /// Too many wrong codes: none is checked for this long.
    Wait(Duration),
}

/// Changes the pairing requests of an integration by compare-and-swap: retried after a lost race.
async fn change<T>(
    world: &World,
    integration: &IntegrationId,
    mut apply: impl FnMut(&mut PairingBook) -> T,
) -> Result<T, StoreError> {
    for race in 0..MAX_RACES {
        let before = pairing::load(&world.store, integration, world.clock.now()).await?;
        let mut after = before.clone();
        let outcome = apply(&mut after.value);
        if after == before {
            return Ok(outcome);
        }
        match pairing::save(&world.store, integration, &after, world.clock.now()).await {
            Ok(()) => return Ok(outcome),
            Err(StoreError::Conflict) => crate::pause_after_race(race).await,
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Conflict)
}

/// The pairing code of a stranger: their pending one or a new one. `None`: too many strangers wait.
///
/// # Errors
/// The table's.
pub async fn request(
    world: &World,
    integration: &IntegrationId,
    sender: &SenderId,
    name: Option<&str>,
) -> Result<Option<Secret>, StoreError> {
    let new = PairingRequest {
        id: fresh("par", random()),
        sender: sender.clone(),
        name: name.map(str::to_owned),
        code: rules::code(random()),
        at: world.clock.now(),
    };
    change(world, integration, |book| {
        book.request(new.clone()).map(|request| request.code.clone())
    })
    .await
}

/// The pending requests of an integration.
///
/// # Errors
/// The table's.
pub async fn pending(world: &World, integration: &IntegrationId) -> Result<Vec<PairingRequest>, StoreError> {
    let now = world.clock.now();
    let book = pairing::load(&world.store, integration, now).await?.value;
    Ok(book.pending(now).cloned().collect())
}

/// Lets in the person to whom `code` was shown, in a transaction of the store that `store_for` makes for the request. A redelivered
/// `message` is recognized.
///
/// # Errors
/// The table's.
pub async fn approve_code(
    world: &World,
    record: &IntegrationRecord,
    code: &str,
    message: Option<&MessageId>,
    store_for: impl Fn(&PairingRequest) -> Store,
) -> Result<Redeemed, StoreError> {
    let (now, typed) = (world.clock.now(), rules::typed(code));
    // The person is let in before the code is used up: after a crash in between, the code lets the same person in again.
    let guess = pairing::load(&world.store, &record.id, now)
        .await?
        .value
        .guess(&typed, now);
    if let Guess::Right(request) = &guess {
        admit(world, &store_for(request), record, request).await?;
    }
    let outcome = change(world, &record.id, |book| {
        if let Some((accepted, name)) = &book.accepted
            && Some(accepted) == message
        {
            return Redeemed::Done(name.clone());
        }
        match book.guess(&typed, now) {
            Guess::Right(request) => {
                let name = request.shown_name();
                book.accepted = message.map(|message| (message.clone(), name.clone()));
                Redeemed::Done(name)
            }
            Guess::Wrong => Redeemed::Wrong,
            Guess::Wait(until) => Redeemed::Wait(until.since(now)),
        }
    })
    .await?;
    Ok(outcome)
}

/// Ends a request, and lets its sender in if it is approved, in a transaction of the store that `store_for` makes for the request.
/// `false`: no such request is pending.
///
/// # Errors
/// The table's.
pub async fn decide(
    world: &World,
    record: &IntegrationRecord,
    id: &str,
    approved: bool,
    store_for: impl Fn(&PairingRequest) -> Store,
) -> Result<bool, StoreError> {
    let now = world.clock.now();
    let found = pending(world, &record.id)
        .await?
        .into_iter()
        .find(|request| request.id == id);
    let Some(request) = found else {
        return Ok(false);
    };
    if approved {
        admit(world, &store_for(&request), record, &request).await?;
    }
    change(world, &record.id, |book| book.take(id, now)).await?;
    Ok(true)
}

/// Deletes a person's request.
pub(crate) async fn forget(world: &World, integration: &IntegrationId, sender: &SenderId) -> Result<(), StoreError> {
    change(world, integration, |book| book.forget(sender)).await
}

async fn admit(
    world: &World,
    store: &Store,
    record: &IntegrationRecord,
    request: &PairingRequest,
) -> Result<(), StoreError> {
    let now = world.clock.now();
    let (organization, platform) = (&record.organization, &record.platform);
    let person = User::first_contact(organization, &record.id, platform, &request.sender, now);
    users::ensure_record(world, &person).await?;
    let change = UserChange {
        admitted: Some(true),
        ..UserChange::default()
    };
    change_user(world, store, (organization, &person.id), &change).await
}

/// Changes a person's record, in a transaction of `store`, by compare-and-swap: retried after a lost race. A person who is erased at the
/// same time has to ask again.
async fn change_user(
    world: &World,
    store: &Store,
    (organization, id): (&OrganizationId, &UserId),
    change: &UserChange,
) -> Result<(), StoreError> {
    for race in 0..MAX_RACES {
        let Some(before) = user::get(&world.store, organization, id).await? else {
            return Ok(());
        };
        match user::change(store, &before, change.clone()).await {
            Err(StoreError::Conflict) => crate::pause_after_race(race).await,
            done => {
                world.known_users.evict_facts(id);
                return done.map(drop);
            }
        }
    }
    Err(StoreError::Conflict)
}

/// Whether a person was let in.
pub(crate) async fn is_admitted(
    world: &World,
    organization: &OrganizationId,
    integration: &IntegrationId,
    sender: &SenderId,
) -> Result<bool, StoreError> {
    let found = user::get(&world.store, organization, &user::id_of(integration, sender)).await?;
    Ok(found.is_some_and(|user| user.admitted))
}

/// Creates a one-time code with which a person links themselves to `person`, known to the operators. Returns it with its expiry.
///
/// # Errors
/// The table's.
pub async fn make_link(
    world: &World,
    organization: &OrganizationId,
    person: &str,
) -> Result<(Secret, Timestamp), StoreError> {
    let (code, now) = (rules::code(random()), world.clock.now());
    let expires_at = now.after(LINK_LIFETIME);
    pairing::create_link(&world.store, organization, code.expose(), person, now, expires_at).await?;
    Ok((code, expires_at))
}

/// Links a user to the person for whom `code` was made. The same user may send the same code again.
///
/// # Errors
/// The table's.
pub(crate) async fn link(
    world: &World,
    organization: &OrganizationId,
    user: &UserId,
    code: &str,
) -> Result<Redeemed, StoreError> {
    let now = world.clock.now();
    let mut guesses = pairing::load_guesses(&world.store, user, now).await?;
    if let Some(until) = guesses.value.wait_until(now) {
        return Ok(Redeemed::Wait(until.since(now)));
    }
    let Some(person) = pairing::take_link(&world.store, organization, &rules::typed(code), user, now).await? else {
        guesses.value.count(now);
        pairing::save_guesses(&world.store, user, &guesses, now).await?;
        return Ok(Redeemed::Wrong);
    };
    let change = UserChange {
        linked: Some(Some(person.clone())),
        ..UserChange::default()
    };
    change_user(world, &world.store, (organization, user), &change).await?;
    Ok(Redeemed::Done(person))
}
