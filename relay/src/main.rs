//! Container program `relay`: holds long connections, and runs wake-ups for their bots, or all of them. See `supervise`.

// The compiler counts how deep the futures of a whole run are nested.
#![recursion_limit = "256"]

mod config;
mod health;
mod supervise;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use mimalloc::MiMalloc;
use tieline_aws::shutdown::Signals;
use tieline_aws::{health_check, logging, start};
use tieline_bridge::world::World;
use tieline_connectors::registry;

/// mimalloc: an idle relay takes a quarter less processor time than with the GNU C library's allocator; the image's C library has a slower one.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long a wake-up waits for a slot before it returns to the queue.
const SLOT_WAIT: Duration = Duration::from_secs(20);

fn main() -> anyhow::Result<ExitCode> {
    let get = |name: &str| std::env::var(name).ok();
    // The image has no shell and no curl, so the program is its own health check.
    if std::env::args().nth(1).as_deref() == Some("health") {
        return Ok(health_check::check(config::listen(get)?));
    }
    logging::start(get);
    tieline_server::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(get))
}

async fn run(get: impl Fn(&str) -> Option<String>) -> anyhow::Result<ExitCode> {
    // Before anything that takes time: the first process of a container ignores signals without a handler.
    let mut signals = Signals::listen()?;
    let listen = config::listen(&get)?;
    let world = tokio::select! {
        world = open(get) => world?,
        () = signals.received() => return Ok(ExitCode::SUCCESS),
    };
    supervise::supervise(world, listen, signals).await?;
    Ok(ExitCode::SUCCESS)
}

async fn open(get: impl Fn(&str) -> Option<String>) -> anyhow::Result<World> {
    let world = start::container_world(get, registry::ALL)
        .await
        .context("can't start")?;
    let world = world.exposed();
    let slots = world.settings.slots;
    let world = world.with_slots(slots, SLOT_WAIT);
    world.http.warm().context("can't set up TLS")?;
    Ok(world)
}
