//! What the ports ask for, made with particular engines.
//!
//! | File | Port | Made with |
//! |---|---|---|
//! | `sqlite` | `ports::db` | SQLite, bundled: one writer, four readers |
//! | `migrations` | – | numbered steps of the schema, for `sqlite` |
//! | `schema` | – | those steps
//!
//! No engine imports another, and none knows what a site is.

pub mod migrations;
pub mod schema;
pub mod sqlite;
