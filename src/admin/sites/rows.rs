//! Lists in forms, without scripts: each entry is a row of fields, and behind the last one is an empty row for one more.
//!
//! Names of fields are `LIST.NUMBER.FIELD`, such as `limits.rates.0.path`. A new row in which nothing was written is none, and so is one
//! that is to be removed. A row into which nobody typed stays as it is set, with all that a form would send otherwise (blanks, ends of
//! lines). What was sent is read here and judged by [`SiteSettings`], each row for itself first, so that what is wrong stands
//! beside the field that it is about.
//!
//! SECURITY: numbers of rows are read as numbers and written as such. No name of a field that was sent comes back.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::form::Problems;
use crate::{
    base::{network::Network, units::ByteSize},
    domain::{Error, site_settings::SiteSettings},
};

/// The field of a row that is one of the settings.
const KNOWN: &str = "known";

/// A list in a form.
#[derive(Debug)]
pub(in super::super) struct List {
    /// The section and the key: `limits.rates`.
    pub(in super::super) key: &'static str,
    /// What one of them is called: `Rate`.
    pub(in super::super) noun: &'static str,
    /// Its fields in which something is written; the others have a value in any case.
    pub(in super::super) written: &'static [&'static str],
    /// What an empty row shows all the same.
    pub(in super::super) usual: &'static [(&'static str, &'static str)],
    /// Names of the fields that an error can be about, the first for what is about none of them.
    pub(in super::super) fields: &'static [&'static str],
}

/// A row of a list.
#[derive(Clone, Debug)]
pub(in super::super) struct Row {
    list: &'static List,
    /// The number in the names of its fields.
    at: u32,
    /// Its place on the page, from 1.
    pub(in super::super) number: usize,
    cells: BTreeMap<String, String>,
}

/// A field of a row: what templates write it with.
#[derive(Clone, Debug)]
pub(in super::super) struct Cell {
    pub(in super::super) key: String,
    pub(in super::super) value: String,
}

impl Cell {
    /// Whether this is its value.
    pub(in super::super) fn is(&self, value: &str) -> bool {
        self.value == value
    }
}

impl Row {
    /// The row at `at` with nothing in it.
    pub(in super::super) fn empty(list: &'static List, at: u32) -> Self {
        let cells = list.usual.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { list, at, number: 0, cells }
    }

    /// With a value.
    pub(in super::super) fn put(&mut self, name: &str, value: impl Into<String>) {
        self.cells.insert(name.to_owned(), value.into());
    }

    /// With a box that is ticked or not.
    pub(in super::super) fn flag(&mut self, name: &str, on: bool) {
        self.put(name, if on { "on" } else { "" });
    }

    /// The name of a field.
    pub(in super::super) fn key(&self, name: &str) -> String {
        format!("{}.{}.{name}", self.list.key, self.at)
    }

    /// A field.
    pub(in super::super) fn cell(&self, name: &str) -> Cell {
        Cell { key: self.key(name), value: self.text(name).to_owned() }
    }

    /// What is written in a field.
    pub(in super::super) fn text(&self, name: &str) -> &str {
        self.cells.get(name).map_or("", String::as_str)
    }

