//! Blobs in a bucket of a store that speaks the S3 protocol (feature `s3`).
//!
//! Guarantees: every put carries the SHA-256 of its bytes in its signature and as a checksum, so that a store that checks
//! either takes no others. A request has a time limit, and is tried again a few times with growing pauses when the store
//! fails or is overloaded. The secret is in no message and in no `Debug`.
//!
//! Only names of our shape below the prefix are listed or deleted. Never asks for credentials anywhere: they are settings.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::{
    BackoffConfig, ClientOptions, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, Checksum},
    path::Path,
};
use tokio_stream::StreamExt as _;

use crate::{
    config::blobs::Bucket,
    domain::{Error, Result},
    ports::blobs::{Answer, BlobStore, Found, LargePut, Listed, Name, Pieces, StoreError},
};

/// The object that says whose the bucket, or the part of it below the prefix, is.
const MARK: &str = "chainhost-instance";
/// A store that takes no connection for so long is down.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// A store that sends nothing for this long is away. Whole transfers have limits of their own.
const REQUEST_MAX: Duration = Duration::from_secs(90);
/// Times that a request is tried again, and for how long in all.
const RETRIES: usize = 3;
const RETRY_MAX: Duration = Duration::from_secs(20);

/// A bucket.
pub struct S3 {
    store: Arc<AmazonS3>,
    prefix: Path,
    place: String,
    /// What of its key is not set.
    lacks: Option<&'static str>,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S3({})", self.place)
    }
}

impl S3 {
    /// A bucket. Asks it nothing yet.
    pub fn new(bucket: &Bucket) -> Result<Arc<Self>> {
        let options = ClientOptions::new()
            .with_connect_timeout(CONNECT_MAX)
            .with_timeout_disabled()
            .with_read_timeout(REQUEST_MAX);
        let backoff =
            BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(3), base: 2.0 };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&bucket.name)
            .with_region(&bucket.region)
            .with_access_key_id(&bucket.access_key_id)
            .with_secret_access_key(bucket.secret_access_key.expose())
            .with_virtual_hosted_style_request(!bucket.path_style)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_retry(RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_MAX })
            .with_client_options(options);
        if let Some(token) = &bucket.session_token {
            builder = builder.with_token(token.expose());
        }
        if let Some(endpoint) = &bucket.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        let wrong = |why: &dyn std::fmt::Display| {
            Error::invalid("blobs_url", format!("The bucket {bucket} cannot be used: {why}."))
        };
        let store = Arc::new(builder.build().map_err(|error| wrong(&error))?);
        let prefix = Path::parse(&bucket.prefix).map_err(|error| wrong(&error))?;
        Ok(Arc::new(Self { store, prefix, place: bucket.to_string(), lacks: bucket.lacks() }))
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), Path::join)
    }

    /// The name below the prefix, when it is one of ours.
    fn name(prefix: &Path, path: &Path) -> Option<Name> {
        let inner = path.as_ref().strip_prefix(prefix.as_ref())?;
        Name::parse(inner.strip_prefix('/').unwrap_or(inner))
    }

    fn wrong(&self, error: object_store::Error) -> StoreError {
        let place = &self.place;
        let refused = |also: &str| {
            StoreError::Refused(match self.lacks {
                None => format!("{place} refuses this key and secret{also}"),
                Some(what) => format!("{place} wants a key and a secret: set {what}"),
            })
        };
        match error {
            object_store::Error::NotFound { source, .. } => {
                // An object that is not there has this kind too; a bucket that is not there says so in its body.
                let text = chain(&*source);
                if text.contains("NoSuchBucket") {
                    return StoreError::Refused(format!("there is no bucket {place}"));
                }
                StoreError::Missing
            }
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                refused(", or the key may not do this")
            }
            other => {
                let text = chain(&other);
                // Some stores answer 400 to a key that they do not know.
                if ["InvalidAccessKeyId", "SignatureDoesNotMatch"].iter().any(|it| text.contains(it)) {
                    return refused("");
                }
                StoreError::Away(format!("{place} does not answer: {text}"))
            }
        }
    }
}

/// An error with all that is behind it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = error.source();
    }
    text.replace(['\n', '\r'], " ").chars().take(600).collect()
}

