//! The resolution table: which file of a manifest, or which redirect, answers a path (INTEGRITY §2, DECISIONS 40).
//!
//! One order for server and verifier, so that both mean the same by a path: redirects with force, files, index files,
//! clean URLs, other redirects, the fallback. A redirect never leads to a host that the rule does not name, and no other is asked in place of a
//! file.
//! Nothing here does IO; a path that the host reserves for itself never resolves.

pub mod explain;
pub mod visitor;

use std::{borrow::Cow, collections::HashSet};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::{
    base::limits::PATH_BYTES_MAX,
    domain::{
        policy::{Redirect, When, captures, split_url},
        site_path,
        url_path::{COMPONENT, PATH, is_plain},
    },
    proof::manifest::{Entry, Manifest},
};

use self::{
    explain::Step,
    visitor::{Asked, Visitor},
};

pub use crate::domain::url_path::{decode_path, encode};

/// What no URL can hold, while its escapes and signs stay: for text that is a URL already.
/// SECURITY: browsers read `\` as `/` and drop tabs and line ends, so these are escaped too.
const URL: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');
/// As [`PATH`], for a server elsewhere: some read `+` as a blank wherever it is.
const PASSED: &AsciiSet = &PATH.add(b'+');
/// The longest path, decoded, for which a rule is asked that passes everything below a folder on: more than files have, as others sign or
/// encode what they take.
const PASSED_BYTES_MAX: usize = 8 * 1024;
/// As [`URL`], for a query that is put before a possible fragment.
const QUERY: &AsciiSet = &URL.add(b'#');

/// What answers a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resolution<'m> {
    /// This file with this status.
    File {
        /// An entry of the manifest.
        entry: &'m Entry,
        /// 200, or what a rule or the fallback says: 404, 410.
        status: u16,
    },
    /// A redirect. `to` is the whole value of `Location`, with the request's query where it belongs.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// ASCII: a path of the site with one `/` in front, or the absolute URL of a rule.
        to: String,
    },
    /// Another server is asked for this URL, and answers in place of a file: what it says is no part of the manifest, and nobody can prove it.
    PassedOn {
        /// ASCII: the absolute URL of a rule, with the request's query where it has none. The host is the rule's own.
        to: String,
    },
    /// A rule says 410 and its file is not there.
    Gone,
    /// Nothing answers here.
    NotFound,
}

/// What answers `path`, which [`decode_path`] made, with the request's raw query, for somebody of whom nothing is known. The steps are
/// numbered as they are in the description of the format.
pub fn resolve<'m>(manifest: &'m Manifest, path: &str, query: Option<&str>) -> Resolution<'m> {
    walk(manifest, path, query, &|_, _| false, &mut Nobody)
}

/// The same for a visitor, and what of the visitor it depends on.
pub fn resolve_for<'m>(
    manifest: &'m Manifest,
    path: &str,
    query: Option<&str>,
    visitor: &dyn Visitor,
) -> (Resolution<'m>, Asked) {
    let mut asked = Asked::default();
    let resolution = walk(manifest, path, query, &|_, when| visitor::holds(when, visitor), &mut asked);
    (resolution, asked)
}

/// All that `path` may give, whoever asks: what it gives those of whom no condition holds, and behind it what each condition that may decide
/// brings, each once; and what of the visitor it depends on. For who looks from outside, and does not know for whom the other end takes them.
/// Conditions may hold together in any way here, also where nobody is of whom they do.
///
/// SECURITY: the manifest is somebody else's. Each rule is looked at once, whatever conditions there are.
pub fn resolve_all<'m>(manifest: &'m Manifest, path: &str, query: Option<&str>) -> (Vec<Resolution<'m>>, Asked) {
    let mut asked = Asked::default();
    let plain = walk(manifest, path, query, &|_, _| false, &mut asked);
    if asked == Asked::default() {
        return (vec![plain], asked);
    }
    let mut known = HashSet::from([plain.clone()]);
    let mut all = vec![plain];
    let mut add = |more: Resolution<'m>| {
        if known.insert(more.clone()) {
            all.push(more);
        }
    };
    // What comes behind rules answers where one of them may let it.
    if any_rule(manifest, true, (path, query), &mut add) {
        match by_file(manifest, (path, query), &mut Nobody) {
            Some(file) => add(file),
            None if any_rule(manifest, false, (path, query), &mut add) => add(by_nothing(manifest, &mut Nobody)),
            None => {}
        }
    }
    (all, asked)
}

