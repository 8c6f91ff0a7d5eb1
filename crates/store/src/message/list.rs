//! Lists the ledger, newest first.
//!
//! The index has one partition per integration. A list over several queries the newest of each and merges them, so the order is by time
//! and the cursor is one point in time for all.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tieline_core::ids::{ChatId, ConversationId, IntegrationId, MessageId, OrganizationId};
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_core::timestamp::Timestamp;

use super::{MessageRecord, shown};
use crate::dynamo::{Query, Reading, end_of, query_all};
use crate::error::StoreError;
use crate::item::{get_text, sortable};
use crate::page::{Page, TIMED, cursor, position};
use crate::tables::{BY_INTEGRATION, SK};
use crate::{Store, conversation};

/// Selects messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this integration. `None`: of all integrations of the organization.
    pub integration: Option<IntegrationId>,
    /// Only of this conversation.
    pub conversation: Option<ConversationId>,
    /// Only in this chat: the platform's own id of it.
    pub chat: Option<ChatId>,
    /// Only in this state.
    pub state: Option<MessageState>,
    /// Received at this time or later.
    pub since: Option<Timestamp>,
    /// Received before this time.
    pub until: Option<Timestamp>,
}

/// Most integrations queried concurrently.
const CONCURRENCY: usize = 16;

/// Messages per read while a filtered page is filled.
const READ_AT_A_TIME: usize = 200;
/// Most reads for one page: a filter that matches almost nothing yields a short page with a cursor.
const MAX_ROUNDS: usize = 50;

