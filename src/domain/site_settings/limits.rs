//! How much a site answers: rates by address, and how long who goes on regardless is shut out.

use serde::{Deserialize, Serialize};

use super::{Section, is_default};
use crate::{
    base::network::Network,
    domain::{Error, Result, policy},
};

/// The section `limits`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Each of them holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<Rate>,
    /// Who is refused often is shut out for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ban: Option<Ban>,
    /// Addresses to which no limit, rule or ban of this site applies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<Network>,
}

/// So many requests in such a time, at once or spread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// A path pattern in small letters, which fits capital ones too: literal, `*` for any rest, `:name` for one segment.
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub path: String,
    /// Methods that count; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Who is counted together.
    #[serde(default, skip_serializing_if = "is_default")]
    pub per: Per,
    /// How many requests.
    pub requests: u32,
    /// In how many seconds.
    pub every_s: u32,
}

/// Who is counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// Each address for itself; of IPv6, each /64.
    #[default]
    Address,
    /// All visitors of the site.
    Site,
}

/// Who is refused `after` times within `within_s` seconds gets nothing of the site for `for_s` seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ban {
    /// How many refusals by limits and rules of the site.
    pub after: u32,
    /// In how many seconds.
    #[serde(default = "minute")]
    pub within_s: u32,
    /// For how many seconds.
    #[serde(default = "hour")]
    pub for_s: u32,
}

const fn minute() -> u32 {
    60
}

const fn hour() -> u32 {
    3_600
}

pub(super) fn all() -> String {
    String::from("/*")
}

pub(super) fn is_all(path: &str) -> bool {
    path == "/*"
}

/// Rates of one site: each is looked at with every request.
const RATES_MAX: usize = 20;
/// Networks that are exempt.
const EXEMPT_MAX: usize = 100;
const DAY_S: u32 = 86_400;
/// Thirty days.
const BAN_S_MAX: u32 = 30 * DAY_S;

/// A pattern that is matched with small letters.
pub(super) fn check_path(path: &str, field: &'static str) -> Result<()> {
    let why = if path.contains(|it: char| it.is_ascii_uppercase()) {
        Err(String::from("it is written in small letters, and fits capital ones too"))
    } else {
        policy::check_path_pattern(path)
    };
    why.map_err(|why| {
        let text = format!("The path `{}` in `{field}`: {why}. Write it as in /login or /api/*.", path.escape_debug());
        Error::invalid("site_path_pattern", text).on(field)
    })
}

/// Names of methods are words of capital letters.
pub(super) fn check_methods(methods: &[String], field: &'static str) -> Result<()> {
    let fits = |it: &String| (1..=20).contains(&it.len()) && it.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    match methods.iter().find(|it| !fits(it)) {
        None if methods.len() <= 10 => Ok(()),
        None => {
            Err(Error::invalid("site_methods", format!("`{field}` has at most 10 methods. Name none for all."))
                .on(field))
        }
        Some(wrong) => {
            let text = format!("`{}` in `{field}` is no method. Write it as in GET or POST.", wrong.escape_debug());
            Err(Error::invalid("site_methods", text).on(field))
        }
    }
}

fn within(value: u32, most: u32, field: &'static str, what: &str) -> Result<()> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid("site_limits", format!("`{field}` is 1 to {most} {what}.")).on(field))
}

impl Section for Limits {
    fn check(&self) -> Result<()> {
        if self.rates.len() > RATES_MAX {
            let text = format!(
                "A site has at most {RATES_MAX} rates. Join some with a path that fits them all, as in /api/*."
            );
            return Err(Error::invalid("site_limits", text).on("limits.rates"));
        }
        if self.exempt.len() > EXEMPT_MAX {
            let text = format!("At most {EXEMPT_MAX} networks are exempt. Name wider ones, as in 192.0.2.0/24.");
            return Err(Error::invalid("site_limits", text).on("limits.exempt"));
        }
        for rate in &self.rates {
            check_path(&rate.path, "limits.rates.path")?;
            check_methods(&rate.methods, "limits.rates.methods")?;
            within(rate.requests, 1_000_000, "limits.rates.requests", "requests")?;
            within(rate.every_s, DAY_S, "limits.rates.every_s", "seconds")?;
        }
        if let Some(ban) = self.ban {
            within(ban.after, 10_000, "limits.ban.after", "refusals")?;
            within(ban.within_s, DAY_S, "limits.ban.within_s", "seconds")?;
            within(ban.for_s, BAN_S_MAX, "limits.ban.for_s", "seconds, thirty days at most")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::SiteSettings, *};

    #[test]
    fn limits_are_read_with_what_is_usual() {
        let text = r#"{"limits":{"ban":{"after":20},"exempt":["192.0.2.0/24","2001:db8::1"],
                       "rates":[{"requests":100,"every_s":60},{"path":"/login","methods":["POST"],"requests":5,"every_s":900}]}}"#;
        let limits = SiteSettings::parse(text).unwrap().limits;
        let [first, second] = &limits.rates[..] else { panic!("{limits:?}") };
        assert_eq!((first.path.as_str(), first.per, first.methods.is_empty()), ("/*", Per::Address, true));
        assert_eq!((second.path.as_str(), second.requests), ("/login", 5));
        assert_eq!(limits.ban, Some(Ban { after: 20, within_s: 60, for_s: 3_600 }));
        let again = SiteSettings::parse(&SiteSettings { limits: limits.clone(), ..SiteSettings::default() }.text());
        assert_eq!(again.unwrap().limits, limits);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_key() {
        let rate = |more: serde_json::Value| {
            let mut rate = json!({ "requests": 1, "every_s": 1 });
            rate.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({ "limits": { "rates": [rate] } })
        };
        for (document, field) in [
            (rate(json!({ "requests": 0 })), "limits.rates.requests"),
            (rate(json!({ "every_s": 86_401 })), "limits.rates.every_s"),
            (rate(json!({ "path": "login" })), "limits.rates.path"),
            (rate(json!({ "path": "/Login" })), "limits.rates.path"),
            (rate(json!({ "path": "/*a*b*c*d*" })), "limits.rates.path"),
            (rate(json!({ "methods": ["post"] })), "limits.rates.methods"),
            (json!({ "limits": { "ban": { "after": 0 } } }), "limits.ban.after"),
            (json!({ "limits": { "ban": { "after": 1, "for_s": 2_592_001 } } }), "limits.ban.for_s"),
            (json!({ "limits": { "rates": vec![json!({ "requests": 1, "every_s": 1 }); 21] } }), "limits.rates"),
            (json!({ "limits": { "exempt": ["10.0.0.0/33"] } }), "limits"),
        ] {
            let error = SiteSettings::read(document.as_object().unwrap()).unwrap_err();
            assert_eq!(error.field, Some(field), "{document} {}", error.message);
        }
    }
}
