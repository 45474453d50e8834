//! What rules may ask of whoever sent a request: where they are, and what they speak. Worked out for rules that ask for it, and for no others.
//!
//! SECURITY: a cookie lets people choose, as with Netlify, so that no rule of a deployment keeps anybody out. The firewall takes the
//! address alone.

use std::cell::OnceCell;

use hyper::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, COOKIE, HeaderMap, HeaderName, HeaderValue, VARY};

use super::Asked;
use crate::{
    base::{countries::Countries, country::Country},
    domain::{lifetime, policy::language},
    proof::resolve::visitor::{self, Visitor},
};

/// The choice of a country.
const COUNTRY_COOKIE: &str = "nf_country";
/// The choice of a language.
const LANGUAGE_COOKIE: &str = "nf_lang";

/// Who sent a request.
pub(super) struct Person<'a> {
    asked: Asked<'a>,
    countries: &'a Countries,
    country: OnceCell<Option<Country>>,
    language: OnceCell<Option<&'a str>>,
}

impl<'a> Person<'a> {
    /// Of whom nothing is looked up yet.
    pub(super) const fn new(asked: Asked<'a>, countries: &'a Countries) -> Self {
        Self { asked, countries, country: OnceCell::new(), language: OnceCell::new() }
    }

    fn cookie(&self, name: &str) -> Option<&'a str> {
        let lines = self.asked.parts.headers.get_all(COOKIE).into_iter().filter_map(|it| it.to_str().ok());
        let mut pairs = lines.flat_map(|it| it.split(';')).filter_map(|it| it.trim().split_once('='));
        pairs.find(|(it, _)| *it == name).map(|(_, value)| value)
    }

    fn find_country(&self) -> Option<Country> {
        // Without a database such a rule holds for nobody, as the deploy has said.
        if !self.countries.is_known() {
            return None;
        }
        let chosen = self.cookie(COUNTRY_COOKIE).and_then(|it| Country::find(it.as_bytes()));
        chosen.or_else(|| self.countries.find(self.asked.client().address))
    }

    fn find_language(&self) -> Option<&'a str> {
        let chosen = self.cookie(LANGUAGE_COOKIE).filter(|it| language::is_tag(&it.to_ascii_lowercase()));
        chosen.or_else(|| language::best(self.asked.parts.headers.get(ACCEPT_LANGUAGE)?.to_str().ok()?))
    }
}

impl Visitor for Person<'_> {
    fn country(&self) -> Option<Country> {
        *self.country.get_or_init(|| self.find_country())
    }

    fn language(&self) -> Option<&str> {
        *self.language.get_or_init(|| self.find_language())
    }
}

/// Tells caches that an answer is of one visitor.
pub(super) fn dress(headers: &mut HeaderMap, depends: visitor::Asked) {
    // No cache that several have keeps it, whatever the files say.
    if !says(headers, CACHE_CONTROL, &["no-store"]) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(lifetime::OF_VISITOR));
    }
    for name in lifetime::OF_SHARED_CACHES {
        headers.remove(name);
    }
    if depends.language && !says(headers, VARY, &["*", "accept-language"]) {
        headers.append(VARY, HeaderValue::from_static("accept-language"));
    }
}

fn says(headers: &HeaderMap, name: HeaderName, words: &[&str]) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|it| it.to_str().ok());
    let mut parts = values.flat_map(|it| it.split(',')).map(str::trim);
    parts.any(|part| words.iter().any(|it| part.eq_ignore_ascii_case(it)))
}
