//! Settings of the server and facts about this database, by name.

use crate::{
    domain::Result,
    params,
    ports::db::{ReadTx, WriteTx},
};

/// The id of this installation: also in the data folder and in the snapshot.
pub const INSTANCE: &str = "instance";

/// Which collection of garbage removes from the store of files, and until when: see `services/home/deploy`.
pub const SWEEP: &str = "blobs_sweep";
/// Before the path of a shared folder of blobs that has the mark of this installation.
pub const SHARED_FOLDER: &str = "blobs_folder ";

/// The fingerprint of the master key under which secrets are kept.
pub const MASTER_KEY: &str = "master_key";

/// Which Redis has the jobs of this installation: set, no server starts without one.
pub const QUEUE: &str = "queue";

/// The word in that Redis by which it is known, whatever its address is.
pub const QUEUE_PLACE: &str = "queue_place";

/// The word of the Redis to which `chainhost move` leads the queue: it has the jobs from the first start on it on.
pub const QUEUE_NEXT: &str = "queue_next";

/// Before the word of a Redis that had the jobs of this installation: since when (UTC, milliseconds) it has them no more, nothing
/// until the next start, or how far it has forgotten them, for the way back.
pub const QUEUE_LEFT: &str = "queue_left ";

/// The word by which this installation knows itself when it is asked over HTTP, at an address that may lead elsewhere.
pub const CHECK_WORD: &str = "check_word";

/// Where the data of this database was moved: set, it takes no change any more.
pub const MOVED_TO: &str = "moved_to";

/// The installation whose data is being moved here: set, the database is not complete.
pub const FILLING: &str = "move";

/// The value of a setting.
pub fn find(tx: &mut ReadTx<'_>, name: &str) -> Result<Option<String>> {
    let row = tx.find("SELECT value FROM setting WHERE name = $1", params![name])?;
    row.map(|row| row.text(0).map(str::to_owned)).transpose()
}

/// Those whose names begin like this, with their values.
pub fn list(tx: &mut ReadTx<'_>, prefix: &str) -> Result<Vec<(String, String)>> {
    let rows = tx.query("SELECT name, value FROM setting ORDER BY name", &[])?;
    let all = rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned())));
    all.filter(|it: &Result<(String, String)>| it.as_ref().map_or(true, |it| it.0.starts_with(prefix))).collect()
}

/// Removes a setting.
pub fn remove(tx: &mut WriteTx<'_>, name: &str) -> Result<()> {
    tx.execute("DELETE FROM setting WHERE name = $1", params![name])?;
    Ok(())
}

/// Sets a setting.
pub fn set(tx: &mut WriteTx<'_>, name: &str, value: &str) -> Result<()> {
    tx.execute(
        "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        params![name, value],
    )?;
    Ok(())
}
