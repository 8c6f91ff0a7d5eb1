//! A connector that panics on some messages must not affect other messages.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tieline_bridge::{dispatch, run};
use tieline_connectors::dingtalk::DingTalk;
use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{Connector, Context, Manifest, Received, Rejection, SentCall, Verdict};
use tieline_core::conversation::{Lease, Owner};
use tieline_core::envelope::{Envelope, WakeUp};
use tieline_core::http_types::{ApiAnswer, WebhookRequest};
use tieline_core::ids::OrganizationId;
use tieline_core::message_state::MessageState;
use tieline_core::notice::Notice;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Stage, Step};
use tieline_queue::receive::{MAX_BATCH, delete, receive};
use tieline_store::config::organization::DEFAULT;
use tieline_store::conversation;
use tieline_store::deadletter::{self, DeadLetter};
use tieline_store::message::{self, Filter};
use tieline_tests::agents::{FakeAgent, Manner};

use crate::chat::ChatServer;
use crate::deferred;
use crate::process_run::{CrashPlan, ProcessRun};
use crate::test_bot::{Bot, Over, set_up};

/// With more tries than this, the scenario loops.
const MOST_TRIES: usize = 20;

/// The DingTalk connector, but it panics on some replies.
struct PanickingConnector {
    /// Whether its manifest panics too.
    manifest_panics: AtomicBool,
}

impl Connector for PanickingConnector {
    fn manifest(&self) -> &'static Manifest {
        assert!(!self.manifest_panics.load(Ordering::SeqCst), "planted panic");
        DingTalk.manifest()
    }

    fn prepare(
        &self,
        mode: ConnectionMode,
        credentials: &Credentials,
        endpoints: &Endpoints,
    ) -> Result<Prepared, InvalidSetting> {
        DingTalk.prepare(mode, credentials, endpoints)
    }

    fn account_key(&self, mode: ConnectionMode, credentials: &Credentials) -> Option<String> {
        DingTalk.account_key(mode, credentials)
    }

    fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection> {
        DingTalk.receive(request, cx)
    }

    fn deliver(
        &self,
        wanted: &DesiredReply<'_>,
        to: &ReplyTarget,
        done: &Progress,
        cx: &Context<'_>,
    ) -> Result<Step, ComposeError> {
        // Once the agent's result is recorded. Before that, the agent is asked again.
        let is_poison = wanted.stage == Stage::Final && wanted.text.contains("poison");
        assert!(!is_poison, "planted panic");
        let is_poison_draft = wanted.stage == Stage::Growing && wanted.text.contains("venom");
        assert!(!is_poison_draft, "planted panic");
        assert_ne!(wanted.notice, Some(Notice::NothingToStop), "planted panic");
        DingTalk.deliver(wanted, to, done, cx)
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
        DingTalk.classify(sent, answer, cx)
    }
}

struct PanicScenario {
    process: ProcessRun,
    agent: FakeAgent,
    chat: ChatServer,
    bot: Bot,
    connector: &'static PanickingConnector,
    _dir: tempfile::TempDir,
}

impl PanicScenario {
    async fn begin(window: Duration) -> Self {
        let agent = FakeAgent::start(Manner::default()).await;
        let settings = agent.as_chat("Counting");
        Self::begin_with(agent, &settings, Over::DingTalk, window).await
    }

    /// With an agent that calls back, and a bot that shows the answer while it grows.
    async fn begin_deferring() -> Self {
        let agent = deferred::deferring().await;
        let settings = agent.as_webhook("Later");
        Self::begin_with(agent, &settings, Over::DingTalkCards, Duration::ZERO).await
    }

