//! The process that outlives the test long enough to end what the test left behind.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};

/// A process group that dies when this value does, even if that is because the test itself was killed.
///
/// Its leader waits for the end of its input. The other end of that pipe is ours alone, so it closes with us, whatever
/// ends us. Without it frozen instances would stay for ever: they notice nothing.
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

    /// The group that instances have to join.
    pub(super) fn group(&self) -> i32 {
        self.group
    }
}
