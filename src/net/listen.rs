//! Opens the sockets that the server listens on, or says in one sentence why not and what to do.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted: a burst of visitors, not an attack.
const BACKLOG: u32 = 4_096;
/// How often another free port is tried when the one for the first address is taken on the next.
const PORT_TRIES: u32 = 16;

/// A filter of Linux (classic BPF) over a segment from the start of its TCP header: what begins a connection is dropped
/// unanswered, all else passes.
const NO_MORE: [SockFilter; 4] = [
    // The byte of the flags.
    SockFilter::new(LOAD_BYTE, 0, 0, 13),
    // SYN.
    SockFilter::new(JUMP_IF_SET, 0, 1, 0x02),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
];
/// `BPF_LD | BPF_B | BPF_ABS`.
const LOAD_BYTE: u16 = 0x30;
/// `BPF_JMP | BPF_JSET | BPF_K`.
const JUMP_IF_SET: u16 = 0x45;
/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (address, port) = (self.address, self.address.port());
        match self.source.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "Port {port} of {} is taken by another program: `ss -ltnp 'sport = :{port}'` names it. \
                 Stop that one, or let chainhost listen on another port.",
                address.ip()
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "This user may not listen on port {port}. Take a port from 1024 up, or give the service the \
                 capability CAP_NET_BIND_SERVICE."
            ),
            io::ErrorKind::AddrNotAvailable => write!(
                f,
                "This machine does not have the address {}. Choose one of its own (`ip address` lists them), or \
                 0.0.0.0 for all.",
                address.ip()
            ),
            _ => write!(f, "Listening on {address} failed: {}.", self.source),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Listens on every address, or on none. Port 0 takes a free port, the same one for all addresses that ask for it.
///
/// `[::1]` beside another address is left out on a machine without IPv6. Must be called inside the runtime.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, BindError> {
    let mut tries = 0;
    loop {
        match bind_once(addresses) {
            // Another program was quicker to take the free port on the next address.
            Err(Failed { error, port_was_free: true })
                if error.source.kind() == io::ErrorKind::AddrInUse && tries < PORT_TRIES =>
            {
                tries += 1;
            }
            other => return other.map_err(|failed| failed.error),
        }
    }
}

/// From here on nobody gets through to this listener who has not begun to connect already. Their systems try again after a
/// second, and then find nobody, or the server that was started meanwhile: both without having sent a request.
pub fn turn_away(listener: &TcpListener) -> io::Result<()> {
    SockRef::from(listener).attach_filter(&NO_MORE)
}

struct Failed {
    error: BindError,
    /// The port was chosen by the system for an earlier address.
    port_was_free: bool,
}

fn bind_once(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failed> {
    let mut listeners = Vec::with_capacity(addresses.len());
    let mut free_port = None;
    for wanted in addresses {
        let mut address = *wanted;
        if let (0, Some(port)) = (address.port(), free_port) {
            address.set_port(port);
        }
        // Only where IPv4 is asked for too; alone, `[::]` means both.
        let v6_only = addresses.iter().any(SocketAddr::is_ipv4);
        match listen(address, v6_only) {
            Ok(listener) => {
                if wanted.port() == 0 && free_port.is_none() {
                    free_port = listener.local_addr().ok().map(|it| it.port());
                }
                listeners.push(listener);
            }
            Err(source)
                if address.ip() == IpAddr::V6(Ipv6Addr::LOCALHOST) && addresses.len() > 1 && no_ipv6(&source) =>
            {
                tracing::info!(%address, "this machine has no IPv6; listening without it");
            }
            Err(source) => {
                let port_was_free = wanted.port() == 0 && free_port.is_some();
                return Err(Failed { error: BindError { address, source }, port_was_free });
            }
        }
    }
    Ok(listeners)
}

fn no_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn listen(address: SocketAddr, v6_only: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        let socket = TcpSocket::new_v6()?;
        rustix::net::sockopt::set_ipv6_v6only(&socket, v6_only)?;
        socket
    };
    // A restart need not wait for the connections of the one before.
    socket.set_reuseaddr(true)?;
    // Connections have it of their listener: small answers go out at once. Without it only the speed differs.
    drop(socket.set_nodelay(true));
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn port_0_is_one_port_for_all_addresses() {
        let listeners = bind(&["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()]).unwrap();
        let ports: Vec<u16> = listeners.iter().map(|it| it.local_addr().unwrap().port()).collect();
        assert!(!ports.is_empty() && ports[0] != 0 && ports.iter().all(|it| *it == ports[0]), "{ports:?}");
    }

    #[tokio::test]
    async fn connections_hold_no_small_answers_back() {
        let listeners = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let client = tokio::net::TcpStream::connect(listeners[0].local_addr().unwrap()).await.unwrap();
        let (server, _) = listeners[0].accept().await.unwrap();
        assert!(server.nodelay().unwrap() && !client.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_taken_port_and_a_foreign_address_are_said() {
        let first = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = first[0].local_addr().unwrap();
        let error = bind(&[address]).unwrap_err().to_string();
        assert!(error.contains(&format!("Port {} of 127.0.0.1 is taken", address.port())), "{error}");
        let error = bind(&["192.0.2.1:0".parse().unwrap()]).unwrap_err().to_string();
        assert!(error.contains("does not have the address 192.0.2.1"), "{error}");
    }
}
