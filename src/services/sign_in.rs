//! Signing in and out, and the sessions of a user.
//!
//! SECURITY: an unknown e-mail costs as much time as a wrong password and gets the same words. Five tries in 15 minutes
//! for an address and for an account.

use std::net::IpAddr;

use crate::{
    base::{hash::Sha256, limits, secret::Secret},
    domain::{
        Error, Kind, Result,
        access::{Actor, Credential},
        event::Event,
        session::{Session, SessionId},
        tenant::TenantId,
        user::{Email, UserId},
    },
    ports::db::WriteTx,
    store,
};

use super::{Services, access, access::Origin};

/// Characters of the browser's own words that are kept.
const AGENT_CHARS_MAX: usize = 200;

impl Services {
    /// Checks e-mail and password and begins a session; its secret comes back, for a cookie.
    pub async fn sign_in(&self, email: &str, password: Secret, origin: &Origin, agent: &str) -> Result<Secret> {
        let by_address = Try::from_address(origin.address);
        self.count_try(&by_address).await?;
        let wrong = || {
            Error::unauthenticated("sign_in", "That e-mail and password do not fit together. Check both and try again.")
        };
        let Ok(email) = Email::parse(email) else { return Err(wrong()) };
        let by_account = Try::of_account(&email);
        self.count_try(&by_account).await?;
        if password.expose().len() > limits::PASSWORD_BYTES_MAX {
            return Err(wrong());
        }
        let known = email.clone();
        let found = self.db.read(move |tx| store::users::find_by_email(tx, &known)).await?;
        let fits = self.hashing().verify(password, found.as_ref().map(|(_, hash)| hash.as_str())).await?;
        let Some((user, _)) = found.filter(|(user, _)| fits && !user.disabled) else {
            return Err(wrong());
        };
        self.forget_tries([by_address, by_account]);
        let home = self.db.read(move |tx| store::tenants::find_home(tx, user.id)).await?;
        let (tenant, _) =
            home.ok_or_else(|| Error::forbidden("You belong to no tenant of this server. Ask its admin to add you."))?;
        let mut actor = self.actor_system(tenant.id, "");
        (actor.label, actor.address) = (email.to_string(), origin.address);
        let event = Event::new("user.signed_in", "user", &email, "signed in");
        let (services, origin, agent) = (self.clone(), origin.clone(), agent.to_owned());
        self.db
            .write(move |tx| {
                let secret = services.begin_session(tx, (user.id, tenant.id), &origin, &agent)?;
                services.record(tx, &actor, &event)?;
                Ok(secret)
            })
            .await
    }

    /// How many passwords this process has hashed: each takes 19 MiB and a place, so that many tell of an attack.
    pub fn passwords_hashed(&self) -> u64 {
        self.hashing().hashed()
    }

    /// Counts one try to show that one knows a password; past the limit it is refused.
    pub(super) async fn count_try(&self, of: &Try) -> Result<()> {
        let (max, window) = (limits::SIGN_IN_TRIES_MAX, limits::SIGN_IN_WINDOW_MS);
        self.windows().take(&of.0, max, window, "sign_in_tries", "Too many tries with a wrong password.").await
    }

    /// Gives tries back: it was the right password.
    pub(super) fn forget_tries(&self, tries: [Try; 2]) {
        for of in tries {
            self.windows().forget(&of.0);
        }
    }

    /// Begins a session for a user in a tenant.
    pub(super) fn begin_session(
        &self,
        tx: &mut WriteTx<'_>,
        (user, tenant): (UserId, TenantId),
        origin: &Origin,
        agent: &str,
    ) -> Result<Secret> {
        let secret = access::token();
        let hash = Sha256::of(secret.expose().as_bytes());
        let now = self.clock.now_ms();
        let session = Session {
            id: self.ids.next().into(),
            created_ms: now,
            seen_ms: now,
            address: origin.address.map(|it| it.to_string()).unwrap_or_default(),
            agent: agent.chars().filter(|it| !it.is_control()).take(AGENT_CHARS_MAX).collect(),
        };
        let found = store::sessions::Found { session, user, tenant };
        store::sessions::delete_old(tx, now - limits::SESSION_MS, now - limits::SESSION_IDLE_MS)?;
        store::sessions::insert(tx, &found, hash)?;
        Ok(secret)
    }

    /// The sessions of the actor's user that have not ended.
    pub async fn list_sessions(&self, actor: &Actor) -> Result<Vec<Session>> {
        let (user, now) = (own_user(actor)?, self.clock.now_ms());
        let found = self.db.read(move |tx| store::sessions::list(tx, user)).await?;
        Ok(found.into_iter().filter(|it| !it.is_over(now)).collect())
    }

    /// Ends one session of the actor's user.
    pub async fn end_session(&self, actor: &Actor, id: SessionId) -> Result<()> {
        let (user, services, actor) = (own_user(actor)?, self.clone(), actor.clone());
        self.db
            .write(move |tx| {
                if !store::sessions::delete(tx, user, id)? {
                    return Err(Error::not_found("session"));
                }
                let own = actor.credential == Credential::Session(id);
                let text = if own { "signed out" } else { "ended another session of theirs" };
                services.record(tx, &actor, &Event::new("user.session_ended", "session", &id, text))
            })
            .await
    }
}

/// Whose tries with a password are counted: those from an address, or those for an account.
#[derive(Debug)]
pub(super) struct Try(String);

impl Try {
    /// Tries from an address.
    pub(super) fn from_address(address: Option<IpAddr>) -> Self {
        Self(format!("sign-in from {}", super::windows::by_address(address)))
    }

    /// Tries for an account.
    pub(super) fn of_account(email: &Email) -> Self {
        Self(format!("sign-in of {email}"))
    }
}

/// The user behind an actor; keys and sessions have one.
pub(super) fn own_user(actor: &Actor) -> Result<UserId> {
    actor.user.ok_or_else(|| Error::new(Kind::Forbidden, "no_user", "This needs a signed-in user."))
}
