//! Deployments and the lines of their logs.

use crate::{
    base::hash::Sha256,
    domain::{
        Result,
        access::{ServerScope, TenantScope},
        deployment::{Deployment, DeploymentId, DeploymentRef, Source, State},
        node::NodeId,
        site::SiteId,
        tenant::TenantId,
    },
    params,
    ports::db::{ReadTx, Row, WriteTx},
};

pub(super) const COLUMNS: &str = "d.id, d.number, d.state, d.source, d.message, d.actor, d.created_ms, d.finished_ms, d.manifest, \
    d.root, d.files, d.bytes, d.files_changed, d.files_sent, d.bytes_sent, d.preview, d.problem";

/// Lines of one deployment's log.
const LINES_MAX: i64 = 10_000;
/// Deployments of one server: each read of all of them is bounded by this.
const ALL_MAX: i64 = 20_000_000;

/// What was asked for when a deployment was begun.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The blob with the list of files, once it is known.
    pub wanted: Option<Sha256>,
    /// Files named `.env*` are taken.
    pub allow_env: bool,
    /// Publish when complete.
    pub publish: bool,
    /// Publish only while this one is live.
    pub if_live: Option<DeploymentId>,
    /// The client's key, so that asking twice begins once.
    pub idempotency_key: Option<String>,
}

pub(super) fn read(row: &Row) -> Result<Deployment> {
    Ok(Deployment {
        id: row.id(0)?,
        number: row.int(1)?,
        state: State::parse(row.text(2)?)?,
        source: Source::parse(row.text(3)?)?,
        message: row.text(4)?.to_owned(),
        actor: row.text(5)?.to_owned(),
        created_ms: row.int(6)?,
        finished_ms: row.opt_int(7)?,
        manifest: row.opt_bytes(8)?.map(Sha256),
        root: row.opt_bytes(9)?,
        files: row.int(10)?,
        bytes: row.int(11)?,
        files_changed: row.opt_int(12)?,
        files_sent: row.int(13)?,
        bytes_sent: row.int(14)?,
        preview: row.text(15)?.to_owned(),
        problem: row.opt_text(16)?.map(str::to_owned),
    })
}

/// Adds a deployment that has begun.
pub fn insert(
    tx: &mut WriteTx<'_>,
    scope: TenantScope,
    site: SiteId,
    node: NodeId,
    it: &Deployment,
    wish: &Wish,
) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "INSERT INTO deployment
           (tenant_id, site_id, id, number, state, source, message, actor, created_ms, wanted, files, bytes,
            files_sent, bytes_sent, preview, allow_env, publish, if_live, idempotency_key, node_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
        params![
            tenant,
            site.0,
            it.id.0,
            it.number,
            it.state.word(),
            it.source.word(),
            &it.message,
            &it.actor,
            it.created_ms,
            wish.wanted,
            it.files,
            it.bytes,
            it.files_sent,
            it.bytes_sent,
            &it.preview,
            wish.allow_env,
            wish.publish,
            wish.if_live.map(|it| it.0),
            wish.idempotency_key.clone(),
            node.0
        ],
    )?;
    Ok(())
}

/// A deployment by number or id.
pub fn find(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId, of: DeploymentRef) -> Result<Option<Deployment>> {
    let tenant = tx.tenant(scope)?;
    let (column, value) = match of {
        DeploymentRef::Number(number) => ("number", number.into()),
        DeploymentRef::Id(id) => ("id", id.0.into()),
    };
    let sql = format!("SELECT {COLUMNS} FROM deployment d WHERE d.tenant_id = $1 AND site_id = $2 AND {column} = $3");
    tx.find(&sql, &[tenant.into(), site.0.into(), value])?.as_ref().map(read).transpose()
}

/// What was asked for when a deployment was begun.
pub fn find_wish(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId, id: DeploymentId) -> Result<Option<Wish>> {
    let tenant = tx.tenant(scope)?;
    let row = tx.find(
        "SELECT wanted, allow_env, publish, if_live, idempotency_key FROM deployment
         WHERE tenant_id = $1 AND site_id = $2 AND id = $3",
        params![tenant, site.0, id.0],
    )?;
    row.map(|row| {
        Ok(Wish {
            wanted: row.opt_bytes(0)?.map(Sha256),
            allow_env: row.bool(1)?,
            publish: row.bool(2)?,
            if_live: row.opt_id(3)?,
            idempotency_key: row.opt_text(4)?.map(str::to_owned),
        })
    })
    .transpose()
}

/// The deployment that was begun with an idempotency key.
pub fn find_by_key(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId, key: &str) -> Result<Option<Deployment>> {
    let tenant = tx.tenant(scope)?;
    let sql =
        format!("SELECT {COLUMNS} FROM deployment d WHERE d.tenant_id = $1 AND site_id = $2 AND idempotency_key = $3");
    tx.find(&sql, params![tenant, site.0, key])?.as_ref().map(read).transpose()
}

