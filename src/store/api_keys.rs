//! API keys, by the hash of their secret. A global table.

use crate::{
    base::{hash::Sha256, ids::Id},
    domain::{
        Result,
        access::{KeyScope, TenantScope},
        api_key::{ApiKey, ApiKeyId},
        tenant::TenantId,
        user::UserId,
    },
    params,
    ports::db::{ReadTx, Row, WriteTx},
};

use super::tenants::{MEMBER, Member, read_member};

/// Keys listed for one tenant: more is not read by anybody.
const LISTED_MAX: i64 = 500;

const COLUMNS: &str = "k.id, k.name, k.hint, k.scope, u.email, k.created_ms, k.used_ms, k.expires_ms";

/// A key with whose it is.
#[derive(Clone, Debug)]
pub struct Found {
    /// The key.
    pub key: ApiKey,
    /// Its user.
    pub user: UserId,
    /// The tenant that it acts in.
    pub tenant: TenantId,
}

fn read(row: &Row) -> Result<ApiKey> {
    Ok(ApiKey {
        id: row.id(0)?,
        name: row.text(1)?.to_owned(),
        hint: row.text(2)?.to_owned(),
        scope: KeyScope::parse(row.text(3)?)?,
        email: row.text(4)?.to_owned(),
        created_ms: row.int(5)?,
        used_ms: row.opt_int(6)?,
        expires_ms: row.opt_int(7)?,
    })
}

/// Adds a key.
pub fn insert(tx: &mut WriteTx<'_>, found: &Found, token: Sha256) -> Result<()> {
    let it = &found.key;
    tx.execute(
        "INSERT INTO api_key (id, token_hash, user_id, tenant_id, name, hint, scope, created_ms, expires_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            it.id.0,
            token,
            found.user.0,
            found.tenant.0,
            &it.name,
            &it.hint,
            it.scope.word(),
            it.created_ms,
            it.expires_ms
        ],
    )?;
    Ok(())
}

/// The key of a secret, and whose it is: a user who is not disabled, in a tenant that they belong to. One statement, since every call
/// begins with it.
pub fn find(tx: &mut ReadTx<'_>, token: Sha256) -> Result<Option<(ApiKey, Member)>> {
    let sql = format!(
        "SELECT {COLUMNS}, {MEMBER}
         FROM api_key k JOIN \"user\" u ON u.id = k.user_id JOIN tenant t ON t.id = k.tenant_id
         JOIN membership m ON m.tenant_id = k.tenant_id AND m.user_id = k.user_id
         WHERE k.token_hash = $1 AND u.disabled = $2"
    );
    let row = tx.find(&sql, params![token, false])?;
    row.map(|row| {
        let (key, member) = row.split(8);
        Ok((read(&key)?, read_member(member)?))
    })
    .transpose()
}

/// Notes the last use.
pub fn touch(tx: &mut WriteTx<'_>, id: ApiKeyId, now_ms: i64) -> Result<()> {
    tx.execute("UPDATE api_key SET used_ms = $2 WHERE id = $1", params![id.0, now_ms])?;
    Ok(())
}

/// The keys of a tenant, newest first; of one user when `user` is given.
pub fn list(tx: &mut ReadTx<'_>, scope: TenantScope, user: Option<UserId>) -> Result<Vec<ApiKey>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM api_key k JOIN \"user\" u ON u.id = k.user_id
         WHERE k.tenant_id = $1 AND (k.user_id = $2 OR $2 = $3) ORDER BY k.id DESC LIMIT $4"
    );
    let rows = tx.query(&sql, params![tenant, user.map_or(Id::NIL, |it| it.0), Id::NIL, LISTED_MAX])?;
    rows.iter().map(read).collect()
}

/// Whether a tenant has a key; of one user when `user` is given.
pub fn any(tx: &mut ReadTx<'_>, scope: TenantScope, user: Option<UserId>) -> Result<bool> {
    let tenant = tx.tenant(scope)?;
    let sql = "SELECT 1 FROM api_key WHERE tenant_id = $1 AND (user_id = $2 OR $2 = $3) LIMIT 1";
    Ok(tx.find(sql, params![tenant, user.map_or(Id::NIL, |it| it.0), Id::NIL])?.is_some())
}

/// Removes a key of a tenant, of one user when `user` is given; whether there was one.
pub fn delete(tx: &mut WriteTx<'_>, scope: TenantScope, user: Option<UserId>, id: ApiKeyId) -> Result<bool> {
    let tenant = tx.tenant(scope)?;
    let deleted = tx.execute(
        "DELETE FROM api_key WHERE tenant_id = $1 AND id = $2 AND (user_id = $3 OR $3 = $4)",
        params![tenant, id.0, user.map_or(Id::NIL, |it| it.0), Id::NIL],
    )?;
    Ok(deleted > 0)
}

/// Removes the key of a secret, whoever's it is: for whoever holds the secret itself or the data folder.
pub fn delete_by_token(tx: &mut WriteTx<'_>, token: Sha256) -> Result<bool> {
    Ok(tx.execute("DELETE FROM api_key WHERE token_hash = $1", params![token])? > 0)
}

/// Removes all keys of a user.
pub fn delete_all(tx: &mut WriteTx<'_>, user: UserId) -> Result<u64> {
    tx.execute("DELETE FROM api_key WHERE user_id = $1", params![user.0])
}
