//! The one integration binary.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics says what went wrong")]

mod client;
mod log;
mod manifest;
mod tidy;
