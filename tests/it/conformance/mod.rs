//! One suite for each port, run on every engine: the contract is the test.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

mod blobs;
mod cache;
mod db;
mod model;
mod queue;

pub(crate) use queue::Place;
