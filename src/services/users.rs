//! Users of a tenant: made, disabled, their passwords.

use crate::{
    base::{limits, secret::Secret},
    domain::{
        Error, Result,
        access::{Actor, Credential, Right},
        event::Event,
        tenant::TenantId,
        user::{self, Email, Grade, User, UserId},
    },
    ports::db::WriteTx,
    store,
};

use super::{
    Services,
    sign_in::{Try, own_user},
};

/// Users listed for a tenant: more than a page shows.
const LISTED_MAX: u32 = 1_000;

impl Services {
    /// Makes a user and joins them to the actor's tenant.
    pub async fn create_user(&self, actor: &Actor, email: &str, grade: Grade, password: Secret) -> Result<UserId> {
        let scope = actor.require(Right::ManageTenant)?;
        if grade.super_admin {
            actor.require(Right::ManageServer)?;
        }
        let email = Email::parse(email)?;
        user::check_password(password.expose())?;
        let password_hash = self.hashing().hash(password).await?;
        let (services, actor) = (self.clone(), actor.clone());
        self.db
            .write(move |tx| {
                if store::users::find_by_email(tx, &email)?.is_some() {
                    return Err(Error::conflict("email_taken", format!("There is a user {email} already.")).on("email"));
                }
                let (id, _) = services.insert_user(tx, &email, grade, &password_hash, scope.tenant())?;
                store::claims::delete_all(tx)?;
                let text = format!("added the user {email} as {}", grade.word());
                services.record(tx, &actor, &Event::new("user.created", "user", &email, text))?;
                Ok(id)
            })
            .await
    }

    /// Adds the rows of a user.
    pub(super) fn insert_user(
        &self,
        tx: &mut WriteTx<'_>,
        email: &Email,
        grade: Grade,
        password_hash: &str,
        tenant: TenantId,
    ) -> Result<(UserId, TenantId)> {
        let now = self.clock.now_ms();
        let user = User {
            id: self.ids.next().into(),
            email: email.clone(),
            super_admin: grade.super_admin,
            created_ms: now,
            disabled: false,
        };
        store::users::insert(tx, &user, password_hash)?;
        store::tenants::join(tx, tenant, user.id, grade.role, now)?;
        Ok((user.id, tenant))
    }

    /// The users of the actor's tenant, as many as a page shows.
    pub async fn list_users(&self, actor: &Actor) -> Result<Vec<(User, Grade)>> {
        self.list_users_after(actor, "", LISTED_MAX).await
    }

    /// A page of the users of the actor's tenant by e-mail, after the e-mail `after`.
    pub async fn list_users_after(&self, actor: &Actor, after: &str, limit: u32) -> Result<Vec<(User, Grade)>> {
        let scope = actor.require(Right::ManageTenant)?;
        let after = after.to_owned();
        self.db.read(move |tx| store::users::list(tx, scope, &after, limit.into())).await
    }

    /// Disables or enables a user of the actor's tenant. Sessions of a disabled user end.
    pub async fn change_user_disabled(&self, actor: &Actor, id: UserId, disabled: bool) -> Result<()> {
        let scope = actor.require(Right::ManageTenant)?;
        let (services, actor) = (self.clone(), actor.clone());
        self.db
            .write(move |tx| {
                let missing = || Error::not_found("user");
                store::tenants::find_role(tx, scope.tenant(), id)?.ok_or_else(missing)?;
                let user = store::users::find(tx, id)?.ok_or_else(missing)?;
                if user.super_admin {
                    actor.require(Right::ManageServer)?;
                    if disabled && store::users::count_super_admins(tx)? <= 1 {
                        return Err(last_super_admin());
                    }
                }
                store::users::change_disabled(tx, id, disabled)?;
                if disabled {
                    store::sessions::delete_all(tx, id)?;
                }
                let (kind, word) = if disabled { ("user.disabled", "disabled") } else { ("user.enabled", "enabled") };
                let text = format!("{word} the user {}", user.email);
                services.record(tx, &actor, &Event::new(kind, "user", &user.email, text))
            })
            .await
    }

    /// Changes the password of who is signed in. Their other sessions end; how many.
    ///
    /// SECURITY: a session alone is not enough, since it may be a browser that was left open: the present password is
    /// asked, and wrong ones count as tries to sign in. A key is not enough either: it would be a way to keep an account.
    pub async fn change_own_password(&self, actor: &Actor, present: Secret, new: Secret) -> Result<u64> {
        let user = own_user(actor)?;
        let Credential::Session(session) = actor.credential else {
            return Err(Error::forbidden("A password is changed in the panel, by who is signed in there."));
        };
        let found = self.db.read(move |tx| store::users::find_with_password(tx, user)).await?;
        let (user, stored) = found.ok_or_else(|| Error::not_found("user"))?;
        let tries = [Try::from_address(actor.address), Try::of_account(&user.email)];
        for of in &tries {
            self.count_try(of).await?;
        }
        let same = new.expose() == present.expose();
        let fits = present.expose().len() <= limits::PASSWORD_BYTES_MAX;
        if !fits || !self.hashing().verify(present, Some(&stored)).await? {
            return Err(Error::invalid("password_present", "That is not your present password.").on("present"));
        }
        self.forget_tries(tries);
        user::check_password(new.expose())?;
        if same {
            return Err(
                Error::invalid("password_same", "That is the password you have. Choose another one.").on("password")
            );
        }
        let password_hash = self.hashing().hash(new).await?;
        let (services, actor) = (self.clone(), actor.clone());
        self.db
            .write(move |tx| {
                let now = store::users::find_with_password(tx, user.id)?;
                if now.is_none_or(|(_, now)| now != stored) {
                    return Err(Error::conflict(
                        "password_changed",
                        "The password was changed meanwhile. Sign in again.",
                    ));
                }
                store::users::change_password(tx, user.id, &password_hash)?;
                let ended = store::sessions::delete_others(tx, user.id, session)?;
                let text = String::from("changed their own password");
                services.record(tx, &actor, &Event::new("user.password_changed", "user", &user.email, text))?;
                Ok(ended)
            })
            .await
    }

    /// Sets the password of any user, from the command line on the server. All sessions of the user end.
    pub async fn change_password(&self, actor: &Actor, email: &str, password: Secret) -> Result<()> {
        if actor.credential != Credential::Local {
            return Err(Error::forbidden("Only the command line on the server changes the passwords of others."));
        }
        let email = Email::parse(email)?;
        user::check_password(password.expose())?;
        let password_hash = self.hashing().hash(password).await?;
        let (services, actor) = (self.clone(), actor.clone());
        self.db
            .write(move |tx| {
                let (user, _) = store::users::find_by_email(tx, &email)?.ok_or_else(|| Error::not_found("user"))?;
                store::users::change_password(tx, user.id, &password_hash)?;
                store::sessions::delete_all(tx, user.id)?;
                let text = format!("changed the password of {email}");
                services.record(tx, &actor, &Event::new("user.password_changed", "user", &email, text))
            })
            .await
    }
}

fn last_super_admin() -> Error {
    Error::conflict(
        "last_super_admin",
        "This is the last super admin of the server, who cannot be removed. Make another one first.",
    )
}
