//! `tieline serve`: the whole bridge in this process.

use std::future::pending;
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_credential_types::provider::SharedCredentialsProvider;
use axum::Router;
use tieline_bridge::connections::{self, Connections};
use tieline_bridge::pollers::{self, Concurrency};
use tieline_bridge::tenant_slots::SlotLimits;
use tieline_bridge::world::{Settings, World, random};
use tieline_connectors::registry;
use tieline_core::conversation::Owner;
use tieline_core::secret::Secret;
use tieline_embedded::{Durability, Embedded, InHand, Options};
use tieline_server::{Limits, TrustedProxies};
use tieline_store::config::organization::DEFAULT;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::{info, warn};
use url::Url;

use crate::apply::File;
use crate::args::Serve;
use crate::aws_credentials::LazyCredentials;
use crate::client::Client;
use crate::metrics_route::{self, Held};
use crate::{apply, client_address, data, local, seed, webhook_routes};

/// Memory budget for agents' answers: this process runs those of all bots.
const MAX_ANSWERS_BYTES: usize = 256 * 1024 * 1024;
/// Maximum number of runs and deliveries that use the embedded tables concurrently; the tables process one request at a time.
const MAX_WORKING: usize = 16;

/// Poll interval of a reply that may be a merged one, which shows another reply's text.
const REPLY_LOOK: Duration = Duration::from_millis(500);

/// How long a wake-up waits for a slot before it is returned to the queue.
const SLOT_WAIT: Duration = Duration::from_secs(20);

/// How long runs may continue after SIGTERM; unfinished runs continue at the next start.
const DRAIN: Duration = Duration::from_secs(7);

/// How long closing the long connections may take after that.
const HANG_UP: Duration = Duration::from_millis(2000);

/// How long threads may continue after that, whatever they do.
const HARD_STOP: Duration = Duration::from_millis(500);

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If the configuration file can't be applied, or if the data directory, the address or the engines can't be opened or are lost.
pub fn run(args: Serve) -> anyhow::Result<()> {
    data::close_to_others();
    tieline_server::raise_limit();
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(args));
    runtime.shutdown_timeout(HARD_STOP);
    served
}

async fn serve(args: Serve) -> anyhow::Result<()> {
    let config = args.config.as_deref().map(apply::read).transpose()?;
    // Before anything that takes time: as the first process of a container (PID 1) it ignores signals without a handler.
    let mut signals = Signals::listen()?;
    data::prepare(&args.data_dir)?;
    let _lock = data::lock(&args.data_dir)?;
    let token = data::admin_token(&args.data_dir, args.admin_token.as_deref(), reached_by(&args))?;
    let listener = listen(args.listen).await?;
    let address = listener.local_addr()?;
    let public_url = args.public_url.clone().unwrap_or_else(|| reachable(address));
    let embedded = Embedded::open(&args.data_dir, engine_options(&args))?;
    let keys = local::Keys::In(args.data_dir.clone());
    let world = local::world(&embedded, keys, registry::ALL, settings(&public_url, &args, &token)).await?;
    seed::seed(
        &world,
        &args.data_dir,
        seed::language_of(args.locale.as_deref().unwrap_or_default()),
    )
    .await?;

    let limits = limits(&args);
    let workers = Workers::start(&world)?;
    let mut serving = JoinSet::new();
    let opening = async {
        if let Some(file) = config {
            configure(&world, &token, &file).await?;
        }
        // Until now, connecting clients wait, so that none is served before the configuration is applied.
        let (held, proxies) = (Arc::clone(&workers.connections), limits.trusted_proxies.clone());
        let routes = router(&world).merge(metrics_route::router(world.clone(), held, proxies));
        let routes = client_address::noted(routes);
        serving.spawn(tieline_server::serve(listener, routes, limits.clone()));
        serving.spawn(tieline_admin::periodic::run(world.clone()));
        serving.spawn(tieline_admin::keys::watch(world.clone()));
        greet(address, &token, is_given(&args));
        pending::<anyhow::Result<()>>().await
    };

    tokio::select! {
        failed = opening => return failed,
        () = signals.received() => {}
        // Nothing can be accepted or finished any more: the process supervisor must restart it.
        () = embedded.ended() => bail!("the storage has ended by itself, which the log explains"),
    }
    info!("stopping");
    workers.stop().await;
    // Only now, so that polls of running answers were served while the runs were finished.
    serving.abort_all();
    embedded.close().await;
    info!("stopped");
    Ok(())
}

/// Who can reach the API. A proxy on this machine forwards the requests of others.
fn reached_by(args: &Serve) -> data::Reach {
    if args.listen.ip().is_loopback() && args.trusted_proxies.is_empty() {
        data::Reach::ThisMachine
    } else {
        data::Reach::Others
    }
}

/// The tasks that process queues and hold long connections.
struct Workers {
    stop: watch::Sender<bool>,
    dispatching: JoinHandle<()>,
    running: JoinHandle<()>,
    connections: Held,
}

