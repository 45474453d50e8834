//! The one door to publish: every move of a site's live pointer goes through [`Services::move_live`].
//!
//! INVARIANT: the pointer, the states of the deployments, the row in `publication` and the audit row are one
//! transaction. The public log and the anchors are filled from `publication` alone.

use std::time::Duration;

use crate::{
    domain::{
        Error, Result,
        access::{Actor, Right, TenantScope},
        deployment::{Deployment, DeploymentId, DeploymentRef, State},
        edge::What,
        event::Event,
        job::{NewJob, Queue},
        node::Topic,
        site::{Site, SiteName},
    },
    ports::{
        cache::Tag,
        db::{ReadTx, WriteTx},
    },
    store::{self, publications::Publication},
};

use super::Services;

/// The job that makes compressed forms of a deployment's files.
pub const COMPRESS_VARIANTS: &str = "compress_variants";

/// Between two looks at whether the database is still there, for who waits to be shown.
const LOST_LOOK: Duration = Duration::from_millis(500);

/// Publications looked through for the deployment to go back to.
const HISTORY_MAX: i64 = 1_000;

/// Why a live pointer moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// A new deployment.
    Deploy,
    /// An earlier one again.
    Rollback,
    /// Nothing more is shown.
    Takedown,
}

impl Move {
    const fn word(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Takedown => "takedown",
        }
    }
}

impl Services {
    /// Moves the live pointer of `site` to `to`. The data plane hears of it with the commit; [`Services::shown`] waits for it.
    pub(super) fn move_live(
        &self,
        tx: &mut WriteTx<'_>,
        actor: &Actor,
        site: &Site,
        to: Option<&Deployment>,
        why: Move,
    ) -> Result<()> {
        let scope = actor.scope;
        self.changes_routes(tx, scope)?;
        if let Some(before) = site.live {
            store::deployments::change_state(tx, scope, site.id, before, State::Superseded)?;
        }
        if let Some(it) = to {
            store::deployments::change_state(tx, scope, site.id, it.id, State::Live)?;
        }
        let seq = store::sites::move_live(tx, scope, site.id, to.map(|it| it.id))?;
        self.append_publication(tx, actor, site, seq, to, why)?;
        let is_first = site.live.is_none() || to.is_none();
        let what = if is_first { What::All } else { What::Changed { from: seq.saturating_sub(1), to: seq } };
        self.purge(tx, actor, site, what)?;
        let (kind, text) = match (why, to) {
            (Move::Deploy, Some(it)) => ("deployment.published", format!("published {} {}", site.name, it.number)),
            (Move::Rollback, Some(it)) => ("site.rolled_back", format!("rolled {} back to {}", site.name, it.number)),
            _ => ("site.taken_down", format!("took {} down", site.name)),
        };
        self.record(tx, actor, &Event::new(kind, "site", &site.name, text))?;
        if let Some(it) = to {
            let line = if why == Move::Rollback { "Live again." } else { "Live." };
            store::deployments::append_line(tx, scope, it.id, (line, self.clock.now_ms()))?;
        }
        if let (Move::Deploy, Some(it)) = (why, to) {
            self.enqueue_variants(tx, scope, site, it)?;
        }
        let services = self.clone();
        tx.after_commit(move || services.signals().retention.notify_one());
        Ok(())
    }

    /// Hides a site behind a reason, or with `None` shows its live deployment again. The pointer stays; visitors get
    /// something else all the same, so that it is a publication too.
    pub(super) fn hide(&self, tx: &mut WriteTx<'_>, actor: &Actor, site: &Site, reason: Option<&str>) -> Result<()> {
        let scope = actor.scope;
        if site.taken_down.as_deref() == reason {
            // Nothing changes for visitors, so there is nothing to publish or to record.
            return Ok(());
        }
        self.changes_routes(tx, scope)?;
        store::sites::change_taken_down(tx, scope, site.id, reason)?;
        let live = match site.live {
            Some(id) => store::deployments::find(tx, scope, site.id, DeploymentRef::Id(id))?,
            None => None,
        };
        let seq = store::sites::move_live(tx, scope, site.id, site.live)?;
        let (shown, why) = if reason.is_some() { (None, Move::Takedown) } else { (live.as_ref(), Move::Rollback) };
        self.append_publication(tx, actor, site, seq, shown, why)?;
        self.purge(tx, actor, site, What::All)?;
        let (kind, text) = match reason {
            Some(reason) => ("site.taken_down", format!("took {} down: {reason}", site.name)),
            None => ("site.put_back", format!("put {} back", site.name)),
        };
        self.record(tx, actor, &Event::new(kind, "site", &site.name, text))
    }

