//! The form of the section `proxy`: a row for each route, with its servers, looks and times.
//!
//! A route that nobody touched is sent back as it was, so that what somebody had to allow stays allowed.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    super::{
        super::form::Problems,
        rows::{self, List, Row, Set},
    },
    Read, or_null,
};
use crate::{
    base::units::ByteSize,
    domain::{
        Error,
        site_settings::{
            SiteSettings,
            proxy::{HostHeader, Proxy, Route},
        },
    },
};

/// The routes.
pub(in super::super) static ROUTES: List = List {
    key: "proxy.routes",
    noun: "Route",
    written: &[
        "path",
        "to",
        "root",
        "scripts",
        "deny",
        "deny_nothing",
        "plain_files",
        "buffer",
        "strip_prefix",
        "files_first",
        "health.on",
        "tls.server_name",
        "tls.ca",
    ],
    usual: &[
        ("host", "keep"),
        ("inside", "on"),
        ("timeout_s.connect", "5"),
        ("timeout_s.answer", "60"),
        ("timeout_s.idle", "300"),
        ("timeout_s.drain", "60"),
        ("body_bytes_max", "100 MiB"),
        ("failing.after", "3"),
        ("failing.for_s", "10"),
        ("health.path", "/"),
        ("health.every_s", "10"),
        ("health.timeout_s", "5"),
        ("health.fails", "2"),
        ("health.passes", "1"),
    ],
    fields: &[
        "to",
        "path",
        "root",
        "scripts",
        "deny",
        "plain_files",
        "timeout_s.connect",
        "timeout_s.answer",
        "timeout_s.idle",
        "timeout_s.drain",
        "body_bytes_max",
        "failing.after",
        "failing.for_s",
        "health.path",
        "health.every_s",
        "health.timeout_s",
        "health.status",
        "health.fails",
        "health.passes",
        "tls.server_name",
        "tls.ca",
    ],
};

/// What is set, as the fields show it.
pub(in super::super) fn routes(proxy: &Proxy) -> Vec<Row> {
    proxy.routes.iter().zip(0..).map(|(route, at)| shown(route, at)).collect()
}

fn shown(route: &Route, at: u32) -> Row {
    // What is not shown would be lost with the next save: a field that is new does not compile until it is.
    let Route {
        path: _,
        to: _,
        host: _,
        strip_prefix: _,
        files_first: _,
        timeout_s: _,
        body_bytes_max: _,
        buffer: _,
        failing: _,
        health: _,
        tls: _,
        root: _,
        scripts: _,
        deny: _,
        plain_files: _,
        inside: _,
    } = route;
    let mut row = Row::empty(&ROUTES, at);
    row.know();
    row.put("path", route.path.as_str());
    row.put("to", route.to.join("\n"));
    row.put("host", if route.host == HostHeader::Upstream { "upstream" } else { "keep" });
    row.flag("strip_prefix", route.strip_prefix);
    row.flag("files_first", route.files_first);
    row.flag("inside", route.inside == Some(true));
    row.put("root", route.root.as_deref().unwrap_or_default());
    row.put("scripts", route.scripts.join("\n"));
    row.put("deny", route.deny.as_ref().map_or_else(String::new, |it| it.join("\n")));
    row.flag("deny_nothing", route.deny.as_ref().is_some_and(Vec::is_empty));
    row.put("plain_files", route.plain_files.join("\n"));
    row.put("buffer", route.buffer.map_or("", |it| if it { "yes" } else { "no" }));
    let times = route.timeout_s;
    for (name, value) in [
        ("timeout_s.connect", times.connect),
        ("timeout_s.answer", times.answer),
        ("timeout_s.idle", times.idle),
        ("timeout_s.drain", times.drain),
        ("failing.after", route.failing.after),
        ("failing.for_s", route.failing.for_s),
    ] {
        row.put(name, value.to_string());
    }
    row.put("body_bytes_max", ByteSize(route.body_bytes_max).exact());
    if let Some(health) = &route.health {
        row.flag("health.on", true);
        row.put("health.path", health.path.as_str());
        row.put("health.every_s", health.every_s.to_string());
        row.put("health.timeout_s", health.timeout_s.to_string());
        row.put("health.status", health.status.map_or_else(String::new, |it| it.to_string()));
        row.put("health.fails", health.fails.to_string());
        row.put("health.passes", health.passes.to_string());
    }
    row.put("tls.server_name", route.tls.server_name.as_deref().unwrap_or_default());
    row.put("tls.ca", route.tls.ca.as_deref().unwrap_or_default());
    row
}

