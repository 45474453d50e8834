//! The blob port: objects by name in a store somewhere else, which several servers may share.
//!
//! An object has the bytes of the file of the same name in a [`crate::base::blob_dir::BlobDir`]; a variant has its digest
//! behind it. A put is whole or not at all, and durable when it is answered; putting again replaces, and makes the object
//! new for [`Found::written_ms`]. A get may give wrong bytes: whoever takes them in hashes them. An engine has its own
//! time limits and tries a request that failed again a few times; what it says then is [`StoreError::Away`].

use std::{fmt, pin::Pin};

use bytes::Bytes;
use tokio_stream::Stream;

use crate::base::{blob_dir::Coding, hash::Sha256};

/// The name of an object of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A blob.
    Blob(Sha256),
    /// A compressed form of a blob.
    Variant(Sha256, Coding),
}

impl Name {
    /// The blob that it is, or is a form of.
    pub const fn hash(&self) -> Sha256 {
        match self {
            Self::Blob(hash) | Self::Variant(hash, _) => *hash,
        }
    }

    /// Reads what `Display` wrote; `None` for everything else, which is not ours.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once('/')?;
        let (folder, file) = rest.split_once('/')?;
        let (hex, ending) = file.split_once('.').map_or((file, None), |(hex, ending)| (hex, Some(ending)));
        let hash: Sha256 = hex.parse().ok()?;
        if hex.get(..2) != Some(folder) {
            return None;
        }
        match (kind, ending) {
            ("blobs", None) => Some(Self::Blob(hash)),
            ("variants", Some(ending)) => {
                Coding::ALL.into_iter().find(|it| it.extension() == ending).map(|it| Self::Variant(hash, it))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Name {
    /// `blobs/ab/<hex>` and `variants/ab/<hex>.zst`, as in a folder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = self.hash().hex();
        let folder = hex.get(..2).unwrap_or_default();
        match self {
            Self::Blob(_) => write!(f, "blobs/{folder}/{hex}"),
            Self::Variant(_, coding) => write!(f, "variants/{folder}/{hex}.{}", coding.extension()),
        }
    }
}

/// What a store says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its bytes.
    pub size: u64,
    /// When it was last put, by the store's clock (milliseconds since 1970).
    pub written_ms: i64,
}

/// Why a store did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// There is no such object.
    Missing,
    /// It answers, and refuses: the key, the secret or the bucket is wrong. For people.
    Refused(String),
    /// It does not answer, or breaks off, or is overloaded. For the log.
    Away(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such object"),
            Self::Refused(why) | Self::Away(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StoreError {}

/// What an engine answers with.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The bytes of an object in pieces.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// The objects of ours below a folder. Others are passed over.
pub type Listed = Pin<Box<dyn Stream<Item = Result<(Name, Found), StoreError>> + Send>>;

/// A large object on its way into a store. Dropped without [`LargePut::finish`], nothing of it can be seen.
pub trait LargePut: Send {
    /// The next part: at least 5 MiB, but for the last.
    fn part(&mut self, bytes: Bytes) -> Answer<'_, ()>;
    /// Makes the object of its parts.
    fn finish(&mut self) -> Answer<'_, ()>;
    /// Gives the parts up, so that they take no space.
    fn abort(&mut self) -> Answer<'_, ()>;
}

/// An engine.
pub trait BlobStore: Send + Sync {
    /// Where it is, for people, without keys.
    fn place(&self) -> String;
    /// The bytes of an object.
    fn get(&self, name: Name) -> Answer<'_, Pieces>;
    /// Keeps an object whole.
    fn put(&self, name: Name, bytes: Bytes) -> Answer<'_, ()>;
    /// Keeps a large object part by part.
    fn put_large(&self, name: Name) -> Answer<'_, Box<dyn LargePut>>;
    /// What is there under a name.
    fn head(&self, name: Name) -> Answer<'_, Option<Found>>;
    /// All blobs and variants, page by page as they are asked for.
    fn list(&self) -> Listed;
    /// Removes objects. Fine when they are gone already.
    fn delete(&self, names: Vec<Name>) -> Answer<'_, ()>;
    /// Whose store it is: the text of its mark; `None` without one.
    fn mark(&self) -> Answer<'_, Option<String>>;
    /// Marks it, unless it is marked already: what counts is what [`BlobStore::mark`] says then. Refused when it has objects that are not ours
    /// to share.
    fn set_mark(&self, text: String) -> Answer<'_, ()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        let hash = Sha256::of(b"a");
        for name in [Name::Blob(hash), Name::Variant(hash, Coding::Brotli), Name::Variant(hash, Coding::Gzip)] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        let hex = hash.hex();
        let folder = &hex[..2];
        for other in [
            String::new(),
            hex.clone(),
            format!("blobs/{hex}"),
            format!("blobs/00/{hex}"),
            format!("blobs/{folder}/{hex}.gz"),
            format!("blobs/{folder}/{hex}/x"),
            format!("blobs/{folder}/{}", hex.to_uppercase()),
            format!("variants/{folder}/{hex}"),
            format!("variants/{folder}/{hex}.zip"),
            format!("x/blobs/{folder}/{hex}"),
        ] {
            assert_eq!(Name::parse(&other), None, "{other}");
        }
    }
}
