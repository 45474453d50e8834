//! The job that makes the compressed forms of a deployment's files, right after it was published.
//!
//! Idempotent: a form that is there is not made again. Files of types that do not shrink, small and very large ones, and
//! forms that save too little are left alone.

use serde::Deserialize;

use super::Context;
use crate::{
    base::{
        blob_dir::{BlobDir, BlobError, Coding},
        hash::Sha256,
        limits::{VARIANT_FILE_BYTES_MAX, VARIANT_SAVING_PERCENT_MIN},
    },
    domain::{Result, media_type},
    ports::queue::{Lease, Outcome},
    proof::manifest::Manifest,
};

/// Below this a network packet holds the file anyway.
const SIZE_MIN: u64 = 512;
/// Above this the best levels take too long for what they save.
const BEST_SIZE_MAX: usize = 512 * 1024;

/// Compressed forms of blobs.
type Forms = Vec<(Sha256, Coding)>;

#[derive(Deserialize)]
struct Payload {
    manifest: String,
}

/// Runs the job.
pub(super) async fn run(context: &Context, lease: &Lease) -> Outcome {
    let payload: Payload = match serde_json::from_str(&lease.job.payload) {
        Ok(payload) => payload,
        Err(error) => return Outcome::Cancel { error: format!("The job's payload cannot be read: {error}.") },
    };
    let Ok(manifest) = payload.manifest.parse() else {
        return Outcome::Cancel { error: String::from("The job names no manifest.") };
    };
    let (blobs, tasks, cancelled) = (context.services.blobs.clone(), context.tasks.clone(), lease.cancelled.clone());
    let stop = move || tasks.is_stopping() || cancelled.is_cancelled();
    let made = context.tasks.blocking(move || compress(&blobs, manifest, &stop)).await;
    let made = match made {
        Some(Ok(Some((made, forms)))) => match context.services.keep_variants(forms).await {
            Ok(()) => Some(Ok(Some(made))),
            Err(error) => Some(Err(error)),
        },
        Some(Ok(None)) => Some(Ok(None)),
        Some(Err(error)) => Some(Err(error)),
        None => None,
    };
    match made {
        Some(Ok(Some(0))) => Outcome::Done,
        Some(Ok(Some(_))) => {
            // The next snapshot looks again which forms there are.
            match context.services.look_again().await {
                Ok(()) => Outcome::Done,
                Err(error) => super::failed(error),
            }
        }
        Some(Ok(None)) => Outcome::Release,
        Some(Err(error)) => {
            tracing::warn!(%error, job = %lease.job.id, "compressing failed");
            super::failed(error)
        }
        None => {
            Outcome::Retry { error: String::from("Compressing broke off. The log has the reason."), after_ms: None }
        }
    }
}

/// How many forms were made, and all that are there; `None` when told to stop before the end.
fn compress(blobs: &BlobDir, manifest: Sha256, stop: &dyn Fn() -> bool) -> Result<Option<(usize, Forms)>> {
    let bytes = match blobs.read_verified(&manifest) {
        Ok(bytes) => bytes,
        // Pruned meanwhile: nothing is left to do.
        Err(BlobError::Missing) => return Ok(Some((0, Vec::new()))),
        Err(error) => return Err(error.into()),
    };
    let (mut made, mut forms) = (0, Vec::new());
    for entry in Manifest::parse(&bytes)?.entries() {
        let fits = (SIZE_MIN..=VARIANT_FILE_BYTES_MAX).contains(&entry.size);
        if !fits || !media_type::is_compressible(&entry.media_type) {
            continue;
        }
        let is_there = |coding: &Coding| blobs.variant_size(&entry.sha256, *coding).is_some();
        if let Some(home) = blobs.home()
            && !Coding::ALL.iter().any(is_there)
        {
            // Another server may have made them.
            home.fetch_variants_blocking(entry.sha256);
        }
        for coding in Coding::ALL {
            if stop() {
                return Ok(None);
            }
            if is_there(&coding) {
                forms.push((entry.sha256, coding));
            } else if make(blobs, &entry.sha256, coding)? {
                made += 1;
                forms.push((entry.sha256, coding));
            }
        }
    }
    Ok(Some((made, forms)))
}

/// Makes one form; `false` when it saves too little or the blob is not there to be read.
pub(super) fn make(blobs: &BlobDir, hash: &Sha256, coding: Coding) -> Result<bool> {
    let bytes = match blobs.read_verified(hash) {
        Ok(bytes) => bytes,
        Err(error @ BlobError::Away(_)) => return Err(error.into()),
        // A damaged blob is the data plane's incident, not this job's failure.
        Err(_) => return Ok(false),
    };
    let packed = encode(&bytes, coding)?;
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length(&packed).saturating_mul(100) > length(&bytes).saturating_mul(100 - VARIANT_SAVING_PERCENT_MIN) {
        return Ok(false);
    }
    blobs.put_variant(hash, coding, &packed)?;
    Ok(true)
}

fn encode(bytes: &[u8], coding: Coding) -> Result<Vec<u8>> {
    let best = bytes.len() <= BEST_SIZE_MAX;
    let mut packed = Vec::with_capacity(bytes.len() / 2);
    match coding {
        Coding::Brotli => {
            let quality = if best { 9 } else { 5 };
            let params = brotli::enc::BrotliEncoderParams { quality, lgwin: 22, ..Default::default() };
            brotli::BrotliCompress(&mut &*bytes, &mut packed, &params)?;
        }
        Coding::Zstd => {
            packed = zstd::encode_all(bytes, if best { 19 } else { 9 })?;
        }
        Coding::Gzip => {
            let level = flate2::Compression::new(if best { 9 } else { 6 });
            let mut encoder = flate2::write::GzEncoder::new(packed, level);
            std::io::Write::write_all(&mut encoder, bytes)?;
            packed = encoder.finish()?;
        }
    }
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn forms_decode_to_the_blob_and_are_made_when_they_save() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobDir::open(folder.path()).unwrap();
        let text = b"all the same words again and again. ".repeat(100);
        let hash = blobs.put(&text).unwrap();
        for coding in Coding::ALL {
            assert!(make(&blobs, &hash, coding).unwrap());
        }
        let (packed, _) = blobs.variant(&hash, Coding::Gzip).unwrap().unwrap();
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, text);
        let noise: Vec<u8> = (0..64).flat_map(|_| crate::base::random::bytes::<32>()).collect();
        let hash = blobs.put(&noise).unwrap();
        assert!(!make(&blobs, &hash, Coding::Zstd).unwrap());
    }
}
