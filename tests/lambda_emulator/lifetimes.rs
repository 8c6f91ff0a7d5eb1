//! How instances end, and what they do between invocations.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tieline_tests::lambda::{Config, Emulator, FunctionConfig, Outcome, Source};

use super::{Journal, PROBE, pid_of, probe, start, state, until, until_true};

#[tokio::test]
async fn instance_dies_at_its_deadline() {
    let emulator = start([FunctionConfig {
        timeout: Duration::from_millis(400),
        concurrency: 1,
        ..probe()
    }])
    .await;
    let function = emulator.function("probe");
    let first = pid_of(&function.invoke(&json!({ "do": "ok" })).await);
    let begin = Instant::now();
    let outcome = function.invoke(&json!({ "do": "sleep", "ms": 60_000 })).await;
    assert_eq!(
        outcome,
        Outcome::TimedOut {
            after: Duration::from_millis(400)
        }
    );
    assert!(begin.elapsed() >= Duration::from_millis(400) && begin.elapsed() < Duration::from_secs(20));
    assert_eq!(state(first), None);
    assert_ne!(pid_of(&function.invoke(&json!({ "do": "ok" })).await), first);
    let stats = function.stats();
    assert_eq!(
        (stats.timeouts, stats.errors, stats.crashes, stats.cold_starts),
        (1, 1, 0, 2)
    );
    assert!(
        function
            .logs(10)
            .iter()
            .any(|line| line.source == Source::Platform && line.text.contains("timed out"))
    );
}

#[tokio::test]
async fn panic_and_error_fail_one_invocation_but_keep_the_instance() {
    let emulator = start([FunctionConfig {
        concurrency: 1,
        ..probe()
    }])
    .await;
    let function = emulator.function("probe");
    let first = pid_of(&function.invoke(&json!({ "do": "ok" })).await);
    for (order, message) in [("panic", "ordered to panic"), ("fail", "ordered to fail")] {
        let outcome = function.invoke(&json!({ "do": order })).await;
        assert!(
            matches!(&outcome, Outcome::Failed { message: m, .. } if m.contains(message)),
            "{outcome:?}"
        );
    }
    assert_eq!(pid_of(&function.invoke(&json!({ "do": "ok" })).await), first);
    assert_eq!((function.stats().errors, function.stats().crashes), (2, 0));
}

#[tokio::test]
async fn crash_fails_one_invocation_and_ends_the_instance() {
    let emulator = start([FunctionConfig {
        concurrency: 1,
        ..probe()
    }])
    .await;
    let function = emulator.function("probe");
    for (order, how) in [("exit", "exit status: 3"), ("abort", "signal: 6 (SIGABRT)")] {
        let outcome = function.invoke(&json!({ "do": order })).await;
        assert!(
            matches!(&outcome, Outcome::Crashed { how: h } if h.starts_with(how)),
            "{outcome:?}"
        );
    }
    pid_of(&function.invoke(&json!({ "do": "ok" })).await);
    assert_eq!((function.stats().crashes, function.stats().cold_starts), (2, 3));
}

#[tokio::test]
async fn instances_can_be_killed_idle_or_at_work() {
    let emulator = start([probe()]).await;
    let function = emulator.function("probe");
    assert!(!function.kill_one().await);
    let first = pid_of(&function.invoke(&json!({ "do": "ok" })).await);
    until_true(function, || state(first) == Some('T')).await;
    assert!(function.kill_one().await);
    assert_eq!((state(first), function.stats().crashes), (None, 0));

    let at_work = |_| {
        let function = Arc::clone(function);
        tokio::spawn(async move { function.invoke(&json!({ "do": "sleep", "ms": 60_000 })).await })
    };
    let invocations: Vec<_> = (0..3).map(at_work).collect();
    until_true(function, || function.pids().len() == 3).await;
    let pids = function.pids();
    assert!(function.kill_one().await);
    assert_eq!(function.pids().len(), 2);
    emulator.kill_all().await;
    assert!(pids.iter().all(|pid| state(*pid).is_none()));
    for invocation in invocations {
        let outcome = invocation.await.unwrap();
        assert!(
            matches!(&outcome, Outcome::Crashed { how } if how.contains("SIGKILL")),
            "{outcome:?}"
        );
    }
    assert_eq!((function.stats().crashes, function.stats().running), (3, 0));
}

#[tokio::test]
async fn idle_instance_is_frozen() {
    let journal = Journal::new();
    let emulator = start([FunctionConfig {
        concurrency: 1,
        ..journal.probe()
    }])
    .await;
    let function = emulator.function("probe");
    let pid = pid_of(&function.invoke(&json!({ "do": "later", "ms": 500 })).await);
    until_true(function, || state(pid) == Some('T')).await;
    // Twice as long as the remaining work would need.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(journal.lines(), [] as [Value; 0]);
    assert_eq!(
        pid_of(&function.invoke(&json!({ "do": "sleep", "ms": 100 })).await),
        pid
    );
    assert_eq!(journal.steps("later").len(), 1);
}

