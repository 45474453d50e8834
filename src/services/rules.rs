//! The rules of a deployment as people wrote them, and what an address gives by them, with its reasons.
//!
//! What answers is said by `proof::resolve`, as for a visitor; nothing here decides it a second time. The lines of rules come from the
//! stored text of `_redirects` and `_headers`, and only when that text still gives the very policy of the manifest.

mod address;
mod around;
mod head;
mod words;

use std::{borrow::Cow, net::IpAddr};

use crate::{
    base::{blob_dir::BlobDir, countries::Countries, country::Country, hash::Sha256},
    domain::{
        Error, Result,
        access::{Actor, Right},
        deployment::{Deployment, DeploymentRef},
        file_list::FileList,
        policy::{self, Redirect, When, fits, language, split_url},
        policy_files::{self, PolicyFiles, Read},
        site::SiteName,
        site_path::{self, PolicyFile, Selected},
        site_settings::{firewall::Firewall, proxy::Upstream},
    },
    proof::{
        manifest::Manifest,
        resolve::{self, Resolution, explain, visitor::Named},
    },
    store,
};

use self::{
    address::Asked,
    around::{Around, Walk},
};
use super::{Services, sites::SiteView};

pub use self::head::{From, Head};
pub use crate::proof::resolve::visitor::Named as Visitor;

/// Looks at a file for a header rule, in all, to count what the rules fit: a fraction of a second.
const LOOKS_MAX: usize = 4_000_000;

/// Rules that do nothing, of which the log of a deployment tells.
const NOTES_MAX: usize = 10;

/// A redirect or rewrite.
#[derive(Clone, Debug)]
pub struct RedirectRule {
    /// Its place among the redirects, from 1.
    pub number: usize,
    /// The line of `_redirects`, where it is known.
    pub line: Option<usize>,
    /// The path that it fits.
    pub from: String,
    /// The parameters of a query that it wants: `id=:id`.
    pub query: String,
    /// Where it leads, or the file that it shows.
    pub to: String,
    /// Its status.
    pub status: u16,
    /// Whether it goes before files.
    pub force: bool,
    /// Of whom it holds, as a line has it: `Country=AT,DE Language=en`; empty: of everybody.
    pub conditions: String,
    /// Whether it stands in no line: it shows the `404.html` of the closest folder.
    pub closest_404: bool,
    /// The file that answers at its path, so that it never does.
    pub shadowed_by: Option<String>,
}

/// A block of `_headers`.
#[derive(Clone, Debug)]
pub struct HeaderRule {
    /// Its place among the blocks, from 1.
    pub number: usize,
    /// The line of its path in `_headers`, where it is known.
    pub line: Option<usize>,
    /// The paths of files that it fits.
    pub path: String,
    /// Line, name and value of each header that it sets.
    pub set: Vec<(Option<usize>, String, String)>,
    /// How many files it fits; `None` where counting takes too long.
    pub files: Option<usize>,
}

/// The rules of one deployment.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The deployment; none where nothing is published.
    pub deployment: Option<Deployment>,
    /// Whether visitors get it now.
    pub live: bool,
    /// Why its site is taken down, when it is.
    pub taken_down: Option<String>,
    /// In the order in which they are asked.
    pub redirects: Vec<RedirectRule>,
    /// In the order in which their headers are joined.
    pub headers: Vec<HeaderRule>,
    /// The file that answers for a folder.
    pub index: String,
    /// Whether `/about` is `/about.html`.
    pub clean_urls: bool,
    /// The file for everything else, and its status.
    pub fallback: Option<(String, u16)>,
    /// Whether this server knows which country an address is of.
    pub countries: Known,
}

/// Whether countries are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// By a database.
    Yes,
    /// A database is named that cannot be read.
    Unreadable,
    /// No database is named.
    No,
}

/// Why no country is known of anybody, and what to do: the end of a sentence.
pub const fn without_countries(known: Known) -> &'static str {
    words::without_countries(known)
}

impl Known {
    fn of(countries: &Countries) -> Self {
        match (countries.is_known(), countries.is_given()) {
            (true, _) => Self::Yes,
            (false, true) => Self::Unreadable,
            (false, false) => Self::No,
        }
    }
}

/// What became of one redirect.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// `answers`, `other_path`, `query`, `country`, `language`, `no_file`, `same_place`, `later`, `file_first`, `behind` or `not_asked`.
    pub word: &'static str,
    /// The same as a sentence.
    pub why: String,
}

