//! The port to certificate authorities (ACME, RFC 8555): an account, a certificate for a hostname, and when that is to be renewed.

use std::{pin::Pin, sync::Arc};

use zeroize::Zeroizing;

use crate::domain::{
    Error,
    acme::{Challenge, Kind, Refusal},
};

/// What comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An authority as the settings name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// The address of its directory, by which it is known.
    pub url: String,
    /// Roots in PEM that are believed for it, besides those of the system.
    pub roots: Option<Vec<u8>>,
    /// An account that was made on its website: its id, and the key in Base64 (RFC 8555 §7.3.4).
    pub binding: Option<(String, Zeroizing<String>)>,
    /// The profile of its certificates, as in `shortlived`.
    pub profile: Option<String>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The hostname, also with `*.` in front, or an address.
    pub name: String,
    /// The way that the authority is to look, of those that it offers.
    pub way: Kind,
    /// The id of the certificate that this one replaces (RFC 9773), when the same authority gave it.
    pub replaces: Option<String>,
    /// The address of an order that waits, to go on with it instead of placing one.
    pub order: Option<String>,
}

/// An order that was placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its address, by which it can be gone on with.
    pub url: String,
    /// Until when, Unix milliseconds, where its authority says so.
    pub expires_ms: Option<i64>,
}

/// What was given.
#[derive(Debug)]
pub struct Issued {
    /// The chain in PEM.
    pub chain: String,
    /// Its private key in PEM.
    pub key: Zeroizing<String>,
    /// The way by which the authority has seen that the name is ours: not always the one that was asked for, since it may have seen it before.
    pub seen_by: Option<Kind>,
}

/// When a certificate is to be renewed, as its authority wishes it (RFC 9773). Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From when on.
    pub from_ms: i64,
    /// Until when.
    pub until_ms: i64,
}

/// Why there is no certificate.
#[derive(Debug)]
pub enum Failure {
    /// The authority, or the way to it.
    Refused(Refusal),
    /// This server: its database, say.
    Own(Error),
    /// A person has something to do first: the order can be gone on with.
    Waits,
}

impl From<Error> for Failure {
    fn from(it: Error) -> Self {
        Self::Own(it)
    }
}

impl From<Refusal> for Failure {
    fn from(it: Refusal) -> Self {
        Self::Refused(it)
    }
}

/// Shows what an authority will ask for.
pub trait Stage: Send + Sync {
    /// Returns once every node shows it, or name servers do.
    fn show(&self, challenge: Challenge, order: Placed) -> Later<'_, Result<(), Failure>>;
}

/// Speaks to authorities.
pub trait Authorities: Send + Sync {
    /// Makes an account, with an address where the authority may reach a person. Returns its credentials, which are secret.
    fn register<'a>(
        &'a self,
        directory: &'a Directory,
        email: Option<&'a str>,
    ) -> Later<'a, Result<Zeroizing<String>, Refusal>>;

    /// Gets a certificate: orders it, shows what is asked for, waits until the authority has looked.
    fn issue<'a>(
        &'a self,
        directory: &'a Directory,
        credentials: &'a str,
        wish: &'a Wish,
        stage: Arc<dyn Stage>,
    ) -> Later<'a, Result<Issued, Failure>>;

    /// When the certificate with that id (RFC 9773 §4.1) is to be renewed; `None` where the authority does not say so.
    fn renewal<'a>(&'a self, directory: &'a Directory, id: &'a str) -> Later<'a, Result<Option<Window>, Refusal>>;
}
