//! The pages of one deployment, and the stream that adds lines to an open log.

use std::convert::Infallible;

use askama::Template as _;
use axum::{
    extract::{Path, State},
    response::{
        IntoResponse as _,
        sse::{Event, KeepAlive, Sse},
    },
};
use hyper::{
    HeaderMap, StatusCode,
    header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    super::{
        Panel,
        gate::{Answer, ours},
        live::{self, Turn},
        seal::{self, Level, Size},
        shell::{Pager, Place},
        sites,
        visit::{Asked, Visit, show},
        words::{self, When},
    },
    Deployment, Diff, FileRow, Files, LogLines, LogPage, Other, ProofPage, show as shown,
};
use crate::{
    domain::{
        Error, Result,
        access::Right,
        deployment::{Deployment as Stored, DeploymentRef, State as Standing},
        site::SiteName,
    },
    http::{pieces, respond},
    services::deployments::DeploymentView,
};

/// Rows on the page of a deployment.
const CHANGES_SHOWN: usize = 8;
const LINES_SHOWN: usize = 12;
const FILES_SHOWN: usize = 8;
/// Rows on the pages of their own.
const CHANGES_MAX: usize = 500;
const FILES_PAGE: usize = 100;
/// Deployments that one can compare with.
const OTHERS_MAX: u32 = 30;

/// The site and the deployment of an address; what cannot be one is not there.
pub(super) fn place((name, of): &(String, String)) -> Result<(SiteName, DeploymentRef)> {
    let name = SiteName::parse(name).map_err(|_| Error::not_found("site"))?;
    Ok((name, of.parse().map_err(|_| Error::not_found("deployment"))?))
}

/// One deployment, what is live on its site, and what stands around its pages.
struct Found {
    name: SiteName,
    of: DeploymentRef,
    view: DeploymentView,
    live: Option<Stored>,
    now_ms: i64,
    may: bool,
    standing: sites::Standing,
}

impl Found {
    async fn get(visit: &Visit, path: &(String, String)) -> Result<Self> {
        let (name, of) = place(path)?;
        let view = visit.services.get_deployment(&visit.actor, &name, of).await?;
        let live = visit.services.get_site(&visit.actor, &name).await?.live;
        // A folder is watched for the site; it says nothing of this deployment.
        let standing = sites::Standing { folder: None, ..sites::Standing::of(visit, &view.site) };
        Ok(Self { name, of, view, live, now_ms: visit.now_ms(), may: visit.may(Right::Deploy), standing })
    }

    fn head(&self, here: &str) -> super::Head {
        let head = shown::head(&self.view, here, self.live.as_ref().map(|it| it.number), self.may, self.now_ms);
        super::Head { standing: self.standing.clone(), ..head }
    }

    /// What it is compared with unless one says otherwise: the live one, and for the live one the one before.
    async fn natural_other(&self, visit: &Visit) -> Result<Option<i64>> {
        let number = self.view.deployment.number;
        if let Some(live) = self.live.as_ref().filter(|it| it.number != number) {
            return Ok(Some(live.number));
        }
        let before = visit.services.list_deployments(&visit.actor, &self.name, Some(number), OTHERS_MAX).await?;
        Ok(before.iter().find(|it| it.deployment.state.is_complete()).map(|it| it.deployment.number))
    }

    async fn changes(&self, visit: &Visit, against: Option<i64>, rows: usize) -> Result<Option<super::Changes>> {
        let Some(against) = against.filter(|_| self.view.deployment.state.is_complete()) else { return Ok(None) };
        let other = DeploymentRef::Number(against);
        let found = visit.services.diff(&visit.actor, &self.name, self.of, other).await?;
        Ok(Some(shown::changes(&found, against, rows)))
    }

    async fn lines(&self, visit: &Visit) -> Result<Vec<(i64, String)>> {
        visit.services.list_log(&visit.actor, &self.name, self.of).await
    }

    /// Where lines come from, while there are some to come.
    fn events(&self, have: usize) -> Option<String> {
        let open = shown::is_open(self.view.deployment.state);
        open.then(|| format!("{}/events?from={have}", shown::href(&self.view)))
    }

    /// Up to `limit` files after the path `after`, and whether there are more.
    async fn files(&self, visit: &Visit, after: &str, limit: usize) -> Result<(Vec<FileRow>, bool)> {
        if !self.view.deployment.state.is_complete() {
            return Ok((Vec::new(), false));
        }
        let manifest = visit.services.get_manifest(&visit.actor, &self.name, self.of).await?;
        let mut entries = manifest.entries().iter().filter(|it| it.path.as_str() > after);
        let rows = entries.by_ref().take(limit).map(|entry| FileRow {
            path: entry.path.to_string(),
            url: self.view.preview_url.as_deref().map(|it| address(it, entry.path.as_str())),
            size: format!("{} B", words::thousands(i64::try_from(entry.size).unwrap_or(i64::MAX))),
            media_type: words::media(&entry.media_type),
            hash: words::shortened(&entry.sha256.hex()),
        });
        let rows = rows.collect();
        Ok((rows, entries.next().is_some()))
    }

