//! CORS: what scripts of pages of other origins are told that they may read (Fetch standard, `CORS protocol`).
//!
//! SECURITY: an origin is answered with itself or with `*` and never with what else it sent; `null` is nobody's.

use std::collections::HashSet;

use hyper::{
    HeaderMap, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
    },
    http::request::Parts,
};

use super::rules::Unusable;
use crate::{
    domain::site_settings::{cors::Cors as Settings, paths::Prefixes},
    http::respond::{self, Response},
};

/// Who may read what.
#[derive(Debug)]
pub(super) struct Cors {
    everybody: bool,
    exact: HashSet<String>,
    /// `https://` and `.example.org`, for what begins and ends so.
    below: Vec<(String, String)>,
    credentials: bool,
    expose: Option<HeaderValue>,
    methods: HeaderValue,
    allow: Option<HeaderValue>,
    max_age: HeaderValue,
    prefixes: Prefixes,
}

impl Cors {
    pub(super) fn new(settings: &Settings) -> Result<Self, Unusable> {
        let list = |names: &[String]| HeaderValue::try_from(names.join(", ")).map_err(|_| Unusable);
        let some = |names: &[String]| (!names.is_empty()).then(|| list(names)).transpose();
        let everybody = settings.origins.iter().any(|it| it == "*");
        if everybody && settings.credentials {
            return Err(Unusable);
        }
        let split = |it: &String| it.split_once('*').map(|(scheme, end)| (scheme.to_owned(), end.to_owned()));
        Ok(Self {
            everybody,
            exact: settings.origins.iter().filter(|it| !it.contains('*')).cloned().collect(),
            below: settings.origins.iter().filter(|it| *it != "*").filter_map(split).collect(),
            credentials: settings.credentials,
            expose: some(&settings.expose)?,
            methods: list(&settings.methods)?,
            allow: some(&settings.headers)?,
            max_age: HeaderValue::from(settings.max_age_s),
            prefixes: Prefixes::new(&settings.paths),
        })
    }

    /// Whether it is about a decoded path.
    fn is_about(&self, path: Option<&str>) -> bool {
        self.prefixes.is_empty() || path.is_some_and(|it| self.prefixes.cover(it))
    }

    /// Whether an answer at a decoded path is the same for all origins.
    pub(super) fn is_same(&self, path: Option<&str>) -> bool {
        self.everybody || !self.is_about(path)
    }

