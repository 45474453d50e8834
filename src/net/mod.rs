//! Sockets: listening, connections and their limits. Knows no feature.
//!
//! A connection never costs more than its limits say, whatever its other end does; a shutdown lets requests under
//! way end, and waits for none longer than the grace time.

mod activity;
mod arriving;
pub mod connection;
mod corked;
mod direct;
mod executor;
mod framing;
#[cfg(feature = "h3")]
pub mod http3;
pub mod listen;
mod patient;
mod proxy_header;
mod seats;
mod stream;
pub mod tls;

pub use arriving::Arriving;
