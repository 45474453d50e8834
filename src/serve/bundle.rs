//! The proof bundle of what a host shows, at `/.well-known/chainhost/proof/<deployment>`.
//!
//! Anybody may ask for it, so it costs what a file costs: the root of a site tree is made once, by one at a time and for
//! all who wait, and kept; the rest is streamed from the verified manifest. No bundle is ever whole in memory.

use std::sync::Arc;

use hyper::{
    Method,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue},
    http::request::Parts,
};
use moka::sync::Cache;
use tokio::sync::Semaphore;

use super::{Inner, file, incident::Damage, page::Refusal, snapshot::Served, source};
use crate::{
    base::{blob_dir::BlobDir, flight::Flight, hash::Sha256, tasks::Tasks},
    http::{
        conditional::{self, Outcome},
        pieces,
        respond::{self, Body, Response},
    },
    proof::{bundle::Pieces, manifest::Manifest, site_tree},
};

/// Roots kept: more than a server has live sites and previews that people look at, at some hundred bytes each.
const ROOTS_MAX: u64 = 16_384;

/// What a bundle needs beside the bytes of its manifest.
#[derive(Clone, Copy, Debug)]
struct Known {
    root: [u8; 32],
    manifest_bytes: u64,
}

/// The roots of site trees.
#[derive(Debug)]
pub(super) struct Bundles {
    dir: BlobDir,
    known: Cache<Sha256, Known>,
    makes: Flight<Sha256, Result<Known, Damage>>,
    /// SECURITY: a root takes memory and time by the size of its site; many sites must not take it at once.
    turn: Arc<Semaphore>,
}

impl Bundles {
    pub(super) fn new(dir: BlobDir) -> Self {
        let known = Cache::builder().max_capacity(ROOTS_MAX).build();
        Self { dir, known, makes: Flight::new(), turn: Arc::new(Semaphore::new(1)) }
    }

    async fn known(&self, manifest: Sha256, tasks: &Tasks) -> Result<Known, Damage> {
        if let Some(known) = self.known.get(&manifest) {
            return Ok(known);
        }
        let make = async {
            // Before its turn, so that nobody else waits for it to come.
            source::read(&self.dir, manifest, tasks, move |dir| dir.open_local(&manifest).map(drop))
                .await
                .map_err(|error| Damage::from(&error))?;
            let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| Damage::Unreadable)?;
            if let Some(known) = self.known.get(&manifest) {
                return Ok(known);
            }
            let (dir, kept) = (self.dir.clone(), self.known.clone());
            let made = tasks.blocking(move || {
                // Held until the work is done, also when whoever asked is gone.
                let _turn = turn;
                let known = know(&dir, manifest)?;
                kept.insert(manifest, known);
                Ok(known)
            });
            made.await.unwrap_or(Err(Damage::Unreadable))
        };
        Box::pin(self.makes.join(manifest, make)).await
    }
}

fn know(dir: &BlobDir, manifest: Sha256) -> Result<Known, Damage> {
    let bytes = dir.read_local(&manifest).map_err(|error| Damage::from(&error))?;
    let manifest_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let manifest = Manifest::parse(&bytes).map_err(|_| Damage::NotAManifest)?;
    drop(bytes);
    Ok(Known { root: site_tree::site_root(&manifest), manifest_bytes })
}

/// Answers for the deployment that a host shows.
pub(super) async fn answer(plane: &Inner, served: Served, parts: &Parts) -> Result<Response, Refusal> {
    // One manifest gives one bundle, byte for byte, as long as its format is that of this version.
    let etag = format!("\"{}-proof1\"", served.manifest);
    match conditional::evaluate(&parts.headers, &etag) {
        Outcome::Go => {}
        Outcome::NotModified => return Ok(tagged(respond::empty(hyper::StatusCode::NOT_MODIFIED), &etag)),
        Outcome::Failed => return Err(Refusal::Precondition),
    }
    let known = plane.bundles.known(served.manifest, &plane.tasks).await.map_err(|_| Refusal::Unavailable)?;
    let mut pieces = Pieces::new(known.manifest_bytes, known.root);
    let size = pieces.size();
    let body = if parts.method == Method::HEAD {
        Body::empty()
    } else {
        let content = plane.memory.content(served.manifest, known.manifest_bytes, &plane.tasks).await;
        let content = content.map_err(|_| Refusal::Unavailable)?;
        pieces::body(&plane.tasks, move || pieces.next_piece(|at, length| file::read(&content, at, length)))
    };
    let mut response = tagged(Response::new(body), &etag);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    Ok(response)
}

fn tagged(mut response: Response, etag: &str) -> Response {
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(ETAG, etag);
    }
    response
}
