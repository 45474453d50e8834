//! What a policy may hold: patterns that match fast, targets that name their host, headers that cannot be split.
//!
//! Both the policy files of a deploy and every manifest that is read pass through here, so who serves a manifest may
//! rely on it. The reasons are sentences' ends: "… must begin with `/`".

use std::collections::HashSet;

use percent_encoding::percent_decode_str;

use crate::{
    base::limits::{
        PATH_BYTES_MAX, POLICY_HEADER_BYTES_MAX, POLICY_LANGUAGES_MAX, POLICY_NAMES_MAX, POLICY_PATH_HEADER_BYTES_MAX,
        POLICY_PATH_HEADERS_MAX, POLICY_RULES_MAX, POLICY_STARS_MAX, POLICY_STEPS_MAX, POLICY_TARGET_BYTES_MAX,
        POLICY_UPSTREAMS_MAX,
    },
    domain::{
        Error, Result,
        policy::{HeaderIndex, HeaderRule, Policy, Redirect, When, language, pattern::names, split_url},
        site_settings::proxy::Upstream,
        url_path::is_plain,
    },
};

/// Headers that no policy sets: they belong to the connection, to the answer's bytes or to the host (DECISIONS 41).
pub const REFUSED_HEADERS: [&str; 14] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "date",
    "etag",
    "keep-alive",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "unencoded-digest",
    "upgrade",
];

impl Policy {
    /// Checks all rules; the error names the first that does not fit.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String, why: String| Error::invalid("policy", format!("{what} {why}.")).on("files");
        for (count, kind) in [(self.headers.len(), "header"), (self.redirects.len(), "redirect")] {
            if count > POLICY_RULES_MAX {
                let what = format!("There are {count} {kind} rules;");
                return Err(wrong(what, format!("more than {POLICY_RULES_MAX} are not taken. Join some with `*`")));
            }
        }
        check_index(&self.index).map_err(|why| wrong(format!("The index `{}`", self.index.escape_debug()), why))?;
        for rule in &self.headers {
            rule.check()
                .map_err(|why| wrong(format!("The header rule for `{}`:", rule.matches.escape_debug()), why))?;
        }
        for rule in &self.redirects {
            rule.check().map_err(|why| wrong(format!("The redirect from `{}`:", rule.from.escape_debug()), why))?;
        }
        let upstreams: HashSet<String> =
            self.redirects.iter().filter_map(|it| it.upstream().map(str::to_ascii_lowercase)).collect();
        if upstreams.len() > POLICY_UPSTREAMS_MAX {
            let why = format!(
                "more than {POLICY_UPSTREAMS_MAX} are not taken. Let one of them tell paths apart, or send visitors there with 302"
            );
            return Err(wrong(format!("The redirects pass requests on to {} other servers;", upstreams.len()), why));
        }
        Ok(())
    }
}

impl Policy {
    /// Refuses rules that together give one of these paths more headers than clients take, or that take too long to match
    /// with all of them.
    pub fn check_heads(&self, paths: impl Iterator<Item: AsRef<str>>) -> Result<()> {
        let index = HeaderIndex::new(&self.headers);
        let mut left = POLICY_STEPS_MAX;
        for path in paths {
            let path = path.as_ref();
            let mut all = index.headers_within(path, &mut left).ok_or_else(too_much_work)?;
            // It is the file's type, of which there is one.
            all.remove("content-type");
            let bytes: usize = all.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
            let (found, most) = if all.len() > POLICY_PATH_HEADERS_MAX {
                (format!("{} headers", all.len()), POLICY_PATH_HEADERS_MAX.to_string())
            } else if bytes > POLICY_PATH_HEADER_BYTES_MAX {
                (format!("headers of {bytes} bytes"), format!("{POLICY_PATH_HEADER_BYTES_MAX} bytes"))
            } else {
                continue;
            };
            let text = format!(
                "All header rules together give `{path}` {found}, and clients refuse more than {most}. Remove some that \
                 fit it."
            );
            return Err(Error::invalid("policy_headers", text).on("files"));
        }
        Ok(())
    }
}

/// There are more rules than can be matched with all files in a reasonable time.
pub fn too_much_work() -> Error {
    let text = "The header rules and the files are too many together. Join rules, or begin their patterns with a folder \
                that only few of the files are in.";
    Error::invalid("policy_work", text).on("files")
}

