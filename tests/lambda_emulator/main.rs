//! The Lambda emulator keeps the guarantees of AWS, and fails where AWS would fail.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod fifo;
mod http_api;
mod instances;
mod lifetimes;
mod queue;
mod queues;

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_tests::lambda::{Config, Emulator, Function, FunctionConfig, Outcome};

const PROBE: &str = env!("CARGO_BIN_EXE_probe_lambda");
/// Limit of every wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

fn probe() -> FunctionConfig {
    FunctionConfig {
        timeout: Duration::from_secs(10),
        ..FunctionConfig::new("probe", PROBE)
    }
}

async fn start(functions: impl IntoIterator<Item = FunctionConfig>) -> Emulator {
    let functions = functions.into_iter().collect();
    Emulator::start(Config {
        functions,
        ..Config::default()
    })
    .await
    .unwrap()
}

#[track_caller]
fn pid_of(outcome: &Outcome) -> u32 {
    let answer = outcome.json().unwrap_or_else(|| panic!("no answer: {outcome:?}"));
    u32::try_from(answer["pid"].as_u64().unwrap()).unwrap()
}

/// State letter of a process: `T` is stopped. `None` if the process doesn't exist, or is a zombie.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next().filter(|state| *state != 'Z')
}

/// Waits until `condition` returns a value; on timeout, shows the function's log.
async fn until<T, F: Future<Output = Option<T>>>(function: &Function, condition: impl Fn() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        if start.elapsed() > PATIENCE {
            let log: Vec<_> = function.logs(40).iter().map(ToString::to_string).collect();
            panic!(
                "still waiting after {PATIENCE:?}; {:?}\n{}",
                function.stats(),
                log.join("\n")
            );
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_true(function: &Function, condition: impl Fn() -> bool) {
    until(function, || async { condition().then_some(()) }).await;
}

/// The file to which probe functions write what they do.
struct Journal {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Journal {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            path: dir.path().join("journal"),
            _dir: dir,
        }
    }

    fn probe(&self) -> FunctionConfig {
        probe().env("PROBE_JOURNAL", self.path.display().to_string())
    }

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn steps(&self, step: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["step"] == step).collect()
    }
}
