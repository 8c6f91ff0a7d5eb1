//! Rate limiter for questions per minute: of one person to one bot, or of all people to an organization's bots.
//!
//! Item `MSR#{digest of whose}`/`MSR` of `state`: `since`, when its minute started (with the first question after the last one ended), and `n`, the
//! number of questions admitted in it. Each question is one conditional write, so that the count is shared by all processes.

use std::time::Duration;

use aws_sdk_dynamodb::types::ReturnValue;
use tieline_core::ids::{IntegrationId, OrganizationId, SenderId, digest};
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::dynamo::{self, Written};
use crate::error::StoreError;
use crate::item::{get_number, number, text};
use crate::tables::TTL;
use crate::update::Update;

const SORT: &str = "MSR";
/// The window of the limits.
const MINUTE: Duration = Duration::from_secs(60);
/// Most retries after a lost race.
const MAX_TRIES: usize = 4;

/// Whose questions are counted together.
#[derive(Debug, Clone, Copy)]
pub enum Whose<'a> {
    /// Those of one person to one bot.
    Person(&'a IntegrationId, &'a SenderId),
    /// Those of all people to all bots of an organization.
    Organization(&'a OrganizationId),
}

/// Counts one more question, if fewer than `max` have been admitted in this minute. Else returns the time at which the next minute starts; a
/// refused question isn't counted.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Conflict`] if all attempts lose a race.
pub async fn count(
    store: &Store,
    whose: Whose<'_>,
    max: u32,
    now: Timestamp,
) -> Result<Result<(), Timestamp>, StoreError> {
    let key = partition(whose);
    for _ in 0..MAX_TRIES {
        for change in [another(max, now), first(now)] {
            let table = &store.tables.state;
            match dynamo::update(&store.dynamo, table, (&key, SORT), change, ReturnValue::None).await? {
                Written::Done(_) => return Ok(Ok(())),
                Written::Refused(found) => {
                    let since = found.as_ref().and_then(|item| get_number(item, "since"));
                    let next = since.map(|since| Timestamp::from_millis(since).after(MINUTE));
                    let n = found.as_ref().and_then(|item| get_number(item, "n")).unwrap_or(0);
                    if let Some(next) = next.filter(|next| is_running(*next, now) && n >= i64::from(max)) {
                        return Ok(Err(next));
                    }
                }
            }
        }
    }
    Err(StoreError::Conflict)
}

/// Whether the minute that ends then is current. One that seems to start in the future was started by a wrong clock.
fn is_running(next: Timestamp, now: Timestamp) -> bool {
    now < next && next <= now.after(MINUTE * 2)
}

/// Counts one more in the current minute.
fn another(max: u32, now: Timestamp) -> Update {
    let mut change = Update::new();
    let (since, n) = (change.path("since"), change.path("n"));
    let oldest = change.value(number(now.before(MINUTE).as_millis()));
    let newest = change.value(number(now.after(MINUTE).as_millis()));
    let max = change.value(number(i64::from(max)));
    change.require(format!("{since} > {oldest} AND {since} <= {newest} AND {n} < {max}"));
    change.add("n", 1);
    change
}

/// Counts the first of a new minute.
fn first(now: Timestamp) -> Update {
    let mut change = Update::new();
    let since = change.path("since");
    let oldest = change.value(number(now.before(MINUTE).as_millis()));
    let newest = change.value(number(now.after(MINUTE).as_millis()));
    change.require(format!(
        "(attribute_not_exists({since}) OR {since} <= {oldest} OR {since} > {newest})"
    ));
    change.set("v", text("1"));
    change.set("since", number(now.as_millis()));
    change.set("n", number(1));
    change.set(TTL, number(now.after(MINUTE * 3).as_secs()));
    change
}

fn partition(whose: Whose<'_>) -> String {
    let whose = match whose {
        Whose::Person(integration, sender) => digest(&["person", integration.as_str(), sender.as_str()]),
        Whose::Organization(organization) => digest(&["organization", organization.as_str()]),
    };
    format!("MSR#{whose}")
}