impl Workers {
    fn start(world: &World) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let concurrency = Concurrency::of(world, 8);
        let dispatching = tokio::spawn(pollers::dispatch(world.clone(), concurrency, stopped.clone()));
        let running = tokio::spawn(pollers::run(world.clone(), concurrency, stopped));
        let started = Connections::start(world.clone(), connections::Options::default())?;
        let connections = Held::default();
        connections.get_or_init(|| started);
        Ok(Self {
            stop,
            dispatching,
            running,
            connections,
        })
    }

    /// Finishes runs and closes connections, each within its time limit.
    async fn stop(self) {
        self.stop.send_replace(true);
        let drained = timeout(DRAIN, async {
            let _ = tokio::join!(self.dispatching, self.running);
        });
        if drained.await.is_err() {
            warn!("unfinished runs will continue at the next start");
        }
        // Only now, so that answers that were being finished still had their connections.
        if let Some(connections) = self.connections.get()
            && timeout(HANG_UP, connections.stop()).await.is_err()
        {
            warn!("long connections did not close in time and are dropped");
        }
    }
}

fn engine_options(args: &Serve) -> Options {
    Options {
        durability: if args.durable {
            Durability::PowerLoss
        } else {
            Durability::ProcessCrash
        },
        // Only this process reads these queues: messages still marked as in flight were received before a restart.
        in_hand: InHand::Returned,
        ..Options::default()
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("can't listen on {address}; --listen takes another address"))
}

/// Applies the configuration file through the management API, on a temporary port that is closed afterwards.
async fn configure(world: &World, token: &Secret, file: &File) -> anyhow::Result<()> {
    let listener = listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await?;
    let address = listener.local_addr()?;
    let mut serving = JoinSet::new();
    serving.spawn(tieline_server::serve(
        listener,
        client_address::noted(router(world)),
        Limits::default().within_descriptors(),
    ));
    let client = Client::with(Url::parse(&reachable(address))?, token.clone(), DEFAULT)?;
    let mut show = |line: &str| {
        info!("config: {line}");
        Ok(())
    };
    let options = apply::Options::default();
    let done = apply::apply(&client, file, options, &mut show).await;
    let done = done.context("can't apply the configuration file")?.unwrap_or_default();
    info!("config: {}", done.sentence(options));
    Ok(())
}

/// A local address that connects to the listener.
fn reachable(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// The settings of one machine. At most one process uses the data directory, so all its restarts count as one node.
fn settings(public_url: &str, args: &Serve, token: &Secret) -> Settings {
    let owner = Owner {
        node: "standalone".to_owned(),
        life: hex::encode(random::<8>()),
    };
    Settings {
        allow_private: args.allow_private_endpoints.clone(),
        root_token: Some(token.clone()),
        aws_credentials: Some(SharedCredentialsProvider::new(LazyCredentials::default())),
        slots: SlotLimits {
            runs: args.max_runs.get(),
            deliveries: args.max_deliveries.get(),
            working: MAX_WORKING,
        },
        slot_wait: SLOT_WAIT,
        max_answers_bytes: MAX_ANSWERS_BYTES,
        // No other process can stop a run.
        stop_poll: Duration::MAX,
        // Nor can another process write a reply.
        reply_looks: (REPLY_LOOK, REPLY_LOOK),
        ..Settings::new(public_url.trim_end_matches('/').to_owned(), owner)
    }
}

/// Limits for clients: connections and time.
fn limits(args: &Serve) -> Limits {
    let limits = Limits {
        max_connections: args.max_connections,
        max_connections_per_peer: args.max_connections_per_address,
        trusted_proxies: TrustedProxies::new(args.trusted_proxies.clone()),
        ..Limits::default()
    };
    limits.within_descriptors()
}

/// Routes of the management API, the console, agents' callbacks and platforms' webhooks.
fn router(world: &World) -> Router {
    tieline_admin::router_with(world.clone(), webhook_routes::router(world.clone()))
}

/// Whether the token was given by the operator and not generated here.
fn is_given(args: &Serve) -> bool {
    args.admin_token.as_deref().is_some_and(|given| !given.is_empty())
}

/// Prints the console's URL, with a sign-in token in the fragment, which is never sent to a server. Output that isn't a terminal may be
/// stored, so a token that the operator chose isn't written there.
fn greet(address: SocketAddr, token: &Secret, is_given: bool) {
    let console = reachable(address);
    let signed_in = format!("{console}/#token={}", token.expose());
    info!("listening on {address}");
    match (std::io::stdout().is_terminal(), is_given) {
        (true, _) => say(&format!(
            "\n  Tieline is running. Open the console:\n\n    {signed_in}\n"
        )),
        (false, false) => say(&format!("console: {signed_in}")),
        (false, true) => say(&format!("console: {console}/")),
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the answer to the command, not a log line; the token must not be in the log"
)]
fn say(text: &str) {
    println!("{text}");
}

/// Signals that stop the process. Recorded from `listen` on, so that none is lost before `received` waits.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reachable_address_connects_to_the_listener() {
        #[track_caller]
        fn check(listen: &str, expected: &str) {
            assert_eq!(reachable(listen.parse().unwrap()), expected);
        }
        check("127.0.0.1:80", "http://127.0.0.1:80");
        check("0.0.0.0:80", "http://127.0.0.1:80");
        check("[::]:80", "http://[::1]:80");
        check("192.0.2.1:80", "http://192.0.2.1:80");
    }
}
