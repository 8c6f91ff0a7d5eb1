//! The relay as its container runs it: the release binary, as a process of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::process::binary;
use crate::reserved_port::free_port;

/// A relay process. Killed when dropped.
pub struct Relay {
    child: Child,
    log: PathBuf,
}

impl Relay {
    /// Starts a relay with this environment only. Its log is a file of that name in `dir`.
    ///
    /// # Errors
    /// If the binary is missing or can't be started.
    pub fn start(dir: &Path, name: &str, env: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let child = Command::new(binary("relay")?)
            .env_clear()
            .envs(env)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("TIELINE_RELAY_LISTEN", format!("127.0.0.1:{}", free_port()?))
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(Stdio::null())
            .spawn()
            .context("the relay doesn't start")?;
        Ok(Self { child, log })
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        // It may have exited by itself; after the wait it is gone in either case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop. No effect on one that has exited already.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }

    /// Waits for its exit. Returns whether it has exited within `limit`.
    pub async fn ended(&mut self, limit: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < limit {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Number of bots that it has connected so far.
    #[must_use]
    pub fn n_connected(&self) -> usize {
        let log = self.log();
        log.lines()
            .filter(|line| line.contains("\"message\":\"connected\""))
            .count()
    }

    /// Its whole log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.kill();
    }
}
