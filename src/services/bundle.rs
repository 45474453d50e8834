//! The proof bundle of a deployment: what an auditor takes home.

use crate::{
    base::{blob_dir::BlobDir, hash::Sha256},
    domain::{
        Error, Result,
        access::Actor,
        deployment::{DeploymentId, DeploymentRef},
        site::SiteName,
    },
    proof::{bundle, manifest::Manifest, site_tree},
};

use super::Services;

impl Services {
    /// The bundle of a complete deployment, and its id.
    pub async fn read_bundle(
        &self,
        actor: &Actor,
        name: &SiteName,
        of: DeploymentRef,
    ) -> Result<(DeploymentId, Vec<u8>)> {
        let id = self.get_deployment(actor, name, of).await?.deployment.id;
        let (manifest, _) = self.read_manifest(actor, name, of).await?;
        let blobs = self.blobs.clone();
        Ok((id, self.blocking(move || from_blobs(&blobs, manifest)).await?))
    }
}

/// The bundle of the manifest that has this hash. Without log and anchor it is "pending" to a verifier.
pub fn from_blobs(blobs: &BlobDir, manifest: Sha256) -> Result<Vec<u8>> {
    let bytes = blobs.read_verified(&manifest).map_err(Error::internal)?;
    let root = site_tree::site_root(&Manifest::parse(&bytes)?);
    Ok(bundle::bundle(&bytes, &root))
}
