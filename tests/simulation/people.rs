//! What people say, and what their platform does to bring it.

use std::sync::{Arc, Mutex};

use tokio::time::{Duration, Instant, sleep, timeout};

use crate::bot::{self, Accepted};
use crate::chance::Chance;
use crate::process::Process;

/// How long the platform waits for its acknowledgement.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tries of one message.
const TRIES: usize = 200;

/// A message that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) chat: usize,
    pub(crate) text: String,
    pub(crate) accepted: Accepted,
    pub(crate) at: Instant,
}

/// All that was acknowledged, in the order of each chat.
#[derive(Debug, Clone, Default)]
pub(crate) struct Protocol(Arc<Mutex<Vec<Said>>>);

impl Protocol {
    pub(crate) fn all(&self) -> Vec<Said> {
        self.0.lock().unwrap().clone()
    }
}

/// The person of one chat says `texts`, one after the other.
pub(crate) async fn speak(
    chat: usize,
    texts: Vec<(Duration, String)>,
    processes: Arc<Vec<Arc<Process>>>,
    protocol: Protocol,
    mut chance: Chance,
) {
    let mut copies = Vec::new();
    for (number, (before, text)) in texts.into_iter().enumerate() {
        sleep(before).await;
        let id = format!("m{chat}.{number}");
        let Some(accepted) = deliver(chat, &id, &text, &processes, &mut chance).await else {
            continue;
        };
        protocol.0.lock().unwrap().push(Said {
            chat,
            text: text.clone(),
            accepted,
            at: Instant::now(),
        });
        if chance.in_thousand(150) {
            copies.push((id, text));
        }
        if !copies.is_empty() && chance.in_thousand(500) {
            let (id, text) = copies.swap_remove(usize::try_from(chance.below(copies.len() as u64)).unwrap());
            deliver(chat, &id, &text, &processes, &mut chance).await;
        }
    }
}

/// Delivers a message until it is acknowledged, to whichever process answers.
async fn deliver(
    chat: usize,
    id: &str,
    text: &str,
    processes: &[Arc<Process>],
    chance: &mut Chance,
) -> Option<Accepted> {
    for _ in 0..TRIES {
        let at = usize::try_from(chance.below(processes.len() as u64)).unwrap();
        if let Some(world) = processes[at].world_if_well()
            && let Ok(Some(accepted)) = timeout(PATIENCE, bot::post(&world, chat, id, text)).await
        {
            return Some(accepted);
        }
        sleep(chance.millis(500, 5_000)).await;
    }
    None
}