impl BlobStore for S3 {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn get(&self, name: Name) -> Answer<'_, Pieces> {
        Box::pin(async move {
            let found = self.store.get(&self.path(&name.to_string())).await.map_err(|it| self.wrong(it))?;
            let place = self.place.clone();
            let pieces = found.into_stream().map(move |piece| {
                piece.map_err(|error| StoreError::Away(format!("{place} broke off: {}", chain(&error))))
            });
            let pieces: Pieces = Box::pin(pieces);
            Ok(pieces)
        })
    }

    fn put(&self, name: Name, bytes: Bytes) -> Answer<'_, ()> {
        Box::pin(async move {
            let path = self.path(&name.to_string());
            self.store.put(&path, PutPayload::from(bytes)).await.map_err(|it| self.wrong(it))?;
            Ok(())
        })
    }

    fn put_large(&self, name: Name) -> Answer<'_, Box<dyn LargePut>> {
        Box::pin(async move {
            let path = self.path(&name.to_string());
            let upload = self.store.put_multipart(&path).await.map_err(|it| self.wrong(it))?;
            let large: Box<dyn LargePut> = Box::new(Parts { upload, place: self.place.clone() });
            Ok(large)
        })
    }

    fn head(&self, name: Name) -> Answer<'_, Option<Found>> {
        Box::pin(async move {
            match self.store.head(&self.path(&name.to_string())).await.map_err(|it| self.wrong(it)) {
                Ok(it) => Ok(Some(Found { size: it.size, written_ms: it.last_modified.timestamp_millis() })),
                Err(StoreError::Missing) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn list(&self) -> Listed {
        let (prefix, place) = (self.prefix.clone(), self.place.clone());
        let listed = self.store.list(Some(&self.prefix)).filter_map(move |item| match item {
            Ok(it) => {
                let found = Found { size: it.size, written_ms: it.last_modified.timestamp_millis() };
                Self::name(&prefix, &it.location).map(|name| Ok((name, found)))
            }
            Err(error) => Some(Err(StoreError::Away(format!("{place} cannot be listed: {}", chain(&error))))),
        });
        Box::pin(listed)
    }

    fn delete(&self, names: Vec<Name>) -> Answer<'_, ()> {
        Box::pin(async move {
            let paths: Vec<object_store::Result<Path>> =
                names.iter().map(|it| Ok(self.path(&it.to_string()))).collect();
            let mut deleted = self.store.delete_stream(Box::pin(tokio_stream::iter(paths)));
            while let Some(one) = deleted.next().await {
                match one.map_err(|it| self.wrong(it)) {
                    Ok(_) | Err(StoreError::Missing) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
    }

    fn mark(&self) -> Answer<'_, Option<String>> {
        Box::pin(async move {
            let found = match self.store.get(&self.path(MARK)).await.map_err(|it| self.wrong(it)) {
                Ok(found) => found,
                Err(StoreError::Missing) => return Ok(None),
                Err(error) => return Err(error),
            };
            let bytes = found.bytes().await.map_err(|it| self.wrong(it))?;
            Ok(Some(String::from_utf8_lossy(bytes.get(..bytes.len().min(200)).unwrap_or_default()).trim().to_owned()))
        })
    }

    fn set_mark(&self, text: String) -> Answer<'_, ()> {
        Box::pin(async move {
            // Of another's files nothing is known, so that nothing may be mixed with them.
            if let Some(other) = self.store.list(Some(&self.prefix)).next().await {
                let other = other.map_err(|it| self.wrong(it))?;
                if other.location == self.path(MARK) {
                    return Ok(());
                }
                let why = format!(
                    "{} has objects that are not ours, such as `{}`: give an empty bucket, or a prefix of its own",
                    self.place, other.location
                );
                return Err(StoreError::Refused(why));
            }
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let put = self.store.put_opts(&self.path(MARK), PutPayload::from(text), options).await;
            match put {
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(()),
                other => other.map(drop).map_err(|it| self.wrong(it)),
            }
        })
    }
}

/// A multipart upload.
struct Parts {
    upload: Box<dyn MultipartUpload>,
    place: String,
}

impl Parts {
    fn away(place: &str, error: &object_store::Error) -> StoreError {
        StoreError::Away(format!("{place} did not take a large file: {}", chain(error)))
    }
}

impl LargePut for Parts {
    fn part(&mut self, bytes: Bytes) -> Answer<'_, ()> {
        let sent = self.upload.put_part(PutPayload::from(bytes));
        Box::pin(async move { sent.await.map_err(|it| Self::away(&self.place, &it)) })
    }

    fn finish(&mut self) -> Answer<'_, ()> {
        Box::pin(async move {
            let ended = self.upload.complete().await;
            ended.map(drop).map_err(|it| Self::away(&self.place, &it))
        })
    }

    fn abort(&mut self) -> Answer<'_, ()> {
        Box::pin(async move { self.upload.abort().await.map_err(|it| Self::away(&self.place, &it)) })
    }
}
