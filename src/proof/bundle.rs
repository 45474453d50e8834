//! The proof bundle `chainhost/proof@v1`: what a visitor keeps to check a deployment later (INTEGRITY §5).
//!
//! Today it holds the manifest and the site's root; the log's and the chain's parts come with later versions, and a
//! bundle without them is valid but pending. A part that this version cannot check is named, never taken as checked.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    base::hash::Sha256,
    domain::{Error, Result},
    proof::{manifest::Manifest, site_tree},
};

/// The value of the key `format`.
pub const FORMAT: &str = "chainhost/proof@v1";

/// A bundle whose manifest and root were found to belong together.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The deployment.
    pub manifest: Manifest,
    /// SHA-256 of the manifest's bytes.
    pub sha256: Sha256,
    /// The Keccak root of the site tree.
    pub root: [u8; 32],
    /// Keys of parts that are there and that this version does not check.
    pub unchecked: Vec<&'static str>,
}

/// Why bytes are no valid bundle: the difference decides the exit code.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// They are no bundle of this format at all.
    NotABundle(Error),
    /// The manifest is not canonical, or the root is not that of the manifest.
    Manifest(Error),
}

/// The shape of the bytes. Keys of later versions are known by name, so that others are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: String,
    manifest: String,
    root: String,
    entry: Option<Value>,
    salt: Option<Value>,
    tlog_proof: Option<Value>,
    vkey: Option<Value>,
    witness_policy: Option<Value>,
    anchors: Option<Value>,
    provenance: Option<Value>,
    cid: Option<Value>,
    files: Option<Value>,
}

/// The bundle of a deployment: its manifest's exact bytes and the root of its site tree. JSON with a line end.
pub fn bundle(manifest_bytes: &[u8], root: &[u8; 32]) -> Vec<u8> {
    // Base64 and hex need no escapes, so the text below is JSON.
    let mut text = head();
    data_encoding::BASE64.encode_append(manifest_bytes, &mut text);
    text.push_str(&tail(root));
    text.into_bytes()
}

fn head() -> String {
    format!("{{\"format\":\"{FORMAT}\",\"manifest\":\"")
}

fn tail(root: &[u8; 32]) -> String {
    format!("\",\"root\":\"0x{}\"}}\n", data_encoding::HEXLOWER.encode(root))
}

/// Bytes of the manifest in one piece: whole groups of base64, and little memory for each client that takes its time.
const PIECE_BYTES: u64 = 48 * 1024;

/// The bytes of [`bundle`], piece by piece, so that a manifest of any size needs little memory. The manifest is read
/// where it lies, by the caller: nothing here does IO.
#[derive(Clone, Debug)]
pub struct Pieces {
    manifest_bytes: u64,
    root: [u8; 32],
    at: u64,
    is_ended: bool,
}

impl Pieces {
    /// Of a manifest of so many bytes with this root.
    pub const fn new(manifest_bytes: u64, root: [u8; 32]) -> Self {
        Self { manifest_bytes, root, at: 0, is_ended: false }
    }

    /// Bytes of the whole bundle.
    pub fn size(&self) -> u64 {
        let around = head().len().saturating_add(tail(&self.root).len());
        let groups = self.manifest_bytes.div_ceil(3).saturating_mul(4);
        groups.saturating_add(u64::try_from(around).unwrap_or(u64::MAX))
    }

    /// The next piece; `None` after the last. `read` gives the manifest's bytes from a place on, as many as it is asked
    /// for.
    pub fn next_piece<E>(&mut self, read: impl FnOnce(u64, u64) -> Result<Bytes, E>) -> Result<Option<Bytes>, E> {
        if self.is_ended {
            return Ok(None);
        }
        let mut text = if self.at == 0 { head() } else { String::new() };
        let take = self.manifest_bytes.saturating_sub(self.at).min(PIECE_BYTES);
        let bytes = read(self.at, take)?;
        data_encoding::BASE64.encode_append(&bytes, &mut text);
        self.at = self.at.saturating_add(take);
        if self.at == self.manifest_bytes {
            self.is_ended = true;
            text.push_str(&tail(&self.root));
        }
        Ok(Some(Bytes::from(text)))
    }
}

