//! A new deployment from the panel: an archive in a form, streamed to the services as it comes.

use axum::extract::{
    Multipart, Path,
    multipart::{Field, MultipartError},
};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    super::{
        form::Problems,
        gate::Answer,
        shell::{Crumb, Notice, Place},
        visit::{Visit, again, go, show},
    },
    Deploy,
};
use crate::{
    base::limits,
    domain::{
        Error, Kind, Result,
        access::Right,
        deployment::{Deployment as Stored, Source},
        site::SiteName,
    },
    services::uploads::Request,
};

/// The fields of a form with an archive. The archive is last in our forms, so they are known when it comes.
#[derive(Clone, Debug)]
pub(in super::super) struct Upload {
    /// The name of a site that is to be made.
    pub(in super::super) name: String,
    message: String,
    publish: bool,
}

/// What became of a form with an archive.
#[derive(Debug)]
pub(in super::super) enum Outcome {
    /// The archive is here, and is unpacked and checked now.
    Begun(SiteName, Stored),
    /// A site was made, and no archive was chosen for it.
    Empty(SiteName),
    /// The site is there, and its archive is refused.
    Refused(SiteName, Error),
    /// Nothing was made.
    NotMade(Error),
}

/// Reads a form: for the site `name`, or with `None` for a new one of the form's own name.
pub(in super::super) async fn receive(visit: &Visit, name: Option<SiteName>, mut form: Multipart) -> (Upload, Outcome) {
    let mut upload = Upload { name: String::new(), message: String::new(), publish: true };
    loop {
        let field = match form.next_field().await {
            Ok(Some(field)) => field,
            Ok(None) => break,
            Err(error) => return (upload, Outcome::NotMade(cut(&error))),
        };
        let text = match field.name() {
            Some("archive") if field.file_name().is_some_and(|it| !it.is_empty()) => {
                let outcome = match make(visit, name, &upload).await {
                    Ok(name) => match take(visit, &name, &upload, field).await {
                        Ok(begun) => Outcome::Begun(name, begun),
                        Err(error) => Outcome::Refused(name, error),
                    },
                    Err(error) => {
                        drain(field).await;
                        Outcome::NotMade(error)
                    }
                };
                return (upload, outcome);
            }
            Some("name") => short(field).await.map(|it| upload.name = it),
            Some("message") => short(field).await.map(|it| upload.message = it),
            Some("publish") => short(field).await.map(|it| upload.publish = it != "no"),
            _ => {
                drain(field).await;
                Ok(())
            }
        };
        if let Err(error) = text {
            return (upload, Outcome::NotMade(error));
        }
    }
    let outcome = match make(visit, name, &upload).await {
        Ok(name) => Outcome::Empty(name),
        Err(error) => Outcome::NotMade(error),
    };
    (upload, outcome)
}

/// The site that was asked for, or a new one of the form's name.
async fn make(visit: &Visit, name: Option<SiteName>, upload: &Upload) -> Result<SiteName> {
    match name {
        Some(name) => Ok(name),
        None => Ok(visit.services.create_site(&visit.actor, upload.name.trim()).await?.site.name),
    }
}

pub(in super::super) async fn deploy_form(visit: Visit, Path(name): Path<String>) -> Answer {
    let name = SiteName::parse(&name).map_err(|_| Error::not_found("site"))?;
    visit.actor.require(Right::Deploy)?;
    let upload = Upload { name: String::new(), message: String::new(), publish: true };
    show(&page(&visit, &name, upload, Problems::none()).await?)
}

pub(in super::super) async fn deploy(visit: Visit, Path(name): Path<String>, form: Multipart) -> Answer {
    let name = SiteName::parse(&name).map_err(|_| Error::not_found("site"))?;
    let (upload, outcome) = receive(&visit, Some(name.clone()), form).await;
    let missing = || Error::invalid("archive_missing", "Choose the archive or the folder to send.");
    match outcome {
        Outcome::Begun(name, begun) => begun_page(&visit, &name, &begun),
        Outcome::Empty(_) => refused(&visit, &name, upload, missing()).await,
        Outcome::Refused(_, error) | Outcome::NotMade(error) => refused(&visit, &name, upload, error).await,
    }
}

