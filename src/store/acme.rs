//! Accounts at authorities, and what these will ask for.

use crate::{
    domain::{Result, acme::Challenge},
    params,
    ports::db::{ReadTx, WriteTx},
};

/// Challenges of one server at a time.
const CHALLENGES_MAX: i64 = 10_000;

/// The sealed credentials of the account at an authority.
pub fn find_account(tx: &mut ReadTx<'_>, directory: &str) -> Result<Option<Vec<u8>>> {
    let row = tx.find("SELECT credentials_sealed FROM acme_account WHERE directory = $1", params![directory])?;
    row.map(|row| row.blob(0).map(<[u8]>::to_vec)).transpose()
}

/// Keeps the credentials of an account.
pub fn put_account(tx: &mut WriteTx<'_>, directory: &str, sealed: Vec<u8>, now_ms: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO acme_account (directory, credentials_sealed, created_ms) VALUES ($1, $2, $3)
         ON CONFLICT (directory) DO UPDATE SET credentials_sealed = excluded.credentials_sealed, created_ms = excluded.created_ms",
        params![directory, sealed, now_ms],
    )?;
    Ok(())
}

/// Forgets an account that the authority does not know any more.
pub fn delete_account(tx: &mut WriteTx<'_>, directory: &str) -> Result<()> {
    tx.execute("DELETE FROM acme_account WHERE directory = $1", params![directory])?;
    Ok(())
}

/// Shows a challenge until it is taken back, at most until `expires_ms`. One of before, for the same hostname and way, goes.
pub fn put_challenge(tx: &mut WriteTx<'_>, it: &Challenge, expires_ms: i64) -> Result<()> {
    tx.execute("DELETE FROM acme_challenge WHERE name = $1 AND kind = $2", params![&it.name, it.kind.word()])?;
    tx.execute(
        "INSERT INTO acme_challenge (name, token, kind, answer, expires_ms) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (name, token) DO UPDATE SET kind = excluded.kind, answer = excluded.answer, expires_ms = excluded.expires_ms",
        params![&it.name, &it.token, it.kind.word(), &it.answer, expires_ms],
    )?;
    Ok(())
}

/// Takes the challenges of a hostname back, and those that nobody has taken back in time.
pub fn delete_challenges(tx: &mut WriteTx<'_>, name: &str, now_ms: i64) -> Result<()> {
    tx.execute("DELETE FROM acme_challenge WHERE name = $1 OR expires_ms < $2", params![name, now_ms])?;
    Ok(())
}

/// What is shown at `now_ms`.
pub fn list_challenges(tx: &mut ReadTx<'_>, now_ms: i64) -> Result<Vec<Challenge>> {
    let sql =
        "SELECT name, token, kind, answer FROM acme_challenge WHERE expires_ms >= $1 ORDER BY name, token LIMIT $2";
    let rows = tx.query(sql, params![now_ms, CHALLENGES_MAX])?;
    rows.iter()
        .map(|row| {
            Ok(Challenge {
                name: row.text(0)?.to_owned(),
                token: row.text(1)?.to_owned(),
                kind: crate::domain::acme::Kind::parse(row.text(2)?)?,
                answer: row.text(3)?.to_owned(),
            })
        })
        .collect()
}
