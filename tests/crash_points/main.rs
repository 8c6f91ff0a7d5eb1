//! A process may die before and after every durable write. The next process finishes what it left, and repeats nothing.
//!
//! Every road is first travelled undisturbed, which counts its crash points; then once for each of them, with a process that
//! dies there and another that comes twenty minutes later.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod chat;
mod clocks;
mod deferred;
mod due;
mod life;
mod lost;
mod panics;
mod picture;
mod places;
mod rebound;
mod redrive;
mod scene;
mod stage;
mod stop;
mod unreadable;
mod watch;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tieline_core::ids::OrganizationId;
use tieline_core::message_state::MessageState;
use tieline_core::notice::Notice;
use tieline_core::reply::Stage;
use tieline_store::config::organization::DEFAULT;
use tieline_store::config::trigger::{self, Rival};
use tieline_store::message::{self, Filter, MessageRecord};
use tieline_store::reply::{self, Outcome, ReplyRecord};
use tieline_store::transcript;
use tieline_tests::agents::{FakeAgent, Manner};

use chat::ChatServer;
use life::{Fate, Life};
use scene::{Bot, Over, set_up};

/// Until every lease has run out and everything hidden is shown again.
const LATER: Duration = Duration::from_secs(20 * 60);
/// More crash points than this are a loop.
const MOST_POINTS: u64 = 1000;

/// What happens on a road.
#[derive(Clone, Copy)]
struct Road {
    over: Over,
    /// What people say, one after the other.
    texts: &'static [&'static str],
    window: Duration,
    /// What becomes of them.
    ends: Ends,
}

