//! Publishing and rolling back: a question, and its answer.

use axum::extract::Path;
use serde::Deserialize;

use super::{
    super::{
        form::Problems,
        gate::Answer,
        questions::Question,
        shell::{Crumb, Notice, Place},
        visit::{Fields, Visit, again, go, show},
        words::Fact,
    },
    pages::place,
    show as shown,
};
use crate::domain::{Error, Kind, Result, access::Right};

/// The one that was live when the question was asked: publishing is refused when it is another by then.
#[derive(Deserialize)]
pub(in super::super) struct Asked {
    #[serde(default)]
    live: String,
}

pub(in super::super) async fn roll_back_question(visit: Visit, Path(path): Path<(String, String)>) -> Answer {
    ask(&visit, &path, true).await
}

pub(in super::super) async fn publish_question(visit: Visit, Path(path): Path<(String, String)>) -> Answer {
    ask(&visit, &path, false).await
}

/// Asks, unless it could only be refused: nothing is published on a site that is taken down. Its page says what to do.
async fn ask(visit: &Visit, path: &(String, String), back: bool) -> Answer {
    let (name, _) = place(path)?;
    if visit.services.get_site(&visit.actor, &name).await?.site.taken_down.is_some() {
        return go(&visit.services, &format!("/sites/{name}"), None);
    }
    show(&question(visit, path, back, Problems::none()).await?)
}

pub(in super::super) async fn roll_back(
    visit: Visit,
    Path(path): Path<(String, String)>,
    Fields(asked): Fields<Asked>,
) -> Answer {
    publish_it(visit, path, &asked, true).await
}

pub(in super::super) async fn publish(
    visit: Visit,
    Path(path): Path<(String, String)>,
    Fields(asked): Fields<Asked>,
) -> Answer {
    publish_it(visit, path, &asked, false).await
}

async fn publish_it(visit: Visit, path: (String, String), asked: &Asked, back: bool) -> Answer {
    let (name, of) = place(&path)?;
    let if_live = asked.live.parse().ok();
    match visit.services.roll_back(&visit.actor, &name, Some(of), if_live).await {
        Ok(moved) => {
            let notice = if back { Notice::RolledBack } else { Notice::Published };
            go(&visit.services, &format!("/sites/{name}/deployments/{}", moved.number), Some(notice))
        }
        Err(error) if error.kind == Kind::Conflict => {
            // The words of the services speak to the command line.
            let text = if error.code == "live_changed" {
                String::from(
                    "Another deployment was published while you looked at this page. Look at the site, then ask again.",
                )
            } else {
                error.message.clone()
            };
            let problems = Problems::of(&Error { message: text, ..error.clone() }, &[]);
            again(&error, &question(&visit, &path, back, problems).await?)
        }
        Err(error) => Err(error.into()),
    }
}

async fn question(visit: &Visit, path: &(String, String), back: bool, problems: Problems) -> Result<Question> {
    let (name, of) = place(path)?;
    visit.actor.require(Right::Deploy)?;
    let target = visit.services.get_deployment(&visit.actor, &name, of).await?;
    let live = visit.services.get_site(&visit.actor, &name).await?.live;
    let number = target.deployment.number;
    let named = |number: i64, title: String| format!("{number} · {title}");
    let mut facts = Vec::new();
    facts.extend(live.as_ref().map(|it| Fact::plain("Live now", named(it.number, shown::title(it)))));
    facts.push(Fact::plain("Then", named(number, shown::title(&target.deployment))));
    let keep = live.as_ref().map_or_else(|| String::from("Not now"), |it| format!("Keep {} live", it.number));
    let mut text = vec![format!("Visitors get the files and rules of deployment {number} at once, all together.")];
    text.extend(live.as_ref().map(|it| format!("{} stays here; you can publish it again.", it.number)));
    let (word, there) = if back { ("Roll back to", "rollback") } else { ("Publish", "publish") };
    Ok(Question {
        shell: visit.shell(Place::Sites).await?,
        crumbs: vec![Crumb::new("Sites", "/sites"), Crumb::new(name.as_str(), format!("/sites/{name}"))],
        here: String::from(if back { "Roll back" } else { "Publish" }),
        title: format!("{word} {number}?"),
        text,
        facts,
        keep: (keep, format!("/sites/{name}")),
        act: (format!("{word} {number}"), format!("/sites/{name}/{there}/{number}")),
        destroys: false,
        asked: None,
        typed: None,
        hidden: live.map(|it| ("live", it.id.to_string())).into_iter().collect(),
        problems,
    })
}
