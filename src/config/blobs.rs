//! Where the bytes of sites live: in the data folder, in a folder that several servers share, or in a bucket of an object
//! store that speaks the S3 protocol.
//!
//! The keys of a bucket come from the usual variables of AWS or from the file, and are printed nowhere.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::{
    base::{secret::Secret, units::ByteSize},
    domain::{Error, Result},
};

use super::database::remembered;

/// The region when none is named: what stores that know no regions take.
const REGION: &str = "us-east-1";

/// Where blobs live.
#[derive(Clone, Debug, Default)]
pub struct Blobs {
    /// A folder that other servers may use too, instead of the data folder.
    pub folder: Option<PathBuf>,
    /// A bucket; the data folder then is a cache of it.
    pub bucket: Option<Bucket>,
    /// Bytes of that cache; `None`: the smaller of a tenth of the disk and 10 GiB.
    pub cache_bytes: Option<u64>,
}

/// A bucket of an object store, or a part of one.
#[derive(Clone)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What the names of all our objects begin with; empty, or `a/b` without slashes at the ends.
    pub prefix: String,
    /// `http://host:port`; `None`: the one of AWS for the region.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether the bucket stands in the path and not in the host.
    pub path_style: bool,
    /// The public part of the key; empty when none is set.
    pub access_key_id: String,
    /// The secret part; empty when none is set.
    pub secret_access_key: Arc<Secret>,
    /// Of temporary keys.
    pub session_token: Option<Arc<Secret>>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({self})")
    }
}

impl fmt::Display for Bucket {
    /// Without keys: `s3://name/prefix at http://host:port`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.name, self.prefix)?;
        if let Some(endpoint) = &self.endpoint { write!(f, " at {endpoint}") } else { Ok(()) }
    }
}

/// The section `[blobs]` of the file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    url: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<Secret>,
    cache_bytes: Option<String>,
    folder: Option<PathBuf>,
}

/// The file in a data folder with the URL of the bucket that its bytes were moved to.
pub const REMEMBERED: &str = "blobs-url";

impl Bucket {
    /// The bucket at a URL, with the keys of the environment.
    #[expect(clippy::disallowed_methods, reason = "the one door for the keys of a bucket that no setting names yet")]
    pub fn at(url: &str) -> Result<Self> {
        let bucket = bucket(url, Section::default(), |name| std::env::var(name).ok().filter(|it| !it.is_empty()))?;
        bucket.check_keys()?;
        Ok(bucket)
    }

    /// Whether both parts of the key are set. A server starts without them as it does with wrong ones: it serves what it has on its
    /// disk, and says what is wrong.
    pub fn check_keys(&self) -> Result<()> {
        match self.lacks() {
            Some(what) => Err(wrong(&format!("a bucket needs its key and secret: set {what}"))),
            None => Ok(()),
        }
    }

    /// What must still be set, for people.
    pub fn lacks(&self) -> Option<&'static str> {
        match (self.access_key_id.is_empty(), self.secret_access_key.expose().is_empty()) {
            (false, false) => None,
            (true, false) => Some("AWS_ACCESS_KEY_ID in the server's environment, or `access_key_id` in [blobs]"),
            (false, true) => {
                Some("AWS_SECRET_ACCESS_KEY in the server's environment, or `secret_access_key` in [blobs]")
            }
            (true, true) => Some(
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the server's environment, or `access_key_id` and \
                 `secret_access_key` in [blobs]",
            ),
        }
    }
}

/// Bucket, prefix and endpoint of a URL, without what else is behind its `?`.
fn place(url: &str) -> String {
    let (bucket, query) = url.split_once('?').unwrap_or((url, ""));
    let bucket = bucket.trim_end_matches('/');
    match query.split('&').rev().find_map(|it| it.strip_prefix("endpoint=")) {
        Some(at) => format!("{bucket}?endpoint={}", percent_decode_str(at).decode_utf8_lossy().trim_end_matches('/')),
        None => bucket.to_owned(),
    }
}

