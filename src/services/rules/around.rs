//! What people have set around a site, walked as a request of an ordinary visitor goes (`serve::gate`): a browser without a cookie that asks by
//! GET for the first time, from an address that no setting names.
//!
//! What decides is in `domain::site_settings`, where the data plane asks it too. Here is only the order, and what is said of it; a test holds
//! both against the real server.

use super::{Trial, Verdict, address::Asked};
use crate::{
    base::{country::Country, network::Network},
    domain::{
        policy, site_path,
        site_settings::{
            SiteSettings,
            access::Mode,
            addresses::{self, Https},
            firewall::{
                Action,
                seen::{Asker, Origin, Seen},
            },
            paths::Prefixes,
            proxy::start::{self, Start},
            traffic::WhenUsedUp,
        },
    },
    proof::{manifest::Manifest, resolve},
};

/// What is known of a site besides its files.
#[derive(Clone, Debug, Default)]
pub(super) struct Around {
    pub(super) settings: SiteSettings,
    pub(super) is_used_up: bool,
    /// The port of HTTPS at the host that is asked, where there is a certificate for it.
    pub(super) https_port: Option<String>,
    /// Whether the server sends visitors in clear there.
    pub(super) redirects: bool,
    /// Whether a proxy is believed that says how a visitor came.
    pub(super) has_proxies: bool,
}

/// What a setting gives in place of a file.
#[derive(Debug, Default)]
pub(super) struct Stop {
    /// The setting: `maintenance.on`.
    key: String,
    /// The word for the step.
    step: &'static str,
    status: Option<u16>,
    location: Option<String>,
    because: String,
    /// The file of the site that is shown instead of the host's page.
    page: Option<String>,
    /// Whether some are let in.
    lets_in: bool,
}

/// A walk of one request.
pub(super) struct Walk<'a> {
    pub(super) around: &'a Around,
    pub(super) asked: &'a Asked,
    /// The decoded path, where it is one that a file can have.
    pub(super) path: Option<&'a str>,
    pub(super) manifest: Option<&'a Manifest>,
    /// Where the visitor comes from.
    pub(super) origin: Origin,
    /// What is assumed of the visitor, or said beside the answer.
    pub(super) notes: Vec<String>,
}

/// An ordinary visitor.
struct Ordinary(Origin);

/// With which all browsers begin.
const AGENT: &str = "Mozilla/5.0";

impl Asker for Ordinary {
    fn agent(&self) -> &str {
        AGENT
    }

    fn content_type(&self) -> &'static str {
        ""
    }

    fn is_from_within(&self) -> bool {
        false
    }

    fn has_header(&self, is_so: &dyn Fn(&[u8]) -> bool) -> bool {
        is_so(AGENT.as_bytes())
    }

    fn is_in(&self, _networks: &[Network]) -> bool {
        false
    }

    fn origin(&self) -> Origin {
        self.0
    }
}

/// Where a visitor comes from of whom the country is named, or not.
pub(super) const fn origin(country: Option<Country>, is_known: bool) -> Origin {
    match (country, is_known) {
        (_, false) => Origin::Unknown,
        (Some(country), true) => Origin::In(country),
        (None, true) => Origin::Elsewhere,
    }
}

