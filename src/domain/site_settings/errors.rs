//! Error pages: files of the live deployment that visitors read instead of the host's pages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Section, paths::check_page};
use crate::domain::{Error, Result};

/// The statuses that a page can be set for.
pub const STATUSES: [u16; 9] = [401, 403, 404, 410, 429, 500, 502, 503, 504];
/// That of a site that was taken down: its page has the reason, which no file of the site knows.
const TAKEN_DOWN: u16 = 451;

/// The section `errors`: the path of a file for a status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<u16, String>", into = "BTreeMap<u16, String>")]
pub struct Errors(pub BTreeMap<u16, String>);

impl From<BTreeMap<u16, String>> for Errors {
    /// COMPAT: a page for 451 could be set once and was never shown. Kept settings that have one are those without it.
    fn from(mut pages: BTreeMap<u16, String>) -> Self {
        pages.remove(&TAKEN_DOWN);
        Self(pages)
    }
}

impl From<Errors> for BTreeMap<u16, String> {
    fn from(errors: Errors) -> Self {
        errors.0
    }
}

/// Refuses what somebody wants to set and what would have no effect.
pub(super) fn check_patch(patch: &Map<String, Value>) -> Result<()> {
    let wanted = patch.get("errors").and_then(|it| it.get(TAKEN_DOWN.to_string()));
    if wanted.is_none_or(Value::is_null) {
        return Ok(());
    }
    let text = "A site that was taken down has no page of its own: visitors read the host's, with the reason. Leave `errors.451` out; the text is that of \
                `chainhost sites take-down --reason`.";
    Err(Error::invalid("site_errors", text).on("errors"))
}

impl Section for Errors {
    fn check(&self) -> Result<()> {
        if let Some(other) = self.0.keys().find(|it| !STATUSES.contains(it)) {
            let known = STATUSES.map(|it| it.to_string()).join(", ");
            let text =
                format!("There is no page of the host for {other} that could be another one. There are: {known}.");
            return Err(Error::invalid("site_errors", text).on("errors"));
        }
        self.0.iter().try_for_each(|(status, page)| check_page(field(*status), Some(page)))
    }
}

/// The key of a status.
pub const fn field(status: u16) -> &'static str {
    match status {
        401 => "errors.401",
        403 => "errors.403",
        404 => "errors.404",
        410 => "errors.410",
        429 => "errors.429",
        500 => "errors.500",
        502 => "errors.502",
        503 => "errors.503",
        504 => "errors.504",
        _ => "errors",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pages_are_files_of_the_site() {
        let read = |value| Errors::deserialize(&value).unwrap();
        read(json!({ "404": "/errors/404.html", "502": "/a b.html" })).check().unwrap();
        assert_eq!(serde_json::to_value(read(json!({ "404": "/x.html" }))).unwrap(), json!({ "404": "/x.html" }));
        for (value, wanted) in [
            (json!({ "200": "/x.html" }), "errors"),
            (json!({ "404": "x.html" }), "errors.404"),
            (json!({ "502": "/a/../b" }), "errors.502"),
            (json!({ "503": "https://example.org/" }), "errors.503"),
        ] {
            assert_eq!(read(value).check().unwrap_err().field, Some(wanted));
        }
        let kept = read(json!({ "404": "/x.html", "451": "/y.html" }));
        assert_eq!(serde_json::to_value(kept).unwrap(), json!({ "404": "/x.html" }), "kept before it was refused");
        assert!(Errors::deserialize(&json!({ "x": "/a" })).is_err());
        assert!(STATUSES.iter().all(|it| field(*it) != "errors"));
    }
}