    /// Whether a box is ticked.
    pub(in super::super) fn on(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    /// Whether a field has this value.
    pub(in super::super) fn is(&self, name: &str, value: &str) -> bool {
        self.text(name) == value
    }

    /// Says that it is one of the settings, and not a new one.
    pub(in super::super) fn know(&mut self) {
        self.flag(KNOWN, true);
    }

    /// The field that says so; its value is empty for a new one.
    pub(in super::super) fn known(&self) -> Cell {
        self.cell(KNOWN)
    }

    /// Whether it is a new one into which nothing was written.
    pub(in super::super) fn is_blank(&self) -> bool {
        self.is_empty() && !self.on(KNOWN)
    }

    /// Whether nothing is written in it.
    fn is_empty(&self) -> bool {
        self.list.written.iter().all(|it| self.text(it).trim().is_empty())
    }

    /// `Rate 2`, or `New rate`.
    pub(in super::super) fn who(&self) -> String {
        if self.is_blank() {
            format!("New {}", self.list.noun.to_lowercase())
        } else {
            format!("{} {}", self.list.noun, self.number)
        }
    }

    /// Whether something is wrong with one of its fields.
    pub(in super::super) fn is_wrong(&self, problems: &Problems) -> bool {
        self.is_wrong_in(problems, "")
    }

    /// The same with those fields alone whose names begin so.
    pub(in super::super) fn is_wrong_in(&self, problems: &Problems, start: &str) -> bool {
        let start = self.key(start);
        problems.all().iter().any(|it| it.field.as_ref().is_some_and(|field| field.starts_with(&start)))
    }

    /// Says what is wrong with a field.
    fn say(&self, problems: &mut Problems, name: &str, text: &str) {
        // Errors of values begin where the key of the value has stood.
        let mut text = text.chars();
        let text: String = text.next().into_iter().flat_map(char::to_uppercase).chain(text).collect();
        problems.add(self.key(name), self.who(), text);
    }

    /// A whole number; nothing where nothing is written, or none.
    pub(in super::super) fn number(&self, name: &str, problems: &mut Problems) -> Option<u32> {
        whole(self.text(name)).unwrap_or_else(|text| {
            self.say(problems, name, text);
            None
        })
    }

    /// A number that has to be there.
    pub(in super::super) fn needed(&self, name: &str, problems: &mut Problems) -> Option<u32> {
        if self.text(name).trim().is_empty() {
            self.say(problems, name, "write a whole number, in digits alone.");
        }
        self.number(name, problems)
    }

    /// Seconds, from a number and the unit beside it.
    pub(in super::super) fn seconds(&self, name: &str, problems: &mut Problems) -> Option<u32> {
        seconds(self.text(name), self.text(&format!("{name}.unit"))).unwrap_or_else(|text| {
            self.say(problems, name, text);
            None
        })
    }

    /// Addresses and networks.
    pub(in super::super) fn networks(&self, name: &str, problems: &mut Problems) -> Vec<String> {
        networks(self.text(name)).unwrap_or_else(|text| {
            self.say(problems, name, &text);
            Vec::new()
        })
    }

    /// A size, in bytes.
    pub(in super::super) fn size(&self, name: &str, problems: &mut Problems) -> Option<u64> {
        let text = self.text(name).trim();
        if text.is_empty() {
            return None;
        }
        let read = text.parse::<ByteSize>().map(|it| it.0);
        read.map_err(|error| self.say(problems, name, &format!("{error}."))).ok()
    }

    /// A part of something that is looked for as it is written, with its blanks.
    pub(in super::super) fn part(&self, name: &str, problems: &mut Problems) -> Option<String> {
        let text = self.text(name);
        if !text.is_empty() && text.trim().is_empty() {
            self.say(problems, name, "blanks alone would fit nearly everything. Write more, or leave it empty.");
        }
        Some(text).filter(|it| !it.trim().is_empty()).map(str::to_owned)
    }

    /// The fields with their names and values.
    #[cfg(test)]
    pub(super) fn fields(&self) -> BTreeMap<String, String> {
        self.cells.iter().map(|(name, value)| (self.key(name), value.clone())).collect()
    }

    /// Says that a field needs something.
    pub(in super::super) fn wants(&self, name: &str, problems: &mut Problems, text: &str) {
        self.say(problems, name, text);
    }
}

/// A whole number in digits alone; nothing where nothing is written.
pub(super) fn whole(text: &str) -> Result<Option<u32>, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.bytes().all(|it| it.is_ascii_digit());
    let read = text.parse().ok().filter(|_| digits);
    read.map(Some).ok_or("Write a whole number, in digits alone.")
}