/// What an address gives, and why.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The rules that were tried.
    pub rules: Rules,
    /// The path, decoded.
    pub path: String,
    /// The query, without its `?`.
    pub query: Option<String>,
    /// The status; `None` where the host itself answers, or another server.
    pub status: Option<u16>,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// The path of the file that answers.
    pub file: Option<String>,
    /// The URL that another server is asked for, and answers as it likes.
    pub passed_on: Option<String>,
    /// The step that answered, in one word: `rule`, `file`, `index` …, or `setting`, or `upstream`.
    pub step: &'static str,
    /// Why, in a sentence.
    pub because: String,
    /// The setting that answers, by its key: `maintenance.on`.
    pub setting: Option<String>,
    /// What is assumed of the visitor where settings depend on it, and what else is to be known, in sentences.
    pub notes: Vec<String>,
    /// The index of the redirect that answers.
    pub rule: Option<usize>,
    /// What became of each redirect.
    pub verdicts: Vec<Verdict>,
    /// The headers of the answer and where they come from, without what settings add to those of a file; empty for a page of the host, and for a
    /// page that stands for it.
    pub headers: Vec<Head>,
    /// Whether each header rule fits the file that answers.
    pub fitting: Vec<bool>,
}

/// A deployment's manifest, with the lines of its rules.
struct Loaded {
    manifest: Option<Manifest>,
    lines: Option<Read>,
    rules: Rules,
}

impl Services {
    /// The rules of a deployment; without one, of what is live.
    pub async fn get_rules(&self, actor: &Actor, name: &SiteName, of: Option<DeploymentRef>) -> Result<Rules> {
        Ok(self.load_rules(actor, name, of).await?.rules)
    }

    /// What `url` gives an ordinary visitor by the settings of the site and the rules of a deployment; without one, of what is live. `url` is a
    /// path with a query, or a whole address of the site.
    pub async fn try_address(
        &self,
        actor: &Actor,
        name: &SiteName,
        url: &str,
        of: Option<DeploymentRef>,
        visitor: Named,
    ) -> Result<Trial> {
        let site = self.get_site(actor, name).await?;
        let own = format!("{name}.{}", self.addresses.sites_domain);
        let hosts = site.hostnames.iter().map(String::as_str).chain([own.as_str()]);
        let asked = address::read(url, &hosts.collect::<Vec<_>>())?;
        let around = self.around(actor, &site, &asked).await?;
        let loaded = match self.load_rules(actor, name, of).await {
            // Other servers may answer all the same, or a setting does.
            Err(error) if error.code == "not_published" && !around.settings.is_default() => {
                Loaded::nothing(site.site.taken_down, Known::of(&self.outside.countries))
            }
            loaded => loaded?,
        };
        // Where no country is known, none is known of this visitor either.
        let country = visitor.country.filter(|_| loaded.rules.countries == Known::Yes);
        self.blocking(move || Ok(attempt(loaded, &asked, &around, &Named { country, ..visitor }))).await
    }

    /// What is known of a site besides its files.
    async fn around(&self, actor: &Actor, site: &SiteView, asked: &Asked) -> Result<Around> {
        let settings = self.get_site_settings(actor, &site.site.name).await?;
        let Some(front) = self.front().look() else { return Ok(Around { settings, ..Around::default() }) };
        Ok(Around {
            settings,
            is_used_up: front.is_used_up(site.site.id),
            https_port: asked.host.as_ref().and_then(|it| front.https_port(it)),
            redirects: front.redirects(),
            has_proxies: front.has_proxies(),
        })
    }

    /// What rules of a firewall that ask for countries do not do while no country is known.
    pub fn doubt_of_countries(&self, firewall: &Firewall) -> Option<String> {
        words::of_firewall(firewall, Known::of(&self.outside.countries))
    }

