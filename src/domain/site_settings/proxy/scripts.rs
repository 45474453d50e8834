//! Which programs below the `root` of a FastCGI route may run, and which other files there are sent.
//!
//! SECURITY: into some folders programs put what visitors send. A program there is not run unless somebody says so, however it came there.

use super::Route;

/// Patterns of one list, and bytes of one.
pub(super) const PATTERNS_MAX: usize = 100;
pub(super) const PATTERN_BYTES_MAX: usize = 256;

/// Folders into which well-known programs put what visitors send, and in which they have no programs of theirs. Those with a name that
/// anything may have count at the top of `root` alone: elsewhere an application may be called so.
pub const UPLOADS: [&str; 17] = [
    "*/blogs.dir/*/files/*",
    "*/data/*/files/*",
    "*/fileadmin/*",
    "*/pub/media/*",
    "*/site/assets/files/*",
    "*/sites/*/files/*",
    "*/uploads/*",
    "*/user_upload/*",
    "*/userfiles/*",
    "/application/files/*",
    "/attachments/*",
    "/data/*",
    "/files/*",
    "/images/*",
    "/media/*",
    "/storage/*",
    "/upload/*",
];

/// What may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scripts {
    allow: Vec<String>,
    /// In small letters.
    deny: Vec<String>,
}

impl Scripts {
    /// Of a route.
    pub fn new(route: &Route) -> Self {
        let deny = match &route.deny {
            Some(deny) => deny.iter().map(|it| it.to_lowercase()).collect(),
            None => UPLOADS.map(String::from).to_vec(),
        };
        Self { allow: route.scripts.clone(), deny }
    }

    /// Whether the program at this path below `root` may run: `asked` as it was asked for, `found` as it is with all links followed. What is
    /// denied is looked for in both, in any case of letters; what is allowed is what was asked for.
    pub fn may_run(&self, asked: &str, found: &str) -> bool {
        let (asked, found) = (plain(asked), plain(found));
        let is_denied = [&asked, &found].into_iter().any(|it| {
            let it = it.to_lowercase();
            self.deny.iter().any(|pattern| fits(pattern.as_bytes(), it.as_bytes()))
        });
        let is_allowed = || self.allow.iter().any(|it| fits(it.as_bytes(), asked.as_bytes()));
        !is_denied && (self.allow.is_empty() || is_allowed())
    }
}

/// Whether a path below `root` fits one of these patterns.
pub fn any_fits(patterns: &[String], path: &str) -> bool {
    let path = plain(path);
    patterns.iter().any(|it| fits(it.as_bytes(), path.as_bytes()))
}

/// A path with each row of slashes as one.
fn plain(path: &str) -> String {
    path.split('/').filter(|it| !it.is_empty()).flat_map(|it| ["/", it]).collect()
}

/// What is wrong with a pattern, if anything is.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    let shown = pattern.escape_debug();
    if !pattern.starts_with(['/', '*']) {
        return Err(format!(
            "`{shown}` begins with neither `/` nor `*`: it is a path below `root`, such as `/index.php`"
        ));
    }
    if pattern.len() > PATTERN_BYTES_MAX || pattern.contains(char::is_control) {
        return Err(format!("`{shown}` has more than {PATTERN_BYTES_MAX} bytes, or a sign that no path has"));
    }
    if pattern.contains("//") || pattern.split('/').any(|it| matches!(it, "." | "..")) {
        return Err(format!("`{shown}` has an empty part, `.` or `..`, and no program has such a path"));
    }
    Ok(())
}

/// Whether a text fits a pattern in which `*` stands for anything, `/` too.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut star, mut from, mut back) = (0, None, 0, 0);
    while let Some(byte) = text.get(from) {
        match pattern.get(at) {
            Some(b'*') => {
                (star, back) = (Some(at), from);
                at += 1;
            }
            Some(wanted) if wanted == byte => (at, from) = (at + 1, from + 1),
            _ => {
                let Some(star) = star else { return false };
                back += 1;
                (at, from) = (star + 1, back);
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|it| *it == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scripts(scripts: &[&str], deny: Option<&[&str]>) -> Scripts {
        let list = |of: &[&str]| of.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let mut route = Route::new("/", &["fastcgi://127.0.0.1:9000"]);
        (route.scripts, route.deny) = (list(scripts), deny.map(list));
        Scripts::new(&route)
    }

    #[test]
    fn what_visitors_send_does_not_run() {
        let usual = scripts(&[], None);
        for (path, wanted) in [
            ("/index.php", true),
            ("/wp-admin/upload.php", true),
            ("/upload.php", true),
            ("/core/files.php", true),
            ("/apps/files/ajax/list.php", true),
            ("/uploads/x.php", false),
            ("//uploads//x.php", false),
            ("/UpLoads/x.php", false),
            ("/wp-content/uploads/2026/11/x.php", false),
            ("/blog/wp-content/uploads/x.php", false),
            ("/files/x.php", false),
            ("/sites/default/files/x.php", false),
        ] {
            assert_eq!(usual.may_run(path, path), wanted, "{path}");
        }
        assert!(!usual.may_run("/link.php", "/uploads/x.php") && !usual.may_run("/uploads/x.php", "/x.php"));
        let all = scripts(&[], Some(&[]));
        assert!(all.may_run("/uploads/x.php", "/uploads/x.php"));
        let some = scripts(&["/index.php", "/wp-admin/*.php"], Some(&["/wp-admin/install.php"]));
        for (path, wanted) in [
            ("/index.php", true),
            ("//index.php", true),
            ("/wp-admin/a/b.php", true),
            ("/wp-admin/install.php", false),
            ("/WP-Admin/Install.php", false),
            ("/x/index.php", false),
            ("/uploads/x.php", false),
        ] {
            assert_eq!(some.may_run(path, path), wanted, "{path}");
        }
        assert!(some.may_run("/index.php", "/releases/7/front.php"));
    }

    #[test]
    fn patterns_fit_what_they_say() {
        for (pattern, text, wanted) in [
            ("*", "", true),
            ("/a*b*c", "/a--b-bc", true),
            ("/a*b*c", "/a--b-bcd", false),
            ("*a", "/b/aaab/a", true),
            ("/a", "/ab", false),
            ("/ab", "/a", false),
            ("/a**", "/a", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), wanted, "{pattern} {text}");
        }
        assert!(check("/a/*.php").is_ok() && check("*/x/*").is_ok());
        for wrong in ["", "index.php", "/a/../b", "/a//b", "/a\n"] {
            assert!(check(wrong).is_err(), "{wrong:?}");
        }
        assert!(check(&"/a".repeat(200)).is_err());
        assert!(UPLOADS.iter().all(|it| check(it).is_ok() && *it == it.to_lowercase()));
    }
}
