//! A running bridge, and commands that call it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Timeout that is sufficient even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const TOKEN: &str = "token-of-the-tests";

/// The binary, without settings from our own environment.
pub(crate) fn tieline() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tieline"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIELINE_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// The output of a command that has ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(command: &mut Command) -> Self {
        let said = command.output().unwrap();
        Self {
            code: said.status.code(),
            out: String::from_utf8(said.stdout).unwrap(),
            err: String::from_utf8(said.stderr).unwrap(),
        }
    }

    /// Its standard output, if it succeeded.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!((self.code, &*self.err), (Some(0), ""), "{}", self.out);
        self.out
    }

    /// Its standard error, if it failed with the usual exit code.
    #[track_caller]
    pub(crate) fn bad(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        self.err
    }
}

/// A bridge process. Killed when dropped.
pub(crate) struct Bridge {
    child: Child,
    pub(crate) dir: TempDir,
    pub(crate) url: String,
}

impl Bridge {
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), &mut tieline())
    }

    /// Starts it with more arguments, and waits until it prints its address.
    #[track_caller]
    pub(crate) fn start_in(dir: TempDir, command: &mut Command) -> Self {
        let mut child = Self::command(dir.path(), command)
            .stdout(Stdio::piped())
            .stderr(File::create(log(dir.path())).unwrap())
            .spawn()
            .unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        let Ok(first) = lines.recv_timeout(PATIENCE) else {
            // It may have ended or hang: after this it is gone either way.
            let _ = child.kill();
            let _ = child.wait();
            panic!("it doesn't start:\n{}", fs::read_to_string(log(dir.path())).unwrap());
        };
        let url = first.strip_prefix("console: ").unwrap();
        let url = url.trim_end_matches('/').to_owned();
        Self { child, dir, url }
    }

    /// The command that starts it.
    pub(crate) fn command<'a>(dir: &Path, command: &'a mut Command) -> &'a mut Command {
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--allow-private-endpoints"])
            .arg("--data-dir")
            .arg(dir.join("data"))
            .env("TIELINE_ADMIN_TOKEN", TOKEN)
    }

    /// A command that calls it.
    pub(crate) fn command_of(&self, words: &[&str]) -> Command {
        let mut command = tieline();
        command
            .args(words)
            .env("TIELINE_URL", &self.url)
            .env("TIELINE_ADMIN_TOKEN", TOKEN);
        command
    }

    pub(crate) fn tieline(&self, words: &[&str]) -> Said {
        Said::of(&mut self.command_of(words))
    }

    /// Like `tieline`, but with this text on standard input.
    pub(crate) fn typed(&self, words: &[&str], input: &str) -> Said {
        let mut child = self
            .command_of(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let said = child.wait_with_output().unwrap();
        Said {
            code: said.status.code(),
            out: String::from_utf8(said.stdout).unwrap(),
            err: String::from_utf8(said.stderr).unwrap(),
        }
    }

    /// Writes a file next to its data directory and returns the path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(log(self.dir.path())).unwrap()
    }

    /// Stops it with SIGTERM, and returns how long that took and its directory.
    pub(crate) fn stop(mut self) -> (Duration, TempDir) {
        let began = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let ended = wait(|| self.child.try_wait().unwrap());
        assert!(ended.success(), "{ended}:\n{}", self.log());
        let taken = began.elapsed();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        (taken, dir)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // It may have ended already; it is gone after the wait either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// Polls until `look` returns a value.
#[track_caller]
pub(crate) fn wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let give_up_at = Instant::now() + PATIENCE;
    while Instant::now() < give_up_at {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("nothing within {PATIENCE:?}");
}

/// The lines that a process writes, as they arrive.
pub(crate) fn read_lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (read, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut from = BufReader::new(from).lines().map_while(Result::ok);
        while from.next().is_some_and(|line| read.send(line).is_ok()) {}
    });
    lines
}
