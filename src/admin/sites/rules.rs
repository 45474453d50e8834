//! The rules of a site: as they were read, and what an address gives by them.

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;

use super::{
    super::{
        form::Problems,
        gate::Answer,
        shell::{Crumb, Place, Shell, Sign, Tab},
        visit::{Asked, Visit, again, show},
        words::{self, Fact},
    },
    Standing, crumbs, named, tabs,
};
use crate::{
    base::country::Country,
    domain::{Error, Kind, Result, site::SiteName, site_settings::firewall::Firewall},
    services::rules::{self, From, HeaderRule, Known, Rules, Trial},
};

/// Rules of each kind on the page; those that fit an address that was tried are all there.
const LISTED: usize = 100;
/// Deployments to choose from.
const CHOICES: u32 = 20;

/// The rules of a site.
#[derive(Debug, Template)]
#[template(path = "sites/rules.html")]
pub(in super::super) struct SiteRules {
    pub(in super::super) shell: Shell,
    pub(in super::super) crumbs: Vec<Crumb>,
    pub(in super::super) tabs: Vec<Tab>,
    pub(in super::super) name: String,
    pub(in super::super) lead: String,
    pub(in super::super) standing: Standing,
    /// The address in the form.
    pub(in super::super) url: String,
    /// Whom the form tries it as, where rules ask for that.
    pub(in super::super) visitor: Option<Asking>,
    pub(in super::super) choices: Vec<Choice>,
    pub(in super::super) problems: Problems,
    pub(in super::super) answer: Option<Given>,
    pub(in super::super) redirects: Vec<RedirectRow>,
    /// How many more there are.
    pub(in super::super) redirects_more: usize,
    pub(in super::super) blocks: Vec<BlockRow>,
    pub(in super::super) blocks_more: usize,
    /// Whether one block of the file stands in several rows.
    pub(in super::super) spread: bool,
    /// Whether a block fits no file.
    pub(in super::super) idle: bool,
    /// What holds where no rule does.
    pub(in super::super) facts: Vec<Fact>,
    /// Whether there is anything that answers: a deployment, or a setting.
    pub(in super::super) any: bool,
}

/// The fields for what rules ask of a visitor.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Asking {
    /// Codes and names of countries, and which one is chosen; none: no rule asks.
    pub(in super::super) countries: Vec<(String, &'static str, bool)>,
    /// Whether a rule asks for a language.
    pub(in super::super) languages: bool,
    /// The language in the form.
    pub(in super::super) language: String,
    /// What is to be known of the countries.
    pub(in super::super) note: Option<&'static str>,
}

/// A deployment whose rules can be tried.
#[derive(Clone, Debug)]
pub(in super::super) struct Choice {
    pub(in super::super) number: i64,
    pub(in super::super) words: String,
    pub(in super::super) chosen: bool,
}

/// What an address gives.
#[derive(Clone, Debug)]
pub(in super::super) struct Given {
    /// The status, or a dash.
    pub(in super::super) status: String,
    /// Whether a visitor gets what they asked for, or is led to it.
    pub(in super::super) good: bool,
    /// `Visitors are sent to`, and to where.
    pub(in super::super) words: &'static str,
    pub(in super::super) what: String,
    pub(in super::super) because: String,
    /// What is said beside it: what is assumed of the visitor, that the site is down, or that another deployment is live.
    pub(in super::super) notes: Vec<String>,
    pub(in super::super) heads: Vec<HeadRow>,
}

/// A header of the answer.
#[derive(Clone, Debug)]
pub(in super::super) struct HeadRow {
    pub(in super::super) name: String,
    pub(in super::super) value: String,
    pub(in super::super) from: String,
    /// Whether a rule of the site says so.
    pub(in super::super) own: bool,
}

/// A redirect or rewrite in the list.
#[derive(Clone, Debug)]
pub(in super::super) struct RedirectRow {
    pub(in super::super) place: String,
    pub(in super::super) from: String,
    pub(in super::super) query: String,
    pub(in super::super) to: String,
    pub(in super::super) status: String,
    /// What became of it when an address was tried, or what is to be known of it.
    pub(in super::super) said: String,
    pub(in super::super) sign: Option<Sign>,
    pub(in super::super) answers: bool,
    /// Why an address that was tried is nothing to it, in two words.
    pub(in super::super) elsewhere: Option<&'static str>,
}

