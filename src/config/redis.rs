//! Which Redis the server uses, for its cache and for its queue: two URLs, since a cache may forget and a queue may not.
//!
//! A URL may have a password in it, so it may come from the environment alone, and is printed nowhere.

use std::{path::Path, sync::Arc};

use serde::Deserialize;

use crate::{base::secret::Secret, domain::Result};

use super::database::{public_part, remembered, wrong};

/// Where the parts are that may live in a Redis. Without a URL a part is embedded.
#[derive(Clone, Debug, Default)]
pub struct Redis {
    /// A second layer of the cache, and what nodes tell one another.
    pub cache_url: Option<Arc<Secret>>,
    /// The jobs.
    pub queue_url: Option<Arc<Secret>>,
}

/// The file in a data folder with the URL of the Redis that its queue was moved to.
pub const REMEMBERED: &str = "queue-url";

/// Where the queues at a URL are: hosts, and the number or the name behind them; without user and password.
pub fn place_of(url: &str) -> String {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    match query.split('&').rev().find_map(|it| it.strip_prefix("db=")) {
        Some(number) if number != "0" => format!("{}?db={number}", public_part(url)),
        _ => public_part(url).to_owned(),
    }
}

/// A URL for people, which is one again with user and password: without those, and without those of Sentinels.
pub fn shown(url: &str) -> String {
    let scheme = url.split_once("://").map_or("redis", |(scheme, _)| scheme);
    // SECURITY: as in `public_part`.
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = if query.contains('@') { "" } else { query };
    let told: Vec<&str> = query.split('&').filter(|it| !it.is_empty() && !it.starts_with("sentinel_")).collect();
    let mark = if told.is_empty() { "" } else { "?" };
    format!("{scheme}://{}{mark}{}", public_part(url), told.join("&"))
}

/// The Redis of a server's queue: the one that its settings name, or the one that the queue was moved to.
pub(super) fn choose(configured: Redis, data: &Path) -> Result<Redis> {
    let Some(moved) = remembered(&data.join(REMEMBERED))? else { return Ok(configured) };
    let name = |it: &Secret| place_of(it.expose());
    match &configured.queue_url {
        None => Ok(Redis { queue_url: Some(Arc::new(moved)), ..configured }),
        Some(it) if name(it) == name(&moved) => Ok(configured),
        Some(it) => Err(wrong(&format!(
            "The settings name the queue in {}, while the queue of this server was moved to {}. Correct `queue_url` in [redis] or \
             CHAINHOST_REDIS_QUEUE_URL; or, when both lead to the same Redis or that one is gone for good, remove {}",
            name(it),
            name(&moved),
            data.join(REMEMBERED).display()
        ))),
    }
}

/// The section `[redis]` of the file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    cache_url: Option<Secret>,
    queue_url: Option<Secret>,
}

/// The settings from the file's section and the environment, which wins.
pub(super) fn read(section: Section, env: impl Fn(&str) -> Option<String>) -> Redis {
    let secret = |name: &str, of_file: Option<Secret>| env(name).map(Secret::new).or(of_file).map(Arc::new);
    Redis {
        cache_url: secret("CHAINHOST_REDIS_CACHE_URL", section.cache_url),
        queue_url: secret("CHAINHOST_REDIS_QUEUE_URL", section.queue_url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_remembers_where_its_queue_was_moved() {
        let folder = tempfile::tempdir().unwrap();
        let at = |url: &str| Redis { queue_url: Some(Arc::new(Secret::new(url.to_owned()))), cache_url: None };
        assert!(choose(Redis::default(), folder.path()).unwrap().queue_url.is_none());
        crate::base::files::write_atomic(&folder.path().join(REMEMBERED), b"redis://:hidden@h/1\n", 0o600).unwrap();
        let moved = choose(Redis::default(), folder.path()).unwrap();
        assert_eq!(moved.queue_url.unwrap().expose(), "redis://:hidden@h/1");
        assert_eq!(
            choose(at("redis://u:v@h/1"), folder.path()).unwrap().queue_url.unwrap().expose(),
            "redis://u:v@h/1"
        );
        let error = choose(at("redis://h/2"), folder.path()).unwrap_err();
        assert!(error.message.contains("h/2") && !error.message.contains("hidden"), "{error}");
    }

    #[test]
    fn a_number_behind_the_question_mark_is_another_place() {
        let url = "redis+sentinel://user:word@h:26379/main";
        assert_eq!(place_of(url), "h:26379/main");
        assert_eq!(place_of(&format!("{url}?tls=yes&db=0&sentinel_password=hidden")), "h:26379/main");
        assert_eq!(place_of(&format!("{url}?sentinel_password=hidden&db=2")), "h:26379/main?db=2");
    }

    #[test]
    fn what_is_shown_is_a_url_without_secrets() {
        for (url, wanted) in [
            ("redis://user:word@h:6379/1", "redis://h:6379/1"),
            ("rediss://:w@rd@h?sslrootcert=/ca.pem", "rediss://h?sslrootcert=/ca.pem"),
            ("redis+cluster://u:w@a:1,b:2?tls=yes", "redis+cluster://a:1,b:2?tls=yes"),
            (
                "redis+sentinel://u:w@a:1,b:2/main?sentinel_user=u&db=2&sentinel_password=w",
                "redis+sentinel://a:1,b:2/main?db=2",
            ),
        ] {
            assert_eq!(shown(url), wanted);
        }
    }

    #[test]
    fn the_environment_wins_and_nothing_is_printed() {
        let section: Section = toml::from_str("cache_url = 'redis://a'\nqueue_url = 'redis://b'").unwrap();
        let env = |name: &str| (name == "CHAINHOST_REDIS_QUEUE_URL").then(|| String::from("redis://:word@c"));
        let settings = read(section, env);
        assert_eq!(settings.cache_url.as_ref().unwrap().expose(), "redis://a");
        assert_eq!(settings.queue_url.as_ref().unwrap().expose(), "redis://:word@c");
        assert!(!format!("{settings:?}").contains("redis://"));
        let embedded = read(Section::default(), |_| None);
        assert!(embedded.cache_url.is_none() && embedded.queue_url.is_none());
    }
}