    fn append_publication(
        &self,
        tx: &mut WriteTx<'_>,
        actor: &Actor,
        site: &Site,
        seq: i64,
        shown: Option<&Deployment>,
        why: Move,
    ) -> Result<()> {
        let publication = Publication {
            seq,
            kind: why.word().to_owned(),
            deployment: shown.map(|it| it.id),
            manifest: shown.and_then(|it| it.manifest),
            root: shown.and_then(|it| it.root),
            files: shown.map_or(0, |it| it.files),
            bytes: shown.map_or(0, |it| it.bytes),
            actor: actor.label.clone(),
            created_ms: self.clock.now_ms(),
        };
        store::publications::append(tx, actor.scope, site.id, &publication)
    }

    fn enqueue_variants(&self, tx: &mut WriteTx<'_>, scope: TenantScope, site: &Site, of: &Deployment) -> Result<()> {
        let Some(manifest) = of.manifest else { return Ok(()) };
        let now = self.clock.now_ms();
        let job = NewJob {
            id: self.ids.next().into(),
            queue: Queue::Deploy,
            kind: COMPRESS_VARIANTS.to_owned(),
            tenant: Some(scope.tenant()),
            payload: serde_json::json!({"manifest": manifest.hex(), "deployment": of.id.to_string()}).to_string(),
            priority: 0,
            run_at_ms: now,
            title: format!("Compress {} {}", site.name, of.number),
            created_ms: now,
            unique: None,
            after: Vec::new(),
        };
        store::outbox::enqueue(tx, &job)?;
        let services = self.clone();
        tx.after_commit(move || services.outbox_has(job.id));
        Ok(())
    }

    /// Publishes a complete deployment, or with `to` absent the one that was live before. `if_live`: only while that one
    /// is live. Answers when visitors are served it.
    pub async fn roll_back(
        &self,
        actor: &Actor,
        name: &SiteName,
        to: Option<DeploymentRef>,
        if_live: Option<DeploymentId>,
    ) -> Result<Deployment> {
        let scope = actor.require(Right::Deploy)?;
        let (services, actor, name) = (self.clone(), actor.clone(), name.clone());
        let moved = self.db.write(move |tx| {
            let site = store::sites::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("site"))?;
            check_publish(tx, scope, &site, if_live)?;
            let target = match to {
                Some(of) => {
                    store::deployments::find(tx, scope, site.id, of)?.ok_or_else(|| Error::not_found("deployment"))?
                }
                None => find_before(tx, scope, &site)?,
            };
            if site.live == Some(target.id) {
                return Err(Error::conflict("already_live", format!("Deployment {} is live already.", target.number)));
            }
            if !target.state.is_complete() {
                return Err(Error::conflict(
                    "not_complete",
                    format!("Deployment {} is {} and cannot be published.", target.number, target.state.word()),
                ));
            }
            // What was never shown is a deploy, also when it comes late and newer ones were shown before.
            let why = if target.state == State::Ready { Move::Deploy } else { Move::Rollback };
            services.move_live(tx, &actor, &site, Some(&target), why)?;
            Ok(Deployment { state: State::Live, ..target })
        });
        let moved = moved.await?;
        self.shown(scope).await;
        Ok(moved)
    }

    /// Drops what is cached of the tenant's sites, after the commit that changed them.
    pub(super) fn forget(&self, scope: TenantScope) {
        self.cache.drop_tag(&Tag::Sites(scope.tenant()));
        self.signals().touch();
    }

    /// As [`Services::forget`], with the commit of this transaction: whoever asked for the change may have gone by then.
    pub(super) fn changes_sites(&self, tx: &mut WriteTx<'_>, scope: TenantScope) {
        let services = self.clone();
        tx.after_commit(move || services.forget(scope));
    }

    /// Tells the data plane and waits until it serves what the database says. On a shutdown nobody new is served any more,
    /// and the next start begins with what the database says.
    pub(super) async fn served(&self, scope: TenantScope) {
        // Told again after the commit: who woke by the signal inside of the transaction saw the rows of before, and would
        // sleep on.
        self.signals().outbox.notify_one();
        self.signals().audit.notify_one();
        self.signals().retention.notify_one();
        self.forget(scope);
        self.signals().routes_changed();
        self.settled().await;
    }

    /// As [`Services::served`], after a transaction that has told the data plane itself.
    pub(super) async fn shown(&self, scope: TenantScope) {
        self.forget(scope);
        self.settled().await;
    }

    /// Tells the data plane when this transaction has ended. Until then, whoever asks how a deployment stands waits. Also drops what
    /// is cached of the tenant's sites, since whoever asked for the change may have gone by then.
    pub(super) fn changes_routes(&self, tx: &mut WriteTx<'_>, scope: TenantScope) -> Result<()> {
        let (moving, services) = (Moving::new(self.clone()), self.clone());
        self.tell(tx, Topic::Routes)?;
        tx.after_commit(move || {
            services.forget(scope);
            drop(moving);
        });
        Ok(())
    }

    /// Tells the data planes of all nodes to look again, where nothing in the database has changed.
    pub async fn look_again(&self) -> Result<()> {
        let services = self.clone();
        self.db.write(move |tx| services.tell(tx, Topic::Routes)).await
    }

    /// Waits until visitors are served what the database says, so that "live" is never said too early.
    pub(super) async fn settled(&self) {
        let lost = async {
            // What is committed is so, also when the database goes away before visitors are served it.
            while self.db.health().is_ok() {
                tokio::time::sleep(LOST_LOOK).await;
            }
        };
        tokio::select! {
            () = self.signals().routes_settled() => {}
            () = lost => tracing::warn!("a change is committed, and shown once the database is back"),
            () = self.tasks.stopping() => {}
        }
    }
}

