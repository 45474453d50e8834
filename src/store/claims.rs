//! One-time claim tokens of a server without users, by their hash. A global table.

use crate::{
    base::hash::Sha256,
    domain::Result,
    params,
    ports::db::{ReadTx, WriteTx},
};

/// Makes `token` the only claim token.
pub fn replace(tx: &mut WriteTx<'_>, token: Sha256, expires_ms: i64) -> Result<()> {
    tx.execute("DELETE FROM claim", params![])?;
    tx.execute("INSERT INTO claim (token_hash, expires_ms) VALUES ($1, $2)", params![token, expires_ms])?;
    Ok(())
}

/// Whether `token` is good at `now_ms`.
pub fn is_good(tx: &mut ReadTx<'_>, token: Sha256, now_ms: i64) -> Result<bool> {
    let row = tx.find("SELECT 1 FROM claim WHERE token_hash = $1 AND expires_ms > $2", params![token, now_ms])?;
    Ok(row.is_some())
}

/// Ends every token: the server is claimed.
pub fn delete_all(tx: &mut WriteTx<'_>) -> Result<()> {
    tx.execute("DELETE FROM claim", params![])?;
    Ok(())
}
