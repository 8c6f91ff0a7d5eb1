//! Delivery of updates to the bot: by long polling, or to its webhook.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::Platform;
use super::api::{self, Refused, bad, refuse};
use super::book::{Bot, Update, Webhook};

/// Maximum duration of a poll. See Bot API/getUpdates.
const MAX_POLL: u64 = 50;
/// Pause between two deliveries of an update that was not accepted. Telegram waits longer.
const RETRY: Duration = Duration::from_millis(200);
/// A poller is considered gone if it hasn't polled for this long.
const POLLER_GONE: Duration = Duration::from_secs(2);
/// Kinds of update that exist.
const KINDS: &[&str] = &[
    "message",
    "edited_message",
    "channel_post",
    "callback_query",
    "my_chat_member",
    "stopped_message_generation",
];

/// Stores the kinds of update that the bot subscribed to.
pub(super) fn allow(bot: &mut Bot, body: &Value) {
    if let Some(kinds) = body["allowed_updates"].as_array() {
        let kinds = kinds
            .iter()
            .filter_map(Value::as_str)
            .filter(|kind| KINDS.contains(kind));
        bot.allowed = kinds.map(str::to_owned).collect();
    }
}

/// `getUpdates`.
pub(super) async fn fetch(token: &str, body: &Value, platform: &Platform) -> Result<Value, Refused> {
    let limit = body["limit"].as_u64().unwrap_or(100);
    if !(1..=100).contains(&limit) {
        return Err(bad("limit must be between 1 and 100"));
    }
    let wait = Duration::from_secs(body["timeout"].as_u64().unwrap_or_default().min(MAX_POLL));
    let poll = begin(token, body, platform)?;
    let until = Instant::now() + wait;
    loop {
        let changes = platform.changes();
        {
            let mut book = platform.book();
            let bot = book.bots.get_mut(token).ok_or_else(|| refuse(401, "Unauthorized"))?;
            if bot.webhook.is_some() {
                return Err(refuse(409, "Conflict: terminated by setWebhook request"));
            }
            if bot.poll != poll {
                return Err(refuse(
                    409,
                    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
                ));
            }
            bot.polled_at = Some(Instant::now());
            if !bot.updates.is_empty() || Instant::now() >= until {
                let n = usize::try_from(limit).unwrap_or(usize::MAX);
                for update in &mut bot.updates {
                    update.again = false;
                }
                let found: Vec<Value> = bot.updates.iter().take(n).map(|update| update.body.clone()).collect();
                return Ok(json!(found));
            }
        }
        let _ = timeout(Duration::from_millis(500), changes).await;
    }
}

/// Confirms the updates before the offset, and ends the previous poll.
fn begin(token: &str, body: &Value, platform: &Platform) -> Result<u64, Refused> {
    let mut book = platform.book();
    let newest = 884_100_000 + book.count;
    let bot = book.bots.get_mut(token).ok_or_else(|| refuse(401, "Unauthorized"))?;
    if bot.webhook.is_some() {
        return Err(refuse(
            409,
            "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
        ));
    }
    allow(bot, body);
    bot.poll += 1;
    let poll = bot.poll;
    let offset = body["offset"].as_i64();
    bot.updates
        .retain(|update| update.again || offset.is_none_or(|offset| update.id >= offset));
    if offset.is_some_and(|offset| offset > newest + 1) {
        book.complaints.add("getUpdates: confirms updates that never were");
    }
    drop(book);
    platform.changed();
    Ok(poll)
}

/// Whether a client polls a bot's updates.
pub(super) fn is_polled(bot: &Bot) -> bool {
    bot.polled_at.is_some_and(|at| at.elapsed() < POLLER_GONE)
}

/// Posts updates to the webhook, one after the other, each until it is accepted.
pub(super) async fn pump(token: String, platform: Platform) {
    loop {
        let changes = platform.changes();
        let next = {
            let book = platform.book();
            let bot = book.bots.get(&token);
            bot.and_then(|bot| Some((bot.webhook.clone()?, bot.updates.front()?.clone())))
        };
        let Some((webhook, update)) = next else {
            let _ = timeout(Duration::from_secs(1), changes).await;
            continue;
        };
        if post(&token, &webhook, &update.body, &platform).await.is_err() {
            sleep(RETRY).await;
            continue;
        }
        if let Some(bot) = platform.book().bots.get_mut(&token) {
            bot.updates.retain(|left: &Update| left.id != update.id);
        }
    }
}

/// Posts one update. The response may contain a call.
pub(super) async fn post(token: &str, webhook: &Webhook, update: &Value, platform: &Platform) -> anyhow::Result<()> {
    let mut request = platform
        .http
        .post(&webhook.url)
        .header("content-type", "application/json");
    if let Some(secret) = &webhook.secret {
        request = request.header("X-Telegram-Bot-Api-Secret-Token", secret);
    }
    let response = request.body(update.to_string()).send().await?;
    let status = response.status();
    ensure!(status.is_success(), "the webhook answered {status}");
    let body = response.bytes().await?;
    if let Ok(mut call) = serde_json::from_slice::<Value>(&body)
        && let Some(method) = call["method"].take().as_str()
    {
        // The webhook doesn't get the call's result.
        let _ = Box::pin(api::call(token, method, call, platform)).await;
    }
    Ok(())
}
