//! Asks a running site for every file of a manifest and compares what a browser would go by.
//!
//! The status, the type, the policy's headers, the bytes; and that the host adds no header of its own that would change
//! what the bytes mean. The same resolution table says here and in the server which path answers with what.

use std::{borrow::Cow, collections::BTreeMap};

use http::{HeaderMap, HeaderName, header};

use super::{
    Fault,
    fetch::{Answer, Failure, Requests, Site},
};
use crate::{
    domain::{lifetime::OF_SHARED_CACHES, policy::HeaderIndex},
    proof::{
        manifest::{Entry, Manifest},
        resolve::{self, Resolution, visitor::Asked},
    },
};

/// Headers that change what a browser does with bytes: they are the policy's, or not there.
const MEANING: [&str; 27] = [
    "access-control-allow-credentials",
    "access-control-allow-origin",
    "clear-site-data",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-security-policy-report-only",
    "cross-origin-embedder-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "document-policy",
    "integrity-policy",
    "link",
    "location",
    "permissions-policy",
    "referrer-policy",
    "refresh",
    "reporting-endpoints",
    "service-worker-allowed",
    "set-cookie",
    "sourcemap",
    "speculation-rules",
    "strict-transport-security",
    "x-frame-options",
];
/// Connections that may end without an answer, one after the other.
const LOST_MAX: usize = 2;

/// Asks for all entries, in their order, but for those that other servers may answer: what they say is no part of a manifest. The paths of
/// these.
pub(super) fn check<'m>(manifest: &'m Manifest, site: &Site) -> Result<Vec<&'m str>, Fault> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::usage(format!("Cannot begin: {error}")))?
        .block_on(check_all(manifest, site))
}

async fn check_all<'m>(manifest: &'m Manifest, site: &Site) -> Result<Vec<&'m str>, Fault> {
    let passed_on = passed_on(manifest);
    let (mut next, mut lost) = (0, 0);
    let headers = HeaderIndex::new(&manifest.policy().headers);
    loop {
        let begun = next;
        let done = site.connected(async |requests| some((manifest, &headers), &mut next, requests, site).await).await;
        match done.map_err(Fault::usage)? {
            None => return Ok(passed_on),
            Some(Stop::Fault(fault)) => return Err(fault),
            Some(Stop::Closed) => {
                lost = if next > begun { 0 } else { lost + 1 };
                if lost > LOST_MAX {
                    let path = manifest.entries().get(next).map_or("/", |it| it.path.as_str());
                    return Err(Fault::content(path, "the site closes the connection without an answer"));
                }
            }
        }
    }
}

/// The paths of entries that other servers may answer.
fn passed_on(manifest: &Manifest) -> Vec<&str> {
    if manifest.policy().redirects.iter().all(|it| it.upstream().is_none()) {
        return Vec::new();
    }
    let entries = manifest.entries().iter();
    entries.filter(|it| wanted(manifest, it).0.iter().any(is_passed_on)).map(|it| it.path.as_str()).collect()
}

const fn is_passed_on(resolution: &Resolution<'_>) -> bool {
    matches!(resolution, Resolution::PassedOn { .. })
}

/// What an entry's address may give, and what of the visitor that depends on.
fn wanted<'m>(manifest: &'m Manifest, entry: &Entry) -> (Vec<Resolution<'m>>, Asked) {
    // `url_path` gives paths that can be decoded, and this one is an entry's at the least.
    let url = resolve::url_path(manifest, entry);
    let decoded = resolve::decode_path(&url);
    decoded
        .map_or_else(|| (vec![Resolution::NotFound], Asked::default()), |it| resolve::resolve_all(manifest, &it, None))
}

/// Why asking over one connection ended early.
enum Stop {
    Closed,
    Fault(Fault),
}

