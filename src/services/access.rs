//! Who acts: turns a session, a key, the control socket or the host itself into an `Actor`.
//!
//! SECURITY: the one place that grants scopes. Rights are read from the database on every call, so that a revoked key or
//! a disabled user is refused at once; nothing here is cached.

use std::net::IpAddr;

use crate::{
    base::{hash::Sha256, ids::Id, limits, secret::Secret},
    domain::{
        Error, Result,
        access::{Actor, Credential, KeyScope, Right, ServerScope, TenantScope},
        api_key,
        session::SessionId,
        tenant::{DEFAULT_TENANT, Tenant, TenantId},
        user::{Role, User},
    },
    ports::{
        cache::Tag,
        db::{ReadTx, WriteTx},
        position::Position,
    },
    store::{self, tenants::Member},
};

use super::Services;

/// A last use is noted at most this often: a write for each request would cost more than it tells.
const TOUCH_MS: i64 = 60_000;

/// Where a call comes from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The id of the request.
    pub request_id: String,
    /// The position of the database that the client has seen by its own writes, perhaps through another server.
    pub seen: Option<u64>,
}

/// Who is signed in, for pages and `/api/v1/me`.
#[derive(Clone, Debug)]
pub struct Whoami {
    /// The user.
    pub user: User,
    /// The tenant that they act in.
    pub tenant: Tenant,
    /// Their role there.
    pub role: Role,
    /// The key that they use, if it is one: name and scope.
    pub key: Option<(String, KeyScope)>,
    /// The session that they use, if it is one.
    pub session: Option<SessionId>,
}

/// Leave to read across tenants, for the host's own tasks.
pub(super) const fn server_scope() -> ServerScope {
    ServerScope::grant()
}

/// The tenant that first users join; another id while it is not there.
pub(super) fn find_default_tenant(tx: &mut ReadTx<'_>) -> Result<TenantId> {
    Ok(store::tenants::find_by_name(tx, DEFAULT_TENANT)?.map_or_else(|| Id::NIL.into(), |it| it.id))
}

/// Leave for one tenant, for the host's own tasks.
pub(super) const fn task_scope(tenant: TenantId) -> TenantScope {
    TenantScope::grant(tenant)
}

impl Services {
    /// The actor of an API key.
    pub async fn actor_by_key(&self, key: &str, origin: Origin) -> Result<(Actor, Whoami)> {
        let wrong = || {
            Error::unauthenticated(
                "key",
                "This API key is not known here, or it was revoked. Make a new one in the panel.",
            )
        };
        let token = api_key::stored_hash(key).ok_or_else(wrong)?;
        let now = self.clock.now_ms();
        let found = self.db.read(move |tx| store::api_keys::find(tx, token)).await?;
        let (key, Member { user, tenant, role }) = found.ok_or_else(wrong)?;
        if key.expires_ms.is_some_and(|it| it <= now) {
            return Err(Error::unauthenticated(
                "key_expired",
                "This API key has expired. Make a new one in the panel.",
            ));
        }
        let (max, window) = (limits::API_CALLS_MAX, limits::API_WINDOW_MS);
        let of_key = format!("api {}", key.id);
        self.windows().take(&of_key, max, window, "api_calls", "This key has been used too often.").await?;
        if key.used_ms.is_none_or(|it| now - it >= TOUCH_MS) {
            let id = key.id;
            self.note(move |tx| store::api_keys::touch(tx, id, now));
        }
        self.show_seen(TenantScope::grant(tenant.id), &origin);
        let actor = Actor {
            user: Some(user.id),
            label: format!("key {} of {}", key.name, user.email),
            role,
            super_admin: user.super_admin,
            credential: Credential::Key(key.id, key.scope),
            scope: TenantScope::grant(tenant.id),
            address: origin.address,
            request_id: origin.request_id,
        };
        Ok((actor, Whoami { user, tenant, role, key: Some((key.name, key.scope)), session: None }))
    }

