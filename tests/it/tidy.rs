//! Checks of the source text itself: layers, file sizes, module docs, and who may grant a tenant scope.
//!
//! One package has no crate walls, so this test is the wall. It parses with `syn`, so that
//! `use crate::{a, b}`, `super::` and unknown modules cannot slip through.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use syn::{
    UseTree,
    visit::{self, Visit},
};

/// Each module with the modules that it may import.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("domain", &["base"]),
    ("proof", &["base", "domain"]),
    ("config", &["base", "domain"]),
    ("ports", &["base", "domain", "proof"]),
    ("store", &["base", "domain", "ports"]),
    ("engines", &["base", "domain", "proof", "ports", "config"]),
    ("services", &["base", "domain", "proof", "ports", "store"]),
    ("http", &["base", "domain"]),
    ("serve", &["base", "domain", "proof", "http"]),
    ("net", &["base", "http"]),
    ("admin", &["base", "domain", "http", "services"]),
    ("api", &["base", "domain", "http", "services"]),
    ("work", &["base", "domain", "proof", "ports", "services", "serve", "net"]),
    (
        "app",
        &[
            "base", "domain", "proof", "config", "ports", "store", "engines", "services", "http", "serve", "net",
            "admin", "api", "work",
        ],
    ),
    ("cli", &["base", "domain", "proof", "config", "ports", "engines", "services", "http", "net", "app"]),
];
const LINES_MAX: usize = 700;

struct Imports {
    /// The path of the module that is looked at, below `crate`.
    module: Vec<String>,
    found: BTreeSet<String>,
}

impl Imports {
    /// Takes a path that begins with `crate` or `super`; others name crates or local items.
    fn take(&mut self, path: &[String]) {
        let mut at = match path.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("super" | "self") => self.module.clone(),
            _ => return,
        };
        for segment in path {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => {
                    at.pop();
                }
                other => at.push(other.to_owned()),
            }
        }
        if let Some(top) = at.first() {
            self.found.insert(top.clone());
        }
    }

    fn walk(&mut self, tree: &UseTree, prefix: &mut Vec<String>) {
        match tree {
            UseTree::Path(it) => {
                prefix.push(it.ident.to_string());
                self.walk(&it.tree, prefix);
                prefix.pop();
            }
            UseTree::Group(it) => it.items.iter().for_each(|tree| self.walk(tree, prefix)),
            UseTree::Name(it) => self.leaf(&it.ident.to_string(), prefix),
            UseTree::Rename(it) => self.leaf(&it.ident.to_string(), prefix),
            UseTree::Glob(_) => self.take(&prefix.clone()),
        }
    }

    fn leaf(&mut self, name: &str, prefix: &[String]) {
        let mut path = prefix.to_vec();
        path.push(name.to_owned());
        self.take(&path);
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.walk(&item.tree, &mut Vec::new());
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // `super` inside an inline module is one level higher.
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        // What stands in a macro is not parsed: the paths in it are found by their words.
        let text = item.tokens.to_string();
        let words: Vec<&str> = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).collect();
        for path in join_paths(&words) {
            self.take(&path);
        }
        visit::visit_macro(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|it| it.ident.to_string()).collect();
        self.take(&segments);
        visit::visit_path(self, path);
    }
}

/// The paths among the words of a macro, in which blanks may stand around `::`.
fn join_paths(words: &[&str]) -> Vec<Vec<String>> {
    let joined = words.join(" ").replace(":: ", "::").replace(" ::", "::");
    let paths = joined.split_whitespace().filter(|it| it.contains("::"));
    paths.map(|it| it.split("::").filter(|it| !it.is_empty()).map(str::to_owned).collect()).collect()
}

/// The module path of a source file: `domain/site.rs` is `["domain", "site"]`.
fn module_path(relative: &Path) -> Vec<String> {
    let mut parts: Vec<String> = relative.with_extension("").iter().map(|it| it.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|it| it == "mod") {
        parts.pop();
    }
    parts
}

fn imports(text: &str, module: Vec<String>) -> BTreeSet<String> {
    let mut imports = Imports { module, found: BTreeSet::new() };
    imports.visit_file(&syn::parse_file(text).expect("source parses"));
    imports.found
}

fn violations(text: &str, module: Vec<String>) -> Vec<String> {
    let Some(layer) = module.first().cloned() else { return Vec::new() };
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        return if layer == "lib" || layer == "main" { Vec::new() } else { vec![format!("`{layer}` has no layer")] };
    };
    // A macro of the crate stands at its root; everything else there is a layer.
    imports(text, module)
        .into_iter()
        .filter(|it| *it != layer && *it != "id_type" && *it != "params" && !allowed.contains(&it.as_str()))
        .map(|it| format!("`{layer}` may not import `{it}`"))
        .collect()
}

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let text = fs::read_to_string(&path).expect("source is UTF-8");
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.len() > 10, "the source was not found");
    found
}

#[test]
fn layers_hold() {
    let mut errors = Vec::new();
    for (path, text) in sources() {
        errors.extend(violations(&text, module_path(&path)).into_iter().map(|it| format!("{}: {it}", path.display())));
    }
    assert!(errors.is_empty(), "\n{}", errors.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are() {
    for (path, text) in sources() {
        assert!(text.lines().count() <= LINES_MAX, "{}: more than {LINES_MAX} lines", path.display());
        let documented = text.starts_with("//!") || text.starts_with("#![doc");
        assert!(documented, "{}: no module doc", path.display());
    }
}

#[test]
fn only_authorisation_grants_a_tenant_scope() {
    for (path, text) in sources() {
        let may = path == Path::new("domain/access.rs") || path == Path::new("services/access.rs");
        let grants = text.contains("TenantScope::grant") || text.contains("ServerScope::grant");
        assert!(may || !grants, "{}: grants a scope", path.display());
    }
}

#[test]
fn the_wall_sees_every_way_to_import() {
    let module = || vec![String::from("base"), String::from("clock")];
    for text in [
        "use crate::domain::site;",
        "use crate::{base::ids, domain};",
        "use super::super::domain::Error;",
        "fn f() { crate::domain::site::g(); }",
        "mod tests { use super::super::super::domain; }",
        "use crate::domain as other;",
        "use crate::unheard_of::x;",
        "use self::super::super::domain::Error;",
        "fn f() { assert!(crate::domain::site::g()); }",
        "fn f() { self::super::super::domain::g(); }",
        "macro_rules! m { () => { $crate::domain::site::g() }; }",
    ] {
        assert_eq!(violations(text, module()).len(), 1, "{text}");
    }
    for text in ["use crate::base::ids;", "use super::random;", "use std::fs;", "mod tests { use super::*; }"] {
        assert_eq!(violations(text, module()), Vec::<String>::new(), "{text}");
    }
    assert_eq!(violations("", vec![String::from("elsewhere")]).len(), 1);
}
