//! Answers polls: returns the newest state of a reply to a platform that polls for it (pull).

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tieline_core::connector::{Context, Delivery, PollRequest, PollWait, PolledReplies, Proof};
use tieline_core::envelope::WakeUpV1;
use tieline_core::event::Event;
use tieline_core::http_types::WebhookAnswer;
use tieline_core::ids::ReplyId;
use tieline_core::reply::{ReplyView, Stage};
use tieline_store::config::integration;
use tieline_store::reply::{self, ReplyRecord};
use tieline_store::{first_poll, message};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::accounts::{self, Bot};
use crate::local_replies::ReplyWatch;
use crate::operator::{self, Operator};
use crate::world::World;
use crate::{deliver, notices, rendering, reply_links, wakeups};

/// Longest wait for a newer state.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Longest id of a reply, in bytes.
const MAX_REPLY_ID: usize = 64;

/// Answers a poll. Any instance can: all it needs is in the table.
pub async fn answer(world: &World, bot: &Bot, asked: &PollRequest, welcome: Option<&str>) -> WebhookAnswer {
    let wait = Wait::new(world, &asked.reply);
    answer_in(wait, world, bot, asked, welcome).await
}

/// Like [`answer`], within a wait that may have begun.
async fn answer_in(wait: Wait, world: &World, bot: &Bot, asked: &PollRequest, welcome: Option<&str>) -> WebhookAnswer {
    let record = match asked.wait {
        PollWait::No => load(world, bot, asked).await,
        PollWait::Newer(version) => wait_for(wait, world, bot, asked, |it| it.version > version).await,
        PollWait::Final(limit) => wait_for(wait.at_most(limit), world, bot, asked, |_| false).await,
    };
    let cx = bot.context(world, welcome);
    let Some(polled) = bot.connector.polled_replies() else {
        return WebhookAnswer::empty(200);
    };
    let Some(mut record) = record else {
        return answer_without_record(world, bot, asked, polled, &cx).await;
    };
    // Shared with the code that renders a long text beside the runtime, in place of a copy for each.
    let mut view = Arc::new(view_of(world, bot, &mut record));
    if view.closed.is_none()
        && view.asker == asked.asker
        && let Some(mut closing) = rendering::final_poll_state(bot, asked, &view, &cx).await
    {
        if polled.leaves_rest(&closing) && !can_push(world, polled, &record, &cx).await {
            Arc::make_mut(&mut view).rest_follows = false;
            let without_rest = rendering::final_poll_state(bot, asked, &view, &cx).await;
            closing = without_rest.unwrap_or(closing);
        }
        // Before the answer: the runner pushes what this poll doesn't show, and nothing else.
        match reply::close(&world.store, &record.id, &closing, cx.now).await {
            Ok(closed) => {
                if polled.leaves_rest(&closed) {
                    push_rest(world, bot, &record).await;
                }
                // Another poll has closed the reply, perhaps with a later text than this one has read.
                if closed != closing
                    && let Some(mut newer) = load(world, bot, asked).await
                {
                    let rest_follows = view.rest_follows;
                    view = Arc::new(ReplyView {
                        rest_follows,
                        ..view_of(world, bot, &mut newer)
                    });
                }
                Arc::make_mut(&mut view).closed = Some(closed);
            }
            Err(error) => {
                warn!(account.id = %bot.account.integration, event.key = %record.message, error = %error, "poll can't be closed");
                return WebhookAnswer::empty(503);
            }
        }
    }
    rendering::answer_poll(bot, asked, view, &cx).await
}