/// An index file is named by one segment of a path.
pub(in crate::domain) fn check_index(index: &str) -> Result<(), String> {
    let fits = !index.is_empty() && index.len() <= 255 && !index.contains('/') && is_plain(index);
    if fits { Ok(()) } else { Err(String::from("must be a file's name without folders, such as `index.html`")) }
}

impl HeaderRule {
    /// Whether pattern, names and values are fine, else why not.
    pub(in crate::domain) fn check(&self) -> Result<(), String> {
        check_pattern(&self.matches, POLICY_STARS_MAX)?;
        if self.set.is_empty() {
            return Err(String::from("it sets no header. Put `Name: value` on the next line, behind blanks"));
        }
        let bytes: usize = self.set.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        if bytes > POLICY_HEADER_BYTES_MAX {
            return Err(format!(
                "its headers have {bytes} bytes, and clients refuse more than {POLICY_HEADER_BYTES_MAX}"
            ));
        }
        self.set.iter().try_for_each(|(name, value)| check_header(name, value))
    }
}

/// Whether a header may be set by a rule, else why not.
fn check_header(name: &str, value: &str) -> Result<(), String> {
    // RFC 9110 §5.6.2, in lower case as manifests have it.
    let token = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
    let shown = name.escape_debug();
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("`{shown}` is not a header's name. Use letters, digits and `-`"));
    }
    if REFUSED_HEADERS.contains(&name) {
        return Err(format!("the host itself sets `{shown}`. Remove the line"));
    }
    // SECURITY: without it browsers guess types, and the guess is no part of what was deployed.
    if name == "x-content-type-options" && value.trim_matches([' ', '\t']) != "nosniff" {
        return Err(format!("the host itself sets `{shown}: nosniff`, and no other value is taken. Remove the line"));
    }
    // SECURITY: no line end, NUL or other control, or the header would be split or refused while it is served.
    let printable = value.bytes().all(|b| matches!(b, b' '..=b'~') || (b == b'\t' && name != "content-type"));
    if !printable {
        return Err(format!("the value of `{shown}` must be printable ASCII"));
    }
    if value.trim_matches([' ', '\t']).is_empty() {
        return Err(format!("`{shown}` has no value. Add one or remove the line"));
    }
    Ok(())
}

impl Redirect {
    /// Whether pattern, query, status and target are fine, else why not.
    pub(in crate::domain) fn check(&self) -> Result<(), String> {
        // One, so that `:splat` has one meaning.
        check_pattern(&self.from, 1)?;
        let mut known: Vec<&str> = names(&self.from).map(|(name, _)| name).collect();
        if self.from.contains('*') {
            known.push("splat");
        }
        for (name, value) in &self.query {
            if name.is_empty() || name.chars().chain(value.chars()).any(char::is_control) {
                return Err(String::from("a query parameter looks like `name=value` or `name=:name`"));
            }
            if let Some(taken) = value.strip_prefix(':') {
                check_name(taken)?;
                known.push(taken);
            }
        }
        let mut seen = known.clone();
        seen.sort_unstable();
        if let Some([twice, _]) = seen.windows(2).find(|it| it.first() == it.last()) {
            return Err(format!("`:{twice}` is there twice. Give each its own name"));
        }
        if !matches!(self.status, 200 | 301 | 302 | 303 | 307 | 308 | 404 | 410) {
            return Err(format!("the status {} is none of 200, 301, 302, 303, 307, 308, 404, 410", self.status));
        }
        check_target(&self.to, self.status)?;
        self.when.check()?;
        match segments(&self.to).find(|it| (*it == "splat" || check_name(it).is_ok()) && !known.contains(it)) {
            Some(unknown) => Err(format!("`:{unknown}` of the target is not in what is matched")),
            None => Ok(()),
        }
    }
}

impl When {
    /// Whether it could hold of somebody, else why not. Words that are there twice would say nothing more.
    fn check(&self) -> Result<(), String> {
        let mut countries = HashSet::new();
        if let Some(twice) = self.countries.iter().find(|it| !countries.insert(**it)) {
            return Err(format!("the country `{twice}` is there twice. Name it once"));
        }
        if self.languages.len() > POLICY_LANGUAGES_MAX {
            return Err(format!("a rule has at most {POLICY_LANGUAGES_MAX} languages. Split it"));
        }
        let mut languages = HashSet::new();
        match self.languages.iter().find(|it| !language::is_tag(it) || !languages.insert(it.as_str())) {
            None => Ok(()),
            Some(it) if language::is_tag(it) => Err(format!("the language `{it}` is there twice. Name it once")),
            Some(it) => {
                let shown = it.escape_debug();
                Err(format!("`{shown}` is not a language; write `en`, `pt-br` or another one as browsers name it"))
            }
        }
    }
}

