//! The canonical JSON bytes (RFC 8785) of a manifest and of a policy, written out key by key.
//!
//! Equal values give equal bytes. All keys are ASCII and stand in their sorted order in the text below; strings
//! keep non-ASCII as raw UTF-8 (DECISIONS 42). Nothing here sorts or checks values: `manifest` does.

use std::fmt::Write as _;

use crate::{
    domain::policy::{Policy, Redirect, When},
    proof::manifest::Entry,
};

/// The value of the manifest's key `format`.
pub(crate) const MANIFEST_FORMAT: &str = "chainhost/manifest@v1";

/// The canonical bytes of a manifest with these entries in this order.
pub(crate) fn manifest(entries: &[Entry], policy: &Policy) -> Vec<u8> {
    let mut out = String::with_capacity(128 + entries.len() * 160);
    out.push_str("{\"entries\":");
    array(&mut out, entries, |out, entry| {
        out.push_str("{\"path\":");
        string(out, entry.path.as_str());
        out.push_str(",\"sha256\":");
        string(out, &entry.sha256.hex());
        out.push_str(",\"size\":");
        number(out, entry.size);
        out.push_str(",\"type\":");
        string(out, &entry.media_type);
        out.push('}');
    });
    out.push_str(",\"format\":");
    string(&mut out, MANIFEST_FORMAT);
    out.push_str(",\"policy\":");
    write_policy(&mut out, policy);
    out.push('}');
    out.into_bytes()
}

/// The canonical bytes of a policy alone, as the site tree's reserved tuple hashes them (DECISIONS 34).
pub fn policy(policy: &Policy) -> Vec<u8> {
    let mut out = String::new();
    write_policy(&mut out, policy);
    out.into_bytes()
}

fn write_policy(out: &mut String, policy: &Policy) {
    out.push_str("{\"clean_urls\":");
    boolean(out, policy.clean_urls);
    out.push_str(",\"fallback\":");
    if let Some(fallback) = &policy.fallback {
        out.push_str("{\"path\":");
        string(out, fallback.path.as_str());
        out.push_str(",\"status\":");
        number(out, fallback.status.into());
        out.push('}');
    } else {
        out.push_str("null");
    }
    out.push_str(",\"headers\":");
    array(out, &policy.headers, |out, rule| {
        out.push_str("{\"match\":");
        string(out, &rule.matches);
        out.push_str(",\"set\":");
        pairs(out, &rule.set);
        out.push('}');
    });
    out.push_str(",\"index\":");
    string(out, &policy.index);
    out.push_str(",\"redirects\":");
    array(out, &policy.redirects, write_redirect);
    out.push('}');
}

fn write_redirect(out: &mut String, redirect: &Redirect) {
    out.push_str("{\"force\":");
    boolean(out, redirect.force);
    out.push_str(",\"from\":");
    string(out, &redirect.from);
    out.push_str(",\"query\":");
    pairs(out, &redirect.query);
    out.push_str(",\"status\":");
    number(out, redirect.status.into());
    out.push_str(",\"to\":");
    string(out, &redirect.to);
    // A rule that holds of everybody has the keys that it has had from the beginning on.
    if !redirect.when.is_always() {
        out.push_str(",\"when\":");
        write_when(out, &redirect.when);
    }
    out.push('}');
}

fn write_when(out: &mut String, when: &When) {
    out.push('{');
    if !when.countries.is_empty() {
        out.push_str("\"countries\":");
        array(out, &when.countries, |out, it| string(out, it.code()));
    }
    if !when.languages.is_empty() {
        out.push_str(if when.countries.is_empty() { "\"languages\":" } else { ",\"languages\":" });
        array(out, &when.languages, |out, it| string(out, it));
    }
    out.push('}');
}

fn pairs(out: &mut String, pairs: &[(String, String)]) {
    array(out, pairs, |out, (name, value)| {
        out.push('[');
        string(out, name);
        out.push(',');
        string(out, value);
        out.push(']');
    });
}

fn array<T>(out: &mut String, items: &[T], mut each: impl FnMut(&mut String, &T)) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(']');
}

fn boolean(out: &mut String, value: bool) {
    out.push_str(if value { "true" } else { "false" });
}

fn number(out: &mut String, value: u64) {
    out.push_str(&value.to_string());
}

/// RFC 8785 §3.2.2.2: the short escapes, `\u00xx` in lower case for other controls, all else as it is.
fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            // Writing into a String cannot fail.
            '\0'..='\u{1f}' => drop(write!(out, "\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_has_all_five_keys() {
        assert_eq!(
            String::from_utf8(policy(&Policy::default())).unwrap(),
            r#"{"clean_urls":false,"fallback":null,"headers":[],"index":"index.html","redirects":[]}"#
        );
    }

    #[test]
    fn of_whom_a_rule_holds_is_there_only_where_it_says_so() {
        let written = |when: When| {
            let mut out = String::new();
            write_redirect(
                &mut out,
                &Redirect { from: String::from("/"), status: 302, to: String::from("/a"), when, ..Redirect::default() },
            );
            out
        };
        let plain = r#"{"force":false,"from":"/","query":[],"status":302,"to":"/a""#;
        assert_eq!(written(When::default()), format!("{plain}}}"));
        let countries = vec!["de".parse().unwrap(), "AT".parse().unwrap()];
        let both = When { countries: countries.clone(), languages: vec![String::from("en")] };
        assert_eq!(written(both), format!(r#"{plain},"when":{{"countries":["DE","AT"],"languages":["en"]}}}}"#));
        assert_eq!(
            written(When { countries, ..When::default() }),
            format!(r#"{plain},"when":{{"countries":["DE","AT"]}}}}"#)
        );
        let languages = vec![String::from("en")];
        assert_eq!(
            written(When { languages, ..When::default() }),
            format!(r#"{plain},"when":{{"languages":["en"]}}}}"#)
        );
    }

    #[test]
    fn strings_are_escaped_as_the_rfc_says() {
        let mut out = String::new();
        string(&mut out, "\u{20ac}$\u{f}\u{a}A'\u{42}\"\\/\u{7f}\u{8}\u{1f600}");
        assert_eq!(out, "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\/\u{7f}\\b\u{1f600}\"");
    }
}