    async fn load_rules(&self, actor: &Actor, name: &SiteName, of: Option<DeploymentRef>) -> Result<Loaded> {
        let scope = actor.require(Right::Read)?;
        let site = self.get_site(actor, name).await?;
        let live = site.live.as_ref().map(|it| it.id);
        let of = of.or(live.map(DeploymentRef::Id)).ok_or_else(|| {
            let text = format!("Nothing of {name} is published yet, so that it has no rules. Name a deployment.");
            Error::conflict("not_published", text).on("deployment")
        })?;
        let deployment = self.get_deployment(actor, name, of).await?.deployment;
        let (_, bytes) = self.read_manifest(actor, name, of).await?;
        let (site_id, id) = (site.site.id, deployment.id);
        let wish = self.db.read(move |tx| store::deployments::find_wish(tx, scope, site_id, id)).await?;
        let (wanted, blobs) = (wish.and_then(|it| it.wanted), self.blobs.clone());
        let (is_live, taken_down) = (live == Some(deployment.id), site.site.taken_down);
        let countries = Known::of(&self.outside.countries);
        let load = move || {
            let manifest = Manifest::parse(&bytes)?;
            let lines = wanted.and_then(|it| read_lines(&blobs, &it, &manifest));
            let rules = shown(&manifest, lines.as_ref(), (deployment, is_live, taken_down), countries);
            Ok(Loaded { manifest: Some(manifest), lines, rules })
        };
        self.blocking(load).await
    }
}

impl Loaded {
    /// What a site has of which nothing is published.
    fn nothing(taken_down: Option<String>, countries: Known) -> Self {
        let rules = Rules {
            deployment: None,
            live: false,
            taken_down,
            redirects: Vec::new(),
            headers: Vec::new(),
            index: String::new(),
            clean_urls: false,
            fallback: None,
            countries,
        };
        Self { manifest: None, lines: None, rules }
    }
}

/// A visitor as people name one: a country by its code, a language as browsers have it. Empty words say nothing.
pub fn visitor(country: Option<&str>, language: Option<&str>) -> Result<Visitor> {
    let given = |it: Option<&str>| it.map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
    let country = given(country).map(|it| it.parse::<Country>()).transpose();
    let country = country.map_err(|error| Error::invalid("country", sentence(&error.to_string())).on("country"))?;
    // A whole `Accept-Language` is taken too.
    let language = given(language).map(|it| language::best(&it).map(str::to_owned).ok_or(it)).transpose();
    let wrong = |it: String| {
        let text = format!(
            "`{}` is not a language. Write `en`, `pt-br` or another one as browsers name it.",
            it.escape_debug()
        );
        Error::invalid("language", text).on("language")
    };
    let language = language.map_err(wrong)?;
    if let Some(it) = language.as_ref().filter(|it| !language::is_tag(&it.to_ascii_lowercase())) {
        return Err(wrong(it.clone()));
    }
    Ok(Visitor { country, language })
}

/// With a full stop.
fn sentence(why: &str) -> String {
    format!("{why}.")
}

/// The lines of the rules, when the files that they were made from are kept and still mean the same.
fn read_lines(blobs: &BlobDir, list: &Sha256, manifest: &Manifest) -> Option<Read> {
    let list = FileList::from_bytes(&blobs.read_verified(list).ok()?).ok()?;
    let mut texts: [Option<Vec<u8>>; 3] = Default::default();
    for file in list.files() {
        let Ok(Selected::Policy(which)) = site_path::select(file.path.as_bytes(), true) else { continue };
        let [headers, redirects, toml] = &mut texts;
        let place = match which {
            PolicyFile::Headers => headers,
            PolicyFile::Redirects => redirects,
            PolicyFile::Toml => toml,
        };
        *place = Some(blobs.read_verified(&file.sha256).ok()?);
    }
    let [headers, redirects, toml] = &texts;
    let files = PolicyFiles { headers: headers.as_deref(), redirects: redirects.as_deref(), toml: toml.as_deref() };
    let paths: Vec<&str> = manifest.entries().iter().map(|it| it.path.as_str()).collect();
    policy_files::read(&files, &paths).ok().filter(|it| it.policy == *manifest.policy())
}