/// The section with the bucket that the bytes were moved to, unless it names the same one.
pub(super) fn recall(mut section: Section, env: impl Fn(&str) -> Option<String>, data: &Path) -> Result<Section> {
    let Some(moved) = remembered(&data.join(REMEMBERED))? else { return Ok(section) };
    let configured = env("CHAINHOST_BLOBS_URL").or_else(|| section.url.clone());
    let configured = configured.or_else(|| env("CHAINHOST_BLOBS_FOLDER"));
    let configured = configured.or_else(|| section.folder.as_ref().map(|it| it.display().to_string()));
    match configured {
        None => section.url = Some(moved.expose().to_owned()),
        Some(it) if place(&it) == place(moved.expose()) => {}
        Some(_) => {
            return Err(wrong(&format!(
                "another place is named, while the bytes of this server were moved to {}. Correct the settings; or, when both lead \
                 to the same bytes, remove {}",
                place(moved.expose()),
                data.join(REMEMBERED).display()
            )));
        }
    }
    Ok(section)
}

/// The settings from the file's section and the environment, which wins.
pub(super) fn read(section: Section, env: impl Fn(&str) -> Option<String>) -> Result<Blobs> {
    let url = env("CHAINHOST_BLOBS_URL").or_else(|| section.url.clone());
    let folder = env("CHAINHOST_BLOBS_FOLDER").map(PathBuf::from).or_else(|| section.folder.clone());
    let cache_bytes = section
        .cache_bytes
        .as_deref()
        .map(|text| text.parse::<ByteSize>().map(|it| it.0).map_err(|error| wrong(&format!("`cache_bytes` {error}"))));
    let cache_bytes = cache_bytes.transpose()?;
    if folder.as_ref().is_some_and(|it| !it.is_absolute()) {
        return Err(wrong("`folder` must begin with `/`"));
    }
    let Some(url) = url else {
        if section.access_key_id.is_some() || section.secret_access_key.is_some() || cache_bytes.is_some() {
            return Err(wrong(
                "`access_key_id`, `secret_access_key` and `cache_bytes` are for a bucket: give its `url`",
            ));
        }
        return Ok(Blobs { folder, bucket: None, cache_bytes });
    };
    if folder.is_some() {
        return Err(wrong("give either `url`, for a bucket, or `folder`, for a shared folder"));
    }
    let bucket = Some(bucket(&url, section, env)?);
    Ok(Blobs { folder, bucket, cache_bytes })
}

