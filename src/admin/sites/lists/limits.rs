//! The form of the section `limits`: a row for each rate, the ban of who goes on regardless, and who is exempt.

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
use crate::domain::site_settings::{
    SiteSettings,
    limits::{Limits, Per},
};

/// The rates.
pub(in super::super) static RATES: List = List {
    key: "limits.rates",
    noun: "Rate",
    written: &["requests", "every_s", "path", "methods"],
    usual: &[("every_s.unit", "minutes"), ("per", "address")],
    fields: &["requests", "every_s", "path", "methods"],
};

/// The fields of sections with lists that are in no list.
pub(super) const SINGLE: &[&str] =
    &["limits.ban.after", "limits.ban.within_s", "limits.ban.for_s", "limits.exempt", "firewall.sets_do"];

/// What is set, as the fields show it.
pub(in super::super) fn rates(limits: &Limits) -> Vec<Row> {
    let row = |(rate, at): (&crate::domain::site_settings::limits::Rate, u32)| {
        let mut row = Row::empty(&RATES, at);
        row.know();
        row.put("requests", rate.requests.to_string());
        let (number, unit) = rows::time(rate.every_s);
        row.put("every_s", number);
        row.put("every_s.unit", unit);
        row.put("path", rate.path.as_str());
        row.put("methods", rate.methods.join(" "));
        row.put("per", if rate.per == Per::Site { "site" } else { "address" });
        row
    };
    limits.rates.iter().zip(0..).map(row).collect()
}

/// The fields that are in no row.
pub(in super::super) fn values(limits: &Limits) -> Values {
    let mut values = Values::default();
    values.put("limits.ban.after", limits.ban.map_or_else(String::new, |it| it.after.to_string()));
    for (key, seconds) in [
        ("limits.ban.within_s", limits.ban.map_or(60, |it| it.within_s)),
        ("limits.ban.for_s", limits.ban.map_or(3_600, |it| it.for_s)),
    ] {
        let (number, unit) = rows::time(seconds);
        values.put(key, number);
        values.put(&format!("{key}.unit"), unit);
    }
    values
        .list("limits.exempt", &limits.exempt.iter().map(crate::base::network::Network::shortest).collect::<Vec<_>>());
    values
}

/// Reads the form, which shows what is set `before`.
pub(super) fn read(sent: &BTreeMap<String, String>, before: &SiteSettings) -> Read {
    let mut problems = Problems::none();
    let known = Set::new(&RATES, rates(&before.limits), before);
    let rows: Vec<(Row, Value)> = rows::kept(rows::sent(&RATES, sent), &mut problems)
        .into_iter()
        .map(|row| {
            let value = known.untouched(&row, None).unwrap_or_else(|| rate(&row, &mut problems));
            (row, value)
        })
        .collect();
    let text = |key: &str| sent.get(key).map_or("", String::as_str);
    let exempt = rows::networks(text("limits.exempt")).unwrap_or_else(|why| {
        problems.add("limits.exempt", "", why);
        Vec::new()
    });
    let section = json!({
        "rates": or_null(rows.iter().map(|it| it.1.clone()).collect()),
        "ban": ban(&text, &mut problems),
        "exempt": or_null(exempt),
    });
    Read { section, rows, problems }
}

fn rate(row: &Row, problems: &mut Problems) -> Value {
    let requests = row.needed("requests", problems);
    if row.text("every_s").trim().is_empty() {
        row.wants("every_s", problems, "write in what time, a whole number in digits alone.");
    }
    let every_s = row.seconds("every_s", problems);
    let mut rate = Map::new();
    rate.insert(String::from("requests"), json!(requests.unwrap_or(1)));
    rate.insert(String::from("every_s"), json!(every_s.unwrap_or(1)));
    let path = row.text("path").trim();
    if !path.is_empty() {
        rate.insert(String::from("path"), json!(path));
    }
    rate.insert(String::from("methods"), json!(rows::methods(row.text("methods"))));
    // What is not one of the choices is refused by who reads it.
    rate.insert(String::from("per"), json!(if row.text("per").is_empty() { "address" } else { row.text("per") }));
    Value::Object(rate)
}