/// Goes to where the log tells how it goes on.
pub(in super::super) fn begun_page(visit: &Visit, name: &SiteName, begun: &Stored) -> Answer {
    go(&visit.services, &format!("/sites/{name}/deployments/{}", begun.number), Some(Notice::Received))
}

/// The form again, when whoever sent it can mend it.
pub(in super::super) async fn refused(visit: &Visit, name: &SiteName, upload: Upload, error: Error) -> Answer {
    if !is_about_the_form(&error) {
        return Err(error.into());
    }
    let field = if error.field == Some("message") { "message" } else { "archive" };
    let problems = Problems::with(field, error.message.clone());
    again(&error, &page(visit, name, upload, problems).await?)
}

/// Whether whoever sent the form can mend it.
pub(in super::super) const fn is_about_the_form(error: &Error) -> bool {
    matches!(error.kind, Kind::Invalid | Kind::Conflict | Kind::TooLarge | Kind::TooMany)
}

/// Streams an archive into a new deployment of the site.
async fn take(visit: &Visit, name: &SiteName, upload: &Upload, mut archive: Field<'_>) -> Result<Stored> {
    // A browser takes the type from the name of the file, so it tells nothing that the first bytes do not; but a tar of
    // the oldest kind has none that tell.
    let media_type = archive.content_type().filter(|it| it.ends_with("tar")).unwrap_or_default().to_owned();
    let request = Request {
        source: Source::Panel,
        message: upload.message.clone(),
        publish: upload.publish,
        if_live: None,
        allow_env: false,
        idempotency_key: None,
    };
    let (pieces, taken) = mpsc::channel::<Result<Bytes>>(16);
    let pump = async move {
        loop {
            let piece = match archive.chunk().await {
                Ok(Some(piece)) => Ok(piece),
                Ok(None) => break,
                Err(error) => Err(cut(&error)),
            };
            let last = piece.is_err();
            if pieces.send(piece).await.is_err() {
                // Refused already. What still comes is read, so that the browser gets to read the answer.
                drop(pieces);
                drain(archive).await;
                break;
            }
            if last {
                break;
            }
        }
    };
    let ((), begun) =
        tokio::join!(pump, visit.services.receive_archive(&visit.actor, name, &media_type, request, taken));
    begun
}

/// Reads a field to its end, or to the size of the largest archive.
async fn drain(mut field: Field<'_>) {
    let mut left = limits::ARCHIVE_BYTES_MAX;
    while let Ok(Some(piece)) = field.chunk().await {
        left = left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if left == 0 {
            break;
        }
    }
}

/// A field of text, bounded.
async fn short(mut field: Field<'_>) -> Result<String> {
    let mut bytes = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|it| cut(&it))? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > limits::FORM_BODY_BYTES_MAX {
            return Err(Error::too_large("form", "A field of the form is too long."));
        }
    }
    String::from_utf8(bytes).map_err(|error| Error::invalid("form", "A field of the form is not text.").because(error))
}

fn cut(error: &MultipartError) -> Error {
    let text = "The form did not arrive whole. Nothing was published; send it again.";
    Error::invalid("form_cut", text).because(error.body_text())
}

async fn page(visit: &Visit, name: &SiteName, upload: Upload, problems: Problems) -> Result<Deploy> {
    let site = visit.services.get_site(&visit.actor, name).await?;
    let down = site.site.taken_down.is_some();
    let lead = match &site.live {
        Some(live) if down => {
            format!("Deployment {} comes back when the site does.", live.number)
        }
        Some(live) => format!("Deployment {} is live and stays so until the new files are whole.", live.number),
        None => String::from("The site shows nothing yet. This will be its first deployment."),
    };
    Ok(Deploy {
        shell: visit.shell(Place::Sites).await?,
        crumbs: vec![Crumb::new("Sites", "/sites"), Crumb::new(name.as_str(), format!("/sites/{name}"))],
        site: name.to_string(),
        lead,
        standing: super::super::sites::Standing::of(visit, &site.site),
        message: upload.message,
        publish: upload.publish,
        down,
        command: super::super::sites::command(&visit.services, name.as_str(), false),
        problems,
    })
}