/// Reads `s3://bucket/prefix?endpoint=http://…&region=…&path_style=…`.
fn bucket(url: &str, section: Section, env: impl Fn(&str) -> Option<String>) -> Result<Bucket> {
    const SHAPE: &str = "write s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION";
    let rest = url.strip_prefix("s3://").ok_or_else(|| wrong(&format!("the URL must begin with s3://; {SHAPE}")))?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
    let plain = |it: &str| it.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if name.len() < 3 || !plain(name) {
        // SECURITY: a text that may hold a password, as in s3://key:secret@bucket, is not shown.
        return Err(wrong(&format!("the URL has no name of a bucket, or one with other characters; {SHAPE}")));
    }
    let prefix = prefix.trim_matches('/');
    if prefix.split('/').any(|it| !plain(it) || matches!(it, "." | "..")) || prefix.contains("//") {
        return Err(wrong("the prefix of a bucket has letters, digits, `-`, `_`, `.` and `/` alone"));
    }
    let (mut endpoint, mut region, mut path_style) = (None, None, None);
    for pair in query.split('&').filter(|it| !it.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8().map_err(|_| wrong("the URL is not UTF-8"))?.into_owned();
        match key {
            "endpoint" if is_endpoint(&value) => endpoint = Some(value),
            "region" if !value.is_empty() => region = Some(value),
            "path_style" if value == "true" || value == "false" => path_style = Some(value == "true"),
            // SECURITY: it may hold a key, as in http://key:secret@host.
            "endpoint" => {
                return Err(wrong(
                    "the endpoint in the URL must be http://HOST:PORT or https://HOST:PORT, with nothing behind",
                ));
            }
            "path_style" => return Err(wrong("`path_style` in the URL is `true` or `false`")),
            _ => return Err(wrong("the URL takes `endpoint`, `region` and `path_style` behind `?`")),
        }
    }
    let access_key_id = env("AWS_ACCESS_KEY_ID").or(section.access_key_id);
    let secret = env("AWS_SECRET_ACCESS_KEY").map(Secret::new).or(section.secret_access_key);
    Ok(Bucket {
        name: name.to_owned(),
        prefix: prefix.to_owned(),
        path_style: path_style.unwrap_or(endpoint.is_some()),
        endpoint: endpoint.map(|it| it.trim_end_matches('/').to_owned()),
        region: region.or_else(|| env("AWS_REGION")).unwrap_or_else(|| String::from(REGION)),
        access_key_id: access_key_id.unwrap_or_default(),
        secret_access_key: Arc::new(secret.unwrap_or_else(|| Secret::new(String::new()))),
        session_token: env("AWS_SESSION_TOKEN").map(Secret::new).map(Arc::new),
    })
}

/// Whether a text is a scheme, a host and perhaps a port, and no more.
fn is_endpoint(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let Some(authority) = uri.authority() else { return false };
    // SECURITY: before the host there may be a user with a password, and the user may have the host's name.
    if authority.as_str().contains('@') {
        return false;
    }
    // A port that is not one is left in the authority unread.
    let Some(port) = authority.as_str().strip_prefix(authority.host()) else { return false };
    let is_port = port.is_empty() || authority.port_u16().is_some_and(|it| it != 0);
    matches!(uri.scheme_str(), Some("http" | "https"))
        && !authority.host().is_empty()
        && is_port
        && uri.path_and_query().is_none_or(|it| it.as_str() == "/")
}