/// Lists messages of an organization, newest first, each in the state returned by [`super::show`].
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`] for a cursor that isn't one.
pub async fn list(
    store: &Store,
    organization: &OrganizationId,
    filter: &Filter,
    after: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<Page<MessageRecord>, StoreError> {
    page_of(store, organization, filter, None, (after, limit), now).await
}

/// Like [`list`], of the messages that `matches` accepts. A page is full if there are enough of them among some thousands.
///
/// # Errors
/// As [`list`].
pub async fn list_matching(
    store: &Store,
    organization: &OrganizationId,
    filter: &Filter,
    matches: &Matches<'_>,
    after: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<Page<MessageRecord>, StoreError> {
    page_of(store, organization, filter, Some(matches), (after, limit), now).await
}

/// A condition that the index doesn't support.
type Matches<'a> = dyn Fn(&MessageRecord) -> bool + Sync + 'a;

async fn page_of(
    store: &Store,
    organization: &OrganizationId,
    filter: &Filter,
    matches: Option<&Matches<'_>>,
    (after, limit): (Option<&str>, usize),
    now: Timestamp,
) -> Result<Page<MessageRecord>, StoreError> {
    let is_narrow = filter.is_narrow() || matches.is_some();
    let integrations = integrations(store, organization, filter, now).await?;
    let mut before = position(after, TIMED)?;
    let latest = filter.until.map(sortable);
    if let Some(latest) = latest
        && before.as_ref().is_none_or(|before| *before > latest)
    {
        before = Some(latest);
    }
    let oldest = filter.since.map(sortable);
    let mut page = Page::<MessageRecord>::default();
    let mut is_known_ours = false;
    for _ in 0..MAX_ROUNDS {
        // One more than the page still holds: only another match proves that the next page isn't empty.
        let asked = (limit + 1 - page.items.len()).max(if is_narrow { READ_AT_A_TIME } else { 0 });
        let mut positions = newest(store, &integrations, before.as_deref(), asked).await?;
        let mut full = positions.len() == asked;
        if let Some(oldest) = &oldest {
            let n_young = positions.partition_point(|position| position >= oldest);
            full &= n_young == positions.len();
            positions.truncate(n_young);
        }
        let ids: Vec<_> = positions.iter().filter_map(|position| message_of(position)).collect();
        let mut records = super::get_many(store, &ids, now).await?;
        shown::of(store, &mut records, now).await?;
        // Messages record their owner, also when the bot is deleted. For another organization's bot not even a cursor is returned.
        if records.iter().any(|record| record.organization != *organization) {
            return Ok(Page::default());
        }
        is_known_ours |= !records.is_empty();
        if let Some(chat) = &filter.chat {
            keep_of_chat(store, &mut records, chat, now).await?;
        }
        for record in records {
            if !filter.accepts(&record) || matches.is_some_and(|matches| !matches(&record)) {
                continue;
            }
            if page.items.len() == limit {
                let last = page.items.last();
                page.cursor = last.map(|last| cursor(&super::position(last.received_at, &last.id)));
                return Ok(page);
            }
            page.items.push(record);
        }
        if !full {
            return Ok(page);
        }
        before = positions.into_iter().next_back().or(before);
    }
    page.cursor = before.as_deref().filter(|_| is_known_ours).map(cursor);
    Ok(page)
}

/// Drops the messages of other chats, and those that were never assigned to a conversation.
async fn keep_of_chat(
    store: &Store,
    records: &mut Vec<MessageRecord>,
    chat: &ChatId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let ids: BTreeSet<&ConversationId> = records
        .iter()
        .filter_map(|record| record.conversation.as_ref())
        .collect();
    let ids: Vec<ConversationId> = ids.into_iter().cloned().collect();
    let mut found = conversation::get_many(store, &ids, now).await?;
    found.retain(|conversation| conversation.key.chat.id == *chat);
    let ids: BTreeSet<ConversationId> = found.iter().map(|conversation| conversation.key.id()).collect();
    records.retain(|record| record.conversation.as_ref().is_some_and(|id| ids.contains(id)));
    Ok(())
}

/// How many of an integration's newest messages are searched for an answered one.
const LOOKED_THROUGH: usize = 20;

/// Summary of an integration's newest messages. Proactive ones are left out, since no person sent them, and so are those of which only the recall
/// was received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// When the newest message was received.
    pub heard: Option<Timestamp>,
    /// When the newest reply was accepted by the platform.
    pub said: Option<Timestamp>,
    /// The newest failed message, if it is the newest that was to be answered, or if [`MANY_FAILURES`] failed [`LATELY`] and the bot hasn't
    /// [`has_recovered`] since.
    pub failed: Option<FailedAnswer>,
    /// Other problems.
    pub troubles: Troubles,
}

/// Problems in an integration's newest messages besides failed answers. Only messages received [`LATELY`] count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Troubles {
    /// When the agent last ended an answer without text and files, if that is the newest answer, or if there were [`MANY_FAILURES`] of them
    /// and the bot hasn't [`has_recovered`] since.
    pub empty_answer_at: Option<Timestamp>,
    /// When a person was last refused by the access list.
    pub turned_away_at: Option<Timestamp>,
    /// The newest message refused for a reason other than the access list or the setup: when, and why.
    pub refused: Option<(Timestamp, String)>,
    /// Median time from the start of a run to the agent's first text.
    pub first_text_after: Option<Duration>,
}

/// Events within this time count as current.
pub const LATELY: Duration = Duration::from_hours(1);
/// So many failures [`LATELY`] count as a failure, even if the newest answer succeeded.
pub const MANY_FAILURES: usize = 3;
/// So many answers after the last failure prove that the cause is removed.
const RECOVERED_AFTER: usize = 3;

/// A message that ended without its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAnswer {
    /// The message.
    pub message: MessageId,
    /// When it ended.
    pub at: Timestamp,
    /// Whether the agent failed; else the answer could not be delivered.
    pub is_agents: bool,
    /// The agent's or the platform's code.
    pub code: String,
    /// The agent's own message.
    pub detail: Option<String>,
}

impl FailedAnswer {
    /// The failure of a failed message. `None` for any other.
    #[must_use]
    pub fn of(record: &MessageRecord) -> Option<Self> {
        if record.state != MessageState::Failed {
            return None;
        }
        let failed = |step: &&LedgerStep| step.step == RESULT && step.code.is_some();
        let by_agent = record.steps.iter().rev().find(failed);
        let undelivered = record.steps.iter().any(|step| step.step == super::DELIVERY_REFUSED);
        let by_agent = by_agent.filter(|_| !undelivered);
        let reason = record.reason.as_deref().unwrap_or("failed");
        Some(Self {
            message: record.id.clone(),
            at: record.ended_at(),
            is_agents: by_agent.is_some(),
            code: by_agent
                .and_then(|step| step.code.as_deref())
                .unwrap_or(reason)
                .to_owned(),
            detail: by_agent.and_then(|step| step.detail.clone()),
        })
    }
}

/// The step with the agent's result.
const RESULT: &str = "result";

/// Summary of an integration's newest messages: when the last one was received, when the last answer was delivered, and whether answers fail.
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`].
pub async fn traffic(store: &Store, integration: &IntegrationId, now: Timestamp) -> Result<Traffic, StoreError> {
    let mut before = None;
    for _ in 0..MAX_ROUNDS {
        let positions = newest_of(store, integration, before.as_deref(), LOOKED_THROUGH).await?;
        let ids: Vec<_> = positions.iter().filter_map(|position| message_of(position)).collect();
        let mut records = super::get_many(store, &ids, now).await?;
        records.retain(|record| !record.is_proactive() && !record.is_unseen());
        if !records.is_empty() || positions.len() < LOOKED_THROUGH {
            return Ok(told_by(&records, now));
        }
        before = positions.into_iter().next_back();
    }
    Ok(Traffic::default())
}

