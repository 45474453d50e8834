//! From `_headers`, `_redirects` and `chainhost.toml` to a policy (DECISIONS 39 to 41).
//!
//! A line that cannot be read or kept fails the deploy, with file, line and what to do: a rule that is left out silently
//! is a hole. Paths in these files are URL paths: they are decoded once, so that `%20` is a blank. What a manifest has no
//! words for (a header that is left out again, Netlify's slashes) is said in those that it has.

mod fill;
mod headers;
mod redirects;
mod spread;

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::{
    base::limits::{POLICY_FILE_BYTES_MAX, POLICY_RULES_MAX},
    domain::{
        Error, Result,
        policy::{Fallback, Policy, check_index, check_whole_names},
        site_path::SitePath,
        url_path::decode_path,
    },
};

/// The bytes of the three policy files of a deployment, where they are there.
#[derive(Clone, Copy, Debug, Default)]
pub struct PolicyFiles<'b> {
    /// `_headers`
    pub headers: Option<&'b [u8]>,
    /// `_redirects`
    pub redirects: Option<&'b [u8]>,
    /// `chainhost.toml`
    pub toml: Option<&'b [u8]>,
}

/// What the files say, and where they say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The policy.
    pub policy: Policy,
    /// For each of its header rules the line of its path, and of each header that it sets. Lines count from 1.
    pub header_lines: Vec<(usize, Vec<usize>)>,
    /// For each of its redirects the line; several may come from one, and those to the closest `404.html` from none.
    pub redirect_lines: Vec<Option<usize>>,
}

/// Whose reading of `_redirects` and `_headers` a site has asked for, with `rules` in `chainhost.toml`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reading {
    /// Files go before rules without `!`, 301, paths as they are written.
    #[default]
    #[serde(skip_deserializing)]
    Own,
    /// A path with and without its closing slash, and `/x` for `/x/*`.
    Netlify,
    /// Rules go before files, 302, `:name` within a segment, and in values of headers.
    Cloudflare,
}

/// The policy that the files say for a site of files with these paths.
pub fn policy(files: &PolicyFiles<'_>, paths: &[&str]) -> Result<Policy> {
    read(files, paths).map(|it| it.policy)
}

/// As [`policy`], with the lines. A root `404.html` becomes the fallback when no file says another.
pub fn read(files: &PolicyFiles<'_>, paths: &[&str]) -> Result<Read> {
    let (mut policy, reading, closest) = match files.toml {
        Some(bytes) => settings(text("chainhost.toml", bytes)?)?,
        None => (Policy::default(), Reading::Own, false),
    };
    if policy.fallback.is_none() && paths.contains(&"/404.html") {
        policy.fallback = Some(Fallback { path: SitePath::parse("/404.html")?, status: 404 });
    }
    let (mut header_lines, mut redirect_lines) = (Vec::new(), Vec::new());
    if let Some(bytes) = files.headers {
        let blocks = headers::blocks(text("_headers", bytes)?, reading)?;
        let rules = match reading {
            // What deploys without these has had one manifest from the beginning on, and keeps it.
            Reading::Own if blocks.iter().all(|it| it.without.is_empty()) => headers::rules(blocks),
            _ => {
                let urls = reading != Reading::Own;
                let site = spread::Site { paths, index: &policy.index, clean: policy.clean_urls, urls };
                let blocks = if reading == Reading::Cloudflare { fill::blocks(blocks, &site)? } else { blocks };
                spread::rules(&blocks, &site)?
            }
        };
        (header_lines, policy.headers) = rules.into_iter().unzip();
    }
    if let Some(bytes) = files.redirects {
        let rules = redirects::rules(text("_redirects", bytes)?, reading)?;
        let lines: BTreeSet<usize> = rules.iter().map(|(line, _)| *line).collect();
        if rules.len() > POLICY_RULES_MAX && lines.len() < rules.len() {
            let (made, lines) = (rules.len(), lines.len());
            let text = format!(
                "The {lines} lines of _redirects are {made} rules with `rules = \"netlify\"`, which takes each with and without \
                 its closing slash; more than {POLICY_RULES_MAX} are not taken. Join some with `*`."
            );
            return Err(Error::invalid("policy", text).on("files"));
        }
        (redirect_lines, policy.redirects) = rules.into_iter().map(|(line, rule)| (Some(line), rule)).unzip();
    }
    if closest {
        let rules = redirects::closest_404(paths)?;
        redirect_lines.extend(rules.iter().map(|_| None));
        policy.redirects.extend(rules);
    }
    policy.check()?;
    Ok(Read { policy, header_lines, redirect_lines })
}

