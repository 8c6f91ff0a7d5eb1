//! What must hold of every message that was acknowledged.

use std::collections::HashMap;

use tieline_core::ids::MessageId;
use tieline_core::message_state::MessageState;
use tieline_core::reply::Stage;
use tieline_core::timestamp::Timestamp;
use tieline_queue::Queues;
use tieline_queue::depths;
use tieline_store::message::{self, MessageRecord};
use tieline_store::reply::{self, Outcome, ReplyRecord};
use tieline_store::{Store, conversation};

use tokio::time::{Duration, Instant, sleep};

use crate::bot::{self, Manner};
use crate::people::Said;

/// Watches what readers see.
pub(crate) struct Oracle {
    store: Store,
    queues: Queues,
    /// The last word of each message, and at which look it was seen first.
    last_words: HashMap<MessageId, (String, u64)>,
    /// When each was seen to have ended.
    ended: HashMap<MessageId, Instant>,
    n_looks: u64,
}

/// How the messages of a simulation ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fates(pub(crate) std::collections::BTreeMap<&'static str, u64>);

impl Fates {
    /// Adds those of another simulation.
    pub(crate) fn add(&mut self, more: Self) {
        for (fate, n) in more.0 {
            *self.0.entry(fate).or_default() += n;
        }
    }
}

impl Oracle {
    pub(crate) fn new(store: Store, queues: Queues) -> Self {
        Self {
            store,
            queues,
            last_words: HashMap::new(),
            ended: HashMap::new(),
            n_looks: 0,
        }
    }

    /// Looks at every message that has not ended, and at `all` once in a while. Whether all have come to their end.
    pub(crate) async fn look(&mut self, said: &[Said], all: bool, now: Timestamp) -> Result<bool, String> {
        self.n_looks += 1;
        let mut have_ended = true;
        for said in said {
            if !all
                && self.last_words.contains_key(&said.accepted.message)
                && self.ended.contains_key(&said.accepted.message)
            {
                continue;
            }
            let (record, reply) = self.read(said, now).await;
            match record.is_some_and(|record| record.state.is_terminal()) {
                true => {
                    let id = said.accepted.message.clone();
                    self.ended.entry(id).or_insert_with(Instant::now);
                }
                false => have_ended = false,
            }
            let Some(reply) = reply.filter(|reply| reply.stage == Stage::Final) else {
                continue;
            };
            let words = format!("{} {:?}", reply.text, reply.notice);
            let id = said.accepted.message.clone();
            let (known, _) = self.last_words.entry(id).or_insert((words.clone(), self.n_looks));
            if *known != words {
                return Err(format!(
                    "{:?} had its last word {known:?} and now shows {words:?}",
                    said.text
                ));
            }
        }
        Ok(have_ended)
    }

    async fn read(&self, said: &Said, now: Timestamp) -> (Option<MessageRecord>, Option<ReplyRecord>) {
        let record = message::get(&self.store, &said.accepted.message, now).await.unwrap();
        let own = reply::get(&self.store, &said.accepted.reply, now).await.unwrap();
        let shown = match own.as_ref().and_then(|own| own.same_as.clone()) {
            Some(other) => reply::get(&self.store, &other, now).await.unwrap(),
            None => own,
        };
        (record, shown)
    }

    /// What must hold when everything has come to rest.
    pub(crate) async fn check(&self, said: &[Said], allowed: &[MessageState], now: Timestamp) -> Result<Fates, String> {
        let mut fates = Fates::default();
        let mut newest = HashMap::new();
        for said in said {
            let (record, reply) = self.read(said, now).await;
            let record = record.ok_or_else(|| format!("{:?} is not in the ledger", said.text))?;
            *fates.0.entry(record.state.as_str()).or_default() += 1;
            self.check_fate(said, &record, reply.as_ref(), allowed)?;
            if record.state == MessageState::Answered {
                self.check_order(said, newest.entry(said.chat).or_insert((0, String::new())))?;
            }
        }
        for chat in said.iter().map(|said| said.chat) {
            self.check_rest(chat, now).await?;
        }
        Ok(fates)
    }