fn told_by(records: &[MessageRecord], now: Timestamp) -> Traffic {
    let steps = records.iter().flat_map(|record| &record.steps);
    let said = steps.filter(|step| step.step == "delivered" || step.step == "ready");
    let lately: Vec<&MessageRecord> = records.iter().filter(|it| now.since(it.received_at) < LATELY).collect();
    Traffic {
        heard: records.iter().map(|record| record.received_at).max(),
        said: said.map(|step| step.at).max(),
        failed: failed_answer(records, &lately),
        troubles: troubles(records, &lately),
    }
}

fn failed_answer(records: &[MessageRecord], lately: &[&MessageRecord]) -> Option<FailedAnswer> {
    let is_failed = |record: &MessageRecord| record.state == MessageState::Failed;
    FailedAnswer::of(failing(records, lately, is_failed)?)
}

fn was_to_be_answered(record: &MessageRecord) -> bool {
    matches!(record.state, MessageState::Answered | MessageState::Failed) && !record.is_proactive()
}

/// Whether enough answers followed the failure `last` to prove that its cause is removed.
pub fn has_recovered<'a>(records: impl IntoIterator<Item = &'a MessageRecord>, last: &MessageRecord) -> bool {
    let later = records.into_iter().filter(|it| it.ended_at() > last.ended_at());
    later.filter(|it| was_to_be_answered(it)).count() >= RECOVERED_AFTER
}

/// The newest message whose answer went wrong, if it is the newest that was to be answered, or if [`MANY_FAILURES`] went wrong [`LATELY`]
/// and the bot hasn't recovered: a single one before a good answer may be chance, and is over.
fn failing<'a>(
    records: &'a [MessageRecord],
    lately: &[&'a MessageRecord],
    is_wrong: fn(&MessageRecord) -> bool,
) -> Option<&'a MessageRecord> {
    let newest = records
        .iter()
        .filter(|record| was_to_be_answered(record))
        .max_by_key(|record| record.ended_at());
    let wrong = || lately.iter().copied().filter(|record| is_wrong(record));
    newest.filter(|record| is_wrong(record)).or_else(|| {
        let last = wrong().max_by_key(|record| record.ended_at())?;
        (wrong().count() >= MANY_FAILURES && !has_recovered(records, last)).then_some(last)
    })
}

