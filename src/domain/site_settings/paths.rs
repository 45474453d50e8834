//! Paths in settings: files of the deployment, and prefixes that a setting is about.
//!
//! SECURITY: what asks whether a path is behind a door asks [`Prefixes::may_reach`], which takes a path for one behind the door
//! wherever some reader of paths could.

use percent_encoding::percent_decode_str;

use crate::domain::{
    Error, Result,
    site_path::{SitePath, is_reserved},
    url_path::is_plain,
};

/// Prefixes of one setting.
const PREFIXES_MAX: usize = 100;
/// How often a path may be escaped: each reader takes one layer away.
const ESCAPES_MAX: usize = 4;

/// Checks the path of a page of the site.
pub(super) fn check_page(field: &'static str, page: Option<&str>) -> Result<()> {
    let Some(page) = page else { return Ok(()) };
    SitePath::parse(page).map(drop).map_err(|error| {
        let text = format!("`{field}` names a file of the site, as in `/maintenance.html`: {}", error.message);
        Error::invalid("site_page", text).on(field)
    })
}

/// Checks a list of prefixes.
pub(super) fn check_prefixes(field: &'static str, prefixes: &[String]) -> Result<()> {
    if prefixes.len() > PREFIXES_MAX {
        return Err(Error::invalid("site_paths", format!("`{field}` has at most {PREFIXES_MAX} paths.")).on(field));
    }
    let Some(it) = prefixes.iter().find(|it| !is_prefix(it)) else { return Ok(()) };
    let text = format!(
        "`{it}` in `{field}` is no path that files can be below. Write it as in `/intern`, as people read it and not escaped, without `*`, `?`, `#`, `;` and `%`."
    );
    Err(Error::invalid("site_paths", text).on(field))
}

fn is_prefix(text: &str) -> bool {
    !text.contains(['*', '?', '#', '%', ';']) && SitePath::parse(text.strip_suffix('/').unwrap_or(text)).is_ok()
}

/// Paths with all that is below them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// Without the slash at their ends.
    exact: Vec<String>,
    folded: Vec<String>,
}

impl Prefixes {
    /// Of these paths, which were checked.
    pub fn new(paths: &[String]) -> Self {
        let exact: Vec<String> = paths.iter().map(|it| it.strip_suffix('/').unwrap_or(it).to_owned()).collect();
        let folded = exact.iter().map(|it| it.to_lowercase()).collect();
        Self { exact, folded }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.exact.is_empty()
    }

    /// Whether a request for a decoded path comes before a door for these, where none are all. What the host itself tells of a site is behind
    /// each of its doors: a proof names all of its files.
    pub fn guard(&self, path: Option<&str>) -> bool {
        self.is_empty() || path.is_none_or(is_reserved) || self.may_reach(path)
    }

    /// Whether a decoded path is one of them, or below one.
    pub fn cover(&self, path: &str) -> bool {
        self.exact.iter().any(|it| is_below(path, it))
    }

    /// Whether any reader of paths could take a decoded path for one of them, or for one below: without a difference of letters'
    /// case, with doubled slashes as one, without parameters, and however often it is escaped. A path that cannot be read may be any.
    pub fn may_reach(&self, path: Option<&str>) -> bool {
        let Some(path) = path.filter(|it| it.starts_with('/')) else { return true };
        let mut path = path.to_lowercase();
        for _ in 0..ESCAPES_MAX {
            if !is_plain(&path) {
                return true;
            }
            let plain: String = path
                .split('/')
                .filter_map(|it| it.split(';').next())
                .filter(|it| !it.is_empty())
                .flat_map(|it| ["/", it])
                .collect();
            if self.folded.iter().any(|it| is_below(&plain, it) || is_page_of(&plain, it)) {
                return true;
            }
            let Ok(decoded) = percent_decode_str(&path).decode_utf8() else { return true };
            if decoded == path {
                return false;
            }
            path = decoded.to_lowercase();
        }
        true
    }
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether it is the file that a clean URL stands for.
fn is_page_of(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix) == Some(".html")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::url_path::decode_path;

    #[test]
    fn no_way_to_write_a_path_leads_around_the_door() {
        let doors = Prefixes::new(&[String::from("/intern"), String::from("/A\u{e9}/b/")]);
        for raw in [
            "/intern",
            "/intern/",
            "/intern/x.html",
            "/intern.html",
            "/INTERN/x",
            "/Intern",
            "//intern/x",
            "/intern//x",
            "///intern",
            "/%69ntern",
            "/%2569ntern",
            "/%252569ntern",
            "/a%2fb",
            "/x/../intern",
            "/x/%2e%2e/intern",
            "/x/%252e%252e/intern",
            "/x%252f..%252fintern",
            "/./intern",
            "/intern;v=1/x",
            "/;/intern",
            "/x\\..\\intern",
            "/intern%00",
            "/intern%",
            "/%ff",
            "*",
            "",
            "/a%C3%A9/b",
            "/a\u{e9}/B/c",
            "/%25252525252569ntern",
        ] {
            assert!(doors.may_reach(decode_path(raw).as_deref()), "{raw}");
        }
        for raw in
            ["/", "/index.html", "/internal", "/intern-x", "/x/intern", "/intern.htm", "/100%25", "/a%20b", "/A\u{e9}"]
        {
            assert!(!doors.may_reach(decode_path(raw).as_deref()), "{raw}");
        }
        assert!(doors.cover("/intern/x") && doors.cover("/A\u{e9}/b"));
        assert!(!doors.cover("/Intern/x") && !doors.cover("/internal"));
    }
}