    fn files_words(&self) -> String {
        let it = &self.view.deployment;
        format!("{}, {}", words::count(it.files, "file", "files"), words::size(it.bytes))
    }
}

/// A file below a preview's address, which ends with a slash.
fn address(preview: &str, path: &str) -> String {
    const PLAIN: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    let path = percent_encoding::utf8_percent_encode(path.trim_start_matches('/'), PLAIN).to_string();
    format!(
        "{preview}{}",
        path.strip_suffix("index.html").filter(|it| it.is_empty() || it.ends_with('/')).unwrap_or(&path)
    )
}

pub(in super::super) async fn deployment(visit: Visit, Path(path): Path<(String, String)>) -> Answer {
    let found = Found::get(&visit, &path).await?;
    let other = found.natural_other(&visit).await?;
    let lines = found.lines(&visit).await?;
    let failed = found.view.deployment.state == Standing::Failed;
    let stays = match &found.live {
        Some(_) if found.view.site.taken_down.is_some() => String::new(),
        Some(live) => format!(" Deployment {} is still live.", live.number),
        None => String::from(" The site shows nothing yet."),
    };
    show(&Deployment {
        shell: visit.shell(Place::Sites).await?,
        head: found.head("Summary"),
        problem: found.view.deployment.problem.clone().filter(|_| failed).map(|it| it + &stays),
        changes: found.changes(&visit, other, CHANGES_SHOWN).await?,
        log: shown::log(&lines, LINES_SHOWN, found.events(lines.len())),
        files: found.files(&visit, "", FILES_SHOWN).await?.0,
        files_words: found.files_words(),
        proof: shown::proof(&found.view),
    })
}

#[derive(Deserialize)]
pub(in super::super) struct After {
    #[serde(default)]
    after: String,
}

pub(in super::super) async fn files(
    visit: Visit,
    Path(path): Path<(String, String)>,
    Asked(asked): Asked<After>,
) -> Answer {
    let found = Found::get(&visit, &path).await?;
    let (rows, more) = found.files(&visit, &asked.after, FILES_PAGE).await?;
    let here = format!("{}/files", shown::href(&found.view));
    let next = rows.last().filter(|_| more).map(|it| {
        let after = percent_encoding::utf8_percent_encode(&it.path, percent_encoding::NON_ALPHANUMERIC);
        format!("{here}?after={after}")
    });
    let first = (!asked.after.is_empty()).then_some(here);
    let all = first.is_none() && next.is_none();
    let shown = if all {
        String::new()
    } else {
        format!("{} of {}", rows.len(), words::thousands(found.view.deployment.files))
    };
    show(&Files {
        shell: visit.shell(Place::Sites).await?,
        head: found.head("Files"),
        words: found.files_words(),
        rows,
        pager: Pager { shown, first, next },
    })
}

#[derive(Deserialize)]
pub(in super::super) struct Against {
    against: Option<String>,
}

pub(in super::super) async fn diff(
    visit: Visit,
    Path(path): Path<(String, String)>,
    Asked(asked): Asked<Against>,
) -> Answer {
    let found = Found::get(&visit, &path).await?;
    let all = visit.services.list_deployments(&visit.actor, &found.name, None, OTHERS_MAX).await?;
    let against = match asked.against {
        Some(text) => Some(text.parse().map_err(|_| Error::not_found("deployment"))?),
        None => found.natural_other(&visit).await?,
    };
    let others = all.iter().map(|it| &it.deployment).filter(|it| it.state.is_complete());
    let others = others.filter(|it| it.number != found.view.deployment.number).map(|it| Other {
        number: it.number,
        title: shown::title(it),
        chosen: against == Some(it.number),
    });
    show(&Diff {
        shell: visit.shell(Place::Sites).await?,
        head: found.head("Changes"),
        others: others.collect(),
        changes: found.changes(&visit, against, CHANGES_MAX).await?,
    })
}

pub(in super::super) async fn log(visit: Visit, Path(path): Path<(String, String)>) -> Answer {
    let found = Found::get(&visit, &path).await?;
    let lines = found.lines(&visit).await?;
    show(&LogPage {
        shell: visit.shell(Place::Sites).await?,
        head: found.head("Log"),
        log: shown::log(&lines, lines.len(), found.events(lines.len())),
    })
}

