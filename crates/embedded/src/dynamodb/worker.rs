//! Storage threads of the tables: usually two, one that executes calls and one that deletes expired items.
//!
//! The engine executes one call at a time and blocks the other callers. On the runtime's threads that made callers wait for seconds under
//! load. One thread behind a FIFO queue serves callers in order and blocks nothing else.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use dynoxide::{Database, DynoxideError};
use tokio::sync::oneshot;

use super::tokens::Tokens;
use crate::alive::Alive;

/// How often expired items are deleted. Readers check expiry themselves.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Time that closing waits for a running sweep, which the engine can't interrupt. Cutting a sweep off is safe: each item is deleted in a
/// transaction of its own, and the next sweep finds the rest.
const SWEEP_PATIENCE: Duration = Duration::from_millis(200);

pub(super) type Result<T> = std::result::Result<T, DynoxideError>;

/// Where callers' jobs are executed.
#[derive(Debug)]
pub(super) enum Desk {
    /// On the storage thread.
    Thread(Sender<Job>),
    /// On the callers' own threads, one at a time.
    Callers(Mutex<Worker>),
}

impl Desk {
    pub(super) fn of_callers(db: Database) -> Self {
        let tokens = Tokens::default();
        Self::Callers(Mutex::new(Worker {
            db,
            tokens,
            _is_open: None,
        }))
    }

    /// Executes `run`, even if the caller is dropped meanwhile.
    pub(super) async fn run<A: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Worker) -> Result<A> + Send + 'static,
    ) -> Result<A> {
        let jobs = match self {
            Self::Thread(jobs) => jobs,
            Self::Callers(worker) => return run(&mut worker.lock().unwrap_or_else(PoisonError::into_inner)),
        };
        let closed = || DynoxideError::InternalServerError("table storage is closed".into());
        let (answerer, answer) = oneshot::channel();
        let job = Job::Do(Box::new(move |worker| drop(answerer.send(run(worker)))));
        jobs.send(job).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Ends the thread after the jobs queued so far.
    pub(super) fn close(&self) {
        if let Self::Thread(jobs) = self {
            // Closed before: nothing is left to stop.
            let _ = jobs.send(Job::Close);
        }
    }
}

pub(super) enum Job {
    Do(Box<dyn FnOnce(&mut Worker) + Send>),
    Close,
}

/// The engine and what its thread needs.
pub(super) struct Worker {
    pub(super) db: Database,
    pub(super) tokens: Tokens,
    /// Dropped with the worker, which ends the sweeper, if there is one.
    _is_open: Option<Sender<()>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Worker(..)")
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job(..)")
    }
}

pub(super) fn start(db: Database, alive: Alive) -> io::Result<(Sender<Job>, JoinHandle<()>)> {
    start_sweeping(db, alive, SWEEP_EVERY, |db| match db.sweep_ttl() {
        Ok(n_deleted) => tracing::debug!(n_deleted, "deleted expired items"),
        Err(error) => tracing::warn!(%error, "expired items could not be deleted"),
    })
}

fn start_sweeping(
    db: Database,
    alive: Alive,
    every: Duration,
    sweep: impl Fn(&Database) + Send + 'static,
) -> io::Result<(Sender<Job>, JoinHandle<()>)> {
    let (is_open, closed) = channel();
    let (sweeping, swept) = channel::<()>();
    let thread = |name: &str| Builder::new().name(name.into());
    let its_db = db.clone();
    thread("dynamodb-sweeper").spawn(move || {
        // Dropped last, so that a waiter finds the files closed.
        let _sweeping = sweeping;
        let db = its_db;
        while let Err(RecvTimeoutError::Timeout) = closed.recv_timeout(every) {
            sweep(&db);
        }
    })?;
    let (jobs, taken) = channel();
    let worker = Worker {
        db,
        tokens: Tokens::default(),
        _is_open: Some(is_open),
    };
    let working = thread("dynamodb").spawn(move || {
        let _alive = alive;
        work(worker, &taken);
        // The sweeper has the files open too: a waiter for the worker's end finds them closed, unless a sweep is still running.
        if let Err(RecvTimeoutError::Timeout) = swept.recv_timeout(SWEEP_PATIENCE) {
            tracing::debug!("closing without waiting for a running sweep");
        }
    })?;
    Ok((jobs, working))
}

fn work(mut worker: Worker, jobs: &Receiver<Job>) {
    while let Ok(Job::Do(job)) = jobs.recv() {
        job(&mut worker);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::sync::watch;

    use super::*;

    #[test]
    fn a_long_sweep_does_not_delay_closing() {
        let (tell, begun) = channel();
        let (_end, ended) = channel::<()>();
        let sweep = move |_: &Database| {
            tell.send(()).unwrap();
            let _ = ended.recv();
        };
        let alive = Alive::new(watch::Sender::new(false));
        let db = Database::memory().unwrap();
        let (jobs, worker) = start_sweeping(db, alive, Duration::ZERO, sweep).unwrap();
        begun.recv().unwrap();
        let asked = Instant::now();
        jobs.send(Job::Close).unwrap();
        // The sweep ends when this test drops its end.
        worker.join().unwrap();
        assert!(asked.elapsed() >= SWEEP_PATIENCE);
    }
}