/// Answers a poll for a reply without a record: its message waits behind another, or its agent has sent nothing yet.
///
/// If the rest can be pushed, polling still ends in time, counted from the first poll: nothing else is known of the reply.
async fn answer_without_record(
    world: &World,
    bot: &Bot,
    asked: &PollRequest,
    polled: &dyn PolledReplies,
    cx: &Context<'_>,
) -> WebhookAnswer {
    let is_pushed_after = matches!(deliver::delivery(bot), Delivery::Pull { push_after: true, .. });
    let unrecorded = || {
        let link = reply_links::link_to(world, &asked.reply, cx.now);
        polled.answer_unrecorded(asked, &link, cx)
    };
    // A made-up id must not cause a write.
    if asked.first || !is_pushed_after || !bot.account.ids.made_reply(&asked.reply) {
        return unrecorded();
    }
    let received_at = match first_poll::note(&world.store, &asked.reply, cx.now).await {
        Ok(at) => at,
        Err(error) => {
            warn!(account.id = %bot.account.integration, error = %error, "first poll can't be recorded");
            return unrecorded();
        }
    };
    let mut view = ReplyView {
        stage: Stage::Thinking,
        text: String::new(),
        reasoning: String::new(),
        notice: None,
        reference: None,
        files: Vec::new(),
        version: 0,
        asker: asked.asker.clone(),
        received_at,
        rest_follows: true,
        link: None,
        closed: None,
    };
    view.closed = polled.final_poll_state(asked, &view, cx);
    match view.closed {
        Some(_) => polled.answer_poll(asked, Some(&view), cx),
        None => unrecorded(),
    }
}

/// Whether text that no poll will show can be pushed to the asker. If that can't be determined, it is tried.
async fn can_push(world: &World, polled: &dyn PolledReplies, record: &ReplyRecord, cx: &Context<'_>) -> bool {
    let found = message::get(&world.store, &record.message, cx.now).await;
    let event = found.ok().flatten().map(|found| crate::event_of(world, &found));
    match event.and_then(Result::ok).flatten() {
        Some(Event::Message(asked)) => polled.can_push(&asked.target, cx),
        Some(Event::CardAction(clicked)) => polled.can_push(&clicked.target, cx),
        Some(Event::Overheard(_) | Event::Feedback(_) | Event::Recalled(_) | Event::ChatMoved(_)) | None => true,
    }
}

/// Sends the wake-up for pushing what no poll will show. If the answer is still growing, its run does that when it ends.
async fn push_rest(world: &World, bot: &Bot, record: &ReplyRecord) {
    let (organization, conversation) = (record.organization.clone(), record.conversation.clone());
    let wake = WakeUpV1::of_reply(organization, conversation, record.id.clone()).after_redrives(record.redrive);
    if let Err(error) = wakeups::send_watched(world, [(wake, Duration::ZERO)]).await {
        warn!(account.id = %bot.account.integration, event.key = %record.message, error = %error, "polling closed early and the wake-up can't be sent; the rest is pushed when polling would have ended");
    }
}

/// A reply as a poll sees it. Moves the text out of the record, for it may be long.
fn view_of(world: &World, bot: &Bot, record: &mut ReplyRecord) -> ReplyView {
    // A card is shown below the text once that is complete, and polls never show buttons.
    let with_card = (record.stage == Stage::Final && record.card.is_some())
        .then(|| record.text_with_buttons(bot.account.language).into_owned());
    ReplyView {
        stage: record.stage,
        text: with_card.unwrap_or_else(|| std::mem::take(&mut record.text)),
        reasoning: bot.shown_reasoning(&record.reasoning).to_owned(),
        notice: record.notice,
        reference: record.notice.and_then(|notice| notices::reference(notice, &record.id)),
        files: std::mem::take(&mut record.files),
        version: record.version,
        asker: record.asker.clone(),
        received_at: record.received_at,
        rest_follows: true,
        link: Some(reply_links::link(world, record)),
        closed: record.closed.clone(),
    }
}

async fn load(world: &World, bot: &Bot, asked: &PollRequest) -> Option<ReplyRecord> {
    let found = reply::get(&world.store, &asked.reply, world.clock.now())
        .await
        .unwrap_or_else(|error| {
            warn!(account.id = %bot.account.integration, error = %error, "reply can't be read");
            None
        })?;
    if found.integration != bot.account.integration {
        return None;
    }
    let Some(same) = &found.same_as else { return Some(found) };
    // Merged into a later message: shows that message's answer to the sender of this one.
    let shown = reply::get(&world.store, same, world.clock.now()).await.ok().flatten()?;
    Some(ReplyRecord {
        id: found.id,
        asker: found.asker,
        message: found.message,
        ..shown
    })
}

/// A wait for a reply: its deadline, and when to read the reply again.
struct Wait {
    give_up_at: Instant,
    watch: ReplyWatch,
    pause: Duration,
    longest_pause: Duration,
    /// Whether it is time to read what other processes have written.
    asks_table: bool,
    /// A record that was read already.
    known: Option<ReplyRecord>,
}

