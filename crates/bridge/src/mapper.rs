//! Asks an organization's mapper which known person an account of a platform belongs to, and caches the answer with the person's record.

use std::time::Duration;

use serde_json::json;
use tieline_core::event::Sender;
use tieline_core::ids::{SenderId, UserId, fresh};
use tieline_core::mapper::{InvalidAnswer, MapperAnswer, Mapping, UnknownPolicy};
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::config::integration::IntegrationRecord;
use tieline_store::config::organization::{self, Mapper};
use tieline_store::config::user::{self, User};

use crate::error_chain::chain;
use crate::signed_post::{self, SignedPostError};
use crate::world::{World, chance, random};
use crate::{integration_log, users};

/// Log code of a mapper that could not be asked.
pub const MAPPER_UNREACHABLE: &str = "mapper_unreachable";
/// Log code of a person whom the mapper doesn't know.
pub const PERSON_UNKNOWN: &str = "person_unknown";

/// Timeout of a mapper: a person waits for the answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest answer.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// Most attempts to record an answer.
const MAX_RACES: usize = 5;

/// Why a mapper gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum MapperError {
    /// The request was not accepted.
    #[error(transparent)]
    Post(#[from] SignedPostError),
    /// The answer is longer than any documented one.
    #[error("the answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    /// The answer can't be read.
    #[error(transparent)]
    Invalid(#[from] InvalidAnswer),
}

/// Whether a sender's messages are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They are.
    Answered,
    /// They are refused: the mapper doesn't know the person.
    Refused,
    /// The mapper is to be asked first, with [`ask`].
    Due,
}

/// The verdict according to the cache.
pub(crate) async fn cached(world: &World, bot: &IntegrationRecord, sender: &Sender) -> Result<Verdict, StoreError> {
    let now = world.clock.now();
    let organization = organization::look_up(&world.store, &bot.organization, now).await?;
    let Some((mapper, version)) = organization.mapper.filter(|_| !sender.id.as_str().is_empty()) else {
        return Ok(Verdict::Answered);
    };
    let known = users::facts(world, &bot.organization, &bot.id, &sender.id).await?;
    Ok(verdict(
        &mapper,
        version,
        (known.is_linked, known.mapping.as_ref()),
        now,
    ))
}

fn verdict(mapper: &Mapper, version: u64, known: (bool, Option<&Mapping>), now: Timestamp) -> Verdict {
    match known {
        // The mapper isn't asked about people whom an operator has linked.
        (true, _) => Verdict::Answered,
        (false, None) => Verdict::Due,
        (false, Some(mapping)) if mapping.is_due(version, now) => Verdict::Due,
        (false, Some(mapping)) => of_mapping(mapper, mapping),
    }
}

fn of_mapping(mapper: &Mapper, mapping: &Mapping) -> Verdict {
    match mapper.unknown {
        UnknownPolicy::Refuse if mapping.is_unknown() => Verdict::Refused,
        UnknownPolicy::Refuse | UnknownPolicy::Allow => Verdict::Answered,
    }
}

/// Asks about a sender, unless another process just did, and records the answer. If the mapper can't be asked, its last answer counts,
/// if there was one.
pub(crate) async fn ask(world: &World, bot: &IntegrationRecord, sender: &Sender) -> Result<Verdict, StoreError> {
    let now = world.clock.now();
    let organization = organization::look_up(&world.store, &bot.organization, now).await?;
    let Some((mapper, version)) = organization.mapper else {
        return Ok(Verdict::Answered);
    };
    let id = user::id_of(&bot.id, &sender.id);
    let Some(person) = user::get(&world.store, &bot.organization, &id).await? else {
        // Erased a moment ago: nothing is recorded.
        let answer = question(world, &mapper, bot, &sender.id, sender.name.as_deref()).await;
        return Ok(match answer {
            Ok(answer) => of_mapping(&mapper, &Mapping::answered(answer, version, now)),
            Err(_) => Verdict::Answered,
        });
    };
    let known = (person.linked.is_some(), person.mapping.as_ref());
    match verdict(&mapper, version, known, now) {
        Verdict::Due => {}
        settled => {
            world.known_users.evict_facts(&id);
            return Ok(settled);
        }
    }
    let answer = question(world, &mapper, bot, &sender.id, sender.name.as_deref()).await;
    let person = record(world, bot, person, version, &answer).await?;
    Ok(
        match person.and_then(|person| person.mapping.filter(|_| person.linked.is_none())) {
            Some(mapping) => of_mapping(&mapper, &mapping),
            None => Verdict::Answered,
        },
    )
}

