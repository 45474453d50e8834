//! The first contact: whoever opens the printed link makes the first user. There is no other way in.

use askama::Template;
use serde::Deserialize;

use super::{
    form::Problems,
    gate::Answer,
    shell::{Alone, Notice},
    sign_in,
    visit::{Asked as Asking, Fields, Stranger, again, go, show},
};
use crate::{
    base::secret::Secret,
    domain::{Error, Kind, Result},
};

/// The form behind a claim link that works.
#[derive(Debug, Template)]
#[template(path = "claim/claim.html")]
pub(super) struct Claim {
    pub(super) alone: Alone,
    /// The token of the link; sent back with the form.
    pub(super) token: String,
    pub(super) email: String,
    pub(super) problems: Problems,
}

/// The page of a server without an owner, for whoever has no link or an old one.
#[derive(Debug, Template)]
#[template(path = "claim/waiting.html")]
pub(super) struct Waiting {
    pub(super) alone: Alone,
    /// Whether a link was used that does not work.
    pub(super) stale: bool,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    token: String,
}

/// The form behind the printed link, or why there is none.
pub(super) async fn form(stranger: Stranger, Asking(asked): Asking<Asked>) -> Answer {
    if !stranger.services.is_unclaimed().await? {
        return go(&stranger.services, "/sign-in", None);
    }
    if asked.token.is_empty() || !stranger.services.is_claim_good(&asked.token).await? {
        return show(&Waiting { alone: stranger.alone(), stale: !asked.token.is_empty() });
    }
    check_near(&stranger)?;
    show(&Claim { alone: stranger.alone(), token: asked.token, email: String::new(), problems: Problems::none() })
}

#[derive(Deserialize)]
pub(super) struct Sent {
    token: String,
    email: String,
    password: Secret,
}

/// Makes the first user and signs them in.
pub(super) async fn claim(stranger: Stranger, Fields(sent): Fields<Sent>) -> Answer {
    check_near(&stranger)?;
    let services = &stranger.services;
    match services.claim(&sent.token, &sent.email, sent.password, &stranger.origin, &stranger.agent).await {
        Ok(secret) => sign_in::enter(&stranger, &secret, "/", Some(Notice::Claimed)),
        Err(error) if error.kind == Kind::Forbidden => again(&error, &Waiting { alone: stranger.alone(), stale: true }),
        Err(error) if matches!(error.kind, Kind::Invalid | Kind::TooMany) => {
            let problems = Problems::of(&error, &["email", "password"]);
            again(&error, &Claim { alone: stranger.alone(), token: sent.token, email: sent.email, problems })
        }
        Err(error) => Err(error.into()),
    }
}

/// SECURITY: without TLS a password must not cross a network (DECISIONS 17).
fn check_near(stranger: &Stranger) -> Result<()> {
    if stranger.is_near || stranger.scheme == "https" {
        return Ok(());
    }
    let addresses = &stranger.services.addresses;
    let (port, panel) = (addresses.local_port, addresses.local_panel());
    Err(Error::forbidden(format!(
        "This address has no TLS, so your password would cross the network in the clear. Go through SSH instead: \
         ssh -L {port}:127.0.0.1:{port} YOU@THIS-SERVER, then open the link with {panel} in place of this address."
    )))
}
