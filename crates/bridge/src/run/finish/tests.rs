//! Runs whose answer the platform refuses.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use tieline_core::connector::Connector;

use tieline_core::account::ConnectionMode;
use tieline_core::conversation::{ConversationKey, RunState};
use tieline_core::event::{Chat, ChatKind};
use tieline_core::ids::{AgentId, ChatId, MessageId, RunId, SenderId};
use tieline_core::trigger::SessionScope;
use tieline_store::conversation;
use tieline_store::deadletter::{self, DeadLetter};
use tokio::sync::Notify;

use super::*;
use crate::redrive::{AskAgent, redrive};
use crate::run::fixture::PolledFixture;
use crate::run::{self, Next};
use crate::test_support;

/// A run of two messages whose recorded answer the platform refuses. The reply to the second shows it.
struct RefusedRun {
    bot: PolledFixture,
    first: MessageId,
    key: ConversationKey,
}

impl RefusedRun {
    async fn begin() -> Self {
        let bot = PolledFixture::over(ConnectionMode::LongConnection, |_| {}).await;
        bot.platform.0.refuses.store(true, Ordering::SeqCst);
        let last = &bot.message;
        let first = another_message(&bot, "msg_0", "tl-0").await;
        let (sender, chat) = (
            SenderId::new("lisi"),
            Chat {
                kind: ChatKind::Direct,
                id: ChatId::new("lisi"),
                thread: None,
            },
        );
        let key = ConversationKey::of(
            &last.organization,
            &last.integration,
            &chat,
            &sender,
            SessionScope::Sender,
        );
        let it = Self { bot, first, key };
        it.start_run("run_1", vec![it.first.clone(), it.bot.message.id.clone()])
            .await;
        it
    }

    /// A run that an earlier process has left with its answer recorded.
    async fn start_run(&self, id: &str, messages: Vec<MessageId>) {
        let (world, now) = (&self.bot.world, self.bot.world.clock.now());
        let found = conversation::load(&world.store, &self.key.id(), now).await.unwrap();
        let before = found.unwrap_or_else(|| Conversation::new(self.key.clone(), now));
        let mut after = before.clone();
        let mut run = RunState::new(RunId::new(id), messages, 1, AgentId::new("agt_1"), now);
        run.phase = RunPhase::Delivering;
        after.run = Some(run);
        conversation::save(&world.store, &before, &mut after).await.unwrap();
    }

    async fn work(&self) {
        assert_eq!(self.work_in(&self.bot.world).await.unwrap(), Next::Done);
    }

    async fn work_in(&self, world: &World) -> Result<Next, RunError> {
        let wake = WakeUpV1::new(self.key.organization.clone(), self.key.id());
        run::wake(world, &wake, None, None).await
    }

    /// The two messages.
    async fn messages(&self) -> [MessageRecord; 2] {
        let ids = [self.first.clone(), self.bot.message.id.clone()];
        let (store, now) = (&self.bot.world.store, self.bot.world.clock.now());
        let found = message::get_many(store, &ids, now).await.unwrap();
        found.try_into().unwrap()
    }

    async fn states(&self) -> [MessageState; 2] {
        self.messages().await.map(|record| record.state)
    }

    async fn letters(&self) -> Vec<DeadLetter> {
        let (store, now) = (&self.bot.world.store, self.bot.world.clock.now());
        let found = deadletter::list(store, &self.key.organization, None, 10, now).await;
        found.unwrap().items
    }

    async fn redrive(&self, letter: &DeadLetter) {
        redrive(&self.bot.world, letter, AskAgent::IfNeeded).await.unwrap();
    }
}

/// Another message of the fixture's conversation.
async fn another_message(bot: &PolledFixture, id: &str, reply: &str) -> MessageId {
    let (world, id) = (&bot.world, MessageId::new(id));
    let event = crate::event_of(world, &bot.message).unwrap().unwrap();
    let record = MessageRecord {
        id: id.clone(),
        reply: ReplyId::new(reply),
        event: crate::sealed_event(world, &id, event),
        ..bot.message.clone()
    };
    message::claim(&world.store, &record).await.unwrap();
    id
}

/// The earlier process had been refused, and was cut off before the messages ended.
#[tokio::test]
async fn answer_that_a_later_attempt_delivers_leaves_no_dead_letter() {
    let it = RefusedRun::begin().await;
    for message in it.messages().await {
        integration_log::dead_letter(&it.bot.world, &message, "403")
            .await
            .unwrap();
    }
    it.bot.platform.0.refuses.store(false, Ordering::SeqCst);
    it.work().await;
    assert_eq!(it.states().await, [MessageState::Answered; 2]);
    assert_eq!(it.letters().await, []);
}

/// A bot that loses its trigger meanwhile needs its connection for the answer.
#[tokio::test]
async fn run_that_waits_for_its_platform_counts_as_unfinished() {
    let it = RefusedRun::begin().await;
    let (world, integration) = (&it.bot.world, &it.key.integration);
    let (now, wait) = (world.clock.now(), Duration::from_secs(60));
    world.cooldowns.hold(integration, None, now.after(wait), now);
    it.work().await;
    assert_eq!(it.bot.n_pushed(), 0);
    let is_unfinished = |at| world.parked_runs.has_any_of(integration, at);
    assert!(is_unfinished(now.after(wait)), "until the next attempt has begun");
    assert!(!is_unfinished(world.clock.now().after(2 * wait + world.settings.lease)));
}

