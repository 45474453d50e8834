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
    ("access_log", &["base", "config", "http"]),
    ("admin", &["base", "domain", "http", "services"]),
    ("api", &["base", "domain", "http", "services"]),
    ("work", &["base", "domain", "proof", "ports", "services", "serve", "net"]),
    (
        "app",
        &[
            "base",
            "domain",
            "proof",
            "config",
            "ports",
            "store",
            "engines",
            "services",
            "http",
            "serve",
            "net",
            "access_log",
            "admin",
            "api",
            "work",
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

/// Statements of the store on tenants' rows that bind no tenant, and why. All of them take a `ServerScope`.
const ACROSS_TENANTS: &[(&str, &str, &str)] = &[
    ("audit_log", "list_unsealed_tenants", "the sealing task asks which tenants have something to seal"),
    ("bans", "list_all", "every node holds those of all"),
    ("bans", "list_since", "and in an attack reads those that are new"),
    ("bans", "delete_ended", "one pass forgets those that have ended"),
    ("deployments", "list_complete", "the snapshot serves all tenants"),
    (
        "deployments",
        "list_roots",
        "bytes are shared by all tenants, so that what is named by none is known of all only",
    ),
    ("deployments", "list_unfinished", "a task ends what was given up, whoever's it is"),
    ("deployments", "list_interrupted", "a node ends what it was unpacking, whoever's it is"),
    ("deployments", "list_orphaned", "a task ends what a dead node was unpacking, whoever's it is"),
    ("schedules", "find_next", "one task fires the schedules of all"),
    ("certificates", "list_all", "every node shows those of all"),
    ("certificates", "delete_ended", "one task forgets those that have ended"),
    ("certificates", "list_all_orders", "one task asks for those of all"),
    ("schedules", "list_due", "one task fires the schedules of all"),
    ("site_settings", "list_all", "the snapshot serves all tenants"),
    ("sites", "list_all", "the snapshot serves all tenants"),
    ("sites", "list_watched", "one task watches the folders of all"),
    ("traffic", "list_tenants", "requests of all sites are counted, by the ids of sites alone"),
    ("traffic", "list_sent", "and so is what they have sent, for all budgets at once"),
    ("effects", "list_taken", "what was told of the budgets of all sites"),
];

/// The texts in a file of the store that are SQL, each with the function that it stands in.
fn statements(text: &str) -> Vec<(String, String)> {
    fn walk(tokens: proc_macro2::TokenStream, function: &mut String, found: &mut Vec<(String, String)>) {
        let mut is_name = false;
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Group(it) => walk(it.stream(), function, found),
                proc_macro2::TokenTree::Ident(it) if is_name => {
                    *function = it.to_string();
                    is_name = false;
                }
                proc_macro2::TokenTree::Ident(it) => is_name = it == "fn",
                proc_macro2::TokenTree::Literal(it) => {
                    let Ok(it) = syn::parse_str::<syn::LitStr>(&it.to_string()) else { continue };
                    let words = it.value().split_whitespace().collect::<Vec<_>>().join(" ");
                    if ["SELECT ", "INSERT ", "UPDATE ", "DELETE "].iter().any(|it| words.starts_with(it)) {
                        found.push((function.clone(), words));
                    }
                }
                proc_macro2::TokenTree::Punct(_) => {}
            }
        }
    }
    let columns = text.split_once("const COLUMNS: &str =").and_then(|(_, it)| it.split('"').nth(1)).unwrap_or_default();
    let mut found = Vec::new();
    walk(text.parse().expect("source is tokens"), &mut String::new(), &mut found);
    found.into_iter().map(|(function, sql)| (function, sql.replace("{COLUMNS}", columns))).collect()
}

