//! Sessions of the panel, by the hash of their secret. A global table.

use crate::{
    base::hash::Sha256,
    domain::{
        Result,
        session::{Session, SessionId},
        tenant::TenantId,
        user::UserId,
    },
    params,
    ports::db::{ReadTx, Row, WriteTx},
};

use super::tenants::{MEMBER, Member, read_member};

/// Sessions listed for one user: more is not read by anybody.
const LISTED_MAX: i64 = 100;

/// A session with whose it is.
#[derive(Clone, Debug)]
pub struct Found {
    /// The session.
    pub session: Session,
    /// Its user.
    pub user: UserId,
    /// The tenant that it acts in.
    pub tenant: TenantId,
}

fn read(row: &Row) -> Result<Session> {
    Ok(Session {
        id: row.id(0)?,
        created_ms: row.int(1)?,
        seen_ms: row.int(2)?,
        address: row.text(3)?.to_owned(),
        agent: row.text(4)?.to_owned(),
    })
}

/// Adds a session.
pub fn insert(tx: &mut WriteTx<'_>, found: &Found, token: Sha256) -> Result<()> {
    let it = &found.session;
    tx.execute(
        "INSERT INTO session (id, token_hash, user_id, tenant_id, created_ms, seen_ms, address, agent)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![it.id.0, token, found.user.0, found.tenant.0, it.created_ms, it.seen_ms, &it.address, &it.agent],
    )?;
    Ok(())
}

/// The session of a secret, and whose it is: a user who is not disabled, in a tenant that they belong to. One statement, since every
/// page begins with it.
pub fn find(tx: &mut ReadTx<'_>, token: Sha256) -> Result<Option<(Session, Member)>> {
    let sql = format!(
        "SELECT n.id, n.created_ms, n.seen_ms, n.address, n.agent, {MEMBER}
         FROM session n JOIN \"user\" u ON u.id = n.user_id JOIN tenant t ON t.id = n.tenant_id
         JOIN membership m ON m.tenant_id = n.tenant_id AND m.user_id = n.user_id
         WHERE n.token_hash = $1 AND u.disabled = $2"
    );
    let row = tx.find(&sql, params![token, false])?;
    row.map(|row| {
        let (session, member) = row.split(5);
        Ok((read(&session)?, read_member(member)?))
    })
    .transpose()
}

/// Notes the last request.
pub fn touch(tx: &mut WriteTx<'_>, id: SessionId, now_ms: i64) -> Result<()> {
    tx.execute("UPDATE session SET seen_ms = $2 WHERE id = $1", params![id.0, now_ms])?;
    Ok(())
}

/// The sessions of a user, the last used first.
pub fn list(tx: &mut ReadTx<'_>, user: UserId) -> Result<Vec<Session>> {
    let rows = tx.query(
        "SELECT id, created_ms, seen_ms, address, agent FROM session WHERE user_id = $1
         ORDER BY seen_ms DESC, id LIMIT $2",
        params![user.0, LISTED_MAX],
    )?;
    rows.iter().map(read).collect()
}

/// Ends a session of a user; whether there was one.
pub fn delete(tx: &mut WriteTx<'_>, user: UserId, id: SessionId) -> Result<bool> {
    Ok(tx.execute("DELETE FROM session WHERE user_id = $1 AND id = $2", params![user.0, id.0])? > 0)
}

/// Ends all sessions of a user.
pub fn delete_all(tx: &mut WriteTx<'_>, user: UserId) -> Result<u64> {
    tx.execute("DELETE FROM session WHERE user_id = $1", params![user.0])
}

/// Ends all sessions of a user but this one; how many.
pub fn delete_others(tx: &mut WriteTx<'_>, user: UserId, kept: SessionId) -> Result<u64> {
    tx.execute("DELETE FROM session WHERE user_id = $1 AND id <> $2", params![user.0, kept.0])
}

/// Removes sessions that were begun before `begun_ms` or last seen before `seen_ms`.
pub fn delete_old(tx: &mut WriteTx<'_>, begun_ms: i64, seen_ms: i64) -> Result<u64> {
    tx.execute("DELETE FROM session WHERE created_ms < $1 OR seen_ms < $2", params![begun_ms, seen_ms])
}