/// The agent may have done something that must not be done twice.
#[tokio::test]
async fn answer_to_merged_messages_is_delivered_again_once_for_all() {
    let it = RefusedRun::begin().await;
    it.work().await;
    assert_eq!(it.states().await, [MessageState::Failed; 2]);
    let letters = it.letters().await;
    assert_eq!(letters.len(), 2);
    it.bot.platform.0.refuses.store(false, Ordering::SeqCst);
    for letter in &letters {
        it.redrive(letter).await;
    }
    assert_eq!(it.states().await, [MessageState::Failed; 2], "the agent is asked again");
    assert_eq!(it.messages().await.map(|record| record.redrives), [0, 1]);
    assert_eq!(it.bot.wake(Some(1)).await.unwrap(), Next::Done);
    assert_eq!(it.bot.n_pushed(), 1);
    assert_eq!(it.states().await, [MessageState::Answered; 2]);
    assert_eq!(it.letters().await, []);
}

#[tokio::test]
async fn merged_message_whose_answer_was_delivered_is_ended_by_its_redrive() {
    let it = RefusedRun::begin().await;
    it.work().await;
    let (letters, [first, last]) = (it.letters().await, it.messages().await);
    // The process died before it ended the first one.
    let (store, now) = (&it.bot.world.store, it.bot.world.clock.now());
    message::finish_redelivery(store, &last.id, None, now).await.unwrap();
    let of_first = letters.iter().find(|letter| letter.message == first.id).unwrap();
    it.redrive(of_first).await;
    assert_eq!(it.states().await, [MessageState::Answered; 2]);
    assert!(it.letters().await.iter().all(|letter| letter.message != first.id));
}

/// What an operator has asked for explicitly doesn't end with the others.
#[tokio::test]
async fn merged_message_that_was_redriven_on_its_own_is_left() {
    let it = RefusedRun::begin().await;
    it.work().await;
    let [first, last] = it.messages().await;
    let (store, now) = (&it.bot.world.store, it.bot.world.clock.now());
    assert!(message::reopen(store, &first.id, 0, now).await.unwrap());
    let ending = Ending {
        state: MessageState::Failed,
        reason: Some("connect".to_owned()),
        run: None,
        session: None,
        steps: Vec::new(),
    };
    assert!(message::finish(store, &first.id, &ending).await.unwrap());
    crate::redrive::finish_redelivery(&it.bot.world, &last).await.unwrap();
    assert_eq!(it.states().await, [MessageState::Failed, MessageState::Answered]);
    assert_eq!(it.letters().await.len(), 2);
}

/// The tables of a process that dies once the second message has ended.
#[derive(Debug, Clone)]
struct DyingProcess {
    inner: SharedHttpClient,
    is_dead: Arc<AtomicBool>,
    died: Arc<Notify>,
}

#[derive(Debug)]
struct DyingConnector {
    inner: SharedHttpConnector,
    process: DyingProcess,
}

impl HttpClient for DyingProcess {
    fn http_connector(&self, settings: &HttpConnectorSettings, parts: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(DyingConnector {
            inner: self.inner.http_connector(settings, parts),
            process: self.clone(),
        })
    }
}

impl HttpConnector for DyingConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if self.process.is_dead.load(Ordering::SeqCst) {
            return HttpConnectorFuture::new(pending());
        }
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default());
        let is_last = ["ConditionExpression", "MSG#msg_1", r#""failed""#]
            .iter()
            .all(|part| body.contains(part));
        let answer = self.inner.call(request);
        if !is_last {
            return answer;
        }
        let DyingProcess { is_dead, died, .. } = self.process.clone();
        HttpConnectorFuture::new(async move {
            answer.await?;
            is_dead.store(true, Ordering::SeqCst);
            died.notify_one();
            pending().await
        })
    }
}

/// No process that comes later would keep it: the run is over.
#[tokio::test]
async fn answer_refused_until_the_person_writes_is_kept_before_its_message_ends() {
    let it = RefusedRun::begin().await;
    let process = DyingProcess {
        inner: it.bot.engine.http_client(),
        is_dead: Arc::default(),
        died: Arc::default(),
    };
    let registry = Box::leak(Box::new([it.bot.platform as &dyn Connector]));
    let world = test_support::world_over(SharedHttpClient::new(process.clone()), registry).await;
    tokio::select! {
        done = it.work_in(&world) => panic!("the process survived: {done:?}"),
        () = process.died.notified() => {}
    }
    assert_eq!(it.states().await, [MessageState::Failed; 2]);
    let (store, now) = (&it.bot.world.store, it.bot.world.clock.now());
    let found = conversation::load(store, &it.key.id(), now).await.unwrap().unwrap();
    assert_eq!(found.refused_answers, std::slice::from_ref(&it.bot.message.id));
}

#[tokio::test]
async fn refused_answer_is_shown_before_that_to_the_next_message() {
    let it = RefusedRun::begin().await;
    it.work().await;
    it.bot.platform.0.refuses.store(false, Ordering::SeqCst);
    let next = another_message(&it.bot, "msg_2", "tl-2").await;
    let (store, now) = (&it.bot.world.store, it.bot.world.clock.now());
    let mut newer = ReplyRecord {
        id: ReplyId::new("tl-2"),
        message: next.clone(),
        text: "the newer answer".to_owned(),
        delivered: false,
        version: 0,
        ..it.bot.reply().await
    };
    reply::save(store, None, &mut newer, now).await.unwrap();
    it.start_run("run_2", vec![next]).await;
    it.work().await;
    let said = it.bot.platform.0.said.lock().unwrap().clone();
    assert_eq!(said, ["the answer", "the newer answer"]);
    assert_eq!(it.states().await, [MessageState::Answered; 2]);
    let found = conversation::load(store, &it.key.id(), now).await.unwrap().unwrap();
    assert_eq!(found.refused_answers, []);
}
