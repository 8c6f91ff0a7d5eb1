//! Agents that take a question and call back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tieline_bridge::callbacks::{self, CallbackError};
use tieline_core::ids::RunId;
use tieline_core::message_state::MessageState;
use tieline_store::conversation;
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::stand::until;

use crate::LATER;
use crate::chat::ChatServer;
use crate::life::{Fate, Life};
use crate::picture;
use crate::scene::{Bot, Over, set_up};
use crate::stage::{Scene, n_ended};

/// An agent that takes nearly every question for later.
async fn deferring() -> FakeAgent {
    FakeAgent::start(Manner {
        defers: |text| !text.starts_with("at once"),
        ..Manner::default()
    })
    .await
}

/// What the agent calls back about its newest question. Whether it was taken, now or before.
async fn call_back(life: &Life, agent: &FakeAgent, seq: u64, event: Value) -> bool {
    let body = agent.seen().pop().unwrap().body;
    let events_url = body["reply"]["eventsUrl"].as_str().unwrap().to_owned();
    let run = RunId::new(events_url.rsplit('/').nth(1).unwrap());
    let token = body["reply"]["token"].as_str().unwrap();
    let body = json!({ "seq": seq, "event": event }).to_string();
    let taken = callbacks::take_in(&life.world, &run, token, body.as_bytes()).await;
    matches!(taken, Ok(_) | Err(CallbackError::Closed))
}

/// One with an agent that calls back.
async fn scene(over: Over) -> Scene {
    let agent = deferring().await;
    let settings = agent.as_webhook("Later");
    Scene::begin(over, agent, &settings).await
}

impl Scene {
    /// A person says that, and all is done that can be.
    async fn say(&self, text: &str) {
        self.hear(text).await;
        self.life.work().await;
    }

    async fn call_back(&self, seq: u64, event: Value) {
        assert!(call_back(&self.life, &self.agent, seq, event).await);
    }
}

/// It can't go on before the person has answered, whose answer would wait behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_of_the_agent_ends_its_turn() {
    let scene = scene(Over::DingTalk).await;
    scene.say("order one").await;
    let question = json!({ "type": "input.required", "prompt": "Which one?" });
    scene
        .call_back(1, json!({ "type": "text.delta", "text": "There are two. " }))
        .await;
    scene.call_back(2, question).await;
    scene.life.work().await;
    assert_eq!(scene.n_ended(MessageState::Answered).await, 1);
    let said = scene.chat.said();
    assert!(said.len() == 1 && said[0].contains("Which one?"), "{said:?}");
    scene.say("at once: the first").await;
    assert_eq!(scene.n_ended(MessageState::Answered).await, 2);
}

/// A process dies before or after each durable write, and the agent repeats what it has no acknowledgement for.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_calls_back_is_heard_whoever_dies() {
    let (agent, chat) = (deferring().await, ChatServer::start().await);
    let template = tempfile::tempdir().unwrap();
    let before = Life::begin(template.path(), Fate::new(None), Duration::ZERO).await;
    let settings = agent.as_webhook("Later");
    let bot = set_up(&before.world, Over::DingTalk, &settings, &chat, Duration::ZERO).await;
    before.end().await;
    let mut dies_at = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        crate::copy(template.path(), dir.path());
        let n_said = chat.said().len();
        let fate = Fate::new(Some(dies_at));
        let life = Life::begin(dir.path(), fate.clone(), Duration::ZERO).await;
        life.watch();
        let first = Told::begin(&agent, &bot, "one");
        fate.unless_dead(first.tell(&life)).await;
        life.end().await;
        let mut life = Life::begin(dir.path(), Fate::new(None), LATER).await;
        first.tell(&life).await;
        life.pass(LATER);
        life.work().await;
        let place = fate.place();
        assert_eq!(n_ended(&life, MessageState::Answered).await, 1, "died {place}");
        let n_said = chat.said().len() - n_said;
        assert!((1..=2).contains(&n_said), "died {place}: said {n_said} times");
        life.end().await;
        if !fate.has_died() {
            assert_eq!(n_said, 1, "no process died");
            break;
        }
        dies_at += 1;
    }
    assert!(dies_at >= 40, "only {dies_at} crash points");
}

/// A question and the callbacks to it, each told until it is acknowledged.
struct Told<'a> {
    agent: &'a FakeAgent,
    bot: &'a Bot,
    text: &'a str,
    n_asked: usize,
    acknowledged: AtomicUsize,
}

impl<'a> Told<'a> {
    fn begin(agent: &'a FakeAgent, bot: &'a Bot, text: &'a str) -> Self {
        Self {
            agent,
            bot,
            text,
            n_asked: agent.asked().len(),
            acknowledged: AtomicUsize::new(0),
        }
    }