/// How messages end.
#[derive(Clone, Copy)]
enum Ends {
    /// With an answer of the agent, one of these: more than one where a crash may keep messages from being merged.
    Answered(&'static [&'static str]),
    /// As a command, with a sentence of ours.
    Commanded(Notice),
    /// As a command of task mode, with this text.
    Told(&'static str),
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_that_is_fetched() {
    let road = Road {
        over: Over::Web,
        texts: &["one"],
        window: Duration::ZERO,
        ends: Ends::Answered(&["echo: one"]),
    };
    travel_and_die(road, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_that_is_pushed() {
    let road = Road {
        over: Over::DingTalk,
        texts: &["one"],
        window: Duration::ZERO,
        ends: Ends::Answered(&["echo: one"]),
    };
    travel_and_die(road, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_messages_that_are_merged() {
    let road = Road {
        over: Over::Web,
        texts: &["one", "two"],
        window: Duration::from_secs(5),
        ends: Ends::Answered(&["echo: one\ntwo", "echo: one", "echo: two"]),
    };
    travel_and_die(road, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_confirmed() {
    let road = Road {
        over: Over::DingTalk,
        texts: &["/new"],
        window: Duration::ZERO,
        ends: Ends::Commanded(Notice::NewSession),
    };
    travel_and_die(road, 24).await;
}

/// Made twice, the task would be there already the second time, and the text another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_makes_a_task() {
    let road = Road {
        over: Over::DingTalk,
        texts: &["/task Deploy"],
        window: Duration::ZERO,
        ends: Ends::Told("已创建任务“Deploy”。接下来的消息都属于该任务，发送 /chat 可返回会话。"),
    };
    travel_and_die(road, 24).await;
}

/// The platform took the answer, and the process lives: it must not forget that because of a table that is gone for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_fails_for_seconds_repeats_nothing() {
    // Longer than the SDK tries by itself.
    const GONE_FOR: Duration = Duration::from_secs(5);
    let dir = tempfile::tempdir().unwrap();
    let (agent, chat) = (FakeAgent::start(Manner::default()).await, ChatServer::start().await);
    let fate = Fate::new(None);
    let mut life = Life::begin(dir.path(), fate.clone(), Duration::ZERO).await;
    let bot = set_up(
        &life.world,
        Over::DingTalk,
        &agent.as_chat("Counting"),
        &chat,
        Duration::ZERO,
    )
    .await;
    let (platform, gone_at) = (chat.clone(), OnceLock::new());
    fate.fail_tables_while(move || {
        !platform.said().is_empty() && gone_at.get_or_init(Instant::now).elapsed() < GONE_FOR
    });
    assert!(bot.hear(&life.world, "m1", "one").await);
    life.work().await;
    tokio::time::sleep(GONE_FOR).await;
    life.pass(LATER);
    life.work().await;
    assert_eq!(chat.said().len(), 1, "{:?}", chat.said());
}

/// Travels the road once for each of its crash points, of which there must be some.
async fn travel_and_die(road: Road, at_least: u64) {
    let agent = FakeAgent::start(Manner::default()).await;
    let chat = ChatServer::start().await;
    let template = tempfile::tempdir().unwrap();
    let before = Life::begin(template.path(), Fate::new(None), Duration::ZERO).await;
    let bot = set_up(&before.world, road.over, &agent.as_chat("Counting"), &chat, road.window).await;
    if matches!(road.ends, Ends::Told(_)) {
        allow_tasks(&before).await;
    }
    before.end().await;

    let scene = Scene {
        road,
        agent,
        chat,
        bot,
        template: template.path(),
    };
    let undisturbed = scene.travel(None).await;
    let mut n_points = 0;
    while scene.travel(Some(n_points)).await.has_died() {
        n_points += 1;
        assert!(n_points < MOST_POINTS, "the road doesn't end");
    }
    assert!(
        n_points >= at_least,
        "only {n_points} crash points: something isn't watched"
    );
    println_count(road, n_points, undisturbed.n_points());
}

/// Switches task mode on in the only trigger.
async fn allow_tasks(life: &Life) {
    let (store, now) = (&life.world.store, life.world.clock.now());
    let found = trigger::naming(store, &OrganizationId::new(DEFAULT), |_| true)
        .await
        .unwrap();
    let mut after = found[0].trigger.clone();
    after.settings.task_mode = true;
    trigger::update(store, &found[0], after, Rival::Respect, now)
        .await
        .unwrap();
}

#[expect(clippy::print_stdout, reason = "how much was tried is worth a line")]
fn println_count(road: Road, n_points: u64, undisturbed: u64) {
    println!(
        "{:?}, {} message(s): died at {n_points} points; {undisturbed} in an undisturbed life",
        road.over,
        road.texts.len()
    );
}

struct Scene<'a> {
    road: Road,
    agent: FakeAgent,
    chat: ChatServer,
    bot: Bot,
    template: &'a Path,
}

/// What was there before a life began.
struct Before {
    n_asked: usize,
    n_said: usize,
    replies: Vec<(MessageRecord, Option<ReplyRecord>)>,
}

impl Before {
    /// Whether the agent's result for the message was recorded, be it as a part of a later one's.
    fn has_result(&self, at: usize) -> bool {
        let Some((_, Some(reply))) = self.replies.get(at) else {
            return false;
        };
        let others = self.replies.iter().filter_map(|(_, other)| other.as_ref());
        let answer = match &reply.same_as {
            Some(other) => others.clone().find(|it| it.id == *other),
            None => Some(reply),
        };
        answer.is_some_and(|answer| answer.outcome.is_some())
    }
}

impl Scene<'_> {
    /// One life that may die, and one that finishes.
    async fn travel(&self, dies_at: Option<u64>) -> Fate {
        let dir = tempfile::tempdir().unwrap();
        copy(self.template, dir.path());
        let (n_asked, n_said) = (self.agent.asked().len(), self.chat.said().len());
        let fate = Fate::new(dies_at);
        let mut life = Life::begin(dir.path(), fate.clone(), Duration::ZERO).await;
        life.watch();
        let acknowledged = self.first_life(&mut life).await;
        life.end().await;

        let mut life = Life::begin(dir.path(), Fate::new(None), LATER).await;
        let before = Before {
            n_asked: self.agent.asked().len(),
            n_said: self.chat.said().len(),
            replies: self.replies(&life).await,
        };
        // The platform repeats what it has no acknowledgement for, and nothing else.
        for at in acknowledged..self.road.texts.len() {
            assert!(self.say(&life, at).await, "a living bridge takes everything in");
        }
        life.work().await;
        life.pass(self.road.window * 2);
        life.work().await;
        let end = End {
            scene: self,
            place: fate.place(),
        };
        let finished = end.check_answers(&life).await;
        end.check_repetitions(&before, n_asked, n_said);
        end.check_rest(&mut life, &finished).await;
        life.end().await;
        fate
    }

    /// How many messages were acknowledged.
    async fn first_life(&self, life: &mut Life) -> usize {
        let fate = life.fate.clone();
        let mut acknowledged = 0;
        for at in 0..self.road.texts.len() {
            match fate.unless_dead(self.say(life, at)).await {
                Some(true) => acknowledged += 1,
                Some(false) => panic!("a living bridge takes everything in"),
                None => return acknowledged,
            }
        }
        if fate.unless_dead(life.work()).await.is_some() && !self.road.window.is_zero() {
            life.pass(self.road.window * 2);
            fate.unless_dead(life.work()).await;
        }
        acknowledged
    }

    /// The ledger's messages and what is known of their replies, in the order of the texts.
    async fn replies(&self, life: &Life) -> Vec<(MessageRecord, Option<ReplyRecord>)> {
        let store = &life.world.store;
        let now = life.world.clock.now();
        let organization = OrganizationId::new(DEFAULT);
        let found = message::list(store, &organization, &Filter::default(), None, 100, now).await;
        let mut messages = found.unwrap().items;
        messages.sort_by(|a, b| a.platform_message.as_str().cmp(b.platform_message.as_str()));
        let mut replies = Vec::new();
        for message in messages {
            let reply = reply::get(store, &message.reply, now).await.unwrap();
            replies.push((message, reply));
        }
        replies
    }

    async fn say(&self, life: &Life, at: usize) -> bool {
        self.bot.hear(&life.world, &format!("m{at}"), self.road.texts[at]).await
    }
}

/// What must hold when the second life has nothing left to do.
struct End<'a> {
    scene: &'a Scene<'a>,
    /// Where the first life died.
    place: String,
}

impl End<'_> {
    /// Every message is answered, by one answer that is right.
    async fn check_answers(&self, life: &Life) -> Vec<(MessageRecord, Option<ReplyRecord>)> {
        let place = &self.place;
        let replies = self.scene.replies(life).await;
        assert_eq!(replies.len(), self.scene.road.texts.len(), "died {place}");
        for (message, reply) in &replies {
            let reply = reply.as_ref().unwrap();
            let shown = match &reply.same_as {
                Some(other) => replies
                    .iter()
                    .find_map(|(it, reply)| (it.reply == *other).then(|| reply.clone().unwrap()))
                    .unwrap(),
                None => reply.clone(),
            };
            let (state, outcome, notice) = match self.scene.road.ends {
                Ends::Answered(_) => (MessageState::Answered, Outcome::Completed, None),
                Ends::Commanded(notice) => (MessageState::Commanded, Outcome::Commanded, Some(notice)),
                Ends::Told(_) => (MessageState::Commanded, Outcome::Commanded, None),
            };
            assert_eq!(message.state, state, "died {place}: {:?}", message.steps);
            assert_eq!(shown.stage, Stage::Final, "died {place}");
            assert_eq!(shown.outcome, Some(outcome), "died {place}");
            assert_eq!(shown.notice, notice, "died {place}");
            let right = match self.scene.road.ends {
                Ends::Answered(answers) => answers.contains(&shown.text.as_str()),
                Ends::Commanded(_) => shown.text.is_empty(),
                Ends::Told(text) => shown.text == text,
            };
            assert!(right, "died {place}: {:?}", shown.text);
        }
        if matches!(self.scene.road.ends, Ends::Answered(_)) {
            self.check_transcript(life, &replies[0].0).await;
        }
        replies
    }

    /// What was said is remembered for the agent: once, in order, with its answers.
    async fn check_transcript(&self, life: &Life, message: &MessageRecord) {
        let (session, _) = message.session.as_ref().unwrap();
        let now = life.world.clock.now();
        let turns = transcript::latest(&life.world.store, session, 100, usize::MAX, now)
            .await
            .unwrap();
        let said: Vec<&str> = turns.iter().flat_map(|turn| turn.user.lines()).collect();
        assert_eq!(said, self.scene.road.texts, "died {}", self.place);
        for turn in &turns {
            assert_eq!(turn.assistant, format!("echo: {}", turn.user), "died {}", self.place);
        }
    }

    /// An agent whose result was recorded was not asked again; what the platform confirmed was not said again.
    fn check_repetitions(&self, before: &Before, n_asked: usize, n_said: usize) {
        let Self { scene, place } = self;
        let asked = scene.agent.asked();
        let (first, second) = (&asked[n_asked..before.n_asked], &asked[before.n_asked..]);
        if !matches!(scene.road.ends, Ends::Answered(_)) {
            assert_eq!(asked.len(), 0, "died {place}: a command is not for the agent");
        }
        for (at, text) in scene.road.texts.iter().enumerate() {
            let times = |asked: &[String]| asked.iter().filter(|it| it.lines().any(|line| line == *text)).count();
            assert!(times(first) <= 1 && times(second) <= 1, "died {place}: asked {asked:?}");
            let is_recorded = before.has_result(at);
            assert!(
                !is_recorded || times(second) == 0,
                "died {place}: asked again for {text:?}"
            );
        }
        let n_first = before.n_said - n_said;
        let n_second = scene.chat.said().len() - before.n_said;
        if scene.road.over == Over::Web {
            assert_eq!(n_first + n_second, 0, "nothing is pushed into our own channel");
            return;
        }
        // Where one call shows all of an answer, the ledger tells; else the reply's own record. A command ends before it is confirmed.
        let is_confirmed = before.replies.iter().any(|(message, reply)| {
            let answered = matches!(scene.road.ends, Ends::Answered(_)) && message.state.is_terminal();
            answered
                || reply
                    .as_ref()
                    .is_some_and(|it| it.delivered || !it.progress.is_beginning())
        });
        // Between the platform's answer and our record of it a platform without idempotency hears twice; nowhere else.
        let n_wanted = usize::from(!is_confirmed);
        assert!(n_first <= 1, "died {place}: said {n_first} times");
        assert_eq!(n_second, n_wanted, "died {place}: said {n_first} times before");
    }

    /// Nothing more happens, whatever the platform repeats and however long one waits.
    async fn check_rest(&self, life: &mut Life, finished: &[(MessageRecord, Option<ReplyRecord>)]) {
        let Self { scene, place } = self;
        let before = (scene.agent.asked(), scene.chat.said());
        life.pass(LATER);
        for at in 0..scene.road.texts.len() {
            assert!(scene.say(life, at).await, "died {place}");
        }
        life.work().await;
        life.pass(LATER);
        life.work().await;
        assert_eq!((scene.agent.asked(), scene.chat.said()), before, "died {place}");
        let replies = |all: &[(MessageRecord, Option<ReplyRecord>)]| -> Vec<_> {
            all.iter().map(|(_, reply)| reply.clone()).collect()
        };
        assert_eq!(replies(&scene.replies(life).await), replies(finished), "died {place}");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
