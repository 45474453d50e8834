//! Matches a path pattern in a time that its writer cannot blow up.
//!
//! Only the last `*` is ever tried again. That is enough: each sign that begins further on also ends no earlier, so an
//! earlier `*` gains nothing by taking more. What stands behind a `*` is searched for, not tried at each place.
//! That does not hold of a `:name` that is a part of a segment only, for which there is [`within`].

mod within;

/// What the signs of a pattern took.
type Found<'t> = Vec<(&'t str, &'t str)>;

/// Whether `pattern` fits `path`; what its signs take goes to `found`, which is of no use when it does not fit.
pub(super) fn walk<'t>(pattern: &'t str, path: &'t str, mut found: Option<&mut Found<'t>>) -> bool {
    let (whole_pattern, whole_path) = (pattern, path);
    let (mut pattern, mut path) = (pattern, path);
    let mut star: Option<Star<'t>> = None;
    loop {
        let next = match Sign::first(pattern) {
            None if path.is_empty() => return true,
            None => None,
            Some((Sign::Star, after)) => {
                let taken = found.as_ref().map_or(0, |it| it.len());
                star.insert(Star { after, rest: path, taken: 0, found: taken }).take(0, &mut found)
            }
            Some((Sign::Literal(text), after)) => path.strip_prefix(text).map(|rest| (after, rest)),
            Some((Sign::Name(_), after)) if !is_segment(whole_pattern, pattern, after) => {
                if let Some(found) = &mut found {
                    found.clear();
                }
                return within::walk(whole_pattern, whole_path, found);
            }
            Some((Sign::Name(name), after)) => {
                let (value, rest) = path.split_at(path.bytes().position(|b| b == b'/').unwrap_or(path.len()));
                if let Some(found) = &mut found {
                    found.push((name, value));
                }
                (!value.is_empty()).then_some((after, rest))
            }
        };
        let next = next.or_else(|| star.as_mut()?.take_more(&mut found));
        let Some(next) = next else { return false };
        (pattern, path) = next;
    }
}

/// Whether the placeholder with which `from` begins fills a segment of `pattern`; `after` is what follows it.
fn is_segment(pattern: &str, from: &str, after: &str) -> bool {
    let before = pattern.strip_suffix(from).unwrap_or_default();
    matches!(before.as_bytes().last(), None | Some(b'/')) && matches!(after.as_bytes().first(), None | Some(b'/'))
}

/// The placeholders of a pattern in their order, and whether each fills a segment.
pub(super) fn names(pattern: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut rest = pattern;
    std::iter::from_fn(move || {
        loop {
            let from = rest;
            let (sign, after) = Sign::first(from)?;
            rest = after;
            if let Sign::Name(name) = sign {
                return Some((name, is_segment(pattern, from, after)));
            }
        }
    })
}

/// A pattern with what the `used` of its signs have taken in their places.
pub(super) fn narrowed(pattern: &str, taken: &[(&str, &str)], used: &[&str]) -> String {
    let (mut taken, mut rest, mut out) = (taken.iter(), pattern, String::new());
    while let Some((sign, after)) = Sign::first(rest) {
        let written = rest.strip_suffix(after).unwrap_or_default();
        let text = match sign {
            Sign::Literal(_) => None,
            Sign::Star | Sign::Name(_) => taken.next().filter(|(name, _)| used.contains(name)),
        };
        out.push_str(text.map_or(written, |(_, text)| text));
        rest = after;
    }
    out
}

/// What a path must begin and end with for a pattern to fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends<'t> {
    /// The text before the first sign; all of it where there is none.
    pub(super) begin: &'t str,
    /// The text behind the last sign.
    pub(super) end: &'t str,
    /// How many signs there are.
    pub(super) signs: usize,
}

/// The ends of a pattern.
pub(super) fn ends(mut pattern: &str) -> Ends<'_> {
    let mut found = Ends { begin: "", end: "", signs: 0 };
    while let Some((sign, after)) = Sign::first(pattern) {
        match sign {
            Sign::Literal(text) if found.signs == 0 => found.begin = text,
            Sign::Literal(text) => found.end = text,
            Sign::Star | Sign::Name(_) => (found.signs, found.end) = (found.signs + 1, ""),
        }
        pattern = after;
    }
    found
}

/// The last `*` that was passed, and how much it has taken.
struct Star<'t> {
    /// The pattern behind it.
    after: &'t str,
    /// The path from where it stands.
    rest: &'t str,
    taken: usize,
    /// Captures made before it.
    found: usize,
}

impl<'t> Star<'t> {
    /// Takes at least one character more.
    fn take_more(&mut self, found: &mut Option<&mut Found<'t>>) -> Option<(&'t str, &'t str)> {
        let more = self.rest.get(self.taken..)?.chars().next()?.len_utf8();
        self.take(self.taken + more, found)
    }

