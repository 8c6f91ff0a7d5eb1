//! The mailbox between dispatcher and runners: under any interleaving no message is lost or processed twice.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tieline_core::conversation::{Conversation, Owner};
use tieline_core::ids::MessageId;
use tieline_core::timestamp::Timestamp;
use tieline_store::{Store, StoreError, conversation};

use crate::tables::{at, conversation, fresh, lease, owner, run_state, waiting};

/// Each side advances by single calls, as anything may happen between two calls.
#[derive(Debug, Clone, Copy)]
enum Move {
    /// The dispatcher reads.
    Read,
    /// The dispatcher saves what it read with one more message.
    Append,
    /// A runner reads.
    Look(usize),
    /// A runner saves after a change: acquires the lease, starts a run, ends it, or releases the lease.
    Work(usize),
    /// A runner's heartbeat.
    KeepaliveAction(usize),
    /// Time passes, and a runner may lose its lease.
    Wait,
}

fn a_move() -> impl Strategy<Value = Move> {
    let runner = 0..2_usize;
    prop_oneof![
        Just(Move::Read),
        Just(Move::Append),
        runner.clone().prop_map(Move::Look),
        runner.clone().prop_map(Move::Work),
        runner.prop_map(Move::KeepaliveAction),
        Just(Move::Wait),
    ]
}

struct Mailbox {
    store: Store,
    now: Timestamp,
    read: Option<Conversation>,
    appended: Vec<MessageId>,
    runners: [Runner; 2],
    answered: Vec<MessageId>,
}

struct Runner {
    me: Owner,
    seen: Option<Conversation>,
}

impl Mailbox {
    async fn play(&mut self, step: Move) {
        match step {
            Move::Read => self.read = Some(self.load().await),
            Move::Append => self.append().await,
            Move::Look(runner) => self.runners[runner].seen = Some(self.load().await),
            Move::Work(runner) => self.work(runner).await,
            Move::KeepaliveAction(runner) => self.beat(runner).await,
            Move::Wait => self.now = self.now.after(std::time::Duration::from_secs(20)),
        }
    }

    async fn load(&self) -> Conversation {
        let key = conversation("a").key;
        let found = conversation::load(&self.store, &key.id(), at(0)).await.unwrap();
        found.unwrap_or_else(|| conversation("a"))
    }

    async fn append(&mut self) {
        let Some(before) = self.read.take() else { return };
        let message = waiting(&self.appended.len().to_string());
        let mut after = before.clone();
        after.pending.push(message.clone());
        if saved(&self.store, &before, &mut after).await {
            self.appended.push(message.message);
        }
    }

    async fn work(&mut self, runner: usize) {
        let Some(before) = self.runners[runner].seen.take() else {
            return;
        };
        let me = self.runners[runner].me.clone();
        let mut after = before.clone();
        let mut ended = Vec::new();
        match &before.lease {
            Some(held) if held.owner == me => match &before.run {
                // A run of several messages ends.
                Some(run) => {
                    ended.clone_from(&run.messages);
                    after.run = None;
                }
                None if before.pending.is_empty() => after.lease = None,
                None => {
                    let mut run = run_state("1");
                    run.messages = after.pending.drain(..).map(|waiting| waiting.message).collect();
                    after.run = Some(run);
                    after.lease = Some(lease(
                        &me,
                        held.fence,
                        self.now.after(std::time::Duration::from_secs(30)),
                    ));
                }
            },
            Some(held) if !held.is_free(&me, self.now) => return,
            seen => {
                let fence = seen.as_ref().map_or(0, |seen| seen.fence) + 1;
                after.lease = Some(lease(&me, fence, self.now.after(std::time::Duration::from_secs(30))));
            }
        }
        if saved(&self.store, &before, &mut after).await {
            self.answered.append(&mut ended);
            self.runners[runner].seen = Some(after);
        }
    }

    async fn beat(&self, runner: usize) {
        let Runner { me, seen } = &self.runners[runner];
        let Some(held) = seen.as_ref().and_then(|seen| seen.lease.as_ref()) else {
            return;
        };
        if held.owner == *me {
            let id = conversation("a").key.id();
            let expires_at = self.now.after(std::time::Duration::from_secs(30));
            // It may have lost the lease: that is harmless, but it must not get it back.
            let _ = conversation::heartbeat(&self.store, &id, me, held.fence, expires_at).await;
        }
    }
}

async fn saved(store: &Store, before: &Conversation, after: &mut Conversation) -> bool {
    match conversation::save(store, before, after).await {
        Ok(()) => true,
        Err(StoreError::Conflict) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn every_message_is_somewhere_once(moves: Vec<Move>) {
    let it = fresh().await;
    let runner = |node: &str| Runner {
        me: owner(node, "1"),
        seen: None,
    };
    let mut mailbox = Mailbox {
        store: it.store.clone(),
        now: at(0),
        read: None,
        appended: Vec::new(),
        runners: [runner("a"), runner("b")],
        answered: Vec::new(),
    };
    for step in moves {
        mailbox.play(step).await;
    }
    let left = mailbox.load().await;
    let running = left.run.into_iter().flat_map(|run| run.messages);
    let waiting = left.pending.into_iter().map(|waiting| waiting.message);
    let mut somewhere = mailbox.answered.clone();
    somewhere.extend(running.chain(waiting));
    // Also in order of arrival.
    assert_eq!(somewhere, mailbox.appended);
    let once: BTreeSet<_> = somewhere.iter().collect();
    assert_eq!(once.len(), somewhere.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_interleaving_loses_a_message(moves in proptest::collection::vec(a_move(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(every_message_is_somewhere_once(moves));
    }
}