/// The names of the placeholders that fill whole segments.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split(['/', '?', '#', '&', '=']).filter_map(|it| it.strip_prefix(':'))
}

/// Whether a pattern for paths is one in which each placeholder fills a segment, else why not.
pub fn check_path_pattern(pattern: &str) -> Result<(), String> {
    check_pattern(pattern, POLICY_STARS_MAX)?;
    check_whole_names(pattern)
}

/// Whether each placeholder of a pattern fills a segment, else why not.
pub fn check_whole_names(pattern: &str) -> Result<(), String> {
    if names(pattern).all(|(_, whole)| whole) {
        return Ok(());
    }
    Err(String::from("`:name` fills a whole segment; a `:` elsewhere is not taken"))
}

/// A path pattern with at most `stars` of `*`.
fn check_pattern(pattern: &str, stars: usize) -> Result<(), String> {
    if !pattern.starts_with('/') {
        return Err(String::from("a pattern must begin with `/`"));
    }
    if pattern.len() > PATH_BYTES_MAX {
        return Err(format!("a pattern has at most {PATH_BYTES_MAX} bytes"));
    }
    if !is_plain(pattern) {
        return Err(String::from("a pattern has no backslash, no control character and no `.` or `..` segment"));
    }
    if pattern.matches('*').count() > stars {
        return Err(format!("a pattern here has at most {stars} of `*`. Split the rule"));
    }
    names(pattern).try_for_each(|(name, _)| check_name(name))?;
    let (count, whole) = names(pattern).fold((0, true), |(count, all), (_, whole)| (count + 1, all && whole));
    if !whole && count > POLICY_NAMES_MAX {
        return Err(format!(
            "a pattern with `:name` within a segment has at most {POLICY_NAMES_MAX} of them, and this one {count}. Join some"
        ));
    }
    Ok(())
}

/// The name of a placeholder, without its colon.
fn check_name(name: &str) -> Result<(), String> {
    let fits = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name != "splat";
    if fits {
        return Ok(());
    }
    let shown = name.escape_debug();
    Err(format!("`:{shown}` is not a placeholder: its name is a letter, then letters, digits and `_`, and not `splat`"))
}

/// SECURITY: a target names its host in clear, or is a path with one `/`: nothing taken from a request can be the host.
fn check_target(to: &str, status: u16) -> Result<(), String> {
    if to.len() > POLICY_TARGET_BYTES_MAX {
        return Err(format!("a target has at most {POLICY_TARGET_BYTES_MAX} bytes"));
    }
    if to.chars().any(|c| c == '\\' || c.is_control()) {
        return Err(String::from("a target has no backslash and no control character"));
    }
    if to.starts_with('/') && !to.starts_with("//") {
        return Ok(());
    }
    let rest = to.strip_prefix("https://").or_else(|| to.strip_prefix("http://"));
    let Some(rest) = rest else {
        return Err(String::from("a target is a path with one `/` in front, or begins with `https://` or `http://`"));
    };
    if matches!(status, 404 | 410) {
        return Err(format!(
            "with status {status} the target must be a file of this site: a path that begins with `/`"
        ));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, "0"),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b);
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let fits = !host.is_empty()
        && host.bytes().all(plain)
        && (bracketed || !host.contains([':', '[', ']']))
        && port.parse::<u16>().is_ok();
    if !fits {
        return Err(String::from("the host of a target stands there in ASCII, without user, `*` or `:name`"));
    }
    if status == 200 { check_passed_on(to) } else { Ok(()) }
}

/// A target that this server asks itself, on behalf of visitors. Which addresses its name may lead to is for who connects to say.
fn check_passed_on(to: &str) -> Result<(), String> {
    let (server, rest) = split_url(to).unwrap_or((to, ""));
    if let Err(why) = Upstream::parse(server) {
        return Err(format!("with status 200 another server is asked, and `{server}` {why}"));
    }
    if rest.contains('#') {
        return Err(String::from("what stands behind `#` is never sent to a server. Leave it out with status 200"));
    }
    let path = rest.split('?').next().unwrap_or_default();
    if !is_plain(&percent_decode_str(path).decode_utf8_lossy()) {
        return Err(String::from("the path of another server has no `.` or `..` segment, however it is written"));
    }
    Ok(())
}
