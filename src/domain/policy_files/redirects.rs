//! `_redirects`: lines `from [name=value…] to [status[!]] [Country=…] [Language=…]`, as Netlify and Cloudflare Pages write them.

use super::{Reading, pattern, wrong};
use crate::{
    base::country::Country,
    domain::{
        Error, Result,
        policy::{Redirect, When, split_url},
    },
};

/// Every rule with its line, which counts from 1.
pub(super) fn rules(text: &str, reading: Reading) -> Result<Vec<(usize, Redirect)>> {
    let mut rules = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some(rule) = rule(line, reading).map_err(|why| wrong("_redirects", at, why))? else { continue };
        let other = if reading == Reading::Netlify { other_slash(&rule) } else { None };
        rules.push((at + 1, rule));
        rules.extend(other.map(|it| (at + 1, it)));
    }
    Ok(rules)
}

/// One line's rule; `None` for a line without words.
fn rule(line: &str, reading: Reading) -> Result<Option<Redirect>, String> {
    let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#')).peekable();
    let Some(from) = words.next() else { return Ok(None) };
    let from = pattern(from, reading)?;
    let mut query = Vec::new();
    let to = loop {
        let Some(word) = words.peek().copied() else {
            return Err(String::from("there is no target. A line looks like `/from /to 301`"));
        };
        match (status(word), word.split_once('=')) {
            // `/app/* 200`: what comes behind the line does not hold there (Netlify).
            (Some((200..=299, _)), _) if from.ends_with("/*") => break from.replace('*', ":splat"),
            (Some(_), _) => {
                return Err(format!("there is no target before `{word}`. A line looks like `/from /to 301`"));
            }
            (None, Some((name, value))) if !word.starts_with('/') && !word.contains("://") => {
                query.push((name.to_owned(), value.to_owned()));
                words.next();
            }
            (None, _) => {
                words.next();
                break word.to_owned();
            }
        }
    };
    // Conditions may come without a status.
    let (status, marked) = match words.peek().map(|word| (status(word), is_condition(word))) {
        Some((Some(status), _)) => {
            words.next();
            status
        }
        Some((None, false)) => return Err(too_much(words.next().unwrap_or_default(), "is not a status")),
        _ if reading == Reading::Cloudflare => (302, false),
        _ => (301, false),
    };
    let mut when = When::default();
    for word in words {
        take_condition(word, &mut when)?;
    }
    if status == 200 && reading == Reading::Cloudflare && split_url(&to).is_some() {
        return Err(String::from(
            "with status 200 Cloudflare Pages shows files of this site alone, and so does this. Write `rules = \"netlify\"` into \
             chainhost.toml, or none, and the other server is asked; or send visitors there with 302",
        ));
    }
    let first = reading == Reading::Cloudflare && matches!(status, 200 | 301 | 302 | 303 | 307 | 308);
    let rule = Redirect { force: marked || first, from, query, status, to, when };
    rule.check()?;
    if first && hides_files(&rule) {
        return Err(String::from(
            "this would answer for the very files that the page needs, and Cloudflare leaves such a line out. Write \
             `spa = true` into chainhost.toml and remove the line",
        ));
    }
    Ok(Some(rule))
}

/// `301`, `200!`: the number, and whether it goes before files.
fn status(word: &str) -> Option<(u16, bool)> {
    let (digits, marked) = word.strip_suffix('!').map_or((word, false), |it| (it, true));
    digits.parse().ok().map(|it| (it, marked))
}

/// Whether a word behind the target looks like `Name=value`.
fn is_condition(word: &str) -> bool {
    word.split_once('=').is_some_and(|(_, value)| !value.is_empty())
}