/// Reads the form, which shows what is set `before`. `may_lead_inside`: whether it has the box for that, which only who manages the server is
/// shown.
pub(super) fn read(sent: &BTreeMap<String, String>, before: &SiteSettings, may_lead_inside: bool) -> Read {
    let mut problems = Problems::none();
    let known = Set::new(&ROUTES, routes(&before.proxy), before);
    let hidden = (!may_lead_inside).then_some("inside");
    let rows: Vec<(Row, Value)> = rows::kept(rows::sent(&ROUTES, sent), &mut problems)
        .into_iter()
        .map(|row| {
            let untouched = known.untouched(&row, hidden);
            let value = untouched.unwrap_or_else(|| route(&row, may_lead_inside, &mut problems));
            (row, value)
        })
        .collect();
    let section = json!({ "routes": or_null(rows.iter().map(|it| it.1.clone()).collect()) });
    Read { section, rows, problems }
}

fn route(row: &Row, may_lead_inside: bool, problems: &mut Problems) -> Value {
    let mut route = Map::new();
    let mut put = |key: &str, value: Value| drop(route.insert(key.to_owned(), value));
    let path = row.text("path").trim();
    if path.is_empty() {
        row.wants("path", problems, "write the path that they answer, such as `/api/`; `/` is the whole site.");
    }
    put("path", json!(if path.is_empty() { "/" } else { path }));
    put("to", json!(rows::lines(row.text("to"))));
    put("strip_prefix", json!(row.on("strip_prefix")));
    put("files_first", json!(row.on("files_first")));
    put("host", json!(if row.text("host").is_empty() { "keep" } else { row.text("host") }));
    if may_lead_inside {
        put("inside", json!(row.on("inside")));
    }
    let root = row.text("root").trim();
    if !root.is_empty() {
        put("root", json!(root));
    }
    let (scripts, deny) = (rows::lines(row.text("scripts")), rows::lines(row.text("deny")));
    if !scripts.is_empty() {
        put("scripts", json!(scripts));
    }
    let plain_files = rows::lines(row.text("plain_files"));
    if !plain_files.is_empty() {
        put("plain_files", json!(plain_files));
    }
    match (deny.is_empty(), row.on("deny_nothing")) {
        (false, true) => row.wants("deny", problems, "say what never runs, or that all do, and not both."),
        (false, false) => put("deny", json!(deny)),
        (true, true) => put("deny", json!([])),
        (true, false) => {}
    }
    match row.text("buffer") {
        "yes" => put("buffer", json!(true)),
        "no" => put("buffer", json!(false)),
        _ => {}
    }
    put("timeout_s", numbers(row, "timeout_s", &["connect", "answer", "idle", "drain"], problems));
    put("failing", numbers(row, "failing", &["after", "for_s"], problems));
    if let Some(bytes) = row.size("body_bytes_max", problems) {
        put("body_bytes_max", json!(bytes));
    }
    if row.on("health.on") {
        let names = ["every_s", "timeout_s", "status", "fails", "passes"];
        let mut health = numbers(row, "health", &names, problems);
        let path = row.text("health.path").trim();
        if let (Value::Object(health), false) = (&mut health, path.is_empty()) {
            health.insert(String::from("path"), json!(path));
        }
        // A status of more digits would be refused without saying where.
        if row.number("health.status", &mut Problems::none()).is_some_and(|it| it > 599) {
            row.wants("health.status", problems, "a status is from 200 to 599.");
        }
        put("health", health);
    }
    let mut tls = Map::new();
    let name = row.text("tls.server_name").trim();
    if !name.is_empty() {
        tls.insert(String::from("server_name"), json!(name));
    }
    // Browsers send each end of a line as two characters.
    let ca = row.text("tls.ca").replace("\r\n", "\n");
    if !ca.trim().is_empty() {
        tls.insert(String::from("ca"), json!(ca));
    }
    put("tls", Value::Object(tls));
    Value::Object(route)
}

