//! CORS: which pages of other origins may read answers of a site (Fetch standard, `CORS protocol`).

use serde::{Deserialize, Serialize};

use super::{Section, hotlink::is_host_pattern, is_default, paths::check_prefixes};
use crate::domain::{Error, Result};

/// How long browsers keep the answer to a preflight where nothing is set.
const MAX_AGE_S: u32 = 600;
/// A day: what browsers keep at most.
const MAX_AGE_S_MAX: u32 = 86_400;
/// Entries of each list.
const LIST_MAX: usize = 100;

/// The section `cors`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// Who may: `https://app.example.org`, `https://*.example.org`, or `*`. Nobody where there is none.
    #[serde(skip_serializing_if = "is_default")]
    pub origins: Vec<String>,
    /// What a preflight allows.
    #[serde(skip_serializing_if = "is_usual")]
    pub methods: Vec<String>,
    /// Request headers that a preflight allows.
    #[serde(skip_serializing_if = "is_default")]
    pub headers: Vec<String>,
    /// Answer headers that scripts may read beyond those that they always may.
    #[serde(skip_serializing_if = "is_default")]
    pub expose: Vec<String>,
    /// For how many seconds browsers keep the answer to a preflight.
    #[serde(skip_serializing_if = "is_usual_age")]
    pub max_age_s: u32,
    /// Whether requests may bring cookies and passwords.
    #[serde(skip_serializing_if = "is_default")]
    pub credentials: bool,
    /// Only at and below these paths; everywhere where there is none.
    #[serde(skip_serializing_if = "is_default")]
    pub paths: Vec<String>,
}

const METHODS: [&str; 2] = ["GET", "HEAD"];

fn is_usual(methods: &[String]) -> bool {
    methods == METHODS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_usual_age(seconds: &u32) -> bool {
    *seconds == MAX_AGE_S
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            methods: METHODS.map(String::from).to_vec(),
            headers: Vec::new(),
            expose: Vec::new(),
            max_age_s: MAX_AGE_S,
            credentials: false,
            paths: Vec::new(),
        }
    }
}

/// Whether `text` is an origin as browsers send it, or all below a host: `https://*.example.org`.
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let default_port = match scheme {
        "https" => "443",
        "http" => "80",
        _ => return false,
    };
    let (host, port) = rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let port_fits = port.is_none_or(|it| {
        it != default_port
            && !it.starts_with('0')
            && it.bytes().all(|b| b.is_ascii_digit())
            && it.parse::<u16>().is_ok()
    });
    port_fits && is_host_pattern(host)
}

/// Whether `text` is a token (RFC 9110 §5.6.2), as methods and names of headers are.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

impl Section for Cors {
    fn check(&self) -> Result<()> {
        let wrong = |field, text: String| Err(Error::invalid("site_cors", text).on(field));
        for (field, list) in [
            ("cors.origins", &self.origins),
            ("cors.methods", &self.methods),
            ("cors.headers", &self.headers),
            ("cors.expose", &self.expose),
        ] {
            if list.len() > LIST_MAX {
                return wrong(field, format!("`{field}` has at most {LIST_MAX} entries."));
            }
        }
        if let Some(it) = self.origins.iter().find(|it| *it != "*" && !is_origin(it)) {
            let text = format!(
                "`{it}` in `cors.origins` is no origin. Write `https://app.example.org`, `https://*.example.org` for all below a host, or `*`: in small letters, without a path, and without a port that is the usual one."
            );
            return wrong("cors.origins", text);
        }
        for (field, list) in
            [("cors.methods", &self.methods), ("cors.headers", &self.headers), ("cors.expose", &self.expose)]
        {
            if let Some(it) = list.iter().find(|it| !is_token(it)) {
                return wrong(
                    field,
                    format!(
                        "`{it}` in `{field}` is no name that HTTP has. Write one name for each entry, without a colon."
                    ),
                );
            }
        }
        if self.max_age_s > MAX_AGE_S_MAX {
            let text = format!(
                "`cors.max_age_s` has at most {MAX_AGE_S_MAX} seconds, which are a day: browsers keep it no longer."
            );
            return wrong("cors.max_age_s", text);
        }
        if self.credentials && self.origins.iter().any(|it| it == "*") {
            let text = "`cors.credentials` with the origin `*` would let every page of the web read what only its visitor may see, and browsers refuse it. Name the origins, or leave `credentials` out.";
            return wrong("cors.credentials", String::from(text));
        }
        check_prefixes("cors.paths", &self.paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_said_with_its_key() {
        Cors::default().check().unwrap();
        let origin = |it: &str| Cors { origins: vec![it.to_owned()], ..Cors::default() };
        for right in
            ["*", "https://app.example.org", "https://*.example.org", "http://localhost:5173", "https://a.example:8443"]
        {
            origin(right).check().unwrap();
        }
        for wrong in [
            "",
            "null",
            "app.example.org",
            "https://",
            "https://a.example/",
            "https://a.example/b",
            "https://A.example",
            "https://a.example:443",
            "http://a.example:80",
            "https://a.example:0",
            "https://a.example:99999",
            "https://a.example:+1",
            "https://u@a.example",
            "https://*",
            "https://a.*.example",
            "ftp://a.example",
        ] {
            assert_eq!(origin(wrong).check().unwrap_err().field, Some("cors.origins"), "{wrong}");
        }
        let with = |change: fn(&mut Cors)| {
            let mut made = origin("*");
            change(&mut made);
            made.check().unwrap_err().field
        };
        assert_eq!(with(|it| it.credentials = true), Some("cors.credentials"));
        assert_eq!(with(|it| it.methods = vec![String::from("GET, PUT")]), Some("cors.methods"));
        assert_eq!(with(|it| it.headers = vec![String::from("x:y")]), Some("cors.headers"));
        assert_eq!(with(|it| it.expose = vec![String::from("a\r\nb")]), Some("cors.expose"));
        assert_eq!(with(|it| it.max_age_s = 86_401), Some("cors.max_age_s"));
        assert_eq!(with(|it| it.paths = vec![String::from("api")]), Some("cors.paths"));
    }
}
