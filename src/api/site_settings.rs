//! `/api/v1/sites/{name}/settings`: what people set for a site.

use axum::{
    body::Body,
    extract::{Path, State},
};

use super::{
    answer::{Answer, ok},
    caller::{Caller, read, whole},
};
use crate::{
    domain::{site::SiteName, site_settings::SiteSettings},
    services::Services,
};

/// Largest patch: a document with room for what it takes away.
const PATCH_BYTES_MAX: usize = 128 * 1_024;

pub(super) async fn get(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
) -> Answer {
    shown(&services.get_site_settings(&actor, &SiteName::parse(&name)?).await?)
}

pub(super) async fn change(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
    body: Body,
) -> Answer {
    let patch = read(&whole(body, PATCH_BYTES_MAX).await?)?;
    shown(&services.change_site_settings(&actor, &SiteName::parse(&name)?, patch).await?)
}

/// What is set; what is not there is as it is by default.
fn shown(settings: &SiteSettings) -> Answer {
    ok(&settings.document())
}
