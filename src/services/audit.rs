//! The audit log: read by people, sealed into a hash chain for each tenant by a task.

use crate::{
    base::{hash::Hasher, hash::Sha256, ids::Id},
    domain::{
        Error, Result,
        access::{Actor, Right, TenantScope},
        event::Recorded,
    },
    ports::db::{ReadTx, WriteTx},
    store::{self, audit_log::Head},
};

use super::{Services, access, nodes::Hold};

/// Events sealed in one transaction.
const SEALED_AT_ONCE: i64 = 500;
/// Tenants looked at in one round.
const TENANTS_AT_ONCE: i64 = 1_000;

impl Services {
    /// A page of the tenant's audit log, newest first.
    pub async fn list_audit(&self, actor: &Actor, after: Option<Id>, limit: u32) -> Result<Vec<Recorded>> {
        let scope = actor.require(Right::ManageTenant)?;
        let now = self.clock.now_ms();
        self.db.read_near(scope, move |tx| store::audit_log::list(tx, scope, after, limit.into(), now)).await
    }

    /// Seals what is not sealed yet; how many events. Order in a chain is the order of ids.
    pub async fn seal_audit(&self, hold: &Hold) -> Result<u64> {
        let leave = access::server_scope();
        let mut sealed = 0;
        loop {
            let list = move |tx: &mut ReadTx<'_>| store::audit_log::list_unsealed_tenants(tx, leave, TENANTS_AT_ONCE);
            let tenants = self.db.read(list).await?;
            if tenants.is_empty() {
                return Ok(sealed);
            }
            for tenant in tenants {
                let scope = access::task_scope(tenant);
                loop {
                    let (services, hold) = (self.clone(), *hold);
                    let done = self.db.write(move |tx| {
                        services.check_hold(tx, &hold)?;
                        seal(tx, scope)
                    });
                    let count = done.await?;
                    sealed += count;
                    if count == 0 {
                        break;
                    }
                }
            }
        }
    }

    /// Walks the tenant's chain from the first entry that is kept; the sequence of the first one that was altered or is missing,
    /// if any.
    pub async fn verify_audit(&self, actor: &Actor) -> Result<Option<i64>> {
        let scope = actor.require(Right::ManageTenant)?;
        let find_head = move |tx: &mut ReadTx<'_>| store::audit_log::find_head(tx, scope);
        let Some(mut head) = self.db.read(find_head).await? else { return Ok(None) };
        loop {
            let Some(broken) = self.walk(scope, head).await? else { return Ok(None) };
            // Entries may have been archived and removed while they were read.
            match self.db.read(find_head).await? {
                Some(now) if now.kept_seq > head.kept_seq => head = now,
                _ => return Ok(Some(broken)),
            }
        }
    }

    /// Walks a chain whose ends are known.
    async fn walk(&self, scope: TenantScope, head: Head) -> Result<Option<i64>> {
        let (mut before, mut next) = (head.kept_hash, head.kept_seq + 1);
        loop {
            let page = self.db.read(move |tx| store::audit_log::list_sealed(tx, scope, next, SEALED_AT_ONCE)).await?;
            if page.is_empty() {
                // What was cut off at its end is missed too.
                return Ok((next <= head.seq).then_some(next));
            }
            for event in page {
                let hash = chain(&before, next, &event);
                let is_head = next == head.seq;
                if event.seq != Some(next) || event.hash.as_deref() != Some(&hash.hex()) || is_head && hash != head.hash
                {
                    return Ok(Some(next));
                }
                (before, next) = (hash, next + 1);
            }
        }
    }
}

/// What the first entry follows.
const GENESIS: Sha256 = Sha256([0; 32]);

fn seal(tx: &mut WriteTx<'_>, scope: TenantScope) -> Result<u64> {
    let (from, mut before) = store::audit_log::find_head(tx, scope)?.map_or((0, GENESIS), |it| (it.seq, it.hash));
    let mut seq = from;
    let events = store::audit_log::list_unsealed(tx, scope, SEALED_AT_ONCE)?;
    for event in &events {
        seq += 1;
        before = chain(&before, seq, event);
        let id: Id = event.id.parse().map_err(Error::internal)?;
        store::audit_log::seal(tx, scope, event.created_ms, id, seq, before)?;
    }
    if seq > from {
        store::audit_log::move_head(tx, scope, from, (seq, before), GENESIS)?;
    }
    Ok(events.len().try_into().unwrap_or(u64::MAX))
}

/// `H(h_{n-1} ‖ entry)`: every field with its length in front, so that no two entries have the same bytes.
pub(super) fn chain(before: &Sha256, seq: i64, event: &Recorded) -> Sha256 {
    let mut hasher = Hasher::new();
    hasher.update(&before.0);
    hasher.update(&seq.to_be_bytes());
    hasher.update(&event.created_ms.to_be_bytes());
    for text in [&event.id, &event.actor, &event.address, &event.kind, &event.entity, &event.entity_id, &event.text] {
        hasher.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finish()
}
