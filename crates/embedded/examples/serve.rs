//! Serves both engines on the loopback address, in a process of its own.
//!
//! `serve ADDRESS DIR`, for instance `serve 127.0.0.1:0 data`. Prints the address it listens on, and ends on SIGTERM, on Ctrl-C, or
//! when its standard input is closed.

#![expect(clippy::print_stdout, reason = "the address on the standard output is the interface")]

use std::path::PathBuf;

use anyhow::Context as _;
use tieline_embedded::{Embedded, Options};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().context("usage: serve ADDRESS DIR")?;
    let dir = PathBuf::from(args.next().context("usage: serve ADDRESS DIR")?);

    let embedded = Embedded::open(&dir, Options::default())?;
    let listener = TcpListener::bind(&address).await?;
    println!("{}", listener.local_addr()?);
    let mut terminated = signal(SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
            () = parent_is_gone() => {}
        }
    };
    embedded.serve(listener, shutdown).await?;
    embedded.close().await;
    Ok(())
}

/// Ready when the other end of the standard input closes, so that a test that dies ends its server too.
async fn parent_is_gone() {
    let mut rest = Vec::new();
    // An error means the end too.
    let _ = tokio::io::stdin().read_to_end(&mut rest).await;
}
