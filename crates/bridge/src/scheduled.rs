//! Sends scheduled messages when they are due. The id of each message is derived from the scheduled one and its recipient, so nothing is sent
//! twice by a process that dies in the middle, or by two processes at the same time.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tieline_core::ids::{IntegrationId, SenderId, digest};
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::config::integration;
use tieline_store::config::user;
use tieline_store::data_keys::unless_key_is_lost;
use tieline_store::scheduled::{self, Audience, Content as StoredContent, Due, Kept, Scheduled, State};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::accounts::{self, Bot};
use crate::error_chain::chain;
use crate::integration_log;
use crate::proactive::{self, Content, Recipient, SpeakError};
use crate::world::World;

/// Most scheduled messages looked at in one pass. The others have their turn in the next one.
const MAX_DUE: usize = 5_000;
/// After this time, a pass sends nothing more. The next one continues: on Lambda, other periodic work shares the function's 29 s.
const PASS_LIMIT: Duration = Duration::from_secs(10);
/// People per page of a message to many: its progress is recorded after each, and another message has its turn.
const PAGE: usize = 50;
/// People of a page to whom it is sent concurrently.
const CONCURRENCY: usize = 8;
/// How long after its time a message may be stored at the latest: a process of an earlier version stores it after its pointer, and may have been
/// frozen in between.
const STORED_WITHIN: Duration = Duration::from_mins(15);
/// A message that is later than this, because no process ran, is not sent.
const TOO_LATE: Duration = Duration::from_hours(24);

/// Reason of a message that is not sent because it is too late.
const LATE: &str = "too_late";
const GONE: &str = "integration_not_found";
const STOPPED: &str = "integration_stopped";
const UNUSABLE: &str = "config_invalid";
const SILENT: &str = "not_supported";
const UNREADABLE: &str = "unreadable";

/// Sends messages that are due, until a time limit. Failures are logged and retried in the next pass.
///
/// Organizations take turns, and so do the messages of each: no number of recipients delays those of others.
pub async fn say_due(world: &World) {
    let (now, until) = (world.clock.now(), Instant::now() + PASS_LIMIT);
    let all = match scheduled::due(&world.store, MAX_DUE, now).await {
        Ok(all) => all,
        Err(error) => {
            warn!(error = %error, "scheduled messages can't be listed");
            return;
        }
    };
    let mut turns = Turns::of(all);
    while let Some(due) = turns.next() {
        if Instant::now() >= until {
            info!("scheduled messages remain; the next pass continues");
            return;
        }
        match say(world, &due, now).await {
            Ok(Progress::Done) => {}
            Ok(Progress::GoesOn) => turns.again(due),
            Err(error) => {
                warn!(organization.id = %due.organization, scheduled = due.id, error = %chain(&error), "scheduled message can't be sent yet");
            }
        }
    }
}

/// The order in which messages are sent.
struct Turns {
    /// The messages of each organization. The first one is next; the last one had its turn most recently.
    organizations: VecDeque<VecDeque<Due>>,
}

impl Turns {
    /// `all`: the oldest first.
    fn of(mut all: Vec<Due>) -> Self {
        // Stable: within an organization, the oldest stays first.
        all.sort_by(|one, other| one.organization.cmp(&other.organization));
        let own = all.chunk_by(|one, other| one.organization == other.organization);
        let mut organizations: Vec<VecDeque<Due>> = own.map(|own| own.to_vec().into()).collect();
        organizations.sort_by_key(|own| own.front().map(|due| due.at));
        Self {
            organizations: organizations.into(),
        }
    }

    fn next(&mut self) -> Option<Due> {
        loop {
            let mut own = self.organizations.pop_front()?;
            if let Some(due) = own.pop_front() {
                self.organizations.push_back(own);
                return Some(due);
            }
        }
    }

    /// Gives the message that had the latest turn another one.
    fn again(&mut self, due: Due) {
        if let Some(own) = self.organizations.back_mut() {
            own.push_back(due);
        }
    }
}

/// Sends a message, or a page of it.
async fn say(world: &World, due: &Due, now: Timestamp) -> Result<Progress, SpeakError> {
    let Some(kept) = scheduled::get(&world.store, &due.organization, &due.id, now).await? else {
        // It was deleted, or a process of an earlier version stores it just now.
        if now > due.at.after(STORED_WITHIN) {
            scheduled::settle(&world.store, due).await?;
        }
        return Ok(Progress::Done);
    };
    let Some(mut message) = kept.open(&world.store, now.since(due.at))? else {
        return fail_unread(world, due, &kept).await;
    };
    if message.state == State::Waiting {
        message.state = match voice(world, &message, now).await? {
            Ok(bot) => match say_to_all(world, &bot, &mut message).await? {
                Progress::Done => State::Said,
                Progress::GoesOn => return Ok(Progress::GoesOn),
            },
            Err(reason) => State::Failed(reason.to_owned()),
        };
        match scheduled::save(&world.store, &mut message).await {
            Ok(()) => {}
            // Cancelled meanwhile, or said in part by another process, which goes on: the next pass reads which.
            Err(StoreError::Conflict) => return Ok(Progress::Done),
            Err(error) => return Err(error.into()),
        }
        match &message.state {
            State::Failed(reason) => tell_failed(world, due, &message.integration, reason).await,
            _ => {
                info!(organization.id = %due.organization, scheduled = due.id, n_said = message.n_said, "scheduled message was sent")
            }
        }
    }
    scheduled::settle(&world.store, due).await?;
    Ok(Progress::Done)
}

