//! Which Redis the server uses, for its cache and for its queue: two URLs, since a cache may forget and a queue may not.
//!
//! A URL may have a password in it, so it may come from the environment alone, and is printed nowhere.

use std::sync::Arc;

use serde::Deserialize;

use crate::base::secret::Secret;

/// Where the parts are that may live in a Redis. Without a URL a part is embedded.
#[derive(Clone, Debug, Default)]
pub struct Redis {
    /// A second layer of the cache, and what nodes tell one another.
    pub cache_url: Option<Arc<Secret>>,
    /// The jobs.
    pub queue_url: Option<Arc<Secret>>,
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
