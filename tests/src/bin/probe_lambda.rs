//! A Lambda function that executes orders in its events, to test the emulator.
//!
//! An order is `{"do": ...}`: the event itself, the body of an HTTP event, or the body of an SQS record. Each step of a
//! record is also appended to the file in `PROBE_JOURNAL`, one line a step.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "functions log to their standard streams"
)]

use std::io::Write as _;
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match std::env::var("PROBE_INIT").as_deref() {
        Ok("exit") => std::process::exit(7),
        Ok("hang") => std::future::pending().await,
        _ => {}
    }
    if std::env::var_os("PROBE_GRACEFUL").is_some() {
        lambda_runtime::spawn_graceful_shutdown_handler(|| async { journal(&json!({ "step": "sigterm" })) }).await;
    }
    if std::env::var_os("PROBE_SIGTERM").is_some() {
        let mut sigterm = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::spawn(async move {
            sigterm.recv().await;
            journal(&json!({ "step": "sigterm" }));
        });
    }
    lambda_runtime::run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    if let Some(records) = event.payload["Records"].as_array() {
        return batch(records).await;
    }
    let order = match event.payload["body"].as_str() {
        Some(body) => serde_json::from_str(body).unwrap_or_default(),
        None => event.payload.clone(),
    };
    match order["do"].as_str() {
        Some("context") => Ok(json!({
            "request_id": event.context.request_id,
            "deadline_ms": event.context.deadline,
            "arn": event.context.invoked_function_arn,
            "trace_id": event.context.xray_trace_id,
            "pid": std::process::id(),
            "env": std::env::vars().collect::<std::collections::BTreeMap<_, _>>(),
        })),
        Some("answer") => Ok(order["answer"].clone()),
        Some("large") => Ok(json!(
            "x".repeat(usize::try_from(order["bytes"].as_u64().unwrap_or(0))?)
        )),
        Some(_) => obey(&order).await.map(|()| json!({ "pid": std::process::id() })),
        None => Ok(event.payload),
    }
}

/// Orders that end with success or never end.
async fn obey(order: &Value) -> Result<(), Error> {
    match order["do"].as_str().unwrap_or("ok") {
        "ok" => Ok(()),
        "sleep" => {
            tokio::time::sleep(Duration::from_millis(order["ms"].as_u64().unwrap_or(0))).await;
            Ok(())
        }
        "later" => {
            let ms = order["ms"].as_u64().unwrap_or(0);
            // Still running after the answer: on AWS it is frozen until the next event.
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                journal(&json!({ "step": "later" }));
            });
            Ok(())
        }
        "print" => {
            println!("plain line");
            println!("{}", json!({ "level": "INFO", "message": "json line" }));
            eprintln!("error line");
            Ok(())
        }
        "fail" => Err("ordered to fail".into()),
        "panic" => panic!("ordered to panic"),
        "exit" => std::process::exit(3),
        "abort" => std::process::abort(),
        other => Err(format!("no such order: {other}").into()),
    }
}

/// Processes a batch in order, reports the failed records, and stops a group at its first failure.
async fn batch(records: &[Value]) -> Result<Value, Error> {
    let mut failures = Vec::new();
    let mut stopped = Vec::new();
    for record in records {
        let group = &record["attributes"]["MessageGroupId"];
        let order: Value = serde_json::from_str(record["body"].as_str().unwrap_or_default()).unwrap_or_default();
        if let Some(answer) = order.get("batch_answer") {
            return Ok(answer.clone());
        }
        let fails = stopped.contains(group) || !work(record, &order).await?;
        if fails {
            failures.push(json!({ "itemIdentifier": record["messageId"] }));
            if !group.is_null() {
                stopped.push(group.clone());
            }
        }
    }
    Ok(json!({ "batchItemFailures": failures }))
}

/// Executes the order of a record, which fails up to `until_receive` times. Returns whether it succeeded.
async fn work(record: &Value, order: &Value) -> Result<bool, Error> {
    let received: u64 = record["attributes"]["ApproximateReceiveCount"]
        .as_str()
        .unwrap_or("1")
        .parse()?;
    let step = |step: &str| {
        journal(&json!({
            "step": step,
            "pid": std::process::id(),
            "group": record["attributes"]["MessageGroupId"],
            "n": order["n"],
            "received": received,
            "attributes": record["messageAttributes"],
        }));
    };
    step("begin");
    let is_due = received <= order["until_receive"].as_u64().unwrap_or(u64::MAX);
    if let Some(ms) = order["work_ms"].as_u64() {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    if is_due && matches!(order["do"].as_str(), Some("panic" | "exit" | "abort")) {
        // Written first: the process can't write anything afterwards.
        step("failed");
    }
    let succeeded = match order["do"].as_str() {
        Some("fail_item") if is_due => false,
        Some("fail_item") | None => true,
        Some(_) if is_due => obey(order).await.is_ok(),
        Some(_) => true,
    };
    step(if succeeded { "done" } else { "failed" });
    Ok(succeeded)
}

fn journal(line: &Value) {
    let Some(path) = std::env::var_os("PROBE_JOURNAL") else {
        return;
    };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    // One write per line: lines of several processes don't mix.
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if let Err(error) = written {
        eprintln!("can't write the journal: {error}");
    }
}
