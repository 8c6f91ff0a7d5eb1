//! A bot on a platform that polls, with one message and its reply: a fixture of tests.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tieline_core::account::{ConnectionMode, Credentials, Endpoints};
use tieline_core::connector::{Connector, Context, SentCall, Verdict};
use tieline_core::envelope::WakeUpV1;
use tieline_core::event::{Chat, ChatKind, Event, Message, Sender};
use tieline_core::http_types::{ApiCall, Body, HttpCall, TokenPlace};
use tieline_core::ids::{ChatId, IntegrationId, OrganizationId, PlatformMessageId, SenderId};
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_core::notice::Language;
use tieline_core::reply::{DesiredReply, Progress, ReplyHandle, ReplyTarget, Stage, Step};
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_embedded::Embedded;
use tieline_store::config::integration::{self, IntegrationRecord, IntegrationSettings, NewIntegration};
use tieline_store::message::{self, Ending, MessageRecord};
use tieline_store::reply::{self, Outcome, ReplyRecord};

use crate::run::{self, Next, RunError};
use crate::test_support::{self, FakeDelivery, FakePlatform, WINDOW_CLOSED};
use crate::world::World;

/// The account of the fixture's bot.
pub(super) const ACCOUNT: &str = "bot-1";

/// A platform that accepts what is pushed. Where it polls, that is the rest of each reply.
pub(super) struct PollingPlatform {
    n_pushed: AtomicUsize,
    /// The texts that were pushed.
    pub(super) said: Mutex<Vec<String>>,
    /// Whether it refuses that until the person writes again.
    pub(super) refuses: AtomicBool,
}

impl FakeDelivery for PollingPlatform {
    fn step(&self, wanted: &DesiredReply<'_>, done: &Progress, cx: &Context<'_>) -> Step {
        if *done != Progress::default() {
            return Step::Done;
        }
        match wanted.pulled.is_none_or(|pulled| pulled.closed.is_some()) {
            true => Step::Call {
                // Nothing listens there: the verdict doesn't depend on an answer.
                call: ApiCall::Http(HttpCall {
                    name: "push",
                    method: "POST",
                    url: "http://127.0.0.1:1/".to_owned(),
                    headers: vec![("text".to_owned(), wanted.text.to_owned())],
                    body: Body::Empty,
                    token: TokenPlace::None,
                    timeout: Duration::from_secs(5),
                }),
                on_success: Progress::write(&"pushed"),
            },
            false => Step::Wait {
                until: cx.now.after(Duration::from_secs(60)),
            },
        }
    }

    fn verdict(&self, sent: &SentCall<'_>) -> Verdict {
        if self.refuses.load(Ordering::SeqCst) {
            let code = WINDOW_CLOSED.to_owned();
            return Verdict::Refused { code };
        }
        self.n_pushed.fetch_add(1, Ordering::SeqCst);
        if let ApiCall::Http(call) = sent.call {
            let texts = call.headers.iter().map(|(_, text)| text.clone());
            self.said.lock().unwrap().extend(texts);
        }
        Verdict::Accepted(sent.on_success.clone())
    }
}

/// A bot whose platform no longer polls for the only reply, which is final and has a rest.
pub(crate) struct PolledFixture {
    pub(super) engine: Embedded,
    pub(crate) world: World,
    pub(super) platform: &'static FakePlatform<PollingPlatform>,
    pub(crate) message: MessageRecord,
}

impl PolledFixture {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With a change of the message's record.
    pub(crate) async fn with(change: impl FnOnce(&mut MessageRecord)) -> Self {
        Self::over(ConnectionMode::Webhook, change).await
    }

    /// In a mode of WeCom: over its long connection, replies are pushed.
    pub(super) async fn over(mode: ConnectionMode, change: impl FnOnce(&mut MessageRecord)) -> Self {
        let platform: &'static FakePlatform<PollingPlatform> = Box::leak(Box::new(FakePlatform(PollingPlatform {
            n_pushed: AtomicUsize::new(0),
            said: Mutex::default(),
            refuses: AtomicBool::new(false),
        })));
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
            mode,
            credentials: Credentials::default(),
            endpoints: Endpoints::default(),
            language: Language::English,
            streaming: true,
            thinking: ThinkingDisplay::default(),
            allowed_agents: None,
            enabled: true,
            account_key: Some(ACCOUNT.to_owned()),
        };
        let bot = integration::create(&world.store, new, settings, now).await.unwrap();
        let mut record = ReplyRecord {
            stage: Stage::Final,
            text: "the answer".to_owned(),
            outcome: Some(Outcome::Completed),
            fence: 1,
            ..test_support::blank_reply(now)
        };
        reply::save(&world.store, None, &mut record, now).await.unwrap();
        reply::close(&world.store, &record.id, &Progress::write(&"some"), now)
            .await
            .unwrap();
        let mut message = message_of(&world, &record);
        message.account = bot.account_mark().map(str::to_owned);
        change(&mut message);
        message::claim(&world.store, &message).await.unwrap();
        Self {
            engine,
            world,
            platform,
            message,
        }
    }

    pub(crate) async fn reply(&self) -> ReplyRecord {
        let found = reply::get(&self.world.store, &self.message.reply, self.world.clock.now()).await;
        found.unwrap().unwrap()
    }

    /// Changes the integration to this account, with this token, as another process than `world` does. Returns it.
    pub(super) async fn change_account(&self, account: Option<&str>, token: &str) -> IntegrationRecord {
        let elsewhere = test_support::world_over(self.engine.http_client(), &[]).await;
        let (store, now) = (&elsewhere.store, elsewhere.clock.now());
        let before = integration::get(store, &self.message.integration)
            .await
            .unwrap()
            .unwrap();
        let settings = IntegrationSettings {
            credentials: [("botToken", token)].into_iter().collect(),
            account_key: account.map(str::to_owned),
            ..before.settings(store.keyring()).unwrap()
        };
        integration::update(store, &before, settings, now).await.unwrap()
    }

    pub(crate) async fn end_message(&self) {
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

    /// Wakes a runner for the reply by a wake-up that was sent after so many redrives.
    pub(super) async fn wake(&self, redrive: Option<u32>) -> Result<Next, RunError> {
        let reply = self.reply().await;
        let wake = WakeUpV1 {
            redrive,
            ..WakeUpV1::of_reply(reply.organization, reply.conversation, reply.id)
        };
        run::wake(&self.world, &wake, None, None).await
    }

    pub(super) fn n_pushed(&self) -> usize {
        self.platform.0.n_pushed.load(Ordering::SeqCst)
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
        topic_root: None,
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
        account: None,
        platform_message: id,
        conversation: Some(reply.conversation.clone()),
        session: None,
        sender: Some(sender),
        received_at: reply.received_at,
        state: MessageState::Queued,
        event: crate::sealed_event(world, &reply.message, event),
        run: None,
        run_messages: Vec::new(),
        reason: None,
        steps: Vec::new(),
        redrives: 0,
        version: 0,
    }
}

/// The value as if a process had sealed it with a data key that no other one knows.
pub(super) fn with_unknown_key(sealed: &str) -> String {
    // The first byte of the Base64 is the version of the key: 5 in place of 1.
    let rest = sealed.strip_prefix('A').expect("sealed with key 1");
    format!("B{rest}")
}
