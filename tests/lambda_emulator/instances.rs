//! Instances: their environment, their number, their start.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tieline_tests::lambda::{AtCapacity, Config, Emulator, FunctionConfig, Outcome, Source, measure_cold_start};

use super::{PROBE, pid_of, probe, start, until_true};

#[tokio::test]
async fn function_gets_the_context_that_the_runtime_api_documents() {
    // A variable that must not be passed on exists to begin with.
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
async fn function_at_its_concurrency_limit_refuses_if_configured() {
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
async fn cold_start_is_measured() {
    let cold = measure_cold_start(Path::new(PROBE), &BTreeMap::new(), 5).await.unwrap();
    assert!(
        cold.p50 <= cold.p95 && cold.p95 < Duration::from_secs(10),
        "expected ordered percentiles below 10 s, found {cold:?}"
    );
    assert!(
        cold.peak_rss_bytes.unwrap() > 1_000_000,
        "expected more than 1 MB of peak memory, found {cold:?}"
    );
    let failing = BTreeMap::from([("PROBE_INIT".to_owned(), "exit".to_owned())]);
    assert!(measure_cold_start(Path::new(PROBE), &failing, 1).await.is_err());
}
