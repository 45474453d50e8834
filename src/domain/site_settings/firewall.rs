//! Requests that a site does not answer, whatever it shows: rules of its own, and sets of known attacks.

pub mod seen;

use serde::{Deserialize, Serialize};

use super::{
    Section, is_default,
    limits::{all, check_methods, check_path, is_all},
};
use crate::{
    base::{country::Country, network::Network},
    domain::{Error, Result},
};

/// The section `firewall`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Firewall {
    /// Sets of attacks that are known and that no visitor makes by accident.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<Set>,
    /// What the sets do.
    #[serde(skip_serializing_if = "is_default")]
    pub sets_do: Action,
    /// Looked at in order; the first that fits decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// A set of known attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Set {
    /// Names that begin with a dot, such as `/.env` and `/.git/config`; not `/.well-known/`.
    Dotfiles,
    /// What scanners look for on every server: log-in pages of programs that are not here, shells, consoles.
    Probes,
    /// Requests that make use of a known flaw of a program behind the proxy: `Log4Shell` (CVE-2021-44228), Shellshock (CVE-2014-6271),
    /// `Spring4Shell` (CVE-2022-22965), Struts (CVE-2017-5638), PHP-CGI (CVE-2012-1823, CVE-2024-4577), Next.js (CVE-2025-29927).
    Exploits,
}

/// A request that fits all that a rule names is what the rule means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// For people, and in the log.
    pub name: String,
    /// A path pattern in small letters, which fits capital ones too: literal, `*` for any rest, `:name` for one segment.
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub path: String,
    /// Methods; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// A part of the query as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_has: Option<String>,
    /// A part of `User-Agent`, in any case of letters; the empty text fits requests without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_has: Option<String>,
    /// Addresses that the request comes from; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Network>,
    /// Countries that the address is of; none: all, and those of which it is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<Country>,
    /// Countries that it is not of. An address of no known country fits, unless it is of a network that none has, such as a private one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_countries: Vec<Country>,
    /// What is done.
    #[serde(default, rename = "do", skip_serializing_if = "is_default")]
    pub action: Action,
}

/// What is done with a request that fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// 403.
    #[default]
    Block,
    /// It is counted and told in the server's log, and answered.
    Log,
    /// It is answered, and no rule or set behind is looked at.
    Allow,
}

impl Action {
    /// Whether no rule behind is looked at.
    pub const fn decides(self) -> bool {
        matches!(self, Self::Allow | Self::Block)
    }
}

impl Set {
    /// Its name in settings and in the log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Dotfiles => "dotfiles",
            Self::Probes => "probes",
            Self::Exploits => "exploits",
        }
    }
}

const RULES_MAX: usize = 100;
const TEXT_BYTES_MAX: usize = 200;
const NETWORKS_MAX: usize = 100;

impl Rule {
    /// Whether it asks for countries.
    pub const fn wants_countries(&self) -> bool {
        !self.countries.is_empty() || !self.not_countries.is_empty()
    }

    fn check(&self) -> Result<()> {
        let wrong = |field: &'static str, text: String| Err(Error::invalid("site_firewall", text).on(field));
        if self.name.trim().is_empty() || self.name.len() > 80 || self.name.contains(char::is_control) {
            return wrong("firewall.rules.name", String::from("A rule has a name of 1 to 80 characters."));
        }
        check_path(&self.path, "firewall.rules.path")?;
        check_methods(&self.methods, "firewall.rules.methods")?;
        for (field, text) in
            [("firewall.rules.query_has", &self.query_has), ("firewall.rules.agent_has", &self.agent_has)]
        {
            if text.as_ref().is_some_and(|it| it.len() > TEXT_BYTES_MAX || it.contains(char::is_control)) {
                return wrong(
                    field,
                    format!("`{field}` has at most {TEXT_BYTES_MAX} characters, and no control characters."),
                );
            }
        }
        if self.query_has.as_ref().is_some_and(String::is_empty) {
            return wrong(
                "firewall.rules.query_has",
                String::from("Name a part of the query, or leave `query_has` out."),
            );
        }
        if self.from.len() > NETWORKS_MAX {
            return wrong(
                "firewall.rules.from",
                format!("A rule has at most {NETWORKS_MAX} networks. Name wider ones."),
            );
        }
        if !self.countries.is_empty() && !self.not_countries.is_empty() {
            let text = "A rule names `countries` or `not_countries`, not both: whoever comes from one of the former is in none of the others.";
            return wrong("firewall.rules.not_countries", String::from(text));
        }
        for (field, all) in
            [("firewall.rules.countries", &self.countries), ("firewall.rules.not_countries", &self.not_countries)]
        {
            let mut seen = std::collections::HashSet::new();
            if let Some(twice) = all.iter().find(|it| !seen.insert(**it)) {
                return wrong(field, format!("The rule `{}` names `{twice}` twice. Name it once.", self.name));
            }
        }
        let is_all = is_all(&self.path) && self.methods.is_empty() && self.query_has.is_none();
        let is_all = is_all && self.countries.is_empty() && self.not_countries.is_empty();
        if is_all && self.agent_has.is_none() && self.from.is_empty() && self.action == Action::Block {
            let text = format!(
                "The rule `{}` fits every request, so the site would answer nobody. Name a path, an address or anything else; to close the site, take it down.",
                self.name
            );
            return wrong("firewall.rules", text);
        }
        Ok(())
    }
}

