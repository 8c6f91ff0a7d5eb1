//! What is shown before there is text: bubbles that expire, signs and reasoning.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tieline_connectors::wecom::WeCom;
use tieline_core::account::ConnectionMode;
use tieline_core::budget::Pace;
use tieline_core::connector::{Context, SentCall, Verdict};
use tieline_core::conversation::{Conversation, ConversationKey, Lease, RunPhase, RunState};
use tieline_core::event::{Chat, ChatKind};
use tieline_core::http_types::{ApiCall, Body, HttpCall, TokenPlace};
use tieline_core::ids::{
    AgentId, ChatId, ConversationId, IntegrationId, OrganizationId, PlatformMessageId, RunId, SenderId,
};
use tieline_core::reply::{DesiredReply, Progress, ReplyHandle, ReplyTarget, Stage, Step};
use tieline_core::thinking_display::{ReasoningDetail, ThinkingSign};
use tieline_embedded::Embedded;
use tieline_store::conversation;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::agent_stream::StreamState;
use super::lease::{rests_until, uncount_attempt};
use super::{REST, parked, stream_reply};
use crate::accounts::Bot;
use crate::deliver::ReplyDelivery;
use crate::test_support::{self, FakeDelivery, FakePlatform};
use crate::world::World;

/// Age at which a bubble of the tests has expired: the connector's lifetime and some slack.
const OLD: Duration = Duration::from_secs(9 * 60 + 35);
/// How soon a fixture's bubble expires.
const SOON: Duration = Duration::from_millis(300);

/// A platform whose bubbles expire, which records the states that it is asked to show.
struct Bubbles {
    shown: Mutex<Vec<(Stage, String)>>,
}

impl FakeDelivery for Bubbles {
    fn step(&self, wanted: &DesiredReply<'_>, _: &Progress, _: &Context<'_>) -> Step {
        self.shown.lock().unwrap().push((wanted.stage, wanted.text.to_owned()));
        Step::Done
    }
}

struct Fixture {
    _engine: Embedded,
    world: World,
    bubbles: &'static FakePlatform<Bubbles>,
    bot: Bot,
    target: ReplyTarget,
}

async fn fixture() -> Fixture {
    let bubbles: &'static FakePlatform<Bubbles> = Box::leak(Box::new(FakePlatform(Bubbles {
        shown: Mutex::default(),
    })));
    let (engine, world) = test_support::world(&[]).await;
    Fixture {
        _engine: engine,
        world,
        // This bot doesn't stream.
        bot: test_support::bot(bubbles, ConnectionMode::LongConnection, false),
        bubbles,
        target: target(),
    }
}

fn target() -> ReplyTarget {
    ReplyTarget {
        integration: IntegrationId::new("int_1"),
        chat: Chat {
            kind: ChatKind::Direct,
            id: ChatId::new("lisi"),
            thread: None,
        },
        asker: SenderId::new("lisi"),
        message: PlatformMessageId::new("m1"),
        handle: ReplyHandle::default(),
        expires_at: None,
    }
}

impl Fixture {
    /// A reply whose bubble expires soon.
    fn showing(&self) -> ReplyDelivery<'_> {
        let now = self.world.clock.now();
        let mut showing = ReplyDelivery::new(&self.world, &self.bot, &self.target, None, || {
            test_support::blank_reply(now)
        });
        showing.record.pace.sent(now.after(SOON).before(OLD));
        showing
    }

    /// How often the bubble of a bot that doesn't stream was shown.
    fn n_looks(&self) -> usize {
        let shown = self.bubbles.0.shown.lock().unwrap();
        assert!(
            shown.iter().all(|(stage, _)| *stage == Stage::Thinking),
            "text of a bot that doesn't stream"
        );
        shown.len()
    }

    fn shows(&self, text: &str) -> bool {
        self.bubbles
            .0
            .shown
            .lock()
            .unwrap()
            .contains(&(Stage::Growing, text.to_owned()))
    }
}

#[tokio::test]
async fn an_expired_thinking_bubble_is_replaced_while_streaming() {
    let fixture = fixture().await;
    let mut showing = fixture.showing();
    let (said, shown) = watch::channel(StreamState::default());
    let done = Notify::new();
    let asking = async {
        said.send_modify(|said| said.draft.text = "Hel".to_owned());
        sleep(2 * SOON).await;
        said.send_modify(|said| said.draft.text = "Hello".to_owned());
        sleep(SOON).await;
        done.notify_one();
    };
    tokio::join!(
        stream_reply::stream_reply(&mut showing, &fixture.bot, shown, &done),
        asking
    );
    assert_eq!(fixture.n_looks(), 2);
}