/// The rules for people.
fn shown(
    manifest: &Manifest,
    lines: Option<&Read>,
    (deployment, live, taken_down): (Deployment, bool, Option<String>),
    countries: Known,
) -> Rules {
    let policy = manifest.policy();
    let redirects = policy.redirects.iter().enumerate().map(|(at, rule)| RedirectRule {
        number: at + 1,
        line: lines.and_then(|it| it.redirect_lines.get(at)).copied().flatten(),
        closest_404: lines.is_some_and(|it| it.redirect_lines.get(at) == Some(&None)),
        from: rule.from.clone(),
        query: rule.query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "),
        to: rule.to.clone(),
        status: rule.status,
        force: rule.force,
        conditions: conditions(&rule.when),
        shadowed_by: shadowed_by(manifest, rule),
    });
    let entries = manifest.entries();
    let counts = entries.len().saturating_mul(policy.headers.len()) <= LOOKS_MAX;
    let count = |pattern: &str| entries.iter().filter(|it| fits(pattern, it.path.as_str())).count();
    let headers = policy.headers.iter().enumerate().map(|(at, rule)| {
        let known = lines.and_then(|it| it.header_lines.get(at));
        let place = |at: usize| known.and_then(|(_, set)| set.get(at)).copied();
        let set = rule.set.iter().enumerate().map(|(at, (name, value))| (place(at), name.clone(), value.clone()));
        HeaderRule {
            number: at + 1,
            line: known.map(|(line, _)| *line),
            path: rule.matches.clone(),
            set: set.collect(),
            files: counts.then(|| count(&rule.matches)),
        }
    });
    Rules {
        deployment: Some(deployment),
        live,
        taken_down,
        redirects: redirects.collect(),
        headers: headers.collect(),
        index: policy.index.clone(),
        clean_urls: policy.clean_urls,
        fallback: policy.fallback.as_ref().map(|it| (it.path.to_string(), it.status)),
        countries,
    }
}