/// Ends a message that can't be read, so that it isn't tried again in each pass.
async fn fail_unread(world: &World, due: &Due, kept: &Kept) -> Result<Progress, SpeakError> {
    if *kept.state() == State::Waiting {
        match scheduled::end(&world.store, kept, &State::Failed(UNREADABLE.to_owned())).await {
            Ok(()) => tell_failed(world, due, kept.integration(), UNREADABLE).await,
            // Cancelled meanwhile: the next pass settles it.
            Err(StoreError::Conflict) => return Ok(Progress::Done),
            Err(error) => return Err(error.into()),
        }
    }
    scheduled::settle(&world.store, due).await?;
    Ok(Progress::Done)
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
    let Some(bot) = unless_key_is_lost(opened, now.since(message.at))? else {
        return Ok(Err(UNUSABLE));
    };
    let mode = bot.connector.manifest().mode(record.mode);
    Ok(match mode.is_some_and(|mode| mode.proactive_with(&record.endpoints)) {
        true => Ok(bot),
        false => Err(SILENT),
    })
}

/// Progress of a message after one turn.
enum Progress {
    /// It has ended, or continues in the next pass.
    Done,
    /// More people follow, or another process has changed it.
    GoesOn,
}

async fn say_to_all(world: &World, bot: &Bot, message: &mut Scheduled) -> Result<Progress, SpeakError> {
    let to = match &message.to {
        Audience::Chat(chat) => Recipient::Chat(chat.clone()),
        Audience::Person(person) => Recipient::Person(person.clone()),
        Audience::Linked => return say_to_linked(world, bot, message).await,
    };
    if !begin(world, message).await? {
        return Ok(Progress::GoesOn);
    }
    speak(world, bot, message, to, "").await?;
    message.n_said = 1;
    Ok(Progress::Done)
}

