//! Whether a request is what a rule or a set of known attacks means. Who asks is known by what an [`Asker`] tells of them, so that the
//! data plane and who only tries an address decide alike.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization as _;

use super::{Action, Firewall, Rule, Set};
use crate::{
    base::{country::Country, network::Network},
    domain::policy,
};

/// How a shell writes a function, which old ones run when it comes in a variable.
const FUNCTION: &[u8] = b"() {";

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody knows of any address: there is no database.
    Unknown,
    /// A network that is of no country, such as a private one.
    Inside,
    /// An address that the database does not know.
    Elsewhere,
    /// A country.
    In(Country),
}

/// What a request tells of who asks.
pub trait Asker {
    /// `User-Agent`; empty without one.
    fn agent(&self) -> &str;
    /// `Content-Type`; empty without one.
    fn content_type(&self) -> &str;
    /// Whether it claims to come from within a Next.js.
    fn is_from_within(&self) -> bool;
    /// Whether a header's value is so.
    fn has_header(&self, is_so: &dyn Fn(&[u8]) -> bool) -> bool;
    /// Whether its address is in one of these.
    fn is_in(&self, networks: &[Network]) -> bool;
    /// Where it comes from.
    fn origin(&self) -> Origin;
}

/// A request as rules look at it.
pub struct Seen<'a> {
    method: &'a str,
    /// Decoded as far as it can be, in small letters, each row of slashes as one: what hides behind a way of writing is seen.
    path: String,
    query: &'a str,
    by: &'a dyn Asker,
}

impl<'a> Seen<'a> {
    /// A request with this raw path and query.
    pub fn new(method: &'a str, path: &str, query: Option<&'a str>, by: &'a dyn Asker) -> Self {
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        let mut path = String::with_capacity(decoded.len());
        // Composed, as names of files are found.
        for letter in decoded.nfc() {
            let letter = if letter == '\\' { '/' } else { letter.to_ascii_lowercase() };
            if letter != '/' || !path.ends_with('/') {
                path.push(letter);
            }
        }
        Self { method, path, query: query.unwrap_or_default(), by }
    }

    /// Its path as patterns are held against it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether its method is one of these, of which none are all.
    pub fn is_method(&self, methods: &[String]) -> bool {
        methods.is_empty() || methods.iter().any(|it| it == self.method)
    }

    /// The rules and sets that it fits, in their order, and whether each is a set.
    pub fn fitting<'f>(&self, firewall: &'f Firewall) -> impl Iterator<Item = (&'f str, Action, bool)> {
        let rules = firewall.rules.iter().filter(|it| self.fits(it)).map(|it| (it.name.as_str(), it.action, false));
        let sets = firewall.sets.iter().filter(|it| self.is_of(**it)).map(|it| (it.word(), firewall.sets_do, true));
        rules.chain(sets)
    }

    /// Whether it fits all that a rule names.
    pub fn fits(&self, rule: &Rule) -> bool {
        self.is_for(rule) && self.is_by(rule)
    }

    /// Whether it fits what a rule names of the address that is asked for.
    pub fn is_for(&self, rule: &Rule) -> bool {
        self.is_method(&rule.methods)
            && rule.query_has.as_ref().is_none_or(|it| self.has_query(it))
            && policy::fits(&rule.path, &self.path)
    }

    /// Whether it fits what a rule names of who asks.
    fn is_by(&self, rule: &Rule) -> bool {
        (rule.from.is_empty() || self.by.is_in(&rule.from))
            && rule.agent_has.as_ref().is_none_or(|it| self.is_agent(it))
            && self.is_from(rule)
    }

    /// Whether a rule for countries is for this one. What is of no country in any database is elsewhere, and a network inside is nowhere:
    /// else a rule for all but a few would lock out who looks from the next room. Without a database no such rule fits.
    fn is_from(&self, rule: &Rule) -> bool {
        if !rule.wants_countries() {
            return true;
        }
        let is_of = |all: &[Country], it: Country| all.contains(&it);
        match self.by.origin() {
            Origin::Unknown | Origin::Inside => false,
            Origin::In(it) if rule.not_countries.is_empty() => is_of(&rule.countries, it),
            Origin::In(it) => !is_of(&rule.not_countries, it),
            Origin::Elsewhere => !rule.not_countries.is_empty(),
        }
    }

    fn has_query(&self, part: &str) -> bool {
        self.query.contains(part) || percent_decode_str(self.query).decode_utf8_lossy().contains(part)
    }

    fn is_agent(&self, part: &str) -> bool {
        let agent = self.by.agent();
        if part.is_empty() { agent.is_empty() } else { agent.to_ascii_lowercase().contains(&part.to_ascii_lowercase()) }
    }

    /// Whether it is one of the attacks of a set.
    pub fn is_of(&self, set: Set) -> bool {
        match set {
            Set::Dotfiles => self.is_dotfile(),
            Set::Probes => self.is_probe(),
            Set::Exploits => self.is_exploit(),
        }
    }

    fn is_dotfile(&self) -> bool {
        self.path.split('/').any(|it| it.len() > 1 && it.starts_with('.') && !matches!(it, ".." | ".well-known"))
    }

    fn is_probe(&self) -> bool {
        PROBES.iter().any(|it| match it.strip_suffix('/') {
            Some(folder) => self.path.starts_with(it) || self.path.strip_prefix(folder).is_some_and(str::is_empty),
            None => self.path == *it,
        })
    }

    fn is_exploit(&self) -> bool {
        let query = percent_decode_str(self.query).decode_utf8_lossy().to_ascii_lowercase();
        let lookup = |it: &str| asks_jndi(it);
        lookup(&self.path)
            || lookup(&query)
            || self.by.has_header(&|it| {
                let value = String::from_utf8_lossy(it);
                is_function(it) || (value.contains("${") && lookup(&value.to_ascii_lowercase()))
            })
            || query.contains("class.module.classloader")
            || ["%{", "${"].iter().any(|it| self.by.content_type().contains(it))
            || self.is_php_cgi()
            || self.by.is_from_within()
    }

    /// A query without `=` that begins with a hyphen, or with the soft one that a Windows code page makes a hyphen of, is a switch
    /// of the command line for a PHP that runs as CGI.
    fn is_php_cgi(&self) -> bool {
        let query = self.query.to_ascii_lowercase();
        let is_switch = ["-", "%2d", "%ad", "%c2%ad"].iter().any(|it| query.starts_with(it));
        is_switch && (self.path.contains(".php") || self.path.contains("php-cgi"))
    }
}

