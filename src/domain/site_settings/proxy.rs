//! Which paths of a site other servers answer, and how they are asked.
//!
//! An address leads inside when it is a socket, FastCGI, or no public address. Who does not manage the server may not name such a
//! one; that somebody could is kept with the route ([`Route::inside`]) and decides what the data plane connects to.

pub mod scripts;
pub mod start;
mod upstream;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use self::upstream::{Place, Protocol, Upstream};
use super::{Section, is_default};
use crate::domain::{Error, Result};

/// Routes of one site: more are a list that nobody reads.
const ROUTES_MAX: usize = 64;
/// Upstreams of one route.
const UPSTREAMS_MAX: usize = 32;
/// Upstreams of one site that are looked at: each is asked again and again, whether it wants to be or not.
const LOOKED_AT_MAX: usize = 64;
/// The shortest time between two looks, and the longest that one may take.
const LOOKS_EVERY_S_MIN: u32 = 5;
const LOOK_S_MAX: u32 = 60;
/// Bytes of a path of a route.
const PATH_BYTES_MAX: usize = 512;
/// The longest of all times, a day: what takes longer is not waiting for an answer.
const TIME_S_MAX: u32 = 86_400;
/// Bytes of a request's body, if nothing else is said: what most forms send, and what is streamed costs no memory.
const BODY_BYTES: u64 = 100 << 20;
/// Certificates of one's own authority: a handful.
const CA_BYTES_MAX: usize = 32 << 10;

/// The section `proxy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Proxy {
    /// Of those whose path fits a request, the longest is taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// A part of the site that other servers answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// What it answers: this path and all below it. `/` is the whole site.
    #[serde(default = "whole_site")]
    pub path: String,
    /// The servers that answer, any of them.
    pub to: Vec<String>,
    /// Whether they are asked for what is behind the path.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strip_prefix: bool,
    /// Which host they are asked for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub host: HostHeader,
    /// Whether a file of the site answers where there is one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub files_first: bool,
    /// How long is waited for what.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeout_s: Timeouts,
    /// How many bytes a request may bring.
    #[serde(default = "body_bytes", skip_serializing_if = "is_body_bytes")]
    pub body_bytes_max: u64,
    /// Whether a request's body is gathered before a server is asked, and an answer taken in ahead of who takes it slowly; else those for
    /// FastCGI are, and others pass as they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer: Option<bool>,
    /// When a server that fails is left alone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failing: Failing,
    /// How the servers are looked at while nobody asks them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Whom to believe that it is the server.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: Tls,
    /// Of FastCGI: the folder on the server with the programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Of FastCGI: which programs there may run, as in `/index.php` and `/wp-admin/*.php`; else all that `deny` does not name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<String>,
    /// Of FastCGI: which of them never run; else those in [`scripts::UPLOADS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
    /// Of FastCGI: which plain files there are sent as they are, as in `/wp-content/*` and `*.css`; none, where nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plain_files: Vec<String>,
    /// Whether it may lead to addresses that are not public, and to sockets. Set by who manages the server, and by nobody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<bool>,
}

/// Which host an upstream is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostHeader {
    /// The one that the visitor has asked for.
    #[default]
    Keep,
    /// Its own, as its address says.
    Upstream,
}

/// How long is waited for what, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For a connection, with its TLS.
    pub connect: u32,
    /// For the head of the answer, since the last of the request was sent.
    pub answer: u32,
    /// For the next bytes of an answer, or of a WebSocket either way.
    pub idle: u32,
    /// For what is under way when an upstream is taken away.
    pub drain: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: 5, answer: 60, idle: 300, drain: 60 }
    }
}

/// When a server that fails is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Failing {
    /// Failures one after another; 0: it never is.
    pub after: u32,
    /// For how many seconds; then one request tries it.
    pub for_s: u32,
}

impl Default for Failing {
    fn default() -> Self {
        Self { after: 3, for_s: 10 }
    }
}