impl Firewall {
    /// The first rule that asks for countries.
    pub fn wants_countries(&self) -> Option<&Rule> {
        self.rules.iter().find(|it| it.wants_countries())
    }
}

impl Section for Firewall {
    fn check(&self) -> Result<()> {
        if self.rules.len() > RULES_MAX {
            let text = format!("A site has at most {RULES_MAX} rules. Join some with a path that fits them all.");
            return Err(Error::invalid("site_firewall", text).on("firewall.rules"));
        }
        if self.sets_do == Action::Allow {
            let text = "`firewall.sets_do` is `block` or `log`. To allow all, leave `firewall.sets` empty.";
            return Err(Error::invalid("site_firewall", text).on("firewall.sets_do"));
        }
        let mut names = std::collections::HashSet::new();
        if let Some(twice) = self.rules.iter().find(|it| !names.insert(it.name.as_str())) {
            let text = format!(
                "Two rules are named `{}`. Give each a name of its own, so that the log tells them apart.",
                twice.name
            );
            return Err(Error::invalid("site_firewall", text).on("firewall.rules.name"));
        }
        self.rules.iter().try_for_each(Rule::check)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::SiteSettings;

    fn read(firewall: &Value) -> crate::domain::Result<SiteSettings> {
        SiteSettings::read(json!({ "firewall": firewall }).as_object().unwrap())
    }

    #[test]
    fn rules_are_kept_as_they_are_written() {
        let written = json!({ "sets": ["dotfiles", "exploits"], "rules": [
            { "name": "no bots", "agent_has": "BadBot", "do": "log" },
            { "name": "office", "path": "/admin/*", "from": ["192.0.2.0/24"], "do": "allow" },
            { "name": "admin", "path": "/admin/*" },
            { "name": "far", "countries": ["US", "CA"] },
            { "name": "not here", "path": "/shop/*", "not_countries": ["AT"], "do": "log" },
        ] });
        let settings = read(&written).unwrap();
        assert_eq!(settings.document()["firewall"], written);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_key() {
        for (firewall, field) in [
            (json!({ "sets": ["everything"] }), "firewall"),
            (json!({ "sets_do": "allow" }), "firewall.sets_do"),
            (json!({ "rules": [{ "name": "all" }] }), "firewall.rules"),
            (json!({ "rules": [{ "name": "" , "path": "/a" }] }), "firewall.rules.name"),
            (json!({ "rules": [{ "name": "a", "path": "/a" }, { "name": "a", "path": "/b" }] }), "firewall.rules.name"),
            (json!({ "rules": [{ "name": "a", "countries": ["uk"] }] }), "firewall"),
            (json!({ "rules": [{ "name": "a", "countries": ["at", "AT"] }] }), "firewall.rules.countries"),
            (
                json!({ "rules": [{ "name": "a", "countries": ["at"], "not_countries": ["de"] }] }),
                "firewall.rules.not_countries",
            ),
            (json!({ "rules": [{ "name": "a", "path": "a" }] }), "firewall.rules.path"),
            (json!({ "rules": [{ "name": "a", "query_has": "" }] }), "firewall.rules.query_has"),
            (json!({ "rules": [{ "name": "a", "agent_has": "\n" }] }), "firewall.rules.agent_has"),
            (json!({ "rules": [{ "name": "a", "methods": ["*"] }] }), "firewall.rules.methods"),
        ] {
            let error = read(&firewall).unwrap_err();
            assert_eq!(error.field, Some(field), "{firewall} {}", error.message);
        }
    }
}