/// Whether the value of a header begins with a function of a shell.
pub fn is_function(value: &[u8]) -> bool {
    value.trim_ascii_start().starts_with(FUNCTION)
}

/// What scanners look for: files and, with a slash behind, folders.
const PROBES: [&str; 22] = [
    "/_ignition/execute-solution",
    "/actuator/",
    "/adminer.php",
    "/boaform/",
    "/cgi-bin/",
    "/config.json.bak",
    "/debug/default/view",
    "/geoserver/",
    "/hnap1/",
    "/jenkins/",
    "/phpinfo.php",
    "/phpmyadmin/",
    "/pma/",
    "/server-status",
    "/shell",
    "/solr/",
    "/telescope/requests",
    "/vendor/phpunit/",
    "/wp-admin/",
    "/wp-config.php",
    "/wp-login.php",
    "/xmlrpc.php",
];

/// Whether a text in small letters has Log4j look something up by JNDI, also where other lookups spell the word.
fn asks_jndi(text: &str) -> bool {
    let Some(begin) = text.find("${") else { return false };
    let mut rest: Cow<'_, str> = Cow::Borrowed(text.get(begin..).unwrap_or_default());
    // The innermost lookups stand for their last part, `${lower:j}` and `${env:x:-j}` for `j`. Each round resolves one; a few hide a word already.
    for _ in 0..LOOKUPS_MAX {
        if rest.contains("${jndi:") {
            return true;
        }
        let Some(open) = rest.rfind("${") else { return false };
        let Some(inner) = rest.get(open + 2..) else { return false };
        let Some(close) = inner.find('}') else {
            // Begun and not ended: what is before it may still be one.
            rest = Cow::Owned(rest.get(..open).unwrap_or_default().to_owned());
            continue;
        };
        let (word, behind) = (inner.get(..close).unwrap_or_default(), inner.get(close + 1..).unwrap_or_default());
        let stands_for = word.rsplit_once(":-").or_else(|| word.rsplit_once(':')).map_or(word, |(_, last)| last);
        rest = Cow::Owned(format!("{}{stands_for}{behind}", rest.get(..open).unwrap_or_default()));
    }
    // Nobody writes so many by accident.
    true
}

/// Lookups within one another, or one behind the other, that are resolved to see what they hide.
const LOOKUPS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_full_of_lookups_is_read_in_bounded_time() {
        for (text, wanted) in [
            ("${".repeat(4_000), true),
            (format!("{}{}", "${a:".repeat(4_000), "}".repeat(4_000)), true),
            ("${a} ".repeat(20), false),
            (format!("${{${{lower:j}}ndi:ldap://e}}{}", "${a}".repeat(4_000)), true),
            (String::from("${${lower:j}ndi:ldap://e}${"), true),
            (String::from("${${"), false),
        ] {
            assert_eq!(asks_jndi(&text), wanted, "{text:.40}");
        }
    }
}
