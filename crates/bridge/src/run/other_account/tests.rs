//! Answers that are still owed when an operator changes the integration to another bot account.

use std::slice;

use tieline_core::account::ConnectionMode;
use tieline_core::conversation::{Conversation, ConversationKey, RunPhase, RunState};
use tieline_core::envelope::WakeUpV1;
use tieline_core::event::{Chat, ChatKind};
use tieline_core::ids::{AgentId, ChatId, RunId, SenderId};
use tieline_core::message_state::MessageState;
use tieline_core::trigger::SessionScope;
use tieline_store::conversation;
use tieline_store::deadletter::{self, DeadLetter};
use tieline_store::message::{self, MessageRecord};

use super::*;
use crate::redrive::{AskAgent, RedriveError, redrive};
use crate::run::fixture::{ACCOUNT, PolledFixture};
use crate::run::{self, Next};

/// A bot whose message is answered by a run that an earlier process has left, with its answer recorded.
struct LeftRun {
    bot: PolledFixture,
    key: ConversationKey,
}

impl LeftRun {
    async fn begin(phase: RunPhase, change: impl FnOnce(&mut MessageRecord)) -> Self {
        let bot = PolledFixture::over(ConnectionMode::LongConnection, change).await;
        let (world, message) = (&bot.world, &bot.message);
        let chat = Chat {
            kind: ChatKind::Direct,
            id: ChatId::new("lisi"),
            thread: None,
        };
        let (organization, integration) = (&message.organization, &message.integration);
        let sender = SenderId::new("lisi");
        let key = ConversationKey::of(organization, integration, &chat, &sender, SessionScope::Sender);
        let before = Conversation::new(key.clone(), world.clock.now());
        let messages = vec![message.id.clone()];
        let mut run = RunState::new(
            RunId::new("run_1"),
            messages,
            1,
            AgentId::new("agt_1"),
            world.clock.now(),
        );
        run.phase = phase;
        let mut after = before.clone();
        after.run = Some(run);
        conversation::save(&world.store, &before, &mut after).await.unwrap();
        Self { bot, key }
    }

    /// Continues the run. Returns the state of its message and how often its answer was sent.
    async fn work(&self) -> (MessageState, usize) {
        let wake = WakeUpV1::new(self.key.organization.clone(), self.key.id());
        let done = run::wake(&self.bot.world, &wake, None, None).await;
        assert_eq!(done.unwrap(), Next::Done);
        (self.message().await.state, self.bot.n_pushed())
    }

    async fn message(&self) -> MessageRecord {
        let (store, now) = (&self.bot.world.store, self.bot.world.clock.now());
        let found = message::get(store, &self.bot.message.id, now).await;
        found.unwrap().unwrap()
    }
}

async fn letters(bot: &PolledFixture) -> Vec<DeadLetter> {
    let (store, now) = (&bot.world.store, bot.world.clock.now());
    let found = deadletter::list(store, &bot.message.organization, None, 10, now).await;
    found.unwrap().items
}

#[tokio::test]
async fn run_does_not_answer_with_another_account() {
    for phase in [RunPhase::Calling, RunPhase::Deferred, RunPhase::Delivering] {
        let it = LeftRun::begin(phase, |_| {}).await;
        it.bot.change_account(Some("bot-2"), "new").await;
        assert_eq!(it.work().await, (MessageState::Failed, 0), "{phase:?}");
        assert_eq!(it.message().await.reason.as_deref(), Some(ACCOUNT_CHANGED));
        let letters = letters(&it.bot).await;
        let reasons: Vec<_> = letters.iter().map(|letter| &*letter.reason).collect();
        assert_eq!(reasons, [ACCOUNT_CHANGED]);
        // Nothing is left to be repeated.
        assert_eq!(it.work().await, (MessageState::Failed, 0));
    }
}

#[tokio::test]
async fn run_goes_on_with_the_same_or_an_unknown_account() {
    for account in [Some(ACCOUNT), None] {
        let it = LeftRun::begin(RunPhase::Delivering, |_| {}).await;
        it.bot.change_account(account, "new").await;
        assert_eq!(it.work().await, (MessageState::Answered, 1), "{account:?}");
    }
    let it = LeftRun::begin(RunPhase::Delivering, |message| message.account = None).await;
    it.bot.change_account(Some("bot-2"), "new").await;
    assert_eq!(it.work().await, (MessageState::Answered, 1));
}

/// This process has cached the integration as it was before the change.
#[tokio::test]
async fn message_of_the_new_account_is_answered_at_once() {
    let other = PolledFixture::new().await.change_account(Some("bot-2"), "new").await;
    let mark = other.account_mark().map(str::to_owned);
    let it = LeftRun::begin(RunPhase::Delivering, |message| message.account = mark).await;
    let now = it.bot.world.clock.now();
    let cached = tieline_store::config::integration::look_up(&it.bot.world.store, &it.key.integration, now).await;
    it.bot.change_account(Some("bot-2"), "new").await;
    assert_ne!(
        cached.unwrap().unwrap().integration.account_mark(),
        other.account_mark()
    );
    assert_eq!(it.work().await, (MessageState::Answered, 1));
}

#[tokio::test]
async fn reply_is_not_delivered_by_another_account() {
    let bot = PolledFixture::new().await;
    bot.end_message().await;
    bot.change_account(Some("bot-2"), "new").await;
    for _ in 0..2 {
        assert_eq!(bot.wake(None).await.unwrap(), Next::Done);
    }
    assert_eq!((bot.n_pushed(), bot.reply().await.delivered), (0, true));
    let letters = letters(&bot).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, ACCOUNT_CHANGED);
    let (store, now) = (&bot.world.store, bot.world.clock.now());
    let message = message::get(store, &bot.message.id, now).await.unwrap().unwrap();
    let last = message.steps.last().unwrap();
    let last = (last.step.as_str(), last.code.as_deref());
    assert_eq!(last, (message::DELIVERY_REFUSED, Some(ACCOUNT_CHANGED)));
    // Only its delivery would be repeated.
    let redriven = redrive(&bot.world, &letters[0], AskAgent::IfNeeded).await;
    assert!(matches!(redriven, Err(RedriveError::AccountChanged)), "{redriven:?}");
}

#[tokio::test]
async fn reply_is_delivered_by_the_same_or_an_unknown_account() {
    for account in [Some(ACCOUNT), None] {
        let bot = PolledFixture::new().await;
        bot.end_message().await;
        bot.change_account(account, "new").await;
        assert_eq!(bot.wake(None).await.unwrap(), Next::Done);
        assert_eq!(bot.n_pushed(), 1, "{account:?}");
    }
}

#[tokio::test]
async fn redrive_waits_until_the_account_is_back() {
    let it = LeftRun::begin(RunPhase::Delivering, |_| {}).await;
    it.bot.change_account(Some("bot-2"), "new").await;
    it.work().await;
    let (world, letter) = (&it.bot.world, letters(&it.bot).await.remove(0));
    for ask in [AskAgent::IfNeeded, AskAgent::Always] {
        let redriven = redrive(world, &letter, ask).await;
        assert!(matches!(redriven, Err(RedriveError::AccountChanged)), "{redriven:?}");
    }
    assert_eq!(letters(&it.bot).await, slice::from_ref(&letter));
    it.bot.change_account(Some(ACCOUNT), "newer").await;
    redrive(world, &letter, AskAgent::IfNeeded).await.unwrap();
    assert_eq!(it.bot.wake(Some(1)).await.unwrap(), Next::Done);
    assert_eq!(
        (it.message().await.state, it.bot.n_pushed()),
        (MessageState::Answered, 1)
    );
}
