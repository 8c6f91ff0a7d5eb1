//! A process that outlives the test long enough to end the test's remaining processes.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};

/// A process group that dies when this value is dropped, even if that is because the test itself was killed.
///
/// Its leader waits for the end of its input. Only this process has the other end of that pipe, so it is closed when
/// the process ends in any way. Without it frozen instances would stay for ever: they can't notice anything.
#[derive(Debug)]
pub(super) struct Keeper {
    // Holds the pipe.
    _leader: Child,
    group: i32,
}

impl Keeper {
    pub(super) fn start() -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", "read -r _; kill -9 0"]).process_group(0);
        let leader = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let leader = leader.context("can't start a shell")?;
        let group = leader.id().context("the shell ended at once")?.try_into()?;
        Ok(Self { _leader: leader, group })
    }

    /// The group that instances must join.
    pub(super) fn group(&self) -> i32 {
        self.group
    }
}
