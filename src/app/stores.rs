//! Says where the data of this server is: engine and place, never a user, a password or a key.

use crate::{base::secret::Secret, config::database::public_part, services::stores::Stores};

use super::ground::{Folder, Wish};

/// Where the stores of a folder are that is opened as wished.
pub(super) fn describe(folder: &Folder, wish: &Wish) -> Stores {
    let file = |engine: &str, name: &str| format!("{engine}, {name} in the data folder");
    let redis = |url: &Secret| at("Redis", url.expose());
    let files = match &folder.bucket {
        Some(bucket) => format!("S3, {}; kept at hand in {}", public(bucket), folder.blobs.root().display()),
        None if folder.blobs.is_shared() => {
            format!("{}, which other nodes share", folder.blobs.root().display())
        }
        None => folder.path.join("blobs").display().to_string(),
    };
    let in_bucket = folder.bucket.is_some();
    Stores {
        database: match &wish.postgres {
            Some(it) => at("PostgreSQL", it.url.expose()),
            None => file("SQLite", "chainhost.db"),
        },
        queue: wish.queue_url.as_ref().map_or_else(|| file("redb", super::queues::FILE), |it| redis(it)),
        cache: match &wish.cache_url {
            Some(it) => format!("{}, behind the memory of this process", redis(it)),
            None => String::from("The memory of this process"),
        },
        files,
        files_are_path: !in_bucket && !folder.blobs.is_shared(),
        in_bucket,
    }
}

/// A bucket, without its endpoint where that has a user and a password in it.
fn public(bucket: &str) -> &str {
    match bucket.split_once(" at ") {
        Some((name, endpoint)) if endpoint.contains('@') => name,
        _ => bucket,
    }
}

/// Engine, host and database of a URL; the engine alone where it cannot be told for certain what in it is secret.
fn at(engine: &str, url: &str) -> String {
    let Some((_, rest)) = url.split_once("://") else { return engine.to_owned() };
    // SECURITY: an `@` behind a `?` is in a setting, or the `?` is in a password that nobody has escaped.
    if rest.split_once('?').is_some_and(|(_, settings)| settings.contains('@')) {
        return engine.to_owned();
    }
    match public_part(url) {
        "" => engine.to_owned(),
        place => format!("{engine}, at {place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{at, public};

    #[test]
    fn a_place_has_no_secret_in_it() {
        for (url, wanted) in [
            ("postgres://ann:secret@db.example.org:5432/hosting?sslmode=require", "X, at db.example.org:5432/hosting"),
            ("postgres://ann:se@cret@db.example.org/hosting", "X, at db.example.org/hosting"),
            ("redis://:secret@cache.example.org:6379/2", "X, at cache.example.org:6379/2"),
            ("rediss://cache.example.org", "X, at cache.example.org"),
            ("redis+sentinel://a:1,b:2/main", "X, at a:1,b:2/main"),
            ("postgres://db.example.org/hosting?password=secret", "X, at db.example.org/hosting"),
            ("postgres://ann:sec?ret@db.example.org/hosting", "X"),
            ("postgres://db.example.org/hosting?password=sec@ret", "X"),
            ("host=db.example.org password=secret", "X"),
        ] {
            assert_eq!(at("X", url), wanted);
        }
        assert_eq!(public("s3://quay/sites at http://127.0.0.1:9"), "s3://quay/sites at http://127.0.0.1:9");
        assert_eq!(public("s3://quay/sites at http://ann:secret@127.0.0.1:9"), "s3://quay/sites");
    }
}