    /// What an origin is answered with.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.everybody {
            return Some(HeaderValue::from_static("*"));
        }
        let mut lines = headers.get_all(ORIGIN).iter();
        let origin = lines.next().filter(|_| lines.next().is_none())?;
        let text = origin.to_str().ok()?;
        let is_below = |(scheme, end): &(String, String)| {
            let host = text.strip_prefix(scheme.as_str()).and_then(|it| it.strip_suffix(end.as_str()));
            host.is_some_and(|it| {
                !it.is_empty() && it.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            })
        };
        (self.exact.contains(text) || self.below.iter().any(is_below)).then(|| origin.clone())
    }

    /// The answer to a browser that asks before it sends a request. It says nothing of what is there, so it needs no password, which
    /// browsers do not send with it.
    pub(super) fn preflight(&self, parts: &Parts, path: Option<&str>) -> Option<Response> {
        let is_one = parts.method == Method::OPTIONS
            && parts.headers.contains_key(ORIGIN)
            && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !is_one || !self.is_about(path) {
            return None;
        }
        let mut response = respond::empty(StatusCode::NO_CONTENT);
        let headers = response.headers_mut();
        if self.allowed(&parts.headers).is_some() {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
            headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
            if let Some(allow) = &self.allow {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allow.clone());
            }
        }
        headers.append(VARY, HeaderValue::from_static("access-control-request-method, access-control-request-headers"));
        Some(response)
    }

    /// Says on an answer who may read it. What the files of the site say of that is replaced.
    pub(super) fn dress(&self, parts: &Parts, path: Option<&str>, headers: &mut HeaderMap) {
        if !self.is_about(path) {
            return;
        }
        for name in [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS] {
            headers.remove(name);
        }
        if !self.everybody {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        let Some(allowed) = self.allowed(&parts.headers) else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(expose) = &self.expose {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(|it| (*it).to_owned()).collect()
    }

    fn dressed(cors: &Cors, origins: &[&str]) -> (Option<String>, Vec<String>) {
        let mut request = Request::builder().uri("/");
        for origin in origins {
            request = request.header(ORIGIN, *origin);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut headers = HeaderMap::new();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("https://of-the-policy.example"));
        cors.dress(&parts, Some("/"), &mut headers);
        let text = |it: &HeaderValue| it.to_str().unwrap().to_owned();
        (headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(text), headers.get_all(VARY).iter().map(text).collect())
    }

    #[test]
    fn an_origin_is_answered_with_itself_or_not_at_all() {
        let named = Settings {
            origins: texts(&["https://app.example.org", "https://*.example.net", "http://*.dev.example:8080"]),
            credentials: true,
            ..Settings::default()
        };
        let named = Cors::new(&named).unwrap();
        let vary = vec![String::from("origin")];
        for (origin, wanted) in [
            ("https://app.example.org", true),
            ("https://a.example.net", true),
            ("https://a.b.example.net", true),
            ("http://x.dev.example:8080", true),
            ("https://example.net", false),
            ("http://a.example.net", false),
            ("https://a.example.net:8443", false),
            ("https://evilexample.net", false),
            ("https://evil.example/.example.net", false),
            ("https://u@a.example.net", false),
            ("https://.example.net", false),
            ("https://app.example.org.evil.example", false),
            ("https://app.example.orG", false),
            ("null", false),
            ("", false),
        ] {
            let (found, varies) = dressed(&named, &[origin]);
            assert_eq!((found.as_deref(), &varies), (wanted.then_some(origin), &vary), "{origin}");
        }
        assert_eq!(dressed(&named, &[]), (None, vary.clone()));
        assert_eq!(dressed(&named, &["https://app.example.org", "https://app.example.org"]).0, None);
        let all = Cors::new(&Settings { origins: texts(&["*"]), ..Settings::default() }).unwrap();
        assert_eq!(dressed(&all, &["https://evil.example"]), (Some(String::from("*")), vec![]));
        assert_eq!(dressed(&all, &[]).0.as_deref(), Some("*"));
        let both = Settings { origins: texts(&["*"]), credentials: true, ..Settings::default() };
        assert!(Cors::new(&both).is_err());
    }

    #[test]
    fn a_preflight_is_answered_and_other_options_are_not() {
        let settings = Settings {
            origins: texts(&["https://app.example.org"]),
            methods: texts(&["GET", "PUT"]),
            headers: texts(&["x-a", "content-type"]),
            paths: texts(&["/api/"]),
            ..Settings::default()
        };
        let cors = Cors::new(&settings).unwrap();
        let ask = |method: &str, origin: &str, asks: bool, path: &str| {
            let mut request = Request::builder().method(method).uri("/").header(ORIGIN, origin);
            if asks {
                request = request.header(ACCESS_CONTROL_REQUEST_METHOD, "PUT");
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let found = cors.preflight(&parts, Some(path))?;
            let methods = found.headers().get(ACCESS_CONTROL_ALLOW_METHODS).map(|it| it.to_str().unwrap().to_owned());
            Some((found.status().as_u16(), methods))
        };
        let ours = "https://app.example.org";
        assert_eq!(ask("OPTIONS", ours, true, "/api/x"), Some((204, Some(String::from("GET, PUT")))));
        assert_eq!(ask("OPTIONS", "https://evil.example", true, "/api/x"), Some((204, None)));
        assert_eq!(ask("OPTIONS", ours, false, "/api/x"), None);
        assert_eq!(ask("GET", ours, true, "/api/x"), None);
        assert_eq!(ask("OPTIONS", ours, true, "/other"), None);
    }
}
