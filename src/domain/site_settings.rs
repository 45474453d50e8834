//! What people set for a site, besides what is in its files: a section for each subject, kept as one JSON document.
//!
//! A document names only what differs from the defaults, so that two equal settings are one text. What a document says and
//! this program does not know is an error and no default: a door that an unknown key closes must not stand open.

pub mod access;
pub mod addresses;
pub mod caching;
pub mod cors;
pub mod errors;
pub mod firewall;
pub mod guests;
pub mod hotlink;
pub mod limits;
pub mod maintenance;
pub mod paths;
pub mod proxy;
pub mod traffic;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use self::{
    access::Access, addresses::Addresses, caching::Caching, cors::Cors, errors::Errors, firewall::Firewall,
    guests::Guests, hotlink::Hotlink, limits::Limits, maintenance::Maintenance, proxy::Proxy, traffic::Traffic,
};
use crate::{
    base::hash::Sha256,
    domain::{Error, Result},
};

/// Longest document.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1_024;

/// The section that is changed by calls of its own.
const GUESTS: &str = "guests";

/// A section of the settings of a site.
trait Section: Default + PartialEq + Serialize + DeserializeOwned {
    /// What is wrong with its values, where each is readable for itself. The error names its key.
    fn check(&self) -> Result<()>;
}

