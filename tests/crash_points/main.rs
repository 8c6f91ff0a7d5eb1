//! A process may die before and after every durable write. The next process finishes what it left, and repeats nothing that was completed.
//!
//! Every case first runs without a crash, which counts its crash points; then once for each crash point, with a process that
//! dies there and another that starts twenty minutes later.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod chat;
mod chosen_agent;
mod clocks;
mod deferred;
mod due;
mod hanging_call;
mod limited;
mod lost;
mod panics;
mod picture;
mod process_run;
mod rebound;
mod redrive;
mod run_slots;
mod scenario;
mod stop;
mod test_bot;
mod unknown_person;
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
use tieline_store::message::{self, Filter, MessageRecord};
use tieline_store::reply::{self, Outcome, ReplyRecord};
use tieline_store::transcript;
use tieline_tests::agents::{FakeAgent, Manner};

use chat::ChatServer;
use process_run::{CrashPlan, ProcessRun};
use scenario::{at_every_crash_point, change_trigger};
use test_bot::{Bot, Over, set_up};

/// After this time every lease has expired and every hidden message is visible again.
const LATER: Duration = Duration::from_secs(20 * 60);
/// With more crash points than this, the case loops.
const MOST_POINTS: u64 = 1000;

/// One kind of message, and its expected end.
#[derive(Clone, Copy)]
struct Case {
    over: Over,
    /// The messages that people send, in order.
    texts: &'static [&'static str],
    window: Duration,
    /// The expected end of all messages.
    ends: Ends,
}

