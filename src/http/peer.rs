//! Who is at the other end, as an extension of a request.

use std::net::IpAddr;

/// The client's address: of the connection, since no proxy is trusted.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub IpAddr);

/// The id of a request, set by the host switch and shown in problems, pages and the log.
#[derive(Clone, Debug, Default)]
pub struct RequestId(pub String);