#[tokio::test]
async fn an_expired_thinking_bubble_is_replaced_while_parked() {
    let fixture = fixture().await;
    let mut showing = fixture.showing();
    let wait = parked::show(&mut showing).await.unwrap().unwrap();
    assert!(wait <= SOON, "{wait:?}");
    assert_eq!(fixture.n_looks(), 0);
    sleep(wait).await;
    parked::show(&mut showing).await.unwrap();
    assert_eq!(fixture.n_looks(), 1);
}

#[tokio::test]
async fn text_received_before_the_thinking_sign_is_shown_at_once() {
    let mut fixture = fixture().await;
    fixture.bot = test_support::bot(fixture.bubbles, ConnectionMode::LongConnection, true);
    let mut showing = fixture.showing();
    // No expiry of a bubble causes it to be shown again.
    showing.record.pace = Pace::default();
    let (said, shown) = watch::channel(StreamState::default());
    let done = Notify::new();
    said.send_modify(|said| said.draft.text = "First".to_owned());
    let asking = async {
        let is_shown = timeout(Duration::from_secs(5), async {
            while !fixture.shows("First") {
                sleep(Duration::from_millis(10)).await;
            }
        });
        let is_shown = is_shown.await;
        done.notify_one();
        is_shown.expect("the first piece is not shown");
    };
    tokio::join!(
        stream_reply::stream_reply(&mut showing, &fixture.bot, shown, &done),
        asking
    );
}

#[tokio::test]
async fn a_bot_without_a_thinking_sign_shows_none() {
    let mut fixture = fixture().await;
    let mut account = (*fixture.bot.account).clone();
    account.thinking.sign = ThinkingSign::Off;
    fixture.bot.account = Arc::new(account);
    let mut showing = fixture.showing();
    let (said, shown) = watch::channel(StreamState::default());
    let done = Notify::new();
    let asking = async {
        said.send_modify(|said| said.draft.reasoning = "Hm".to_owned());
        sleep(2 * SOON).await;
        done.notify_one();
    };
    tokio::join!(
        stream_reply::stream_reply(&mut showing, &fixture.bot, shown, &done),
        asking
    );
    assert_eq!(fixture.n_looks(), 0);
}

/// A platform that answers every call for a growing text in the same way, and counts them.
struct Unwilling {
    verdict: Verdict,
    n_calls: AtomicUsize,
}

impl FakeDelivery for Unwilling {
    fn step(&self, _: &DesiredReply<'_>, _: &Progress, _: &Context<'_>) -> Step {
        Step::Call {
            // Nothing listens there: the verdict doesn't depend on an answer.
            call: ApiCall::Http(HttpCall {
                name: "grow",
                method: "POST",
                url: "http://127.0.0.1:1/".to_owned(),
                headers: Vec::new(),
                body: Body::Empty,
                token: TokenPlace::None,
                timeout: Duration::from_secs(5),
            }),
            on_success: Progress::write(&"shown"),
        }
    }

    fn verdict(&self, _: &SentCall<'_>) -> Verdict {
        self.n_calls.fetch_add(1, Ordering::SeqCst);
        self.verdict.clone()
    }
}

/// Streams an answer of twenty pieces to a platform that answers so. Returns the number of calls, and until when the final text would wait.
async fn grow(verdict: Verdict) -> (usize, Duration) {
    grow_after(0, verdict).await
}

/// Like [`grow`], where an earlier process may have shown that much of the answer.
async fn grow_after(shown_before: usize, verdict: Verdict) -> (usize, Duration) {
    let platform: &'static FakePlatform<Unwilling> = Box::leak(Box::new(FakePlatform(Unwilling {
        verdict,
        n_calls: AtomicUsize::new(0),
    })));
    let (_engine, world) = test_support::world(&[]).await;
    let (bot, target) = (
        test_support::bot(platform, ConnectionMode::LongConnection, true),
        target(),
    );
    let now = world.clock.now();
    let mut showing = ReplyDelivery::new(&world, &bot, &target, None, || test_support::blank_reply(now));
    let (said, shown) = watch::channel(StreamState {
        shown_before,
        ..StreamState::default()
    });
    let done = Notify::new();
    let asking = async {
        for _ in 0..20 {
            said.send_modify(|said| said.draft.text.push_str("piece "));
            sleep(SOON / 10).await;
        }
        done.notify_one();
    };
    tokio::join!(stream_reply::stream_reply(&mut showing, &bot, shown, &done), asking);
    let now = world.clock.now();
    let at = showing
        .record
        .pace
        .next_at(showing.budget(), Stage::Final, now)
        .unwrap();
    (platform.0.n_calls.load(Ordering::SeqCst), at.since(now))
}

