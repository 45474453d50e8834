//! Accounts at authorities, and what these will ask for.

use crate::{
    domain::{
        Result,
        acme::{
            Challenge,
            records::{Posted, Provider, Record},
        },
    },
    params,
    ports::db::{ReadTx, Row, WriteTx},
};

/// Challenges and records of one server at a time.
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

/// Keeps that a record is set, or is to be set.
pub fn put_record(tx: &mut WriteTx<'_>, it: &Posted) -> Result<()> {
    tx.execute(
        "INSERT INTO acme_record (name, value, record, zone, provider, authority, order_url, expires_ms, next_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (name, value) DO UPDATE SET record = excluded.record, zone = excluded.zone, provider = excluded.provider,
         authority = excluded.authority, order_url = excluded.order_url, expires_ms = excluded.expires_ms, next_ms = excluded.next_ms",
        params![
            &it.name,
            &it.record.value,
            &it.record.name,
            &it.record.zone,
            it.provider.word(),
            &it.authority,
            &it.order,
            it.expires_ms,
            it.next_ms
        ],
    )?;
    Ok(())
}

/// All records that are set, or are to be set.
pub fn list_records(tx: &mut ReadTx<'_>) -> Result<Vec<Posted>> {
    let sql = "SELECT name, value, record, zone, provider, authority, order_url, expires_ms, next_ms FROM acme_record
               ORDER BY name, value LIMIT $1";
    tx.query(sql, params![CHALLENGES_MAX])?.iter().map(read_record).collect()
}

/// Looks at a record again at `next_ms`.
pub fn postpone_record(tx: &mut WriteTx<'_>, it: &Posted, next_ms: i64) -> Result<()> {
    let sql = "UPDATE acme_record SET next_ms = $3 WHERE name = $1 AND value = $2";
    tx.execute(sql, params![&it.name, &it.record.value, next_ms])?;
    Ok(())
}

/// Forgets a record.
pub fn delete_record(tx: &mut WriteTx<'_>, it: &Posted) -> Result<()> {
    tx.execute("DELETE FROM acme_record WHERE name = $1 AND value = $2", params![&it.name, &it.record.value])?;
    Ok(())
}

fn read_record(row: &Row) -> Result<Posted> {
    Ok(Posted {
        name: row.text(0)?.to_owned(),
        record: Record { value: row.text(1)?.to_owned(), name: row.text(2)?.to_owned(), zone: row.text(3)?.to_owned() },
        provider: Provider::parse(row.text(4)?)?,
        authority: row.text(5)?.to_owned(),
        order: row.text(6)?.to_owned(),
        expires_ms: row.int(7)?,
        next_ms: row.int(8)?,
    })
}