/// Makes [`SiteSettings`] of its sections, so that none can be read and not be checked.
macro_rules! sections {
    ($($(#[$doc:meta])+ $name:ident: $type:ty,)+) => {
        /// The settings of a site.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct SiteSettings {
            $($(#[$doc])+ pub $name: $type,)+
        }

        impl SiteSettings {
            const SECTIONS: &[&str] = &[$(stringify!($name)),+];

            /// Reads an object with a key for each section.
            pub fn read(document: &Map<String, Value>) -> Result<Self> {
                let mut settings = Self::default();
                for (name, value) in document {
                    match name.as_str() {
                        $(stringify!($name) => settings.$name = section(stringify!($name), value)?,)+
                        _ => return Err(unknown(name)),
                    }
                }
                $(settings.$name.check()?;)+
                Ok(settings)
            }

            /// What differs from the defaults.
            pub fn document(&self) -> Map<String, Value> {
                let mut document = Map::new();
                $(put(&mut document, stringify!($name), &self.$name);)+
                document
            }

            /// The sections in which two differ.
            pub fn differing(&self, other: &Self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$name != other.$name {
                    names.push(stringify!($name));
                })+
                names
            }
        }
    };
}

sections! {
    /// Under which address visitors find it.
    addresses: Addresses,
    /// How much it answers.
    limits: Limits,
    /// Which requests it does not answer.
    firewall: Firewall,
    /// Whether visitors are told to come back later.
    maintenance: Maintenance,
    /// Whether and where visitors are asked for a password.
    access: Access,
    /// Which pages of others may show its files.
    hotlink: Hotlink,
    /// Which pages of others may read its answers.
    cors: Cors,
    /// Its own pages where the host would show one of its.
    errors: Errors,
    /// Who has a password or a link. Changed by calls of their own, and not shown with the others.
    guests: Guests,
    /// How much it may send in a month.
    traffic: Traffic,
    /// What other servers answer.
    proxy: Proxy,
    /// What caches in front of the server are told.
    caching: Caching,
}

impl SiteSettings {
    /// Reads what [`SiteSettings::text`] gave.
    pub fn parse(text: &str) -> Result<Self> {
        let document = serde_json::from_str(text).map_err(Error::internal)?;
        Self::read(&document)
    }

    /// The document as it is kept; empty settings give `{}`.
    pub fn text(&self) -> String {
        Value::Object(self.document()).to_string()
    }

    /// Whether all is as it is for a site of which nothing was set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The names of the sections that people set.
    pub fn sections() -> Vec<&'static str> {
        Self::SECTIONS.iter().copied().filter(|it| *it != GUESTS).collect()
    }

    /// What people are shown: all but who has a password.
    pub fn shown(&self) -> Map<String, Value> {
        let mut document = self.document();
        document.remove(GUESTS);
        document
    }

    /// What tells one state of what people are shown from another: an entity tag, with its quotes (RFC 9110 §8.8.3).
    pub fn etag(&self) -> String {
        format!("\"{}\"", mark(&Value::Object(self.shown()).to_string()))
    }

    /// What tells one state of a section from another.
    pub fn mark_of(&self, section: &str) -> String {
        mark(&self.document().get(section).map(ToString::to_string).unwrap_or_default())
    }

    /// These with other guests.
    pub fn with_guests(&self, guests: Guests) -> Result<Self> {
        guests.check()?;
        Self { guests, ..self.clone() }.fitting()
    }

    /// These with a merge patch applied (RFC 7396): what it names is replaced, `null` gives the default again.
    pub fn patched(&self, patch: &Map<String, Value>) -> Result<Self> {
        if patch.contains_key(GUESTS) {
            let text = "People and links of a site are not set with its settings. Use `chainhost sites people` and `chainhost sites links`, or their calls.";
            return Err(Error::invalid("site_guests", text));
        }
        errors::check_patch(patch)?;
        let mut document = Value::Object(self.document());
        merge(&mut document, patch, 0)?;
        let Value::Object(document) = document else { return Err(Error::internal("a merged object is none")) };
        Self::read(&document)?.fitting()
    }

    fn fitting(self) -> Result<Self> {
        if self.text().len() > DOCUMENT_BYTES_MAX {
            let text = format!("The settings of a site have at most {} KiB.", DOCUMENT_BYTES_MAX / 1_024);
            return Err(Error::too_large("site_settings", text));
        }
        Ok(self)
    }
}

fn mark(document: &str) -> String {
    Sha256::of(document.as_bytes()).hex().chars().take(32).collect()
}

/// How deep a patch may be: deeper than any setting is.
const DEPTH_MAX: usize = 16;

fn merge(target: &mut Value, patch: &Map<String, Value>, depth: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(Error::invalid(
            "site_settings",
            "No setting is that deep. See the list of settings in the manual.",
        ));
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(object) = target else { return Ok(()) };
    for (key, value) in patch {
        match value {
            Value::Null => drop(object.remove(key)),
            Value::Object(inner) => merge(object.entry(key).or_insert(Value::Null), inner, depth + 1)?,
            other => drop(object.insert(key.clone(), other.clone())),
        }
    }
    Ok(())
}

fn section<S: Section>(name: &'static str, value: &Value) -> Result<S> {
    if value.is_null() {
        return Ok(S::default());
    }
    S::deserialize(value)
        .map_err(|error| Error::invalid("site_settings", format!("`{name}` cannot be that: {error}.")).on(name))
}

fn unknown(name: &str) -> Error {
    let known = SiteSettings::sections().join(", ");
    Error::invalid("site_settings", format!("There are no settings `{name}` of a site. There are: {known}."))
}

fn put<S: Section>(document: &mut Map<String, Value>, name: &str, section: &S) {
    if *section == S::default() {
        return;
    }
    // INVARIANT: a section is a struct of values that JSON has.
    if let Ok(value) = serde_json::to_value(section) {
        document.insert(name.to_owned(), value);
    }
}

/// Whether a value is its type's default: such are not written down.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{addresses::Https, *};

    fn object(value: impl Into<Value>) -> Map<String, Value> {
        value.into().as_object().unwrap().clone()
    }

    #[test]
    fn a_patch_changes_what_it_names_and_null_is_the_default() {
        let empty = SiteSettings::default();
        assert_eq!((empty.text().as_str(), empty.is_default()), ("{}", true));
        let set = empty.patched(&object(json!({ "addresses": { "https": "always", "canonical": "WWW.Example.org" } })));
        let set = set.unwrap();
        assert_eq!(set.addresses.https, Https::Always);
        assert_eq!(set.text(), r#"{"addresses":{"canonical":"www.example.org","https":"always"}}"#);
        assert_eq!(SiteSettings::parse(&set.text()).unwrap(), set);
        assert_eq!((set.differing(&empty), set.differing(&set)), (vec!["addresses"], vec![]));
        let less = set.patched(&object(json!({ "addresses": { "https": null } }))).unwrap();
        assert_eq!(less.text(), r#"{"addresses":{"canonical":"www.example.org"}}"#);
        assert!(less.patched(&object(json!({ "addresses": null }))).unwrap().is_default());
        assert_eq!(set.patched(&Map::new()).unwrap(), set);
    }

    #[test]
    fn what_is_not_known_is_no_default() {
        let settings = SiteSettings::default();
        for (patch, word) in [
            (json!({ "adresses": {} }), "There are: addresses"),
            (json!({ "addresses": { "canonicl": "a.example.org" } }), "unknown field `canonicl`"),
            (json!({ "addresses": { "https": "yes" } }), "unknown variant `yes`"),
            (json!({ "addresses": { "canonical": "nodots" } }), "it needs a domain"),
            (json!({ "addresses": 7 }), "invalid type"),
            (json!({ "errors": { "451": "/a.html" } }), "with the reason"),
            (json!({ "addresses": { "https": { "a": 1 } } }), "`addresses` cannot be that"),
        ] {
            let error = settings.patched(&object(patch)).unwrap_err();
            assert!(error.message.contains(word), "{}", error.message);
        }
        let deep = (0..40).fold(json!({}), |inner, _| json!({ "addresses": inner }));
        assert!(settings.patched(&object(deep)).unwrap_err().message.contains("that deep"));
        assert!(SiteSettings::parse("[]").is_err());
    }
}
