//! HTML that Rust wrote itself, and that a template therefore does not escape again.
//!
//! SECURITY: nothing that came from outside goes into one without [`escaped`].

use std::fmt;

use askama::filters::HtmlSafe;

/// A piece of HTML.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Markup(pub(super) String);

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Markup {}

/// Prose for people, in which what stands between backticks is code.
pub(super) fn prose(text: &str) -> Markup {
    let mut out = String::with_capacity(text.len() + 16);
    let mut parts = text.split('`').peekable();
    let mut is_code = false;
    while let Some(part) = parts.next() {
        // The last of an odd number of backticks opens nothing.
        match (is_code, parts.peek().is_some()) {
            (false, _) => out.push_str(&escaped(part)),
            (true, true) => {
                out.push_str("<code>");
                out.push_str(&escaped(part));
                out.push_str("</code>");
            }
            (true, false) => {
                out.push('`');
                out.push_str(&escaped(part));
            }
        }
        is_code = !is_code;
    }
    Markup(out)
}

/// `text` with what HTML gives a meaning written as references; right in text and in quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::prose;

    #[test]
    fn what_is_between_backticks_is_code() {
        for (text, wanted) in [
            ("plain <b>", "plain &lt;b&gt;"),
            ("Run `a <b>` now.", "Run <code>a &lt;b&gt;</code> now."),
            ("`a` and `b`", "<code>a</code> and <code>b</code>"),
            ("one ` alone <", "one ` alone &lt;"),
            ("`a` and ` alone", "<code>a</code> and ` alone"),
        ] {
            assert_eq!(prose(text).0, wanted);
        }
    }
}
