//! Why a path gives what it gives: for people who write rules.
//!
//! What answers is what [`resolve`](super::resolve) says, heard while it walks through the table, so that the two cannot differ. What is said
//! beside it of the other rules is looked up afterwards. Nothing here is on the way of a visitor.

use super::{
    Listener, Resolution, is_asked, target, values,
    visitor::{self, Asked, Visitor},
    walk,
};
use crate::{
    domain::{
        policy::{Redirect, When, captures, fits},
        site_path,
        url_path::is_plain,
    },
    proof::manifest::Manifest,
};

/// Which step of the table answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The path belongs to the host on every site.
    Reserved,
    /// It is none that a file can have.
    Unreadable,
    /// 1. A rule that goes before files.
    RuleFirst,
    /// 2. The file with this path.
    File,
    /// 3. The index of the folder.
    Index,
    /// 4. The file with `.html` behind the path.
    Clean,
    /// The file's shorter path is to be asked for.
    CleanRedirect,
    /// 5. The folder's path ends in a slash.
    FolderSlash,
    /// 6. A rule.
    Rule,
    /// 7. The page for everything else.
    Fallback,
    /// 8. None of these.
    Nothing,
}

/// What became of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answers.
    Answers,
    /// Its pattern does not fit the path.
    OtherPath,
    /// A parameter of the query is missing or has another value.
    Query(String),
    /// It fits, and is for visitors of other countries.
    Country,
    /// It fits, and is for visitors with other languages.
    Language,
    /// It fits, and shows a file that is not there: no other rule of its kind is asked then.
    NoFile(String),
    /// It fits, and leads to where the visitor is already: no other rule of its kind is asked then.
    SamePlace,
    /// It fits, and the rule with this index comes before it.
    Later(usize),
    /// It fits, and something that goes before rules without force answers.
    FileFirst,
    /// It fits, and a rule with force answers before it.
    Forced(usize),
    /// Rules are not asked for such a path.
    NotAsked,
}

/// A header that a rule gives the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The index of the rule in the policy.
    pub rule: usize,
    /// The index of the header in the rule.
    pub at: usize,
}

/// What a path gives, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation<'m> {
    /// What [`resolve`](super::resolve) says.
    pub resolution: Resolution<'m>,
    /// The step that said it.
    pub step: Step,
    /// What of the visitor it depends on.
    pub asked: Asked,
    /// The index of the redirect that answers.
    pub rule: Option<usize>,
    /// What became of each redirect, in the policy's order.
    pub verdicts: Vec<Verdict>,
    /// The headers that rules give the file that answers, in the policy's order.
    pub given: Vec<Given>,
}

/// Hears which step answers and which rule was the first to fit.
#[derive(Debug, Default)]
struct Heard {
    step: Option<Step>,
    /// Index of the rule, and whether it answers.
    first: Vec<(usize, bool)>,
    asked: Asked,
}

impl Listener for Heard {
    fn step(&mut self, step: Step) {
        self.step = Some(step);
    }

    fn rule(&mut self, at: usize, answers: bool) {
        self.first.push((at, answers));
    }

    fn condition(&mut self, when: &When) {
        self.asked.condition(when);
    }
}

/// What answers `path`, as [`resolve_for`](super::resolve_for) says with the same arguments, and why.
pub fn explain<'m>(manifest: &'m Manifest, path: &str, query: Option<&str>, visitor: &dyn Visitor) -> Explanation<'m> {
    let mut heard = Heard::default();
    let resolution = walk(manifest, path, query, &|_, when| visitor::holds(when, visitor), &mut heard);
    let step = match (heard.step.unwrap_or(Step::Nothing), &resolution) {
        (Step::Unreadable, _) if site_path::is_reserved(path) => Step::Reserved,
        (Step::File, Resolution::File { entry, .. }) if entry.path.as_str() != path => {
            if path.ends_with('/') {
                Step::Index
            } else {
                Step::Clean
            }
        }
        (step, _) => step,
    };
    let rules = &manifest.policy().redirects;
    let verdicts =
        rules.iter().enumerate().map(|(at, rule)| verdict(rules, (at, rule), (path, query, visitor), &heard)).collect();
    let mut given = Vec::new();
    if let Resolution::File { entry, .. } = &resolution {
        for (rule, block) in manifest.policy().headers.iter().enumerate() {
            if fits(&block.matches, entry.path.as_str()) {
                given.extend((0..block.set.len()).map(|at| Given { rule, at }));
            }
        }
    }
    let rule = heard.first.iter().find(|(_, answers)| *answers).map(|(at, _)| *at);
    Explanation { resolution, step, asked: heard.asked, rule, verdicts, given }
}