/// Adds what rules with this `force` may answer, whoever asks, and says whether they may let what is behind them answer.
fn any_rule<'m>(
    manifest: &'m Manifest,
    force: bool,
    (path, query): (&str, Option<&str>),
    add: &mut impl FnMut(Resolution<'m>),
) -> bool {
    let mut passes = false;
    for rule in manifest.policy().redirects.iter().filter(|it| it.force == force) {
        let Some(values) = values(rule, path, query) else { continue };
        match answer(manifest, rule, &values, (path, query)) {
            Some(answer) => add(answer),
            None => passes = true,
        }
        if rule.when.is_always() {
            return passes;
        }
    }
    true
}

/// Whether a file is at `path`, or the index of a folder is, without any rule and any fallback.
pub fn has_file(manifest: &Manifest, path: &str) -> bool {
    let is_one = |path: &str| find(manifest, path).is_some();
    !site_path::is_reserved(path)
        && is_plain(path)
        && (is_one(path) || (!path.ends_with('/') && is_one(&format!("{path}/"))))
}

/// Hears how an answer comes about.
trait Listener {
    /// This step answers.
    fn step(&mut self, step: Step);
    /// The rule with this index is the first of its kind that fits, and answers or not.
    fn rule(&mut self, at: usize, answers: bool);
    /// A rule fits the request, and holds or not by what is known of the visitor.
    fn condition(&mut self, when: &When);
}

/// Nobody listens: of the calls nothing is left in the program.
struct Nobody;

impl Listener for Nobody {
    #[inline]
    fn step(&mut self, _: Step) {}

    #[inline]
    fn rule(&mut self, _: usize, _: bool) {}

    #[inline]
    fn condition(&mut self, _: &When) {}
}

/// `holds`: whether the rule with an index holds of who asks. Asked only where it could answer, and has conditions.
fn walk<'m>(
    manifest: &'m Manifest,
    path: &str,
    query: Option<&str>,
    holds: &impl Fn(usize, &When) -> bool,
    heard: &mut impl Listener,
) -> Resolution<'m> {
    if site_path::is_reserved(path) || !is_plain(path) {
        heard.step(Step::Unreadable);
        return Resolution::NotFound;
    }
    // 1. Rules that go before files.
    if let Some(done) = by_rule(manifest, true, (path, query), holds, heard) {
        heard.step(Step::RuleFirst);
        return done;
    }
    // 2. to 5. What is there.
    if let Some(done) = by_file(manifest, (path, query), heard) {
        return done;
    }
    // 6. Rules that go behind files.
    if let Some(done) = by_rule(manifest, false, (path, query), holds, heard) {
        heard.step(Step::Rule);
        return done;
    }
    // 7. The fallback, or 8. nothing.
    by_nothing(manifest, heard)
}

/// What answers without any rule, where something is there.
fn by_file<'m>(
    manifest: &'m Manifest,
    (path, query): (&str, Option<&str>),
    heard: &mut impl Listener,
) -> Option<Resolution<'m>> {
    // 2. to 4. The file itself, a folder's index, a clean URL.
    if let Some(entry) = find(manifest, path) {
        if manifest.policy().clean_urls && entry.path.as_str() == path {
            let clean = clean_path(manifest, entry);
            if clean != path {
                heard.step(Step::CleanRedirect);
                return Some(Resolution::Redirect { status: 308, to: with_query(encode(clean), query) });
            }
        }
        heard.step(Step::File);
        return Some(Resolution::File { entry, status: 200 });
    }
    // 5. A folder without its slash.
    if !path.ends_with('/') && index(manifest, &format!("{path}/")).is_some() {
        heard.step(Step::FolderSlash);
        return Some(Resolution::Redirect { status: 308, to: with_query(encode(&format!("{path}/")), query) });
    }
    None
}