/// A page of a site's deployments, newest first, below the number `below`.
pub fn list(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId, below: i64, limit: i64) -> Result<Vec<Deployment>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM deployment d WHERE d.tenant_id = $1 AND site_id = $2 AND number < $3
         ORDER BY number DESC LIMIT $4"
    );
    tx.query(&sql, params![tenant, site.0, below, limit])?.iter().map(read).collect()
}

/// Bytes of a tenant's deployments that are complete or under way, counted as if nothing were shared between them. Those
/// under way count with what was announced: else any number of them would fit below a quota at once.
pub fn sum_bytes(tx: &mut ReadTx<'_>, scope: TenantScope) -> Result<i64> {
    let tenant = tx.tenant(scope)?;
    let sql = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM deployment
               WHERE tenant_id = $1 AND state IN ('ready', 'live', 'superseded', 'uploading', 'checking')";
    tx.one(sql, params![tenant])?.int(0)
}

/// How many deployments a site has.
pub fn count(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId) -> Result<i64> {
    let tenant = tx.tenant(scope)?;
    let sql = "SELECT COUNT(*) FROM deployment WHERE tenant_id = $1 AND site_id = $2";
    tx.one(sql, params![tenant, site.0])?.int(0)
}

/// The lists of files and the manifests of a site's newest complete deployments: what its tenant has sent before.
pub fn list_known(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId, limit: i64) -> Result<Vec<Sha256>> {
    let tenant = tx.tenant(scope)?;
    let rows = tx.query(
        "SELECT wanted FROM deployment
         WHERE tenant_id = $1 AND site_id = $2 AND wanted IS NOT NULL AND state IN ('ready', 'live', 'superseded')
         ORDER BY number DESC LIMIT $3",
        params![tenant, site.0, limit],
    )?;
    rows.iter().map(|row| row.bytes(0).map(Sha256)).collect()
}

/// Every deployment that visitors may see: tenant, site, id, manifest, preview label.
pub fn list_complete(tx: &mut ReadTx<'_>, leave: ServerScope) -> Result<Vec<Complete>> {
    tx.all_tenants(leave)?;
    let rows = tx.query(
        "SELECT site_id, id, manifest, preview FROM deployment
         WHERE state IN ('ready', 'live', 'superseded') AND manifest IS NOT NULL ORDER BY site_id, id LIMIT $1",
        params![ALL_MAX],
    )?;
    rows.iter()
        .map(|row| {
            Ok(Complete {
                site: row.id(0)?,
                id: row.id(1)?,
                manifest: Sha256(row.bytes(2)?),
                preview: row.text(3)?.to_owned(),
            })
        })
        .collect()
}

/// A deployment that can be served.
#[derive(Clone, Debug)]
pub struct Complete {
    /// Its site.
    pub site: SiteId,
    /// Its id.
    pub id: DeploymentId,
    /// Its manifest.
    pub manifest: Sha256,
    /// The label of its preview address.
    pub preview: String,
}

/// Every blob that holds a list: manifests and lists of files of all kept deployments, also unfinished ones.
pub fn list_roots(tx: &mut ReadTx<'_>, leave: ServerScope) -> Result<Vec<(Option<Sha256>, Option<Sha256>)>> {
    tx.all_tenants(leave)?;
    let rows = tx.query(
        "SELECT manifest, wanted FROM deployment WHERE state NOT IN ('failed', 'taken_down') ORDER BY id LIMIT $1",
        params![ALL_MAX],
    )?;
    rows.iter().map(|row| Ok((row.opt_bytes(0)?.map(Sha256), row.opt_bytes(1)?.map(Sha256)))).collect()
}

/// Deployments that have not ended and were begun before `before_ms`.
pub fn list_unfinished(tx: &mut ReadTx<'_>, leave: ServerScope, before_ms: i64, limit: i64) -> Result<Vec<Place>> {
    tx.all_tenants(leave)?;
    let rows = tx.query(
        "SELECT tenant_id, site_id, id FROM deployment
         WHERE state IN ('uploading', 'checking') AND created_ms < $1 ORDER BY id LIMIT $2",
        params![before_ms, limit],
    )?;
    rows.iter().map(read_place).collect()
}

/// Deployments that `node` was unpacking before `before_ms`, and those of before there were several nodes.
pub fn list_interrupted(
    tx: &mut ReadTx<'_>,
    leave: ServerScope,
    node: NodeId,
    before_ms: i64,
    limit: i64,
) -> Result<Vec<Place>> {
    tx.all_tenants(leave)?;
    let rows = tx.query(
        "SELECT tenant_id, site_id, id FROM deployment
         WHERE state = 'checking' AND (node_id = $1 OR node_id IS NULL) AND created_ms < $2 ORDER BY id LIMIT $3",
        params![node.0, before_ms, limit],
    )?;
    rows.iter().map(read_place).collect()
}

/// Deployments that are being unpacked by a node that is not there any more.
pub fn list_orphaned(tx: &mut ReadTx<'_>, leave: ServerScope, limit: i64) -> Result<Vec<Place>> {
    tx.all_tenants(leave)?;
    let rows = tx.query(
        "SELECT tenant_id, site_id, id FROM deployment
         WHERE state = 'checking' AND node_id NOT IN (SELECT id FROM node) ORDER BY id LIMIT $1",
        params![limit],
    )?;
    rows.iter().map(read_place).collect()
}

