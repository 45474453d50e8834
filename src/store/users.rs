//! Users. A global table: e-mails are unique on the server.

use crate::{
    domain::{
        Result,
        access::{ServerScope, TenantScope},
        user::{Email, Grade, Role, User, UserId},
    },
    params,
    ports::db::{ReadTx, Row, WriteTx},
};

const COLUMNS: &str = "u.id, u.email, u.super_admin, u.created_ms, u.disabled";

/// How many [`COLUMNS`] are.
pub(super) const WIDTH: usize = 5;

pub(super) fn read(row: &Row) -> Result<User> {
    Ok(User {
        id: row.id(0)?,
        email: Email::parse(row.text(1)?)?,
        super_admin: row.bool(2)?,
        created_ms: row.int(3)?,
        disabled: row.bool(4)?,
    })
}

/// Adds a user; a taken e-mail is a conflict that the caller words.
pub fn insert(tx: &mut WriteTx<'_>, user: &User, password_hash: &str) -> Result<()> {
    tx.execute(
        "INSERT INTO \"user\" (id, email, password_hash, super_admin, disabled, created_ms) VALUES ($1, $2, $3, $4, $5, $6)",
        params![user.id.0, user.email.as_str(), password_hash, user.super_admin, user.disabled, user.created_ms],
    )?;
    Ok(())
}

/// The user of this id.
pub fn find(tx: &mut ReadTx<'_>, id: UserId) -> Result<Option<User>> {
    let row = tx.find(&format!("SELECT {COLUMNS} FROM \"user\" u WHERE u.id = $1"), params![id.0])?;
    row.as_ref().map(read).transpose()
}

/// The user of this id, with the hash of their password.
pub fn find_with_password(tx: &mut ReadTx<'_>, id: UserId) -> Result<Option<(User, String)>> {
    let row = tx.find(&format!("SELECT {COLUMNS}, u.password_hash FROM \"user\" u WHERE u.id = $1"), params![id.0])?;
    row.map(|row| Ok((read(&row)?, row.text(5)?.to_owned()))).transpose()
}

/// The user of this e-mail, with the hash of their password.
pub fn find_by_email(tx: &mut ReadTx<'_>, email: &Email) -> Result<Option<(User, String)>> {
    let sql = format!("SELECT {COLUMNS}, u.password_hash FROM \"user\" u WHERE u.email = $1");
    let row = tx.find(&sql, params![email.as_str()])?;
    row.map(|row| Ok((read(&row)?, row.text(5)?.to_owned()))).transpose()
}

/// Whether there is a user at all: else the server is still to be claimed.
pub fn any(tx: &mut ReadTx<'_>) -> Result<bool> {
    Ok(tx.find("SELECT 1 FROM \"user\" LIMIT 1", params![])?.is_some())
}

/// Super admins that can sign in.
pub fn count_super_admins(tx: &mut ReadTx<'_>) -> Result<i64> {
    tx.one("SELECT COUNT(*) FROM \"user\" WHERE super_admin = $1 AND disabled = $2", params![true, false])?.int(0)
}

/// The members of a tenant, by e-mail, after the e-mail `after`.
pub fn list(tx: &mut ReadTx<'_>, scope: TenantScope, after: &str, limit: i64) -> Result<Vec<(User, Grade)>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!(
        "SELECT {COLUMNS}, m.role FROM membership m JOIN \"user\" u ON u.id = m.user_id
         WHERE m.tenant_id = $1 AND u.email > $2 ORDER BY u.email LIMIT $3"
    );
    let rows = tx.query(&sql, params![tenant, after, limit])?;
    rows.iter()
        .map(|row| {
            let user = read(row)?;
            let grade = Grade { role: Role::parse(row.text(5)?)?, super_admin: user.super_admin };
            Ok((user, grade))
        })
        .collect()
}

/// Sets the hash of a password.
pub fn change_password(tx: &mut WriteTx<'_>, id: UserId, password_hash: &str) -> Result<()> {
    tx.execute("UPDATE \"user\" SET password_hash = $2 WHERE id = $1", params![id.0, password_hash])?;
    Ok(())
}

/// Disables or enables a user.
pub fn change_disabled(tx: &mut WriteTx<'_>, id: UserId, disabled: bool) -> Result<()> {
    tx.execute("UPDATE \"user\" SET disabled = $2 WHERE id = $1", params![id.0, disabled])?;
    Ok(())
}

/// Makes a user a super admin or no longer one.
pub fn change_super_admin(tx: &mut WriteTx<'_>, _leave: ServerScope, id: UserId, super_admin: bool) -> Result<()> {
    tx.execute("UPDATE \"user\" SET super_admin = $2 WHERE id = $1", params![id.0, super_admin])?;
    Ok(())
}
