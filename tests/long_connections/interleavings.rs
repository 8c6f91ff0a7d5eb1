//! A reply never goes through another person's context, in any order of events: every outgoing frame is checked.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRng, TestRunner};
use tieline_tests::outbound::{Bubble, Speaker, until};
use tieline_tests::{dingtalk, lark};

use crate::agent::{Agent, pieces};
use crate::test_bridge::{Mode, Platform, TestBridge};

/// Bots on one platform.
const N_BOTS: usize = 3;
/// People, each of whom also writes in groups.
const N_PEOPLE: usize = 4;
/// Groups; all bots are in each of them.
const N_GROUPS: usize = 2;

/// One step of a random scenario.
#[derive(Debug, Clone)]
enum Step {
    /// A person sends a message, and doesn't wait for the answer.
    Say {
        bot: usize,
        person: usize,
        group: Option<usize>,
    },
    /// A bot's socket is cut.
    Cut { bot: usize },
    /// The platform announces that it will close a bot's socket.
    Announce { bot: usize },
    /// A bot's access tokens expire.
    Expire { bot: usize },
    /// The following streams and webhooks have a short lifetime, or a long one again.
    ShortLives(bool),
    /// The following calls are refused, or their responses are lost.
    Trouble { which: usize },
    /// A pause.
    Pause { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let bot = 0..N_BOTS;
    prop_oneof![
        12 => (bot.clone(), 0..N_PEOPLE, proptest::option::of(0..N_GROUPS)).prop_map(|(bot, person, group)| Step::Say { bot, person, group }),
        2 => bot.clone().prop_map(|bot| Step::Cut { bot }),
        1 => bot.clone().prop_map(|bot| Step::Announce { bot }),
        2 => bot.prop_map(|bot| Step::Expire { bot }),
        1 => any::<bool>().prop_map(Step::ShortLives),
        2 => (0..6_usize).prop_map(|which| Step::Trouble { which }),
        4 => (20..600_u64).prop_map(|ms| Step::Pause { ms }),
    ]
}

fn speaker(person: usize, group: Option<usize>) -> Speaker {
    let person = format!("ou_person{person}");
    match group {
        Some(group) => Speaker::in_group(&person, &format!("oc_group{group}")),
        None => Speaker::alone(&person),
    }
}

/// A sent message, with a mark that the agent repeats.
struct Question {
    mark: String,
    bot: String,
    from: Speaker,
}

async fn play(mode: Mode, steps: Vec<Step>) {
    // Each piece of the answer names its asker.
    let agent = Agent::start(|asked| {
        let mark = asked.text.split_whitespace().next().unwrap_or_default().to_owned();
        (pieces(&answer_of(&mark), 5), Duration::from_millis(250))
    })
    .await;
    let mut test = TestBridge::empty(mode, agent).await;
    for n in 0..N_BOTS {
        test.add(&format!("bot{n}")).await;
    }
    let mut questions = Vec::new();
    for (n, step) in steps.into_iter().enumerate() {
        take(step, n, &test, &mut questions).await;
    }
    quiet(&test, true);
    let limit = Duration::from_secs(90);
    // WeCom doesn't redeliver frames that were in flight when a socket was cut, so there only received messages are answered.
    let deaf = mode == Mode::WecomSocket;
    let open = || {
        let (asked, bubbles) = (test.agent.asked(), test.platform.bubbles());
        let heard = |mark: &str| asked.iter().any(|it| it.text.contains(mark));
        let open = questions
            .iter()
            .filter(|it| !is_answered(it, &bubbles) && (!deaf || heard(&it.mark)));
        open.map(|it| it.mark.clone()).collect::<Vec<_>>()
    };
    let all = until("all answers", limit, || open().is_empty().then_some(())).await;
    let bubbles = test.platform.bubbles();
    for bubble in &bubbles {
        belongs(bubble, &questions, mode);
    }
    all.unwrap_or_else(|error| {
        let left: Vec<_> = bubbles.iter().filter(|it| !it.done).collect();
        panic!(
            "{mode:?} {error}: {:?} of {}, {left:#?}\n{}",
            open(),
            questions.len(),
            test.bridge.log_tail()
        )
    });
    let asked = test.agent.asked();
    for asked in &asked {
        let question = questions.iter().find(|it| asked.text.contains(&it.mark));
        let question = question.unwrap_or_else(|| panic!("{mode:?}: no question {asked:?} arrived"));
        assert_eq!(asked.user, question.from.user, "{mode:?}");
    }
    let distinct: HashSet<&str> = asked.iter().map(|it| it.text.as_str()).collect();
    assert_eq!(asked.len(), distinct.len(), "{mode:?}");
    assert!(
        deaf || asked.len() == questions.len(),
        "not every question was asked in mode {mode:?}"
    );
}

async fn take(step: Step, n: usize, test: &TestBridge, questions: &mut Vec<Question>) {
    match step {
        Step::Say { bot, person, group } => {
            let (from, mark) = (speaker(person, group), format!("q{n:03}z"));
            there(test, bot).await;
            test.say_to(bot, &from, &mark).await;
            questions.push(Question {
                mark,
                bot: test.bots[bot].bot.clone(),
                from,
            });
        }
        Step::Cut { bot } => match &test.platform {
            Platform::WecomSocket(it) => it.cut(&test.bots[bot].bot),
            Platform::Lark(it) => it.cut(&test.bots[bot].bot),
            Platform::DingTalk(it) => it.cut(&test.bots[bot].bot),
            Platform::WecomCallback(_) => {}
        },
        Step::Announce { bot } => {
            if let Platform::DingTalk(it) = &test.platform {
                it.disconnect(&test.bots[bot].bot);
            }
        }
        Step::Expire { bot } => match &test.platform {
            Platform::Lark(it) => it.expire_tokens(&test.bots[bot].bot),
            Platform::DingTalk(it) => it.expire_tokens(&test.bots[bot].bot),
            Platform::WecomSocket(_) | Platform::WecomCallback(_) => {}
        },
        Step::ShortLives(short) => quiet(test, !short),
        Step::Trouble { which } => trouble(test, which),
        Step::Pause { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
    }
}

/// Waits until a client is connected: messages that are sent without one are the platform's responsibility.
async fn there(test: &TestBridge, bot: usize) {
    let id = &test.bots[bot].bot;
    let limit = Duration::from_secs(30);
    match &test.platform {
        Platform::WecomSocket(it) => it.connected(id, limit).await.unwrap(),
        Platform::Lark(it) => it.connected(id, limit).await.unwrap(),
        Platform::DingTalk(it) => it.connected(id, limit).await.unwrap(),
        Platform::WecomCallback(_) => {}
    }
}

/// Streams have a long lifetime, or almost none.
fn quiet(test: &TestBridge, quiet: bool) {
    let life = Duration::from_millis(if quiet { 600_000 } else { 700 });
    match &test.platform {
        Platform::WecomSocket(it) => it.misbehave(|faults| faults.stream_life = life),
        Platform::Lark(it) => it.misbehave(|faults| faults.streaming_life = life),
        Platform::DingTalk(it) => it.misbehave(|faults| faults.webhook_life = life.max(Duration::from_secs(61))),
        Platform::WecomCallback(_) => {}
    }
}

fn trouble(test: &TestBridge, which: usize) {
    match &test.platform {
        Platform::WecomSocket(it) => it.misbehave(|faults| match which {
            0 => faults.lost_acks = 1,
            1 => faults.lost_last_acks = 1,
            2 => faults.codes.push_back(846_604),
            3 => faults.codes.extend([45009, -1]),
            _ => faults.codes.push_back(6000),
        }),
        Platform::Lark(it) => it.misbehave(|faults| {
            let call = ["reply", "create_card", "write_card", "settings", "react", "reply"][which];
            let answer = if which.is_multiple_of(2) {
                lark::Answer::Lost
            } else {
                lark::Answer::Refused(400, 200_220, None)
            };
            faults.answers.push_back(lark::Fault { call, answer });
        }),
        Platform::DingTalk(it) => it.misbehave(|faults| {
            let call = [
                "create_card",
                "stream",
                "session",
                "create_card",
                "update_card",
                "stream",
            ][which];
            let answer = match which {
                2 => dingtalk::Answer::Refused(200, "300001"),
                3 => dingtalk::Answer::Undelivered,
                0 | 4 => dingtalk::Answer::Lost,
                _ => dingtalk::Answer::Refused(403, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"),
            };
            faults.answers.push_back(dingtalk::Fault { call, answer });
        }),
        Platform::WecomCallback(_) => {}
    }
}

/// The agent's answer to the question with this mark.
fn answer_of(mark: &str) -> String {
    (0..6).map(|n| format!("{mark}part{n} ")).collect()
}

/// Whether a bubble shows the end of the answer, or one shows its beginning and another of the same chat the rest: a platform may refuse a stream in
/// the middle of a word.
fn is_answered(question: &Question, bubbles: &[Bubble]) -> bool {
    let (answer, last) = (answer_of(&question.mark), format!("{}part5", question.mark));
    let is_rest = |it: &Bubble, rest: &str| {
        it.bot == question.bot && it.chat == question.from.chat() && it.text().trim() == rest.trim()
    };
    let is_continued = |begun: &Bubble| {
        let rest = answer.strip_prefix(begun.text());
        rest.is_some_and(|rest| rest.len() < answer.len() && bubbles.iter().any(|it| is_rest(it, rest)))
    };
    bubbles.iter().any(|it| it.text().contains(&last) || is_continued(it))
}

/// Every state of a bubble belongs to its bot and its chat, and to the message that it answers.
fn belongs(bubble: &Bubble, questions: &[Question], mode: Mode) {
    for state in &bubble.states {
        for question in questions.iter().filter(|it| state.contains(&it.mark)) {
            assert_eq!(bubble.bot, question.bot, "{mode:?} {bubble:#?}");
            assert_eq!(bubble.chat, question.from.chat(), "{mode:?} {bubble:#?}");
        }
        let marks = questions.iter().filter(|it| state.contains(&it.mark)).count();
        assert!(marks <= 1, "{mode:?} two answers in one bubble: {bubble:#?}");
    }
}

async fn cases(mode: Mode) {
    let n_cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(2);
    // The seed is fixed, so that the test doesn't fail only now and then: the variable selects another.
    let seed = std::env::var("TIELINE_TEST_SEED")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(7_u8);
    let rng = TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for _ in 0..n_cases {
        let steps = proptest::collection::vec(step(), 40..60)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let began = Instant::now();
        play(mode, steps).await;
        assert!(began.elapsed() < Duration::from_secs(240));
    }
}

#[tokio::test]
async fn wecom_keeps_contexts_apart() {
    cases(Mode::WecomSocket).await;
}

#[tokio::test]
async fn lark_keeps_contexts_apart() {
    cases(Mode::LarkSocket).await;
}

#[tokio::test]
async fn dingtalk_keeps_contexts_apart() {
    cases(Mode::DingTalkStream).await;
}
