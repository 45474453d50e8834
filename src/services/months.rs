//! Tables by month: their parts are made ahead, and months that are no longer kept are archived and then removed.
//!
//! Guarantees: nothing is removed that is not in a file whose SHA-256 is in the audit log of whose rows they were; a chain of events
//! verifies before and after; a pass that breaks off anywhere is made good by the next one. Events are archived with all that
//! lies between them in their chain, so that each file's chain is whole and every event is in exactly one file. A node that has lost
//! the duty meanwhile is refused by the database, at each transaction and at the removal itself; parts made ahead are no harm.
//! Nothing is removed while the settings say nothing of it.

mod lines;

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};

use crate::{
    base::{hash::Sha256, ids::Id},
    domain::{
        Error, Result,
        access::TenantScope,
        event::{Event, Recorded},
        month::{Month, MonthTable},
    },
    ports::{
        db::{ReadTx, WriteTx},
        parts::Parts,
    },
    store::{self, months::Archived, tenants::TENANTS_MAX},
};

use self::lines::Lines;
use super::{Services, access, audit, nodes::Hold};

/// Where archives are, in the data folder.
const FOLDER: &str = "history";
/// Months whose parts are made ahead, besides the present one.
const AHEAD: i64 = 3;
/// Rows read, and rows removed, at once.
const ROWS_AT_ONCE: i64 = 500;
/// Tenants whose archived rows are noted in one transaction: all other writers wait for it.
const TENANTS_AT_ONCE: usize = 20;

/// What the last pass found.
#[derive(Debug, Default)]
pub(super) struct Months {
    strays: [AtomicU64; MonthTable::ALL.len()],
}

/// A tenant's rows that are in a file.
#[derive(Clone, Debug)]
struct Kept {
    scope: TenantScope,
    rows: i64,
    /// The last entry of the chain before the file, and the last one in it with its hash.
    chain: Option<(i64, i64, Sha256)>,
}

impl Services {
    /// Rows that fitted no part when it was last looked: an alarm, since they cannot be removed by month.
    pub fn strays(&self) -> impl Iterator<Item = (MonthTable, u64)> {
        let counts = self.months().strays.iter().map(|it| it.load(Ordering::Relaxed));
        MonthTable::ALL.into_iter().zip(counts)
    }

    /// One pass: makes parts ahead, archives and removes the months that are no longer kept. `hold`: of sealing, since what
    /// is archived is sealed before.
    pub async fn keep_months(&self, hold: &Hold) -> Result<()> {
        let now = Month::of(self.clock.now_ms());
        for (table, strays) in MonthTable::ALL.into_iter().zip(&self.months().strays) {
            if let Some(parts) = self.db.parts() {
                let before = strays.load(Ordering::Relaxed);
                let count = self.blocking(move || make_ahead(&*parts, table, now)).await?;
                strays.store(count, Ordering::Relaxed);
                if count > 0 && count != before {
                    let table = table.name();
                    tracing::error!(
                        table,
                        count,
                        "rows fit no month: their time is far from now, or a clock was wrong"
                    );
                }
            }
            let Some(first) = self.retention.first_kept(table, now) else { continue };
            if table == MonthTable::AuditLog {
                self.seal_audit(hold).await?;
            }
            let mut last = None;
            while let Some(month) = self.oldest_month(table).await?.filter(|it| *it < first) {
                if last.replace(month) == Some(month) {
                    return Err(Error::internal(format!("rows of {} of {month} do not go", table.name())));
                }
                while self.archive_month(table, month, hold).await? > 0 {}
                self.remove_month(table, month, hold).await?;
                tracing::info!(table = table.name(), %month, "a month that is no longer kept was removed");
            }
        }
        Ok(())
    }

    async fn oldest_month(&self, table: MonthTable) -> Result<Option<Month>> {
        if let Some(parts) = self.db.parts() {
            return self.blocking(move || Ok(parts.list(table.name())?.first().copied())).await;
        }
        let tenants = self.all_scopes().await?;
        let oldest = self.db.read(move |tx| {
            let mut oldest = None;
            for scope in tenants {
                let found = store::months::find_oldest(tx, scope, table)?;
                oldest = oldest.into_iter().chain(found).min();
            }
            Ok(oldest)
        });
        Ok(oldest.await?.map(Month::of))
    }

    /// Leave for each tenant, for the host's own tasks.
    pub(super) async fn all_scopes(&self) -> Result<Vec<TenantScope>> {
        let leave = access::server_scope();
        let tenants = self.db.read(move |tx| store::tenants::list(tx, leave)).await?;
        if i64::try_from(tenants.len()).is_ok_and(|it| it >= TENANTS_MAX) {
            // A month goes with the rows of all tenants, so that all must have been archived.
            return Err(Error::internal("months are kept: there are more tenants than one list holds"));
        }
        Ok(tenants.into_iter().map(|it| access::task_scope(it.id)).collect())
    }

