//! The form of the section `firewall`: sets of known attacks, and a row for each rule.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    super::{
        super::form::Problems,
        around::Values,
        rows::{self, List, Row, Set},
    },
    Read, or_null,
};
use crate::{
    base::country::Country,
    domain::site_settings::{
        SiteSettings,
        firewall::{self, Action, Firewall, Rule},
    },
};

/// The rules.
pub(in super::super) static RULES: List = List {
    key: "firewall.rules",
    noun: "Rule",
    written: &["name", "path", "methods", "query_has", "agent_has", "no_agent", "from", "countries", "elsewhere"],
    usual: &[("do", "block")],
    fields: &["name", "path", "methods", "query_has", "agent_has", "from", "countries", "place"],
};

/// The sets, each with its word.
const SETS: [(&str, firewall::Set); 3] =
    [("dotfiles", firewall::Set::Dotfiles), ("probes", firewall::Set::Probes), ("exploits", firewall::Set::Exploits)];

const fn word(action: Action) -> &'static str {
    match action {
        Action::Block => "block",
        Action::Log => "log",
        Action::Allow => "allow",
    }
}

/// What is set, as the fields show it.
pub(in super::super) fn rules(firewall: &Firewall) -> Vec<Row> {
    let row = |(rule, at): (&Rule, u32)| {
        // What is not shown would be lost with the next save: a field that is new does not compile until it is.
        let Rule {
            name: _,
            path: _,
            methods: _,
            query_has: _,
            agent_has: _,
            from: _,
            countries: _,
            not_countries: _,
            action: _,
        } = rule;
        let mut row = Row::empty(&RULES, at);
        row.know();
        row.put("place", (at + 1).to_string());
        row.put("name", rule.name.as_str());
        row.put("path", rule.path.as_str());
        row.put("methods", rule.methods.join(" "));
        row.put("query_has", rule.query_has.as_deref().unwrap_or_default());
        row.put("agent_has", rule.agent_has.as_deref().unwrap_or_default());
        row.flag("no_agent", rule.agent_has.as_deref() == Some(""));
        let from: Vec<String> = rule.from.iter().map(crate::base::network::Network::shortest).collect();
        row.put("from", from.join("\n"));
        let (countries, elsewhere) =
            if rule.not_countries.is_empty() { (&rule.countries, false) } else { (&rule.not_countries, true) };
        row.put("countries", countries.iter().map(Country::code).collect::<Vec<_>>().join(" "));
        row.flag("elsewhere", elsewhere);
        row.put("do", word(rule.action));
        row
    };
    firewall.rules.iter().zip(0..).map(row).collect()
}

/// The fields that are in no row.
pub(in super::super) fn values(firewall: &Firewall) -> Values {
    let mut values = Values::default();
    for (name, set) in SETS {
        values.flag(&format!("firewall.sets.{name}"), firewall.sets.contains(&set));
    }
    values.put("firewall.sets_do", word(firewall.sets_do));
    values
}

/// Reads the form, which shows what is set `before`.
pub(super) fn read(sent: &BTreeMap<String, String>, before: &SiteSettings) -> Read {
    let mut problems = Problems::none();
    let known = Set::new(&RULES, rules(&before.firewall), before);
    let kept = rows::kept(rows::sent(&RULES, sent), &mut problems);
    let rows: Vec<(Row, Value)> = rows::in_order(kept, &mut problems)
        .into_iter()
        .map(|row| {
            let value = known.untouched(&row, None).unwrap_or_else(|| rule(&row, &mut problems));
            (row, value)
        })
        .collect();
    let is_on = |name: &str| sent.get(&format!("firewall.sets.{name}")).is_some_and(|it| !it.is_empty());
    // Those that stay keep their order.
    let stay = before.firewall.sets.iter().filter_map(|set| SETS.iter().find(|it| it.1 == *set));
    let new = SETS.iter().filter(|it| !before.firewall.sets.contains(&it.1));
    let sets: Vec<&str> = stay.chain(new).map(|it| it.0).filter(|it| is_on(it)).collect();
    let section = json!({
        "sets": or_null(sets),
        "sets_do": sent.get("firewall.sets_do").map_or(Value::Null, |it| json!(it)),
        "rules": or_null(rows.iter().map(|it| it.1.clone()).collect()),
    });
    Read { section, rows, problems }
}

fn rule(row: &Row, problems: &mut Problems) -> Value {
    let mut rule = Map::new();
    let mut put = |key: &str, value: Value| drop(rule.insert(key.to_owned(), value));
    put("name", json!(row.text("name")));
    let path = row.text("path").trim();
    if !path.is_empty() {
        put("path", json!(path));
    }
    put("methods", json!(rows::methods(row.text("methods"))));
    if let Some(query) = row.part("query_has", problems) {
        put("query_has", json!(query));
    }
    match (row.part("agent_has", problems), row.on("no_agent")) {
        (Some(_), true) => {
            let text = "say what it has, or that there is none, and not both.";
            row.wants("agent_has", problems, text);
        }
        (Some(agent), false) => put("agent_has", json!(agent)),
        (None, true) => put("agent_has", json!("")),
        (None, false) => {}
    }
    put("from", json!(row.networks("from", problems)));
    let countries = countries(row, problems);
    if !countries.is_empty() {
        put(if row.on("elsewhere") { "not_countries" } else { "countries" }, json!(countries));
    } else if row.on("elsewhere") {
        row.wants("countries", problems, "write the countries that are not meant, or take the tick away.");
    }
    put("do", json!(if row.text("do").is_empty() { "block" } else { row.text("do") }));
    Value::Object(rule)
}

