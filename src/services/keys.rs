//! API keys: made, listed, revoked. The secret is shown once.

use crate::{
    base::secret::Secret,
    domain::{
        Error, Result,
        access::{Actor, Credential, KeyScope, Right},
        api_key::{self, ApiKey, ApiKeyId},
        event::Event,
        user::{Email, UserId},
    },
    ports::db::ReadTx,
    store,
};

use super::{Services, sign_in::own_user};

/// Characters of a key's name.
const NAME_CHARS_MAX: usize = 60;

impl Services {
    /// Makes a key for the actor's own user; the secret comes back, this once.
    pub async fn create_key(
        &self,
        actor: &Actor,
        name: &str,
        key_scope: KeyScope,
        expires_ms: Option<i64>,
    ) -> Result<(ApiKeyId, Secret)> {
        // A key that could make wider keys would have no limits.
        if let Credential::Key(_, KeyScope::Read | KeyScope::Deploy) = actor.credential {
            actor.require(Right::ManageTenant)?;
        }
        self.insert_key(actor, own_user(actor)?, name, key_scope, expires_ms).await
    }

    /// Makes a key for a user by e-mail: from the command line on the server only.
    pub async fn create_key_for(&self, actor: &Actor, email: &str, name: &str, key_scope: KeyScope) -> Result<Secret> {
        if actor.credential != Credential::Local {
            return Err(Error::forbidden("Only the command line on the server makes keys for others."));
        }
        let email = Email::parse(email)?;
        let found = self.db.read(move |tx| store::users::find_by_email(tx, &email)).await?;
        let (user, _) = found.ok_or_else(|| Error::not_found("user"))?;
        Ok(self.insert_key(actor, user.id, name, key_scope, None).await?.1)
    }

    async fn insert_key(
        &self,
        actor: &Actor,
        user: UserId,
        name: &str,
        key_scope: KeyScope,
        expires_ms: Option<i64>,
    ) -> Result<(ApiKeyId, Secret)> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
            let text = format!("Give the key a name of 1 to {NAME_CHARS_MAX} characters, such as `laptop` or `ci`.");
            return Err(Error::invalid("key_name", text).on("name"));
        }
        if expires_ms.is_some_and(|it| it <= self.clock.now_ms()) {
            return Err(Error::invalid("key_expires", "The key would have expired already.").on("expires_at"));
        }
        let secret = api_key::generate();
        let hash = api_key::stored_hash(secret.expose()).ok_or_else(|| Error::internal("a new key has no hash"))?;
        let id = self.ids.next().into();
        let key = ApiKey {
            id,
            name: name.to_owned(),
            hint: api_key::hint(secret.expose()),
            scope: key_scope,
            email: String::new(),
            created_ms: self.clock.now_ms(),
            used_ms: None,
            expires_ms,
        };
        let (services, actor) = (self.clone(), actor.clone());
        self.db
            .write(move |tx| {
                let tenant = home(tx, &actor, user)?;
                let text = format!("made the key `{}` with the scope {}", key.name, key_scope.word());
                store::api_keys::insert(tx, &store::api_keys::Found { key, user, tenant }, hash)?;
                services.record(tx, &actor, &Event::new("key.created", "key", &id, text))
            })
            .await?;
        Ok((id, secret))
    }

    /// Keys of the actor's tenant: all of them for an admin, else their own.
    pub async fn list_keys(&self, actor: &Actor) -> Result<Vec<ApiKey>> {
        let scope = actor.require(Right::Read)?;
        let of = key_owner(actor)?;
        self.db.read(move |tx| store::api_keys::list(tx, scope, of)).await
    }

    /// Revokes a key: any of the tenant for an admin, else one's own.
    pub async fn revoke_key(&self, actor: &Actor, id: ApiKeyId) -> Result<()> {
        let scope = actor.require(Right::Read)?;
        // A key that could take wider keys away would do more than its scope says.
        if let Credential::Key(_, KeyScope::Read | KeyScope::Deploy) = actor.credential {
            actor.require(Right::ManageTenant)?;
        }
        let of = key_owner(actor)?;
        let (services, actor) = (self.clone(), actor.clone());
        self.db
            .write(move |tx| {
                if !store::api_keys::delete(tx, scope, of, id)? {
                    return Err(Error::not_found("key"));
                }
                services.record(tx, &actor, &Event::new("key.revoked", "key", &id, "revoked a key"))
            })
            .await
    }

    /// Revokes a key by its secret, from the command line on the server.
    pub async fn revoke_key_by_secret(&self, actor: &Actor, secret: &str) -> Result<()> {
        actor.require(Right::ManageServer)?;
        let hash = api_key::stored_hash(secret)
            .ok_or_else(|| Error::invalid("key", "That is not an API key: its checksum does not fit.").on("key"))?;
        let (services, actor, hint) = (self.clone(), actor.clone(), api_key::hint(secret));
        self.db
            .write(move |tx| {
                if !store::api_keys::delete_by_token(tx, hash)? {
                    return Err(Error::not_found("key"));
                }
                services.record(tx, &actor, &Event::new("key.revoked", "key", &hint, "revoked a key by its secret"))
            })
            .await
    }
}

/// Whose keys the actor may see and revoke: `None` for all of the tenant.
pub(super) fn key_owner(actor: &Actor) -> Result<Option<UserId>> {
    if actor.may(Right::ManageTenant) { Ok(None) } else { own_user(actor).map(Some) }
}

/// The tenant that a new key acts in: the actor's, or for the command line the user's own.
fn home(tx: &mut ReadTx<'_>, actor: &Actor, user: UserId) -> Result<crate::domain::tenant::TenantId> {
    if actor.credential != Credential::Local {
        return Ok(actor.scope.tenant());
    }
    let found = store::tenants::find_home(tx, user)?;
    found.map(|(tenant, _)| tenant.id).ok_or_else(|| Error::not_found("tenant of this user"))
}
