//! `chainhost sites settings`: what is set for a site, and to change it.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value};

use super::{
    super::{
        client::{Call, Client, credentials::ServerArgument},
        failure::{Failure, Result},
        output, terminal, text,
    },
    name, path,
};
use crate::domain::{site::SiteName, site_settings::SiteSettings};

/// The arguments of `sites settings`.
#[derive(Args)]
pub(super) struct Settings {
    /// The site
    #[arg(value_parser = name)]
    site: SiteName,
    /// What to set, as in addresses.https=always; nothing behind = is the default again
    #[arg(value_name = "KEY=VALUE", value_parser = change)]
    changes: Vec<Change>,
    /// Set what this file says: JSON, as --json prints it; what it does not name stays
    #[arg(long, value_name = "FILE", conflicts_with = "changes")]
    file: Option<PathBuf>,
    /// Print the server's object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

/// A key, from the outermost to the innermost name, and its new value.
#[derive(Clone, Debug, PartialEq)]
struct Change(Vec<String>, Value);

fn change(written: &str) -> Result<Change, String> {
    let example = "write it as in addresses.https=always";
    let (key, value) = written.split_once('=').ok_or_else(|| format!("there is no `=` in `{written}`: {example}"))?;
    let names: Vec<String> = key.split('.').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) {
        return Err(format!("`{key}` is no key: {example}"));
    }
    let section = names.first().map(String::as_str).unwrap_or_default();
    if !SiteSettings::SECTIONS.contains(&section) {
        let known = SiteSettings::SECTIONS.join(", ");
        return Err(format!("there are no settings `{section}` of a site; there are: {known}"));
    }
    // What reads as JSON is that; all else is a text, which then needs no quotes.
    let value = match value {
        "" => Value::Null,
        value => serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)),
    };
    Ok(Change(names, value))
}

/// The merge patch that makes those changes.
fn patch(changes: Vec<Change>) -> Map<String, Value> {
    let mut patch = Map::new();
    for Change(names, value) in changes {
        put(&mut patch, &names, value);
    }
    patch
}

fn put(object: &mut Map<String, Value>, names: &[String], value: Value) {
    match names {
        [] => {}
        [last] => drop(object.insert(last.clone(), value)),
        [first, rest @ ..] => {
            let inner = object.entry(first.clone()).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

impl Settings {
    pub(super) async fn run(self) -> Result<()> {
        let (client, _) = output::open(&self.server)?;
        let path = format!("{}/settings", path(&self.site));
        let wanted = match &self.file {
            Some(file) => read(file)?,
            None => patch(self.changes),
        };
        let settings =
            if wanted.is_empty() { client.call(&Call::get(&path)).await? } else { set(&client, &path, wanted).await? };
        if self.json {
            return terminal::print(&text::plain_lines(&format!("{:#}", Value::Object(settings))));
        }
        let mut lines = Vec::new();
        flatten("", &settings, &mut lines);
        if lines.is_empty() {
            return terminal::print(&format!("All settings of {} are as by default.", self.site));
        }
        terminal::print(&text::plain_lines(&lines.join("\n")))
    }
}

async fn set(client: &Client, path: &str, wanted: Map<String, Value>) -> Result<Map<String, Value>> {
    client.call(&Call::patch(path, &Value::Object(wanted))?).await
}

fn read(file: &std::path::Path) -> Result<Map<String, Value>> {
    let shown = file.display();
    let bytes = std::fs::read(file).map_err(|error| Failure::Input(format!("{shown} cannot be read: {error}.")))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::Input(format!(
            "{shown} is not the JSON object that `chainhost sites settings SITE --json` prints: {error}."
        ))
    })
}

/// `addresses.https=always`: as it can be given again.
fn flatten(above: &str, object: &Map<String, Value>, lines: &mut Vec<String>) {
    for (name, value) in object {
        let key = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        match value {
            Value::Object(inner) if !inner.is_empty() => flatten(&key, inner, lines),
            // A text that would be read as something else keeps its quotes.
            Value::String(text) if serde_json::from_str::<Value>(text).is_err() => lines.push(format!("{key}={text}")),
            other => lines.push(format!("{key}={other}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_and_values_make_one_patch_and_are_shown_as_they_are_given() {
        let given = [
            "addresses.https=always",
            "addresses.hsts.max_age_s=300",
            "addresses.hsts.preload=false",
            "addresses.canonical=",
        ];
        let made = patch(given.into_iter().map(|it| change(it).unwrap()).collect());
        let wanted = json!({ "addresses": { "https": "always", "hsts": { "max_age_s": 300, "preload": false }, "canonical": null } });
        assert_eq!(Value::Object(made), wanted);
        for (given, word) in [
            ("addresses", "no `=`"),
            ("adresses.https=always", "there are: addresses"),
            ("addresses..https=always", "is no key"),
            ("=1", "is no key"),
        ] {
            assert!(change(given).unwrap_err().contains(word), "{given}");
        }
        let mut lines = Vec::new();
        let shown = json!({ "addresses": { "a": "text", "b": "7", "c": 7, "d": { "e": [1, 2] } } });
        flatten("", shown.as_object().unwrap(), &mut lines);
        assert_eq!(lines, ["addresses.a=text", "addresses.b=\"7\"", "addresses.c=7", "addresses.d.e=[1,2]"]);
    }
}