/// The text of a policy file, without the byte order mark that some editors put in front.
fn text<'b>(file: &str, bytes: &'b [u8]) -> Result<&'b str> {
    if bytes.len() > POLICY_FILE_BYTES_MAX {
        let message = format!("{file} has more than {POLICY_FILE_BYTES_MAX} bytes. Join rules with `*`.");
        return Err(Error::too_large("policy_file_size", message).on("files"));
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = bytes.get(..error.valid_up_to()).unwrap_or_default().split(|b| *b == b'\n').count() - 1;
        wrong(file, line, "this is not UTF-8. Save the file as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// `line` counts from 0.
fn wrong(file: &str, line: usize, why: impl std::fmt::Display) -> Error {
    Error::invalid("policy_file", format!("{file}, line {}: {why}.", line + 1)).on("files")
}

/// A pattern as written in a file, decoded.
fn pattern(written: &str, reading: Reading) -> Result<String, String> {
    let shown = || written.chars().take(80).flat_map(char::escape_debug).collect::<String>();
    if written.starts_with("https://") || written.starts_with("http://") {
        return Err(format!(
            "`{}` must begin with `/`: a rule holds for all hostnames of its site, so that it can be proved. Write the path \
             alone; what is for one hostname only belongs to a site of its own, and previews are kept out of search \
             engines already",
            shown()
        ));
    }
    if !written.starts_with('/') {
        let shown = shown();
        return Err(format!("`{shown}` must begin with `/`; whole URLs are targets only, and headers are indented"));
    }
    // No path of a request has them: a browser cuts the query off, and never sends a fragment.
    for (sign, escaped, instead) in [
        ('?', "%3F", "in `_redirects`, a query stands between the two paths, as in `/from name=value /to`"),
        ('#', "%23", "what stands behind it is never sent to a server"),
    ] {
        if written.contains(sign) {
            return Err(format!(
                "a path is matched without `{sign}`: {instead}. A `{sign}` in a file's name is `{escaped}`"
            ));
        }
    }
    let escaped_sign = ["%2a", "%3a"].iter().any(|it| written.to_ascii_lowercase().contains(it));
    let Some(path) = decode_path(written).filter(|_| !escaped_sign) else {
        return Err(String::from(
            "this path cannot be matched: it has a broken escape, an escaped `/`, `*` or `:`, a backslash, or a `.` segment",
        ));
    };
    if reading != Reading::Cloudflare {
        check_whole_names(&path).map_err(|why| {
            format!("{why}. For one within a segment, as in `/blog-:year`, write `rules = \"cloudflare\"` into chainhost.toml")
        })?;
    }
    Ok(path.into_owned())
}

/// The shape of `chainhost.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    clean_urls: Option<bool>,
    index: Option<String>,
    fallback: Option<Page>,
    spa: Option<bool>,
    rules: Option<Reading>,
    nearest_404: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    path: String,
    status: Option<u16>,
}

/// What `chainhost.toml` says: the policy, whose rules these are, and whether the closest `404.html` answers.
fn settings(text: &str) -> Result<(Policy, Reading, bool)> {
    let file = "chainhost.toml";
    let settings: Settings = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|it| text.get(..it.start)).unwrap_or_default();
        let why = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        wrong(file, before.matches('\n').count(), why)
    })?;
    let line = |key: &str| text.lines().position(|it| it.trim_start().trim_start_matches('[').starts_with(key));
    let wrong = |key: &str, why: String| wrong(file, line(key).unwrap_or_default(), why);
    let index = settings.index.unwrap_or_else(|| Policy::default().index);
    check_index(&index).map_err(|why| wrong("index", format!("`index` {why}")))?;
    let fallback = match (settings.fallback, settings.spa) {
        (Some(_), Some(true)) => {
            return Err(wrong("spa", String::from("`spa` and `fallback` exclude one another. Keep one")));
        }
        (None, Some(true)) => Some((format!("/{index}"), 200)),
        (Some(page), _) => Some((page.path, page.status.unwrap_or(404))),
        (None, _) => None,
    };
    let fallback = fallback.map(|(path, status)| {
        let path = SitePath::parse(&path)
            .map_err(|error| wrong("fallback", error.message.trim_end_matches('.').to_owned()))?;
        if !matches!(status, 200 | 404) {
            return Err(wrong("fallback", String::from("the status of the fallback must be 200 or 404")));
        }
        Ok(Fallback { path, status })
    });
    let policy = Policy {
        clean_urls: settings.clean_urls.unwrap_or_default(),
        fallback: fallback.transpose()?,
        index,
        ..Policy::default()
    };
    let reading = settings.rules.unwrap_or_default();
    Ok((policy, reading, settings.nearest_404.unwrap_or(reading == Reading::Cloudflare)))
}

#[cfg(test)]
mod tests;
