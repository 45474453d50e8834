//! The headers of an answer, each with the rules that it comes from.
//!
//! The values are those of `serve::headers` for identity coding: a test asks the real server and compares.

use super::Rules;
use crate::{
    domain::{lifetime, media_type, policy::REFUSED_HEADERS, policy_files::Read},
    proof::{
        manifest::{Entry, Manifest},
        resolve::{Resolution, explain::Explanation, visitor},
    },
};

/// A header of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its name, in lower case.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where it comes from.
    pub from: From,
}

/// Where a header comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// The host itself adds it.
    Host,
    /// The type of the file, by the ending of its name.
    Ending,
    /// The redirect that answers.
    Redirect,
    /// A setting of the site.
    Setting,
    /// These header rules, by their index, with the line of each where it is known.
    Rules(Vec<(usize, Option<usize>)>),
}

/// The headers of an answer, by name; none for a page of the host.
pub(super) fn headers(
    manifest: &Manifest,
    said: &Explanation<'_>,
    path: &str,
    lines: Option<&Read>,
    rules: &Rules,
) -> Vec<Head> {
    let mut heads = Heads(Vec::new());
    match &said.resolution {
        Resolution::File { entry, status } => {
            of_rules(&mut heads, manifest, said, entry, lines);
            of_host(&mut heads, entry, *status, entry.path.as_str() != path);
            if let Some(deployment) = &rules.deployment {
                let proof = format!("</.well-known/chainhost/proof/{}>; rel=\"describedby\"", deployment.id);
                heads.add("link", proof);
            }
        }
        Resolution::Redirect { to, .. } => {
            let from = if said.rule.is_some() { From::Redirect } else { From::Host };
            heads.0.push(Head { name: String::from("location"), value: to.clone(), from });
            heads.add("cache-control", lifetime::REVALIDATE);
            heads.add("content-type", "text/plain; charset=utf-8");
            heads.add("x-content-type-options", "nosniff");
        }
        // Those of another server are not known here.
        Resolution::PassedOn { .. } | Resolution::Gone | Resolution::NotFound => {}
    }
    if said.asked != visitor::Asked::default() && !heads.0.is_empty() {
        of_visitor(&mut heads, said.asked);
    }
    let mut found = heads.0;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The headers of an answer by a setting: where a redirect leads, and none for a page.
pub(super) fn sent_to(location: Option<&str>) -> Vec<Head> {
    let head = |to: &str| Head { name: String::from("location"), value: to.to_owned(), from: From::Setting };
    location.map(head).into_iter().collect()
}

struct Heads(Vec<Head>);

impl Heads {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|it| it.name == name)
    }

    /// A line of the host.
    fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push(Head { name: name.to_owned(), value: value.into(), from: From::Host });
    }

    /// A line of the host where no rule has one.
    fn default(&mut self, name: &str, value: impl Into<String>) {
        if !self.has(name) {
            self.add(name, value);
        }
    }
}

/// What is not the same for everybody is kept by no cache of several.
fn of_visitor(heads: &mut Heads, asked: visitor::Asked) {
    let says = |heads: &Heads, name: &str, words: &[&str]| {
        let values = heads.0.iter().filter(|it| it.name == name).flat_map(|it| it.value.split(',')).map(str::trim);
        values.into_iter().any(|part| words.iter().any(|it| part.eq_ignore_ascii_case(it)))
    };
    if !says(heads, "cache-control", &["no-store"]) {
        heads.0.retain(|it| it.name != "cache-control");
        heads.add("cache-control", lifetime::OF_VISITOR);
    }
    heads.0.retain(|it| !lifetime::OF_SHARED_CACHES.contains(&it.name.as_str()));
    if asked.language && !says(heads, "vary", &["*", "accept-language"]) {
        heads.add("vary", "accept-language");
    }
}

fn of_rules(heads: &mut Heads, manifest: &Manifest, said: &Explanation<'_>, entry: &Entry, lines: Option<&Read>) {
    let policy = manifest.policy();
    // The rules that set a header, in the order of the policy.
    let setting = |name: &str| {
        let set = |rule: usize, at: usize| policy.headers.get(rule)?.set.get(at);
        let these = said.given.iter().filter(|it| set(it.rule, it.at).is_some_and(|(it, _)| it == name));
        let line = |rule: usize, at: usize| lines?.header_lines.get(rule)?.1.get(at).copied();
        these.map(|it| (it.rule, line(it.rule, it.at))).collect::<Vec<_>>()
    };
    for (name, value) in policy.headers_for(entry.path.as_str()) {
        if name == "content-type" || REFUSED_HEADERS.contains(&name.as_str()) {
            continue;
        }
        let from = From::Rules(setting(&name));
        heads.0.push(Head { name, value, from });
    }
    // Of those that set the type the last one counts.
    let from = setting("content-type").pop().map_or(From::Ending, |it| From::Rules(vec![it]));
    heads.0.push(Head { name: String::from("content-type"), value: entry.media_type.clone(), from });
}

fn of_host(heads: &mut Heads, entry: &Entry, status: u16, elsewhere: bool) {
    let unsure = elsewhere || status != 200;
    let kept = lifetime::cache_control(entry.path.as_str(), &entry.media_type);
    heads.default("cache-control", if unsure { lifetime::REVALIDATE } else { kept });
    heads.default("x-content-type-options", "nosniff");
    heads.add("content-length", entry.size.to_string());
    heads.add("unencoded-digest", format!("sha-256=:{}:", entry.sha256.base64()));
    if status == 200 {
        heads.default("accept-ranges", "bytes");
        heads.add("etag", format!("\"{}\"", data_encoding::BASE64URL_NOPAD.encode(&entry.sha256.0)));
    }
    let says_coding = |value: &str| {
        value.split(',').any(|it| matches!(it.trim(), "*") || it.trim().eq_ignore_ascii_case("accept-encoding"))
    };
    let said = heads.0.iter().any(|it| it.name == "vary" && says_coding(&it.value));
    if media_type::is_compressible(&entry.media_type) && !said {
        heads.add("vary", "accept-encoding");
    }
}