/// Whose, of which site, which one.
pub type Place = (TenantId, SiteId, DeploymentId);

fn read_place(row: &Row) -> Result<Place> {
    Ok((row.id(0)?, row.id(1)?, row.id(2)?))
}

/// Moves a deployment to another state.
pub fn change_state(
    tx: &mut WriteTx<'_>,
    scope: TenantScope,
    site: SiteId,
    id: DeploymentId,
    state: State,
) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "UPDATE deployment SET state = $4 WHERE tenant_id = $1 AND site_id = $2 AND id = $3",
        params![tenant, site.0, id.0, state.word()],
    )?;
    Ok(())
}

/// Adds to what was sent.
pub fn add_sent(
    tx: &mut WriteTx<'_>,
    scope: TenantScope,
    site: SiteId,
    id: DeploymentId,
    (files, bytes): (i64, i64),
) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "UPDATE deployment SET files_sent = files_sent + $4, bytes_sent = bytes_sent + $5
         WHERE tenant_id = $1 AND site_id = $2 AND id = $3",
        params![tenant, site.0, id.0, files, bytes],
    )?;
    Ok(())
}

/// Makes a deployment complete: its manifest and counts are known now.
pub fn complete(tx: &mut WriteTx<'_>, scope: TenantScope, site: SiteId, it: &Deployment, wanted: Sha256) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "UPDATE deployment SET state = $4, finished_ms = $5, manifest = $6, root = $7, files = $8, bytes = $9,
           files_changed = $10, wanted = $11
         WHERE tenant_id = $1 AND site_id = $2 AND id = $3",
        params![
            tenant,
            site.0,
            it.id.0,
            it.state.word(),
            it.finished_ms,
            it.manifest,
            it.root,
            it.files,
            it.bytes,
            it.files_changed,
            wanted
        ],
    )?;
    Ok(())
}

/// Notes the list of files of a deployment that has not ended, so that garbage collection leaves what it names.
pub fn want(tx: &mut WriteTx<'_>, scope: TenantScope, site: SiteId, id: DeploymentId, wanted: Sha256) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "UPDATE deployment SET wanted = $4
         WHERE tenant_id = $1 AND site_id = $2 AND id = $3 AND state IN ('uploading', 'checking')",
        params![tenant, site.0, id.0, wanted],
    )?;
    Ok(())
}

/// Ends a deployment badly, with the reason for people; `false` when it has ended already, which then stays as it is.
pub fn fail(
    tx: &mut WriteTx<'_>,
    scope: TenantScope,
    site: SiteId,
    id: DeploymentId,
    (problem, now_ms): (&str, i64),
) -> Result<bool> {
    let tenant = tx.tenant(scope)?;
    let changed = tx.execute(
        "UPDATE deployment SET state = 'failed', problem = $4, finished_ms = $5
         WHERE tenant_id = $1 AND site_id = $2 AND id = $3 AND state IN ('uploading', 'checking')",
        params![tenant, site.0, id.0, problem, now_ms],
    )?;
    Ok(changed > 0)
}

/// Removes a deployment with its log. Its blobs go with the next garbage collection.
pub fn delete(tx: &mut WriteTx<'_>, scope: TenantScope, site: SiteId, id: DeploymentId) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    for sql in [
        "DELETE FROM upload_part WHERE tenant_id = $1 AND deployment_id = $2",
        "DELETE FROM deployment_log WHERE tenant_id = $1 AND deployment_id = $2",
    ] {
        tx.execute(sql, params![tenant, id.0])?;
    }
    tx.execute(
        "DELETE FROM deployment WHERE tenant_id = $1 AND site_id = $2 AND id = $3",
        params![tenant, site.0, id.0],
    )?;
    Ok(())
}

/// Adds a line to the log of a deployment.
pub fn append_line(
    tx: &mut WriteTx<'_>,
    scope: TenantScope,
    id: DeploymentId,
    (text, now_ms): (&str, i64),
) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "INSERT INTO deployment_log (tenant_id, deployment_id, line, created_ms, text)
         SELECT $1, $2, COUNT(*), $3, $4 FROM deployment_log WHERE tenant_id = $1 AND deployment_id = $2",
        params![tenant, id.0, now_ms, text],
    )?;
    Ok(())
}

/// The log of a deployment: when, and what.
pub fn list_lines(tx: &mut ReadTx<'_>, scope: TenantScope, id: DeploymentId) -> Result<Vec<(i64, String)>> {
    let tenant = tx.tenant(scope)?;
    let rows = tx.query(
        "SELECT created_ms, text FROM deployment_log WHERE tenant_id = $1 AND deployment_id = $2
         ORDER BY line LIMIT $3",
        params![tenant, id.0, LINES_MAX],
    )?;
    rows.iter().map(|row| Ok((row.int(0)?, row.text(1)?.to_owned()))).collect()
}
