//! The claim link: on standard error and in a file that only the owner reads.

use std::{fmt::Write as _, fs, io::Write as _, net::SocketAddr, path::Path};

use crate::{base::files, domain::Result, services::Services};

const FILE: &str = "claim-link";

/// A new claim link, also kept in the data folder; `None` once the server has a user.
pub(super) async fn renew(services: &Services, data: &Path) -> Result<Option<String>> {
    let Some(token) = services.new_claim().await? else {
        // Used up: nothing is left to read there.
        drop(fs::remove_file(data.join(FILE)));
        return Ok(None);
    };
    let link = format!("{}/claim?token={}", services.addresses.panel(), token.expose());
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
    if bound.iter().any(|it| !it.ip().is_loopback()) {
        // SECURITY: without TLS a password must not cross a network.
        let port = bound.first().map_or(8080, SocketAddr::port);
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "  From another machine, go through SSH, since this address has no TLS:\n    \
             ssh -L {port}:127.0.0.1:{port} YOU@THIS-SERVER\n"
        );
    }
    drop(writeln!(std::io::stderr(), "{text}"));
    Ok(())
}