impl Walk<'_> {
    /// What stands before the files, in order.
    pub(super) fn before(&mut self) -> Option<Stop> {
        if self.path.is_some_and(site_path::is_reserved) {
            return None;
        }
        self.in_clear()
            .or_else(|| self.firewall())
            .or_else(|| self.used_up())
            .or_else(|| self.maintenance())
            .or_else(|| self.elsewhere())
            .or_else(|| self.door(self.path))
            .or_else(|| {
                self.hotlink();
                self.route()
            })
    }

    /// What stands behind them: a door before the file that a rule brings out, and the site's own pages in place of the host's.
    pub(super) fn behind(&mut self, trial: &Trial) -> Option<Stop> {
        match (&trial.file, &trial.location, trial.status) {
            // Of one path all is behind the door, or nothing.
            (Some(file), None, _) if !self.around.settings.access.paths.is_empty() => self.door(Some(file)),
            (None, None, Some(status)) => {
                let page = self.page(status)?;
                let key = format!("errors.{status}");
                Some(Stop {
                    because: format!("{} Browsers are shown `{page}` with it (`{key}`).", trial.because),
                    page: Some(page),
                    key,
                    step: trial.step,
                    status: Some(status),
                    ..Stop::default()
                })
            }
            _ => None,
        }
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// The file of the site for a status.
    fn page(&self, status: u16) -> Option<String> {
        let page = self.around.settings.errors.0.get(&status)?;
        self.manifest?.find(page).map(|it| it.path.to_string())
    }

    /// A refusal, with a page of the host or of the site.
    fn refused(&self, key: &str, status: u16, because: impl Into<String>) -> Stop {
        let (key, because, page) = (key.to_owned(), because.into(), self.page(status));
        Stop { key, step: "setting", status: Some(status), because, page, ..Stop::default() }
    }

    fn sent_to(key: &str, to: String, because: String) -> Stop {
        let (key, step) = (key.to_owned(), "setting");
        Stop { key, step, status: Some(308), location: Some(to), because, ..Stop::default() }
    }

    /// Visitors in clear, whom the server sends to HTTPS by itself.
    fn in_clear(&self) -> Option<Stop> {
        let (host, https) = (self.asked.host.as_ref()?, self.around.settings.addresses.https);
        let port = self.around.https_port.as_ref()?;
        if self.asked.scheme != Some("http") || !https.redirects(self.around.redirects) {
            return None;
        }
        let to = format!("https://{host}{port}{}", self.asked.rest());
        let (key, because) = match https {
            Https::Always => ("addresses.https", "The site sends visitors in clear to HTTPS (`addresses.https`)."),
            _ => ("tls.redirect", "The server sends visitors in clear to HTTPS (`[tls] redirect`)."),
        };
        Some(Self::sent_to(key, to, because.to_owned()))
    }

    fn firewall(&mut self) -> Option<Stop> {
        let (limits, firewall) = (&self.around.settings.limits, &self.around.settings.firewall);
        let by = Ordinary(self.origin);
        let seen = Seen::new("GET", &self.asked.path, self.asked.query.as_deref(), &by);
        let mut notes = Vec::new();
        let of_some = firewall.rules.iter().filter(|it| it.action != Action::Log && seen.is_for(it) && !seen.fits(it));
        for rule in of_some {
            let does = if rule.action == Action::Block { "refuses" } else { "lets through" };
            notes.push(format!(
                "The rule `{}` of the firewall {does} some who ask for this, by where they come from or what they use (`firewall.rules`); this is \
                 for somebody whom it does not mean.",
                rule.name
            ));
        }
        let mut stop = None;
        for (name, action, is_set) in seen.fitting(firewall) {
            let (what, key) = if is_set {
                (format!("the set `{name}` of the firewall"), "firewall.sets")
            } else {
                (format!("the rule `{name}` of the firewall"), "firewall.rules")
            };
            match action {
                Action::Log => {
                    notes.push(format!("It fits {what}, which tells it in the log and lets it on (`{key}`)."));
                }
                Action::Allow => break,
                Action::Block => {
                    let all = if limits.exempt.is_empty() { "" } else { " Addresses in `limits.exempt` are let on." };
                    let because = format!("It fits {what}, which refuses it (`{key}`).{all}");
                    stop = Some(self.refused(key, 403, because));
                    break;
                }
            }
        }
        let is_limited =
            || limits.rates.iter().any(|it| seen.is_method(&it.methods) && policy::fits(&it.path, seen.path()));
        if stop.is_none() && is_limited() {
            notes.push(String::from("Who asks for it too often gets 429 (`limits.rates`)."));
        }
        self.notes.extend(notes);
        stop
    }

    fn used_up(&self) -> Option<Stop> {
        let stops = self.around.settings.traffic.when_used_up == WhenUsedUp::Stop && self.around.is_used_up;
        let because = "The site has sent as much as it may in this month (`traffic.when_used_up`).";
        stops.then(|| self.refused("traffic.when_used_up", 503, because))
    }

    fn maintenance(&self) -> Option<Stop> {
        let maintenance = &self.around.settings.maintenance;
        if !maintenance.on {
            return None;
        }
        let stop = self.refused("maintenance.on", 503, "The site is being worked on (`maintenance.on`).");
        let page = maintenance.page.as_ref().and_then(|it| self.manifest?.find(it)).map(|it| it.path.to_string());
        Some(Stop { page, lets_in: true, ..stop })
    }

    /// Visitors at another address than the site's own.
    fn elsewhere(&mut self) -> Option<Stop> {
        let settings = &self.around.settings.addresses;
        let Some(host) = self.asked.host.as_ref() else {
            if let Some(canonical) = &settings.canonical {
                self.note(format!(
                    "This is at `{canonical}`, where visitors of the site's other hostnames are sent (`addresses.canonical`). Try a whole address, \
                     with its hostname, to see that."
                ));
            }
            return None;
        };
        if self.asked.is_preview {
            return None;
        }
        let is_clear = self.asked.scheme == Some("http");
        let rest = self.asked.rest();
        let asked = addresses::Asked {
            scheme: self.asked.scheme.unwrap_or("https"),
            host,
            path: &self.asked.path,
            rest: &rest,
            is_way_in: false,
            proxied_in_clear: is_clear && self.around.has_proxies,
        };
        if let Some((key, to)) = settings.elsewhere(asked, || self.asked.port.clone()) {
            let because = if key == "addresses.https" {
                "The site sends visitors in clear to HTTPS (`addresses.https`), where the proxy in front says that they came so."
            } else {
                "Visitors of the site's other hostnames are sent to this one (`addresses.canonical`)."
            };
            return Some(Self::sent_to(key, to, because.to_owned()));
        }
        if is_clear && settings.https == Https::Always && self.around.https_port.is_none() {
            self.note(format!(
                "Visitors in clear are not sent to HTTPS yet (`addresses.https`): this server has no certificate for `{host}` that browsers take."
            ));
        }
        None
    }

    /// The door before a path, or before a file that a rule brings out.
    fn door(&self, path: Option<&str>) -> Option<Stop> {
        let access = &self.around.settings.access;
        if access.mode == Mode::Open || !Prefixes::new(&access.paths).guard(path) {
            return None;
        }
        let key = if access.paths.is_empty() { "access.mode" } else { "access.paths" };
        let stop = if access.mode == Mode::Basic {
            self.refused(key, 401, format!("The browser asks for a name and a password here (`{key}`)."))
        } else {
            // Nothing stands for the form.
            let because = format!("A form asks for a name and a password here (`{key}`).");
            Stop { page: None, ..self.refused(key, 401, because) }
        };
        Some(Stop { lets_in: true, ..stop })
    }

    fn hotlink(&mut self) {
        let hotlink = &self.around.settings.hotlink;
        if self.path.map_or(hotlink.on, |path| hotlink.is_about(path)) {
            let silent = if hotlink.without_referer { "" } else { ", and who does not say where they come from" };
            self.note(format!(
                "Who follows a page of another site that shows it as its own{silent} gets 403 (`hotlink.on`); this is for a browser that opens it by \
                 itself, or on a page of the site."
            ));
        }
    }

    /// Other servers that answer.
    fn route(&self) -> Option<Stop> {
        let (key, routes) = ("proxy.routes", &self.around.settings.proxy.routes);
        if routes.is_empty() {
            return None;
        }
        if start::goes_up(&self.asked.path) {
            return Some(self.refused(
                key,
                400,
                "The path goes up, and servers could read it in several ways (`proxy.routes`).",
            ));
        }
        let starts: Vec<_> = routes.iter().map(|it| (it, Start::new(&it.path))).collect();
        let ((route, _), _) = start::find(starts.iter(), |it| &it.1, &self.asked.path)?;
        let has_file = self.manifest.zip(self.path).is_some_and(|(it, path)| resolve::has_file(it, path));
        let files = match (route.files_first, has_file) {
            (true, true) => return None,
            (true, false) => " No file is there, which would answer first (`files_first`).",
            (false, true) => " The file that is there is not asked for: `files_first` is off.",
            (false, false) => "",
        };
        let because = format!("Other servers answer at `{}` and all below it (`{key}`).{files}", route.path);
        Some(Stop { key: key.to_owned(), step: "upstream", because, ..Stop::default() })
    }
}

