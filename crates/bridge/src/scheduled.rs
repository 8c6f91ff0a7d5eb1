//! Sends scheduled messages when they are due. The id of each message is derived from the scheduled one and its recipient, so nothing is sent
//! twice by a process that dies in the middle, or by two processes at the same time.

use std::time::Duration;

use tieline_core::ids::{SenderId, digest};
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::config::integration;
use tieline_store::config::user;
use tieline_store::scheduled::{self, Audience, Content as StoredContent, Due, Scheduled, State};
use tracing::{info, warn};

use crate::accounts::{self, Bot};
use crate::error_chain::chain;
use crate::integration_log;
use crate::proactive::{self, Content, Recipient, SpeakError};
use crate::world::World;

/// Most scheduled messages processed at a time. The others have their turn in the next pass.
const MAX_DUE: usize = 100;
/// People per page: the progress of a message is recorded after each.
const PAGE: usize = 50;
/// Pages per pass: a message to many people continues in the next one, so that it doesn't delay others.
const MAX_PAGES: usize = 10;
/// How long after its time a message may be stored at the latest: its creator may have been frozen.
const STORED_WITHIN: Duration = Duration::from_mins(15);
/// A message that is later than this, because no process ran, is not sent.
const TOO_LATE: Duration = Duration::from_hours(24);

/// Reason of a message that is not sent because it is too late.
const LATE: &str = "too_late";
const GONE: &str = "integration_not_found";
const STOPPED: &str = "integration_stopped";
const UNUSABLE: &str = "config_invalid";
const SILENT: &str = "not_supported";

/// Sends all messages that are due. Failures are logged and retried in the next pass.
pub async fn say_due(world: &World) {
    let now = world.clock.now();
    let all = match scheduled::due(&world.store, MAX_DUE, now).await {
        Ok(all) => all,
        Err(error) => {
            warn!(error = %error, "scheduled messages can't be listed");
            return;
        }
    };
    for due in &all {
        if let Err(error) = say(world, due, now).await {
            warn!(organization.id = %due.organization, scheduled = due.id, error = %chain(&error), "scheduled message can't be sent yet");
        }
    }
}

async fn say(world: &World, due: &Due, now: Timestamp) -> Result<(), SpeakError> {
    let Some(mut message) = scheduled::get(&world.store, &due.organization, &due.id, now).await? else {
        // Its creator was told that it isn't kept, or stores it just now.
        if now > due.at.after(STORED_WITHIN) {
            scheduled::settle(&world.store, due).await?;
        }
        return Ok(());
    };
    if message.state == State::Waiting {
        message.state = match voice(world, &message, now).await? {
            Ok(bot) => match say_to_all(world, &bot, &mut message).await? {
                Progress::Done => State::Said,
                Progress::GoesOn => return Ok(()),
            },
            Err(reason) => State::Failed(reason.to_owned()),
        };
        match scheduled::save(&world.store, &mut message).await {
            Ok(()) => {}
            // Cancelled meanwhile, or said in part by another process, which goes on: the next pass reads which.
            Err(StoreError::Conflict) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        tell(world, &message).await;
    }
    Ok(scheduled::settle(&world.store, due).await?)
}

/// The bot that sends it, or why there is none.
async fn voice(world: &World, message: &Scheduled, now: Timestamp) -> Result<Result<Bot, &'static str>, StoreError> {
    if now.since(message.at) > TOO_LATE && message.n_said == 0 {
        return Ok(Err(LATE));
    }
    let found = integration::get(&world.store, &message.integration).await?;
    let Some(record) = found.filter(|record| record.organization == message.organization) else {
        return Ok(Err(GONE));
    };
    if !record.enabled {
        return Ok(Err(STOPPED));
    }
    let opened = accounts::open_if_usable(world, &record);
    let Some(bot) = crate::unless_key_is_lost(opened, now.since(message.at))? else {
        return Ok(Err(UNUSABLE));
    };
    let mode = bot.connector.manifest().mode(record.mode);
    Ok(match mode.is_some_and(|mode| mode.proactive_with(&record.endpoints)) {
        true => Ok(bot),
        false => Err(SILENT),
    })
}

/// Progress of a message after one pass.
enum Progress {
    Done,
    GoesOn,
}

async fn say_to_all(world: &World, bot: &Bot, message: &mut Scheduled) -> Result<Progress, SpeakError> {
    let to = match &message.to {
        Audience::Chat(chat) => Recipient::Chat(chat.clone()),
        Audience::Person(person) => Recipient::Person(person.clone()),
        Audience::Linked => return say_to_linked(world, bot, message).await,
    };
    speak(world, bot, message, to, "").await?;
    message.n_said = 1;
    Ok(Progress::Done)
}

async fn say_to_linked(world: &World, bot: &Bot, message: &mut Scheduled) -> Result<Progress, SpeakError> {
    for _ in 0..MAX_PAGES {
        let cursor = message.cursor.clone();
        let page = user::list(&world.store, &message.organization, cursor.as_deref(), PAGE).await?;
        let is_meant = |user: &&user::User| user.integration == message.integration && user.linked_to().is_some();
        let meant: Vec<SenderId> = page
            .items
            .iter()
            .filter(is_meant)
            .map(|user| SenderId::new(&*user.external_id))
            .collect();
        for person in &meant {
            speak(world, bot, message, Recipient::Person(person.clone()), person.as_str()).await?;
        }
        message.n_said += u32::try_from(meant.len()).unwrap_or(u32::MAX);
        message.cursor = page.cursor;
        if message.cursor.is_none() {
            return Ok(Progress::Done);
        }
        match scheduled::save(&world.store, message).await {
            Ok(()) => {}
            // Another process sends it at the same time, or it was cancelled: the next read shows which.
            Err(StoreError::Conflict) => return Ok(Progress::GoesOn),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Progress::GoesOn)
}

async fn speak(world: &World, bot: &Bot, message: &Scheduled, to: Recipient, whom: &str) -> Result<(), SpeakError> {
    let content = match &message.content {
        StoredContent::Text(text) => Content::Text(text.clone()),
        StoredContent::Card(card) => Content::Card(card.clone()),
    };
    proactive::speak(world, bot, to, content, name(&message.id, whom))
        .await
        .map(drop)
}

/// Seed of the message's id for one recipient: always the same.
fn name(id: &str, whom: &str) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes.copy_from_slice(&digest(&[id, whom]).as_bytes()[..12]);
    bytes
}

async fn tell(world: &World, message: &Scheduled) {
    let (id, organization) = (&message.id, &message.organization);
    match &message.state {
        State::Failed(reason) => {
            warn!(organization.id = %organization, scheduled = id, reason, "scheduled message was not sent");
            let text = format!("the scheduled message {id} was not said: {reason}");
            integration_log::warn(world, &message.integration, "schedule_failed", &text).await;
        }
        _ => {
            info!(organization.id = %organization, scheduled = id, n_said = message.n_said, "scheduled message was sent")
        }
    }
}
