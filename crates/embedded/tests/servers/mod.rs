//! Shared by both conformance suites: cases, the servers they run against, and the comparison of results.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;

use tieline_embedded::{ENDPOINT_URL, Embedded, Options};

/// Five times longer than any case needs.
const CASE_LIMIT: Duration = Duration::from_secs(60);

type Run = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// One requirement on a server.
pub(crate) struct Case<C> {
    pub(crate) name: &'static str,
    pub(crate) run: fn(C) -> Run,
}

/// Lists the cases of a suite from the paths of their functions.
#[macro_export]
macro_rules! cases {
    ($($path:path),+ $(,)?) => {
        vec![$($crate::servers::Case { name: stringify!($path), run: |client| Box::pin($path(client)) }),+]
    };
}

/// Runs every case concurrently and compares the results with the server's known failures.
///
/// `misses` lists the cases that the server is known to fail, with reasons. A listed case that passes fails the suite too: the list is
/// outdated.
pub(crate) async fn check<C: Clone + Send + 'static>(client: &C, cases: Vec<Case<C>>, misses: &[(&str, &str)]) {
    let misses: BTreeMap<_, _> = misses.iter().copied().collect();
    for name in misses.keys() {
        assert!(cases.iter().any(|c| c.name == *name), "there is no case {name}");
    }
    let n_cases = cases.len();
    let misses = &misses;
    let runs = cases.into_iter().map(|case| async move {
        let run = tokio::spawn((case.run)(client.clone()));
        let outcome = match timeout(CASE_LIMIT, run).await {
            Ok(Ok(outcome)) => outcome.map_err(|error| format!("{error:#}")),
            Ok(Err(panic)) => Err(panic.to_string()),
            Err(_) => Err(format!("no end after {CASE_LIMIT:?}")),
        };
        match (outcome, misses.get(case.name)) {
            (Ok(()), None) | (Err(_), Some(_)) => None,
            (Err(error), None) => Some(format!("{}: {error}", case.name)),
            (Ok(()), Some(reason)) => Some(format!("{}: passes now, yet is listed as a miss ({reason})", case.name)),
        }
    });
    let wrong: Vec<String> = join_all(runs).await.into_iter().flatten().collect();
    assert!(
        wrong.is_empty(),
        "{} of {n_cases} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// An engine in a fresh directory, reached without a socket.
pub(crate) struct InProcess {
    pub(crate) embedded: Embedded,
    _dir: tempfile::TempDir,
}

impl InProcess {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let embedded = Embedded::open(dir.path(), Options::default()).expect("a fresh directory opens");
        Self { embedded, _dir: dir }
    }

    pub(crate) fn url(&self) -> &'static str {
        ENDPOINT_URL
    }
}

/// An engine in a fresh directory, served on the loopback address.
pub(crate) struct OverHttp {
    pub(crate) url: String,
    stop: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<()>,
}

impl OverHttp {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let engine = InProcess::start();
            let shutdown = async { drop(stopped.await) };
            engine
                .embedded
                .serve(listener, shutdown)
                .await
                .expect("the listener works");
        });
        Self {
            url: format!("http://{address}"),
            stop,
            server,
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).expect("the server still runs");
        timeout(CASE_LIMIT, self.server)
            .await
            .expect("it ends in time")
            .expect("it ends well");
    }
}

/// The address in an environment variable of an independent server, see `tests/oracles.sh`.
pub(crate) fn oracle(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|url| !url.is_empty())
}
