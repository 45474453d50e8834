//! Header blocks that patterns alone cannot say, spread over the files that they mean.
//!
//! A manifest has rules that set headers and none that leaves one out again (DECISIONS 41), and its patterns are held
//! against the paths of files. Whoever deploys knows all files: a block from which a later one takes a header becomes rules
//! for the files that keep it. What comes out is held against what was meant, for each file.

use std::collections::BTreeMap;

use super::{
    headers::{Block, Placed},
    wrong,
};
use crate::{
    base::limits::{POLICY_RULES_MAX, POLICY_STARS_MAX, POLICY_STEPS_MAX},
    domain::{
        Result,
        policy::{HeaderIndex, HeaderRule, fits, too_much_work},
    },
};

/// What a look at a rule costs beside matching it, in steps.
const LOOK_STEPS: u64 = 32;

/// The files that headers are for.
pub(super) struct Site<'s> {
    /// Their paths, in any order.
    pub(super) paths: &'s [&'s str],
    /// The name of a folder's file.
    pub(super) index: &'s str,
    /// Whether `/about` is `/about.html` too.
    pub(super) clean: bool,
    /// Whether a block is also held against the addresses of a file.
    pub(super) urls: bool,
}

/// How a block fits a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    No,
    /// By the path of the file, as a manifest's rule does.
    Path,
    /// Only by an address of it: `/` for `/index.html`.
    Address,
}

/// The headers that are meant for a file, by name.
type Meant = BTreeMap<String, String>;

struct Spread<'s> {
    site: &'s Site<'s>,
    /// Sorted, each once.
    paths: Vec<&'s str>,
    left: u64,
    meant: Vec<Meant>,
    rules: Vec<Placed>,
}

/// The rules that give each file what the blocks mean for it.
pub(super) fn rules(blocks: &[Block], site: &Site<'_>) -> Result<Vec<Placed>> {
    let mut paths = site.paths.to_vec();
    paths.sort_unstable();
    paths.dedup();
    let meant = vec![Meant::new(); paths.len()];
    let mut spread = Spread { site, paths, left: POLICY_STEPS_MAX, meant, rules: Vec::new() };
    let mut without: Vec<(usize, &str, Vec<bool>)> = Vec::new();
    for (at, block) in blocks.iter().enumerate().filter(|(_, it)| !it.without.is_empty()) {
        let fitting: Vec<bool> = spread.fitting(&block.rule.matches)?.iter().map(|it| *it != Fit::No).collect();
        without.extend(block.without.iter().map(|(_, name)| (at, name.as_str(), fitting.clone())));
    }
    for (at, block) in blocks.iter().enumerate() {
        let later: Vec<_> = without.iter().filter(|(from, ..)| *from > at).map(|(_, name, it)| (*name, it)).collect();
        spread.block(block, &later)?;
        if spread.rules.len() > POLICY_RULES_MAX {
            let what = if block.filled { "fill in `:name` and `:splat` for" } else { "leave headers out of" };
            let why = format!(
                "to {what} single files, more than {POLICY_RULES_MAX} rules would be needed. Name the folders that should have \
                 the header instead of `/*`"
            );
            return Err(wrong("_headers", block.at, why));
        }
    }
    spread.check(blocks)?;
    Ok(spread.rules)
}

