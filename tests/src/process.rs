//! The bridge as its users run it: the release binary `tieline`, as a process of its own.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::reserved_port::free_port;

/// The token that tests sign in with.
pub const ADMIN_TOKEN: &str = "token-of-the-tests-9f86d081884c7d659a2feaa0c55ad015";

/// Path of a release binary: in `TIELINE_BIN_DIR`, else in the workspace's `target/release`.
///
/// # Errors
/// If there is no such binary, or sources have changed since it was built: testing an outdated program is pointless.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release");
    let dir = std::env::var_os("TIELINE_BIN_DIR").map_or(default, PathBuf::from);
    let path = dir.join(name);
    if !path.exists() {
        bail!("{} is missing: run `{BUILD}` first", path.display());
    }
    if let Some(source) = newer_source(&path)? {
        bail!(
            "{} is older than {}: run `{BUILD}` first",
            path.display(),
            source.display()
        );
    }
    Ok(path)
}

const BUILD: &str =
    "cargo build --release --bin tieline --bin webhook --bin dispatcher --bin runner --bin admin --bin relay";

/// A source of the program that has changed since it was built. Cargo writes a binary's dependencies beside it; for a binary
/// from elsewhere they are unknown.
fn newer_source(binary: &Path) -> anyhow::Result<Option<PathBuf>> {
    let Ok(noted) = std::fs::read_to_string(binary.with_extension("d")) else {
        return Ok(None);
    };
    let built_at = binary.metadata()?.modified()?;
    let (_, sources) = noted.split_once(": ").unwrap_or_default();
    // Spaces within a path are escaped.
    let sources = sources.replace("\\ ", "\0");
    let mut sources = sources
        .split_whitespace()
        .map(|it| PathBuf::from(it.replace('\0', " ")));
    Ok(sources.find(|source| {
        let changed_at = source.metadata().and_then(|it| it.modified());
        changed_at.map_or(true, |changed_at| changed_at > built_at)
    }))
}

/// A running bridge. Killed when dropped.
pub struct Bridge {
    child: Option<Child>,
    port: u16,
    dir: PathBuf,
    log: PathBuf,
    flags: Vec<String>,
}

impl Bridge {
    /// Starts a bridge on this data directory and waits until it answers.
    ///
    /// # Errors
    /// If it doesn't within ten seconds.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        Self::start_on(dir, free_port()?)
    }

    /// Like [`Self::start`], with more flags.
    ///
    /// # Errors
    /// If it doesn't within ten seconds.
    pub fn start_with(dir: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        Self::start_on_with(dir, free_port()?, flags)
    }

    /// Like [`Self::start`], on a fixed port, so that addresses survive a restart.
    ///
    /// # Errors
    /// If it doesn't answer within ten seconds.
    pub fn start_on(dir: &Path, port: u16) -> anyhow::Result<Self> {
        Self::start_on_with(dir, port, &[])
    }

    /// Like [`Self::start`], with the public address at which platforms call it.
    ///
    /// # Errors
    /// If it doesn't answer within ten seconds.
    pub fn start_at(dir: &Path, public_url: &str) -> anyhow::Result<Self> {
        Self::start_on_with(dir, free_port()?, &["--public-url", public_url])
    }

    fn start_on_with(dir: &Path, port: u16, flags: &[&str]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let log = dir.join("tieline.log");
        let mut bridge = Self {
            child: None,
            port,
            dir: dir.to_owned(),
            log,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        };
        bridge.launch()?;
        Ok(bridge)
    }

    /// Its address, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills it with SIGKILL: it can't finish anything.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have exited by itself; after the wait it is gone in either case.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Kills it and starts it again.
    ///
    /// # Errors
    /// If it doesn't answer again.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        self.launch()
    }

    /// Asks it to stop, and waits for its exit.
    ///
    /// # Errors
    /// If it takes longer than 12 s.
    pub fn stop(&mut self) -> anyhow::Result<Duration> {
        let mut child = self.child.take().context("the bridge doesn't run")?;
        let began = Instant::now();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        while began.elapsed() < Duration::from_secs(12) {
            if child.try_wait()?.is_some() {
                return Ok(began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill()?;
        bail!(
            "the bridge did not stop in time; its log ends with:\n{}",
            self.log_tail()
        )
    }

    /// The last lines of its log, for a failing test.
    #[must_use]
    pub fn log_tail(&self) -> String {
        end_of(self.log().lines())
    }

    /// The last lines of its log about an integration or one of its messages.
    #[must_use]
    pub fn log_of(&self, integration: &str) -> String {
        let log = self.log();
        let message = |line: &str| {
            let (_, rest) = line.split_once("\"event.key\":\"")?;
            rest.split_once('"').map(|(id, _)| id.to_owned())
        };
        let own = log.lines().filter(|line| line.contains(integration));
        let messages: BTreeSet<String> = own.filter_map(message).collect();
        let is_about =
            |line: &&str| line.contains(integration) || message(line).is_some_and(|id| messages.contains(&id));
        end_of(log.lines().filter(is_about))
    }

    /// Its whole log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its peak memory in bytes. Linux only.
    ///
    /// # Errors
    /// If it doesn't run, or the system doesn't report it.
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .context("no VmHWM")?;
        Ok(kibibytes.trim().parse::<u64>()? * 1024)
    }

    /// Its process id.
    ///
    /// # Errors
    /// If it doesn't run.
    pub fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.child.as_ref().context("the bridge doesn't run")?.id())
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(binary("tieline")?)
            .args(["serve", "--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--data-dir".as_ref(), self.dir.as_os_str()])
            .args(["--admin-token", ADMIN_TOKEN, "--allow-private-endpoints"])
            .args(&self.flags)
            .env("TIELINE_LOG_FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        self.wait_until_up()
    }

    fn wait_until_up(&mut self) -> anyhow::Result<()> {
        let give_up_at = Instant::now() + Duration::from_secs(10);
        while Instant::now() < give_up_at {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = ended {
                bail!(
                    "the bridge ended with {status}; its log ends with:\n{}",
                    self.log_tail()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the bridge does not listen; its log ends with:\n{}", self.log_tail())
    }
}

/// The last of these lines, each with its line end.
fn end_of<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut last: Vec<&str> = lines.collect();
    last.drain(..last.len().saturating_sub(40));
    last.into_iter().map(|line| format!("{line}\n")).collect()
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.kill();
    }
}
