//! Anchors: what was written to a chain of blocks. A table by month.

use crate::{
    base::{hash::Sha256, ids::Id},
    domain::{Result, access::TenantScope},
    params,
    ports::db::{ReadTx, Row, WriteTx},
};

/// One anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockchainRecord {
    /// When it was made.
    pub created_ms: i64,
    /// Its id.
    pub id: Id,
    /// What wrote it: `evm`, `ots`.
    pub kind: String,
    /// The chain: its number, or the name of a calendar.
    pub network: String,
    /// The size of the log that it is of.
    pub size: i64,
    /// The root of the log at that size.
    pub root: Sha256,
    /// How far it has come.
    pub state: String,
    /// Where it is found there: the hash of a transaction.
    pub reference: String,
}

const COLUMNS: &str = "created_ms, id, kind, network, size, root, state, reference";

fn read(row: &Row) -> Result<BlockchainRecord> {
    Ok(BlockchainRecord {
        created_ms: row.int(0)?,
        id: row.id(1)?,
        kind: row.text(2)?.to_owned(),
        network: row.text(3)?.to_owned(),
        size: row.int(4)?,
        root: Sha256(row.bytes(5)?),
        state: row.text(6)?.to_owned(),
        reference: row.text(7)?.to_owned(),
    })
}

/// Adds an anchor.
pub fn insert(tx: &mut WriteTx<'_>, scope: TenantScope, it: &BlockchainRecord) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    let sql =
        format!("INSERT INTO blockchain_record (tenant_id, {COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    tx.execute(
        &sql,
        params![tenant, it.created_ms, it.id, &it.kind, &it.network, it.size, it.root, &it.state, &it.reference],
    )?;
    Ok(())
}

/// The anchors of a time, oldest first, after the one of this time and id.
pub fn list(
    tx: &mut ReadTx<'_>,
    scope: TenantScope,
    (from_ms, to_ms): (i64, i64),
    (after_ms, after): (i64, Id),
    limit: i64,
) -> Result<Vec<BlockchainRecord>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM blockchain_record
         WHERE tenant_id = $1 AND created_ms >= $2 AND created_ms < $3 AND (created_ms, id) > ($4, $5)
         ORDER BY created_ms, id LIMIT $6"
    );
    tx.query(&sql, params![tenant, from_ms, to_ms, after_ms, after, limit])?.iter().map(read).collect()
}
