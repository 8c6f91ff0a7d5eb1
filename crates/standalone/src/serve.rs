//! `tieline serve`: the whole bridge in this process.

use std::future::IntoFuture as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tieline_bridge::pollers::{self, Concurrency};
use tieline_bridge::world::{Settings, World, random};
use tieline_connectors::registry;
use tieline_core::conversation::Owner;
use tieline_core::secret::Secret;
use tieline_embedded::{Durability, Embedded, InHand, Options};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::args::Serve;
use crate::{data, edge, local, seed};

/// How long runs may go on after SIGTERM; what is not finished then goes on at the next start.
const DRAIN: Duration = Duration::from_secs(8);

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If the data directory, the address or the engines can't be had.
pub async fn serve(args: Serve) -> anyhow::Result<()> {
    data::prepare(&args.data_dir)?;
    let key = data::master_key(&args.data_dir)?;
    let token = data::admin_token(&args.data_dir, args.admin_token.as_deref())?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("can't listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    let public_url = args.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let durability = if args.durable {
        Durability::PowerLoss
    } else {
        Durability::ProcessCrash
    };
    let options = Options {
        durability,
        // Nobody else reads these queues: what was in hand was in a life of ours that is over.
        in_hand: InHand::Returned,
        ..Options::default()
    };
    let embedded = Embedded::open(&args.data_dir, options)?;
    let world = local::world(&embedded, key, registry::ALL, settings(&public_url, &args, &token)).await?;
    seed::seed(&world, &args.data_dir).await?;

    let (stop, stopped) = watch::channel(false);
    let concurrency = Concurrency {
        dispatchers: 8,
        runs: 2048,
    };
    let dispatching = tokio::spawn(pollers::dispatch(world.clone(), concurrency, stopped.clone()));
    let running = tokio::spawn(pollers::run(world.clone(), concurrency, stopped.clone()));
    let serving = tokio::spawn(axum::serve(listener, router(&world)).into_future());
    greet(&address.to_string(), &token);

    wait_for_signal().await?;
    info!("stopping");
    stop.send_replace(true);
    let drained = timeout(DRAIN, async {
        let _ = tokio::join!(dispatching, running);
    });
    if drained.await.is_err() {
        warn!("runs that are not finished go on at the next start");
    }
    // Until now, so that polls of running answers were served while these were finished.
    serving.abort();
    embedded.close().await;
    info!("stopped");
    Ok(())
}

/// The settings of one machine. At most one process has the data directory, so all its lives are one node.
fn settings(public_url: &str, args: &Serve, token: &Secret) -> Settings {
    let owner = Owner {
        node: "standalone".to_owned(),
        life: hex::encode(random::<8>()),
    };
    Settings {
        allow_private: args.allow_private_endpoints,
        root_token: Some(token.clone()),
        ..Settings::new(public_url.trim_end_matches('/').to_owned(), owner)
    }
}

/// What platforms ask, what operators and agents ask, and the console: on one address.
fn router(world: &World) -> Router {
    tieline_admin::router(world.clone()).merge(edge::router(world.clone()))
}

/// The console's address, with a sign-in token in the fragment, which no server ever sees.
fn greet(address: &str, token: &Secret) {
    let url = format!("http://{address}/#token={}", token.expose());
    info!("listening on {address}");
    if std::io::stdout().is_terminal() {
        say(&format!("\n  Tieline is running. Open the console:\n\n    {url}\n"));
    } else {
        say(&format!("console: {url}"));
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the answer to the command, not a log line; the token must not be in the log"
)]
fn say(text: &str) {
    println!("{text}");
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
