//! What the product asks of the world. No engine is named here.

pub mod acme;
pub mod blobs;
pub mod cache;
pub mod counts;
pub mod db;
pub mod dns;
pub mod edge;
pub mod fatal;
pub mod parts;
pub mod position;
pub mod queue;
pub mod reach;
pub mod zones;
