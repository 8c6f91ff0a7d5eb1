//! Agents that accept a question and answer later by callbacks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tieline_bridge::callbacks::{self, CallbackError};
use tieline_core::ids::RunId;
use tieline_core::message_state::MessageState;
use tieline_store::conversation;
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::test_bridge::until;

use crate::LATER;
use crate::chat::ChatServer;
use crate::picture;
use crate::process_run::{CrashPlan, ProcessRun};
use crate::scenario::{Scenario, at_every_crash_point, n_ended};
use crate::test_bot::{Bot, Over, set_up};

/// So late that a wake-up's own watchdog can be in flight for only a little longer.
const LATE: Duration = Duration::from_secs(28);

/// An agent that defers its answer to nearly every question.
pub(crate) async fn deferring() -> FakeAgent {
    FakeAgent::start(Manner {
        defers: |text| !text.starts_with("at once"),
        ..Manner::default()
    })
    .await
}

/// Sends a callback for the agent's newest question. Returns whether it was accepted, now or before.
pub(crate) async fn call_back(process: &ProcessRun, agent: &FakeAgent, seq: u64, event: Value) -> bool {
    let body = agent.seen().pop().unwrap().body;
    let events_url = body["reply"]["eventsUrl"].as_str().unwrap().to_owned();
    let run = RunId::new(events_url.rsplit('/').nth(1).unwrap());
    let token = body["reply"]["token"].as_str().unwrap();
    let body = json!({ "seq": seq, "event": event }).to_string();
    let taken = callbacks::accept(&process.world, &run, token, body.as_bytes()).await;
    matches!(taken, Ok(_) | Err(CallbackError::Closed))
}

/// A scenario with an agent that calls back.
async fn scenario(over: Over) -> Scenario {
    let agent = deferring().await;
    let settings = agent.as_webhook("Later");
    Scenario::begin(over, agent, &settings).await
}

impl Scenario {
    /// Delivers a message and processes everything that is due.
    async fn say(&self, text: &str) {
        self.receive(text).await;
        self.process.work().await;
    }

    async fn call_back(&self, seq: u64, event: Value) {
        assert!(call_back(&self.process, &self.agent, seq, event).await);
    }
}

/// The turn must end here: the person's answer would otherwise wait behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_agents_question_ends_its_turn() {
    let scenario = scenario(Over::DingTalk).await;
    scenario.say("order one").await;
    let question = json!({ "type": "input.required", "prompt": "Which one?" });
    scenario
        .call_back(1, json!({ "type": "text.delta", "text": "There are two. " }))
        .await;
    scenario.call_back(2, question).await;
    scenario.process.work().await;
    assert_eq!(scenario.n_ended(MessageState::Answered).await, 1);
    let said = scenario.chat.said();
    assert!(
        said.len() == 1 && said[0].contains("Which one?"),
        "expected the question alone, found {said:?}"
    );
    scenario.say("at once: the first").await;
    assert_eq!(scenario.n_ended(MessageState::Answered).await, 2);
}

/// A process dies before or after each durable write, and the agent repeats every callback that was not acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn callbacks_are_answered_after_a_crash_at_any_point() {
    let (agent, chat) = (deferring().await, ChatServer::start().await);
    let template = tempfile::tempdir().unwrap();
    let before = ProcessRun::begin(template.path(), CrashPlan::new(None), Duration::ZERO).await;
    let settings = agent.as_webhook("Later");
    let bot = set_up(&before.world, Over::DingTalk, &settings, &chat, Duration::ZERO).await;
    before.end().await;
    let mut dies_at = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        crate::copy(template.path(), dir.path());
        let n_said = chat.said().len();
        let plan = CrashPlan::new(Some(dies_at));
        let process = ProcessRun::begin(dir.path(), plan.clone(), Duration::ZERO).await;
        process.watch();
        let first = DeferredQuestion::begin(&agent, &bot, "one");
        plan.unless_dead(first.deliver(&process)).await;
        process.end().await;
        let mut process = ProcessRun::begin(dir.path(), CrashPlan::new(None), LATER).await;
        first.deliver(&process).await;
        process.pass(LATER);
        process.work().await;
        let crash_point = plan.crash_point();
        assert_eq!(n_ended(&process, MessageState::Answered).await, 1, "died {crash_point}");
        let n_said = chat.said().len() - n_said;
        assert!(
            (1..=2).contains(&n_said),
            "died {crash_point}: answered {n_said} times, expected 1 or 2"
        );
        process.end().await;
        if !plan.has_died() {
            assert_eq!(n_said, 1, "without a crash there must be one answer");
            break;
        }
        dies_at += 1;
    }
    assert!(dies_at >= 40, "only {dies_at} crash points, expected at least 40");
}

