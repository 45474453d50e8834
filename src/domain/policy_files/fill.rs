//! Values of headers with `:splat` or a `:name` of their path in them, filled in for each file, as Cloudflare Pages does for each request.
//!
//! A rule of a manifest sets one value for all that fits it (DECISIONS 41). Whoever deploys knows all files: a block becomes one for
//! each text that its files give. What is filled in is as visitors ask for it: of the address of a file where it has one, and with
//! escapes, so that it is printable ASCII.

use std::collections::BTreeMap;

use super::{
    headers::Block,
    spread::{Site, address, fitting, literal, no_rule},
    wrong,
};
use crate::{
    base::limits::{POLICY_FILE_BYTES_MAX, POLICY_RULES_MAX, POLICY_STEPS_MAX},
    domain::{
        Error, Result,
        policy::{HeaderRule, captures, narrowed, pattern_names},
        url_path::encode,
    },
};

/// What signs of a pattern took, in their order.
type Taken<'t> = Vec<(&'t str, &'t str)>;

struct Fill<'s> {
    site: &'s Site<'s>,
    /// Sorted, each once.
    paths: Vec<&'s str>,
    /// What is left of the steps, rules and bytes that filling in may take.
    steps: u64,
    rules: usize,
    bytes: usize,
}

/// The blocks with their values filled in. One in which nothing is to be filled in stays as it is.
pub(super) fn blocks(blocks: Vec<Block>, site: &Site<'_>) -> Result<Vec<Block>> {
    let mut paths = site.paths.to_vec();
    paths.sort_unstable();
    paths.dedup();
    let (steps, rules, bytes) = (POLICY_STEPS_MAX, POLICY_RULES_MAX, POLICY_FILE_BYTES_MAX);
    let mut fill = Fill { site, paths, steps, rules, bytes };
    let mut made = Vec::with_capacity(blocks.len());
    for block in blocks {
        fill.block(block, &mut made)?;
    }
    Ok(made)
}

