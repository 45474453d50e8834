//! Asks an address over HTTP, in clear or by TLS, as whoever comes from outside would: one request, no redirects, small answers.
//!
//! Whoever names the address has had it admitted by [`super::dns::Dns::admit`].

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    pin::Pin,
};

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The status.
    pub status: u16,
    /// The header `Server`, printable and short.
    pub server: Option<String>,
    /// The header `Location`, printable and short.
    pub location: Option<String>,
    /// The begin of the body.
    pub body: Vec<u8>,
}

/// Why nothing came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The connection was refused.
    Closed,
    /// There was no answer in time.
    TimedOut,
    /// There is no way to that address.
    NoRoute,
    /// The connection ended before there was an answer.
    BrokeOff,
    /// What came is not HTTP.
    NotHttp,
}

/// An answer to come.
pub type Reached<'a> = Pin<Box<dyn Future<Output = Result<Said, Silence>> + Send + 'a>>;

/// What reaches addresses.
pub trait Reach: fmt::Debug + Send + Sync {
    /// `GET path` of `host` at an address, in clear.
    fn get<'a>(&'a self, address: SocketAddr, host: &'a str, path: &'a str) -> Reached<'a>;

    /// The same by TLS, whoever vouches for the certificate: who answers is known by what it says, and by nothing else.
    fn get_by_tls<'a>(&'a self, address: SocketAddr, host: &'a str, path: &'a str) -> Reached<'a>;

    /// The addresses that this machine itself has.
    fn own(&self) -> Vec<IpAddr>;
}
