//! Instances: what a function gets, how it is started, frozen, killed and replaced.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tieline_tests::lambda::{AtCapacity, Config, Emulator, FunctionConfig, Outcome, Source, measure_cold_start};

use super::{Journal, PROBE, probe, state, until, until_true};

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

#[tokio::test]
async fn function_gets_what_the_runtime_api_promises() {
    // What must not get through is there to begin with.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let emulator = start([probe().env("OWN", "value")]).await;
    let before = unix_ms();
    let answer = emulator
        .function("probe")
        .invoke(&json!({ "do": "context" }))
        .await
        .json()
        .unwrap();
    assert_eq!(answer["arn"], "arn:aws:lambda:us-east-1:123456789012:function:probe");
    assert_eq!(answer["request_id"].as_str().unwrap().len(), 36);
    assert!(answer["trace_id"].as_str().unwrap().starts_with("Root=1-"));
    let left = answer["deadline_ms"].as_u64().unwrap() - before;
    assert!((10_000..20_000).contains(&left), "{left} ms");
    let env = &answer["env"];
    assert_eq!(
        (&env["OWN"], &env["AWS_LAMBDA_FUNCTION_NAME"]),
        (&json!("value"), &json!("probe"))
    );
    assert_eq!(
        (&env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], &env["AWS_REGION"]),
        (&json!("128"), &json!("us-east-1"))
    );
    assert_eq!(env.get("CARGO_MANIFEST_DIR"), None);
}

fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

#[tokio::test]
async fn eight_instances_work_in_parallel_and_a_ninth_invocation_waits() {
    let emulator = start([FunctionConfig {
        concurrency: 8,
        ..probe()
    }])
    .await;
    let function = emulator.function("probe");
    let invoke = |_| {
        let function = Arc::clone(function);
        tokio::spawn(async move { function.invoke(&json!({ "do": "sleep", "ms": 300 })).await })
    };
    let mut pids = HashMap::new();
    for invocation in (0..16).map(invoke).collect::<Vec<_>>() {
        *pids.entry(pid_of(&invocation.await.unwrap())).or_insert(0) += 1;
    }
    let stats = function.stats();
    assert_eq!(
        (pids.len(), stats.cold_starts, stats.peak_running, stats.running),
        (8, 8, 8, 0)
    );
    assert_eq!((stats.invocations, stats.errors), (16, 0));
    assert!(function.peak_rss_bytes().unwrap() > 1_000_000);
}

#[tokio::test]
async fn full_function_refuses_if_told_so() {
    let emulator = start([FunctionConfig {
        concurrency: 1,
        at_capacity: AtCapacity::Throttle,
        ..probe()
    }])
    .await;
    let function = emulator.function("probe");
    let busy = tokio::spawn({
        let function = Arc::clone(function);
        async move { function.invoke(&json!({ "do": "sleep", "ms": 500 })).await }
    });
    until_true(function, || function.stats().running == 1).await;
    assert_eq!(function.invoke(&json!({})).await, Outcome::Throttled);
    pid_of(&busy.await.unwrap());
    assert_eq!((function.stats().throttles, function.stats().invocations), (1, 1));
}

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
async fn panic_and_error_cost_one_invocation_but_not_the_instance() {
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
async fn crash_costs_one_invocation_and_the_instance() {
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
async fn idle_instance_stands_still() {
    let journal = Journal::new();
    let emulator = start([FunctionConfig {
        concurrency: 1,
        ..journal.probe()
    }])
    .await;
    let function = emulator.function("probe");
    let pid = pid_of(&function.invoke(&json!({ "do": "later", "ms": 500 })).await);
    until_true(function, || state(pid) == Some('T')).await;
    // Twice as long as the work left running would need.
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
async fn instance_that_cannot_start_fails_its_invocation() {
    let functions = vec![
        FunctionConfig {
            name: "exits".to_owned(),
            ..probe().env("PROBE_INIT", "exit")
        },
        FunctionConfig {
            name: "hangs".to_owned(),
            ..probe().env("PROBE_INIT", "hang")
        },
        FunctionConfig::new("absent", "/nonexistent/bootstrap"),
    ];
    let init_timeout = Duration::from_millis(500);
    let emulator = Emulator::start(Config {
        functions,
        init_timeout,
        ..Config::default()
    })
    .await
    .unwrap();
    let invoke = async |name: &str| emulator.function(name).invoke(&json!({})).await;
    assert_eq!(
        invoke("exits").await,
        Outcome::Crashed {
            how: "exit status: 7".to_owned()
        }
    );
    let hangs = invoke("hangs").await;
    assert!(
        matches!(&hangs, Outcome::Failed { error_type, .. } if error_type == "Sandbox.Timedout"),
        "{hangs:?}"
    );
    let absent = invoke("absent").await;
    assert!(
        matches!(&absent, Outcome::Failed { error_type, .. } if error_type == "Runtime.InvalidEntrypoint"),
        "{absent:?}"
    );
    assert!(
        emulator
            .functions()
            .all(|function| function.pids().is_empty() && function.stats().errors == 1)
    );
}

#[tokio::test]
async fn logs_are_kept_per_function() {
    let emulator = start([probe()]).await;
    let function = emulator.function("probe");
    let pid = pid_of(&function.invoke(&json!({ "do": "print" })).await);
    until_true(function, || function.logs(10).len() == 3).await;
    let logs = function.logs(10);
    let has = |source, text: &str| {
        logs.iter()
            .any(|line| (line.pid, line.source, &*line.text) == (pid, source, text))
    };
    assert!(
        has(Source::Stdout, "plain line") && has(Source::Stderr, "error line"),
        "{logs:?}"
    );
    assert_eq!(
        function.json_logs(),
        [json!({ "level": "INFO", "message": "json line" })]
    );
}

#[tokio::test]
async fn only_a_function_with_an_extension_is_asked_to_end() {
    // The second would notice a signal, but nobody registered it to get one.
    for (variable, expected) in [("PROBE_GRACEFUL", 1), ("PROBE_SIGTERM", 0)] {
        let journal = Journal::new();
        let emulator = start([journal.probe().env(variable, "1")]).await;
        let pid = pid_of(&emulator.function("probe").invoke(&json!({ "do": "ok" })).await);
        emulator.shutdown().await;
        assert_eq!((state(pid), journal.steps("sigterm").len()), (None, expected));
    }
}

#[tokio::test]
async fn shutdown_waits_for_what_is_under_way() {
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
async fn everything_dies_with_the_emulator() {
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

#[tokio::test]
async fn cold_start_is_measured() {
    let cold = measure_cold_start(Path::new(PROBE), &BTreeMap::new(), 5).await.unwrap();
    assert!(cold.p50 <= cold.p95 && cold.p95 < Duration::from_secs(10), "{cold:?}");
    assert!(cold.peak_rss_bytes.unwrap() > 1_000_000, "{cold:?}");
    let failing = BTreeMap::from([("PROBE_INIT".to_owned(), "exit".to_owned())]);
    assert!(measure_cold_start(Path::new(PROBE), &failing, 1).await.is_err());
}
