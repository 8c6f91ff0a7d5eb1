//! An agent's runs in no protocol's words: what they do and when, so that each protocol's server only writes them down.

use std::time::{Duration, Instant};

use crate::server::{Act, SSE, head};

/// A picture of one pixel's worth of bytes, in base64.
pub(crate) const PICTURE: &str = "aGk=";
/// What a run asks a person.
pub(crate) const QUESTION: &str = "Deploy?";
/// The tool that a run works with.
pub(crate) const TOOL: &str = "lookup";
/// Longer than any scenario: the agent says nothing more.
const NEVER: Duration = Duration::from_hours(10);

/// What a run does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Deed {
    Say(String),
    UseTool,
    SendPicture,
    Ask,
    /// Nothing, until the caller hangs up.
    Hang,
}

/// One run, which goes on whether a client listens or not.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) conversation: String,
    /// The text that was asked.
    pub(crate) asked: String,
    pub(crate) deeds: Vec<(Duration, Deed)>,
    began: Instant,
    pub(crate) cancelled: bool,
}

/// Between two pieces of an ordinary answer.
const BETWEEN: Duration = Duration::from_millis(400);

/// What an agent does when it is asked `text` in the `turn`-th turn. `hold`: never ends. `slow N M`: N words, M milliseconds apart.
fn deeds(text: &str, turn: usize) -> Vec<(Duration, Deed)> {
    let say = |text: &str| Deed::Say(text.to_owned());
    let at = |n: u32, deed| (BETWEEN * n, deed);
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        ["hold"] => vec![at(0, say("The beginning")), (NEVER, Deed::Hang)],
        ["tool"] => vec![at(0, Deed::UseTool), at(5, say("Found it."))],
        ["file"] => vec![at(0, say("Here it is.")), at(1, Deed::SendPicture)],
        ["ask"] => vec![at(0, Deed::Ask)],
        ["slow", n, millis] => {
            let (n, between) = (n.parse().unwrap(), Duration::from_millis(millis.parse().unwrap()));
            let word = |n: u32| (between * n, Deed::Say(format!("w{n} ")));
            (0..n).map(word).collect()
        }
        _ => vec![at(0, say(&format!("turn {turn}: "))), at(1, say(text)), at(2, say("."))],
    }
}

impl Run {
    /// Everything that it says, whenever.
    pub(crate) fn whole_text(&self) -> String {
        self.texts(|_| true)
    }

    /// What it has said by now.
    pub(crate) fn text_so_far(&self) -> String {
        let elapsed = self.began.elapsed();
        self.texts(|at| at <= elapsed)
    }

    fn texts(&self, counts: impl Fn(Duration) -> bool) -> String {
        let deeds = self.deeds.iter().filter(|(at, _)| counts(*at));
        let texts = deeds.filter_map(|(_, deed)| match deed {
            Deed::Say(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// When its last deed is done.
    pub(crate) fn ends_at(&self) -> Duration {
        self.deeds.last().map_or(Duration::ZERO, |(at, _)| *at)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.cancelled || self.began.elapsed() >= self.ends_at()
    }

    pub(crate) fn asks(&self) -> bool {
        self.deeds.iter().any(|(_, deed)| *deed == Deed::Ask)
    }

    /// Frames in the protocol's words: those of each deed at its time, those before and behind them at the beginning and the end.
    pub(crate) fn frames(&self, before: &[String], of: impl Fn(&Deed) -> Vec<String>, behind: &[String]) -> Vec<Frame> {
        let frame = |at: Duration| move |text: String| (at, text);
        let mut frames: Vec<Frame> = before.iter().cloned().map(frame(Duration::ZERO)).collect();
        for (at, deed) in &self.deeds {
            match deed {
                Deed::Hang => frames.push((NEVER, String::new())),
                deed => frames.extend(of(deed).into_iter().map(frame(*at))),
            }
        }
        frames.extend(behind.iter().cloned().map(frame(self.ends_at())));
        frames
    }

    /// How many of `frames` are due by now.
    pub(crate) fn n_due(&self, frames: &[Frame]) -> usize {
        let elapsed = self.began.elapsed();
        frames.iter().filter(|(at, _)| *at <= elapsed).count()
    }

    /// An event stream of `frames`, each when it is due.
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

/// When a piece of a stream is due, counted from the beginning of its run, and the piece.
pub(crate) type Frame = (Duration, String);

/// All runs of a server.
#[derive(Debug, Default)]
pub(crate) struct Runs(Vec<Run>);

impl Runs {
    /// Begins a run. `answered`: it goes on after a question that was answered.
    pub(crate) fn begin(&mut self, conversation: &str, text: &str, answered: bool) -> &Run {
        let turn = 1 + self.0.iter().filter(|run| run.conversation == conversation).count();
        self.begin_turn(conversation, text, answered, turn)
    }

    /// The same for a protocol in which the caller keeps the conversation.
    pub(crate) fn begin_turn(&mut self, conversation: &str, text: &str, answered: bool, turn: usize) -> &Run {
        let deeds = match answered {
            true => vec![(Duration::ZERO, Deed::Say(format!("you chose {text}")))],
            false => deeds(text, turn),
        };
        self.0.push(Run {
            id: format!("run-{}", self.0.len() + 1),
            conversation: conversation.to_owned(),
            asked: text.to_owned(),
            deeds,
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

    /// How often a text was asked.
    pub(crate) fn n_asked(&self, text: &str) -> usize {
        self.0.iter().filter(|run| run.asked == text).count()
    }
}
