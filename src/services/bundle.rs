//! The proof bundle of a deployment: what an auditor takes home.

use crate::domain::{
    Result,
    access::Actor,
    deployment::{DeploymentId, DeploymentRef},
    site::SiteName,
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
        let (_, manifest) = self.read_manifest(actor, name, of).await?;
        Ok((id, manifest))
    }
}
