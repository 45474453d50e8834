//! Tenants and who belongs to them. Global tables: a person is asked for here before there is a scope.

use crate::{
    domain::{
        Result,
        access::ServerScope,
        tenant::{Tenant, TenantId},
        user::{Role, User, UserId},
    },
    params,
    ports::db::{ReadTx, Row, WriteTx},
};

use super::users;

/// Tenants of one server: each read of all of them is bounded by this.
pub const TENANTS_MAX: i64 = 100_000;

fn read(row: &Row) -> Result<Tenant> {
    Ok(Tenant { id: row.id(0)?, name: row.text(1)?.to_owned(), created_ms: row.int(2)? })
}

/// A user in a tenant.
#[derive(Clone, Debug)]
pub struct Member {
    /// The user.
    pub user: User,
    /// The tenant.
    pub tenant: Tenant,
    /// Their role in it.
    pub role: Role,
}

/// What is read of a member, of `"user" u`, `tenant t` and `membership m`.
pub(super) const MEMBER: &str =
    "u.id, u.email, u.super_admin, u.created_ms, u.disabled, t.id, t.name, t.created_ms, m.role";

pub(super) fn read_member(row: Row) -> Result<Member> {
    let (user, rest) = row.split(users::WIDTH);
    let (tenant, role) = rest.split(3);
    Ok(Member { user: users::read(&user)?, tenant: read(&tenant)?, role: Role::parse(role.text(0)?)? })
}

/// The tenant of this name.
pub fn find_by_name(tx: &mut ReadTx<'_>, name: &str) -> Result<Option<Tenant>> {
    let row = tx.find("SELECT id, name, created_ms FROM tenant WHERE name = $1", params![name])?;
    row.as_ref().map(read).transpose()
}

/// Adds a tenant.
pub fn insert(tx: &mut WriteTx<'_>, tenant: &Tenant) -> Result<()> {
    tx.execute(
        "INSERT INTO tenant (id, name, created_ms) VALUES ($1, $2, $3)",
        params![tenant.id.0, &tenant.name, tenant.created_ms],
    )?;
    Ok(())
}

/// All tenants.
pub fn list(tx: &mut ReadTx<'_>, _leave: ServerScope) -> Result<Vec<Tenant>> {
    let rows = tx.query("SELECT id, name, created_ms FROM tenant ORDER BY name LIMIT $1", params![TENANTS_MAX])?;
    rows.iter().map(read).collect()
}

/// Makes a user a member, or changes their role.
pub fn join(tx: &mut WriteTx<'_>, tenant: TenantId, user: UserId, role: Role, now_ms: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO membership (tenant_id, user_id, role, created_ms) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id, user_id) DO UPDATE SET role = excluded.role",
        params![tenant.0, user.0, role.word(), now_ms],
    )?;
    Ok(())
}

/// A user's role in a tenant.
pub fn find_role(tx: &mut ReadTx<'_>, tenant: TenantId, user: UserId) -> Result<Option<Role>> {
    let row =
        tx.find("SELECT role FROM membership WHERE tenant_id = $1 AND user_id = $2", params![tenant.0, user.0])?;
    row.map(|row| Role::parse(row.text(0)?)).transpose()
}

/// The tenant that a user belongs to first, with their role there.
pub fn find_home(tx: &mut ReadTx<'_>, user: UserId) -> Result<Option<(Tenant, Role)>> {
    let row = tx.find(
        "SELECT t.id, t.name, t.created_ms, m.role FROM membership m JOIN tenant t ON t.id = m.tenant_id
         WHERE m.user_id = $1 ORDER BY m.created_ms, m.tenant_id LIMIT 1",
        params![user.0],
    )?;
    row.map(|row| Ok((read(&row)?, Role::parse(row.text(3)?)?))).transpose()
}
