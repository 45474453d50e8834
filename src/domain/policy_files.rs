//! From `_headers`, `_redirects` and `chainhost.toml` to a policy (DECISIONS 39 to 41).
//!
//! A line that cannot be read fails the deploy, with file, line and what to do: a rule that is left out silently is a
//! hole. Paths in these files are URL paths: they are decoded once, so that `%20` is a blank.

use serde::Deserialize;

use crate::{
    base::limits::POLICY_FILE_BYTES_MAX,
    domain::{
        Error, Result,
        policy::{Fallback, HeaderRule, Policy, Redirect, check_index},
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

/// The policy that the files say; `has_404`: there is a root `404.html`, which becomes the fallback when no file says
/// another.
pub fn policy(files: &PolicyFiles<'_>, has_404: bool) -> Result<Policy> {
    let mut policy = match files.toml {
        Some(bytes) => settings(text("chainhost.toml", bytes)?)?,
        None => Policy::default(),
    };
    if policy.fallback.is_none() && has_404 {
        policy.fallback = Some(Fallback { path: SitePath::parse("/404.html")?, status: 404 });
    }
    if let Some(bytes) = files.headers {
        policy.headers = headers(text("_headers", bytes)?)?;
    }
    if let Some(bytes) = files.redirects {
        policy.redirects = redirects(text("_redirects", bytes)?)?;
    }
    policy.check()?;
    Ok(policy)
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

/// Blocks of a path and, below it, indented `Name: value`.
fn headers(text: &str) -> Result<Vec<HeaderRule>> {
    let file = "_headers";
    let mut rules: Vec<(usize, HeaderRule)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if !line.starts_with([' ', '\t']) {
            let matches = pattern(content).map_err(|why| wrong(file, at, why))?;
            rules.push((at, HeaderRule { matches, set: Vec::new() }));
            continue;
        }
        let Some((_, rule)) = rules.last_mut() else {
            return Err(wrong(file, at, "a header stands before the first path. Put a path such as `/*` above it"));
        };
        let Some((name, value)) = content.split_once(':') else {
            return Err(wrong(file, at, "a header looks like `Name: value`"));
        };
        rule.set.push((name.trim_end().to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
        // Here and not only below, so that the line that is wrong is named.
        rule.check().map_err(|why| wrong(file, at, why))?;
    }
    for (at, rule) in &rules {
        rule.check().map_err(|why| wrong(file, *at, why))?;
    }
    Ok(rules.into_iter().map(|(_, rule)| rule).collect())
}

/// Lines `from [name=value…] to [status[!]]`.
fn redirects(text: &str) -> Result<Vec<Redirect>> {
    let mut rules = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(rule) = redirect(line).map_err(|why| wrong("_redirects", at, why))? {
            rules.push(rule);
        }
    }
    Ok(rules)
}

/// One line's rule; `None` for a line without words.
fn redirect(line: &str) -> Result<Option<Redirect>, String> {
    let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
    let Some(from) = words.next() else { return Ok(None) };
    let from = pattern(from)?;
    let mut query = Vec::new();
    let to = loop {
        let Some(word) = words.next() else {
            return Err(String::from("there is no target. A line looks like `/from /to 301`"));
        };
        match word.split_once('=') {
            Some((name, value)) if !word.starts_with('/') && !word.contains("://") => {
                query.push((name.to_owned(), value.to_owned()));
            }
            _ => break word,
        }
    };
    let (status, force) = match words.next() {
        Some(word) => {
            let (digits, force) = word.strip_suffix('!').map_or((word, false), |it| (it, true));
            let status = digits.parse().map_err(|_| format!("`{}` is not a status", word.escape_debug()))?;
            (status, force)
        }
        None => (301, false),
    };
    if let Some(more) = words.next() {
        let more = more.escape_debug();
        return Err(format!("`{more}` is too much. Conditions such as country or language are not supported"));
    }
    let rule = Redirect { force, from, query, status, to: to.to_owned() };
    rule.check()?;
    Ok(Some(rule))
}

/// A pattern as written in a file, decoded.
fn pattern(written: &str) -> Result<String, String> {
    if !written.starts_with('/') {
        let shown: String = written.chars().take(80).flat_map(char::escape_debug).collect();
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
    match decode_path(written) {
        Some(path) if !escaped_sign => Ok(path.into_owned()),
        _ => Err(String::from(
            "this path cannot be matched: it has a broken escape, an escaped `/`, `*` or `:`, a backslash, or a `.` segment",
        )),
    }
}

/// The shape of `chainhost.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    clean_urls: Option<bool>,
    index: Option<String>,
    fallback: Option<Page>,
    spa: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    path: String,
    status: Option<u16>,
}

fn settings(text: &str) -> Result<Policy> {
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
    Ok(Policy {
        clean_urls: settings.clean_urls.unwrap_or_default(),
        fallback: fallback.transpose()?,
        index,
        ..Policy::default()
    })
}

#[cfg(test)]
mod tests;
