//! What a visitor can prove. Pure: nothing here does IO.

pub mod build;
pub mod bundle;
pub mod canonical;
pub mod cid;
pub mod log;
pub mod manifest;
pub mod resolve;
pub mod site_tree;
