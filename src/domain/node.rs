//! A node: one process of an installation that several run together.

use crate::{
    domain::{Error, Result},
    id_type,
};

id_type!(
    /// The id of a node: it stays with the node's data folder.
    NodeId
);

/// What a node does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    #[default]
    All,
    /// Sites, panel and API; no jobs.
    Web,
    /// Jobs; no sites, no panel.
    Worker,
}

impl Role {
    /// The stored and shown word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Web => "web",
            Self::Worker => "worker",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Result<Self> {
        [Self::All, Self::Web, Self::Worker].into_iter().find(|it| it.word() == word).ok_or_else(|| {
            let text = format!("There is no role `{word}`. The roles are all, web and worker.");
            Error::invalid("role", text).on("role")
        })
    }

    /// Whether visitors, the panel and the API are answered.
    pub const fn serves(self) -> bool {
        !matches!(self, Self::Worker)
    }

    /// Whether jobs are run.
    pub const fn works(self) -> bool {
        !matches!(self, Self::Web)
    }
}

/// What only one node may do at a time. Whoever does it holds the lease of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Duty {
    /// Asking for the jobs of schedules.
    Schedule,
    /// Sealing the audit log.
    Seal,
    /// Pruning deployments, collecting garbage.
    Clean,
    /// Deploying from watched folders.
    Watch,
    /// Getting certificates.
    Certify,
}

impl Duty {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Schedule, Self::Seal, Self::Clean, Self::Watch, Self::Certify];

    /// The name of its lease.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Seal => "seal",
            Self::Clean => "clean",
            Self::Watch => "watch",
            Self::Certify => "certify",
        }
    }
}

/// What nodes tell one another: that something has changed, never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// What visitors see.
    Routes,
    /// Schedules.
    Schedules,
    /// Events wait to be sealed.
    Audit,
    /// Folders that sites are deployed from.
    Watch,
    /// Certificates, and what authorities will ask for.
    Certificates,
    /// Who gets nothing of a site.
    Bans,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Routes, Self::Schedules, Self::Audit, Self::Watch, Self::Certificates, Self::Bans];

    /// The stored word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Schedules => "schedules",
            Self::Audit => "audit",
            Self::Watch => "watch",
            Self::Certificates => "certificates",
            Self::Bans => "bans",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_and_say_what_they_do() {
        for role in [Role::All, Role::Web, Role::Worker] {
            assert_eq!(Role::parse(role.word()).unwrap(), role);
        }
        assert!(Role::Web.serves() && !Role::Web.works());
        assert!(!Role::Worker.serves() && Role::Worker.works());
        let error = Role::parse("boss").unwrap_err();
        assert!(error.code == "role" && error.message.contains("worker"));
    }
}
