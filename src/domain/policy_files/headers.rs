//! `_headers`: blocks of a path and, below it, lines `Name: value` and `! Name`.

use super::{Reading, pattern, wrong};
use crate::domain::{
    Result,
    policy::{HeaderRule, REFUSED_HEADERS},
};

const FILE: &str = "_headers";

/// What the host sends where no rule says otherwise: it can be set, and not be left out.
const HOSTS: [&str; 6] = ["accept-ranges", "cache-control", "link", "vary", "x-content-type-options", "x-robots-tag"];

/// A rule of the policy with the line of its path and of each header that it sets.
pub(super) type Placed = ((usize, Vec<usize>), HeaderRule);

/// One block. Lines count from 0.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) at: usize,
    pub(super) rule: HeaderRule,
    /// The line of each header that the rule sets.
    pub(super) lines: Vec<usize>,
    /// Line and name of headers of earlier blocks that files of this one are sent without.
    pub(super) without: Vec<(usize, String)>,
    /// Whether it was made of another one, to fill in what one text of the files gives.
    pub(super) filled: bool,
}

/// The blocks in file order.
pub(super) fn blocks(text: &str, reading: Reading) -> Result<Vec<Block>> {
    let mut blocks: Vec<Block> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let path = content.starts_with('/') || content.starts_with("https://") || content.starts_with("http://");
        // As both Netlify and Cloudflare do, a header is told from a path by its first sign; blanks are for people.
        if path || (!line.starts_with([' ', '\t']) && (blocks.is_empty() || !content.contains([':', '!']))) {
            let matches = pattern(content, reading).map_err(|why| wrong(FILE, at, why))?;
            let rule = HeaderRule { matches, set: Vec::new() };
            blocks.push(Block { at, rule, lines: Vec::new(), without: Vec::new(), filled: false });
            continue;
        }
        let Some((block, before)) = blocks.split_last_mut() else {
            return Err(wrong(FILE, at, "a header stands before the first path. Put a path such as `/*` above it"));
        };
        // Here and not only below, so that the line that is wrong is named.
        read_line(content, at, block, before).map_err(|why| wrong(FILE, at, why))?;
    }
    for block in &blocks {
        if block.without.is_empty() || !block.rule.set.is_empty() {
            block.rule.check().map_err(|why| wrong(FILE, block.at, why))?;
        }
    }
    Ok(blocks)
}

fn read_line(content: &str, at: usize, block: &mut Block, before: &[Block]) -> Result<(), String> {
    if let Some(name) = content.strip_prefix('!').filter(|it| it.starts_with([' ', '\t'])) {
        let name = name.trim().to_ascii_lowercase();
        check_without(&name, before)?;
        block.without.push((at, name));
        return Ok(());
    }
    let Some((name, value)) = content.split_once(':') else {
        return Err(String::from("a header looks like `Name: value`, and one that is left out again like `! Name`"));
    };
    let (name, value) = (name.trim_end().to_ascii_lowercase(), value.trim_matches([' ', '\t']));
    if name == "basic-auth" {
        return Err(String::from(
            "visitors would get this line with the passwords in it, and no page would be protected. Leave what is not for \
             everybody out of the deploy, and remove the line",
        ));
    }
    if name == "location" {
        return Err(String::from(
            "a file is answered with 200, where this header leads nobody. Write `/from /to 302` into `_redirects` instead",
        ));
    }
    block.rule.set.push((name, value.to_owned()));
    block.lines.push(at);
    block.rule.check()
}

/// Whether a header may be left out, else why not.
fn check_without(name: &str, before: &[Block]) -> Result<(), String> {
    let shown = name.escape_debug();
    if name.is_empty() || name.contains([':', ' ', '\t']) {
        return Err(format!("a header that is left out looks like `! Name`, and `{shown}` is not a name"));
    }
    if REFUSED_HEADERS.contains(&name) || name == "x-content-type-options" {
        return Err(format!("the host itself sets `{shown}`. Remove the line"));
    }
    let set = before.iter().flat_map(|it| &it.rule.set).any(|(it, _)| it == name);
    if !set && HOSTS.contains(&name) {
        return Err(format!("the host itself sets `{shown}` where no rule does. Give it another value instead"));
    }
    Ok(())
}

/// The rules of blocks that leave nothing out.
pub(super) fn rules(blocks: Vec<Block>) -> Vec<Placed> {
    let place = |block: Block| ((block.at + 1, block.lines.iter().map(|it| it + 1).collect()), block.rule);
    blocks.into_iter().map(place).collect()
}
