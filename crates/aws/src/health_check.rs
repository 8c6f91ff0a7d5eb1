//! Health check of a container. Its image has no shell and no curl, so the program checks itself.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// Longest wait for each step of the check.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Sends `GET /healthz` to the process that listens at `address`. Succeeds if the response has status 200.
#[must_use]
pub fn check(address: SocketAddr) -> ExitCode {
    if is_healthy(address) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn is_healthy(address: SocketAddr) -> bool {
    ask(reachable(address)).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A local address through which the listener can be reached.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Result of a check of a process that sends this response.
    fn check_of(answer: &'static str) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answering = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            // Reads the whole request: a connection that is closed with bytes unread is reset, which discards the response.
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            assert!(request.starts_with(b"GET /healthz HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        // The address that the program listens at in a container; the check connects from inside.
        let is_healthy = is_healthy(SocketAddr::from(([0, 0, 0, 0], port)));
        answering.join().unwrap();
        is_healthy
    }

    #[test]
    fn only_status_200_is_healthy() {
        assert!(check_of("HTTP/1.1 200 OK\r\n\r\n{}"));
        assert!(!check_of("HTTP/1.1 503 Service Unavailable\r\n\r\n{}"));
        assert!(!check_of(""));
    }
}