/// Takes `Country=at,de` or `Language=en`, as Netlify has them.
fn take_condition(word: &str, when: &mut When) -> Result<(), String> {
    let (name, values) = word.split_once('=').unwrap_or((word, ""));
    let values = || values.split(',').map(str::trim).filter(|it| !it.is_empty());
    let is_first = match name.to_ascii_lowercase().as_str() {
        "country" if is_condition(word) => std::mem::replace(
            &mut when.countries,
            values().map(|it| it.parse::<Country>().map_err(|error| error.to_string())).collect::<Result<_, _>>()?,
        )
        .is_empty(),
        "language" if is_condition(word) => {
            let written = values().map(|it| it.to_ascii_lowercase().replace('_', "-"));
            std::mem::replace(&mut when.languages, written.collect()).is_empty()
        }
        _ => return Err(too_much(word, "is too much")),
    };
    let shown = word.escape_debug();
    if !is_first {
        return Err(format!("`{shown}` is the second of its kind. Write all into one, separated by commas"));
    }
    if values().next().is_none() {
        return Err(format!("`{shown}` names none. Write one, or several separated by commas"));
    }
    Ok(())
}

/// Why a word behind the target is refused, and what to do instead.
fn too_much(word: &str, otherwise: &str) -> String {
    let shown = word.escape_debug();
    let same = "of a visitor only country and language are looked at here";
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    let why = match name.to_ascii_lowercase().as_str() {
        _ if value.is_empty() => return format!("`{shown}` {otherwise}. A line looks like `/from /to 301`"),
        "cookie" => format!("{same}. Remove the condition, and let a page choose by its cookie"),
        "role" => String::from(
            "visitors have no roles here, so that these pages would be open to everybody. Leave what is not for everybody \
             out of the deploy, and remove the line",
        ),
        "sign" | "signed" => String::from(
            "what is passed on is not signed here. Remove it, and let the other server ask visitors for a key",
        ),
        _ => String::from("conditions are not known here. Parameters of a query stand before the target"),
    };
    format!("`{shown}` is too much: {why}")
}

/// Whether a rewrite before all files answers for what its own target loads.
fn hides_files(rule: &Redirect) -> bool {
    let below = rule.from.ends_with("/*");
    let page = rule.to.rsplit('/').next().is_some_and(|it| matches!(it, "" | "index" | "index.html"));
    rule.status == 200 && (rule.from == "/*" || (below && page && !rule.to.contains(':')))
}

/// The rule for the same path with, or without, its closing slash: Netlify takes both for one.
fn other_slash(rule: &Redirect) -> Option<Redirect> {
    let (from, to) = match rule.from.strip_suffix("/*") {
        // `/x/*` is for `/x` too, and `*` takes any closing slash.
        Some(base) => (base.to_owned(), without_splat(&rule.to)),
        None if rule.from.ends_with('*') => return None,
        None => match rule.from.strip_suffix('/') {
            Some(base) => (base.to_owned(), rule.to.clone()),
            None => (format!("{}/", rule.from), rule.to.clone()),
        },
    };
    let leads = to.split(['?', '#']).next().unwrap_or_default();
    // One that leads to its own path would answer nothing, and hide what comes behind it.
    (!from.is_empty() && leads != from.replace('*', ":splat")).then(|| Redirect { from, to, ..rule.clone() })
}

/// A rule for each folder with a `404.html`, the inner ones first; the one at the root is the fallback.
pub(super) fn closest_404(paths: &[&str]) -> Result<Vec<Redirect>> {
    let mut folders: Vec<&str> =
        paths.iter().filter_map(|it| it.strip_suffix("/404.html")).filter(|it| !it.is_empty()).collect();
    folders.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
    let rule = |folder: &&str| {
        if folder.contains(['*', ':', '?', '#', '%']) {
            let shown = folder.escape_debug();
            let text = format!(
                "The page `{shown}/404.html` cannot be the one for its folder, since the folder's name has a sign that means \
                 something in a rule. Rename the folder, or write `nearest_404 = false` into chainhost.toml."
            );
            return Err(Error::invalid("policy_file", text).on("files"));
        }
        let (from, to) = (format!("{folder}/*"), format!("{folder}/404.html"));
        Ok(Redirect { from, status: 404, to, ..Redirect::default() })
    };
    folders.iter().map(rule).collect()
}

/// A target with nothing where `:splat` stood.
fn without_splat(to: &str) -> String {
    let mut parts = to.split(":splat");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // `:splatter` is another name.
        if part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            out.push_str(":splat");
        }
        out.push_str(part);
    }
    out
}