/// Without a number of refusals nobody is shut out, whatever times stand beside it.
fn ban<'t>(text: &impl Fn(&str) -> &'t str, problems: &mut Problems) -> Value {
    let mut read = |key: &'static str, value: Result<Option<u32>, &str>| {
        value.unwrap_or_else(|why| {
            problems.add(key, "The ban", why);
            None
        })
    };
    let after = read("limits.ban.after", rows::whole(text("limits.ban.after")));
    let within_s =
        read("limits.ban.within_s", rows::seconds(text("limits.ban.within_s"), text("limits.ban.within_s.unit")));
    let for_s = read("limits.ban.for_s", rows::seconds(text("limits.ban.for_s"), text("limits.ban.for_s.unit")));
    match after {
        Some(after) => json!({ "after": after, "within_s": within_s, "for_s": for_s }),
        None => Value::Null,
    }
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
            ("limits.rates.0.requests", "300"),
            ("limits.rates.0.every_s", "1"),
            ("limits.rates.0.every_s.unit", "minutes"),
            ("limits.rates.1.requests", " 5 "),
            ("limits.rates.1.every_s", "15"),
            ("limits.rates.1.every_s.unit", "minutes"),
            ("limits.rates.1.path", "/login"),
            ("limits.rates.1.methods", "post, put"),
            ("limits.rates.1.per", "site"),
            ("limits.rates.2.requests", "9"),
            ("limits.rates.2.remove", "on"),
            ("limits.rates.3.every_s.unit", "minutes"),
            ("limits.ban.after", "20"),
            ("limits.ban.within_s", ""),
            ("limits.ban.for_s", "2"),
            ("limits.ban.for_s.unit", "days"),
            ("limits.exempt", "192.0.2.1\r\n2001:db8::/32"),
        ]));
        assert!(!read.problems.any(), "{:?}", read.problems);
        let wanted = json!({
            "rates": [
                { "requests": 300, "every_s": 60, "methods": [], "per": "address" },
                { "requests": 5, "every_s": 900, "path": "/login", "methods": ["POST", "PUT"], "per": "site" },
            ],
            "ban": { "after": 20, "within_s": null, "for_s": 172_800 },
            "exempt": ["192.0.2.1", "2001:db8::/32"],
        });
        assert_eq!(read.section, wanted);
        let nothing = self::read(&BTreeMap::new());
        assert_eq!(nothing.section, json!({ "rates": null, "ban": null, "exempt": null }));
    }

    #[test]
    fn what_is_wrong_stands_beside_its_field() {
        let wrong = |pairs: &[(&str, &str)]| {
            let read = read(&form(pairs));
            let problems = rows::judge(&RATES, &read.rows, &read.problems);
            problems.all().iter().map(|it| it.field.clone().unwrap_or_default().into_owned()).collect::<Vec<_>>()
        };
        let row = |name: &'static str, value: &'static str| {
            let mut all = BTreeMap::from([
                ("limits.rates.4.requests", "1"),
                ("limits.rates.4.every_s", "1"),
                ("limits.rates.4.every_s.unit", "seconds"),
            ]);
            all.insert(name, value);
            all.into_iter().collect::<Vec<_>>()
        };
        for (name, value) in [
            ("limits.rates.4.requests", "many"),
            ("limits.rates.4.requests", ""),
            ("limits.rates.4.requests", "0"),
            ("limits.rates.4.requests", "4294967296"),
            ("limits.rates.4.every_s", "2000000"),
            ("limits.rates.4.path", "login"),
            ("limits.rates.4.path", "/Login"),
            ("limits.rates.4.path", "/*a*b*c*d*"),
            ("limits.rates.4.methods", "PO$T"),
        ] {
            assert_eq!(wrong(&row(name, value)), [name], "{name} {value}");
        }
        assert_eq!(wrong(&row("limits.rates.4.every_s.unit", "moons")), ["limits.rates.4.every_s"]);
        assert_eq!(wrong(&[("limits.ban.after", "-3")]), ["limits.ban.after"]);
        assert_eq!(wrong(&[("limits.exempt", "10.0.0.0/33")]), ["limits.exempt"]);
        // A choice that is none is no default.
        assert_eq!(wrong(&row("limits.rates.4.per", "planet")), ["limits.rates.4.requests"]);
    }

    #[test]
    fn what_is_shown_is_what_is_sent_back() {
        let document = r#"{"limits":{"ban":{"after":20,"within_s":90,"for_s":7200},"exempt":["192.0.2.0/24","2001:db8::1"],
                           "rates":[{"requests":100,"every_s":60},{"path":"/login","methods":["POST"],"per":"site","requests":5,"every_s":900}]}}"#;
        let settings = SiteSettings::parse(document).unwrap();
        let mut fields = values(&settings.limits).into_fields();
        for row in rates(&settings.limits) {
            fields.extend(row.fields());
        }
        let patch = Map::from_iter([(String::from("limits"), read(&fields).section)]);
        assert_eq!(settings.patched(&patch).unwrap(), settings);
        assert_eq!(SiteSettings::default().patched(&patch).unwrap().limits, settings.limits);
    }
}
