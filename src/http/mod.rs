//! Words of HTTP that visitors, panel and API share: answers, problems, ranges, conditions, codings.
//!
//! Nothing here knows a feature, and nothing here does IO.

pub mod conditional;
pub mod host;
pub mod negotiate;
pub mod pace;
pub mod peer;
pub mod problem;
pub mod range;
pub mod respond;