#[tokio::test]
async fn deploy_lets_old_instances_finish_and_starts_new_ones() {
    let emulator = start([probe().env("V", "1")]).await;
    let function = emulator.function("probe");
    let idle = pid_of(&function.invoke(&json!({ "do": "ok" })).await);
    let busy = tokio::spawn({
        let function = Arc::clone(function);
        async move { function.invoke(&json!({ "do": "sleep", "ms": 1_000 })).await }
    });
    until_true(function, || function.stats().running == 1).await;
    function
        .deploy(PROBE, BTreeMap::from([("V".to_owned(), "2".to_owned())]))
        .await;
    let new = function.invoke(&json!({ "do": "context" })).await;
    assert_eq!(new.json().unwrap()["env"]["V"], "2");
    let old = pid_of(&busy.await.unwrap());
    assert_ne!(pid_of(&new), old);
    until_true(function, || state(old).is_none() && state(idle).is_none()).await;
    assert_eq!(function.stats().errors, 0);
    for _ in 0..3 {
        assert_eq!(
            function.invoke(&json!({ "do": "context" })).await.json().unwrap()["env"]["V"],
            "2"
        );
    }
}

#[tokio::test]
async fn only_a_function_with_an_extension_gets_sigterm() {
    // The second function handles the signal, but has not registered an extension.
    for (variable, expected) in [("PROBE_GRACEFUL", 1), ("PROBE_SIGTERM", 0)] {
        let journal = Journal::new();
        let emulator = start([journal.probe().env(variable, "1")]).await;
        let pid = pid_of(&emulator.function("probe").invoke(&json!({ "do": "ok" })).await);
        emulator.shutdown().await;
        assert_eq!((state(pid), journal.steps("sigterm").len()), (None, expected));
    }
}

#[tokio::test]
async fn shutdown_waits_for_running_invocations() {
    let emulator = start([probe()]).await;
    let function = Arc::clone(emulator.function("probe"));
    let busy = tokio::spawn({
        let function = Arc::clone(&function);
        async move { function.invoke(&json!({ "do": "sleep", "ms": 300 })).await }
    });
    until_true(&function, || function.stats().running == 1).await;
    emulator.shutdown().await;
    assert_eq!(state(pid_of(&busy.await.unwrap())), None);
    assert_eq!(function.stats().errors, 0);
}

#[tokio::test]
async fn instances_end_with_the_emulator() {
    let emulator = start([probe()]).await;
    let function = Arc::clone(emulator.function("probe"));
    pid_of(&function.invoke(&json!({ "do": "ok" })).await);
    let busy = |_| {
        let function = Arc::clone(&function);
        tokio::spawn(async move { function.invoke(&json!({ "do": "sleep", "ms": 60_000 })).await })
    };
    let invocations: Vec<_> = (0..2).map(busy).collect();
    until_true(&function, || function.pids().len() >= 2).await;
    let pids = function.pids();
    let address = emulator.url().to_owned();
    drop(emulator);
    until_true(&function, || pids.iter().all(|pid| state(*pid).is_none())).await;
    for invocation in invocations {
        assert!(matches!(invocation.await.unwrap(), Outcome::Crashed { .. }));
    }
    until(&function, || async {
        reqwest::get(&address).await.is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn frozen_instance_dies_with_a_test_that_is_killed() {
    const NAME: &str = "lifetimes::frozen_instance_dies_with_a_test_that_is_killed";
    const NOTE: &str = "VICTIM_NOTE";
    let emulator = start([probe()]).await;
    let function = emulator.function("probe");
    if let Some(note) = std::env::var_os(NOTE) {
        let pid = pid_of(&function.invoke(&json!({ "do": "ok" })).await);
        until_true(function, || state(pid) == Some('T')).await;
        std::fs::write(note, format!("{pid}\n")).unwrap();
        return std::future::pending().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("pid");
    let mut victim = tokio::process::Command::new(std::env::current_exe().unwrap());
    victim
        .args(["--exact", NAME])
        .env(NOTE, &note)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut victim = victim.kill_on_drop(true).spawn().unwrap();
    let noted = || std::fs::read_to_string(&note).ok()?.strip_suffix('\n')?.parse().ok();
    let pid = until(function, || async { noted() }).await;
    assert_eq!(state(pid), Some('T'));
    victim.kill().await.unwrap();
    until_true(function, || state(pid).is_none()).await;
}

#[tokio::test]
async fn idle_instances_end_after_their_limit() {
    let idle_limit = Some(Duration::from_millis(100));
    let emulator = Emulator::start(Config {
        functions: vec![probe()],
        idle_limit,
        ..Config::default()
    })
    .await
    .unwrap();
    let function = emulator.function("probe");
    let pid = pid_of(&function.invoke(&json!({ "do": "ok" })).await);
    until_true(function, || state(pid).is_none() && function.pids().is_empty()).await;
    assert_ne!(pid_of(&function.invoke(&json!({ "do": "ok" })).await), pid);
}