impl Wait {
    fn new(world: &World, reply: &ReplyId) -> Self {
        let (pause, longest_pause) = world.settings.reply_looks;
        Self {
            give_up_at: Instant::now() + LONGEST_WAIT,
            watch: world.local_replies.watch(reply),
            pause,
            longest_pause,
            asks_table: false,
            known: None,
        }
    }

    /// Limits the wait to `limit` from now.
    fn at_most(mut self, limit: Duration) -> Self {
        self.give_up_at = self.give_up_at.min(Instant::now() + limit);
        self
    }

    /// Whether the next read of the reply is the last one.
    fn is_over(&self) -> bool {
        Instant::now() >= self.give_up_at
    }

    /// The reply as last written by this process. `None`: the table must be read.
    fn written_here(&mut self) -> Option<ReplyRecord> {
        let newest = self
            .watch
            .newest()
            .filter(|it| !self.asks_table && it.same_as.is_none());
        newest.map(|it| ReplyRecord::clone(&it))
    }

    /// Waits until it is time to read again.
    async fn pause(&mut self) {
        let until = self.give_up_at.min(Instant::now() + self.pause);
        tokio::select! {
            () = self.watch.changed() => self.asks_table = false,
            () = sleep_until(until) => {
                self.asks_table = true;
                self.pause = (self.pause * 2).min(self.longest_pause);
            }
        }
    }
}

/// Waits for the final text, or for a state that satisfies `is_enough`.
async fn wait_for(
    mut wait: Wait,
    world: &World,
    bot: &Bot,
    asked: &PollRequest,
    is_enough: impl Fn(&ReplyRecord) -> bool,
) -> Option<ReplyRecord> {
    loop {
        let is_last = wait.known.is_none() && wait.is_over();
        let known = wait.known.take().or_else(|| wait.written_here());
        let found = match known.filter(|it| it.integration == bot.account.integration) {
            Some(known) => Some(known),
            None => load(world, bot, asked).await,
        };
        let has_come = found
            .as_ref()
            .is_some_and(|record| record.stage == Stage::Final || is_enough(record));
        if has_come || is_last {
            return found;
        }
        wait.pause().await;
    }
}

/// Answers the long poll of an operator who follows a reply of our own channel: waits up to 20 s for a state newer than the version `after`
/// that `query` names.
pub async fn long_poll(world: &World, reply: &ReplyId, query: &str, operator: Option<&Operator>) -> WebhookAnswer {
    let Some(operator) = operator else {
        return WebhookAnswer::problem(401, "unauthorized", "sign in first");
    };
    let after = match version_in(query) {
        Ok(after) => after,
        Err(mistake) => return mistake,
    };
    let Some(_permit) = world.long_polls.begin(operator.owner()) else {
        let detail = "too many long polls of this operator are in flight; try again when some have ended";
        return WebhookAnswer::problem(429, "too_many_long_polls", detail);
    };
    let not_found = || WebhookAnswer::problem(404, "reply_not_found", "there is no such reply");
    // No id of ours is that long, and the table refuses such a key. It must get the answer of every unknown id, in the same time.
    let unused = ReplyId::new("-");
    let reply = if reply.as_str().len() > MAX_REPLY_ID {
        &unused
    } else {
        reply
    };
    let mut wait = Wait::new(world, reply);
    let Some(record) = appear(&mut wait, world, reply, operator).await else {
        // Its message waits behind others, or its agent has sent nothing yet: a record exists only once there is something to show,
        // and an id alone doesn't reveal whether there will be one. A reply of another organization must look the same.
        return WebhookAnswer::json(&json!({ "text": "", "done": false, "version": after }));
    };
    let bound = match integration::look_up(&world.store, &record.integration, world.clock.now()).await {
        Ok(bound) => bound,
        Err(error) => {
            warn!(event.key = %record.message, error = %error, "reply can't be read for a long poll");
            return WebhookAnswer::problem(503, "unavailable", "the store can't be reached; try again");
        }
    };
    let Some(bot) = bound.and_then(|bound| accounts::open(world, &bound.integration).ok()) else {
        return not_found();
    };
    if bot.connector.manifest().proof != Proof::Operator {
        return not_found();
    }
    let asked = PollRequest {
        reply: reply.clone(),
        asker: record.asker.clone(),
        first: false,
        note: String::new(),
        wait: PollWait::Newer(after),
    };
    // A reply that shows the answer of another one must be read again together with that.
    wait.known = Some(record).filter(|record| record.same_as.is_none());
    answer_in(wait, world, &bot, &asked, None).await
}

