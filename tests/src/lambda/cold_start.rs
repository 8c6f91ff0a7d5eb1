//! Cost of a function's cold start.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::sync::watch;

use super::config::Config;
use super::instance::{Instance, Spec};
use super::logs::Logs;

/// Measurements of a number of cold starts.
#[derive(Clone, Debug)]
pub struct ColdStart {
    /// Number of starts measured.
    pub n_starts: usize,
    /// Half of the starts took at most this long from the start of the process to its first request for an event.
    pub p50: Duration,
    /// 95 of 100 starts took at most this long.
    pub p95: Duration,
    /// The maximum resident memory of any of them by then, in bytes. `None` where the system doesn't report it.
    pub peak_rss_bytes: Option<u64>,
    /// Size of the executable in bytes.
    pub binary_bytes: u64,
}

/// Starts `binary` `n` times, one after the other, and measures until it asks for its first event.
///
/// # Errors
/// `n` is zero, the binary can't be read or started, or it doesn't ask for an event within 10 s.
pub async fn measure_cold_start(binary: &Path, env: &BTreeMap<String, String>, n: usize) -> Result<ColdStart> {
    let binary_bytes = std::fs::metadata(binary)
        .with_context(|| format!("no binary at {}", binary.display()))?
        .len();
    let config = Config::default();
    let spec = Spec {
        function: "cold-start".to_owned(),
        arn: "arn:aws:lambda:us-east-1:123456789012:function:cold-start".to_owned(),
        binary: binary.to_owned(),
        env: env.clone(),
        memory_mb: 256,
        region: config.region,
        freeze_idle: false,
        group: None,
    };
    let (mut took, mut peak) = (Vec::with_capacity(n), None);
    for _ in 0..n {
        let logs = Arc::new(Logs::new(100));
        let (_kill, mut killed) = watch::channel(false);
        let start = Instant::now();
        let instance = Instance::start(&spec, Arc::clone(&logs)).await?;
        let instance = match instance.ready(config.init_timeout, &mut killed).await {
            Ok(instance) => instance,
            Err(outcome) => bail!(
                "{} did not request an event: {outcome:?} {:?}",
                binary.display(),
                logs.tail(10)
            ),
        };
        took.push(start.elapsed());
        peak = peak.max(peak_rss(instance.pid()));
        instance.end().await;
    }
    took.sort_unstable();
    let (Some(p50), Some(p95)) = (percentile(&took, 50), percentile(&took, 95)) else {
        bail!("nothing to measure: n is 0")
    };
    Ok(ColdStart {
        n_starts: n,
        p50,
        p95,
        peak_rss_bytes: peak,
        binary_bytes,
    })
}

/// The process's maximum resident memory so far, in bytes (`VmHWM`).
///
/// See [Linux manual/proc_pid_status(5)](https://man7.org/linux/man-pages/man5/proc_pid_status.5.html).
pub(super) fn peak_rss(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kb: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse()
        .ok()?;
    Some(kb * 1024)
}

/// The smallest value that `percent` of 100 values don't exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let ms = |n| Duration::from_millis(n);
        let values: Vec<_> = (1..=20).map(ms).collect();
        assert_eq!(percentile(&values, 50), Some(ms(10)));
        assert_eq!(percentile(&values, 95), Some(ms(19)));
        assert_eq!(percentile(&values[..1], 95), Some(ms(1)));
        assert_eq!(percentile(&[], 50), None);
    }
}