impl Trial {
    /// What is answered where a setting does, and not the files.
    pub(super) fn stopped(mut self, stop: Stop) -> Self {
        if stop.lets_in {
            self.notes.push(format!("Who is let in gets {}. {}", self.in_short(), self.because));
        }
        for verdict in &mut self.verdicts {
            if !stop.lets_in {
                let why = format!("Rules are not asked: `{}` answers before.", stop.key);
                *verdict = Verdict { word: "not_asked", why };
            } else if verdict.word == "answers" {
                *verdict = Verdict { word: "behind", why: format!("It answers those whom `{}` lets in.", stop.key) };
            }
        }
        self.rule = None;
        self.step = stop.step;
        self.status = stop.status;
        self.headers = super::head::sent_to(stop.location.as_deref());
        self.location = stop.location;
        self.file = stop.page;
        self.passed_on = None;
        self.because = stop.because;
        self.setting = Some(stop.key);
        self.fitting.fill(false);
        self
    }

    fn in_short(&self) -> String {
        if let Some(to) = &self.passed_on {
            return format!("what `{to}` answers");
        }
        let status = self.status.map_or_else(String::new, |it| format!("{it}"));
        let what = self.location.as_ref().map(|it| format!(" to `{it}`"));
        let what = what.or_else(|| self.file.as_ref().map(|it| format!(" with `{it}`")));
        format!("{status}{}", what.unwrap_or_default())
    }
}