/// Refuses rules that pass requests on to this machine or into a private network: a manifest says nothing of who has deployed it, so that no
/// rule leads inside. `admits`: the addresses that everybody may name all the same.
pub(super) fn check_passed_on(manifest: &Manifest, admits: &dyn Fn(IpAddr) -> bool) -> Result<()> {
    for rule in &manifest.policy().redirects {
        let Some(server) = rule.upstream() else { continue };
        let Ok(upstream) = Upstream::parse(server) else { continue };
        if !upstream.is_inside() || upstream.address().is_some_and(admits) {
            continue;
        }
        let Redirect { from, .. } = rule;
        let path = from.split(['*', ':']).next().unwrap_or("/");
        let strips = split_url(&rule.to).is_some_and(|(_, rest)| rest == "/:splat") && from.ends_with("/*");
        let strips = if strips { r#","strip_prefix":true"# } else { "" };
        let text = format!(
            "The redirect from `{from}`: `{server}` is this machine or in a private network, and rules lead to public addresses alone. \
             Who manages the server can set a route in its place: chainhost sites settings SITE \
             'proxy.routes=[{{\"path\":\"{path}\",\"to\":[\"{server}\"],\"host\":\"upstream\",\"files_first\":true{strips}}}]'"
        );
        return Err(Error::invalid("policy_inside", text).on("files"));
    }
    Ok(())
}

/// What people should know of the rules of a deployment when it is made: those that do nothing.
pub(super) fn notes(manifest: &Manifest, countries: &Countries) -> Vec<String> {
    let (policy, entries) = (manifest.policy(), manifest.entries());
    let mut notes = Vec::new();
    if let (Some(rule), false) =
        (policy.redirects.iter().find(|it| !it.when.countries.is_empty()), countries.is_given())
    {
        let (from, why) = (&rule.from, words::without_countries(Known::No));
        notes.push(format!("The rule for `{from}`, as each with `Country=`, holds for nobody: {why}"));
    }
    for rule in &policy.redirects {
        if let Some(file) = shadowed_by(manifest, rule) {
            let Redirect { from, status, .. } = rule;
            notes.push(format!(
                "The rule for `{from}` never answers, since the file `{file}` does. `{status}!` goes before files."
            ));
        }
    }
    if entries.len().saturating_mul(policy.headers.len()) <= LOOKS_MAX {
        let idle = |rule: &&policy::HeaderRule| !entries.iter().any(|it| fits(&rule.matches, it.path.as_str()));
        notes.extend(policy.headers.iter().filter(idle).map(|rule| {
            format!(
                "The headers for `{}` are for no file. They are held against paths of files, such as `/about.html`.",
                rule.matches
            )
        }));
    }
    let more = notes.len().saturating_sub(NOTES_MAX);
    notes.truncate(NOTES_MAX);
    if more > 0 {
        notes.push(format!("{more} more rules do nothing. The page Rules of the site has them all."));
    }
    notes
}

/// Of whom a rule holds, as a line of `_redirects` has it.
fn conditions(when: &When) -> String {
    let countries: Vec<&str> = when.countries.iter().map(Country::code).collect();
    let languages = when.languages.join(",");
    let words = [("Country", countries.join(",")), ("Language", languages)];
    let words = words.iter().filter(|it| !it.1.is_empty()).map(|(name, values)| format!("{name}={values}"));
    words.collect::<Vec<_>>().join(" ")
}

/// The file that answers at a rule's one path before the rule is asked.
fn shadowed_by(manifest: &Manifest, rule: &Redirect) -> Option<String> {
    if rule.force || rule.from.contains(['*', ':']) {
        return None;
    }
    let said = explain::explain(manifest, &rule.from, None, &Named::default());
    let file = matches!(said.step, explain::Step::File | explain::Step::Index | explain::Step::Clean);
    match said.resolution {
        Resolution::File { entry, .. } if file => Some(entry.path.to_string()),
        _ => None,
    }
}

/// What an address gives: by what is set around the site, or by its files.
fn attempt(loaded: Loaded, asked: &Asked, around: &Around, visitor: &Named) -> Trial {
    let Loaded { manifest, lines, rules } = loaded;
    let path = resolve::decode_path(&asked.path);
    let origin = around::origin(visitor.country, rules.countries == Known::Yes);
    let mut walk =
        Walk { around, asked, path: path.as_deref(), manifest: manifest.as_ref(), origin, notes: Vec::new() };
    let stop = walk.before();
    let trial = match (&path, &manifest) {
        (Some(path), Some(manifest)) => {
            of_files(manifest, lines.as_ref(), rules, (path, asked.query.as_deref()), visitor)
        }
        (Some(path), None) if site_path::is_reserved(path) => of_none(rules, asked, "reserved", words::RESERVED),
        (Some(_), None) => of_none(rules, asked, "nothing", words::NOTHING),
        (None, _) => of_none(rules, asked, "unreadable", words::UNREADABLE),
    };
    let stop = stop.or_else(|| walk.behind(&trial));
    let trial = Trial { notes: walk.notes, ..trial };
    match stop {
        Some(stop) => trial.stopped(stop),
        None => trial,
    }
}

/// What is answered where no manifest is asked.
fn of_none(rules: Rules, asked: &Asked, step: &'static str, because: &str) -> Trial {
    let status = match step {
        "unreadable" => Some(400),
        "reserved" => None,
        _ => Some(404),
    };
    let verdict = |_| words::verdict(&explain::Verdict::NotAsked, &rules, 0, &Named::default());
    Trial {
        path: resolve::decode_path(&asked.path).map_or_else(|| asked.path.clone(), Cow::into_owned),
        query: asked.query.clone(),
        status,
        location: None,
        file: None,
        passed_on: None,
        step,
        because: because.to_owned(),
        setting: None,
        notes: Vec::new(),
        rule: None,
        verdicts: rules.redirects.iter().map(verdict).collect(),
        headers: Vec::new(),
        fitting: vec![false; rules.headers.len()],
        rules,
    }
}

/// What a path and query give by a manifest.
fn of_files(
    manifest: &Manifest,
    lines: Option<&Read>,
    rules: Rules,
    (path, query): (&str, Option<&str>),
    visitor: &Named,
) -> Trial {
    let said = explain::explain(manifest, path, query, visitor);
    let headers = head::headers(manifest, &said, path, lines, &rules);
    let (status, location, file) = match &said.resolution {
        Resolution::File { entry, status } => (Some(*status), None, Some(entry.path.to_string())),
        Resolution::Redirect { status, to } => (Some(*status), Some(to.clone()), None),
        Resolution::PassedOn { .. } => (None, None, None),
        Resolution::Gone => (Some(410), None, None),
        Resolution::NotFound if said.step == explain::Step::Reserved => (None, None, None),
        Resolution::NotFound => (Some(404), None, None),
    };
    let passed_on = match &said.resolution {
        Resolution::PassedOn { to } => Some(to.clone()),
        _ => None,
    };
    let mut fitting = vec![false; rules.headers.len()];
    for given in &said.given {
        if let Some(it) = fitting.get_mut(given.rule) {
            *it = true;
        }
    }
    Trial {
        because: words::because(&said, path, &rules),
        setting: None,
        notes: Vec::new(),
        step: words::step(said.step),
        rule: said.rule,
        verdicts: said.verdicts.iter().enumerate().map(|(at, it)| words::verdict(it, &rules, at, visitor)).collect(),
        path: path.to_owned(),
        query: query.map(str::to_owned),
        status,
        location,
        file,
        passed_on,
        headers,
        fitting,
        rules,
    }
}
