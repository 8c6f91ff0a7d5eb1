//! Who pushes the rest of a polled reply, and when.

use std::sync::atomic::{AtomicUsize, Ordering};

use tieline_connectors::wecom::WeCom;
use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{Connector, Context, Manifest, Received, Rejection, SentCall, Verdict};
use tieline_core::event::{Chat, ChatKind, Message, Sender};
use tieline_core::http_types::{ApiAnswer, ApiCall, Body, HttpCall, TokenPlace, WebhookRequest};
use tieline_core::ids::{ChatId, IntegrationId, OrganizationId, PlatformMessageId, SenderId};
use tieline_core::notice::Language;
use tieline_core::reply::{ComposeError, DesiredReply, ReplyHandle, Step};
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_embedded::Embedded;
use tieline_store::config::integration::{IntegrationSettings, NewIntegration};
use tieline_store::message::Ending;

use super::*;
use crate::lease_watch::{LeaseSignal, LeaseWatch};
use crate::run;
use crate::test_support;

/// A platform that polls, and accepts the rest of each reply.
struct PollingPlatform {
    n_pushed: AtomicUsize,
}

impl Connector for PollingPlatform {
    fn manifest(&self) -> &'static Manifest {
        WeCom.manifest()
    }

    fn prepare(&self, _: ConnectionMode, _: &Credentials, _: &Endpoints) -> Result<Prepared, InvalidSetting> {
        Ok(Prepared::new(()))
    }

    fn account_key(&self, _: ConnectionMode, _: &Credentials) -> Option<String> {
        None
    }

    fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection> {
        WeCom.receive(request, cx)
    }

    fn deliver(
        &self,
        wanted: &DesiredReply<'_>,
        _: &ReplyTarget,
        done: &Progress,
        cx: &Context<'_>,
    ) -> Result<Step, ComposeError> {
        if *done != Progress::default() {
            return Ok(Step::Done);
        }
        Ok(match wanted.pulled.and_then(|pulled| pulled.closed) {
            Some(_) => Step::Call {
                // Nothing listens there: the verdict doesn't depend on an answer.
                call: ApiCall::Http(HttpCall {
                    name: "push",
                    method: "POST",
                    url: "http://127.0.0.1:1/".to_owned(),
                    headers: Vec::new(),
                    body: Body::Empty,
                    token: TokenPlace::None,
                    timeout: Duration::from_secs(5),
                }),
                on_success: Progress::write(&"pushed"),
            },
            None => Step::Wait {
                until: cx.now.after(Duration::from_secs(60)),
            },
        })
    }

    fn classify(&self, sent: &SentCall<'_>, _: &ApiAnswer, _: &Context<'_>) -> Verdict {
        self.n_pushed.fetch_add(1, Ordering::SeqCst);
        Verdict::Accepted(sent.on_success.clone())
    }
}

/// A bot whose platform no longer polls for the only reply, which is final and has a rest.
struct Fixture {
    _engine: Embedded,
    world: World,
    platform: &'static PollingPlatform,
    message: MessageRecord,
}

impl Fixture {
    async fn new() -> Self {
        let platform: &'static PollingPlatform = Box::leak(Box::new(PollingPlatform {
            n_pushed: AtomicUsize::new(0),
        }));
        let (engine, world) = test_support::world(Box::leak(Box::new([platform as &dyn Connector]))).await;
        let now = world.clock.now();
        let new = NewIntegration {
            id: IntegrationId::new("int_1"),
            organization: OrganizationId::new("default"),
            platform: "wecom".to_owned(),
            id_key: [7; 32],
        };
        let settings = IntegrationSettings {
            name: "Bot".to_owned(),
            mode: ConnectionMode::Webhook,
            credentials: Credentials::default(),
            endpoints: Endpoints::default(),
            language: Language::English,
            streaming: true,
            thinking: ThinkingDisplay::default(),
            enabled: true,
            account_key: None,
        };
        integration::create(&world.store, new, settings, now).await.unwrap();
        let mut record = ReplyRecord {
            stage: Stage::Final,
            text: "the answer".to_owned(),
            outcome: Some(Outcome::Completed),
            fence: 7,
            ..test_support::blank_reply(now)
        };
        reply::save(&world.store, None, &mut record, now).await.unwrap();
        reply::close(&world.store, &record.id, &Progress::write(&"some"), now)
            .await
            .unwrap();
        let message = message_of(&world, &record);
        message::claim(&world.store, &message).await.unwrap();
        Self {
            _engine: engine,
            world,
            platform,
            message,
        }
    }

    async fn reply(&self) -> ReplyRecord {
        let found = reply::get(&self.world.store, &self.message.reply, self.world.clock.now()).await;
        found.unwrap().unwrap()
    }

    async fn end_message(&self) {
        let ending = Ending {
            state: MessageState::Answered,
            reason: None,
            run: None,
            session: None,
            steps: vec![LedgerStep::new(self.world.clock.now(), "answered")],
        };
        message::finish(&self.world.store, &self.message.id, &ending)
            .await
            .unwrap();
    }

    async fn wake(&self) -> Next {
        self.wake_after(None).await
    }

    /// Wakes a runner by a wake-up that was sent after so many redrives.
    async fn wake_after(&self, redrive: Option<u32>) -> Next {
        let reply = self.reply().await;
        let wake = WakeUpV1 {
            redrive,
            ..WakeUpV1::of_reply(reply.organization, reply.conversation, reply.id)
        };
        run::wake(&self.world, &wake, None, None).await.unwrap()
    }

    fn n_pushed(&self) -> usize {
        self.platform.n_pushed.load(Ordering::SeqCst)
    }
}