/// Units of time in forms, with their seconds, the longest first.
const UNITS: [(&str, u32); 4] = [("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1)];

/// Seconds, from a number and a unit.
pub(super) fn seconds(text: &str, unit: &str) -> Result<Option<u32>, &'static str> {
    let Some(number) = whole(text)? else { return Ok(None) };
    let (_, factor) = UNITS.iter().find(|it| it.0 == unit).ok_or("Choose a unit of time.")?;
    number.checked_mul(*factor).map(Some).ok_or("That is longer than any time here can be.")
}

/// A time as a number and the largest unit that leaves nothing over.
pub(super) fn time(seconds: u32) -> (String, &'static str) {
    let (unit, factor) =
        UNITS.into_iter().find(|it| seconds != 0 && seconds.is_multiple_of(it.1)).unwrap_or(("seconds", 1));
    ((seconds / factor).to_string(), unit)
}

/// Words with blanks, commas or lines between them.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split(|it: char| it.is_whitespace() || it == ',').filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

/// Lines in which something is written.
pub(super) fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

/// Methods, which are written in capital letters.
pub(super) fn methods(text: &str) -> Vec<String> {
    words(text).iter().map(|it| it.to_ascii_uppercase()).collect()
}

/// Addresses and networks.
pub(super) fn networks(text: &str) -> Result<Vec<String>, String> {
    let all = words(text);
    match all.iter().find(|it| it.parse::<Network>().is_err()) {
        None => Ok(all),
        Some(wrong) => Err(format!(
            "`{}` is no address and no network. Write it as in 192.0.2.7 or 192.0.2.0/24.",
            wrong.escape_debug()
        )),
    }
}

/// The rows of a list that were sent, in the order of their numbers.
pub(super) fn sent(list: &'static List, fields: &BTreeMap<String, String>) -> Vec<Row> {
    let mut found: BTreeMap<u32, BTreeMap<String, String>> = BTreeMap::new();
    for (key, value) in fields {
        let rest = key.strip_prefix(list.key).and_then(|it| it.strip_prefix('.'));
        let Some((at, name)) = rest.and_then(|it| it.split_once('.')) else { continue };
        let is_number = (1..=4).contains(&at.len()) && at.bytes().all(|it| it.is_ascii_digit());
        if let Some(at) = at.parse().ok().filter(|_| is_number) {
            found.entry(at).or_default().insert(name.to_owned(), value.clone());
        }
    }
    let rows = found.into_iter().zip(1..);
    rows.map(|((at, cells), number)| Row { list, at, number, cells }).collect()
}

/// The rows as a page shows them: with their places, and an empty one behind them; with `more` one more than were there.
pub(super) fn shown(list: &'static List, rows: Vec<Row>, more: bool) -> Vec<Row> {
    let mut rows = rows;
    let next = rows.iter().map(|it| it.at + 1).max().unwrap_or(0);
    if more || rows.last().is_none_or(|it| !it.is_blank()) {
        rows.push(Row::empty(list, next));
    }
    for (row, number) in rows.iter_mut().zip(1..) {
        row.number = number;
    }
    rows
}

/// The rows that stay: those that are not to be removed, and in which something is written. One of the settings that was emptied may be a
/// slip, and nothing would show that it went.
pub(super) fn kept(rows: Vec<Row>, problems: &mut Problems) -> Vec<Row> {
    let mut kept = Vec::new();
    for row in rows.into_iter().filter(|it| !it.on("remove") && !it.is_blank()) {
        if row.is_empty() {
            let text = "nothing is written in it any more. Tick Remove to remove it, or write it anew.";
            row.say(problems, row.list.fields.first().copied().unwrap_or_default(), text);
        } else {
            kept.push(row);
        }
    }
    kept
}

/// A list as it is set, and as its form shows it.
#[derive(Debug)]
pub(super) struct Set {
    rows: Vec<Row>,
    values: Vec<Value>,
}

impl Set {
    /// `rows`: what the form shows of these settings.
    pub(super) fn new(list: &'static List, rows: Vec<Row>, settings: &SiteSettings) -> Self {
        let (section, key) = list.key.split_once('.').unwrap_or((list.key, ""));
        let document = settings.document();
        let values = document.get(section).and_then(|it| it.get(key)).and_then(Value::as_array).cloned();
        Self { rows, values: values.unwrap_or_default() }
    }

    /// The value of a row as it is set, where it comes back as it is shown. `hidden`: a field that this form does not have.
    pub(super) fn untouched(&self, row: &Row, hidden: Option<&str>) -> Option<Value> {
        let at = usize::try_from(row.at).ok().filter(|_| row.on(KNOWN))?;
        let shown = self.rows.get(at)?;
        let is_content =
            |it: &&String| !["place", "remove", KNOWN].contains(&it.as_str()) && Some(it.as_str()) != hidden;
        let mut names = shown.cells.keys().chain(row.cells.keys()).filter(is_content);
        names.all(|it| is_untouched(shown.text(it), row.text(it))).then(|| self.values.get(at).cloned())?
    }
}

/// Whether a browser sends `sent` of a field that shows `shown` and that nobody touches: each end of a line as two characters, and one at the
/// very beginning not at all.
pub(super) fn is_untouched(shown: &str, sent: &str) -> bool {
    let plain = |text: &str| text.replace("\r\n", "\n").replace('\r', "\n");
    let (shown, sent) = (plain(shown), plain(sent));
    shown == sent || shown.strip_prefix('\n') == Some(&sent)
}

/// Rows in the order of the places that were written into them. One whose place was changed goes there, and the others keep theirs
/// among each other.
pub(super) fn in_order(rows: Vec<Row>, problems: &mut Problems) -> Vec<Row> {
    let (mut stay, mut move_to) = (Vec::new(), Vec::new());
    for row in rows {
        match row.number("place", problems).and_then(|it| usize::try_from(it).ok()) {
            Some(place) if place != row.number => move_to.push((place, row)),
            _ => stay.push(row),
        }
    }
    move_to.sort_by_key(|it| it.0);
    for (place, row) in move_to {
        stay.insert(place.saturating_sub(1).min(stay.len()), row);
    }
    stay
}

/// What is wrong with rows, each with what it says as JSON, besides what was already seen when they were read. One that is right for
/// itself can be wrong behind those before it.
pub(super) fn judge(list: &'static List, rows: &[(Row, Value)], seen: &Problems) -> Problems {
    let (section, key) = list.key.split_once('.').unwrap_or((list.key, ""));
    let check = |values: Vec<&Value>| {
        let mut patch = Map::new();
        patch.insert(section.to_owned(), json!({ key: values }));
        SiteSettings::default().patched(&patch).err()
    };
    let mut problems = seen.clone();
    for (row, value) in rows {
        // What cannot be said of a field is said already, where the row was not readable.
        let is_told = |it: &Error| row.is_wrong(seen) && !it.field.is_some_and(|it| it.starts_with(list.key));
        if let Some(error) = check(vec![value]).filter(|it| !is_told(it)) {
            place(row, &error, &mut problems);
        }
    }
    if problems.any() || check(rows.iter().map(|it| &it.1).collect()).is_none() {
        return problems;
    }
    for (upto, (row, _)) in rows.iter().enumerate() {
        if let Some(error) = check(rows.iter().take(upto + 1).map(|it| &it.1).collect()) {
            place(row, &error, &mut problems);
            break;
        }
    }
    problems
}

/// Puts an error beside the field of a row that it is about, and says it without the key, which the field stands for.
pub(super) fn place(row: &Row, error: &Error, problems: &mut Problems) {
    let (name, text) = told(row.list, error);
    row.say(problems, name, &text);
}

/// The field of a row that an error is about, and the error in words beside it.
fn told(list: &'static List, error: &Error) -> (&'static str, String) {
    let message = error.message.as_str();
    let field = |name: &str| list.fields.iter().find(|it| **it == name).copied();
    let first = list.fields.first().copied().unwrap_or_default();
    // `proxy.routes[0].health.every_s` cannot be that: …
    let with_number = message.strip_prefix('`').and_then(|it| it.strip_prefix(list.key)).and_then(|it| {
        let (key, why) = it.strip_prefix('[')?.split_once("` cannot be that: ")?;
        let (_, key) = key.split_once("].")?;
        Some((key.split('[').next().unwrap_or(key), why))
    });
    if let Some((key, why)) = with_number {
        let below = list.fields.iter().find(|it| it.split_once('.').is_some_and(|(start, _)| start == key)).copied();
        return (field(key).or(below).unwrap_or(first), why.to_owned());
    }
    let key = error.field.unwrap_or_default();
    let name = key.strip_prefix(list.key).and_then(|it| it.strip_prefix('.')).and_then(field).unwrap_or(first);
    let text = message.replace(&format!(" in `{key}`"), "");
    let text = text.strip_prefix(&format!("`{key}` ")).map_or_else(|| text.clone(), |it| format!("it {it}"));
    (name, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: List = List {
        key: "limits.rates",
        noun: "Rate",
        written: &["requests", "path"],
        usual: &[("per", "address")],
        fields: &["requests", "path", "methods", "every_s"],
    };
    static OF: List = LIST;

    fn form(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn rows_are_read_by_their_numbers_whatever_else_is_sent() {
        let rows = sent(
            &OF,
            &form(&[
                ("limits.rates.10.path", "/ten"),
                ("limits.rates.2.path", "/two"),
                ("limits.rates.2.every_s.unit", "hours"),
                ("limits.rates.-1.path", "/x"),
                ("limits.rates.+1.path", "/x"),
                ("limits.rates.99999.path", "/x"),
                ("limits.rates.1e1.path", "/x"),
                ("limits.rates..path", "/x"),
                ("limits.rates.3", "/x"),
                ("limits.rates\"><script>.4.path", "/x"),
                ("limits.ban.after", "3"),
                ("firewall.rules.0.path", "/x"),
            ]),
        );
        let read: Vec<_> = rows.iter().map(|it| (it.number, it.text("path"), it.text("every_s.unit"))).collect();
        assert_eq!(read, [(1, "/two", "hours"), (2, "/ten", "")]);
        assert_eq!(rows[1].key("path"), "limits.rates.10.path");
        let shown = shown(&OF, rows, false);
        assert_eq!((shown.len(), shown[2].key("path").as_str()), (3, "limits.rates.11.path"));
        assert_eq!((shown[1].who().as_str(), shown[2].who().as_str()), ("Rate 2", "New rate"));
        assert_eq!(shown[2].text("per"), "address");
    }

    #[test]
    fn one_row_more_is_one_more_and_empty_ones_are_none() {
        let typed =
            form(&[("limits.rates.0.path", "/a"), ("limits.rates.1.path", " "), ("limits.rates.1.per", "site")]);
        assert_eq!(shown(&OF, sent(&OF, &typed), false).len(), 2, "there is an empty one");
        assert_eq!(shown(&OF, sent(&OF, &typed), true).len(), 3);
        assert_eq!(shown(&OF, Vec::new(), false).len(), 1);
        let mut problems = Problems::none();
        assert_eq!(kept(sent(&OF, &typed), &mut problems).len(), 1);
        let gone = form(&[("limits.rates.0.path", "/a"), ("limits.rates.0.remove", "on")]);
        assert!(kept(sent(&OF, &gone), &mut problems).is_empty());
        assert!(!problems.any());
    }

    #[test]
    fn one_of_the_settings_goes_with_its_tick_alone() {
        let emptied = |more: &[(&str, &str)]| {
            let mut typed =
                form(&[("limits.rates.0.path", "/a"), ("limits.rates.1.path", " "), ("limits.rates.1.known", "on")]);
            typed.extend(form(more));
            let mut problems = Problems::none();
            let rows = sent(&OF, &typed);
            assert_eq!((rows[1].who().as_str(), rows[1].is_blank()), ("Rate 2", false));
            assert_eq!(shown(&OF, rows.clone(), false).len(), 3, "an empty one stands behind it");
            let kept = kept(rows, &mut problems).len();
            (kept, problems.on("limits.rates.1.requests").unwrap_or_default().to_owned())
        };
        let (kept, said) = emptied(&[]);
        assert!(kept == 1 && said.contains("Tick Remove"), "{kept} {said}");
        assert_eq!(emptied(&[("limits.rates.1.remove", "on")]), (1, String::new()));
        assert_eq!(emptied(&[("limits.rates.1.path", "/b")]), (2, String::new()));
    }

    #[test]
    fn what_nobody_touched_comes_back_otherwise_than_it_was_shown() {
        for (shown, sent, same) in [
            ("a", "a", true),
            ("a\nb\r\nc\rd", "a\r\nb\r\nc\r\nd", true),
            ("\na", "a", true),
            ("\n\na", "a", false),
            ("a", "\r\na", false),
            ("a ", "a", false),
            (" ", " ", true),
            (" ", "", false),
        ] {
            assert_eq!(is_untouched(shown, sent), same, "{shown:?} {sent:?}");
        }
    }

    #[test]
    fn a_row_goes_where_its_place_says() {
        let order = |places: &[&str]| {
            let rows: Vec<Row> = (0..)
                .zip(places)
                .map(|(at, place)| {
                    let mut row = Row::empty(&OF, at);
                    row.put("path", format!("/{at}"));
                    row.put("place", *place);
                    row
                })
                .collect();
            let rows = shown(&OF, rows, false).into_iter().filter(|it| !it.is_blank()).collect();
            let mut problems = Problems::none();
            let order: Vec<String> =
                in_order(rows, &mut problems).iter().map(|it| it.text("path").to_owned()).collect();
            (order.concat().replace('/', ""), problems.any())
        };
        assert_eq!(order(&["1", "2", "3", "4"]), (String::from("0123"), false));
        assert_eq!(order(&["1", "2", "1", "4"]), (String::from("2013"), false));
        assert_eq!(order(&["4", "2", "3", "4"]), (String::from("1230"), false));
        assert_eq!(order(&["1", "900", "0", ""]), (String::from("2031"), false));
        assert_eq!(order(&["1", "x", "3", "4"]), (String::from("0123"), true));
    }

    #[test]
    fn numbers_times_and_networks_are_what_they_say() {
        assert_eq!((whole(" 12 "), whole(""), whole("0")), (Ok(Some(12)), Ok(None), Ok(Some(0))));
        for wrong in ["+1", "-1", "1.5", "1e3", "0x10", "4294967296", "٣", "1 2", "NaN"] {
            assert!(whole(wrong).is_err(), "{wrong}");
        }
        assert_eq!(seconds("2", "hours"), Ok(Some(7_200)));
        for (number, unit) in [("1", "weeks"), ("1", ""), ("4294967295", "days")] {
            assert!(seconds(number, unit).is_err(), "{number} {unit}");
        }
        let times = [0, 1, 59, 60, 90, 3_600, 86_400, 90_000];
        let words =
            ["0 seconds", "1 seconds", "59 seconds", "1 minutes", "90 seconds", "1 hours", "1 days", "25 hours"];
        assert_eq!(
            times.map(|it| {
                let (number, unit) = time(it);
                format!("{number} {unit}")
            }),
            words.map(String::from)
        );
        for it in times {
            let (number, unit) = time(it);
            assert_eq!(seconds(&number, unit), Ok(Some(it)));
        }
        assert_eq!(networks("192.0.2.1,\r\n 10.0.0.0/8").unwrap().len(), 2);
        assert!(networks("192.0.2.1 <b>").unwrap_err().contains("`<b>` is no address"));
        assert_eq!(methods("get, Post"), ["GET", "POST"]);
    }

    #[test]
    fn what_is_wrong_is_said_beside_the_field_and_not_by_its_key() {
        let row = |path: &str, more: Value| {
            let mut row = Row::empty(&OF, 7);
            row.put("path", path);
            row.number = 2;
            (row, more)
        };
        let wrong = judge(&OF, &[row("x", json!({ "path": "x", "requests": 1, "every_s": 1 }))], &Problems::none());
        assert!(wrong.on("limits.rates.7.path").unwrap().starts_with("The path `x`: a pattern must"), "{wrong:?}");
        let wrong = judge(&OF, &[row("/", json!({ "requests": 0, "every_s": 1 }))], &Problems::none());
        assert_eq!(wrong.all()[0].whose, "Rate 2");
        assert_eq!(wrong.on("limits.rates.7.requests"), Some("It is 1 to 1000000 requests."));
        let many: Vec<(Row, Value)> = (0..21).map(|_| row("/", json!({ "requests": 1, "every_s": 1 }))).collect();
        assert!(
            judge(&OF, &many, &Problems::none()).on("limits.rates.7.requests").unwrap().contains("at most 20 rates")
        );
        assert!(!judge(&OF, &many[..20], &Problems::none()).any());
    }
}