impl Fill<'_> {
    /// A block as several, in the order of its lines.
    fn block(&mut self, block: Block, made: &mut Vec<Block>) -> Result<()> {
        let used: Vec<_> = block.rule.set.iter().map(|(_, value)| signs(&block.rule.matches, value)).collect();
        if used.iter().all(Vec::is_empty) {
            made.push(block);
            return Ok(());
        }
        let lines: Vec<_> = block.rule.set.iter().zip(&block.lines).zip(&used).collect();
        let part = |set, lines| {
            let rule = HeaderRule { matches: block.rule.matches.clone(), set };
            Block { at: block.at, rule, lines, without: Vec::new(), filled: false }
        };
        // What earlier blocks set is left out before this one sets anything.
        if !block.without.is_empty() {
            made.push(Block { without: block.without.clone(), ..part(Vec::new(), Vec::new()) });
        }
        for run in lines.chunk_by(|(_, one), (_, other)| one == other) {
            let (set, lines) = run.iter().map(|((header, line), _)| ((*header).clone(), **line)).unzip();
            match run.first() {
                Some((_, used)) if !used.is_empty() => self.part(&part(set, lines), used, made)?,
                _ => made.push(part(set, lines)),
            }
        }
        Ok(())
    }

    /// A block for each text that the files give for the signs that are `used` in all of its values.
    fn part(&mut self, part: &Block, used: &[&str], made: &mut Vec<Block>) -> Result<()> {
        let (matches, line) = (part.rule.matches.as_str(), part.lines.first().copied().unwrap_or(part.at));
        if let Some(sign) = used.iter().find(|sign| all_signs(matches).filter(|it| it == *sign).count() > 1) {
            let why =
                format!("`:{sign}` is more than one part of this path. Keep one `*`, and give each `:name` its own");
            return Err(wrong("_headers", line, why));
        }
        // By what is filled in: what all signs took in one of the files, and the files, as places in `paths`.
        let mut texts: BTreeMap<Taken<'_>, (Taken<'_>, Vec<usize>)> = BTreeMap::new();
        for (file, _) in fitting(self.site, &self.paths, matches, &mut self.steps)? {
            let path = self.paths.get(file).copied().unwrap_or_default();
            let Some(taken) = captures(matches, address(self.site, path).unwrap_or(path)) else { continue };
            let key = taken.iter().filter(|(name, _)| used.contains(name)).copied().collect();
            texts.entry(key).or_insert_with(|| (taken, Vec::new())).1.push(file);
        }
        for (key, (taken, files)) in texts {
            let values = part.rule.set.iter().map(|(name, value)| (name.clone(), filled(value, &key)));
            // A header without a value says nothing, and none can be kept.
            let (set, lines): (Vec<_>, Vec<_>) =
                values.zip(part.lines.iter().copied()).filter(|((_, value), _)| !value.trim().is_empty()).unzip();
            if set.is_empty() {
                continue;
            }
            let bytes: usize = set.iter().map(|(name, value)| name.len() + value.len()).sum();
            for matches in self.patterns(part, (&taken, used), &files)? {
                let left = self.bytes.checked_sub(bytes + matches.len());
                self.bytes = left.ok_or_else(|| too_many(part, used, &format!("{POLICY_FILE_BYTES_MAX} bytes")))?;
                let rule = HeaderRule { matches, set: set.clone() };
                rule.check().map_err(|why| wrong("_headers", line, why))?;
                made.push(Block { at: part.at, rule, lines: lines.clone(), without: Vec::new(), filled: true });
            }
        }
        Ok(())
    }

    /// Patterns that fit these files, as their addresses or paths, and no others.
    fn patterns(&mut self, part: &Block, (taken, used): (&Taken<'_>, &[&str]), files: &[usize]) -> Result<Vec<String>> {
        let too_many = || too_many(part, used, &format!("{POLICY_RULES_MAX} rules"));
        self.rules = self.rules.checked_sub(1).ok_or_else(too_many)?;
        let plain = taken.iter().all(|(name, text)| !used.contains(name) || !text.contains(['*', ':']));
        if plain {
            let pattern = narrowed(&part.rule.matches, taken, used);
            if self.fits(&pattern, files)? {
                return Ok(vec![pattern]);
            }
        }
        self.rules = self.rules.checked_sub(files.len() - 1).ok_or_else(too_many)?;
        let mut patterns = Vec::with_capacity(files.len());
        for file in files {
            let path = self.paths.get(*file).copied().unwrap_or_default();
            let pattern = literal(path);
            if !self.fits(&pattern, &[*file])? {
                return Err(wrong("_headers", part.at, no_rule(path)));
            }
            patterns.push(pattern);
        }
        Ok(patterns)
    }

    /// Whether a pattern fits these files and no others.
    fn fits(&mut self, pattern: &str, files: &[usize]) -> Result<bool> {
        let found = fitting(self.site, &self.paths, pattern, &mut self.steps)?;
        Ok(found.iter().map(|(file, _)| file).eq(files))
    }
}

/// Why a block cannot be filled in.
fn too_many(part: &Block, used: &[&str], most: &str) -> Error {
    let (line, sign) = (part.lines.first().copied().unwrap_or(part.at), used.first().copied().unwrap_or_default());
    let why = format!(
        "`:{sign}` is filled in for each file that fits, and more than {most} would be needed. Write the block for a folder with \
         fewer files, or leave `:{sign}` out of the value"
    );
    wrong("_headers", line, why)
}

/// What a value may ask for: `splat` for each `*` of a pattern, and its names.
fn all_signs(matches: &str) -> impl Iterator<Item = &str> {
    pattern_names(matches).chain(matches.matches('*').map(|_| "splat"))
}

/// The signs of a pattern that a value asks for, each once.
fn signs<'p>(matches: &'p str, value: &str) -> Vec<&'p str> {
    let all: Vec<&str> = all_signs(matches).collect();
    let mut found: Vec<&str> = value.split(':').skip(1).filter_map(|text| longest(&all, text)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The longest of these names with which a text begins. As with Cloudflare, anything may follow it.
fn longest<'n>(names: &[&'n str], text: &str) -> Option<&'n str> {
    names.iter().filter(|it| text.starts_with(**it)).max_by_key(|it| it.len()).copied()
}

/// A value with these texts in the places of their names.
fn filled(value: &str, texts: &Taken<'_>) -> String {
    let names: Vec<&str> = texts.iter().map(|(name, _)| *name).collect();
    let mut parts = value.split(':');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let found = longest(&names, part).and_then(|it| texts.iter().find(|(name, _)| *name == it));
        match found.and_then(|(name, text)| Some((part.strip_prefix(name)?, text))) {
            Some((rest, text)) => out.extend([encode(text).as_str(), rest]),
            None => out.extend([":", part]),
        }
    }
    out
}