impl Spread<'_> {
    /// How a pattern fits each file.
    fn fitting(&mut self, pattern: &str) -> Result<Vec<Fit>> {
        let mut found = vec![Fit::No; self.paths.len()];
        for (file, fit) in fitting(self.site, &self.paths, pattern, &mut self.left)? {
            if let Some(it) = found.get_mut(file) {
                *it = fit;
            }
        }
        Ok(found)
    }

    /// The rules of one block, from which `later` blocks take headers: name, and from which files.
    fn block(&mut self, block: &Block, later: &[(&str, &Vec<bool>)]) -> Result<()> {
        let fitting = self.fitting(&block.rule.matches)?;
        // The headers of a block that go to the same files stay in one rule.
        let mut groups: Vec<(Vec<bool>, Vec<usize>)> = Vec::new();
        for (at, (name, value)) in block.rule.set.iter().enumerate() {
            let keeps = |file: usize| !later.iter().any(|(it, from)| it == name && from.get(file) == Some(&true));
            let kept: Vec<bool> = fitting.iter().enumerate().map(|(file, it)| *it != Fit::No && keeps(file)).collect();
            for (_, meant) in self.meant.iter_mut().enumerate().filter(|(file, _)| kept.get(*file) == Some(&true)) {
                let joined = meant.entry(name.clone()).or_default();
                joined.push_str(if joined.is_empty() { "" } else { ", " });
                joined.push_str(value);
            }
            // One whose files were all to be had by the pattern, or would be if there were any, keeps it.
            match groups.iter_mut().find(|(it, _)| *it == kept) {
                Some((_, set)) => set.push(at),
                None => groups.push((kept, vec![at])),
            }
        }
        for (kept, set) in groups {
            let lost = fitting.iter().zip(&kept).any(|(fit, kept)| *fit == Fit::Path && !kept);
            let more: Vec<bool> =
                fitting.iter().zip(&kept).map(|(fit, kept)| *kept && (lost || *fit == Fit::Address)).collect();
            if !lost {
                self.push(block, block.rule.matches.clone(), &set);
            }
            // What is filled in is often for one file, and looking at all others for each would take long.
            let patterns = match (block.filled, more.iter().filter(|it| **it).count()) {
                (_, 0) => Vec::new(),
                (true, 1) => {
                    self.paths.iter().zip(&more).filter(|(_, it)| **it).map(|(path, _)| literal(path)).collect()
                }
                _ => cover(&self.paths, &more),
            };
            for pattern in patterns {
                self.push(block, pattern, &set);
            }
        }
        Ok(())
    }

    fn push(&mut self, block: &Block, matches: String, set: &[usize]) {
        let lines = set.iter().filter_map(|at| block.lines.get(*at)).map(|it| it + 1).collect();
        let set = set.iter().filter_map(|at| block.rule.set.get(*at)).cloned().collect();
        self.rules.push(((block.at + 1, lines), HeaderRule { matches, set }));
    }

    /// Holds what the rules give against what was meant.
    fn check(&mut self, blocks: &[Block]) -> Result<()> {
        let rules: Vec<HeaderRule> = self.rules.iter().map(|(_, rule)| rule.clone()).collect();
        let index = HeaderIndex::new(&rules);
        let many = rules.iter().any(|rule| rule.matches.matches('*').count() > POLICY_STARS_MAX);
        for (path, meant) in self.paths.iter().zip(&self.meant) {
            let given = index.headers_within(path, &mut self.left).ok_or_else(too_much_work)?;
            if given == *meant && !many {
                continue;
            }
            let at = blocks.iter().find(|it| !it.without.is_empty()).or(blocks.first()).map_or(0, |it| it.at);
            return Err(wrong("_headers", at, no_rule(path)));
        }
        Ok(())
    }
}

/// The files that a pattern fits, as places in the sorted `paths`, and how.
pub(super) fn fitting(site: &Site<'_>, paths: &[&str], pattern: &str, left: &mut u64) -> Result<Vec<(usize, Fit)>> {
    let mut found = Vec::new();
    // A path that does not begin as the pattern does fits it no way: an address is the beginning of its file's path.
    let begin = pattern.split(['*', ':']).next().unwrap_or_default();
    let first = paths.partition_point(|it| *it < begin);
    let signs = pattern.matches(['*', ':']).count();
    for (at, path) in paths.iter().enumerate().skip(first).take_while(|(_, it)| it.starts_with(begin)) {
        let cost = path.len().saturating_mul(signs.max(1)).saturating_add(pattern.len());
        let cost = LOOK_STEPS.saturating_add(u64::try_from(cost).unwrap_or(u64::MAX));
        *left = left.checked_sub(cost).ok_or_else(too_much_work)?;
        if fits(pattern, path) {
            found.push((at, Fit::Path));
        } else if site.urls && address(site, path).is_some_and(|it| fits(pattern, it)) {
            found.push((at, Fit::Address));
        }
    }
    Ok(found)
}

