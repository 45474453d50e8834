//! The proof bundle of a deployment: what an auditor takes home.
//!
//! The root is on the deployment's row, so nothing is built: the bytes come piece by piece from the manifest, which is
//! hashed before the first of them is sent.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use bytes::Bytes;

use crate::{
    domain::{
        Error, Result,
        access::Actor,
        deployment::{DeploymentId, DeploymentRef},
        site::SiteName,
    },
    proof::bundle::Pieces,
};

use super::Services;

/// The bundle of a deployment, to be read. Without log and anchor it is "pending" to a verifier.
#[derive(Debug)]
pub struct Bundle {
    /// The deployment.
    pub deployment: DeploymentId,
    manifest: File,
    pieces: Pieces,
}

impl Bundle {
    /// Bytes in all.
    pub fn size(&self) -> u64 {
        self.pieces.size()
    }

    /// The next piece; `None` after the last. Blocks.
    pub fn next_piece(&mut self) -> io::Result<Option<Bytes>> {
        let manifest = &self.manifest;
        self.pieces.next_piece(|at, length| {
            let mut buffer = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
            manifest.read_exact_at(&mut buffer, at)?;
            Ok(Bytes::from(buffer))
        })
    }
}

impl Services {
    /// The bundle of a complete deployment.
    pub async fn read_bundle(&self, actor: &Actor, name: &SiteName, of: DeploymentRef) -> Result<Bundle> {
        let found = self.get_deployment(actor, name, of).await?.deployment;
        let (Some(hash), Some(root)) = (found.manifest, found.root) else {
            let text = format!("Deployment {} is {} and has no proof.", found.number, found.state.word());
            return Err(Error::conflict("not_complete", text));
        };
        let blobs = self.blobs.clone();
        let opened = self.blocking(move || Ok(blobs.open_verified(&hash)?));
        let (manifest, size) = opened.await?;
        Ok(Bundle { deployment: found.id, manifest, pieces: Pieces::new(size, root) })
    }
}