    async fn tell(&self, life: &Life) {
        if self.acknowledged.load(Ordering::SeqCst) == 0 {
            assert!(self.bot.hear(&life.world, self.text, self.text).await);
            self.acknowledged.store(1, Ordering::SeqCst);
        }
        life.work().await;
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
                assert!(call_back(life, self.agent, seq_sent, event).await);
                self.acknowledged.store(seq + 1, Ordering::SeqCst);
            }
            life.work().await;
        }
    }
}

/// Every watchdog that comes by finds an answer to deliver. One of them does.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_platform_hears_the_answer_once() {
    let mut scene = scene(Over::DingTalk).await;
    scene.say("one").await;
    *scene.chat.busy_s.lock().unwrap() = Some(60);
    scene
        .call_back(1, json!({ "type": "completed", "text": "the answer" }))
        .await;
    scene.life.work().await;
    for _ in 0..3 {
        scene.life.pass(Duration::from_secs(31));
        tokio::join!(scene.life.run(), scene.life.run(), scene.life.run());
    }
    assert_eq!(scene.chat.said(), Vec::<String>::new());
    // At once, and when the minute that it asked for was over; not whenever a watchdog comes by.
    assert_eq!(scene.chat.n_refused.load(Ordering::SeqCst), 2);
    *scene.chat.busy_s.lock().unwrap() = None;
    for _ in 0..3 {
        scene.life.pass(Duration::from_secs(61));
        tokio::join!(scene.life.run(), scene.life.run(), scene.life.run());
    }
    assert_eq!(scene.chat.said().len(), 1, "{:?}", scene.chat.said());
    assert_eq!(scene.n_ended(MessageState::Answered).await, 1);
}

/// A process that brings the next event while the one before is being shown finds the lease held, and leaves.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_while_another_is_shown_is_seen_at_once() {
    let mut scene = scene(Over::DingTalkCards).await;
    scene.say("one").await;
    let delta = |text: &str| json!({ "type": "text.delta", "text": text });
    scene.call_back(1, delta("the ")).await;
    scene.life.work().await;
    // Until the card may change again.
    scene.life.pass(Duration::from_secs(5));
    scene.life.work().await;
    scene.life.pass(Duration::from_secs(5));
    scene.chat.holds_cards.send_replace(true);
    scene.call_back(2, delta("answer")).await;
    let showing = scene.life.run();
    let coming = async {
        until("a card", || scene.chat.holds_cards.receiver_count() > 0).await;
        scene.call_back(3, json!({ "type": "completed" })).await;
        scene.life.run().await;
        scene.chat.holds_cards.send_replace(false);
    };
    tokio::join!(showing, coming);
    scene.life.work().await;
    assert_eq!(scene.n_ended(MessageState::Answered).await, 1);
}

/// What waits behind a run that calls back, and wants to interrupt it, sends a wake-up itself.
#[tokio::test(flavor = "multi_thread")]
async fn stopping_a_run_that_calls_back_needs_no_watchdog() {
    let scene = scene(Over::DingTalk).await;
    scene.say("one").await;
    scene.say("/stop").await;
    scene.life.work().await;
    assert_eq!(scene.n_ended(MessageState::Stopped).await, 1);
    assert_eq!(scene.n_ended(MessageState::Commanded).await, 1);
    scene.say("at once").await;
    assert_eq!(scene.n_ended(MessageState::Answered).await, 1);
}

/// No process may hold the conversation for hours.
#[tokio::test(flavor = "multi_thread")]
async fn picture_behind_a_run_that_calls_back_is_kept_while_it_can_be_had() {
    let scene = scene(Over::DingTalk).await;
    scene.say("one").await;
    picture::send(&scene.life, &scene.bot, "picture").await;
    scene.life.work().await;
    assert_eq!(scene.agent.asked().len(), 1);
    assert_eq!(scene.chat.n_fetched.load(Ordering::SeqCst), 1);
}

/// Another process, or the session's next run, needs it whatever becomes of this one.
#[tokio::test(flavor = "multi_thread")]
async fn conversation_that_a_callback_names_is_recorded_at_once() {
    let scene = scene(Over::DingTalk).await;
    scene.say("later").await;
    scene
        .call_back(
            1,
            json!({"type": "run.started", "runRef": "r-9", "conversationRef": "thread-7"}),
        )
        .await;
    scene.life.work().await;
    let (store, now) = (&scene.life.world.store, scene.life.world.clock.now());
    let listed = conversation::list(store, &scene.bot.id, None, None, 10, now)
        .await
        .unwrap();
    let [found] = listed.items.as_slice() else {
        panic!("{listed:?}")
    };
    let session = found.session.as_ref().unwrap();
    assert_eq!(session.conversation_ref.as_deref(), Some("thread-7"));
    assert_eq!(found.run.as_ref().unwrap().run_ref.as_deref(), Some("r-9"));
}