/// What answers where nothing else does.
fn by_nothing<'m>(manifest: &'m Manifest, heard: &mut impl Listener) -> Resolution<'m> {
    let fallback = manifest.policy().fallback.as_ref();
    let page =
        fallback.and_then(|it| Some(Resolution::File { entry: manifest.find(it.path.as_str())?, status: it.status }));
    heard.step(if page.is_some() { Step::Fallback } else { Step::Nothing });
    page.unwrap_or(Resolution::NotFound)
}

/// The percent-encoded path under which a visitor gets `entry`, unless a rule with force stands before it: a folder for
/// its index, the clean form with clean URLs, else the path itself.
pub fn url_path(manifest: &Manifest, entry: &Entry) -> String {
    encode(clean_path(manifest, entry))
}

/// The file that answers a decoded path with 200, without any rule.
fn find<'m>(manifest: &'m Manifest, path: &str) -> Option<&'m Entry> {
    if let Some(entry) = manifest.find(path) {
        return Some(entry);
    }
    if path.ends_with('/') {
        return index(manifest, path);
    }
    manifest.policy().clean_urls.then(|| manifest.find(&format!("{path}.html")))?
}

/// The index file of a folder whose path ends in `/`.
fn index<'m>(manifest: &'m Manifest, folder: &str) -> Option<&'m Entry> {
    manifest.find(&format!("{folder}{}", manifest.policy().index))
}

/// The shortest path that finds `entry`: without the index's name, without `.html` where URLs are clean.
fn clean_path<'m>(manifest: &Manifest, entry: &'m Entry) -> &'m str {
    let path = entry.path.as_str();
    let folder = path.strip_suffix(&manifest.policy().index).filter(|it| it.ends_with('/'));
    let clean = folder.or_else(|| manifest.policy().clean_urls.then(|| path.strip_suffix(".html"))?);
    // Another file may have the shorter path, or it may be none that can be asked for (`/..html`).
    clean
        .filter(|it| is_plain(it) && !site_path::is_reserved(it))
        .filter(|it| find(manifest, it).is_some_and(|found| found.path == entry.path))
        .unwrap_or(path)
}

/// The first rule with this `force` that fits, and that holds of who asks; `None` when there is none, when it rewrites to a file that is not there, or
/// when it redirects to the very same place.
fn by_rule<'m>(
    manifest: &'m Manifest,
    force: bool,
    (path, query): (&str, Option<&str>),
    holds: &impl Fn(usize, &When) -> bool,
    heard: &mut impl Listener,
) -> Option<Resolution<'m>> {
    let mut rules = manifest.policy().redirects.iter().enumerate().filter(|(_, rule)| rule.force == force);
    let (at, rule, values) = rules.find_map(|(at, rule)| {
        let values = values(rule, path, query)?;
        if !rule.when.is_always() {
            heard.condition(&rule.when);
            if !holds(at, &rule.when) {
                return None;
            }
        }
        Some((at, rule, values))
    })?;
    let answer = answer(manifest, rule, &values, (path, query));
    heard.rule(at, answer.is_some());
    answer
}

/// What a rule answers that has taken these values; `None` where it has no file to show, and where it leads to the very same place.
fn answer<'m>(
    manifest: &'m Manifest,
    rule: &Redirect,
    values: &[Value<'_>],
    (path, query): (&str, Option<&str>),
) -> Option<Resolution<'m>> {
    let to = target(rule, values);
    let file = || {
        let path = to.split(['?', '#']).next().and_then(decode_path)?;
        find(manifest, &path).map(|entry| Resolution::File { entry, status: rule.status })
    };
    match rule.status {
        200 if rule.upstream().is_some() => Some(Resolution::PassedOn { to: with_query(to, query) }),
        200 => file(),
        404 => Some(file().unwrap_or(Resolution::NotFound)),
        410 => Some(file().unwrap_or(Resolution::Gone)),
        301 | 302 | 303 | 307 | 308 => {
            let to = with_query(to, query);
            // A rule that leads to where the visitor is already would never end.
            (to != with_query(encode(path), query)).then_some(Resolution::Redirect { status: rule.status, to })
        }
        _ => None,
    }
}