/// Asks for entries from `next` on until all are done or the connection ends.
async fn some(
    (manifest, headers): (&Manifest, &HeaderIndex<'_>),
    next: &mut usize,
    requests: &mut Requests<'_>,
    site: &Site,
) -> Option<Stop> {
    while let Some(entry) = manifest.entries().get(*next) {
        let path = entry.path.as_str();
        let url = resolve::url_path(manifest, entry);
        let (wanted, asked) = wanted(manifest, entry);
        if wanted.iter().any(is_passed_on) {
            *next += 1;
            continue;
        }
        let depends = asked != Asked::default();
        let sizes = wanted
            .iter()
            .filter_map(|it| if let Resolution::File { entry, .. } = it { Some(entry.size) } else { None });
        let size_max = sizes.max().unwrap_or(0).max(entry.size);
        let answer = match requests.get(&url, size_max).await {
            Ok(answer) => answer,
            Err(Failure::Closed) => return Some(Stop::Closed),
            Err(Failure::Broken(why)) => return Some(Stop::Fault(Fault::content(path, why))),
        };
        // A body that was not read to its end leaves the connection unusable, but then there is a fault.
        if let Err(why) = compare_any(headers, &wanted, &answer, depends) {
            if let Some(secured) = site.secured(&answer) {
                let why = format!("The site sends everybody to HTTPS. Ask it there: --site {secured}");
                return Some(Stop::Fault(Fault::usage(why)));
            }
            return Some(Stop::Fault(Fault::content(path, format!("{url} {why}"))));
        }
        *next += 1;
    }
    None
}

/// Whether an answer is one of those that the resolution table has for the path: for whom the site takes this client is not known here.
fn compare_any(
    headers: &HeaderIndex<'_>,
    wanted: &[Resolution<'_>],
    answer: &Answer,
    depends: bool,
) -> Result<(), String> {
    let Some((first, others)) = wanted.split_first() else { return Ok(()) };
    let first = compare(headers, first, answer, depends);
    // To gather the headers of a file takes long, and there may be thousands.
    let has_bytes =
        |it: &&Resolution<'_>| !matches!(it, Resolution::File { entry, .. } if entry.sha256 != answer.sha256);
    let mut others = others.iter().filter(has_bytes);
    if first.is_ok() || others.any(|it| compare(headers, it, answer, depends).is_ok()) { Ok(()) } else { first }
}

/// Whether an answer is what the resolution table says. `depends`: for others it may be another, so that the host says how it is kept.
fn compare(headers: &HeaderIndex<'_>, wanted: &Resolution<'_>, answer: &Answer, depends: bool) -> Result<(), String> {
    let status = answer.status.as_u16();
    match wanted {
        Resolution::File { entry, status: wanted } => {
            expect("the status", &status, wanted)?;
            let media_type = joined(&answer.headers, &header::CONTENT_TYPE);
            expect("the type", media_type.as_deref().unwrap_or("none"), entry.media_type.as_str())?;
            let mut block = headers.headers_for(entry.path.as_str());
            if depends {
                block.retain(|name, _| {
                    !matches!(name.as_str(), "cache-control" | "vary") && !OF_SHARED_CACHES.contains(&name.as_str())
                });
            }
            compare_block(block, &answer.headers)?;
            if answer.size > entry.size {
                return Err(format!("has more than {} bytes", entry.size));
            }
            expect("the length", &answer.size, &entry.size)?;
            expect("the SHA-256", &answer.sha256, &entry.sha256)
        }
        Resolution::Redirect { status: wanted, to } => {
            expect("the status", &status, wanted)?;
            let target = joined(&answer.headers, &header::LOCATION);
            expect("the target", target.as_deref().unwrap_or("none"), to.as_str())
        }
        // It is not asked for.
        Resolution::PassedOn { .. } => Ok(()),
        Resolution::Gone => expect("the status", &status, &410),
        Resolution::NotFound => expect("the status", &status, &404),
    }
}

/// Whether the policy's headers are there as they are, and none besides that would change the meaning.
fn compare_block(mut block: BTreeMap<String, String>, headers: &HeaderMap) -> Result<(), String> {
    // It stands in the entry's type already.
    block.remove("content-type");
    for (name, value) in &block {
        let Ok(header) = name.parse::<HeaderName>() else { continue };
        // The last line is the policy's where that says the same as the host would.
        let whole = joined(headers, &header);
        if whole.as_deref() != Some(value.as_str()) {
            let rest = joined_without_ours(headers, &header);
            expect(&format!("the header {name}"), rest.as_deref().unwrap_or("none"), value.as_str())?;
        }
    }
    for name in headers.keys().filter(|name| MEANING.contains(&name.as_str()) && !block.contains_key(name.as_str())) {
        if let Some(value) = joined_without_ours(headers, name) {
            return Err(format!("has a header that was not deployed: {name}: {}", value.escape_debug()));
        }
    }
    Ok(())
}

/// All values of a header, joined as RFC 9110 §5.2 does.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    join(&values(headers, name))
}

/// The same without the one line that the host itself adds behind the policy's values: a link to the proof, that answers
/// vary by coding, and that previews are not for search engines.
fn joined_without_ours(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let proof = |value: &str| {
        let described = value.rsplit_once(">;").map(|(_, rel)| rel.trim());
        value.starts_with("</.well-known/chainhost/")
            && !value.contains(',')
            && value.matches('>').count() == 1
            && matches!(described, Some("rel=\"describedby\"" | "rel=describedby"))
    };
    let ours = |value: &str| match name.as_str() {
        "link" => proof(value),
        "vary" => value.eq_ignore_ascii_case("accept-encoding"),
        "x-robots-tag" => value.eq_ignore_ascii_case("noindex"),
        _ => false,
    };
    let mut values = values(headers, name);
    values.pop_if(|last| ours(last));
    join(&values)
}

fn values<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Vec<Cow<'h, str>> {
    headers.get_all(name).iter().map(|it| String::from_utf8_lossy(it.as_bytes())).collect()
}

fn join(values: &[Cow<'_, str>]) -> Option<String> {
    (!values.is_empty()).then(|| values.join(", "))
}

fn expect<T: PartialEq + std::fmt::Display + ?Sized>(what: &str, found: &T, wanted: &T) -> Result<(), String> {
    if found == wanted {
        return Ok(());
    }
    let found: String = found.to_string().chars().take(200).flat_map(char::escape_debug).collect();
    Err(format!("has {what} {found} instead of {wanted}"))
}