/// A block of headers in the list.
#[derive(Clone, Debug)]
pub(in super::super) struct BlockRow {
    pub(in super::super) place: String,
    pub(in super::super) path: String,
    pub(in super::super) set: Vec<(String, String)>,
    /// `12 files`.
    pub(in super::super) files: String,
    /// Whether it fits no file.
    pub(in super::super) idle: bool,
    pub(in super::super) applies: bool,
}

#[derive(Default, Deserialize)]
pub(in super::super) struct Wanted {
    #[serde(default)]
    url: String,
    #[serde(default)]
    deployment: String,
    #[serde(default)]
    country: String,
    #[serde(default)]
    language: String,
}

/// The rules, and what an address gives by them when one is named.
pub(in super::super) async fn rules(visit: Visit, Path(name): Path<String>, Asked(wanted): Asked<Wanted>) -> Answer {
    let name = named(&name)?;
    let of = match wanted.deployment.trim() {
        "" => None,
        text => Some(text.parse().map_err(|_| Error::not_found("deployment"))?),
    };
    let listed = async |problems: Problems| {
        let rules = match visit.services.get_rules(&visit.actor, &name, of).await {
            Err(error) if error.code == "not_published" => None,
            found => Some(found?),
        };
        page(&visit, &name, &wanted, rules.as_ref(), None, problems).await
    };
    if wanted.url.trim().is_empty() {
        return show(&listed(Problems::none()).await?);
    }
    let tried = async || {
        let visitor = rules::visitor(Some(&wanted.country), Some(&wanted.language))?;
        visit.services.try_address(&visit.actor, &name, &wanted.url, of, visitor).await
    };
    match tried().await {
        Ok(trial) => show(&page(&visit, &name, &wanted, Some(&trial.rules), Some(&trial), Problems::none()).await?),
        Err(error) if error.kind == Kind::Invalid => {
            again(&error, &listed(Problems::of(&error, &["url", "country", "language"])).await?)
        }
        Err(error) if error.code == "not_published" => show(&listed(Problems::none()).await?),
        Err(error) => Err(error.into()),
    }
}

async fn page(
    visit: &Visit,
    name: &SiteName,
    wanted: &Wanted,
    rules: Option<&Rules>,
    trial: Option<&Trial>,
    problems: Problems,
) -> Result<SiteRules> {
    let site = visit.services.get_site(&visit.actor, name).await?;
    let settings = visit.services.get_site_settings(&visit.actor, name).await?;
    let number = rules.and_then(|it| it.deployment.as_ref()).map(|it| it.number);
    let (redirects, redirects_more) = rules.map(|it| redirects(it, trial)).unwrap_or_default();
    let (blocks, blocks_more) = rules.map(|it| blocks(it, trial)).unwrap_or_default();
    Ok(SiteRules {
        shell: visit.shell(Place::Sites).await?,
        crumbs: crumbs(Some(name)),
        tabs: tabs(name.as_str(), "Rules"),
        lead: rules
            .and_then(lead)
            .unwrap_or_else(|| String::from("They come with the files of a deployment, and nothing is published yet.")),
        standing: Standing::of(visit, &site.site),
        url: wanted.url.clone(),
        visitor: asking(visit, rules, &settings.firewall, wanted),
        choices: match number {
            Some(number) => choices(visit, name, number, site.live.map(|it| it.number)).await?,
            None => Vec::new(),
        },
        problems,
        answer: trial.map(given),
        redirects,
        redirects_more,
        spread: blocks.windows(2).any(|it| it.first().map(|it| &it.place) == it.last().map(|it| &it.place)),
        idle: blocks.iter().any(|it| it.idle),
        blocks,
        blocks_more,
        facts: rules.filter(|_| number.is_some()).map(facts).unwrap_or_default(),
        any: number.is_some() || !settings.is_default(),
        name: name.to_string(),
    })
}

/// How many rules there are, in a sentence.
fn lead(rules: &Rules) -> Option<String> {
    let deployment = rules.deployment.as_ref()?.number;
    let number = |many: usize| i64::try_from(many).unwrap_or(i64::MAX);
    let redirects = words::count(number(rules.redirects.len()), "redirect or rewrite", "redirects and rewrites");
    let blocks = words::count(number(rules.headers.len()), "block of headers", "blocks of headers");
    let live = if rules.live { "which is live" } else { "which is not live" };
    if rules.redirects.is_empty() && rules.headers.is_empty() {
        return Some(format!("None came with deployment {deployment}, {live}."));
    }
    Some(format!("{redirects} and {blocks}, sealed with deployment {deployment}, {live}."))
}