    /// Where nothing went wrong, nobody waits longer than for the runs of the chat's messages so far.
    pub(crate) fn nobody_waited(&self, said: &[Said], manner: Manner, look: Duration) -> Result<(), String> {
        let mut n_of_chat = HashMap::new();
        for said in said {
            let n: &mut u32 = n_of_chat.entry(said.chat).or_default();
            *n += 1;
            let waited = self.ended.get(&said.accepted.message).map(|at| *at - said.at);
            if waited.is_none_or(|waited| waited > *n * manner.longest_run() + look) {
                return Err(format!("{:?} came to its end after {waited:?}", said.text));
            }
        }
        Ok(())
    }

    /// Prints what came of each message.
    pub(crate) async fn print(&self, said: &[Said], now: Timestamp) {
        for said in said {
            let (record, reply) = self.read(said, now).await;
            println!(
                "{:?}\n  {record:?}\n  {reply:?}\n  {:?}",
                said.text,
                self.last_words.get(&said.accepted.message)
            );
        }
    }

    /// Waits until nothing is left in a queue.
    pub(crate) async fn queues_are_empty(&self, patience: Duration) -> Result<(), String> {
        let until = Instant::now() + patience;
        loop {
            let depths = depths(&self.queues).await.unwrap();
            let mut left = depths
                .iter()
                .filter(|depth| depth.ready + depth.delayed + depth.in_flight > 0);
            let Some(left) = left.next() else {
                return Ok(());
            };
            if Instant::now() > until {
                return Err(format!("left in a queue: {left:?}"));
            }
            sleep(Duration::from_secs(30)).await;
        }
    }

    fn check_fate(
        &self,
        said: &Said,
        record: &MessageRecord,
        reply: Option<&ReplyRecord>,
        allowed: &[MessageState],
    ) -> Result<(), String> {
        let state = record.state;
        if !allowed.contains(&state) {
            return Err(format!("{:?} is {} ({:?})", said.text, state.as_str(), record.reason));
        }
        let is_command = ["/new", "/stop", "/status"].contains(&said.text.as_str());
        if is_command != (state == MessageState::Commanded) {
            return Err(format!("{:?} is {}", said.text, state.as_str()));
        }
        let Some(reply) = reply.filter(|reply| reply.stage == Stage::Final) else {
            return Err(format!("{:?} is {} and has no last word", said.text, state.as_str()));
        };
        let is_ended_unanswered = matches!(state, MessageState::Stopped | MessageState::Dropped);
        if is_ended_unanswered && reply.outcome == Some(Outcome::Completed) {
            return Err(format!(
                "{:?} is {}, and the chat has its answer {:?}",
                said.text,
                state.as_str(),
                reply.text
            ));
        }
        let text = said.text.strip_prefix("/new ").unwrap_or(&said.text);
        let is_answer = reply.text.lines().any(|line| line == text) && reply.notice.is_none();
        if state == MessageState::Answered && !is_answer {
            return Err(format!(
                "{:?} is answered with {:?} {:?}",
                said.text, reply.text, reply.notice
            ));
        }
        Ok(())
    }

    /// Answers come in the order of their questions.
    fn check_order(&self, said: &Said, newest: &mut (u64, String)) -> Result<(), String> {
        let Some((_, seen)) = self.last_words.get(&said.accepted.message) else {
            return Ok(());
        };
        if *seen < newest.0 {
            return Err(format!("{:?} was answered before {:?}", said.text, newest.1));
        }
        *newest = (*seen, said.text.clone());
        Ok(())
    }

    async fn check_rest(&self, chat: usize, now: Timestamp) -> Result<(), String> {
        let id = bot::conversation(chat);
        let Some(found) = conversation::load(&self.store, &id, now).await.unwrap() else {
            // Commands alone need none.
            return Ok(());
        };
        let holds = !found.pending.is_empty() || found.run.is_some();
        // An end that is in the ledger may stay on the list until the conversation changes again.
        for closing in &found.closing {
            let ended = message::get(&self.store, &closing.message, now).await.unwrap();
            if !ended.is_some_and(|record| record.state.is_terminal()) {
                return Err(format!("chat {chat} forgot to end {}", closing.message));
            }
        }
        let is_held = found.lease.as_ref().is_some_and(|lease| lease.expires_at > now);
        if holds || is_held {
            return Err(format!("chat {chat} is not at rest: {found:?}"));
        }
        Ok(())
    }
}