/// It would be refused with each piece of the answer: hundreds of times, and platforms lock out programs that do so.
#[tokio::test]
async fn refused_growing_text_is_not_tried_again() {
    let code = "blocked".to_owned();
    assert_eq!(grow(Verdict::Refused { code }).await.0, 1);
}

/// The agent is asked once more from the start after a crash, and may word its answer differently.
#[tokio::test]
async fn shown_text_does_not_shrink_while_the_answer_is_repeated() {
    // Only the first attempt to show it counts.
    let refused = || Verdict::Refused { code: String::new() };
    let piece = "piece ".len();
    for (n_pieces_before, n_calls) in [(0, 1), (15, 1), (21, 0)] {
        assert_eq!(grow_after(piece * n_pieces_before, refused()).await.0, n_calls);
    }
}

#[tokio::test]
async fn wait_of_a_growing_text_does_not_delay_the_final_one() {
    let code = "http_502".to_owned();
    let (n_calls, wait) = grow(Verdict::Retry { code }).await;
    assert!(n_calls >= 1);
    assert_eq!(wait, Duration::ZERO);
}

#[test]
fn reasoning_display_is_set_by_the_integration_else_by_the_platform() {
    let bot = |streaming, reasoning| {
        let mut bot = test_support::bot(&WeCom, ConnectionMode::LongConnection, streaming);
        let mut account = (*bot.account).clone();
        account.thinking.reasoning = reasoning;
        bot.account = Arc::new(account);
        bot
    };
    let said = "First.\nThen.";
    assert_eq!(bot(true, None).shown_reasoning(said), said);
    assert_eq!(bot(true, Some(ReasoningDetail::Brief)).shown_reasoning(said), "Then.");
    assert_eq!(bot(true, Some(ReasoningDetail::Hidden)).shown_reasoning(said), "");
    assert_eq!(bot(false, None).shown_reasoning(said), "");
}

/// A conversation whose run is in this attempt, under our lease with the fence 7. `deferred`: its agent may call back for so long from its start.
async fn attempt(world: &World, number: u32, started: Duration, deferred: Option<Duration>) -> ConversationId {
    let now = world.clock.now();
    let key = ConversationKey {
        organization: OrganizationId::new("default"),
        integration: IntegrationId::new("int_1"),
        chat: target().chat,
        sender: Some(SenderId::new(format!("{number} {started:?} {deferred:?}"))),
    };
    let before = Conversation::new(key, now);
    let mut after = before.clone();
    let run = RunId::new("run_1");
    let mut run = RunState::new(run, Vec::new(), 1, AgentId::new("agt_1"), now.before(started));
    run.attempt = number;
    if let Some(deferred) = deferred {
        (run.phase, run.deferred_until) = (RunPhase::Deferred, Some(run.started_at.after(deferred)));
    }
    after.run = Some(run);
    after.lease = Some(Lease {
        owner: world.settings.owner.clone(),
        fence: 7,
        expires_at: now.after(Duration::from_secs(30)),
    });
    conversation::save(&world.store, &before, &mut after).await.unwrap();
    after.key.id()
}

#[tokio::test]
async fn attempt_that_an_outage_ends_is_not_counted() {
    let (_engine, world) = test_support::world(&[]).await;
    let hour = Duration::from_hours(1);
    for (number, started, deferred, fence, expected) in [
        (5, hour, None, 7, 4),
        // Later attempts look for the reply that this one may have recorded.
        (1, hour, None, 7, 1),
        (5, 25 * hour, None, 7, 5),
        (6, hour, None, 8, 6),
        (3, hour, Some(hour), 7, 2),
        // The agent still has time to call back, or had it until an hour ago.
        (4, 25 * hour, Some(48 * hour), 7, 3),
        (5, 25 * hour, Some(24 * hour), 7, 4),
        (6, 25 * hour, Some(hour), 7, 6),
    ] {
        let id = attempt(&world, number, started, deferred).await;
        uncount_attempt(&world, &id, fence).await.unwrap();
        let found = conversation::load(&world.store, &id, world.clock.now())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            found.run.unwrap().attempt,
            expected,
            "{number} {started:?} {deferred:?} {fence}"
        );
    }
}

#[tokio::test]
async fn run_yields_no_longer_than_it_may() {
    let (_engine, world) = test_support::world(&[]).await;
    let id = attempt(&world, 1, Duration::ZERO, None).await;
    let now = world.clock.now();
    let mut found = conversation::load(&world.store, &id, now).await.unwrap().unwrap();
    let mut until = |rests: Duration| {
        found.run.as_mut().unwrap().rests_until = Some(now.after(rests));
        rests_until(&found, now)
    };
    assert_eq!(until(Duration::ZERO), None);
    assert_eq!(until(REST), Some(now.after(REST)));
    // Stored by a clock that was ahead.
    assert_eq!(until(Duration::from_hours(1)), None);
}
