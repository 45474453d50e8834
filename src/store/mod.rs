//! All SQL, written once: free functions over a transaction, a file for each table or two.
//!
//! Every function on a tenant's rows takes a `TenantScope`, every one across tenants a `ServerScope`, so that a query
//! without leave does not compile. Nothing here opens a transaction or names an engine.

pub mod acme;
pub mod api_keys;
pub mod audit_log;
pub mod blockchain_records;
pub mod certificates;
pub mod claims;
pub mod copy;
pub mod deployments;
pub mod effects;
pub mod hostnames;
pub mod months;
pub mod nodes;
pub mod outbox;
pub mod publications;
pub mod schedules;
pub mod sessions;
pub mod settings;
pub mod site_settings;
pub mod sites;
pub mod summary;
pub mod tenants;
pub mod uploads;
pub mod users;
