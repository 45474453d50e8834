//! Where the server speaks TLS, and with which certificates.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;

use crate::domain::{Error, Result};

/// The section `[tls]` of the file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    pub(super) listen: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) proxy_protocol_listen: Vec<Spanned<String>>,
    redirect: Option<bool>,
    pub(super) http3: Option<Spanned<bool>>,
    #[serde(default)]
    certificates: Vec<Files>,
}

/// Certificate and key in files of the operator.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// PEM: the certificate, and behind it those that vouch for it. In the configuration, beside which a relative path begins.
    pub chain: PathBuf,
    /// PEM: its private key, without a password.
    pub key: PathBuf,
}

/// TLS of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Where clients speak it.
    pub listen: Vec<SocketAddr>,
    /// Where only trusted proxies connect, with a header of the PROXY protocol before the client's TLS.
    pub proxy_protocol_listen: Vec<SocketAddr>,
    /// Whether visitors in clear are sent to HTTPS where the hostname has a certificate that others vouch for.
    pub redirect: bool,
    /// Whether clients are served by HTTP/3 beside each address where they speak TLS.
    pub http3: bool,
    /// Certificates in files.
    pub certificates: Vec<Files>,
}

impl Tls {
    /// Whether the server speaks it at all.
    pub fn is_on(&self) -> bool {
        !self.listen.is_empty() || !self.proxy_protocol_listen.is_empty()
    }
}

/// The settings of the section, with where to listen as it was read: clients, and proxies. Paths begin in `folder`. `wrong` makes the error
/// of a section that makes no sense.
pub(super) fn read(
    section: Section,
    (listen, proxy_protocol_listen): (Vec<SocketAddr>, Vec<SocketAddr>),
    folder: &Path,
    wrong: impl Fn(&str) -> Error,
) -> Result<Tls> {
    let certificates = section.certificates.into_iter();
    let certificates =
        certificates.map(|it| Files { chain: folder.join(it.chain), key: folder.join(it.key) }).collect();
    let redirect = section.redirect.unwrap_or(true);
    let http3 = section.http3.map_or(cfg!(feature = "h3"), Spanned::into_inner);
    let tls = Tls { listen, proxy_protocol_listen, redirect, http3, certificates };
    if !tls.is_on() && !tls.certificates.is_empty() {
        return Err(wrong("has certificates and no address to show them at: add `listen`, such as [\":443\"]"));
    }
    Ok(tls)
}
