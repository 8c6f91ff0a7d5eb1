//! The invariants of every acknowledged message.

use std::collections::HashMap;
use std::sync::Arc;

use tieline_core::ids::{MessageId, ReplyId};
use tieline_core::message_state::MessageState;
use tieline_core::reply::Stage;
use tieline_core::timestamp::Timestamp;
use tieline_queue::Queues;
use tieline_queue::depths;
use tieline_store::message::{self, MessageRecord};
use tieline_store::reply::{self, Outcome, ReplyRecord};
use tieline_store::{Store, StoreError, conversation};

use tokio::time::{Duration, Instant, sleep};

use crate::bot::{self, Channel, Manner};
use crate::chat_oracle;
use crate::erasure::Erasures;
use crate::faults::FaultPlan;
use crate::people::Said;
use crate::platform::Platform;

/// A run is given up after so many attempts, of which each ended because its process died or was frozen.
const MAX_ATTEMPTS: usize = 6;

/// Checks what readers see.
pub(crate) struct Oracle {
    store: Store,
    queues: Queues,
    channel: Channel,
    platform: Arc<Platform>,
    erasures: Erasures,
    /// The final text of each message, and the number of the check that saw it first.
    final_texts: HashMap<MessageId, (String, u64)>,
    /// When each message was first seen in a terminal state.
    ended: HashMap<MessageId, Instant>,
    n_looks: u64,
}

/// Number of messages of a simulation by terminal state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MessageEnds(pub(crate) std::collections::BTreeMap<&'static str, u64>);

impl MessageEnds {
    /// Adds the counts of another simulation.
    pub(crate) fn add(&mut self, more: Self) {
        for (state, n) in more.0 {
            *self.0.entry(state).or_default() += n;
        }
    }
}

impl Oracle {
    pub(crate) fn new(
        store: Store,
        queues: Queues,
        channel: Channel,
        platform: Arc<Platform>,
        erasures: Erasures,
    ) -> Self {
        Self {
            store,
            queues,
            channel,
            platform,
            erasures,
            final_texts: HashMap::new(),
            ended: HashMap::new(),
            n_looks: 0,
        }
    }

    /// Checks every message that has not ended, and every message if `all` is set. Returns whether all have ended.
    pub(crate) async fn look(&mut self, said: &[Said], all: bool, now: Timestamp) -> Result<bool, String> {
        self.n_looks += 1;
        let mut have_ended = true;
        for said in said {
            let is_shown = self.channel == Channel::Pushed || self.final_texts.contains_key(&said.accepted.message);
            if !all && is_shown && self.ended.contains_key(&said.accepted.message) {
                continue;
            }
            let (record, reply) = self.read(said, now).await;
            if record.is_none() && self.erasures.may_concern(said) {
                continue;
            }
            match record.map(|record| record.state).filter(|state| state.is_terminal()) {
                Some(state) => {
                    self.check_shown(said, state)?;
                    let id = said.accepted.message.clone();
                    self.ended.entry(id).or_insert_with(Instant::now);
                }
                None => have_ended = false,
            }
            if self.channel == Channel::Pushed {
                continue;
            }
            let Some(reply) = reply.filter(|reply| reply.stage == Stage::Final) else {
                continue;
            };
            let words = format!("{} {:?}", reply.text, reply.notice);
            let id = said.accepted.message.clone();
            let (known, _) = self.final_texts.entry(id).or_insert((words.clone(), self.n_looks));
            if *known != words {
                return Err(format!(
                    "{:?} had the final text {known:?} and now shows {words:?}",
                    said.first_line()
                ));
            }
        }
        Ok(have_ended)
    }

    /// The ledger may say that a message is answered only once its chat shows the answer.
    fn check_shown(&self, said: &Said, state: MessageState) -> Result<(), String> {
        let is_pushed = self.channel == Channel::Pushed && state == MessageState::Answered;
        if is_pushed && !chat_oracle::shows_answer(&self.platform, said) {
            return Err(format!(
                "{:?} is answered, and its chat doesn't show it yet",
                said.first_line()
            ));
        }
        Ok(())
    }

    async fn read(&self, said: &Said, now: Timestamp) -> (Option<MessageRecord>, Option<ReplyRecord>) {
        let record = message::get(&self.store, &said.accepted.message, now).await;
        let own = self.read_reply(said, &said.accepted.reply, now).await;
        let shown = match own.as_ref().and_then(|own| own.same_as.clone()) {
            Some(other) => self.read_reply(said, &other, now).await,
            None => own,
        };
        (self.unless_erased(said, record), shown)
    }

    async fn read_reply(&self, said: &Said, id: &ReplyId, now: Timestamp) -> Option<ReplyRecord> {
        let found = reply::get(&self.store, id, now).await;
        self.unless_erased(said, found)
    }

    /// What is being erased may have lost parts of its text already: they go first.
    fn unless_erased<T>(&self, said: &Said, found: Result<Option<T>, StoreError>) -> Option<T> {
        match found {
            Err(StoreError::Unreadable { .. }) if self.erasures.may_concern(said) => None,
            found => found.unwrap(),
        }
    }

