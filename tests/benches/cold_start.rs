//! Cost of starting each function: time from exec to its first request for an event, memory by then, size of binary and upload.
//!
//!     TIELINE_BIN_DIR=$(bash tests/programs.sh) cargo bench -p tieline-tests --bench cold_start
//!
//! Targets: webhook under 6 ms and under 4 MiB to upload, none over 6 MiB. No network request precedes the first event
//! where the data key is configured; with KMS the first start of an instance also waits for one read and one decryption of the key.

#![expect(clippy::print_stdout, reason = "a benchmark prints its numbers")]

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use tieline_aws::environment::variables;
use tieline_tests::cloud::FUNCTIONS;
use tieline_tests::lambda::{bundle_size, measure_cold_start};
use tieline_tests::process::binary;

const N_STARTS: usize = 40;
const MIB: f64 = 1024.0 * 1024.0;

#[tokio::main]
async fn main() -> Result<()> {
    println!(
        "{:<11} {:>8} {:>8} {:>10} {:>10} {:>10}",
        "function", "p50 ms", "p95 ms", "memory MiB", "binary MiB", "zip MiB"
    );
    for name in FUNCTIONS {
        let binary = binary(name)?;
        let cold = measure_cold_start(&binary, &environment(), N_STARTS).await?;
        let memory = cold
            .peak_rss_bytes
            .context("peak memory is not available on this system")?;
        println!(
            "{name:<11} {:>8.2} {:>8.2} {:>10.1} {:>10.2} {:>10.2}",
            cold.p50.as_secs_f64() * 1e3,
            cold.p95.as_secs_f64() * 1e3,
            mib(memory),
            mib(cold.binary_bytes),
            mib(bundle_size(&binary)?),
        );
    }
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

/// The minimum that a function needs to start. Nothing listens at these addresses.
fn environment() -> BTreeMap<String, String> {
    let own = [
        (variables::CONFIG_TABLE, "config"),
        (variables::STATE_TABLE, "state"),
        (variables::LEASES_TABLE, "leases"),
        (variables::INBOUND_QUEUE, "http://127.0.0.1:9/1/inbound.fifo"),
        (variables::WORK_QUEUE, "http://127.0.0.1:9/1/work"),
        (variables::PUBLIC_URL, "https://bridge.example"),
        (
            variables::MASTER_KEY,
            "0707070707070707070707070707070707070707070707070707070707070707",
        ),
        (
            variables::ADMIN_TOKEN,
            "token-of-the-benchmark-9f86d081884c7d659a2feaa0c55ad015",
        ),
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9"),
    ];
    own.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}
