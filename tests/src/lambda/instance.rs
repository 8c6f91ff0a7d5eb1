//! One running copy of a function: a process and its Runtime API.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::environment::environment;
use super::ids::{trace_id, unix_now, uuid};
use super::logs::{Logs, Source, follow};
use super::outcome::{MAX_PAYLOAD_BYTES, Outcome};
use super::runtime_api::{self, Call, Invocation, Reception};

/// How long a function with an extension has between SIGTERM and SIGKILL.
///
/// See [Lambda Docs/Execution environment, shutdown phase](https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html).
const SHUTDOWN_PHASE: Duration = Duration::from_millis(500);
/// Limit of reading the last output of a dead process.
const LAST_LINES: Duration = Duration::from_millis(500);

/// What an instance is started with.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) function: String,
    pub(super) arn: String,
    pub(super) binary: PathBuf,
    pub(super) env: BTreeMap<String, String>,
    pub(super) memory_mb: u32,
    pub(super) region: String,
    pub(super) freeze_idle: bool,
    /// The process group to join, if any.
    pub(super) group: Option<i32>,
}

/// A process that runs a function. Killed when dropped.
#[derive(Debug)]
pub(super) struct Instance {
    child: Child,
    pid: Pid,
    calls: mpsc::Receiver<Call>,
    api: JoinHandle<()>,
    /// The function's open request for an event, while it is idle.
    ready: Option<oneshot::Sender<Invocation>>,
    readers: Vec<JoinHandle<()>>,
    logs: Arc<Logs>,
    has_extension: bool,
    freeze_idle: bool,
    arn: String,
}