    /// The actor of a session's secret; `None` when there is no such session any more.
    pub async fn actor_by_session(&self, token: &str, origin: Origin) -> Result<Option<(Actor, Whoami)>> {
        let hash = Sha256::of(token.as_bytes());
        let now = self.clock.now_ms();
        let found = self.db.read(move |tx| store::sessions::find(tx, hash)).await?;
        let found = found.filter(|(session, _)| !session.is_over(now));
        let Some((session, Member { user, tenant, role })) = found else { return Ok(None) };
        if now - session.seen_ms >= TOUCH_MS {
            let id = session.id;
            self.note(move |tx| store::sessions::touch(tx, id, now));
        }
        self.show_seen(TenantScope::grant(tenant.id), &origin);
        let actor = Actor {
            user: Some(user.id),
            label: user.email.to_string(),
            role,
            super_admin: user.super_admin,
            credential: Credential::Session(session.id),
            scope: TenantScope::grant(tenant.id),
            address: origin.address,
            request_id: origin.request_id,
        };
        Ok(Some((actor, Whoami { user, tenant, role, key: None, session: Some(session.id) })))
    }

    /// Notes a last use, beside the request: who only reads does not wait for a slow disk. One that cannot be noted locks nobody
    /// out: on a full disk people must get in, to look and to free space.
    fn note(&self, touch: impl FnOnce(&mut WriteTx<'_>) -> Result<()> + Send + 'static) {
        let db = self.db.clone();
        self.tasks.spawn(async move {
            if let Err(error) = db.write(touch).await {
                tracing::warn!(%error, "a last use could not be noted");
            }
        });
    }

    /// Lets a tenant's reads here find what its client has written through another server.
    fn show_seen(&self, scope: TenantScope, origin: &Origin) {
        let position = Position(origin.seen.unwrap_or(0));
        if self.db.shown(scope, position) {
            self.cache.drop_tag(&Tag::Sites(scope.tenant()));
        }
    }

    /// The position for clients to show to other servers, once this one has written; `None` without replicas.
    pub fn latest_position(&self) -> Option<u64> {
        Some(self.db.latest().0).filter(|it| *it > 0)
    }

    /// Whoever holds the data folder: the control socket, or the command line while the server is down.
    pub async fn actor_local(&self) -> Result<Actor> {
        let tenant = self.db.write({
            let services = self.clone();
            move |tx| services.default_tenant(tx)
        });
        let scope = TenantScope::grant(tenant.await?.id);
        Ok(Actor {
            user: None,
            label: String::from("command line on this server"),
            role: Role::Admin,
            super_admin: true,
            credential: Credential::Local,
            scope,
            address: None,
            request_id: String::new(),
        })
    }

    /// The host itself in a tenant: `system: watch`.
    pub fn actor_system(&self, tenant: TenantId, part: &str) -> Actor {
        Actor {
            user: None,
            label: format!("system: {part}"),
            role: Role::User,
            super_admin: false,
            credential: Credential::System,
            scope: TenantScope::grant(tenant),
            address: None,
            request_id: String::new(),
        }
    }

    /// Leave to read across tenants, for who may manage the server.
    pub(super) fn require_server(actor: &Actor) -> Result<ServerScope> {
        actor.require(Right::ManageServer).map(|_| ServerScope::grant())
    }

    /// The tenant that first users join; made when it is missing.
    pub(super) fn default_tenant(&self, tx: &mut WriteTx<'_>) -> Result<Tenant> {
        if let Some(tenant) = store::tenants::find_by_name(tx, DEFAULT_TENANT)? {
            return Ok(tenant);
        }
        let tenant =
            Tenant { id: self.ids.next().into(), name: DEFAULT_TENANT.to_owned(), created_ms: self.clock.now_ms() };
        store::tenants::insert(tx, &tenant)?;
        Ok(tenant)
    }
}

/// A new secret for a cookie or a link: 256 bits.
pub(super) fn token() -> Secret {
    Secret::new(data_encoding::BASE64URL_NOPAD.encode(&crate::base::random::bytes::<32>()))
}