/// A value that a rule took from the request, decoded.
struct Value<'t> {
    name: &'t str,
    text: Cow<'t, str>,
    /// A query's value may hold any character: its `/` parts nothing.
    from_query: bool,
}

/// Whether a rule is asked for a path of this length.
///
/// SECURITY: no file has a longer one, and the cost of matching grows with it, but for a whole folder.
fn is_asked(rule: &Redirect, path: &str) -> bool {
    let is_folder = || rule.from.strip_suffix("/*").is_some_and(|it| !it.contains(['*', ':']));
    path.len() <= PATH_BYTES_MAX || path.len() <= PASSED_BYTES_MAX && rule.upstream().is_some() && is_folder()
}

/// The values that `rule` takes when it fits path and query.
fn values<'t>(rule: &'t Redirect, path: &'t str, query: Option<&'t str>) -> Option<Vec<Value<'t>>> {
    if !is_asked(rule, path) {
        return None;
    }
    let found = captures(&rule.from, path)?;
    let mut values: Vec<_> =
        found.into_iter().map(|(name, text)| Value { name, text: Cow::Borrowed(text), from_query: false }).collect();
    for (name, wanted) in &rule.query {
        let mut given = query_pairs(query.unwrap_or_default()).filter(|(given, _)| given == name).map(|(_, it)| it);
        match wanted.strip_prefix(':') {
            Some(name) => {
                // An empty or dotted value would change the shape of a path that it is put into.
                let text = given.next().filter(|it| !matches!(it.as_ref(), "" | "." | ".."))?;
                values.push(Value { name, text, from_query: true });
            }
            None => drop(given.find(|it| it == wanted)?),
        }
    }
    Some(values)
}

/// The decoded pairs of a query; what is not UTF-8 is left out.
fn query_pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|it| !it.is_empty()).filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode_component(name)?, decode_component(value)?))
    })
}

fn decode_component(text: &str) -> Option<Cow<'_, str>> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Some(Cow::Owned(percent_decode_str(&spaced).decode_utf8().ok()?.into_owned()));
    }
    percent_decode_str(text).decode_utf8().ok()
}

/// The URL that a rule leads to, as ASCII.
///
/// SECURITY: values are put behind the host only and are escaped for the place where they stand; the path of a site
/// keeps one `/` in front, since `//name` is another host.
fn target(rule: &Redirect, values: &[Value<'_>]) -> String {
    let (to, path_set) = (rule.to.as_str(), if rule.upstream().is_some() { PASSED } else { PATH });
    let whole = split_url(to);
    let (host, mut rest) = whole.unwrap_or(("", to));
    let mut out = utf8_percent_encode(host, URL).to_string();
    let mut in_path = true;
    while let Some(at) = rest.find(':') {
        let (literal, named) = rest.split_at(at);
        out.extend(utf8_percent_encode(literal, URL));
        in_path &= !literal.contains(['?', '#']);
        let named = named.get(1..).unwrap_or_default();
        let length = named.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(named.len());
        let (name, after) = named.split_at(length);
        if let Some(value) = values.iter().find(|it| it.name == name) {
            let set = if in_path && !value.from_query { path_set } else { COMPONENT };
            out.extend(utf8_percent_encode(&value.text, set));
            rest = after;
        } else {
            out.push(':');
            rest = named;
        }
    }
    out.extend(utf8_percent_encode(rest, URL));
    if whole.is_some() { out } else { format!("/{}", out.trim_start_matches('/')) }
}

/// Adds the request's query to a target that has none of its own.
fn with_query(to: String, query: Option<&str>) -> String {
    let Some(query) = query.filter(|it| !it.is_empty()) else { return to };
    let (front, fragment) = to.split_at(to.find('#').unwrap_or(to.len()));
    if front.contains('?') {
        return to;
    }
    format!("{front}?{}{fragment}", utf8_percent_encode(query, QUERY))
}

#[cfg(test)]
mod grammars;
#[cfg(test)]
mod tests;
