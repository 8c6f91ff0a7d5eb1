//! An agent's runs, independent of the protocol: what they do and when. Each protocol's server only encodes them.

use std::time::{Duration, Instant};

use crate::server::{Act, SSE, head};

/// A picture of a few bytes, in base64.
pub(crate) const PICTURE: &str = "aGk=";
/// The question of a run to the person.
pub(crate) const QUESTION: &str = "Deploy?";
/// Name of the tool that a run uses.
pub(crate) const TOOL: &str = "lookup";
/// Longer than any scenario: the agent sends nothing more.
const NEVER: Duration = Duration::from_hours(10);

/// One step of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RunStep {
    Say(String),
    UseTool,
    SendPicture,
    Ask,
    /// Sends nothing, until the caller hangs up.
    Hang,
}

/// One run, which continues whether a client listens or not.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) conversation: String,
    /// Text of the question.
    pub(crate) asked: String,
    pub(crate) run_steps: Vec<(Duration, RunStep)>,
    began: Instant,
    pub(crate) cancelled: bool,
}

/// Time between two pieces of an ordinary answer.
const BETWEEN: Duration = Duration::from_millis(400);

/// The steps of an agent for question `text` in turn number `turn`. `hold`: never ends. `slow N M`: N words, M milliseconds apart.
fn run_steps(text: &str, turn: usize) -> Vec<(Duration, RunStep)> {
    let say = |text: &str| RunStep::Say(text.to_owned());
    let at = |n: u32, run_step| (BETWEEN * n, run_step);
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        ["hold"] => vec![at(0, say("The beginning")), (NEVER, RunStep::Hang)],
        ["tool"] => vec![at(0, RunStep::UseTool), at(5, say("Found it."))],
        ["file"] => vec![at(0, say("Here it is.")), at(1, RunStep::SendPicture)],
        ["ask"] => vec![at(0, RunStep::Ask)],
        ["slow", n, millis] => {
            let (n, between) = (n.parse().unwrap(), Duration::from_millis(millis.parse().unwrap()));
            let word = |n: u32| (between * n, RunStep::Say(format!("w{n} ")));
            (0..n).map(word).collect()
        }
        _ => vec![at(0, say(&format!("turn {turn}: "))), at(1, say(text)), at(2, say("."))],
    }
}

impl Run {
    /// The whole text of the run.
    pub(crate) fn whole_text(&self) -> String {
        self.texts(|_| true)
    }

    /// The text that it has sent by now.
    pub(crate) fn text_so_far(&self) -> String {
        let elapsed = self.began.elapsed();
        self.texts(|at| at <= elapsed)
    }

    fn texts(&self, counts: impl Fn(Duration) -> bool) -> String {
        let run_steps = self.run_steps.iter().filter(|(at, _)| counts(*at));
        let texts = run_steps.filter_map(|(_, run_step)| match run_step {
            RunStep::Say(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// When its last step is done.
    pub(crate) fn ends_at(&self) -> Duration {
        self.run_steps.last().map_or(Duration::ZERO, |(at, _)| *at)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.cancelled || self.began.elapsed() >= self.ends_at()
    }

    pub(crate) fn asks(&self) -> bool {
        self.run_steps.iter().any(|(_, run_step)| *run_step == RunStep::Ask)
    }

    /// Frames of the protocol: those of each step at its time, `before` at the beginning and `behind` at the end.
    pub(crate) fn frames(
        &self,
        before: &[String],
        of: impl Fn(&RunStep) -> Vec<String>,
        behind: &[String],
    ) -> Vec<Frame> {
        let frame = |at: Duration| move |text: String| (at, text);
        let mut frames: Vec<Frame> = before.iter().cloned().map(frame(Duration::ZERO)).collect();
        for (at, run_step) in &self.run_steps {
            match run_step {
                RunStep::Hang => frames.push((NEVER, String::new())),
                run_step => frames.extend(of(run_step).into_iter().map(frame(*at))),
            }
        }
        frames.extend(behind.iter().cloned().map(frame(self.ends_at())));
        frames
    }

    /// Number of `frames` that are due by now.
    pub(crate) fn n_due(&self, frames: &[Frame]) -> usize {
        let elapsed = self.began.elapsed();
        frames.iter().filter(|(at, _)| *at <= elapsed).count()
    }

    /// An event stream of `frames`, each sent when it is due.
    pub(crate) fn stream(&self, frames: &[Frame], headers: &str) -> Vec<Act> {
        let mut script = vec![Act::Say(head(200, &format!("{SSE}{headers}")))];
        let mut now = self.began.elapsed();
        for (at, text) in frames {
            if *at >= NEVER {
                script.push(Act::Hang);
                return script;
            }
            if *at > now {
                script.push(Act::Pause(*at - now));
                now = *at;
            }
            script.push(Act::Say(text.as_bytes().to_vec()));
        }
        script
    }
}

/// A piece of a stream and when it is due, counted from the beginning of its run.
pub(crate) type Frame = (Duration, String);

/// All runs of a server.
#[derive(Debug, Default)]
pub(crate) struct Runs(Vec<Run>);

impl Runs {
    /// Starts a run. `answered`: it continues after a question that the person answered.
    pub(crate) fn begin(&mut self, conversation: &str, text: &str, answered: bool) -> &Run {
        let turn = 1 + self.0.iter().filter(|run| run.conversation == conversation).count();
        self.begin_turn(conversation, text, answered, turn)
    }

    /// Like [`Self::begin`], for a protocol in which the caller keeps the conversation.
    pub(crate) fn begin_turn(&mut self, conversation: &str, text: &str, answered: bool, turn: usize) -> &Run {
        let run_steps = match answered {
            true => vec![(Duration::ZERO, RunStep::Say(format!("you chose {text}")))],
            false => run_steps(text, turn),
        };
        self.0.push(Run {
            id: format!("run-{}", self.0.len() + 1),
            conversation: conversation.to_owned(),
            asked: text.to_owned(),
            run_steps,
            began: Instant::now(),
            cancelled: false,
        });
        &self.0[self.0.len() - 1]
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Run> {
        self.0.iter().find(|run| run.id == id)
    }

    pub(crate) fn cancel(&mut self, id: &str) -> bool {
        let run = self.0.iter_mut().find(|run| run.id == id);
        run.map(|run| run.cancelled = true).is_some()
    }

    /// The newest run of a conversation.
    pub(crate) fn newest(&self, conversation: &str) -> Option<&Run> {
        self.0.iter().rev().find(|run| run.conversation == conversation)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Number of times that a text was asked.
    pub(crate) fn n_asked(&self, text: &str) -> usize {
        self.0.iter().filter(|run| run.asked == text).count()
    }
}
