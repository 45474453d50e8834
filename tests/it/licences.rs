//! Every crate that the program is built from has a licence that Apache-2.0 can live with (DECISIONS 31).

use std::process::Command;

use serde_json::Value;

/// What may be in the tree.
const ALLOWED: [&str; 13] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "0BSD",
];
/// Crates that may be under MPL-2.0: a licence by file, of which none is changed.
const MPL: [&str; 0] = [];

/// Whether an SPDX expression can be fulfilled with what is allowed: `OR` binds weaker than `AND`, brackets bind first.
fn fits(expression: &str, name: &str) -> bool {
    // Old manifests write `/` for `OR`.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(&mut rest, name) == Some(true) && rest.is_empty()
}

/// `None`: it cannot be read.
fn either(rest: &mut &[&str], name: &str) -> Option<bool> {
    let mut fits = both(rest, name)?;
    while let Some((&"OR", after)) = rest.split_first() {
        *rest = after;
        fits |= both(rest, name)?;
    }
    Some(fits)
}

fn both(rest: &mut &[&str], name: &str) -> Option<bool> {
    let mut fits = one(rest, name)?;
    while let Some((&"AND", after)) = rest.split_first() {
        *rest = after;
        fits &= one(rest, name)?;
    }
    Some(fits)
}

fn one(rest: &mut &[&str], name: &str) -> Option<bool> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    if *first == "(" {
        let fits = either(rest, name)?;
        let (&")", after) = rest.split_first()? else { return None };
        *rest = after;
        return Some(fits);
    }
    let mut licence = (*first).to_owned();
    if let [word, exception, after @ ..] = *rest
        && *word == "WITH"
    {
        licence = format!("{licence} WITH {exception}");
        *rest = after;
    }
    Some(ALLOWED.contains(&licence.as_str()) || (licence == "MPL-2.0" && MPL.contains(&name)))
}

#[test]
fn licences_are_allowed() {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--all-features", "--filter-platform"])
        .arg("x86_64-unknown-linux-gnu")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100);
    let wrong: Vec<String> = packages
        .iter()
        .filter(|it| !fits(it["license"].as_str().unwrap_or_default(), it["name"].as_str().unwrap()))
        .map(|it| format!("{} {}", it["name"], it["license"]))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn expressions_are_read_with_their_brackets() {
    for good in ["MIT", "MIT OR GPL-3.0", "MIT/GPL-3.0", "(MIT OR GPL-3.0) AND ISC", "GPL-3.0 OR (MIT AND ISC)"] {
        assert!(fits(good, "x"), "{good}");
    }
    assert!(fits("Apache-2.0 WITH LLVM-exception OR GPL-3.0", "x"));
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "(MIT", "MIT)", "MIT ISC", "MIT OR", "()"]
    {
        assert!(!fits(bad, "x"), "{bad}");
    }
}
