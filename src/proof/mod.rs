//! What a visitor can prove. Pure: nothing here does IO.

pub mod log;
pub mod manifest;
