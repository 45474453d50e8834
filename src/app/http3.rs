//! HTTP/3 beside the sockets of TLS, where it is built in and wanted. Where there can be none, clients are served by the other versions,
//! and nobody is told of this one.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{Arc, atomic::AtomicBool},
};

use hyper::header::HeaderValue;
use tokio::net::TcpListener;

use super::switch::Switch;
use crate::{
    base::tasks::Tasks,
    config::tls::Tls,
    domain::Result,
    net::{
        connection::{Elsewhere, Server},
        tls::Certificates,
    },
};

/// A socket beside a listener, and whether it has failed since.
pub(super) type Beside = (UdpSocket, Arc<AtomicBool>);

/// How long a client may remember it: a day. It comes back to the other versions by itself when it is gone.
const REMEMBERED_S: u32 = 86_400;

/// The sockets beside those listeners, each where there could be one.
pub(super) fn open(tls: &Tls, listeners: &[TcpListener]) -> Vec<Option<Beside>> {
    let v6_only = tls.listen.iter().any(SocketAddr::is_ipv4);
    let beside = |it: &TcpListener| it.local_addr().ok().filter(|_| tls.http3).and_then(|it| bind(it, v6_only));
    listeners.iter().map(|it| Some((beside(it)?, Arc::default()))).collect()
}

/// What is told to who is served otherwise, with the port as clients see it.
pub(super) fn elsewhere((_, has_failed): &Beside, port: u16) -> Option<Elsewhere> {
    let told = HeaderValue::try_from(format!("h3=\":{port}\"; ma={REMEMBERED_S}")).ok()?;
    Some(Elsewhere::new(told, Arc::clone(has_failed)))
}

#[cfg(feature = "h3")]
fn bind(address: SocketAddr, v6_only: bool) -> Option<UdpSocket> {
    use std::io::ErrorKind;

    use crate::net::http3;

    let (ip, port) = (address.ip(), address.port());
    let bound = http3::bind(address, v6_only).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => format!(
            "UDP port {port} of {ip} is taken by another program: `ss -lunp 'sport = :{port}'` names it. Stop that one and restart \
             chainhost, or set `http3 = false` in [tls]."
        ),
        _ => format!(
            "Opening UDP port {port} of {ip} failed: {error}. Restart chainhost once that is mended, or set `http3 = false` in [tls]."
        ),
    });
    bound.inspect_err(|why| tracing::error!(%address, "there is no HTTP/3 here, only HTTP/1.1 and HTTP/2: {why}")).ok()
}

#[cfg(not(feature = "h3"))]
const fn bind(_: SocketAddr, _: bool) -> Option<UdpSocket> {
    None
}

/// Answers who comes to these sockets as `server` does, with its limits.
#[cfg(feature = "h3")]
pub(super) fn attend(
    tasks: &Tasks,
    server: &Server,
    certificates: &Certificates,
    sockets: Vec<Beside>,
    switch: &Arc<Switch>,
) -> Result<()> {
    use std::sync::atomic::Ordering;

    use crate::{domain::Error, net::http3};

    let server = http3::Server::beside(server, certificates).map_err(Error::internal)?;
    for (socket, has_failed) in sockets {
        let (server, switch) = (server.clone(), Arc::clone(switch));
        tasks.spawn(async move {
            let ran = server.run(socket, move |request, peer| Box::pin(Arc::clone(&switch).answer(request, peer)));
            if let Err(error) = ran.await {
                has_failed.store(true, Ordering::Relaxed);
                tracing::error!(%error, "there is no HTTP/3 until a restart, only HTTP/1.1 and HTTP/2");
            }
        });
    }
    Ok(())
}

/// There is none to attend to.
#[cfg(not(feature = "h3"))]
#[expect(clippy::unnecessary_wraps, reason = "as where there is one")]
pub(super) fn attend(_: &Tasks, _: &Server, _: &Certificates, _: Vec<Beside>, _: &Arc<Switch>) -> Result<()> {
    Ok(())
}