    async fn begin_with(agent: FakeAgent, settings: &Value, over: Over, window: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let chat = ChatServer::start().await;
        let mut process = ProcessRun::begin(dir.path(), CrashPlan::new(None), Duration::ZERO).await;
        let connector: &'static PanickingConnector = Box::leak(Box::new(PanickingConnector {
            manifest_panics: AtomicBool::new(false),
        }));
        process.world.registry = Box::leak(Box::new([connector as &dyn Connector]));
        let bot = set_up(&process.world, over, settings, &chat, window).await;
        Self {
            process,
            agent,
            chat,
            bot,
            connector,
            _dir: dir,
        }
    }

    async fn receive(&self, text: &str) {
        assert!(self.bot.receive(&self.process.world, text, text).await);
    }

    async fn call_back(&self, seq: u64, event: Value) {
        assert!(deferred::call_back(&self.process, &self.agent, seq, event).await);
        self.process.work().await;
    }

    /// Leaves the run as so many processes do that have died while they worked on it, one after the other.
    async fn leave_by_dead_processes(&self, n_dead: u32) {
        let (store, now) = (&self.process.world.store, self.process.world.clock.now());
        let found = conversation::list(store, &self.bot.id, None, None, 10, now).await;
        let before = found.unwrap().items.remove(0);
        let mut after = before.clone();
        after.run.as_mut().unwrap().attempt = n_dead;
        after.lease = Some(Lease {
            owner: Owner {
                node: "dead".to_owned(),
                life: "1".to_owned(),
            },
            fence: before.version + 1,
            expires_at: now,
        });
        conversation::save(store, &before, &mut after).await.unwrap();
    }

    /// Lets time pass until this message has ended. Returns how it has.
    async fn end_of(&mut self, text: &str) -> MessageState {
        for _ in 0..MOST_TRIES {
            let state = self.state(text).await;
            if state.is_terminal() {
                return state;
            }
            self.process.pass(Duration::from_secs(60));
            self.process.work().await;
        }
        panic!("{text:?} has not ended");
    }

    async fn receive_elsewhere(&self, text: &str) {
        let mut other = self.bot.clone();
        "2".clone_into(&mut other.chat);
        assert!(other.receive(&self.process.world, text, text).await);
    }

    /// Dispatches all received events in one batch. Returns how many must be received again.
    async fn dispatch_together(&self) -> usize {
        let (queues, url) = (&self.process.world.queues, &self.process.world.queues.urls().inbound);
        let received = receive::<Envelope>(queues, url, MAX_BATCH, Duration::ZERO)
            .await
            .unwrap();
        let mut receipts: Vec<_> = received.iter().map(|it| (it.id.clone(), it.receipt.clone())).collect();
        let failed = dispatch::batch::dispatch_batch(&self.process.world, received).await;
        receipts.retain(|(id, _)| !failed.contains(id));
        let done: Vec<_> = receipts.into_iter().map(|(_, receipt)| receipt).collect();
        delete(queues, url, &done).await.unwrap();
        failed.len()
    }

    /// Works all wake-ups that are due, in one batch.
    async fn run_together(&self) {
        let (queues, url) = (&self.process.world.queues, &self.process.world.queues.urls().work);
        let received = receive::<WakeUp>(queues, url, MAX_BATCH, Duration::ZERO).await.unwrap();
        let mut receipts: Vec<_> = received.iter().map(|it| (it.id.clone(), it.receipt.clone())).collect();
        let failed = run::batch::run(&self.process.world, received, None).await;
        receipts.retain(|(id, _)| !failed.contains(id));
        let done: Vec<_> = receipts.into_iter().map(|(_, receipt)| receipt).collect();
        delete(queues, url, &done).await.unwrap();
    }

    /// State of the message with this text.
    async fn state(&self, text: &str) -> MessageState {
        let (store, now) = (&self.process.world.store, self.process.world.clock.now());
        let organization = OrganizationId::new(DEFAULT);
        let found = message::list(store, &organization, &Filter::default(), None, 100, now).await;
        let mut all = found.unwrap().items.into_iter();
        all.find(|it| it.platform_message.as_str() == text).unwrap().state
    }

    async fn dead_letters(&self) -> Vec<DeadLetter> {
        let (store, now) = (&self.process.world.store, self.process.world.clock.now());
        let found = deadletter::list(store, &OrganizationId::new(DEFAULT), None, 10, now).await;
        found.unwrap().items
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_answer_is_given_up_and_blocks_its_conversation_only_for_a_time() {
    let mut scenario = PanicScenario::begin(Duration::ZERO).await;
    scenario.receive("poison").await;
    scenario.receive_elsewhere("fine").await;
    scenario.process.dispatch().await;
    scenario.run_together().await;
    assert_eq!(scenario.state("fine").await, MessageState::Answered);

    scenario.receive("after").await;
    scenario.process.work().await;
    let mut n_tries = 1;
    while scenario.state("after").await != MessageState::Answered {
        n_tries += 1;
        assert!(n_tries < MOST_TRIES, "the poison message still blocks its conversation");
        scenario.process.pass(Duration::from_secs(60));
        scenario.process.work().await;
    }
    assert_eq!(scenario.state("poison").await, MessageState::Failed);
    let reasons: Vec<String> = scenario.dead_letters().await.into_iter().map(|it| it.reason).collect();
    assert_eq!(reasons, ["crashed"]);
    let n_asked = scenario.agent.asked().iter().filter(|text| *text == "poison").count();
    assert_eq!(
        n_asked, 1,
        "the agent must be asked once, because its result was recorded"
    );
    assert_eq!(scenario.chat.said().len(), 2);
}

/// The agent would have days to call back.
#[tokio::test(flavor = "multi_thread")]
async fn poison_callback_is_given_up_and_blocks_its_conversation_only_for_a_time() {
    let mut scenario = PanicScenario::begin_deferring().await;
    scenario.receive("one").await;
    scenario.process.work().await;
    scenario
        .call_back(1, json!({ "type": "text.delta", "text": "venom" }))
        .await;
    assert_eq!(scenario.end_of("one").await, MessageState::Failed);
    let reasons: Vec<String> = scenario.dead_letters().await.into_iter().map(|it| it.reason).collect();
    assert_eq!(reasons, ["crashed"]);
    scenario.receive("at once").await;
    scenario.process.work().await;
    assert_eq!(scenario.end_of("at once").await, MessageState::Answered);
}

/// The agent's last event ends each process that applies it.
#[tokio::test(flavor = "multi_thread")]
async fn run_with_a_poison_callback_can_be_stopped() {
    let mut scenario = PanicScenario::begin_deferring().await;
    scenario.receive("one").await;
    scenario.process.work().await;
    let end = json!({ "type": "completed", "text": "the answer" });
    assert!(deferred::call_back(&scenario.process, &scenario.agent, 1, end).await);
    scenario.leave_by_dead_processes(6).await;
    scenario.receive("/stop").await;
    scenario.process.work().await;
    assert_eq!(scenario.end_of("one").await, MessageState::Stopped);
}

/// Each callback and each check for one is processed in an attempt of its own, and those that end normally are no failures.
#[tokio::test(flavor = "multi_thread")]
async fn many_callbacks_and_checks_are_no_failure() {
    let mut scenario = PanicScenario::begin_deferring().await;
    scenario.receive("one").await;
    scenario.process.work().await;
    for seq in 1..=30 {
        scenario
            .call_back(seq, json!({ "type": "text.delta", "text": "more " }))
            .await;
        scenario.process.pass(Duration::from_secs(60));
        scenario.process.work().await;
    }
    scenario.call_back(31, json!({ "type": "completed" })).await;
    assert_eq!(scenario.end_of("one").await, MessageState::Answered);
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_notice_is_given_up() {
    let mut scenario = PanicScenario::begin(Duration::ZERO).await;
    scenario.receive("/stop").await;
    scenario.process.work().await;
    assert_eq!(scenario.dead_letters().await.len(), 0);
    for _ in 0..8 {
        scenario.process.pass(Duration::from_secs(600));
        scenario.process.work().await;
    }
    let reasons: Vec<String> = scenario.dead_letters().await.into_iter().map(|it| it.reason).collect();
    assert_eq!(reasons, ["crashed"]);
    scenario.process.pass(Duration::from_secs(600));
    assert!(!scenario.process.run().await, "a wake-up is still in the queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_dispatch_blocks_no_other_conversation() {
    let window = Duration::from_secs(5);
    let mut scenario = PanicScenario::begin(window).await;
    scenario.receive("one").await;
    scenario.process.dispatch().await;
    scenario.receive("/stop").await;
    scenario.receive_elsewhere("two").await;
    scenario.connector.manifest_panics.store(true, Ordering::SeqCst);
    assert_eq!(scenario.dispatch_together().await, 1);
    scenario.connector.manifest_panics.store(false, Ordering::SeqCst);
    // The failed event is received again.
    scenario.process.pass(Duration::from_secs(60));
    scenario.process.work().await;
    assert_eq!(scenario.state("two").await, MessageState::Answered);
    assert_eq!(scenario.state("/stop").await, MessageState::Commanded);
    assert_eq!(scenario.state("one").await, MessageState::Stopped);
}

/// Neither the events that are received in the same batch each time, nor the sender's notice: both messages end visibly.
#[tokio::test(flavor = "multi_thread")]
async fn poison_event_becomes_a_dead_letter_alone() {
    let mut scenario = PanicScenario::begin(Duration::from_secs(5)).await;
    scenario.receive("one").await;
    scenario.process.dispatch().await;
    scenario.receive("/stop").await;
    scenario.receive("two").await;
    scenario.connector.manifest_panics.store(true, Ordering::SeqCst);
    let mut n_tries = 0;
    while scenario.dispatch_together().await > 0 {
        n_tries += 1;
        assert!(n_tries < 50, "the queue drops both events without a notice");
        // It blocks its chat for some minutes at most.
        scenario.process.pass(Duration::from_secs(4));
    }
    assert_eq!(scenario.state("/stop").await, MessageState::Failed);
    let reasons: Vec<String> = scenario.dead_letters().await.into_iter().map(|it| it.reason).collect();
    assert_eq!(reasons, ["crashed"]);
    scenario.connector.manifest_panics.store(false, Ordering::SeqCst);
    scenario.process.pass(Duration::from_secs(60));
    scenario.process.work().await;
    assert_eq!(scenario.state("two").await, MessageState::Answered);
    assert_eq!(
        scenario.chat.said().len(),
        2,
        "expected an answer and a failure notice: {:?}",
        scenario.chat.said()
    );
}

/// Each try begins in another process, and waiting for the platform must not count as a failure.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_busy_platform_is_no_failure() {
    let mut scenario = PanicScenario::begin(Duration::ZERO).await;
    scenario.receive("one").await;
    *scenario.chat.busy_s.lock().unwrap() = Some(60);
    scenario.process.work().await;
    for _ in 0..MOST_TRIES {
        scenario.process.pass(Duration::from_secs(61));
        scenario.process.work().await;
    }
    assert!(scenario.chat.n_refused.load(Ordering::SeqCst) > MOST_TRIES);
    *scenario.chat.busy_s.lock().unwrap() = None;
    scenario.process.pass(Duration::from_secs(61));
    scenario.process.work().await;
    assert_eq!(scenario.state("one").await, MessageState::Answered);
}

/// Platforms extend the limit of a bot that goes on calling.
#[tokio::test(flavor = "multi_thread")]
async fn busy_platform_is_called_by_no_other_reply_to_the_chat() {
    let mut scenario = PanicScenario::begin(Duration::ZERO).await;
    *scenario.chat.busy_s.lock().unwrap() = Some(60);
    scenario.receive("one").await;
    scenario.process.work().await;
    scenario.receive("/status").await;
    scenario.process.work().await;
    scenario.process.pass(Duration::from_secs(30));
    scenario.process.work().await;
    assert_eq!(scenario.chat.n_refused.load(Ordering::SeqCst), 1);
    *scenario.chat.busy_s.lock().unwrap() = None;
    for _ in 0..3 {
        scenario.process.pass(Duration::from_secs(31));
        scenario.process.work().await;
    }
    assert_eq!(scenario.chat.said().len(), 2);
}