/// What the form asks of a visitor: what the rules and the firewall do.
fn asking(visit: &Visit, rules: Option<&Rules>, firewall: &Firewall, wanted: &Wanted) -> Option<Asking> {
    let any = |word: &str| rules.is_some_and(|it| it.redirects.iter().any(|it| it.conditions.contains(word)));
    let (by_rules, languages) = (any("Country="), any("Language="));
    let country = by_rules || (firewall.wants_countries().is_some() && visit.services.outside.countries.is_known());
    let chosen = wanted.country.trim().parse::<Country>().ok();
    let choice = |(country, name): (Country, &'static str)| (country.to_string(), name, chosen == Some(country));
    let mut countries: Vec<_> = Country::all().filter(|_| country).map(choice).collect();
    countries.sort_unstable_by_key(|it| it.1);
    let known = rules.map(|it| it.countries).filter(|it| by_rules && *it != Known::Yes);
    let note = known.map(rules::without_countries);
    (country || languages).then(|| Asking { countries, languages, language: wanted.language.clone(), note })
}

async fn choices(visit: &Visit, name: &SiteName, chosen: i64, live: Option<i64>) -> Result<Vec<Choice>> {
    let listed = visit.services.list_deployments(&visit.actor, name, None, CHOICES).await?;
    let mut numbers: Vec<i64> =
        listed.iter().filter(|it| it.deployment.state.is_complete()).map(|it| it.deployment.number).collect();
    // Older ones are named in the address only.
    numbers.extend([chosen].into_iter().chain(live).filter(|it| !numbers.contains(it)).collect::<Vec<_>>());
    numbers.sort_unstable_by_key(|it| std::cmp::Reverse(*it));
    numbers.dedup();
    let choice = |number: i64| Choice {
        number,
        words: if live == Some(number) { format!("{number}, live") } else { number.to_string() },
        chosen: chosen == number,
    };
    Ok(numbers.into_iter().map(choice).collect())
}

/// Where a rule stands: its line, or its place in the list.
fn place(line: Option<usize>, number: usize) -> String {
    line.map_or_else(|| format!("#{number}"), |it| it.to_string())
}

fn redirects(rules: &Rules, trial: Option<&Trial>) -> (Vec<RedirectRow>, usize) {
    let mut rows = Vec::new();
    for (at, rule) in rules.redirects.iter().enumerate() {
        let verdict = trial.and_then(|it| it.verdicts.get(at));
        let fits = verdict.is_some_and(|it| !matches!(it.word, "other_path" | "not_asked"));
        if at >= LISTED && !fits {
            continue;
        }
        let answers = verdict.is_some_and(|it| it.word == "answers");
        let (sign, said) = match (verdict, &rule.shadowed_by) {
            (Some(it), _) if answers => (Some(Sign::Ok), it.why.clone()),
            (Some(it), _) if fits => (Some(Sign::Off), it.why.clone()),
            (Some(it), _) => (None, it.why.clone()),
            (None, Some(file)) => {
                let status = rule.status;
                (Some(Sign::Look), format!("Never asked: `{file}` answers there. `{status}!` goes before files."))
            }
            (None, None) => (None, String::new()),
        };
        rows.push(RedirectRow {
            place: if rule.closest_404 { String::from("–") } else { place(rule.line, rule.number) },
            from: rule.from.clone(),
            query: [rule.query.as_str(), &rule.conditions].join(" ").trim().to_owned(),
            to: rule.to.clone(),
            status: format!("{}{}", rule.status, if rule.force { "!" } else { "" }),
            said,
            sign,
            answers,
            elsewhere: verdict.filter(|_| !fits).map(|it| match it.word {
                "not_asked" => "not asked",
                _ => "another path",
            }),
        });
    }
    let more = rules.redirects.len() - rows.len();
    (rows, more)
}

fn blocks(rules: &Rules, trial: Option<&Trial>) -> (Vec<BlockRow>, usize) {
    let mut rows = Vec::new();
    for (at, block) in rules.headers.iter().enumerate() {
        let applies = trial.is_some_and(|it| it.fitting.get(at) == Some(&true));
        if at < LISTED || applies {
            rows.push(block_row(block, applies));
        }
    }
    let more = rules.headers.len() - rows.len();
    (rows, more)
}

fn block_row(block: &HeaderRule, applies: bool) -> BlockRow {
    let files = match block.files {
        None => String::new(),
        Some(0) => String::from("no file"),
        Some(many) => words::count(i64::try_from(many).unwrap_or(i64::MAX), "file", "files"),
    };
    BlockRow {
        place: place(block.line, block.number),
        path: block.path.clone(),
        set: block.set.iter().map(|(_, name, value)| (name.clone(), value.clone())).collect(),
        files,
        idle: block.files == Some(0),
        applies,
    }
}

fn facts(rules: &Rules) -> Vec<Fact> {
    let clean = if rules.clean_urls { "on: `/about` is `/about.html`" } else { "off" }.replace('`', "");
    let fallback = match &rules.fallback {
        None => Fact::plain("Everything else", "a page of the host, with 404"),
        Some((path, status)) => Fact::mono("Everything else", format!("{path} {status}")),
    };
    vec![Fact::mono("A folder's page", rules.index.clone()), Fact::plain("Clean URLs", clean), fallback]
}

/// What an address gives, for people.
fn given(trial: &Trial) -> Given {
    let query = trial.query.as_ref().map_or_else(String::new, |it| format!("?{it}"));
    let (words, what) = match (&trial.location, &trial.file, trial.status) {
        _ if trial.passed_on.is_some() => ("Another server answers at", trial.passed_on.clone().unwrap_or_default()),
        (Some(to), ..) => ("Visitors are sent to", to.clone()),
        (None, Some(file), Some(200)) => ("Visitors get", file.clone()),
        (None, Some(file), _) => ("Visitors get an error with", file.clone()),
        (None, None, None) if trial.step == "upstream" => ("Other servers answer at", format!("{}{query}", trial.path)),
        (None, None, None) => ("The host itself answers at", format!("{}{query}", trial.path)),
        (None, None, Some(401)) => ("Visitors are asked for a password at", format!("{}{query}", trial.path)),
        (None, None, Some(_)) => ("Visitors get a page of the host at", format!("{}{query}", trial.path)),
    };
    let mut notes = trial.notes.clone();
    if trial.rules.taken_down.is_some() {
        notes.push(String::from("The site is taken down: visitors read the reason, and get this when it is back."));
    } else if let Some(of) = trial.rules.deployment.as_ref().filter(|_| !trial.rules.live) {
        notes.push(format!("By the rules of deployment {}, which is not live.", of.number));
    }
    Given {
        status: trial.status.map_or_else(|| String::from("–"), |it| it.to_string()),
        good: trial.status.is_none_or(|it| it < 400),
        words,
        what,
        because: trial.because.clone(),
        notes,
        heads: trial.headers.iter().map(|it| head_row(it, trial)).collect(),
    }
}

fn head_row(head: &rules::Head, trial: &Trial) -> HeadRow {
    let from = match &head.from {
        From::Host => String::from("the host"),
        From::Ending => String::from("the file's name"),
        From::Setting => trial.setting.clone().unwrap_or_default(),
        From::Redirect => trial.rule.and_then(|at| trial.rules.redirects.get(at)).map_or_else(
            || String::from("the rule"),
            |it| match it.line {
                Some(line) => format!("_redirects, line {line}"),
                None => format!("redirect {}", it.number),
            },
        ),
        From::Rules(places) => {
            let lines: Option<Vec<String>> = places.iter().map(|(_, line)| line.map(|it| it.to_string())).collect();
            let s = if places.len() == 1 { "" } else { "s" };
            lines.map_or_else(
                || {
                    let numbers: Vec<_> = places.iter().map(|(at, _)| (at + 1).to_string()).collect();
                    format!("header block{s} {}", numbers.join(", "))
                },
                |lines| format!("_headers, line{s} {}", lines.join(", ")),
            )
        }
    };
    HeadRow {
        name: head.name.clone(),
        value: head.value.clone(),
        from,
        own: matches!(head.from, From::Rules(_) | From::Redirect | From::Setting),
    }
}
