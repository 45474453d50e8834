//! How much a site may send in a month, and what happens when that is used up.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{Section, is_default};
use crate::{
    base::units::ByteSize,
    domain::{Error, Result},
};

/// The section `traffic`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traffic {
    /// Bytes that the site may send in a month (UTC): told at 80 and at 100 %. Read as a number, or as `100 GB`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "bytes")]
    pub budget_bytes: Option<u64>,
    /// What happens when they are used up.
    #[serde(skip_serializing_if = "is_default")]
    pub when_used_up: WhenUsedUp,
}

/// What happens to visitors of a site whose traffic is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenUsedUp {
    /// Nothing: it is told, and they are served.
    #[default]
    Tell,
    /// They get a page of the host with 503 until the month is over.
    Stop,
}

/// Less than this is a slip: a page or two.
const BUDGET_BYTES_MIN: u64 = 1_000_000;

/// A number of bytes, or a size as people write it.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Size(String),
    }
    match Option::<Written>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Written::Number(bytes)) => Ok(Some(bytes)),
        Some(Written::Size(text)) => text.parse().map(|ByteSize(bytes)| Some(bytes)).map_err(D::Error::custom),
    }
}

impl Section for Traffic {
    fn check(&self) -> Result<()> {
        let wrong = |field, text: &str| Err(Error::invalid("site_traffic", text).on(field));
        match self.budget_bytes {
            Some(bytes) if bytes < BUDGET_BYTES_MIN => {
                let text = "`traffic.budget_bytes` is at least 1 MB a month. Leave it out for a site without a limit.";
                wrong("traffic.budget_bytes", text)
            }
            Some(bytes) if i64::try_from(bytes).is_err() => wrong(
                "traffic.budget_bytes",
                "`traffic.budget_bytes` is more than any site can send. Write for example `100 GB`.",
            ),
            None if self.when_used_up == WhenUsedUp::Stop => {
                let text = "`traffic.when_used_up` is `stop`, and nothing says when the traffic is used up. Set `traffic.budget_bytes` too.";
                wrong("traffic.when_used_up", text)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::domain::site_settings::SiteSettings;

    #[test]
    fn budgets_are_numbers_or_sizes_and_slips_are_refused() {
        let read = |value: serde_json::Value| {
            SiteSettings::default().patched(json!({ "traffic": value }).as_object().unwrap())
        };
        let set = read(json!({ "budget_bytes": "100 GB", "when_used_up": "stop" })).unwrap();
        assert_eq!(set.text(), r#"{"traffic":{"budget_bytes":100000000000,"when_used_up":"stop"}}"#);
        assert_eq!(SiteSettings::parse(&set.text()).unwrap(), set);
        assert_eq!(read(json!({ "budget_bytes": 5_000_000 })).unwrap().traffic.budget_bytes, Some(5_000_000));
        for (value, field) in [
            (json!({ "budget_bytes": 10 }), "traffic.budget_bytes"),
            (json!({ "budget_bytes": u64::MAX }), "traffic.budget_bytes"),
            (json!({ "when_used_up": "stop" }), "traffic.when_used_up"),
            (json!({ "budget_bytes": "a lot" }), "traffic"),
            (json!({ "budget_bytes": -1 }), "traffic"),
        ] {
            assert_eq!(read(value.clone()).unwrap_err().field, Some(field), "{value}");
        }
    }
}
