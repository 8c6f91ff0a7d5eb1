//! People who write messages, and their platform, which delivers them.

use std::sync::{Arc, Mutex};

use tokio::time::{Duration, Instant, sleep, timeout};

use crate::bot::{self, Accepted, Channel, Written};
use crate::chance::SeededRng;
use crate::engine::EngineTime;
use crate::process::Process;

/// The platform's timeout for an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum delivery attempts of a message.
const TRIES: usize = 200;

/// An acknowledged message.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) chat: usize,
    pub(crate) text: String,
    pub(crate) accepted: Accepted,
    /// When the platform began to deliver it. A process may have accepted it then and died before it answered.
    pub(crate) written_at: Instant,
    /// When it was acknowledged.
    pub(crate) at: Instant,
}

impl Said {
    /// The first line, which differs from that of any other message that isn't a command.
    pub(crate) fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or(&self.text)
    }
}

/// All acknowledged messages, in the order of each chat.
#[derive(Debug, Clone, Default)]
pub(crate) struct AcknowledgedMessages(Arc<Mutex<Vec<Said>>>);

impl AcknowledgedMessages {
    pub(crate) fn all(&self) -> Vec<Said> {
        self.0.lock().unwrap().clone()
    }
}

/// The person of one chat sends `texts`, one after the other.
pub(crate) async fn speak(
    (channel, chat): (Channel, usize),
    platform_clock: EngineTime,
    texts: Vec<(Duration, String)>,
    processes: Arc<Vec<Arc<Process>>>,
    acknowledged: AcknowledgedMessages,
    mut rng: SeededRng,
) {
    let mut copies = Vec::new();
    for (number, (before, text)) in texts.into_iter().enumerate() {
        sleep(before).await;
        let (at, written_at) = (platform_clock.now(), Instant::now());
        let written = Written { chat, number, text, at };
        let Some(accepted) = deliver(channel, &written, &processes, &mut rng).await else {
            continue;
        };
        acknowledged.0.lock().unwrap().push(Said {
            chat,
            text: written.text.clone(),
            accepted,
            written_at,
            at: Instant::now(),
        });
        if rng.in_thousand(150) {
            copies.push(written);
        }
        if !copies.is_empty() && rng.in_thousand(500) {
            let copy = copies.swap_remove(usize::try_from(rng.below(copies.len() as u64)).unwrap());
            deliver(channel, &copy, &processes, &mut rng).await;
        }
    }
}

/// Delivers a message until it is acknowledged, each time to a random process.
async fn deliver(
    channel: Channel,
    written: &Written,
    processes: &[Arc<Process>],
    rng: &mut SeededRng,
) -> Option<Accepted> {
    for _ in 0..TRIES {
        if let Some(world) = Process::any_running(processes, rng)
            && let Ok(Some(accepted)) = timeout(PATIENCE, bot::post(&world, channel, written)).await
        {
            return Some(accepted);
        }
        sleep(rng.millis(500, 5_000)).await;
    }
    None
}
