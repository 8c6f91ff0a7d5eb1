//! Loopback ports that stay reserved while nothing listens on them.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tokio::net::TcpSocket;

/// A loopback port. Connections to it are refused until a server binds it, which may happen repeatedly. A program that asks for any
/// free port doesn't get it.
#[derive(Debug)]
pub struct ReservedPort {
    /// Bound and never listening. A listener may use the same address, as both allow reuse.
    socket: TcpSocket,
}

impl ReservedPort {
    /// Reserves a port until the value is dropped.
    ///
    /// # Errors
    /// If there is none left.
    pub fn new() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok(Self { socket })
    }

    /// Its address.
    ///
    /// # Errors
    /// If the system doesn't report it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// A port that is reserved until this process ends: its servers may start and stop.
///
/// # Errors
/// If there is none left.
pub fn free_port() -> io::Result<u16> {
    static RESERVED: Mutex<Vec<ReservedPort>> = Mutex::new(Vec::new());
    let reserved = ReservedPort::new()?;
    let port = reserved.address()?.port();
    RESERVED.lock().unwrap_or_else(PoisonError::into_inner).push(reserved);
    Ok(port)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_a_server_that_names_the_port_is_given_it() {
        let reserved = ReservedPort::new().unwrap();
        let address = reserved.address().unwrap();
        for _ in 0..2 {
            let refused = TcpStream::connect(address).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let server = TcpListener::bind(address).unwrap();
            TcpStream::connect(address).unwrap();
            drop(server);
        }
        let others: Vec<_> = (0..300).filter_map(|_| TcpListener::bind("127.0.0.1:0").ok()).collect();
        let given: BTreeSet<_> = others.iter().map(|it| it.local_addr().unwrap()).collect();
        assert!(!given.contains(&address), "{address} is given to others");
    }
}
