//! The header rules of a policy, found by path without asking each rule: for whoever looks up all files of a site.
//!
//! A rule can only fit where the text before its first sign begins the path and the text behind its last sign ends it.
//! Rules are kept by the former; only what passes both is matched. Gives the same as asking each rule, in the same order.

use std::collections::BTreeMap;

use crate::domain::policy::{
    HeaderRule,
    pattern::{self, Ends},
};

/// What a look at a rule costs beside matching it, in steps: about as long as the search through so many characters.
const LOOK_STEPS: usize = 32;

/// Header rules by the beginning of the paths that they fit.
#[derive(Debug)]
pub struct HeaderIndex<'p> {
    /// Sorted by their beginning.
    groups: Vec<Group<'p>>,
}

/// The rules whose patterns have one beginning.
#[derive(Debug)]
struct Group<'p> {
    begin: &'p str,
    /// The group with the longest beginning that this one's begins with.
    parent: Option<usize>,
    rules: Vec<Indexed<'p>>,
}

#[derive(Clone, Copy, Debug)]
struct Indexed<'p> {
    /// Its place in the policy.
    at: usize,
    rule: &'p HeaderRule,
    ends: Ends<'p>,
}

impl Indexed<'_> {
    /// Whether the path ends as the rule wants it; that it begins so is known.
    fn may_fit(&self, path: &str) -> bool {
        let Ends { begin, end, signs } = self.ends;
        if signs == 0 {
            return path.len() == begin.len();
        }
        path.len() >= begin.len() + end.len() && path.ends_with(end)
    }
}

impl<'p> HeaderIndex<'p> {
    /// Of these rules.
    pub fn new(rules: &'p [HeaderRule]) -> Self {
        Self::of(rules, |_| true)
    }

    /// Of those that set a type.
    pub fn of_types(rules: &'p [HeaderRule]) -> Self {
        Self::of(rules, |rule| super::type_of(rule).is_some())
    }

    fn of(rules: &'p [HeaderRule], wanted: impl Fn(&HeaderRule) -> bool) -> Self {
        let mut by_begin: BTreeMap<&str, Vec<Indexed<'p>>> = BTreeMap::new();
        for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| wanted(rule)) {
            let ends = pattern::ends(&rule.matches);
            by_begin.entry(ends.begin).or_default().push(Indexed { at, rule, ends });
        }
        let mut groups: Vec<Group<'p>> = Vec::with_capacity(by_begin.len());
        // Those that the next one may begin with, the longest last.
        let mut open: Vec<(usize, &str)> = Vec::new();
        for (begin, rules) in by_begin {
            while open.pop_if(|(_, longest)| !begin.starts_with(*longest)).is_some() {}
            groups.push(Group { begin, parent: open.last().map(|(at, _)| *at), rules });
            open.push((groups.len() - 1, begin));
        }
        Self { groups }
    }

    /// The rules whose beginnings fit a path, in no order.
    fn candidates<'s>(&'s self, path: &'s str) -> impl Iterator<Item = &'s Indexed<'p>> {
        // Each text between the longest beginning and the path itself, in their order, begins with the former: so that
        // one is the last group up to the path, or among its parents.
        let last = self.groups.partition_point(|it| it.begin <= path).checked_sub(1);
        let group = |at: Option<usize>| self.groups.get(at?);
        let all = std::iter::successors(group(last), move |it| group(it.parent));
        all.filter(move |it| path.starts_with(it.begin)).flat_map(|it| &it.rules)
    }

    /// The rules that fit a path, in the policy's order; `None` when finding them takes more than is `left`.
    fn fitting(&self, path: &str, left: &mut u64) -> Option<Vec<&'p HeaderRule>> {
        let mut found = Vec::new();
        for it in self.candidates(path) {
            let may_fit = it.may_fit(path);
            let steps = if may_fit { path.len().saturating_mul(it.ends.signs) } else { 0 };
            *left = left.checked_sub(u64::try_from(steps.saturating_add(LOOK_STEPS)).unwrap_or(u64::MAX))?;
            if may_fit && (it.ends.signs == 0 || super::fits(&it.rule.matches, path)) {
                found.push(*it);
            }
        }
        found.sort_unstable_by_key(|it| it.at);
        Some(found.into_iter().map(|it| it.rule).collect())
    }

    /// As [`super::Policy::headers_for`]; `None` when that takes more than the steps that are `left`, and takes them away.
    pub fn headers_within(&self, path: &str, left: &mut u64) -> Option<BTreeMap<String, String>> {
        Some(super::joined(&self.fitting(path, left)?))
    }

    /// As [`super::Policy::headers_for`].
    pub fn headers_for(&self, path: &str) -> BTreeMap<String, String> {
        self.headers_within(path, &mut { u64::MAX }).unwrap_or_default()
    }

    /// As [`super::Policy::type_for`]; `None` when that takes more than the steps that are `left`, and takes them away.
    pub fn type_within(&self, path: &str, left: &mut u64) -> Option<Option<&'p str>> {
        Some(self.fitting(path, left)?.into_iter().rev().find_map(super::type_of))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::policy::Policy;

    fn rules(patterns: &[String]) -> Vec<HeaderRule> {
        let set = |at: usize| {
            vec![(String::from("x-a"), at.to_string()), (String::from("content-type"), format!("text/x-{at}"))]
        };
        let rule = |(at, matches): (usize, &String)| HeaderRule { matches: matches.clone(), set: set(at) };
        patterns.iter().enumerate().map(rule).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]
        #[test]
        fn it_finds_what_asking_each_rule_finds(
            patterns in prop::collection::vec("(/|[ab\u{e9}]|\\*|/:n|/:m/){0,6}", 0..12),
            path in "[/ab\u{e9}]{0,7}",
        ) {
            let policy = Policy { headers: rules(&patterns), ..Policy::default() };
            let index = HeaderIndex::new(&policy.headers);
            prop_assert_eq!(index.headers_for(&path), policy.headers_for(&path));
            prop_assert_eq!(HeaderIndex::of_types(&policy.headers).type_within(&path, &mut 1_000_000).unwrap(), policy.type_for(&path));
        }
    }

    #[test]
    fn rules_for_other_paths_cost_nothing() {
        let mut patterns: Vec<String> = (0..500).map(|at| format!("/p{at}/*")).collect();
        patterns.extend((0..500).map(|at| format!("/*.e{at}")));
        patterns.extend((0..500).map(|at| format!("/f{at}")));
        patterns.extend((1..500).map(|at| format!("/{}:x", "a".repeat(at))));
        let rules = rules(&patterns);
        let index = HeaderIndex::new(&rules);
        let steps = |path: &str| {
            let mut left = 1_000_000;
            index.headers_within(path, &mut left).unwrap();
            1_000_000 - left
        };
        // Each also looks at the rules that begin with `/` alone.
        let all = 500 * 32;
        assert_eq!(steps("/f7"), all + 32);
        assert_eq!(steps("/p7/x"), all + 32 + 5);
        assert_eq!(steps("/p7/x.e3"), all + 32 + 2 * 8);
        assert_eq!(steps("/aab"), all + 2 * (32 + 4));
        assert!(index.headers_within("/aab", &mut { all }).is_none());
        assert_eq!(index.headers_for("/p7/x.e3").get("x-a").unwrap(), "7, 503");
    }
}
