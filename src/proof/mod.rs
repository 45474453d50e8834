//! What a visitor can prove: manifest, site tree, log proofs, bundle, verifier. Pure.
//!
//! Nothing here does IO.

pub mod canonical;
pub mod manifest;