/// The message of a reply, which waits for its end.
fn message_of(world: &World, reply: &ReplyRecord) -> MessageRecord {
    let (id, sender) = (PlatformMessageId::new("m1"), SenderId::new("lisi"));
    let event = Event::Message(Message {
        id: id.clone(),
        sender: Sender {
            id: sender.clone(),
            name: None,
        },
        chat_name: None,
        sent_at: None,
        text: "a question".to_owned(),
        parts: Vec::new(),
        quoted: None,
        refers_to: None,
        album: None,
        target: ReplyTarget {
            integration: reply.integration.clone(),
            chat: Chat {
                kind: ChatKind::Direct,
                id: ChatId::new("lisi"),
                thread: None,
            },
            asker: sender.clone(),
            message: id.clone(),
            handle: ReplyHandle::default(),
            expires_at: None,
        },
    });
    MessageRecord {
        id: reply.message.clone(),
        reply: reply.id.clone(),
        organization: reply.organization.clone(),
        integration: reply.integration.clone(),
        platform_message: id,
        conversation: Some(reply.conversation.clone()),
        session: None,
        sender: Some(sender),
        received_at: reply.received_at,
        state: MessageState::Queued,
        event: crate::sealed_event(world, &reply.message, event),
        run: None,
        reason: None,
        steps: Vec::new(),
        redrives: 0,
        version: 0,
    }
}

/// The poll that ended polling has sent a wake-up for it too, and the platform accepts the rest once.
#[tokio::test]
async fn run_does_not_push_the_rest_of_a_polled_answer() {
    let it = Fixture::new().await;
    let now = it.world.clock.now();
    let bot = test_support::bot(it.platform, ConnectionMode::Webhook, true);
    let Some(Event::Message(asked)) = crate::event_of(&it.world, &it.message) else {
        panic!("no message");
    };
    let lease = now.after(it.world.settings.lease);
    let (_keeper, hold) = LeaseWatch::new(it.world.clock, lease, LeaseSignal::Nothing);
    let found = it.reply().await;
    assert!(found.closed.is_some());
    let mut showing =
        ReplyDelivery::new(&it.world, &bot, &asked.target, Some(found.clone()), || found).under_lease(hold, 7);
    let shown = showing.finish(None).await.unwrap();
    assert!(
        matches!(shown, DeliveryOutcome::NotBefore(at) if at <= it.world.clock.now()),
        "{shown:?}"
    );
    assert_eq!(it.n_pushed(), 0);
}

#[tokio::test]
async fn rest_of_a_polled_answer_is_pushed_once_its_message_has_ended() {
    let it = Fixture::new().await;
    assert_eq!(it.wake().await, Next::Again(UNTIL_ENDED));
    let reply = it.reply().await;
    assert_eq!((reply.lease, reply.delivered, it.n_pushed()), (None, false, 0));
    it.end_message().await;
    assert_eq!(it.wake().await, Next::Done);
    assert_eq!(it.n_pushed(), 1);
    assert!(it.reply().await.delivered);
    assert_eq!(it.wake().await, Next::Done);
    assert_eq!(it.n_pushed(), 1);
}

/// The chat may show the answer that the redrive has brought, though the reply's own record doesn't say so.
#[tokio::test]
async fn wake_up_of_a_reply_that_was_redriven_since_does_nothing() {
    for (sent_after, expected) in [(Some(0), 0), (Some(1), 1), (Some(2), 1), (None, 1)] {
        let it = Fixture::new().await;
        it.end_message().await;
        let before = it.reply().await;
        let mut after = ReplyRecord {
            redrive: 1,
            ..before.clone()
        };
        let (store, now) = (&it.world.store, it.world.clock.now());
        reply::restart(store, &before, &mut after, now).await.unwrap();
        reply::close(store, &before.id, &Progress::write(&"some"), now)
            .await
            .unwrap();
        assert_eq!(it.wake_after(sent_after).await, Next::Done);
        assert_eq!(it.n_pushed(), expected, "{sent_after:?}");
    }
}