/// The other path under which visitors get a file.
pub(super) fn address<'p>(site: &Site<'_>, path: &'p str) -> Option<&'p str> {
    let folder = path.strip_suffix(site.index).filter(|it| it.ends_with('/'));
    folder.or_else(|| site.clean.then(|| path.strip_suffix(".html"))?)
}

/// Why a header cannot be said for one file alone.
pub(super) fn no_rule(path: &str) -> String {
    format!(
        "no rule can be made that fits `{}` and no other file, since a `:` or `*` in a name means something in a rule. \
         Rename the file",
        path.escape_debug()
    )
}

/// Patterns of which each wanted path fits one, and no other path any: folders and single files, or endings of names,
/// whichever are fewer.
fn cover(paths: &[&str], wanted: &[bool]) -> Vec<String> {
    let (folders, endings) = (by_folder(paths, wanted), by_ending(paths, wanted));
    if endings.len() < folders.len() { endings } else { folders }
}

/// A path as a pattern. A `:` would begin a placeholder; whether `*` fits too much instead is checked at the end.
pub(super) fn literal(path: &str) -> String {
    path.replace(':', "*")
}

fn by_folder(paths: &[&str], wanted: &[bool]) -> Vec<String> {
    let mut found = Vec::new();
    // Folders that are still to be looked at: the files below them, and how long their path is.
    let mut open = vec![(0..paths.len(), 1)];
    while let Some((files, length)) = open.pop() {
        let kept = wanted.get(files.clone()).unwrap_or_default();
        if !kept.contains(&true) {
            continue;
        }
        let folder = paths.get(files.start).and_then(|it| it.get(..length)).unwrap_or("/");
        if !kept.contains(&false) {
            found.push(format!("{}*", literal(folder)));
            continue;
        }
        let mut at = files.start;
        while at < files.end {
            let path = paths.get(at).copied().unwrap_or_default();
            if let Some(slash) = path.get(length..).and_then(|rest| rest.find('/')) {
                let inner = path.get(..=length + slash).unwrap_or_default();
                let below = paths.get(at..files.end).unwrap_or_default();
                let many = below.iter().take_while(|it| it.starts_with(inner)).count().max(1);
                open.push((at..at + many, inner.len()));
                at += many;
                continue;
            }
            if wanted.get(at) == Some(&true) {
                found.push(literal(path));
            }
            at += 1;
        }
    }
    found
}

fn by_ending(paths: &[&str], wanted: &[bool]) -> Vec<String> {
    let ending = |path: &'_ str| -> Option<usize> { path.rfind('.').filter(|dot| path.rfind('/') < Some(*dot)) };
    // Whether all files with an ending are wanted.
    let mut all: BTreeMap<&str, bool> = BTreeMap::new();
    for (path, wanted) in paths.iter().zip(wanted) {
        if let Some(end) = ending(path).and_then(|it| path.get(it..)) {
            all.entry(end).and_modify(|it| *it &= wanted).or_insert(*wanted);
        }
    }
    let single = paths.iter().zip(wanted).filter(|(path, wanted)| {
        let whole = ending(path).and_then(|it| path.get(it..)).and_then(|end| all.get(end)).copied();
        **wanted && whole != Some(true)
    });
    let single = single.map(|(path, _)| literal(path));
    let ends = all.iter().filter(|(_, whole)| **whole).map(|(end, _)| format!("/*{}", literal(end)));
    ends.chain(single).collect()
}
