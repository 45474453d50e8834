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
    shown(&services.get_site_settings(&actor, &SiteName::parse(&name)?).await?, Vec::new())
}

pub(super) async fn change(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
    body: Body,
) -> Answer {
    let patch = read(&whole(body, PATCH_BYTES_MAX).await?)?;
    let name = SiteName::parse(&name)?;
    let settings = services.change_site_settings(&actor, &name, patch).await?;
    // They hold by now: whoever sent them must not hear of a failure.
    let warnings = services.doubts_of_settings(&actor, &name, &settings).await.unwrap_or_default();
    shown(&settings, warnings)
}

/// What is set; what is not there is as it is by default. Behind a change, with what of it does not do what it seems to.
fn shown(settings: &SiteSettings, warnings: Vec<String>) -> Answer {
    let mut shown = settings.shown();
    if !warnings.is_empty() {
        shown.insert(String::from("warnings"), warnings.into());
    }
    ok(&shown)
}
