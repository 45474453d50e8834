//! Paths that are secrets by themselves, and how they are told.

use std::borrow::Cow;

use crate::domain::site_settings::guests::LINK_PATH;

/// A path as logs may have it: without the secret of a link.
pub fn shown(path: &str) -> Cow<'_, str> {
    let Some(link) = path.strip_prefix(LINK_PATH) else { return Cow::Borrowed(path) };
    let rest = link.find('/').and_then(|at| link.get(at..)).unwrap_or_default();
    Cow::Owned(format!("{LINK_PATH}-{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_of_a_link_is_told_to_nobody() {
        for (path, wanted) in [
            ("/a", "/a"),
            ("/.well-known/chainhost/link/abc", "/.well-known/chainhost/link/-"),
            ("/.well-known/chainhost/link/abc/d/e", "/.well-known/chainhost/link/-/d/e"),
            ("/.well-known/chainhost/proof/abc", "/.well-known/chainhost/proof/abc"),
        ] {
            assert_eq!(shown(path), wanted);
        }
    }
}
