//! Matches a path pattern in a time that its writer cannot blow up.
//!
//! Only the last `*` is ever tried again. That is enough: each sign that begins further on also ends no earlier, so an
//! earlier `*` gains nothing by taking more. What stands behind a `*` is searched for, not tried at each place.

/// What the signs of a pattern took.
type Found<'t> = Vec<(&'t str, &'t str)>;

/// Whether `pattern` fits `path`; what its signs take goes to `found`, which is of no use when it does not fit.
pub(super) fn walk<'t>(mut pattern: &'t str, mut path: &'t str, mut found: Option<&mut Found<'t>>) -> bool {
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
            // A placeholder takes a whole segment, as its name does in the pattern.
            let (name, after) = named.split_at(named.bytes().position(|b| b == b'/').unwrap_or(named.len()));
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

    /// The meaning, by trying everything.
    fn slow(pattern: &str, path: &str) -> bool {
        match Sign::first(pattern) {
            None => path.is_empty(),
            Some((Sign::Literal(text), after)) => path.strip_prefix(text).is_some_and(|rest| slow(after, rest)),
            Some((Sign::Star, after)) => (0..=path.len()).filter_map(|it| path.get(it..)).any(|rest| slow(after, rest)),
            Some((Sign::Name(_), after)) => {
                let end = path.find('/').unwrap_or(path.len());
                end > 0 && slow(after, &path[end..])
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn all_ways_are_found(pattern in "(/|[ab\u{e9}]|\\*|/:n|/:m/){0,7}", path in "[/ab\u{e9}]{0,9}") {
            let mut found = Vec::new();
            let fits = walk(&pattern, &path, Some(&mut found));
            prop_assert_eq!(fits, slow(&pattern, &path));
            prop_assert_eq!(fits, walk(&pattern, &path, None));
            if fits {
                // What was taken, put in, is the path again.
                let (mut left, mut rest, mut whole) = (found.iter(), pattern.as_str(), String::new());
                while let Some((sign, after)) = Sign::first(rest) {
                    match sign {
                        Sign::Literal(text) => whole.push_str(text),
                        Sign::Star | Sign::Name(_) => whole.push_str(left.next().unwrap().1),
                    }
                    rest = after;
                }
                prop_assert_eq!(&whole, &path);
                prop_assert!(left.next().is_none());
            }
        }
    }
}
