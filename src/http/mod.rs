//! Words of HTTP that visitors, panel and API share: answers, problems, ranges, conditions, codings.
//!
//! Nothing here knows a feature, and nothing here does IO of its own.

pub mod conditional;
pub mod connect;
pub mod digest;
pub mod host;
pub mod negotiate;
pub mod pace;
pub mod peer;
pub mod pieces;
pub mod problem;
pub mod range;
pub mod respond;
pub mod secret_path;
pub mod stored;
pub mod watched;