/// Expected end of a case's messages.
#[derive(Clone, Copy)]
enum Ends {
    /// Answered by the agent, with one of these texts: several, where a crash may keep messages from being merged.
    Answered(&'static [&'static str]),
    /// Ends as a command, with this notice.
    Commanded(Notice),
    /// Ends as a command of task mode, with this text.
    Told(&'static str),
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_whose_answer_is_polled() {
    let case = Case {
        over: Over::Web,
        texts: &["one"],
        window: Duration::ZERO,
        ends: Ends::Answered(&["echo: one"]),
    };
    crash_everywhere(case, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_whose_answer_is_pushed() {
    let case = Case {
        over: Over::DingTalk,
        texts: &["one"],
        window: Duration::ZERO,
        ends: Ends::Answered(&["echo: one"]),
    };
    crash_everywhere(case, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_messages_that_are_merged() {
    let case = Case {
        over: Over::Web,
        texts: &["one", "two"],
        window: Duration::from_secs(5),
        ends: Ends::Answered(&["echo: one\ntwo", "echo: one", "echo: two"]),
    };
    crash_everywhere(case, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_confirmed() {
    let case = Case {
        over: Over::DingTalk,
        texts: &["/new"],
        window: Duration::ZERO,
        ends: Ends::Commanded(Notice::NewSession),
    };
    crash_everywhere(case, 24).await;
}

/// If the command ran twice, the task would already exist the second time, and the text would be another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_creates_a_task() {
    let case = Case {
        over: Over::DingTalk,
        texts: &["/task Deploy"],
        window: Duration::ZERO,
        ends: Ends::Told("已创建任务“Deploy”。接下来的消息都属于该任务，发送 /chat 可返回会话。"),
    };
    crash_everywhere(case, 24).await;
}

/// The platform accepted the answer and the process lives: it must not forget that because a table is unavailable for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn table_outage_of_seconds_repeats_no_answer() {
    // Longer than the SDK's own retries.
    const GONE_FOR: Duration = Duration::from_secs(5);
    let dir = tempfile::tempdir().unwrap();
    let (agent, chat) = (FakeAgent::start(Manner::default()).await, ChatServer::start().await);
    let plan = CrashPlan::new(None);
    let mut process = ProcessRun::begin(dir.path(), plan.clone(), Duration::ZERO).await;
    let bot = set_up(
        &process.world,
        Over::DingTalk,
        &agent.as_chat("Counting"),
        &chat,
        Duration::ZERO,
    )
    .await;
    let (platform, gone_at) = (chat.clone(), OnceLock::new());
    plan.fail_tables_while(move || {
        !platform.said().is_empty() && gone_at.get_or_init(Instant::now).elapsed() < GONE_FOR
    });
    assert!(bot.receive(&process.world, "m1", "one").await);
    process.work().await;
    tokio::time::sleep(GONE_FOR).await;
    process.pass(LATER);
    process.work().await;
    assert_eq!(chat.said().len(), 1, "{:?}", chat.said());
}

/// Runs the case once for each of its crash points. Fails if there are fewer than `at_least`.
async fn crash_everywhere(case: Case, at_least: u64) {
    let agent = FakeAgent::start(Manner::default()).await;
    let chat = ChatServer::start().await;
    let template = tempfile::tempdir().unwrap();
    let before = ProcessRun::begin(template.path(), CrashPlan::new(None), Duration::ZERO).await;
    let bot = set_up(&before.world, case.over, &agent.as_chat("Counting"), &chat, case.window).await;
    if matches!(case.ends, Ends::Told(_)) {
        change_trigger(&before, |trigger| trigger.settings.task_mode = true).await;
    }
    before.end().await;

    let scenario = CrashScenario {
        case,
        agent,
        chat,
        bot,
        template: template.path(),
    };
    let undisturbed = scenario.crash_and_recover(None).await;
    let die_at = async |point| scenario.crash_and_recover(Some(point)).await.has_died();
    let n_points = at_every_crash_point(at_least, die_at).await;
    println_count(case, n_points, undisturbed.n_points());
}

#[expect(clippy::print_stdout, reason = "the number of crash points is part of the result")]
fn println_count(case: Case, n_points: u64, undisturbed: u64) {
    println!(
        "{:?}, {} message(s): died at {n_points} points; {undisturbed} without a crash",
        case.over,
        case.texts.len()
    );
}

struct CrashScenario<'a> {
    case: Case,
    agent: FakeAgent,
    chat: ChatServer,
    bot: Bot,
    template: &'a Path,
}

/// State before the second process starts.
struct Before {
    n_asked: usize,
    n_said: usize,
    replies: Vec<(MessageRecord, Option<ReplyRecord>)>,
}

impl Before {
    /// Whether the agent's result for the message was recorded, possibly as part of a later message's result.
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

impl CrashScenario<'_> {
    /// Runs a process that may die, and a second one that finishes its work.
    async fn crash_and_recover(&self, dies_at: Option<u64>) -> CrashPlan {
        let dir = tempfile::tempdir().unwrap();
        copy(self.template, dir.path());
        let (n_asked, n_said) = (self.agent.asked().len(), self.chat.said().len());
        let plan = CrashPlan::new(dies_at);
        let mut process = ProcessRun::begin(dir.path(), plan.clone(), Duration::ZERO).await;
        process.watch();
        let acknowledged = self.run_until_crash(&mut process).await;
        process.end().await;

        let mut process = ProcessRun::begin(dir.path(), CrashPlan::new(None), LATER).await;
        let before = Before {
            n_asked: self.agent.asked().len(),
            n_said: self.chat.said().len(),
            replies: self.replies(&process).await,
        };
        // The platform repeats only messages that were not acknowledged.
        for at in acknowledged..self.case.texts.len() {
            assert!(
                self.say(&process, at).await,
                "a running bridge must accept every message"
            );
        }
        process.work().await;
        process.pass(self.case.window * 2);
        process.work().await;
        let end = End {
            scenario: self,
            crash_point: plan.crash_point(),
        };
        let finished = end.check_answers(&process).await;
        end.check_repetitions(&before, n_asked, n_said);
        end.check_idle(&mut process, &finished).await;
        process.end().await;
        plan
    }

    /// Runs the process until it is done or dies. Returns the number of acknowledged messages.
    async fn run_until_crash(&self, process: &mut ProcessRun) -> usize {
        let plan = process.plan.clone();
        let mut acknowledged = 0;
        for at in 0..self.case.texts.len() {
            match plan.unless_dead(self.say(process, at)).await {
                Some(true) => acknowledged += 1,
                Some(false) => panic!("a running bridge must accept every message"),
                None => return acknowledged,
            }
        }
        if plan.unless_dead(process.work()).await.is_some() && !self.case.window.is_zero() {
            process.pass(self.case.window * 2);
            plan.unless_dead(process.work()).await;
        }
        acknowledged
    }

    /// The ledger's messages and the records of their replies, in the order of the texts.
    async fn replies(&self, process: &ProcessRun) -> Vec<(MessageRecord, Option<ReplyRecord>)> {
        let store = &process.world.store;
        let now = process.world.clock.now();
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

    async fn say(&self, process: &ProcessRun, at: usize) -> bool {
        self.bot
            .receive(&process.world, &format!("m{at}"), self.case.texts[at])
            .await
    }
}

/// Checks what must hold when the second process has nothing left to do.
struct End<'a> {
    scenario: &'a CrashScenario<'a>,
    /// Where the first process died.
    crash_point: String,
}

impl End<'_> {
    /// Every message has exactly one correct answer.
    async fn check_answers(&self, process: &ProcessRun) -> Vec<(MessageRecord, Option<ReplyRecord>)> {
        let crash_point = &self.crash_point;
        let replies = self.scenario.replies(process).await;
        assert_eq!(replies.len(), self.scenario.case.texts.len(), "died {crash_point}");
        for (message, reply) in &replies {
            let reply = reply.as_ref().unwrap();
            let shown = match &reply.same_as {
                Some(other) => replies
                    .iter()
                    .find_map(|(it, reply)| (it.reply == *other).then(|| reply.clone().unwrap()))
                    .unwrap(),
                None => reply.clone(),
            };
            let (state, outcome, notice) = match self.scenario.case.ends {
                Ends::Answered(_) => (MessageState::Answered, Outcome::Completed, None),
                Ends::Commanded(notice) => (MessageState::Commanded, Outcome::Commanded, Some(notice)),
                Ends::Told(_) => (MessageState::Commanded, Outcome::Commanded, None),
            };
            assert_eq!(message.state, state, "died {crash_point}: {:?}", message.steps);
            assert_eq!(shown.stage, Stage::Final, "died {crash_point}");
            assert_eq!(shown.outcome, Some(outcome), "died {crash_point}");
            assert_eq!(shown.notice, notice, "died {crash_point}");
            let right = match self.scenario.case.ends {
                Ends::Answered(answers) => answers.contains(&shown.text.as_str()),
                Ends::Commanded(_) => shown.text.is_empty(),
                Ends::Told(text) => shown.text == text,
            };
            assert!(right, "died {crash_point}: {:?}", shown.text);
        }
        if matches!(self.scenario.case.ends, Ends::Answered(_)) {
            self.check_transcript(process, &replies[0].0).await;
        }
        replies
    }

    /// The transcript for the agent has every message once, in order, with its answer.
    async fn check_transcript(&self, process: &ProcessRun, message: &MessageRecord) {
        let (session, _) = message.session.as_ref().unwrap();
        let now = process.world.clock.now();
        let turns = transcript::latest(&process.world.store, session, 100, usize::MAX, now)
            .await
            .unwrap();
        let said: Vec<&str> = turns.iter().flat_map(|turn| turn.user.lines()).collect();
        assert_eq!(said, self.scenario.case.texts, "died {}", self.crash_point);
        for turn in &turns {
            assert_eq!(
                turn.assistant,
                format!("echo: {}", turn.user),
                "died {}",
                self.crash_point
            );
        }
    }

    /// An agent whose result was recorded is not asked again; what the platform confirmed is not sent again.
    fn check_repetitions(&self, before: &Before, n_asked: usize, n_said: usize) {
        let Self { scenario, crash_point } = self;
        let asked = scenario.agent.asked();
        let (first, second) = (&asked[n_asked..before.n_asked], &asked[before.n_asked..]);
        if !matches!(scenario.case.ends, Ends::Answered(_)) {
            assert_eq!(
                asked.len(),
                0,
                "died {crash_point}: the agent was asked about a command"
            );
        }
        for (at, text) in scenario.case.texts.iter().enumerate() {
            let times = |asked: &[String]| asked.iter().filter(|it| it.lines().any(|line| line == *text)).count();
            assert!(
                times(first) <= 1 && times(second) <= 1,
                "died {crash_point}: asked {asked:?}"
            );
            let is_recorded = before.has_result(at);
            assert!(
                !is_recorded || times(second) == 0,
                "died {crash_point}: asked again for {text:?}"
            );
        }
        let n_first = before.n_said - n_said;
        let n_second = scenario.chat.said().len() - before.n_said;
        if scenario.case.over == Over::Web {
            assert_eq!(n_first + n_second, 0, "nothing may be pushed to our own channel");
            return;
        }
        // The ledger records the confirmation if one call shows the whole answer; else the reply's record. A command ends before it is confirmed.
        let is_confirmed = before.replies.iter().any(|(message, reply)| {
            let answered = matches!(scenario.case.ends, Ends::Answered(_)) && message.state.is_terminal();
            answered
                || reply
                    .as_ref()
                    .is_some_and(|it| it.delivered || !it.progress.is_beginning())
        });
        // A platform without idempotency gets the answer twice only if the process died between the platform's response and our record of it.
        let n_wanted = usize::from(!is_confirmed);
        assert!(
            n_first <= 1,
            "died {crash_point}: first process sent {n_first} messages, expected at most 1"
        );
        assert_eq!(
            n_second, n_wanted,
            "died {crash_point}: sent {n_first} messages before the crash"
        );
    }

    /// Nothing more happens when the platform repeats its messages or time passes.
    async fn check_idle(&self, process: &mut ProcessRun, finished: &[(MessageRecord, Option<ReplyRecord>)]) {
        let Self { scenario, crash_point } = self;
        let before = (scenario.agent.asked(), scenario.chat.said());
        process.pass(LATER);
        for at in 0..scenario.case.texts.len() {
            assert!(scenario.say(process, at).await, "died {crash_point}");
        }
        process.work().await;
        process.pass(LATER);
        process.work().await;
        assert_eq!(
            (scenario.agent.asked(), scenario.chat.said()),
            before,
            "died {crash_point}"
        );
        let replies = |all: &[(MessageRecord, Option<ReplyRecord>)]| -> Vec<_> {
            all.iter().map(|(_, reply)| reply.clone()).collect()
        };
        assert_eq!(
            replies(&scenario.replies(process).await),
            replies(finished),
            "died {crash_point}"
        );
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
