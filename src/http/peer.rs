//! Who is at the other end, as an extension of a request.

use std::net::IpAddr;

/// The client's address: of the connection, since no proxy is trusted.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub IpAddr);