/// Reads a bundle and checks that its parts belong together.
pub fn parse(bytes: &[u8]) -> Result<Bundle, Refusal> {
    let not = |message: &str| Refusal::NotABundle(Error::invalid("bundle", message));
    let stored: Stored = serde_json::from_slice(bytes).map_err(|error| {
        let message = "This is not a proof bundle of this version.";
        Refusal::NotABundle(Error::invalid("bundle", message).because(error))
    })?;
    if stored.format != FORMAT {
        return Err(not(&format!("The bundle's format must be `{FORMAT}`.")));
    }
    let unchecked = stored.unchecked();
    let wrong = |message: &str| Refusal::Manifest(Error::invalid("bundle_manifest", message));
    let bytes = data_encoding::BASE64
        .decode(stored.manifest.as_bytes())
        .map_err(|_| wrong("The manifest of the bundle is not base64."))?;
    let manifest = Manifest::parse(&bytes).map_err(Refusal::Manifest)?;
    let root = site_tree::site_root(&manifest);
    if stored.root != format!("0x{}", data_encoding::HEXLOWER.encode(&root)) {
        return Err(wrong("The root of the bundle is not the root of its manifest."));
    }
    Ok(Bundle { manifest, sha256: Sha256::of(&bytes), root, unchecked })
}

impl Stored {
    fn unchecked(&self) -> Vec<&'static str> {
        let parts = [
            ("entry", &self.entry),
            ("salt", &self.salt),
            ("tlog_proof", &self.tlog_proof),
            ("vkey", &self.vkey),
            ("witness_policy", &self.witness_policy),
            ("anchors", &self.anchors),
            ("provenance", &self.provenance),
            ("cid", &self.cid),
            ("files", &self.files),
        ];
        parts.into_iter().filter(|(_, part)| part.is_some()).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::build;

    fn manifest() -> Manifest {
        let files = [(b"index.html".to_vec(), 2, Sha256::of(b"hi"))];
        build::manifest(&files, false, |_, _| Ok(Vec::new())).unwrap()
    }

    fn kind(bytes: &[u8]) -> &'static str {
        match parse(bytes) {
            Ok(bundle) if bundle.unchecked.is_empty() => "ok",
            Ok(_) => "unchecked",
            Err(Refusal::NotABundle(_)) => "no bundle",
            Err(Refusal::Manifest(_)) => "manifest",
        }
    }

    #[test]
    fn a_bundle_is_read_back() {
        let made = manifest();
        let bytes = bundle(&made.to_bytes(), &site_tree::site_root(&made));
        let read = parse(&bytes).unwrap();
        assert_eq!((read.sha256, &read.manifest), (made.sha256(), &made));
        assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
    }

    #[test]
    fn the_pieces_are_the_bundle() {
        for size in [0_usize, 1, 2, 3, 49_151, 49_152, 49_153, 98_304, 100_000] {
            let manifest: Vec<u8> = (0..=255).cycle().take(size).collect();
            let mut pieces = Pieces::new(size.try_into().unwrap(), [9; 32]);
            let read = |at: u64, length: u64| {
                let from = usize::try_from(at).unwrap();
                let part = &manifest[from..from + usize::try_from(length).unwrap()];
                Ok::<_, ()>(Bytes::copy_from_slice(part))
            };
            let mut all = Vec::new();
            while let Some(piece) = pieces.next_piece(read).unwrap() {
                assert!(piece.len() < 70_000);
                all.extend(piece);
            }
            assert_eq!(all, bundle(&manifest, &[9; 32]), "{size}");
            assert_eq!(u64::try_from(all.len()), Ok(pieces.size()), "{size}");
        }
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let made = manifest();
        let text = String::from_utf8(bundle(&made.to_bytes(), &site_tree::site_root(&made))).unwrap();
        for (text, wanted) in [
            (text.clone(), "ok"),
            (String::from("{}"), "no bundle"),
            (String::from("no json"), "no bundle"),
            (text.replace("@v1", "@v2"), "no bundle"),
            (text.replace("\"format\"", "\"x\":1,\"format\""), "no bundle"),
            (text.replace("\"format\"", "\"anchors\":[],\"format\""), "unchecked"),
            (text.replace("\"0x", "\"0X"), "manifest"),
            (text.replace("\"root\":\"0x", "\"root\":\"0x00"), "manifest"),
            (text.replace("\"manifest\":\"", "\"manifest\":\"!"), "manifest"),
            (text.replace("\"manifest\":\"", "\"manifest\":\"AAAA"), "manifest"),
        ] {
            assert_eq!(kind(text.as_bytes()), wanted, "{text}");
        }
        let other = bundle(&made.to_bytes(), &[7; 32]);
        assert_eq!(kind(&other), "manifest");
    }
}
