//! The tables of the file, opened together inside one write transaction.
//!
//! | Table | Key | Value |
//! |---|---|---|
//! | `jobs` | id | what was enqueued; never changed |
//! | `standings` | tenant, id | where the job stands; small, since it changes |
//! | `ready` | queue and class, tenant, priority, seq | the waiting jobs, each line in its order |
//! | `due` | time, id | the delayed jobs |
//! | `running` | id | the leased jobs: all that a recovery looks at |
//! | `ended` | state, queue, time, id | done and failed jobs, for retention |
//! | `gone` | id | removed jobs, so that their ids are not taken again |
//! | `forget` | time, id | the same by time |
//! | `counts` | queue, tenant | how many stand where, so that nothing is ever counted |
//! | `unique` | queue, tenant, words | the job that has this key until it has ended |
//! | `after` | awaited job, job that waits | whose job waits |
//! | `paused` | tenant | the tenants that start nothing |
//! | `about` | word | format, boot epoch, paused queues, the last starts under a rate |

use redb::{Table, TableDefinition as Definition, WriteTransaction};

use super::{
    fault::Step,
    record::{AfterKey, CountsKey, EndedKey, Owner, ReadyKey, StandingKey, TimeKey},
};

type Bytes = &'static [u8];
type IdKey = &'static [u8; 16];

const JOBS: Definition<'static, IdKey, Bytes> = Definition::new("jobs");
const STANDINGS: Definition<'static, &StandingKey, Bytes> = Definition::new("standings");
const READY: Definition<'static, &ReadyKey, Bytes> = Definition::new("ready");
const DUE: Definition<'static, &TimeKey, &Owner> = Definition::new("due");
const RUNNING: Definition<'static, IdKey, &Owner> = Definition::new("running");
const ENDED: Definition<'static, &EndedKey, &Owner> = Definition::new("ended");
const GONE: Definition<'static, IdKey, &[u8; 8]> = Definition::new("gone");
const FORGET: Definition<'static, &TimeKey, &[u8; 0]> = Definition::new("forget");
const COUNTS: Definition<'static, &CountsKey, Bytes> = Definition::new("counts");
const UNIQUE: Definition<'static, Bytes, IdKey> = Definition::new("unique");
const AFTER: Definition<'static, &AfterKey, &Owner> = Definition::new("after");
const PAUSED: Definition<'static, &Owner, &[u8; 0]> = Definition::new("paused");
const ABOUT: Definition<'static, &str, Bytes> = Definition::new("about");

/// All tables of one transaction.
pub(super) struct Tables<'t> {
    pub(super) jobs: Table<'t, IdKey, Bytes>,
    pub(super) standings: Table<'t, &'static StandingKey, Bytes>,
    pub(super) ready: Table<'t, &'static ReadyKey, Bytes>,
    pub(super) due: Table<'t, &'static TimeKey, &'static Owner>,
    pub(super) running: Table<'t, IdKey, &'static Owner>,
    pub(super) ended: Table<'t, &'static EndedKey, &'static Owner>,
    pub(super) gone: Table<'t, IdKey, &'static [u8; 8]>,
    pub(super) forget: Table<'t, &'static TimeKey, &'static [u8; 0]>,
    pub(super) counts: Table<'t, &'static CountsKey, Bytes>,
    pub(super) unique: Table<'t, Bytes, IdKey>,
    pub(super) after: Table<'t, &'static AfterKey, &'static Owner>,
    pub(super) paused: Table<'t, &'static Owner, &'static [u8; 0]>,
    pub(super) about: Table<'t, &'static str, Bytes>,
}

impl<'t> Tables<'t> {
    /// Opens the tables, and makes them where there are none.
    pub(super) fn open(transaction: &'t WriteTransaction) -> Step<Self> {
        Ok(Self {
            jobs: transaction.open_table(JOBS)?,
            standings: transaction.open_table(STANDINGS)?,
            ready: transaction.open_table(READY)?,
            due: transaction.open_table(DUE)?,
            running: transaction.open_table(RUNNING)?,
            ended: transaction.open_table(ENDED)?,
            gone: transaction.open_table(GONE)?,
            forget: transaction.open_table(FORGET)?,
            counts: transaction.open_table(COUNTS)?,
            unique: transaction.open_table(UNIQUE)?,
            after: transaction.open_table(AFTER)?,
            paused: transaction.open_table(PAUSED)?,
            about: transaction.open_table(ABOUT)?,
        })
    }
}