impl Instance {
    /// Starts a process. It is not ready yet: see [`Instance::ready`].
    pub(super) async fn start(spec: &Spec, logs: Arc<Logs>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let mut command = Command::new(&spec.binary);
        if let Some(group) = spec.group {
            command.process_group(group);
        }
        let mut child = command
            .env_clear()
            .envs(environment(spec, &address))
            .current_dir(
                spec.binary
                    .parent()
                    .filter(|dir| !dir.as_os_str().is_empty())
                    .unwrap_or(".".as_ref()),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let id = child.id().expect("a child that was not waited for has an id");
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (sender, calls) = mpsc::channel(4);
        Ok(Self {
            child,
            pid: i32::try_from(id)
                .ok()
                .and_then(Pid::from_raw)
                .expect("process ids are positive"),
            calls,
            api: tokio::spawn(runtime_api::serve(listener, spec.function.clone(), sender)),
            ready: None,
            readers: vec![
                tokio::spawn(follow(Arc::clone(&logs), id, Source::Stdout, stdout)),
                tokio::spawn(follow(Arc::clone(&logs), id, Source::Stderr, stderr)),
            ],
            logs,
            has_extension: false,
            freeze_idle: spec.freeze_idle,
            arn: spec.arn.clone(),
        })
    }

    /// Waits until the function requests its first event. Kills it and returns the reason if it doesn't.
    pub(super) async fn ready(mut self, limit: Duration, kill: &mut watch::Receiver<bool>) -> Result<Self, Outcome> {
        let deadline = Instant::now() + limit;
        let mut reported = None;
        loop {
            tokio::select! {
                // The function's own report takes precedence over the way it ended.
                biased;
                Some(call) = self.calls.recv() => match call {
                    Call::Next(sender) => {
                        self.idle(sender);
                        return Ok(self);
                    }
                    Call::InitError(error) => reported = Some(error),
                    Call::ExtensionRegistered => self.has_extension = true,
                    Call::Answer { reply, .. } | Call::Error { reply, .. } => {
                        let _ = reply.send(Reception::UnknownRequest);
                    }
                },
                status = self.child.wait() => {
                    let how = self.gone(status).await;
                    return Err(match reported {
                        Some(error) => Outcome::Failed { error_type: error.error_type, message: error.message },
                        None => Outcome::Crashed { how },
                    });
                }
                () = sleep_until(deadline) => {
                    self.kill("was not ready within the init limit").await;
                    return Err(Outcome::Failed {
                        error_type: "Sandbox.Timedout".to_owned(),
                        message: format!("no request for an event within {limit:?} of the start"),
                    });
                }
                () = killed(kill) => {
                    return Err(Outcome::Crashed { how: self.kill("was killed by the test").await });
                }
            }
        }
    }

    /// Runs one invocation, reports its outcome through `report` as soon as it is known, and returns the instance
    /// once it requests the next event. `None` if it is dead.
    pub(super) async fn invoke(
        mut self,
        payload: Bytes,
        limit: Duration,
        kill: &mut watch::Receiver<bool>,
        report: impl FnOnce(Outcome),
    ) -> Option<Self> {
        let deadline = Instant::now() + limit;
        let mut turn = Turn {
            request_id: uuid(),
            report: Some(report),
            is_answered: false,
        };
        if !self.hand_over(payload, limit, &turn.request_id) {
            turn.tell(Outcome::Crashed {
                how: self.kill("closed its connection while idle").await,
            });
            return None;
        }
        loop {
            tokio::select! {
                biased;
                Some(call) = self.calls.recv() => {
                    if let Some(next) = turn.receive(call) {
                        self.idle(next);
                        return Some(self);
                    }
                }
                status = self.child.wait() => {
                    turn.tell(Outcome::Crashed { how: self.gone(status).await });
                    return None;
                }
                () = sleep_until(deadline) => {
                    let id = &turn.request_id;
                    self.kill(&format!("{id} Task timed out after {:.2} seconds", limit.as_secs_f64())).await;
                    turn.tell(Outcome::TimedOut { after: limit });
                    return None;
                }
                () = killed(kill) => {
                    turn.tell(Outcome::Crashed { how: self.kill("was killed by the test").await });
                    return None;
                }
            }
        }
    }

    /// Whether an idle instance can still be used.
    pub(super) fn is_usable(&mut self) -> bool {
        self.ready.as_ref().is_some_and(|ready| !ready.is_closed()) && matches!(self.child.try_wait(), Ok(None))
    }

    /// Process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Ends an idle instance as Lambda does: with a SIGTERM before only if it has an extension.
    pub(super) async fn end(mut self) {
        if self.has_extension {
            self.signal(Signal::CONT);
            self.signal(Signal::TERM);
            if timeout(SHUTDOWN_PHASE, self.child.wait()).await.is_ok() {
                self.read_last_lines().await;
                return;
            }
        }
        let _ = self.child.kill().await;
        self.read_last_lines().await;
    }

    /// Kills the process at once and logs the reason.
    pub(super) async fn kill(&mut self, why: &str) -> String {
        let _ = self.child.start_kill();
        let status = self.child.wait().await;
        self.logs.push(self.pid(), Source::Platform, why.to_owned());
        self.gone(status).await
    }

    /// Sends an event to the idle function. Returns whether it was received.
    fn hand_over(&mut self, payload: Bytes, limit: Duration, request_id: &str) -> bool {
        let invocation = Invocation {
            request_id: request_id.to_owned(),
            deadline_ms: (unix_now() + limit).as_millis(),
            function_arn: self.arn.clone(),
            trace_id: trace_id(),
            payload,
        };
        self.signal(Signal::CONT);
        self.ready.take().is_some_and(|ready| ready.send(invocation).is_ok())
    }

    fn idle(&mut self, sender: oneshot::Sender<Invocation>) {
        self.ready = Some(sender);
        if self.freeze_idle {
            self.signal(Signal::STOP);
        }
    }

    /// Reads the rest of a dead process's output and returns how it died.
    async fn gone(&mut self, status: std::io::Result<ExitStatus>) -> String {
        self.read_last_lines().await;
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        self.logs
            .push(self.pid(), Source::Platform, format!("instance ended: {how}"));
        how
    }

    async fn read_last_lines(&mut self) {
        for reader in &mut self.readers {
            let _ = timeout(LAST_LINES, reader).await;
        }
        self.readers.clear();
    }

    fn signal(&self, signal: Signal) {
        // Only while the child has not been waited for: afterwards its pid may belong to another process.
        if self.child.id().is_some() {
            let _ = kill_process(self.pid, signal);
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.api.abort();
    }
}

/// The state of one invocation in an instance.
struct Turn<F> {
    request_id: String,
    /// Taken by the first outcome; later ones are ignored.
    report: Option<F>,
    is_answered: bool,
}

impl<F: FnOnce(Outcome)> Turn<F> {
    fn tell(&mut self, outcome: Outcome) {
        if let Some(report) = self.report.take() {
            report(outcome);
        }
    }

    /// Handles a call of the function. Returns its request for the next event, which ends the invocation.
    fn receive(&mut self, call: Call) -> Option<oneshot::Sender<Invocation>> {
        match call {
            Call::Next(next) => {
                self.tell(Outcome::Failed {
                    error_type: "Runtime.NoAnswer".to_owned(),
                    message: "asked for the next event without answering this one".to_owned(),
                });
                return Some(next);
            }
            Call::Answer { request_id, reply, .. } | Call::Error { request_id, reply, .. }
                if self.is_answered || request_id != self.request_id =>
            {
                let _ = reply.send(Reception::UnknownRequest);
            }
            Call::Answer { body, reply, .. } => {
                self.is_answered = true;
                let (reception, outcome) = receive(body);
                let _ = reply.send(reception);
                self.tell(outcome);
            }
            Call::Error { error, reply, .. } => {
                self.is_answered = true;
                let _ = reply.send(Reception::Accepted);
                self.tell(Outcome::Failed {
                    error_type: error.error_type,
                    message: error.message,
                });
            }
            Call::InitError(_) | Call::ExtensionRegistered => {}
        }
        None
    }
}

fn receive(body: Bytes) -> (Reception, Outcome) {
    if body.len() <= MAX_PAYLOAD_BYTES {
        return (Reception::Accepted, Outcome::Answered(body));
    }
    let message = format!("Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes).");
    (
        Reception::TooLarge,
        Outcome::Failed {
            error_type: "Function.ResponseSizeTooLarge".to_owned(),
            message,
        },
    )
}

/// Resolves when a test kills the instance.
async fn killed(kill: &mut watch::Receiver<bool>) {
    if kill.wait_for(|killed| *killed).await.is_err() {
        // No task is left that could kill it.
        std::future::pending().await
    }
}