    /// Takes `from` bytes or as few more as let the text behind the star follow; pattern and path to go on with.
    fn take(&mut self, from: usize, found: &mut Option<&mut Found<'t>>) -> Option<(&'t str, &'t str)> {
        let rest = self.rest.get(from..)?;
        let (skipped, after, text) = match Sign::first(self.after) {
            None => (rest.len(), "", ""),
            // Behind the last text nothing more can follow: it is the end of the path, or does not fit at all.
            Some((Sign::Literal(text), "")) => (rest.strip_suffix(text)?.len(), "", text),
            Some((Sign::Literal(text), after)) => (rest.find(text)?, after, text),
            Some(_) => (0, self.after, ""),
        };
        self.taken = from + skipped;
        let (value, path) = self.rest.split_at_checked(self.taken)?;
        if let Some(found) = found {
            found.truncate(self.found);
            found.push(("splat", value));
        }
        Some((after, path.strip_prefix(text)?))
    }
}

/// One part of a pattern.
enum Sign<'t> {
    Literal(&'t str),
    Star,
    Name(&'t str),
}

impl<'t> Sign<'t> {
    /// The first sign of a pattern and what is behind it.
    fn first(pattern: &'t str) -> Option<(Self, &'t str)> {
        if pattern.is_empty() {
            return None;
        }
        if let Some(after) = pattern.strip_prefix('*') {
            return Some((Self::Star, after));
        }
        if let Some(named) = pattern.strip_prefix(':') {
            let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            let (name, after) = named.split_at(named.bytes().position(|b| !word(b)).unwrap_or(named.len()));
            return Some((Self::Name(name), after));
        }
        let end = pattern.bytes().position(|b| matches!(b, b'*' | b':')).unwrap_or(pattern.len());
        let (text, after) = pattern.split_at(end);
        Some((Self::Literal(text), after))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The meaning, by trying everything: what the signs take, the earlier ones as much as they can.
    fn slow<'t>(pattern: &'t str, path: &'t str) -> Option<Found<'t>> {
        let (sign, after) = match Sign::first(pattern) {
            None => return path.is_empty().then(Vec::new),
            Some((Sign::Literal(text), after)) => return slow(after, path.strip_prefix(text)?),
            Some(it) => it,
        };
        let (name, least, most) = match sign {
            Sign::Name(name) => (name, 1, path.find('/').unwrap_or(path.len())),
            _ => ("splat", 0, path.len()),
        };
        (least..=most).rev().filter(|it| path.is_char_boundary(*it)).find_map(|taken| {
            let mut found = slow(after, &path[taken..])?;
            found.insert(0, (name, &path[..taken]));
            Some(found)
        })
    }

    /// What was taken, put in.
    fn filled(pattern: &str, found: &Found<'_>) -> String {
        let (mut left, mut rest, mut whole) = (found.iter(), pattern, String::new());
        while let Some((sign, after)) = Sign::first(rest) {
            match sign {
                Sign::Literal(text) => whole.push_str(text),
                Sign::Star | Sign::Name(_) => whole.push_str(left.next().unwrap().1),
            }
            rest = after;
        }
        assert!(left.next().is_none());
        whole
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn all_ways_are_found(
            pattern in "(/|[ab\u{e9}-]|\\*|/:n/|/:m|:n-|-:m|:o\u{e9}|:p){0,7}",
            path in "[/ab\u{e9}-]{0,9}",
        ) {
            let mut found = Vec::new();
            let fits = walk(&pattern, &path, Some(&mut found));
            let meant = slow(&pattern, &path);
            prop_assert_eq!(fits, meant.is_some());
            prop_assert_eq!(fits, walk(&pattern, &path, None));
            if let Some(meant) = meant {
                prop_assert_eq!(&filled(&pattern, &found), &path);
                // Where all names fill segments, each of several `*` takes as little as it can, and one alone has no choice.
                if pattern.matches('*').count() < 2 || !names(&pattern).all(|(_, whole)| whole) {
                    prop_assert_eq!(found, meant);
                }
            }
        }
    }

    #[test]
    fn names_within_segments_cost_no_more_than_path_times_signs() {
        // Each place is one where any of them could end: some 10^30 ways, none of which fits.
        let pattern = format!("/*{}:z-c", ":n-".repeat(15));
        let path = format!("/{}b", "a-".repeat(500));
        assert!(!walk(&pattern, &path, None));
        let (mut found, path) = (Vec::new(), format!("/{}x-c", "a-".repeat(500)));
        assert!(walk(&pattern, &path, Some(&mut found)));
        assert_eq!((found.len(), found[1], found[16]), (17, ("n", "a"), ("z", "x")));
        assert_eq!(filled(&pattern, &found), path);
    }
}
