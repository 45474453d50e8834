//! The claim link: on standard error and in a file that only the owner reads.

use std::{fmt::Write as _, fs, io::Write as _, net::SocketAddr, path::Path};

use crate::{
    base::files,
    domain::Result,
    services::{Addresses, Services},
};

const FILE: &str = "claim-link";

/// A new claim link, also kept in the data folder; `None` once the server has a user.
pub(super) async fn renew(services: &Services, data: &Path) -> Result<Option<String>> {
    let Some(token) = services.new_claim().await? else {
        // Used up: nothing is left to read there.
        drop(fs::remove_file(data.join(FILE)));
        return Ok(None);
    };
    // SECURITY: without TLS a password must not cross a network, so the link is one for this machine.
    let addresses = &services.addresses;
    let panel = if addresses.scheme == "https" { addresses.panel() } else { addresses.local_panel() };
    let link = format!("{panel}/claim?token={}", token.expose());
    files::write_atomic(&data.join(FILE), format!("{link}\n").as_bytes(), 0o600)?;
    Ok(Some(link))
}

/// Tells who started the server how to claim it.
pub(super) async fn announce(services: &Services, data: &Path, bound: &[SocketAddr]) -> Result<()> {
    let Some(link) = renew(services, data).await? else { return Ok(()) };
    let mut text = format!(
        "\n  This server has no owner yet. Open this link within 30 minutes to claim it:\n\n    {link}\n\n  \
         A new one: chainhost admin claim-link --data {}\n",
        data.display()
    );
    // Writing into a String cannot fail.
    let _ = write!(text, "{}", from_elsewhere(&services.addresses, bound));
    drop(writeln!(std::io::stderr(), "{text}"));
    Ok(())
}

/// How to claim from another machine than this one.
fn from_elsewhere(addresses: &Addresses, bound: &[SocketAddr]) -> String {
    if addresses.scheme == "https" {
        return String::new();
    }
    let port = addresses.local_port;
    let near = bound.iter().map(SocketAddr::ip).find(|it| it.is_loopback() || it.is_unspecified());
    let Some(near) = near else {
        return format!(
            "  The link works on this machine only, since there is no TLS: let the server listen on 127.0.0.1:{port} too.\n"
        );
    };
    let host = if near.is_ipv4() { "127.0.0.1" } else { "[::1]" };
    format!(
        "  From another machine, go through SSH, since there is no TLS, and open the link there:\n    \
         ssh -L {port}:{host}:{port} YOU@THIS-SERVER\n"
    )
}
