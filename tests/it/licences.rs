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

/// Whether one of the alternatives of an SPDX expression is allowed: `OR` binds weaker than `AND`.
fn fits(expression: &str, name: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    plain.split(" OR ").any(|one| {
        one.split(" AND ").all(|it| ALLOWED.contains(&it.trim()) || (it.trim() == "MPL-2.0" && MPL.contains(&name)))
    })
}

#[test]
fn licences_are_allowed() {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform"])
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
    assert!(fits("MIT OR GPL-3.0", "x") && !fits("MIT AND GPL-3.0", "x") && !fits("", "x"));
}
