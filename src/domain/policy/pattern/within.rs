//! Matches a pattern in which a `:name` stands within a segment (`/blog-:year.html`), as the regular expression would that Cloudflare
//! makes of it: `*` is `.*` and `:name` is `[^/]+`, and of several ways the earlier sign takes the more.
//!
//! Nothing is tried twice: for each sign, from the last to the first, it is found from where in the path it and those behind it fit. So
//! time and memory are path × signs, of which [`crate::base::limits::POLICY_NAMES_MAX`] bounds the latter.

use super::{Found, Sign};

/// From where in a path something fits: one for each place, and one for the end.
type Places = Vec<bool>;

/// As [`super::walk`].
pub(super) fn walk<'t>(pattern: &'t str, path: &'t str, found: Option<&mut Found<'t>>) -> bool {
    let mut signs = Vec::new();
    let mut rest = pattern;
    while let Some((sign, after)) = Sign::first(rest) {
        signs.push(sign);
        rest = after;
    }
    // Behind the last sign the path is at its end. Then of the signs from behind.
    let mut behind: Places = (0..=path.len()).map(|from| from == path.len()).collect();
    let mut all = Vec::with_capacity(signs.len());
    for sign in signs.iter().rev() {
        let before = places(sign, path, &behind);
        all.push(std::mem::replace(&mut behind, before));
    }
    if behind.first() != Some(&true) {
        return false;
    }
    let Some(found) = found else { return true };
    let mut from = 0;
    for (sign, behind) in signs.iter().zip(all.iter().rev()) {
        let text = path.get(from..).unwrap_or_default();
        let (name, reach) = match sign {
            Sign::Literal(literal) => {
                from += literal.len();
                continue;
            }
            Sign::Star => ("splat", text.len()),
            Sign::Name(name) => (*name, segment_end(text)),
        };
        let fits = |taken: &usize| behind.get(from + taken) == Some(&true);
        // That there is one is known, and that of a name is never 0: the longest one is found.
        let Some(taken) = (0..=reach).rev().find(fits) else { return false };
        found.push((name, text.get(..taken).unwrap_or_default()));
        from += taken;
    }
    true
}

/// From where a sign fits, when what is behind it fits from `behind`.
fn places(sign: &Sign<'_>, path: &str, behind: &Places) -> Places {
    let mut found = vec![false; path.len() + 1];
    // Whether a sign of any length that begins at a place can end further on.
    let mut any = false;
    for (from, fits) in found.iter_mut().enumerate().rev() {
        match sign {
            Sign::Literal(text) => {
                *fits = behind.get(from + text.len()) == Some(&true)
                    && path.as_bytes().get(from..).is_some_and(|it| it.starts_with(text.as_bytes()));
            }
            Sign::Star => {
                any |= behind.get(from) == Some(&true);
                *fits = any && path.is_char_boundary(from);
            }
            Sign::Name(_) => {
                any |= behind.get(from + 1) == Some(&true);
                any &= path.as_bytes().get(from) != Some(&b'/');
                *fits = any && path.is_char_boundary(from);
            }
        }
    }
    found
}

/// How much of a text is before its first `/`.
fn segment_end(text: &str) -> usize {
    text.find('/').unwrap_or(text.len())
}
