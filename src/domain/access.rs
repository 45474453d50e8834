//! Who acts in a call, what they may do, and the proof of it that every tenant query asks for.

use std::net::IpAddr;

use crate::domain::{
    Error, Result,
    api_key::ApiKeyId,
    session::SessionId,
    tenant::TenantId,
    user::{Role, UserId},
};

/// Leave to touch one tenant's rows. Every store function on tenant data takes one.
///
/// INVARIANT: made only by `services::access` (a tidy check looks for the constructor's name), so a
/// query without an authorised tenant does not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TenantScope(TenantId);

impl TenantScope {
    /// The authorised scope. Only `services::access` calls this.
    pub const fn grant(tenant: TenantId) -> Self {
        Self(tenant)
    }

    /// The tenant.
    pub const fn tenant(&self) -> TenantId {
        self.0
    }
}

/// Leave to read across tenants, for the host's own tasks and for super admins.
///
/// INVARIANT: as with [`TenantScope`], only `services::access` makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerScope(());

impl ServerScope {
    /// The authorised scope. Only `services::access` calls this.
    pub const fn grant() -> Self {
        Self(())
    }
}

/// What a call wants to do. Roles and key scopes are sets of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// See sites, deployments, jobs.
    Read,
    /// Deploy, publish, roll back.
    Deploy,
    /// Make a site. Whatever may deploy may do so: the first deploy of a site makes it.
    CreateSites,
    /// Change and delete sites, give them hostnames.
    ManageSites,
    /// Users, keys of others, audit log of the tenant.
    ManageTenant,
    /// Settings of the server, other tenants, garbage collection.
    ManageServer,
}

/// Scopes of an API key, as stored and shown: `deploy`, `read`, `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyScope {
    /// Only to look.
    Read,
    /// To look, to deploy, and to make the site that is deployed.
    Deploy,
    /// Everything its user may.
    All,
}

impl KeyScope {
    /// The stored word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::All => "all",
        }
    }

    /// Reads the stored word.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "read" => Ok(Self::Read),
            "deploy" => Ok(Self::Deploy),
            "all" => Ok(Self::All),
            _ => Err(Error::invalid("key_scope", "A key's scope is one of read, deploy, all.").on("scope")),
        }
    }

    const fn allows(self, right: Right) -> bool {
        match self {
            Self::Read => matches!(right, Right::Read),
            Self::Deploy => matches!(right, Right::Read | Right::Deploy | Right::CreateSites),
            Self::All => true,
        }
    }
}

/// By what the actor is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A session of the panel.
    Session(SessionId),
    /// An API key with its scope.
    Key(ApiKeyId, KeyScope),
    /// The control socket or the command line beside the data folder.
    Local,
    /// The host itself: jobs, tasks, the watched folder.
    System,
}

/// Who acts in this call.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The user; absent for the system.
    pub user: Option<UserId>,
    /// For people and the audit log: an e-mail, `key ci-harbour of owner@…`, `system: watch`.
    pub label: String,
    /// Their role in the tenant.
    pub role: Role,
    /// Super admin of the server.
    pub super_admin: bool,
    /// By what they are known.
    pub credential: Credential,
    /// The tenant they act in.
    pub scope: TenantScope,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The id of the request, also in the log and in error pages.
    pub request_id: String,
}

impl Actor {
    /// Whether the actor may do `right` in their tenant.
    pub const fn may(&self, right: Right) -> bool {
        let by_role = match right {
            Right::ManageServer => self.super_admin,
            Right::ManageTenant => self.super_admin || matches!(self.role, Role::Admin),
            Right::Read | Right::Deploy | Right::CreateSites | Right::ManageSites => true,
        };
        let by_key = match self.credential {
            Credential::Key(_, scope) => scope.allows(right),
            Credential::Session(_) | Credential::Local | Credential::System => true,
        };
        by_role && by_key
    }

    /// The scope of the actor's tenant, when they may do `right`; else `Forbidden`.
    pub fn require(&self, right: Right) -> Result<TenantScope> {
        if self.may(right) {
            return Ok(self.scope);
        }
        let message = match (self.credential, right) {
            (Credential::Key(_, scope), _) if !scope.allows(right) => {
                format!(
                    "This key has the scope `{}`, which does not allow this. Use a key with a wider scope.",
                    scope.word()
                )
            }
            (_, Right::ManageServer) => String::from("Only a super admin may do this."),
            _ => String::from("Only an admin of this tenant may do this."),
        };
        Err(Error::forbidden(message))
    }
}
