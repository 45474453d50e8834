//! The panel: pages and forms for people, rendered on the server, whole without JavaScript.
//!
//! One file a feature, with the same name as its folder under `templates/`: page structs of plain owned values, and the
//! handlers that fill them. Never writes SQL, never decides a right.

#![expect(dead_code, reason = "the handlers that fill these pages come next")]

mod assets;
mod form;
mod icons;
mod markup;
mod page;
mod seal;
mod shell;
mod words;

mod audit_log;
mod claim;
mod deployments;
mod error_pages;
mod hostnames;
mod jobs;
mod keys;
mod overview;
mod questions;
mod sessions;
mod settings;
mod sign_in;
mod sites;
mod storage;
mod users;

#[cfg(test)]
mod samples;
