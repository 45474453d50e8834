//! Use cases: transactions, authorisation, audit and enqueueing. Nothing here knows HTTP, templates or an engine.

pub mod archive;