/// The run's watchdog, which has found it parked, sleeps for up to 15 minutes: it must not become the watchdog of what a callback begins.
#[tokio::test(flavor = "multi_thread")]
async fn late_callback_is_answered_within_a_minute_after_a_crash_at_any_point() {
    let (agent, chat) = (deferring().await, ChatServer::start().await);
    let template = tempfile::tempdir().unwrap();
    let mut before = ProcessRun::begin(template.path(), CrashPlan::new(None), Duration::ZERO).await;
    let settings = agent.as_webhook("Later");
    let bot = set_up(&before.world, Over::DingTalk, &settings, &chat, Duration::ZERO).await;
    assert!(bot.receive(&before.world, "one", "one").await);
    before.work().await;
    let mut passed = Duration::ZERO;
    for _ in 0..4 {
        before.pass(Duration::from_secs(61));
        passed += Duration::from_secs(61);
        before.work().await;
    }
    before.end().await;
    at_every_crash_point(10, async |dies_at| {
        let dir = tempfile::tempdir().unwrap();
        crate::copy(template.path(), dir.path());
        let plan = CrashPlan::new(Some(dies_at));
        let mut process = ProcessRun::begin(dir.path(), plan.clone(), passed).await;
        assert!(
            call_back(
                &process,
                &agent,
                1,
                json!({ "type": "completed", "text": "the answer" })
            )
            .await
        );
        // Its wake-up is late, and its own watchdog due soon.
        process.pass(LATE);
        process.watch();
        plan.unless_dead(process.run_deleted()).await;
        process.end().await;
        let process = ProcessRun::begin(
            dir.path(),
            CrashPlan::new(None),
            passed + LATE + Duration::from_secs(60),
        )
        .await;
        process.work().await;
        let crash_point = plan.crash_point();
        assert_eq!(n_ended(&process, MessageState::Answered).await, 1, "died {crash_point}");
        process.end().await;
        plan.has_died()
    })
    .await;
}

/// A question and the callbacks to it, each repeated until it is acknowledged.
struct DeferredQuestion<'a> {
    agent: &'a FakeAgent,
    bot: &'a Bot,
    text: &'a str,
    n_asked: usize,
    acknowledged: AtomicUsize,
}

impl<'a> DeferredQuestion<'a> {
    fn begin(agent: &'a FakeAgent, bot: &'a Bot, text: &'a str) -> Self {
        Self {
            agent,
            bot,
            text,
            n_asked: agent.asked().len(),
            acknowledged: AtomicUsize::new(0),
        }
    }

    async fn deliver(&self, process: &ProcessRun) {
        if self.acknowledged.load(Ordering::SeqCst) == 0 {
            assert!(self.bot.receive(&process.world, self.text, self.text).await);
            self.acknowledged.store(1, Ordering::SeqCst);
        }
        process.work().await;
        if self.agent.asked().len() == self.n_asked {
            return;
        }
        let events = [
            json!({ "type": "text.delta", "text": "the " }),
            json!({ "type": "text.delta", "text": "answer" }),
            json!({ "type": "completed" }),
        ];
        for (seq, event) in (1..).zip(events) {
            if self.acknowledged.load(Ordering::SeqCst) <= seq {
                let seq_sent = u64::try_from(seq).unwrap();
                assert!(call_back(process, self.agent, seq_sent, event).await);
                self.acknowledged.store(seq + 1, Ordering::SeqCst);
            }
            process.work().await;
        }
    }
}

