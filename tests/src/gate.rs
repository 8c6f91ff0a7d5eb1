//! A TCP proxy on the loopback address in front of a server, which can simulate an outage of the server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::reserved_port::ReservedPort;

/// How long an opened gate waits for its address.
const BIND_WITHIN: Duration = Duration::from_secs(10);
/// Interval between two attempts.
const BIND_EVERY: Duration = Duration::from_millis(10);

/// Forwards connections to a server while it is open; while it is closed, cuts and refuses them.
#[derive(Debug, Clone)]
pub struct Gate {
    address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
    /// Number of times that connections were frozen.
    frozen: Arc<watch::Sender<u32>>,
}

impl Gate {
    /// An open gate in front of `server`.
    ///
    /// # Panics
    /// If the loopback address has no port left.
    pub async fn start(server: SocketAddr) -> Self {
        let port = ReservedPort::new().expect("a port is free");
        let address = port.address().expect("it is bound");
        let listening = bind(address).await.expect("the port is reserved");
        let gate = Self {
            address,
            open: Arc::new(watch::Sender::new(true)),
            frozen: Arc::default(),
        };
        let (open, frozen) = (gate.open.subscribe(), gate.frozen.subscribe());
        tokio::spawn(serve(port, listening, server, open, frozen));
        gate
    }

    /// The address on which it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection and refuses new ones.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    /// Keeps all current connections open, but forwards nothing on them any more. New connections are forwarded.
    pub fn freeze(&self) {
        self.frozen.send_modify(|times| *times += 1);
    }

    /// Forwards connections again.
    pub fn open(&self) {
        self.open.send_replace(true);
    }
}

/// Listens while the gate is open. A closed gate has no listener, so that connections are refused and not cut.
async fn serve(
    port: ReservedPort,
    mut listening: TcpListener,
    server: SocketAddr,
    mut open: watch::Receiver<bool>,
    frozen: watch::Receiver<u32>,
) {
    let address = port.address().expect("it is bound");
    loop {
        let mut closing = open.clone();
        tokio::select! {
            () = accept(&listening, server, &open, &frozen) => {}
            _ = closing.wait_for(|open| !open) => {}
        }
        drop(listening);
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
        listening = bind(address).await.expect("the port is reserved");
    }
}

/// Listens on the address. A process that was started while the gate was open has a copy of its listener until it runs its own program,
/// which may be later than the gate is closed and opened again.
async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let began = Instant::now();
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < BIND_WITHIN => {
                sleep(BIND_EVERY).await;
            }
            bound => return bound,
        }
    }
}

async fn accept(
    listener: &TcpListener,
    server: SocketAddr,
    open: &watch::Receiver<bool>,
    frozen: &watch::Receiver<u32>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let mut frozen = frozen.clone();
        frozen.mark_unchanged();
        tokio::spawn(pass(client, server, open.clone(), frozen));
    }
}

async fn pass(
    mut client: TcpStream,
    server: SocketAddr,
    mut open: watch::Receiver<bool>,
    mut frozen: watch::Receiver<u32>,
) {
    let Ok(mut upstream) = TcpStream::connect(server).await else {
        return;
    };
    tokio::select! {
        // In whatever way a connection ends, both sides see its end.
        _ = copy_bidirectional(&mut client, &mut upstream) => return,
        _ = open.wait_for(|open| !open) => return,
        _ = frozen.changed() => {}
    }
    // Until the gate is closed or dropped, both sides hold a connection on which nothing is received.
    let _ = open.wait_for(|open| !open).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn opened_gate_waits_for_a_listener_that_closes_late() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = Gate::start(server.local_addr().unwrap()).await;
        gate.close();
        let late = bind(gate.address()).await.unwrap();
        gate.open();
        sleep(Duration::from_millis(100)).await;
        drop(late);
        let deadline = Instant::now() + BIND_WITHIN;
        while TcpStream::connect(gate.address()).await.is_err() {
            assert!(Instant::now() < deadline, "the gate stays closed");
            sleep(BIND_EVERY).await;
        }
    }
}
