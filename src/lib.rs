#![doc = include_str!("ARCHITECTURE.md")]

pub mod admin;
pub mod api;
pub mod app;
pub mod base;
pub mod cli;
pub mod config;
pub mod domain;
pub mod engines;
pub mod http;
pub mod net;
pub mod ports;
pub mod proof;
pub mod serve;
pub mod services;
pub mod store;
pub mod work;
