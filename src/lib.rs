#![doc = include_str!("ARCHITECTURE.md")]

pub mod base;
pub mod cli;
pub mod domain;
pub mod engines;
pub mod http;
pub mod ports;
pub mod proof;