    async fn remove_month(&self, table: MonthTable, month: Month, hold: &Hold) -> Result<()> {
        let hold = *hold;
        if let Some(parts) = self.db.parts() {
            let services = self.clone();
            let may = move |tx: &mut ReadTx<'_>| services.check_hold(tx, &hold);
            return self.blocking(move || parts.remove(table.name(), month, &may)).await;
        }
        for scope in self.all_scopes().await? {
            let some = move |tx: &mut WriteTx<'_>| store::months::delete_some(tx, scope, table, month, ROWS_AT_ONCE);
            while self.write_held(Some(hold), some).await? > 0 {}
        }
        Ok(())
    }

    /// Archives what of a month is in no file yet; how many rows.
    async fn archive_month(&self, table: MonthTable, month: Month, hold: &Hold) -> Result<i64> {
        let leave = access::server_scope();
        let last = self.db.read(move |tx| store::months::find_archived(tx, leave, table, month)).await?;
        let part = last.as_ref().map_or(0, |it| it.part) + 1;
        let numbered = if part == 1 { String::new() } else { format!(".{part}") };
        let name = format!("{}-{month}{numbered}.jsonl.zst", table.name());
        let (folder, begun) = (self.data.join(FOLDER), name.clone());
        let mut lines = self.blocking(move || Lines::create(&folder, begun)).await?;
        let mut kept = Vec::new();
        for scope in self.all_scopes().await? {
            let (grown, found) = match table {
                MonthTable::AuditLog => self.archive_events(lines, scope, month).await?,
                MonthTable::BlockchainRecord => self.archive_records(lines, scope, month).await?,
            };
            lines = grown;
            kept.extend(found);
        }
        let entries = lines.count;
        let is_archived = last.is_some_and(|it| it.entries == entries) && table != MonthTable::AuditLog;
        let (path, sha256) = self.blocking(move || lines.finish()).await?;
        if entries == 0 || is_archived {
            fs::remove_file(path)?;
            return Ok(0);
        }
        let archived = Archived { part, file: format!("{FOLDER}/{name}"), sha256, entries };
        // The file stays when this fails: it may be noted all the same, for some tenants or with an answer that was lost. One that is
        // noted nowhere is replaced by the next try.
        self.note_archived(hold, (table, month), &archived, &kept).await.map(|()| entries)
    }