/// Records that sending begins, before anything is sent: this process may have been frozen since it read the message, and that may have been
/// cancelled. `false`: it has changed since; the next read shows how.
async fn begin(world: &World, message: &mut Scheduled) -> Result<bool, StoreError> {
    if message.begun {
        return Ok(true);
    }
    message.begun = true;
    match scheduled::save(&world.store, message).await {
        Ok(()) => Ok(true),
        Err(StoreError::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sends a message to the next page of people.
async fn say_to_linked(world: &World, bot: &Bot, message: &mut Scheduled) -> Result<Progress, SpeakError> {
    // Before the people are read: sending to one who is erased in between would store them again, so an erasure waits while it has begun.
    if !begin(world, message).await? {
        return Ok(Progress::GoesOn);
    }
    let page = user::list(&world.store, &message.organization, message.cursor.as_deref(), PAGE).await?;
    let is_meant = |user: &&user::User| user.integration == message.integration && user.linked_to().is_some();
    let meant: Vec<&user::User> = page.items.iter().filter(is_meant).collect();
    let mut sent = Vec::with_capacity(meant.len());
    for user in &meant {
        let person = Recipient::Person(SenderId::new(&*user.external_id));
        sent.push(speak(world, bot, message, person, &user.external_id));
    }
    stream::iter(sent)
        .buffer_unordered(CONCURRENCY)
        .try_collect::<()>()
        .await?;
    message.n_said += u32::try_from(meant.len()).unwrap_or(u32::MAX);
    message.cursor = page.cursor;
    message.begun = false;
    if message.cursor.is_none() {
        return Ok(Progress::Done);
    }
    match scheduled::save(&world.store, message).await {
        // After a lost race, another process sends it at the same time, or it was cancelled: the next read shows which.
        Ok(()) | Err(StoreError::Conflict) => Ok(Progress::GoesOn),
        Err(error) => Err(error.into()),
    }
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

async fn tell_failed(world: &World, due: &Due, integration: &IntegrationId, reason: &str) {
    let id = &due.id;
    warn!(organization.id = %due.organization, scheduled = id, reason, "scheduled message was not sent");
    let text = format!("the scheduled message {id} was not said: {reason}");
    integration_log::warn(world, integration, "schedule_failed", &text).await;
}

#[cfg(test)]
mod tests {
    use tieline_core::ids::{OrganizationId, PlatformMessageId, fresh};
    use tieline_store::config::user::{User, UserChange};
    use tieline_store::message;

    use super::*;
    use crate::run::fixture::PolledFixture;

    fn due(organization: &str, at: i64) -> Due {
        Due {
            organization: OrganizationId::new(organization),
            id: format!("sch_{at}"),
            at: Timestamp::from_millis(at),
        }
    }

    #[test]
    fn organizations_take_turns_and_so_do_the_messages_of_each() {
        let mut turns = Turns::of(vec![due("b", 1), due("b", 2), due("b", 3), due("a", 4)]);
        let mut order = Vec::new();
        while let Some(next) = turns.next() {
            order.push(next.at.as_millis());
            // The first one has three pages.
            if order.iter().filter(|at| **at == 1).count() < 3 && next.at.as_millis() == 1 {
                turns.again(next);
            }
        }
        assert_eq!(order, [1, 4, 2, 3, 1, 1]);
    }

    fn waiting(id: &str, to: Audience, at: Timestamp) -> Scheduled {
        Scheduled {
            id: id.to_owned(),
            organization: OrganizationId::new("default"),
            integration: IntegrationId::new("int_1"),
            at,
            to,
            content: StoredContent::Text("hello".to_owned()),
            state: State::Waiting,
            n_said: 0,
            cursor: None,
            begun: false,
            created_at: at,
            version: 1,
        }
    }

    #[tokio::test]
    async fn message_cancelled_after_it_was_read_is_not_sent() {
        let it = PolledFixture::with(|_| {}).await;
        let (world, now) = (&it.world, it.world.clock.now());
        let (organization, integration) = (OrganizationId::new("default"), IntegrationId::new("int_1"));
        let person = SenderId::new("lisi");
        let user = User::first_contact(&organization, &integration, "fake", &person, now);
        let user = user::ensure(&world.store, &user).await.unwrap();
        let linked = UserChange {
            linked: Some(Some("Li Si".to_owned())),
            ..UserChange::default()
        };
        user::change(&world.store, &user, linked).await.unwrap();
        let record = integration::get(&world.store, &integration).await.unwrap().unwrap();
        let bot = accounts::open_if_usable(world, &record).unwrap().unwrap();
        for (id, to, whom) in [
            ("sch_1", Audience::Person(person.clone()), ""),
            ("sch_2", Audience::Linked, "lisi"),
        ] {
            let sent = PlatformMessageId::new(fresh(message::OWN_ID, name(id, whom)));
            let sent = async || {
                let found = message::get(&world.store, &bot.account.ids.message(&sent), now).await;
                found.unwrap().is_some()
            };
            scheduled::create(&world.store, &waiting(id, to, now)).await.unwrap();
            let kept = scheduled::get(&world.store, &organization, id, now).await.unwrap();
            let read = kept.unwrap().open(&world.store, Duration::ZERO).unwrap().unwrap();
            let mut cancelled = Scheduled {
                state: State::Cancelled,
                ..read.clone()
            };
            scheduled::save(&world.store, &mut cancelled).await.unwrap();
            let progress = say_to_all(world, &bot, &mut read.clone()).await.unwrap();
            assert!(matches!(progress, Progress::GoesOn), "{id}: it is read again");
            assert!(!sent().await, "{id}");

            // As the next process reads it that was faster than the operator.
            let mut waiting = Scheduled {
                state: State::Waiting,
                ..cancelled
            };
            scheduled::save(&world.store, &mut waiting).await.unwrap();
            let progress = say_to_all(world, &bot, &mut waiting).await.unwrap();
            assert!(matches!(progress, Progress::Done) && sent().await, "{id}");
        }
    }

    /// An erasure that sees it begun waits.
    #[tokio::test]
    async fn sending_to_many_begins_before_they_are_read() {
        let it = PolledFixture::with(|_| {}).await;
        let (world, now) = (&it.world, it.world.clock.now());
        let (organization, integration) = (OrganizationId::new("default"), IntegrationId::new("int_1"));
        let record = integration::get(&world.store, &integration).await.unwrap().unwrap();
        let bot = accounts::open_if_usable(world, &record).unwrap().unwrap();
        let stored = waiting("sch_1", Audience::Linked, now);
        scheduled::create(&world.store, &stored).await.unwrap();
        let read = async || {
            let kept = scheduled::get(&world.store, &organization, "sch_1", now).await.unwrap();
            kept.unwrap().open(&world.store, Duration::ZERO).unwrap().unwrap()
        };
        let mut outdated = read().await;
        say_to_all(world, &bot, &mut read().await).await.unwrap();
        assert!(read().await.begun);
        let progress = say_to_all(world, &bot, &mut outdated).await.unwrap();
        assert!(matches!(progress, Progress::GoesOn), "it is read again");
    }
}
