//! The threads of the tables: one that does what is asked, one that sweeps out what has expired.
//!
//! The engine lets one caller in at a time and blocks the others. On the runtime's threads that made callers wait for seconds under
//! load; in one line before one thread nobody is overtaken and nothing else stands still.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use dynoxide::Database;

use super::tokens::Tokens;

/// How often expired items are deleted. Whoever reads them checks their expiry anyway.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

pub(super) enum Job {
    Do(Box<dyn FnOnce(&mut Desk) + Send>),
    Close,
}

/// What the thread works with.
pub(super) struct Desk {
    pub(super) db: Database,
    pub(super) tokens: Tokens,
    /// Dropped with the desk, which ends the sweeper.
    _is_open: Sender<()>,
}

pub(super) fn start(db: Database) -> io::Result<(Sender<Job>, JoinHandle<()>)> {
    let (is_open, closed) = channel();
    let swept = db.clone();
    let thread = |name: &str| Builder::new().name(name.into());
    let sweeper = thread("dynamodb-sweeper").spawn(move || sweep(&swept, &closed))?;
    let (jobs, taken) = channel();
    let desk = Desk {
        db,
        tokens: Tokens::default(),
        _is_open: is_open,
    };
    let worker = thread("dynamodb").spawn(move || {
        work(desk, &taken);
        // It has the files open too: whoever waits for the worker's end finds them closed. A panic in there has been printed.
        let _ = sweeper.join();
    })?;
    Ok((jobs, worker))
}

fn work(mut desk: Desk, jobs: &Receiver<Job>) {
    while let Ok(Job::Do(job)) = jobs.recv() {
        job(&mut desk);
    }
}

fn sweep(db: &Database, closed: &Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = closed.recv_timeout(SWEEP_EVERY) {
        match db.sweep_ttl() {
            Ok(n_deleted) => tracing::debug!(n_deleted, "swept out expired items"),
            Err(error) => tracing::warn!(%error, "expired items could not be swept out"),
        }
    }
}