    /// The entries of a tenant's chain up to its last one in the month. What breaks the chain stops everything: it is evidence.
    async fn archive_events(
        &self,
        mut lines: Lines,
        scope: TenantScope,
        month: Month,
    ) -> Result<(Lines, Option<Kept>)> {
        let read = move |tx: &mut ReadTx<'_>| {
            let last = store::audit_log::find_last(tx, scope, month.range_ms())?;
            Ok((store::audit_log::find_head(tx, scope)?, last))
        };
        let (head, (last, unsealed)) = self.db.read(read).await?;
        if unsealed > 0 {
            let text = format!("Events of {month} are not sealed yet, so that the month stays until they are.");
            return Err(Error::unavailable("audit_unsealed", text));
        }
        let Some(head) = head.filter(|it| it.kept_seq < last) else { return Ok((lines, None)) };
        let (mut before, mut next) = (head.kept_hash, head.kept_seq + 1);
        while next <= last {
            let mut page = self.db.read(move |tx| store::audit_log::list_sealed(tx, scope, next, ROWS_AT_ONCE)).await?;
            page.retain(|it| it.seq.is_some_and(|seq| seq <= last));
            if page.is_empty() {
                return Err(broken(scope, next));
            }
            for event in &page {
                let hash = audit::chain(&before, next, event);
                if event.seq != Some(next) || event.hash.as_deref() != Some(&hash.hex()) {
                    return Err(broken(scope, next));
                }
                (before, next) = (hash, next + 1);
            }
            let tenant = scope.tenant().to_string();
            let page: Vec<Value> = page.iter().map(|it| event_line(&tenant, it)).collect();
            lines = self.append(lines, page).await?;
        }
        let chain = Some((head.kept_seq, last, before));
        Ok((lines, Some(Kept { scope, rows: last - head.kept_seq, chain })))
    }

    async fn archive_records(
        &self,
        mut lines: Lines,
        scope: TenantScope,
        month: Month,
    ) -> Result<(Lines, Option<Kept>)> {
        let (range, mut after, mut rows) = (month.range_ms(), (i64::MIN, Id::NIL), 0);
        loop {
            let read =
                move |tx: &mut ReadTx<'_>| store::blockchain_records::list(tx, scope, range, after, ROWS_AT_ONCE);
            let page = self.db.read(read).await?;
            let Some(last) = page.last() else {
                return Ok((lines, (rows > 0).then_some(Kept { scope, rows, chain: None })));
            };
            after = (last.created_ms, last.id);
            rows += i64::try_from(page.len()).unwrap_or(i64::MAX);
            let tenant = scope.tenant().to_string();
            let page: Vec<Value> = page
                .iter()
                .map(|it| {
                    json!({
                        "tenant": tenant, "created_ms": it.created_ms, "id": it.id.to_string(), "kind": it.kind,
                        "network": it.network, "size": it.size, "root": it.root.hex(), "state": it.state,
                        "reference": it.reference,
                    })
                })
                .collect();
            lines = self.append(lines, page).await?;
        }
    }

    async fn append(&self, mut lines: Lines, page: Vec<Value>) -> Result<Lines> {
        self.blocking(move || lines.append(&page).map(|()| lines)).await
    }

    /// Notes in the database which rows are in a file, and in each tenant's audit log what its SHA-256 is. What breaks off half way
    /// is made good by the next pass: it makes another file of the events that are not noted yet, so that the file is noted with
    /// the first of them; records are all archived again until the file is noted, so that it is noted with the last of them.
    async fn note_archived(
        &self,
        hold: &Hold,
        (table, month): (MonthTable, Month),
        archived: &Archived,
        kept: &[Kept],
    ) -> Result<()> {
        let now = self.clock.now_ms();
        let rounds = kept.chunks(TENANTS_AT_ONCE);
        let noted_in = match table {
            MonthTable::AuditLog => 0,
            MonthTable::BlockchainRecord => rounds.len().saturating_sub(1),
        };
        for (round, some) in rounds.enumerate() {
            let (services, archived, some) = (self.clone(), archived.clone(), some.to_vec());
            let note = move |tx: &mut WriteTx<'_>| {
                if round == noted_in {
                    let leave = access::server_scope();
                    store::months::insert_archived(tx, leave, (table, month), &archived, now)?;
                }
                for it in &some {
                    services.note_tenant(tx, (table, month), &archived, it)?;
                }
                Ok(())
            };
            self.write_held(Some(*hold), note).await?;
        }
        Ok(())
    }

    fn note_tenant(
        &self,
        tx: &mut WriteTx<'_>,
        (table, month): (MonthTable, Month),
        archived: &Archived,
        it: &Kept,
    ) -> Result<()> {
        if let Some((from, to, hash)) = it.chain
            && !store::audit_log::move_kept(tx, it.scope, from, to, hash)?
        {
            return Err(Error::conflict("archived", "Another server has archived these events meanwhile."));
        }
        let (what, rows, Archived { file, sha256, .. }) = (table.name(), it.rows, archived);
        let upto = it.chain.map_or_else(String::new, |(_, to, _)| format!(", up to number {to}"));
        let text = format!("archived {rows} rows of {what} of {month}{upto}, in {file} with the SHA-256 {sha256}");
        let actor = self.actor_system(it.scope.tenant(), "retention");
        self.record(tx, &actor, &Event::new("history.archived", "month", &format!("{what} {month}"), text))
    }
}

/// Makes the parts of the present month and of those ahead, and of past ones that have rows outside of all parts; how many rows
/// are still outside.
fn make_ahead(parts: &dyn Parts, table: MonthTable, now: Month) -> Result<u64> {
    let ahead: Vec<Month> = (0..=AHEAD).map(|it| now.plus(it)).collect();
    parts.make(table.name(), &ahead)?;
    let strays = parts.find_strays(table.name())?;
    if strays.count == 0 {
        return Ok(0);
    }
    let last = now.plus(AHEAD);
    let past: Vec<Month> = strays.months.into_iter().filter(|it| *it <= last && it.start_ms() >= 0).collect();
    parts.make(table.name(), &past)?;
    Ok(parts.find_strays(table.name())?.count)
}

fn broken(scope: TenantScope, seq: i64) -> Error {
    Error::internal(format!(
        "the audit chain of the tenant {} breaks at {seq}: nothing of it is archived or removed until that is explained",
        scope.tenant()
    ))
}

/// An event with all that its hash is made of.
fn event_line(tenant: &str, it: &Recorded) -> Value {
    json!({
        "tenant": tenant, "seq": it.seq, "hash": it.hash, "created_ms": it.created_ms, "id": it.id, "actor": it.actor,
        "address": it.address, "kind": it.kind, "entity": it.entity, "entity_id": it.entity_id, "text": it.text,
    })
}