/// The version that the caller has seen; 0 if not given.
fn version_in(query: &str) -> Result<u64, WebhookAnswer> {
    let mut after = None;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if name != "after" {
            let detail = format!("there is no parameter `{name}`");
            return Err(WebhookAnswer::problem_on(400, "unknown_field", &name, &detail));
        }
        let version = value.parse().ok().filter(|_| after.is_none());
        let wrong = || WebhookAnswer::problem_on(400, "invalid_field", "after", "`after` must be one whole number");
        after = Some(version.ok_or_else(wrong)?);
    }
    Ok(after.unwrap_or(0))
}

/// Waits until a reply has a record that the operator may write messages for: the message may not be dispatched yet.
async fn appear(wait: &mut Wait, world: &World, reply: &ReplyId, operator: &Operator) -> Option<ReplyRecord> {
    loop {
        let is_last = wait.is_over();
        let found = match wait.written_here() {
            Some(found) => Some(found),
            None => reply::get(&world.store, reply, world.clock.now()).await.ok().flatten(),
        };
        // As for posting messages. A viewer sees no texts here.
        let found = found.filter(|record| operator::may_write(operator, &record.organization));
        if found.is_some() || is_last {
            return found;
        }
        wait.pause().await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tieline_core::account::ConnectionMode;
    use tieline_core::ids::SenderId;

    use super::*;
    use crate::test_support::{self, FakeConnector};

    #[tokio::test]
    async fn poll_that_loses_the_close_shows_the_text_with_which_polling_ended() {
        let (_engine, world) = test_support::world(&[]).await;
        let bot = test_support::bot(&FakeConnector::LASTING, ConnectionMode::Webhook, true);
        let now = world.clock.now();
        let mut record = test_support::blank_reply(now);
        record.text = "so far".to_owned();
        reply::save(&world.store, None, &mut record, now).await.unwrap();
        let id = record.id.clone();
        let asked = PollRequest {
            reply: id.clone(),
            asker: SenderId::new("lisi"),
            first: false,
            note: String::new(),
            wait: PollWait::Newer(0),
        };
        let mut late = Wait::new(&world, &id);
        late.known = Some(record.clone());
        // Meanwhile the answer ends, and another poll shows it.
        let earlier = record.clone();
        (record.text, record.stage) = ("so far, and the rest".to_owned(), Stage::Final);
        reply::save(&world.store, Some(&earlier), &mut record, now)
            .await
            .unwrap();
        let shown = answer(&world, &bot, &asked, None).await;
        assert_eq!(shown.body, br#""so far, and the rest""#);
        let late = answer_in(late, &world, &bot, &asked, None).await;
        assert_eq!(
            late.body, shown.body,
            "it ends with another's ending and its own older text"
        );
    }

    #[track_caller]
    fn check(query: &str, expected: Result<u64, (&str, &str)>) {
        let found = version_in(query);
        let found = found.map_err(|answer| (answer.status, serde_json::from_slice::<Value>(&answer.body).unwrap()));
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err((status, problem)), Err((code, field))) => {
                assert_eq!(status, 400);
                assert_eq!((&problem["code"], &problem["field"]), (&code.into(), &field.into()));
            }
            (found, _) => panic!("{query}: {found:?}"),
        }
    }

    #[test]
    fn a_reply_is_followed_from_a_whole_number() {
        check("", Ok(0));
        check("after=7", Ok(7));
        for wrong in ["after=x", "after=", "after", "after=-1", "after=1.5", "after=1&after=2"] {
            check(wrong, Err(("invalid_field", "after")));
        }
        check("afer=1", Err(("unknown_field", "afer")));
        check("after=1&wait=2", Err(("unknown_field", "wait")));
    }
}
