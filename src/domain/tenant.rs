//! A tenant: who owns sites. People belong to tenants by membership.

use crate::{
    domain::{Error, Result},
    id_type,
};

id_type!(
    /// The id of a tenant.
    TenantId
);

/// A tenant as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Unique on the server: `[a-z0-9-]`, 1 to 40 characters.
    pub name: String,
    /// When it was made.
    pub created_ms: i64,
}

/// The tenant that the first user and all of `admin create-user` belong to.
pub const DEFAULT_TENANT: &str = "default";

/// Checks the name of a tenant.
pub fn check_name(name: &str) -> Result<()> {
    let fits = (1..=40).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if fits {
        Ok(())
    } else {
        Err(Error::invalid("tenant_name", "A tenant's name has 1 to 40 of a-z, 0-9 and -, and no - at an end.")
            .on("name"))
    }
}