/// Countries, each once.
fn countries(row: &Row, problems: &mut Problems) -> Vec<Country> {
    let mut all: Vec<Country> = Vec::new();
    for word in rows::words(row.text("countries")) {
        match word.parse::<Country>() {
            Ok(it) if all.contains(&it) => {}
            Ok(it) => all.push(it),
            Err(error) => row.wants("countries", problems, &error.to_string()),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn read(sent: &BTreeMap<String, String>) -> Read {
        super::read(sent, &SiteSettings::default())
    }

    #[test]
    fn a_form_is_the_section() {
        let read = read(&form(&[
            ("firewall.sets.dotfiles", "on"),
            ("firewall.sets.exploits", "on"),
            ("firewall.sets_do", "log"),
            ("firewall.rules.0.place", "2"),
            ("firewall.rules.0.name", "No bots"),
            ("firewall.rules.0.agent_has", "BadBot"),
            ("firewall.rules.0.from", "10.0.0.0/8 192.0.2.7"),
            ("firewall.rules.0.do", "log"),
            ("firewall.rules.1.place", "2"),
            ("firewall.rules.1.name", "Nameless"),
            ("firewall.rules.1.no_agent", "on"),
            ("firewall.rules.1.path", "/api/*"),
            ("firewall.rules.1.methods", "post"),
            ("firewall.rules.1.query_has", "id=1 "),
            ("firewall.rules.2.do", "block"),
        ]));
        assert!(!read.problems.any(), "{:?}", read.problems);
        assert_eq!(
            read.section,
            json!({
                "sets": ["dotfiles", "exploits"],
                "sets_do": "log",
                "rules": [
                    { "name": "Nameless", "path": "/api/*", "methods": ["POST"], "query_has": "id=1 ", "agent_has": "", "from": [], "do": "block" },
                    { "name": "No bots", "methods": [], "agent_has": "BadBot", "from": ["10.0.0.0/8", "192.0.2.7"], "do": "log" },
                ],
            })
        );
        assert_eq!(self::read(&BTreeMap::new()).section, json!({ "sets": null, "sets_do": null, "rules": null }));
    }

    #[test]
    fn what_is_wrong_stands_beside_its_field() {
        let wrong = |more: &[(&str, &str)]| {
            let mut all = form(&[("firewall.rules.3.name", "A"), ("firewall.rules.3.path", "/a")]);
            all.extend(form(more));
            let read = read(&all);
            let problems = rows::judge(&RULES, &read.rows, &read.problems);
            problems.all().iter().map(|it| it.field.clone().unwrap_or_default().into_owned()).collect::<Vec<_>>()
        };
        assert!(wrong(&[]).is_empty());
        let long = "x".repeat(201);
        for (name, value) in [
            ("name", ""),
            ("name", long.as_str()),
            ("name", "a\u{7}b"),
            ("path", "a"),
            ("methods", "<script>"),
            ("query_has", "  "),
            ("query_has", long.as_str()),
            ("agent_has", " "),
            ("agent_has", "\u{0}x"),
            ("from", "everybody"),
            ("countries", "AT Austria"),
            ("elsewhere", "on"),
            ("place", "first"),
        ] {
            let name = format!("firewall.rules.3.{name}");
            let beside = name.replace("elsewhere", "countries");
            assert_eq!(wrong(&[(name.as_str(), value)]), [beside], "{value:?}");
        }
        assert_eq!(
            wrong(&[("firewall.rules.3.agent_has", "x"), ("firewall.rules.3.no_agent", "on")]),
            ["firewall.rules.3.agent_has"]
        );
        // It would fit every request: that is about no field, and stands beside the first.
        assert_eq!(wrong(&[("firewall.rules.3.path", "")]), ["firewall.rules.3.name"]);
        assert_eq!(wrong(&[("firewall.rules.3.do", "explode")]), ["firewall.rules.3.name"]);
        // The second of two with one name is the one that is wrong.
        assert_eq!(
            wrong(&[("firewall.rules.5.name", "A"), ("firewall.rules.5.path", "/b")]),
            ["firewall.rules.5.name"]
        );
    }

    #[test]
    fn what_is_shown_is_what_is_sent_back() {
        let document = r#"{"firewall":{"sets":["dotfiles","probes","exploits"],"sets_do":"log","rules":[
            {"name":"Ours","from":["192.0.2.0/24","2001:db8::1"],"do":"allow"},
            {"name":"Quiet","agent_has":"","path":"/api/*","methods":["POST","PUT"],"do":"log"},
            {"name":"Old","agent_has":"MSIE 6","query_has":"a=%20"},
            {"name":"Far","countries":["US","CA"]},{"name":"Not here","path":"/shop/*","not_countries":["AT"],"do":"log"}]}}"#;
        let settings = SiteSettings::parse(document).unwrap();
        let mut fields = values(&settings.firewall).into_fields();
        for row in rules(&settings.firewall) {
            fields.extend(row.fields());
        }
        let patch = Map::from_iter([(String::from("firewall"), read(&fields).section)]);
        assert_eq!(SiteSettings::default().patched(&patch).unwrap().firewall, settings.firewall);
    }
}