/// A transaction that changes what visitors see, from its beginning to its end.
struct Moving(Services);

impl Moving {
    fn new(services: Services) -> Self {
        services.signals().routes_moving();
        Self(services)
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.0.signals().routes_moved();
    }
}

/// As [`check_live`], for what is to be published now. On a site that is taken down nothing is: no publication may say that
/// visitors were shown something which they were not.
pub(super) fn check_publish(
    tx: &mut ReadTx<'_>,
    scope: TenantScope,
    site: &Site,
    wanted: Option<DeploymentId>,
) -> Result<()> {
    if site.taken_down.is_some() {
        let text = "This site is taken down, so that nothing can be published on it. What was sent is kept: put the site \
                    back, then publish it.";
        return Err(Error::conflict("taken_down", text));
    }
    check_live(tx, scope, site, wanted)
}

/// Refuses unless `wanted` is absent or live (DECISIONS 11).
pub(super) fn check_live(
    tx: &mut ReadTx<'_>,
    scope: TenantScope,
    site: &Site,
    wanted: Option<DeploymentId>,
) -> Result<()> {
    if wanted.is_none() || wanted == site.live {
        return Ok(());
    }
    let live = match site.live {
        Some(id) => store::deployments::find(tx, scope, site.id, DeploymentRef::Id(id))?,
        None => None,
    };
    let live = live.map_or_else(|| String::from("none is live"), |it| format!("deployment {} is live", it.number));
    Err(Error::conflict(
        "live_changed",
        format!(
            "The site has changed meanwhile: {live}. Look at it, and deploy again without --if-live or with its id."
        ),
    ))
}

/// The deployment that was live before the present one and can still be shown.
fn find_before(tx: &mut ReadTx<'_>, scope: TenantScope, site: &Site) -> Result<Deployment> {
    let history = store::publications::list(tx, scope, site.id, HISTORY_MAX)?;
    for id in history.into_iter().filter_map(|it| it.deployment).filter(|it| Some(*it) != site.live) {
        let found = store::deployments::find(tx, scope, site.id, DeploymentRef::Id(id))?;
        if let Some(found) = found.filter(|it| it.state.is_complete()) {
            return Ok(found);
        }
    }
    Err(Error::conflict(
        "nothing_before",
        "No earlier deployment of this site is kept, so there is nothing to go back to.",
    ))
}