/// What became of the rule with index `at`.
fn verdict(
    rules: &[Redirect],
    (at, rule): (usize, &Redirect),
    (path, query, visitor): (&str, Option<&str>, &dyn Visitor),
    heard: &Heard,
) -> Verdict {
    if matches!(heard.step, Some(Step::Unreadable)) || !is_plain(path) || !is_asked(rule, path) {
        return Verdict::NotAsked;
    }
    let Some(values) = values(rule, path, query) else {
        if captures(&rule.from, path).is_none() {
            return Verdict::OtherPath;
        }
        // The first parameter without which it would not fit.
        let alone =
            |name: &str, value: &str| Redirect { query: vec![(name.to_owned(), value.to_owned())], ..rule.clone() };
        let missing = rule.query.iter().find(|(name, value)| values(&alone(name, value), path, query).is_none());
        return missing.map_or(Verdict::OtherPath, |(name, _)| Verdict::Query(name.clone()));
    };
    if !visitor::is_from(&rule.when, visitor) {
        return Verdict::Country;
    }
    if !visitor::speaks(&rule.when, visitor) {
        return Verdict::Language;
    }
    // The one of its kind that was asked.
    let first = heard.first.iter().find(|(first, _)| rules.get(*first).is_some_and(|it| it.force == rule.force));
    let forced = heard.first.iter().find(|(first, answers)| *answers && rules.get(*first).is_some_and(|it| it.force));
    match (first, forced) {
        (Some((first, true)), _) if *first == at => Verdict::Answers,
        (Some((first, false)), _) if *first == at => match rule.status {
            301 | 302 | 303 | 307 | 308 => Verdict::SamePlace,
            _ => Verdict::NoFile(target(rule, &values)),
        },
        (Some((first, _)), _) => Verdict::Later(*first),
        (None, Some((forced, _))) => Verdict::Forced(*forced),
        (None, None) => Verdict::FileFirst,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            tests::{rule, rules, site},
            visitor::Named,
        },
        *,
    };

    #[test]
    fn each_rule_has_its_reason() {
        let force = |it: Redirect| Redirect { force: true, ..it };
        let query = |it: Redirect| Redirect {
            query: vec![(String::from("a"), String::from("1")), (String::from("b"), String::from(":b"))],
            ..it
        };
        let manifest = site(
            &["/index.html", "/kept.html", "/d/index.html", "/moved"],
            rules(vec![
                rule("/kept.html", "/never", 301),
                force(rule("/moved", "/x", 302)),
                query(rule("/q", "/r/:b", 302)),
                rule("/q", "/no.html", 200),
                rule("/q", "/z", 302),
                rule("/same", "/same", 302),
                rule("/moved", "/y", 302),
                rule("/d", "/e", 302),
            ]),
        );
        let of = |path: &str, query: Option<&str>| explain(&manifest, path, query, &Named::default());
        let kept = of("/kept.html", None);
        assert_eq!((kept.step, kept.rule, &kept.verdicts[0]), (Step::File, None, &Verdict::FileFirst));
        let moved = of("/moved", None);
        assert_eq!((moved.step, moved.rule), (Step::RuleFirst, Some(1)));
        assert_eq!((&moved.verdicts[1], &moved.verdicts[6]), (&Verdict::Answers, &Verdict::Forced(1)));
        let asked = of("/q", Some("a=1&b=2"));
        assert_eq!((asked.step, asked.rule, &asked.verdicts[3]), (Step::Rule, Some(2), &Verdict::Later(2)));
        let asked = of("/q", Some("a=1"));
        assert_eq!((asked.step, asked.rule), (Step::Nothing, None));
        assert_eq!(
            asked.verdicts[2..5],
            [Verdict::Query("b".into()), Verdict::NoFile("/no.html".into()), Verdict::Later(3)]
        );
        assert_eq!(of("/same", None).verdicts[5], Verdict::SamePlace);
        assert_eq!((of("/d", None).step, &of("/d", None).verdicts[7]), (Step::FolderSlash, &Verdict::FileFirst));
        assert_eq!((of("/d/", None).step, of("/", None).step), (Step::Index, Step::Index));
        assert_eq!(of("/.well-known/chainhost/x", None).step, Step::Reserved);
        assert_eq!(of("/a/../b", None).step, Step::Unreadable);
        assert!(of("/a/../b", None).verdicts.iter().all(|it| *it == Verdict::NotAsked));
        assert!(of("/kept.html", None).verdicts[1..].iter().all(|it| *it == Verdict::OtherPath));
    }
}