fn wrong(why: &str) -> Error {
    Error::invalid("config", format!("[blobs] or CHAINHOST_BLOBS_URL: {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = "access_key_id = 'one'\nsecret_access_key = 'hidden'\n";

    fn read(text: &str, env: &[(&str, &str)]) -> Result<Blobs> {
        let get = |name: &str| env.iter().find(|it| it.0 == name).map(|it| it.1.to_owned());
        super::read(toml::from_str(text).unwrap(), get)
    }

    #[test]
    fn another_endpoint_is_another_place() {
        let url = "s3://sites/a?endpoint=http://h:1&region=r";
        assert_eq!(place(url), "s3://sites/a?endpoint=http://h:1");
        assert_eq!(place(url), place("s3://sites/a/?path_style=true&endpoint=http%3A%2F%2Fh:1/"));
        assert_ne!(place(url), place("s3://sites/a?endpoint=http://h:2"));
        assert_eq!(place("s3://sites/a/?region=r"), "s3://sites/a");
    }

    #[test]
    fn a_bucket_is_read_from_file_and_environment() {
        assert!(read("", &[]).unwrap().bucket.is_none());
        let text =
            format!("{KEYS}url = 's3://sites/a/b/?endpoint=http://127.0.0.1:9/&region=eu'\ncache_bytes = '1 GiB'");
        let file = read(&text, &[]).unwrap();
        let bucket = file.bucket.as_ref().unwrap();
        assert_eq!((bucket.name.as_str(), bucket.prefix.as_str(), bucket.region.as_str()), ("sites", "a/b", "eu"));
        assert_eq!((bucket.endpoint.as_deref(), bucket.path_style), (Some("http://127.0.0.1:9"), true));
        assert_eq!(file.cache_bytes, Some(1 << 30));
        assert!(!format!("{file:?}").contains("hidden"));
        let env = [
            ("CHAINHOST_BLOBS_URL", "s3://other"),
            ("AWS_ACCESS_KEY_ID", "two"),
            ("AWS_SECRET_ACCESS_KEY", "more"),
            ("AWS_REGION", "north"),
        ];
        let both = read(&text, &env).unwrap().bucket.unwrap();
        assert_eq!((both.name.as_str(), both.prefix.as_str(), both.path_style), ("other", "", false));
        assert_eq!((both.access_key_id.as_str(), both.region.as_str()), ("two", "north"));
        assert_eq!(both.secret_access_key.expose(), "more");
    }

    #[test]
    fn the_folder_remembers_where_its_bytes_were_moved() {
        let data = tempfile::tempdir().unwrap();
        let recalled = |text: &str| recall(toml::from_str(text).unwrap(), |_| None, data.path());
        assert!(recalled("").unwrap().url.is_none());
        crate::base::files::write_atomic(&data.path().join(REMEMBERED), b"s3://sites/a?region=eu\n", 0o600).unwrap();
        assert_eq!(recalled("").unwrap().url.unwrap(), "s3://sites/a?region=eu");
        assert_eq!(recalled("url = 's3://sites/a/'").unwrap().url.unwrap(), "s3://sites/a/");
        for other in ["url = 's3://sites/b'", "folder = '/srv'"] {
            assert!(recalled(other).err().unwrap().message.contains("s3://sites/a"), "{other}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_sentence_that_shows_no_secret() {
        for (text, word) in [
            ("url = 'https://sites'", "s3://"),
            ("url = 's3://key:hidden@sites'", "name of a bucket"),
            ("url = 's3://sites/../x'", "prefix"),
            ("url = 's3://sites/a//b'", "prefix"),
            ("url = 's3://sites?endpoint=host'", "http://"),
            ("url = 's3://sites?endpoint=ftp://host'", "http://"),
            ("url = 's3://sites?endpoint=http://'", "http://"),
            ("url = 's3://sites?endpoint=http://127.0.0.1:58334x'", "http://"),
            ("url = 's3://sites?endpoint=http://h:70000'", "http://"),
            ("url = 's3://sites?endpoint=http://h:0'", "http://"),
            ("url = 's3://sites?endpoint=http://key:hidden@h:1'", "http://"),
            ("url = 's3://sites?endpoint=http://h:hidden@h:1'", "http://"),
            ("url = 's3://sites?endpoint=http://h@h:1'", "http://"),
            ("url = 's3://sites?endpoint=http://h/path'", "http://"),
            ("url = 's3://sites?endpoint=http://h%20x'", "http://"),
            ("url = 's3://sites?path_style=1'", "path_style"),
            ("url = 's3://sites?other=1'", "endpoint"),
            ("url = 's3://sites'\nfolder = '/srv'", "either"),
            ("url = 's3://sites'\ncache_bytes = 'much'", "cache_bytes"),
        ] {
            let error = read(&format!("{KEYS}{text}"), &[]).unwrap_err();
            assert!(error.message.contains(word) && !error.message.contains("hidden"), "{text}: {error}");
        }
        for (env, word) in [
            (&[][..], "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
            (&[("AWS_ACCESS_KEY_ID", "one")][..], "set AWS_SECRET_ACCESS_KEY"),
            (&[("AWS_SECRET_ACCESS_KEY", "hidden")][..], "set AWS_ACCESS_KEY_ID in"),
        ] {
            let error = read("url = 's3://sites'", env).unwrap().bucket.unwrap().check_keys().unwrap_err();
            assert!(error.message.contains(word) && !error.message.contains("hidden"), "{error}");
        }
        assert!(read("folder = 'srv'", &[]).unwrap_err().message.contains('/'));
        assert!(read("cache_bytes = '1 GiB'", &[]).unwrap_err().message.contains("url"));
    }
}