pub(in super::super) async fn log_text(visit: Visit, Path(path): Path<(String, String)>) -> Answer {
    let lines = Found::get(&visit, &path).await?.lines(&visit).await?;
    let lines = lines.iter().map(|(at, text)| format!("{} {text}\n", crate::base::clock::rfc3339(*at)));
    Ok(ours(respond::text(StatusCode::OK, lines.collect::<String>())))
}

pub(in super::super) async fn proof(visit: Visit, Path(path): Path<(String, String)>) -> Answer {
    let found = Found::get(&visit, &path).await?;
    let it = &found.view.deployment;
    let proof = shown::proof(&found.view).ok_or_else(|| {
        let text = format!("Deployment {} is not complete, so it has no seal and no proof.", it.number);
        Error::conflict("not_complete", text)
    })?;
    let label = format!("Seal of deployment {}, not yet logged", it.number);
    let when = When::at(it.finished_ms.unwrap_or(it.created_ms), found.now_ms).text;
    // A moment of today reads "5 h ago", a date needs its word.
    let on = if when.chars().next().is_some_and(|c| c.is_ascii_digit()) && !when.ends_with("ago") { "on " } else { "" };
    let (these, were) = if it.files == 1 { ("This", "was sealed") } else { ("These", "were sealed together") };
    show(&ProofPage {
        shell: visit.shell(Place::Sites).await?,
        head: found.head("Proof"),
        seal: seal::draw(it.manifest.as_ref(), Level::Sealed, Size::Huge, Some(&label)),
        sentence: format!("{these} {} {were} {on}{when}.", words::count(it.files, "file", "files")),
        proof,
    })
}

pub(in super::super) async fn bundle(visit: Visit, Path(path): Path<(String, String)>) -> Answer {
    let (name, of) = place(&path)?;
    let view = visit.services.get_deployment(&visit.actor, &name, of).await?;
    let mut bundle = visit.services.read_bundle(&visit.actor, &name, of).await?;
    let size = bundle.size();
    let mut response = respond::empty(StatusCode::OK);
    *response.body_mut() = pieces::body(&visit.services.tasks, move || bundle.next_piece());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
    // The name is made of a site's name and a number: nothing in it needs quoting.
    let disposition = format!("attachment; filename=\"{}\"", shown::bundle_name(&view));
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        response.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    Ok(ours(response))
}

#[derive(Deserialize)]
pub(in super::super) struct From {
    #[serde(default)]
    from: usize,
}

/// Lines as they come, then an event `end` when the deployment has ended.
pub(in super::super) async fn events(
    State(panel): State<Panel>,
    visit: Visit,
    Path(path): Path<(String, String)>,
    Asked(asked): Asked<From>,
    headers: HeaderMap,
) -> Answer {
    // What is not there is said at once, not in the stream.
    Found::get(&visit, &path).await?;
    let (sender, events) = mpsc::channel::<Result<Event, Infallible>>(4);
    let last = headers.get("last-event-id").and_then(|it| it.to_str().ok()?.parse().ok());
    let mut have = last.unwrap_or(asked.from);
    panel.services.tasks.spawn(async move {
        let mut turns = live::Turns::new(&visit);
        loop {
            let ended = match tell(&visit, &path, &mut have, &sender).await {
                Ok(open) => !open,
                Err(_) => true,
            };
            if ended {
                drop(sender.send(Ok(Event::default().event("end").data("end"))).await);
                break;
            }
            if turns.next(&visit, &sender).await == Turn::End {
                break;
            }
        }
    });
    Ok(Sse::new(ReceiverStream::new(events)).keep_alive(KeepAlive::default()).into_response())
}

/// Sends the lines that are new; whether more may come.
async fn tell(
    visit: &Visit,
    path: &(String, String),
    have: &mut usize,
    sender: &mpsc::Sender<Result<Event, Infallible>>,
) -> Result<bool> {
    let found = Found::get(visit, path).await?;
    // Read after the state: what was written before the end is then among the lines.
    let lines = found.lines(visit).await?;
    let new: Vec<_> = lines.iter().skip(*have).map(shown::line).collect();
    if !new.is_empty() {
        *have = lines.len();
        let html = LogLines { lines: new }.render().map_err(Error::internal)?;
        // A browser that connects again says with `Last-Event-ID` up to where it has them.
        if sender.send(Ok(Event::default().id(have.to_string()).data(html))).await.is_err() {
            return Ok(false);
        }
    }
    Ok(shown::is_open(found.view.deployment.state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_linked_where_a_visitor_finds_them() {
        let preview = "http://p--s.localhost/";
        for (path, wanted) in [
            ("/index.html", "http://p--s.localhost/"),
            ("hours/index.html", "http://p--s.localhost/hours/"),
            ("/a b/ü.css", "http://p--s.localhost/a%20b/%C3%BC.css"),
            ("/myindex.html", "http://p--s.localhost/myindex.html"),
        ] {
            assert_eq!(address(preview, path), wanted);
        }
    }
}
