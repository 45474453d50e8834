//! First contact: a one-time link, and the first user through it.
//!
//! SECURITY: no default password and no open form. A token works for 30 minutes, until the server has a user.

use crate::{
    base::{hash::Sha256, limits, secret::Secret},
    domain::{
        Error, Result,
        event::Event,
        user::{self, Email, Grade, Role},
    },
    store,
};

use super::{Services, access, access::Origin};

impl Services {
    /// Whether nobody has claimed the server yet.
    pub async fn is_unclaimed(&self) -> Result<bool> {
        self.db.read(|tx| Ok(!store::users::any(tx)?)).await
    }

    /// A new claim token, which ends the one before; `None` when the server has a user.
    pub async fn new_claim(&self) -> Result<Option<Secret>> {
        let token = access::token();
        let hash = Sha256::of(token.expose().as_bytes());
        let expires_ms = self.clock.now_ms() + limits::CLAIM_MS;
        let open = self.db.write(move |tx| {
            if store::users::any(tx)? {
                return Ok(false);
            }
            store::claims::replace(tx, hash, expires_ms)?;
            Ok(true)
        });
        Ok(open.await?.then_some(token))
    }

    /// Whether a claim token works now.
    pub async fn is_claim_good(&self, token: &str) -> Result<bool> {
        let (hash, now) = (Sha256::of(token.as_bytes()), self.clock.now_ms());
        self.db.read(move |tx| Ok(!store::users::any(tx)? && store::claims::is_good(tx, hash, now)?)).await
    }

    /// Makes the first user, a super admin, and signs them in. The session's secret comes back.
    pub async fn claim(
        &self,
        token: &str,
        email: &str,
        password: Secret,
        origin: &Origin,
        agent: &str,
    ) -> Result<Secret> {
        let address = super::windows::by_address(origin.address);
        let (max, window) = (limits::SIGN_IN_TRIES_MAX, limits::SIGN_IN_WINDOW_MS);
        self.windows().take(&format!("claim {address}"), max, window, "claim_tries", "Too many tries.").await?;
        let email = Email::parse(email)?;
        user::check_password(password.expose())?;
        if !self.is_claim_good(token).await? {
            return Err(Error::forbidden(
                "This claim link has been used or has expired. Make a new one on the server: chainhost admin claim-link",
            ));
        }
        let password_hash = self.hashing().hash(password).await?;
        let (hash, services, label) = (Sha256::of(token.as_bytes()), self.clone(), email.to_string());
        let (origin, agent) = (origin.clone(), agent.to_owned());
        let claimed = self.db.write(move |tx| {
            if store::users::any(tx)? || !store::claims::is_good(tx, hash, services.clock.now_ms())? {
                return Err(Error::forbidden("Somebody else has claimed this server first."));
            }
            store::claims::delete_all(tx)?;
            let grade = Grade { role: Role::Admin, super_admin: true };
            let tenant = services.default_tenant(tx)?;
            let user = services.insert_user(tx, &email, grade, &password_hash, tenant.id)?;
            let secret = services.begin_session(tx, user, &origin, &agent)?;
            let mut actor = services.actor_system(tenant.id, "claim");
            (actor.label, actor.address) = (label.clone(), origin.address);
            let event = Event::new("server.claimed", "user", &label, format!("claimed this server as {label}"));
            services.record(tx, &actor, &event)?;
            Ok(secret)
        });
        claimed.await
    }
}