/// Every watchdog finds an answer to deliver; only one of them delivers it.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_platform_gets_a_deferred_answer_once() {
    let mut scenario = scenario(Over::DingTalk).await;
    scenario.say("one").await;
    *scenario.chat.busy_s.lock().unwrap() = Some(60);
    scenario
        .call_back(1, json!({ "type": "completed", "text": "the answer" }))
        .await;
    scenario.process.work().await;
    for _ in 0..3 {
        scenario.process.pass(Duration::from_secs(31));
        tokio::join!(scenario.process.run(), scenario.process.run(), scenario.process.run());
    }
    assert_eq!(scenario.chat.said(), Vec::<String>::new());
    // At once, and when the minute that the platform asked for was over; not with every watchdog.
    assert_eq!(scenario.chat.n_refused.load(Ordering::SeqCst), 2);
    *scenario.chat.busy_s.lock().unwrap() = None;
    for _ in 0..3 {
        scenario.process.pass(Duration::from_secs(61));
        tokio::join!(scenario.process.run(), scenario.process.run(), scenario.process.run());
    }
    assert_eq!(scenario.chat.said().len(), 1, "{:?}", scenario.chat.said());
    assert_eq!(scenario.n_ended(MessageState::Answered).await, 1);
}

/// The process that handles the next event while the previous one is being shown finds the lease held, and leaves.
#[tokio::test(flavor = "multi_thread")]
async fn callback_during_a_delivery_is_processed_at_once() {
    let mut scenario = scenario(Over::DingTalkCards).await;
    scenario.say("one").await;
    let delta = |text: &str| json!({ "type": "text.delta", "text": text });
    scenario.call_back(1, delta("the ")).await;
    scenario.process.work().await;
    // Until the rate limit allows another change of the card.
    scenario.process.pass(Duration::from_secs(5));
    scenario.process.work().await;
    scenario.process.pass(Duration::from_secs(5));
    scenario.chat.holds_cards.send_replace(true);
    scenario.call_back(2, delta("answer")).await;
    let showing = scenario.process.run();
    let coming = async {
        until("a card", || scenario.chat.holds_cards.receiver_count() > 0).await;
        scenario.call_back(3, json!({ "type": "completed" })).await;
        scenario.process.run().await;
        scenario.chat.holds_cards.send_replace(false);
    };
    tokio::join!(showing, coming);
    scenario.process.work().await;
    assert_eq!(scenario.n_ended(MessageState::Answered).await, 1);
}

/// A message that waits behind a deferred run, and must interrupt it, sends a wake-up itself.
#[tokio::test(flavor = "multi_thread")]
async fn stopping_a_deferred_run_needs_no_watchdog() {
    let scenario = scenario(Over::DingTalk).await;
    scenario.say("one").await;
    scenario.say("/stop").await;
    scenario.process.work().await;
    assert_eq!(scenario.n_ended(MessageState::Stopped).await, 1);
    assert_eq!(scenario.n_ended(MessageState::Commanded).await, 1);
    scenario.say("at once").await;
    assert_eq!(scenario.n_ended(MessageState::Answered).await, 1);
}

/// No process can hold the conversation for the hours that the agent takes.
#[tokio::test(flavor = "multi_thread")]
async fn picture_behind_a_deferred_run_is_prefetched() {
    let scenario = scenario(Over::DingTalk).await;
    scenario.say("one").await;
    picture::send(&scenario.process, &scenario.bot, "picture").await;
    scenario.process.work().await;
    assert_eq!(scenario.agent.asked().len(), 1);
    assert_eq!(scenario.chat.n_fetched.load(Ordering::SeqCst), 1);
}

/// Another process, or the session's next run, needs the reference even if this run fails.
#[tokio::test(flavor = "multi_thread")]
async fn conversation_reference_of_a_callback_is_stored_at_once() {
    let scenario = scenario(Over::DingTalk).await;
    scenario.say("later").await;
    scenario
        .call_back(
            1,
            json!({"type": "run.started", "runRef": "r-9", "conversationRef": "thread-7"}),
        )
        .await;
    scenario.process.work().await;
    let (store, now) = (&scenario.process.world.store, scenario.process.world.clock.now());
    let listed = conversation::list(store, &scenario.bot.id, None, None, 10, now)
        .await
        .unwrap();
    let [found] = listed.items.as_slice() else {
        panic!("{listed:?}")
    };
    let session = found.session.as_ref().unwrap();
    assert_eq!(session.conversation_ref.as_deref(), Some("thread-7"));
    assert_eq!(found.run.as_ref().unwrap().run_ref.as_deref(), Some("r-9"));
}