fn troubles(records: &[MessageRecord], lately: &[&MessageRecord]) -> Troubles {
    let newest = |is_so: fn(&MessageRecord) -> bool| {
        let found = lately.iter().filter(|record| is_so(record));
        found.map(|record| record.ended_at()).max()
    };
    let mut waits: Vec<Duration> = lately.iter().filter_map(|record| record.first_text_after()).collect();
    waits.sort_unstable();
    let refused = lately
        .iter()
        .filter_map(|record| Some((record.ended_at(), record.unexpected_refusal()?.to_owned())));
    let empty = failing(records, lately, MessageRecord::has_empty_answer);
    let empty = empty.filter(|record| lately.iter().any(|recent| recent.id == record.id));
    Troubles {
        refused: refused.max(),
        empty_answer_at: empty.map(MessageRecord::ended_at),
        turned_away_at: newest(MessageRecord::is_turned_away),
        first_text_after: waits.get(waits.len() / 2).copied(),
    }
}

impl Filter {
    /// Whether it excludes some messages of the index.
    const fn is_narrow(&self) -> bool {
        self.conversation.is_some() || self.chat.is_some() || self.state.is_some()
    }

    fn accepts(&self, record: &MessageRecord) -> bool {
        let same_conversation = |wanted| record.conversation.as_ref() == Some(wanted);
        self.conversation.as_ref().is_none_or(same_conversation) && self.state.is_none_or(|state| state == record.state)
    }
}

async fn integrations(
    store: &Store,
    organization: &OrganizationId,
    filter: &Filter,
    now: Timestamp,
) -> Result<Vec<IntegrationId>, StoreError> {
    if let Some(integration) = &filter.integration {
        return Ok(vec![integration.clone()]);
    }
    // A conversation without a single answer is not stored: its messages are searched among all.
    if let Some(wanted) = &filter.conversation
        && let Some(found) = conversation::load(store, wanted, now).await?
    {
        return Ok(vec![found.key.integration]);
    }
    let asked = Query {
        table: &store.tables.config,
        index: None,
        partition: &format!("ORG#{organization}"),
        range: ("INT#", &end_of("INT#")),
        descending: false,
        reading: Reading::Eventual,
        after: None,
        limit: usize::MAX,
    };
    let entries = query_all(&store.dynamo, asked).await?;
    let of = |entry| Some(IntegrationId::new(get_text(entry, SK)?.strip_prefix("INT#")?));
    Ok(entries.iter().filter_map(of).collect())
}

/// The newest `limit` positions before `before`, across all the integrations.
async fn newest(
    store: &Store,
    integrations: &[IntegrationId],
    before: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    // A loop, since for a closure the compiler can't prove that its futures are `Send`.
    let mut asked = Vec::with_capacity(integrations.len());
    for integration in integrations {
        asked.push(newest_of(store, integration, before, limit));
    }
    let mut positions: Vec<String> = stream::iter(asked).buffer_unordered(CONCURRENCY).try_concat().await?;
    positions.sort_unstable_by(|one, other| other.cmp(one));
    positions.truncate(limit);
    Ok(positions)
}

async fn newest_of(
    store: &Store,
    integration: &IntegrationId,
    before: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    // The range includes its end, which was on the previous page: one more is queried, and that one is left out.
    let found = query_all(
        &store.dynamo,
        Query {
            table: &store.tables.state,
            index: Some(BY_INTEGRATION),
            partition: &format!("INT#{integration}"),
            range: (TIMED.0, before.unwrap_or(TIMED.1)),
            descending: true,
            reading: Reading::Eventual,
            after: None,
            limit: limit + 1,
        },
    )
    .await?;
    let positions = found.iter().filter_map(|item| get_text(item, BY_INTEGRATION.sort));
    Ok(positions
        .filter(|position| before.is_none_or(|before| *position < before))
        .map(str::to_owned)
        .collect())
}

fn message_of(position: &str) -> Option<MessageId> {
    position.split_once('#').map(|(_, id)| MessageId::new(id))
}
