//! Metrics of this process in Prometheus text format: totals since its start, and gauges.
//!
//! See [Prometheus Docs/Text-based format](https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format).

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;

use crate::connections::Health;
use crate::metrics::totals::{as_float, head, sample};
use crate::operator::{self, Denied};
use crate::world::World;

/// The `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// When to repeat a request whose token can't be checked, in seconds.
const RETRY_AFTER_S: u64 = 5;

/// Timeout for reading the queues' depths.
const QUEUES_WITHIN: Duration = Duration::from_secs(3);

/// Response to a program that may not read the metrics.
#[derive(Debug)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// Name and value of the header that says what is missing.
    pub header: (&'static str, String),
}

/// Headers by which a proxy names its client, or itself.
const FORWARDED_BY: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Whether a program on this machine makes a request itself, rather than a proxy for another client: that needs no token.
pub fn is_of_this_machine(peer: IpAddr, has_header: impl Fn(&str) -> bool) -> bool {
    peer.to_canonical().is_loopback() && !FORWARDED_BY.into_iter().any(has_header)
}

/// Checks that a request has the root token. A wrong token is counted against the address.
///
/// # Errors
/// [`Refused`].
pub async fn authorize(world: &World, authorization: Option<&str>, address: Option<IpAddr>) -> Result<(), Refused> {
    let wait = |seconds: u64| ("retry-after", seconds.to_string());
    let (status, header) = match operator::has_root_token(world, authorization, address).await {
        Ok(true) => return Ok(()),
        Ok(false) => (401, ("www-authenticate", "Bearer".to_owned())),
        Err(Denied::TooManyGuesses { retry_after_seconds }) => (429, wait(retry_after_seconds)),
        // The tables can't be read, so the token may be valid.
        Err(_) => (503, wait(RETRY_AFTER_S)),
    };
    Err(Refused { status, header })
}

/// All metrics of this process. `connections`: state of the long connections that it holds, if it holds any.
pub async fn render(world: &World, connections: Option<&Health>) -> String {
    let mut text = String::new();
    if let Some(totals) = world.metrics.totals() {
        totals.write(&mut text);
        let name = "tieline_runs_in_flight";
        head(&mut text, name, "gauge", "Runs of this process that ask an agent.");
        let _ = writeln!(text, "{name} {}", totals.runs.load(Ordering::Relaxed));
        let name = "tieline_agent_calls_total";
        head(&mut text, name, "counter", "How often this process asked an agent.");
        sample(&mut text, name, &[], as_float(world.metrics.n_asked()));
    }
    write_connections(&mut text, connections);
    for (name, help, n) in [
        (
            "tieline_table_errors_total",
            "Calls of this process to the tables that failed after all retries.",
            tieline_store::unavailable_count(),
        ),
        (
            "tieline_queue_errors_total",
            "Calls of this process to the queues that failed after all retries.",
            tieline_queue::unavailable_count(),
        ),
    ] {
        head(&mut text, name, "counter", help);
        sample(&mut text, name, &[], as_float(n));
    }
    write_queues(&mut text, world).await;
    text
}

fn write_connections(text: &mut String, connections: Option<&Health>) {
    let Some(health) = connections else { return };
    for (name, help, n) in [
        (
            "tieline_bots",
            "Bots whose connections this process has to hold.",
            health.bots,
        ),
        (
            "tieline_bots_connected",
            "Bots of those that are connected.",
            health.connected,
        ),
        (
            "tieline_shards",
            "Shards of connections that this process holds.",
            health.shards,
        ),
        (
            "tieline_events_waiting",
            "Events of connections that wait for the queue.",
            health.events_waiting,
        ),
        (
            "tieline_lease_valid",
            "1 if this process holds its leases.",
            usize::from(health.alive),
        ),
    ] {
        head(text, name, "gauge", help);
        let _ = writeln!(text, "{name} {n}");
    }
}

/// Depths of the queues. Left out if they can't be read in time: the error is logged.
async fn write_queues(text: &mut String, world: &World) {
    let depths = match timeout(QUEUES_WITHIN, tieline_queue::depths(&world.queues)).await {
        Ok(Ok(depths)) => depths,
        Ok(Err(error)) => return warn!(error = %error, "depth of the queues can't be read"),
        Err(_) => return warn!("depth of the queues can't be read in time"),
    };
    let name = "tieline_queue_messages";
    head(
        text,
        name,
        "gauge",
        "Messages of a queue: ready, delayed, or in flight.",
    );
    for depth in depths {
        for (state, n) in [
            ("ready", depth.ready),
            ("delayed", depth.delayed),
            ("in_flight", depth.in_flight),
        ] {
            sample(text, name, &[("queue", &depth.queue), ("state", state)], as_float(n));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tieline_core::secret::Secret;

    use super::*;
    use crate::run::fixture::PolledFixture;
    use crate::world::Settings;

    #[tokio::test]
    async fn only_the_root_token_may_read_metrics_and_wrong_ones_are_counted() {
        let it = PolledFixture::with(|_| ()).await;
        let mut world = it.world.clone();
        world.settings = Arc::new(Settings {
            root_token: Some(Secret::new("root-token")),
            ..(*world.settings).clone()
        });
        let address = Some(IpAddr::from([192, 0, 2, 1]));
        let refused = async |token: Option<&str>| {
            let answer = authorize(&world, token, address).await;
            answer.err().map(|refused| (refused.status, refused.header.0))
        };
        for token in [
            None,
            Some(""),
            Some("Bearer "),
            Some("root-token"),
            Some("Basic root-token"),
        ] {
            assert_eq!(refused(token).await, Some((401, "www-authenticate")), "{token:?}");
        }
        assert_eq!(refused(Some("Bearer root-token")).await, None);
        let mut answers = Vec::new();
        for _ in 0..21 {
            answers.push(refused(Some("Bearer wrong")).await);
        }
        assert_eq!(answers.first(), Some(&Some((401, "www-authenticate"))));
        assert_eq!(answers.last(), Some(&Some((429, "retry-after"))));
        assert_eq!(
            refused(Some("Bearer root-token")).await,
            None,
            "a valid token always works"
        );
    }
}