/// Asks about a person now, for an operator. Returns the person as recorded, and why the mapper gave no answer if it didn't.
///
/// # Errors
/// The table's.
pub async fn ask_now(
    world: &World,
    (mapper, version): (&Mapper, u64),
    bot: &IntegrationRecord,
    person: User,
) -> Result<(Option<User>, Option<MapperError>), StoreError> {
    let sender = SenderId::new(&*person.external_id);
    let answer = question(world, mapper, bot, &sender, None).await;
    let person = record(world, bot, person, version, &answer).await?;
    Ok((person, answer.err()))
}

/// Asks whether the mapper answers at all, about an account that doesn't exist.
///
/// # Errors
/// [`MapperError`] if it doesn't.
pub async fn probe(world: &World, mapper: &Mapper, bot: &IntegrationRecord) -> Result<(), MapperError> {
    let sender = SenderId::new("tieline-doctor");
    question(world, mapper, bot, &sender, None).await.map(drop)
}

async fn question(
    world: &World,
    mapper: &Mapper,
    bot: &IntegrationRecord,
    sender: &SenderId,
    name: Option<&str>,
) -> Result<MapperAnswer, MapperError> {
    let id = fresh("map", random());
    let body = json!({
        "id": id,
        "organization": { "id": bot.organization },
        "platform": bot.platform,
        "integration": { "id": bot.id, "name": bot.name },
        "user": { "id": user::id_of(&bot.id, sender), "externalId": sender, "displayName": name },
        "locale": bot.language,
    });
    let to = (&*mapper.url, &mapper.secret);
    let mut answer = signed_post::send(world, to, (&id, body.to_string()), PATIENCE).await?;
    let mut read = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(SignedPostError::unreachable)? {
        if read.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(MapperError::TooLong);
        }
        read.extend_from_slice(&chunk);
    }
    Ok(MapperAnswer::read(&read)?)
}

/// Records the mapper's answer. `None`: the person was erased meanwhile.
async fn record(
    world: &World,
    bot: &IntegrationRecord,
    mut person: User,
    version: u64,
    answer: &Result<MapperAnswer, MapperError>,
) -> Result<Option<User>, StoreError> {
    let now = world.clock.now();
    report(world, bot, &person.id, answer).await;
    let id = person.id.clone();
    for race in 1..=MAX_RACES {
        let mapping = match answer {
            Ok(answer) => Mapping::answered(answer.clone(), version, now),
            Err(error) => Mapping::failed(person.mapping.as_ref(), &chain(error), version, (now, chance())),
        };
        match user::record_mapping(&world.store, &person, mapping).await {
            Err(StoreError::Conflict) if race < MAX_RACES => {}
            recorded => {
                world.known_users.evict_facts(&id);
                return recorded.map(Some);
            }
        }
        match user::get(&world.store, &bot.organization, &id).await? {
            Some(newer) => person = newer,
            None => return Ok(None),
        }
    }
    Err(StoreError::Conflict)
}

async fn report(world: &World, bot: &IntegrationRecord, id: &UserId, answer: &Result<MapperAnswer, MapperError>) {
    match answer {
        Ok(MapperAnswer::Person(_)) => {}
        Ok(MapperAnswer::Unknown) => {
            let line = format!("the mapper does not know the user {id}");
            integration_log::warn(world, &bot.id, PERSON_UNKNOWN, &line).await;
        }
        Err(error) => {
            let line = format!("the mapper can't be asked about the user {id}: {}", chain(error));
            integration_log::warn(world, &bot.id, MAPPER_UNREACHABLE, &line).await;
        }
    }
}