    /// Checks the invariants of a simulation that is at rest.
    pub(crate) async fn check(
        &self,
        said: &[Said],
        allowed: &[MessageState],
        fault_plan: &FaultPlan,
        now: Timestamp,
    ) -> Result<MessageEnds, String> {
        let mut message_ends = MessageEnds::default();
        let mut newest = HashMap::new();
        let mut pushed = Vec::new();
        for said in said {
            let (record, reply) = self.read(said, now).await;
            if self.erasures.may_concern(said) {
                continue;
            }
            let record = record.ok_or_else(|| format!("{:?} is not in the ledger", said.first_line()))?;
            *message_ends.0.entry(record.state.as_str()).or_default() += 1;
            self.check_state(said, &record, allowed, fault_plan)?;
            if self.channel == Channel::Pushed {
                pushed.push((said, record));
                continue;
            }
            check_message(said, &record, reply.as_ref())?;
            if record.state == MessageState::Answered {
                self.check_order(said, newest.entry(said.chat).or_insert((0, String::new())))?;
            }
        }
        chat_oracle::check(&pushed, &self.platform, fault_plan)?;
        for chat in said.iter().map(|said| said.chat) {
            self.check_rest(chat, now).await?;
        }
        Ok(message_ends)
    }

    /// Without faults, no message takes longer than the runs of the chat's messages so far.
    pub(crate) fn check_latencies(&self, said: &[Said], manner: Manner, look: Duration) -> Result<(), String> {
        let mut n_of_chat = HashMap::new();
        for said in said {
            let n: &mut u32 = n_of_chat.entry(said.chat).or_default();
            *n += 1;
            let waited = self.ended.get(&said.accepted.message).map(|at| *at - said.at);
            if waited.is_none_or(|waited| waited > *n * manner.longest_run() + look) {
                return Err(format!("{:?} came to its end after {waited:?}", said.first_line()));
            }
        }
        Ok(())
    }

    /// Prints the result of each message.
    pub(crate) async fn print(&self, said: &[Said], now: Timestamp) {
        for said in said {
            let (record, reply) = self.read(said, now).await;
            println!(
                "{:?}\n  {record:?}\n  {reply:?}\n  {:?}",
                said.first_line(),
                self.final_texts.get(&said.accepted.message)
            );
        }
        self.platform.messages().iter().for_each(|shown| println!("{shown:?}"));
    }

    /// Waits until both queues are empty.
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

    fn check_state(
        &self,
        said: &Said,
        record: &MessageRecord,
        allowed: &[MessageState],
        fault_plan: &FaultPlan,
    ) -> Result<(), String> {
        let state = record.state;
        // What has failed is redriven where answers are pushed.
        let may_fail = self.channel == Channel::Pulled && self.may_be_given_up(said, record, fault_plan);
        if !allowed.contains(&state) && !may_fail {
            return Err(format!(
                "{:?} is {} ({:?})",
                said.first_line(),
                state.as_str(),
                record.reason
            ));
        }
        let is_command = ["/new", "/stop", "/status"].contains(&said.text.as_str());
        if is_command != (state == MessageState::Commanded) {
            return Err(format!("{:?} is {}", said.first_line(), state.as_str()));
        }
        Ok(())
    }

    /// Whether a message is one of a run that was given up, and enough attempts can have been interrupted while it waited.
    fn may_be_given_up(&self, said: &Said, record: &MessageRecord, fault_plan: &FaultPlan) -> bool {
        let is_given_up = record.state == MessageState::Failed && record.reason.as_deref() == Some("crashed");
        let ended = self.ended.get(&said.accepted.message);
        is_given_up && ended.is_some_and(|ended| fault_plan.n_interruptions(said.at..=*ended) >= MAX_ATTEMPTS)
    }

    /// Answers are in the order of their questions.
    fn check_order(&self, said: &Said, newest: &mut (u64, String)) -> Result<(), String> {
        let Some((_, seen)) = self.final_texts.get(&said.accepted.message) else {
            return Ok(());
        };
        if *seen < newest.0 {
            return Err(format!("{:?} was answered before {:?}", said.text, newest.1));
        }
        *newest = (*seen, said.text.clone());
        Ok(())
    }

    async fn check_rest(&self, chat: usize, now: Timestamp) -> Result<(), String> {
        let id = bot::conversation(self.channel, chat);
        let Some(found) = conversation::load(&self.store, &id, now).await.unwrap() else {
            // Commands alone need no conversation item.
            return Ok(());
        };
        let holds = !found.pending.is_empty() || found.run.is_some();
        // A message that has ended in the ledger may stay on the list until the conversation changes again.
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

/// Checks what readers of a message's reply see.
fn check_message(said: &Said, record: &MessageRecord, reply: Option<&ReplyRecord>) -> Result<(), String> {
    let state = record.state;
    let Some(reply) = reply.filter(|reply| reply.stage == Stage::Final) else {
        return Err(format!(
            "{:?} is {} and has no last word",
            said.first_line(),
            state.as_str()
        ));
    };
    let is_ended_unanswered = matches!(state, MessageState::Stopped | MessageState::Dropped);
    if is_ended_unanswered && reply.outcome == Some(Outcome::Completed) {
        return Err(format!(
            "{:?} is {}, and the chat has its answer {:?}",
            said.first_line(),
            state.as_str(),
            reply.text
        ));
    }
    let text = said.text.strip_prefix("/new ").unwrap_or(&said.text);
    let is_answer = reply.text.lines().any(|line| line == text) && reply.notice.is_none();
    if state == MessageState::Answered && !is_answer {
        return Err(format!(
            "{:?} is answered with {:?} {:?}",
            said.first_line(),
            reply.text,
            reply.notice
        ));
    }
    Ok(())
}