/// Why a statement does not keep to one tenant's rows; `None` when it does, or has nothing to do with them.
fn strays(sql: &str) -> Option<&'static str> {
    let tenants =
        || chainhost::engines::schema::PLACES.iter().filter(|it| it.1 == chainhost::engines::schema::Place::Tenant);
    let words: Vec<&str> = sql.split(|it: char| it.is_whitespace() || it == '(' || it == ')' || it == ',').collect();
    let is_tenants = |it: &str| tenants().any(|(name, _)| *name == it) || it.starts_with('{');
    let after = |word: &str| {
        words.iter().zip(words.iter().skip(1)).filter(|(it, next)| **it == word && is_tenants(next)).count()
    };
    if after("INTO") > 0 {
        let columns = sql.split_once('(').map(|it| it.1).unwrap_or_default();
        let values = sql.contains("VALUES ($1") || sql.contains("SELECT $1,");
        if !columns.trim_start().starts_with("tenant_id") || !values {
            return Some("inserts rows without their tenant first");
        }
    }
    let named = after("FROM") + after("JOIN") + after("UPDATE");
    // Every table has to be narrowed to the tenant: to the one that is bound, or to that of a table beside.
    if named > 0 && (!sql.contains("tenant_id = $1") || sql.matches("tenant_id = ").count() < named) {
        return Some("does not bind the tenant of each table");
    }
    None
}

#[test]
fn every_statement_on_tenants_rows_binds_the_tenant() {
    let mut wrong = Vec::new();
    let (mut seen, mut excused) = (0, BTreeSet::new());
    for (path, text) in sources() {
        let Ok(file) = path.strip_prefix("store") else { continue };
        let file = file.with_extension("").display().to_string();
        for (function, sql) in statements(&text) {
            seen += 1;
            let Some(why) = strays(&sql) else { continue };
            match ACROSS_TENANTS.iter().find(|it| it.0 == file && it.1 == function) {
                Some(it) => drop(excused.insert(it.1)),
                None => wrong.push(format!("store/{file}.rs, {function}: {why}: {sql}")),
            }
        }
    }
    assert!(seen > 80, "only {seen} statements were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    for (file, function, _) in ACROSS_TENANTS {
        let (_, text) = sources().into_iter().find(|it| it.0 == Path::new("store").join(format!("{file}.rs"))).unwrap();
        let body = text.split_once(&format!("fn {function}(")).unwrap().1.split("\n}\n").next().unwrap();
        assert!(body.contains("tx.all_tenants(leave)?"), "{file}::{function} may see the rows of one tenant only");
        assert!(excused.contains(function), "{file}::{function} needs no exception any more");
    }
}

#[test]
fn a_statement_that_forgets_the_tenant_is_seen() {
    for sql in [
        "SELECT name FROM site WHERE name = $1",
        "DELETE FROM deployment WHERE tenant_id = $1 AND id IN (SELECT live FROM site)",
        "UPDATE site SET live = NULL WHERE id = $1",
        "SELECT 1 FROM site s JOIN deployment d ON d.id = s.live WHERE s.tenant_id = $1",
        "INSERT INTO audit_log (id, tenant_id) VALUES ($1, $2)",
        "DELETE FROM {name} WHERE created_ms < $1",
    ] {
        assert!(strays(sql).is_some(), "{sql}");
    }
    for sql in [
        "SELECT name FROM site WHERE tenant_id = $1 AND name = $2",
        "SELECT 1 FROM site s JOIN deployment d ON d.tenant_id = s.tenant_id AND d.id = s.live WHERE s.tenant_id = $1",
        "SELECT value FROM setting WHERE name = $1",
    ] {
        assert_eq!(strays(sql), None, "{sql}");
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

/// Whether a source can start a program.
fn starts_programs(text: &str) -> bool {
    let text: String = text.split_whitespace().collect();
    text.split("process::").skip(1).any(|rest| {
        let group = rest.strip_prefix('{').map(|it| it.split(';').next().unwrap_or(it));
        rest.starts_with("Command") || rest.starts_with('*') || group.is_some_and(|it| it.contains("Command"))
    })
}

/// No shell anywhere (CONTRACTS §5): what cannot start a program cannot start one through a shell. Whoever needs one makes the
/// decision, names the file here, and passes arguments, never a line.
#[test]
fn the_product_starts_no_programs() {
    let found: Vec<_> = sources().into_iter().filter(|(_, text)| starts_programs(text)).map(|it| it.0).collect();
    assert!(found.is_empty(), "{found:?}");
    for text in [
        "use std::process::Command;",
        "std::process::Command::new(\"sh\")",
        "use std::{process::{ExitCode, Command}, fs};",
        "use tokio::process::{\n    self, Command,\n};",
        "use std::process::*;",
    ] {
        assert!(starts_programs(text), "{text}");
    }
    assert!(!starts_programs("use std::{process::ExitCode, fs}; use crate::ports::queue::Command;"));
}