/// How the servers are looked at. A server of FastCGI is connected to, and no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// What is asked for by GET.
    #[serde(default = "whole_site")]
    pub path: String,
    /// How often, in seconds.
    #[serde(default = "every")]
    pub every_s: u32,
    /// How long an answer may take.
    #[serde(default = "look")]
    pub timeout_s: u32,
    /// The status of a server that is well; else each from 200 to 399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Failures one after another until it counts as down.
    #[serde(default = "fails")]
    pub fails: u32,
    /// Successes one after another until it counts as up again.
    #[serde(default = "passes")]
    pub passes: u32,
}

/// Whom to believe that it is the server, where it speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The name that its certificate must have, where that is not the one in its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Certificates in PEM of the authorities, or of the server itself, that are believed beside those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

fn whole_site() -> String {
    String::from("/")
}

const fn body_bytes() -> u64 {
    BODY_BYTES
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_body_bytes(bytes: &u64) -> bool {
    *bytes == BODY_BYTES
}

const fn every() -> u32 {
    10
}

const fn look() -> u32 {
    5
}

const fn fails() -> u32 {
    2
}

const fn passes() -> u32 {
    1
}

impl Route {
    /// A route with all else as it is by default.
    pub fn new(path: &str, to: &[&str]) -> Self {
        Self {
            path: path.to_owned(),
            to: to.iter().map(|it| (*it).to_owned()).collect(),
            strip_prefix: false,
            host: HostHeader::Keep,
            files_first: false,
            timeout_s: Timeouts::default(),
            body_bytes_max: BODY_BYTES,
            buffer: None,
            failing: Failing::default(),
            health: None,
            tls: Tls::default(),
            root: None,
            scripts: Vec::new(),
            deny: None,
            plain_files: Vec::new(),
            inside: None,
        }
    }

    /// Its servers. One that cannot be read is left out: the check of settings has refused it.
    pub fn upstreams(&self) -> impl Iterator<Item = Upstream> {
        self.to.iter().filter_map(|it| Upstream::parse(it).ok())
    }

    /// Whether one of its servers can only be named by who manages the server: those that lead inside, but for addresses that `admits`
    /// lets everybody name. Of names that is not known before they are looked up.
    pub fn is_inside(&self, admits: &dyn Fn(IpAddr) -> bool) -> bool {
        let leads = |it: Upstream| it.is_inside() && !it.address().is_some_and(admits);
        self.root.is_some() || self.upstreams().any(leads)
    }

    /// Without the `/` at its end: what a path begins with, up to a border between segments.
    pub fn prefix(&self) -> &str {
        self.path.trim_end_matches('/')
    }
}

impl Section for Proxy {
    fn check(&self) -> Result<()> {
        if self.routes.len() > ROUTES_MAX {
            let text =
                format!("a site has at most {ROUTES_MAX} routes. Leave some out, or let one upstream tell paths apart");
            return Err(wrong("proxy.routes", "`proxy.routes`", &text));
        }
        let looked_at: usize = self.routes.iter().filter(|it| it.health.is_some()).map(|it| it.to.len()).sum();
        if looked_at > LOOKED_AT_MAX {
            let text = format!(
                "at most {LOOKED_AT_MAX} servers of a site are looked at, and these are {looked_at}. Leave `health` out where a \
                 server that fails may be noticed when it is asked"
            );
            return Err(wrong("proxy.routes.health", "`health` of `proxy.routes`", &text));
        }
        for (at, route) in self.routes.iter().enumerate() {
            route.check(&format!("proxy.routes[{at}]"))?;
            if self.routes.iter().take(at).any(|it| it.prefix() == route.prefix()) {
                let text = format!(
                    "two routes have the path `{}`. Put their upstreams into `to` of one",
                    route.path.escape_debug()
                );
                return Err(wrong("proxy.routes.path", &format!("`proxy.routes[{at}].path`"), &text));
            }
        }
        Ok(())
    }
}

impl Proxy {
    /// These routes as somebody may have them kept who wants them instead of `before`. `may`: whether he manages the server. `admits`: the addresses that everybody
    /// may name, though they are not public.
    ///
    /// What did not change keeps what it had. Who manages the server is believed for what he changes, unless he says himself that it is not
    /// to lead inside; of others, no route does.
    pub fn granted(&self, before: &Self, may: bool, admits: &dyn Fn(IpAddr) -> bool) -> Result<Self> {
        let mut routes = Vec::with_capacity(self.routes.len());
        for (at, route) in self.routes.iter().enumerate() {
            let same = |it: &&Route| Route { inside: route.inside, ..(*it).clone() } == *route;
            let kept = before.routes.iter().find(same).filter(|it| route.inside.is_none() || route.inside == it.inside);
            let inside = match kept {
                Some(kept) => kept.inside,
                None if may => Some(route.inside.unwrap_or(true)),
                None if route.inside == Some(true) => {
                    let text = "only who manages the server lets a route lead inside. Leave it out";
                    return Err(forbidden(&format!("proxy.routes[{at}].inside"), text));
                }
                None => Some(false),
            };
            if inside != Some(true) && route.is_inside(admits) && !may {
                let text = "sockets, FastCGI, and addresses of this machine or of a private network may only be named by who \
                            manages the server. Name a public address, or ask for it";
                return Err(forbidden(&format!("proxy.routes[{at}].to"), text));
            }
            routes.push(Route { inside, ..route.clone() });
        }
        Ok(Self { routes })
    }
}

impl Route {
    fn check(&self, key: &str) -> Result<()> {
        self.check_path().map_err(|why| wrong("proxy.routes.path", &format!("`{key}.path`"), &why))?;
        self.check_to(key)?;
        self.check_scripts(key)?;
        let times = self.timeout_s;
        for (name, value) in
            [("connect", times.connect), ("answer", times.answer), ("idle", times.idle), ("drain", times.drain)]
        {
            in_range(key, &format!("timeout_s.{name}"), value)?;
        }
        in_range(key, "failing.for_s", self.failing.for_s)?;
        if let Some(health) = &self.health {
            let at = format!("`{key}.health.path`");
            let plain = health.path.starts_with('/') && health.path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
            if !plain {
                let text = "it begins with `/` and has no spaces and nothing but ASCII, such as `/healthz`";
                return Err(wrong("proxy.routes.health", &at, text));
            }
            between(key, "health.every_s", health.every_s, LOOKS_EVERY_S_MIN, TIME_S_MAX)?;
            between(key, "health.timeout_s", health.timeout_s, 1, LOOK_S_MAX)?;
            in_range(key, "health.fails", health.fails)?;
            in_range(key, "health.passes", health.passes)?;
            if health.status.is_some_and(|it| !(200..600).contains(&it)) {
                return Err(wrong(
                    "proxy.routes.health",
                    &format!("`{key}.health.status`"),
                    "a status is from 200 to 599",
                ));
            }
        }
        self.check_tls(key)
    }

    fn check_path(&self) -> Result<(), String> {
        let path = &self.path;
        if !path.starts_with('/') {
            return Err(String::from("it begins with `/`, such as `/api/`"));
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(format!("it has more than {PATH_BYTES_MAX} bytes. A shorter one takes all below it too"));
        }
        if path.contains(['*', '?', '#', '%', '\\']) || path.chars().any(|it| it.is_control() || it.is_whitespace()) {
            return Err(String::from(
                "it is a path as people read it, without `*`, `?`, `#`, `%`, `\\` and spaces; all below it is taken too",
            ));
        }
        if self.prefix().split('/').skip(1).any(|it| matches!(it, "" | "." | "..")) {
            return Err(String::from("it has an empty part, `.` or `..`. Write it as browsers ask for it"));
        }
        Ok(())
    }

    fn check_to(&self, key: &str) -> Result<()> {
        let refused = |at: &str, why: &str| Err(wrong("proxy.routes.to", &format!("`{key}.{at}`"), why));
        if self.to.is_empty() || self.to.len() > UPSTREAMS_MAX {
            let text = format!("name 1 to {UPSTREAMS_MAX} servers, such as `http://127.0.0.1:3000`");
            return refused("to", &text);
        }
        let mut known: Vec<Upstream> = Vec::new();
        for (at, text) in self.to.iter().enumerate() {
            match Upstream::parse(text) {
                Ok(it) if known.contains(&it) => return refused(&format!("to[{at}]"), "it is named twice"),
                Ok(it) => known.push(it),
                Err(why) => return refused(&format!("to[{at}]"), &format!("`{}` {why}", text.escape_debug())),
            }
        }
        let fast = known.iter().filter(|it| it.protocol == Protocol::FastCgi).count();
        if fast != 0 && fast != known.len() {
            return refused("to", "servers of FastCGI and of HTTP cannot answer for one another. Make two routes");
        }
        match &self.root {
            None if fast != 0 => {
                let text = "FastCGI needs the folder with the programs, such as `/var/www/app/public`";
                Err(wrong("proxy.routes.root", &format!("`{key}.root`"), text))
            }
            Some(_) if fast == 0 => Err(wrong(
                "proxy.routes.root",
                &format!("`{key}.root`"),
                "only FastCGI has a folder with programs. Leave it out",
            )),
            Some(root) if !root.starts_with('/') || root.contains('\0') || root.split('/').any(|it| it == "..") => Err(
                wrong("proxy.routes.root", &format!("`{key}.root`"), "it is a whole path of the server, without `..`"),
            ),
            _ => Ok(()),
        }
    }

    fn check_scripts(&self, key: &str) -> Result<()> {
        let denied = self.deny.as_deref().unwrap_or_default();
        let lists = [
            ("proxy.routes.scripts", "scripts", self.scripts.as_slice()),
            ("proxy.routes.deny", "deny", denied),
            ("proxy.routes.plain_files", "plain_files", self.plain_files.as_slice()),
        ];
        for (field, name, patterns) in lists {
            let refused = |at: &str, why: &str| Err(wrong(field, &format!("`{key}.{name}{at}`"), why));
            if self.root.is_none() && (!patterns.is_empty() || (name == "deny" && self.deny.is_some())) {
                return refused("", "only FastCGI has a folder with programs. Leave it out");
            }
            if patterns.len() > scripts::PATTERNS_MAX {
                let text = format!("there are at most {}. One `*` stands for many", scripts::PATTERNS_MAX);
                return refused("", &text);
            }
            for (at, pattern) in patterns.iter().enumerate() {
                if let Err(why) = scripts::check(pattern) {
                    return refused(&format!("[{at}]"), &why);
                }
            }
        }
        Ok(())
    }

    fn check_tls(&self, key: &str) -> Result<()> {
        let refused = |at: &str, why: &str| Err(wrong("proxy.routes.tls", &format!("`{key}.tls{at}`"), why));
        let speaks = self.upstreams().any(|it| it.protocol == Protocol::Https);
        if !is_default(&self.tls) && !speaks {
            return refused("", "none of its servers speaks TLS: write https:// in `to`, or leave it out");
        }
        if let Some(name) = &self.tls.server_name
            && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
        {
            return refused(".server_name", "no certificate can have that name. Write it as in `app.example.org`");
        }
        if let Some(ca) = &self.tls.ca {
            use rustls::pki_types::{CertificateDer, pem::PemObject as _};
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(ca.as_bytes()).collect();
            if ca.len() > CA_BYTES_MAX || !found.is_ok_and(|it| !it.is_empty()) {
                return refused(
                    ".ca",
                    "PEM is expected, at most 32 KiB, with `-----BEGIN CERTIFICATE-----` in front of each certificate",
                );
            }
        }
        Ok(())
    }
}

fn in_range(key: &str, name: &str, value: u32) -> Result<()> {
    between(key, name, value, 1, TIME_S_MAX)
}

fn between(key: &str, name: &str, value: u32, least: u32, most: u32) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(wrong("proxy.routes", &format!("`{key}.{name}`"), &format!("it is from {least} to {most}")))
}

fn wrong(field: &'static str, at: &str, why: &str) -> Error {
    Error::invalid("site_proxy", format!("{at} cannot be that: {why}.")).on(field)
}

fn forbidden(at: &str, why: &str) -> Error {
    Error::forbidden(format!("`{at}` cannot be that: {why}."))
}

#[cfg(test)]
mod tests;