/// An object of numbers, without those that nothing was written for.
fn numbers(row: &Row, of: &str, names: &[&str], problems: &mut Problems) -> Value {
    let mut all = Map::new();
    for name in names {
        if let Some(number) = row.number(&format!("{of}.{name}"), problems) {
            all.insert((*name).to_owned(), json!(number));
        }
    }
    Value::Object(all)
}

/// What is said where a route leads inside and who sends it does not manage the server: with who can help.
pub(super) fn ungranted(error: &Error) -> Error {
    let why = error.message.split_once("` cannot be that: ").map_or(error.message.as_str(), |it| it.1);
    let at = error.message.split_once('`').and_then(|it| it.1.split_once('`')).map_or("proxy.routes[0].to", |it| it.0);
    let text = format!(
        "`{at}` cannot be that: {why} A super admin can save this route for you; for HTTP, the server's operator can also allow the network \
         for everybody: `allow` below `[outgoing]`."
    );
    Error::forbidden(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (format!("proxy.routes.{key}"), (*value).to_owned())).collect()
    }

    fn read(sent: &BTreeMap<String, String>, may: bool) -> Read {
        super::read(sent, &SiteSettings::default(), may)
    }

    fn set(fields: &BTreeMap<String, String>, may: bool) -> Proxy {
        let read = read(fields, may);
        assert!(!read.problems.any(), "{:?}", read.problems);
        let patch = Map::from_iter([(String::from("proxy"), read.section)]);
        SiteSettings::default().patched(&patch).unwrap().proxy
    }

    #[test]
    fn a_form_is_the_section() {
        let short = form(&[("0.path", "/api/"), ("0.to", "http://127.0.0.1:3000\r\n\r\n http://127.0.0.1:3001 ")]);
        let mut wanted = Route::new("/api/", &["http://127.0.0.1:3000", "http://127.0.0.1:3001"]);
        assert_eq!(set(&short, false).routes, [wanted.clone()]);
        wanted.inside = Some(false);
        assert_eq!(set(&short, true).routes, [wanted.clone()], "a box that is not ticked says no");
        wanted.inside = Some(true);
        let ticked = short.into_iter().chain(form(&[("0.inside", "on")])).collect();
        assert_eq!(set(&ticked, true).routes, [wanted]);
        assert_eq!(set(&ticked, false).routes[0].inside, None, "who may not is not asked");
        assert_eq!(read(&BTreeMap::new(), true).section, json!({ "routes": null }));
        // What an empty row shows all the same is no row.
        assert_eq!(read(&Row::empty(&ROUTES, 3).fields(), true).section, json!({ "routes": null }));
    }

    #[test]
    fn what_is_wrong_stands_beside_its_field() {
        let wrong = |more: &[(&str, &str)]| {
            let mut all = form(&[("3.path", "/a"), ("3.to", "https://a.example"), ("3.health.on", "on")]);
            all.extend(form(more));
            let read = read(&all, false);
            let problems = rows::judge(&ROUTES, &read.rows, &read.problems);
            problems.all().iter().map(|it| it.field.clone().unwrap_or_default().into_owned()).collect::<Vec<_>>()
        };
        assert!(wrong(&[]).is_empty());
        for (name, value) in [
            ("path", ""),
            ("path", "api"),
            ("path", "/a/../b"),
            ("path", "/a b"),
            ("to", ""),
            ("to", "a.example"),
            ("to", "javascript://alert"),
            ("to", "http://a.example/x"),
            ("to", "http://a.example\nhttp://a.example"),
            ("root", "/var/www"),
            ("timeout_s.connect", "0"),
            ("timeout_s.answer", "soon"),
            ("timeout_s.idle", "86401"),
            ("timeout_s.drain", "-1"),
            ("body_bytes_max", "much"),
            ("failing.after", "1e9"),
            ("failing.for_s", "0"),
            ("health.path", "up"),
            ("health.every_s", "4"),
            ("health.timeout_s", "61"),
            ("health.status", "99"),
            ("health.status", "99999"),
            ("health.fails", "0"),
            ("health.passes", "0"),
            ("tls.server_name", "a b"),
            ("tls.ca", "not PEM"),
        ] {
            let name = format!("3.{name}");
            let told = wrong(&[(name.as_str(), value)]);
            assert!(
                !told.is_empty() && told.iter().all(|it| *it == format!("proxy.routes.{name}")),
                "{name} {value:?}: {told:?}"
            );
        }
        assert_eq!(wrong(&[("3.host", "mine")]), ["proxy.routes.3.to"]);
        assert_eq!(wrong(&[("4.path", "/a/"), ("4.to", "http://b.example")]), ["proxy.routes.4.path"]);
        assert_eq!(wrong(&[("4.path", "/b"), ("4.to", "fastcgi://b.example:9000")]), ["proxy.routes.4.root"]);
    }

    /// Else who does not manage the server could save nothing beside a route that was allowed.
    #[test]
    fn what_is_shown_is_what_is_sent_back() {
        let ca = rcgen::generate_simple_self_signed([String::from("a.example")]).unwrap().cert.pem();
        let document = json!({ "proxy": { "routes": [
            { "path": "/api/", "to": ["http://127.0.0.1:3000", "unix:/run/my app.sock"], "strip_prefix": true, "inside": true,
              "timeout_s": { "connect": 1, "answer": 2, "idle": 900, "drain": 4 }, "body_bytes_max": 1_234_567, "failing": { "after": 0, "for_s": 7 },
              "health": { "path": "/up?x=1", "every_s": 5, "timeout_s": 6, "status": 204, "fails": 3, "passes": 4 } },
            { "to": ["fastcgi+unix:/run/php/php-fpm.sock"], "root": "/var/www/my blog/public", "files_first": true, "inside": true,
              "scripts": ["/index.php", "/wp-admin/*.php"], "deny": ["/cache/*"], "buffer": false },
            { "path": "/old/", "to": ["fastcgi+unix:/run/php/php-fpm.sock"], "root": "/var/www/old", "deny": [], "buffer": true, "inside": true },
            { "path": "/tls", "to": ["https://a.example"], "host": "upstream", "tls": { "server_name": "b.example", "ca": ca.replace("\r\n", "\n") }, "inside": false },
            { "path": "/looked", "to": ["http://b.example:81"], "health": {} },
        ] } });
        let settings = SiteSettings::parse(&document.to_string()).unwrap();
        // As a browser sends it.
        let fields: BTreeMap<String, String> = routes(&settings.proxy)
            .iter()
            .flat_map(Row::fields)
            .map(|(key, value)| (key, value.replace('\n', "\r\n")))
            .collect();
        let kept = set(&fields, true);
        let said = |it: &Route| Route { inside: Some(it.inside == Some(true)), ..it.clone() };
        assert_eq!(kept.routes, settings.proxy.routes.iter().map(said).collect::<Vec<_>>());
        let untouched = set(&fields, false).granted(&settings.proxy, false, &|_| false).unwrap();
        assert_eq!(untouched.routes[..4], settings.proxy.routes[..4]);
    }

    #[test]
    fn who_can_help_is_said() {
        let proxy = Proxy { routes: vec![Route::new("/", &["http://127.0.0.1:1"])] };
        let error = proxy.granted(&Proxy::default(), false, &|_| false).unwrap_err();
        let mut problems = Problems::none();
        let mut row = Row::empty(&ROUTES, 5);
        row.put("to", "http://127.0.0.1:1");
        row.number = 1;
        rows::place(&row, &ungranted(&error), &mut problems);
        let said = problems.on("proxy.routes.5.to").unwrap();
        assert!(said.starts_with("Sockets, FastCGI,") && said.contains("A super admin can save this route"), "{said}");
    }
}
