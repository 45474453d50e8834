//! Error pages: files of the live deployment that visitors read instead of the host's pages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Section, paths::check_page};
use crate::domain::{Error, Result};

/// The statuses that a page can be set for.
pub const STATUSES: [u16; 10] = [401, 403, 404, 410, 429, 451, 500, 502, 503, 504];

/// The section `errors`: the path of a file for a status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Errors(pub BTreeMap<u16, String>);

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
        451 => "errors.451",
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
            (json!({ "451": "https://example.org/" }), "errors.451"),
        ] {
            assert_eq!(read(value).check().unwrap_err().field, Some(wanted));
        }
        assert!(Errors::deserialize(&json!({ "x": "/a" })).is_err());
        assert!(STATUSES.iter().all(|it| field(*it) != "errors"));
    }
}
