//! One suite for each port, run on every engine: the contract is the test.

mod cache;
mod model;
mod queue;

pub(crate) use queue::Place;
