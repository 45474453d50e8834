//! The one integration binary.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics says what went wrong")]

mod archives;
mod connections;
mod framing;
mod log;
mod manifest;
mod serving;
mod tidy;
mod web;
