//! From a deployment as the services give it to what pages show of it.

use super::{
    super::{
        overview::Latest,
        seal::{self, Level, Size},
        shell::{Crumb, Sign},
        sites::{self, Live},
        words::{self, When},
    },
    Act, Change, ChangeRow, Changes, Head, LevelRow, Log, LogLine, Proof, Row,
};
use crate::{
    domain::deployment::{Deployment, Source, State},
    services::deployments::{DeploymentView, Difference},
};

/// What a deployment is called: its sender's words, else by what way it came.
pub(super) fn title(of: &Deployment) -> String {
    if !of.message.is_empty() {
        return of.message.clone();
    }
    String::from(match of.source {
        Source::Cli => "Sent from the command line",
        Source::Archive => "Sent as an archive",
        Source::Panel => "Sent from the panel",
        Source::Watch => "Taken from the watched folder",
    })
}

/// Sign and word of a state.
pub(super) const fn standing(state: State) -> (Sign, &'static str) {
    match state {
        State::Uploading => (Sign::Now, "Receiving"),
        State::Checking => (Sign::Now, "Checking"),
        State::Ready => (Sign::Ok, "Ready"),
        State::Live => (Sign::Ok, "Live"),
        State::Superseded => (Sign::Ok, "Was live"),
        State::Failed => (Sign::Bad, "Failed"),
        State::TakenDown => (Sign::Off, "Taken down"),
    }
}

/// The same of a deployment of a site: what would be live is not while the site is taken down.
fn standing_of(of: &DeploymentView) -> (Sign, &'static str) {
    match of.deployment.state {
        State::Live if of.site.taken_down.is_some() => (Sign::Look, "Taken down"),
        state => standing(state),
    }
}

/// Whether it still goes on.
pub(super) const fn is_open(state: State) -> bool {
    matches!(state, State::Uploading | State::Checking)
}

const fn level(of: &Deployment) -> Level {
    if matches!(of.state, State::Failed) { Level::Broken } else { Level::Sealed }
}

/// What can be done with it while `live` is the number of the live one.
fn act(of: &DeploymentView, live: Option<i64>) -> Option<Act> {
    let (number, name) = (of.deployment.number, &of.site.name);
    if of.site.taken_down.is_some() {
        return None;
    }
    match of.deployment.state {
        State::Superseded if live.is_some_and(|it| number < it) => {
            Some(Act { words: "Roll back", href: format!("/sites/{name}/rollback/{number}"), back: true })
        }
        State::Ready | State::Superseded => {
            Some(Act { words: "Publish", href: format!("/sites/{name}/publish/{number}"), back: false })
        }
        _ => None,
    }
}

fn changed(of: &Deployment) -> String {
    match (of.state, of.files_changed) {
        (State::Failed, _) => of.problem.as_deref().unwrap_or_default().trim_end_matches('.').to_owned(),
        (_, Some(0)) => String::from("no file changed"),
        (_, Some(number)) => format!("{} changed", words::count(number, "file", "files")),
        (state, None) if state.is_complete() => words::count(of.files, "file", "files"),
        (_, None) => String::new(),
    }
}

/// A deployment in the chain of its site.
pub(in super::super) fn row(of: &DeploymentView, live: Option<i64>, may: bool, now_ms: i64) -> Row {
    let it = &of.deployment;
    let (sign, words) = standing_of(of);
    Row {
        number: it.number,
        href: href(of),
        title: title(it),
        seal: seal::draw(it.manifest.as_ref(), level(it), Size::Mini, None),
        live: it.state == State::Live,
        down: of.site.taken_down.is_some(),
        unpublished: it.state == State::Ready,
        sign,
        words,
        when: When::at(it.finished_ms.unwrap_or(it.created_ms), now_ms),
        actor: words::actor(&it.actor),
        detail: changed(it),
        preview: of.preview_url.clone(),
        act: act(of, live).filter(|_| may),
    }
}

/// A deployment in the list of the latest.
pub(in super::super) fn latest(of: &DeploymentView, now_ms: i64) -> Latest {
    let it = &of.deployment;
    let (sign, words) = standing_of(of);
    let changed = changed(it);
    let by = format!("by {}", words::actor(&it.actor));
    let note = if changed.is_empty() { by } else { format!("{changed} · {by}") };
    Latest {
        seal: seal::draw(it.manifest.as_ref(), level(it), Size::Mini, None),
        site: of.site.name.to_string(),
        href: href(of),
        note: format!("Deployment {} · {note}", it.number),
        sign,
        words,
        when: When::at(it.finished_ms.unwrap_or(it.created_ms), now_ms),
    }
}

/// The live deployment on its sheet.
pub(in super::super) fn live(of: &DeploymentView, published_ms: Option<i64>, now_ms: i64) -> Live {
    let it = &of.deployment;
    let when = When::at(published_ms.or(it.finished_ms).unwrap_or(it.created_ms), now_ms).text;
    let hash = it.manifest.map(|it| it.hex()).unwrap_or_default();
    let changed =
        it.files_changed.map_or_else(String::new, |number| format!("; {} new or changed", words::thousands(number)));
    let label = format!("Seal of deployment {}, not yet logged", it.number);
    Live {
        seal: seal::draw(it.manifest.as_ref(), Level::Sealed, Size::Medium, Some(&label)),
        number: it.number,
        href: href(of),
        title: title(it),
        text: format!(
            "Published {when} by {}. {}, {}{changed}.",
            words::actor(&it.actor),
            words::count(it.files, "file", "files"),
            words::size(it.bytes)
        ),
        hash: words::shortened(&hash),
        levels: levels(it),
    }
}

/// The address of a deployment in the panel.
pub(super) fn href(of: &DeploymentView) -> String {
    format!("/sites/{}/deployments/{}", of.site.name, of.deployment.number)
}

/// What the pages of one deployment share.
pub(super) fn head(of: &DeploymentView, here: &str, live: Option<i64>, may: bool, now_ms: i64) -> Head {
    let it = &of.deployment;
    let (sign, words) = standing_of(of);
    let name = &of.site.name;
    let when = When::at(it.finished_ms.unwrap_or(it.created_ms), now_ms).text;
    let title = title(it);
    let stop = if title.ends_with(['.', '!', '?', '…']) { "" } else { "." };
    let how = match it.state {
        State::Uploading => "It is being sent, begun",
        State::Checking => "It is being checked, begun",
        State::Failed => "It failed",
        State::TakenDown => "It was taken down",
        State::Ready | State::Live | State::Superseded => "Deployed",
    };
    let parents = [
        Crumb::new("Sites", "/sites"),
        Crumb::new(name.as_str(), format!("/sites/{name}")),
        Crumb::new("Deployments", format!("/sites/{name}/deployments")),
    ];
    Head {
        crumbs: parents.into(),
        tabs: super::tabs(&href(of), here),
        site: name.to_string(),
        number: it.number,
        href: href(of),
        live: it.state == State::Live && of.site.taken_down.is_none(),
        sign,
        words,
        lead: format!("{title}{stop} {how} {when} by {}.", words::actor(&it.actor)),
        standing: sites::Standing::default(),
        preview: of.preview_url.clone(),
        act: act(of, live).filter(|_| may),
    }
}

/// How far the proof has come: honest about what does not exist yet.
pub(super) fn levels(of: &Deployment) -> Vec<LevelRow> {
    let at = of.finished_ms.map(words::time_of_day).unwrap_or_default();
    let sealed = format!("{} and the rules in one manifest, {at} UTC", words::count(of.files, "file", "files"));
    let row = |reached, name, text: &str| LevelRow { reached, name, text: text.to_owned() };
    vec![
        row(of.manifest.is_some(), "Sealed", &sealed),
        row(false, "Logged", "Not yet logged: the public log comes with a later version"),
        row(false, "Anchored", "Not yet: an anchor needs the log"),
    ]
}

/// The proof of a complete deployment.
pub(super) fn proof(of: &DeploymentView) -> Option<Proof> {
    let it = &of.deployment;
    let manifest = it.manifest?;
    let mut facts = vec![("Manifest", words::grouped(&manifest.hex()))];
    facts.extend(
        it.root.map(|root| ("Site root", format!("0x {}", words::grouped(&data_encoding::HEXLOWER.encode(&root))))),
    );
    let label = format!("Seal of deployment {}, not yet logged", it.number);
    Some(Proof {
        seal: seal::draw(Some(&manifest), Level::Sealed, Size::Large, Some(&label)),
        levels: levels(it),
        facts,
        bundle: format!("{}/proof/bundle", href(of)),
        command: format!("chainhost verify {} --dir ./dist --offline", bundle_name(of)),
    })
}

/// The name of the file with the proof.
pub(super) fn bundle_name(of: &DeploymentView) -> String {
    format!("{}-{}.chproof.json", of.site.name, of.deployment.number)
}

/// What differs, at most `shown` rows of it: changed, then new, then gone.
pub(super) fn changes(found: &Difference, against: i64, shown: usize) -> Changes {
    let int = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let bytes = |number: u64| format!("{} B", words::thousands(int(number)));
    let changed = found.changed.iter().map(|(path, size, before)| ChangeRow {
        path: path.clone(),
        change: Change::Changed,
        size: bytes(*size),
        by: match int(*size).saturating_sub(int(*before)) {
            0 => String::new(),
            more @ 1.. => format!("+{}", words::thousands(more)),
            less => format!("−{}", words::thousands(-less)),
        },
    });
    let plain = |change| {
        move |(path, size): &(String, u64)| ChangeRow {
            path: path.clone(),
            change,
            size: bytes(*size),
            by: String::new(),
        }
    };
    let rows = changed.chain(found.added.iter().map(plain(Change::New)));
    let rows = rows.chain(found.removed.iter().map(plain(Change::Gone))).take(shown);
    let count = |number: usize| words::thousands(i64::try_from(number).unwrap_or(i64::MAX));
    let (new, changed, gone) = (found.added.len(), found.changed.len(), found.removed.len());
    let left = (new + changed + gone).saturating_sub(shown);
    Changes {
        against,
        words: format!("{} new, {} changed, {} gone", count(new), count(changed), count(gone)),
        rows: rows.collect(),
        more: i64::try_from(left).unwrap_or(i64::MAX),
        policy: found.policy_changed,
    }
}

/// The last `shown` lines of a log.
pub(super) fn log(lines: &[(i64, String)], shown: usize, events: Option<String>) -> Log {
    let earlier = lines.len().saturating_sub(shown);
    Log { lines: lines.iter().skip(earlier).map(line).collect(), earlier, events }
}

/// A line of a log.
pub(super) fn line((at, text): &(i64, String)) -> LogLine {
    let class = match text.get(..4) {
        Some("Fail") => "err",
        Some("warn" | "Warn") => "warn",
        Some("Live") => "ok",
        _ => "",
    };
    LogLine { time: words::time_of_day(*at), text: text.clone(), class }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_counted_and_cut() {
        let found = Difference {
            added: vec![("/a".into(), 1)],
            removed: vec![("/r".into(), 14_702)],
            changed: vec![("/c".into(), 11_204, 10_792), ("/d".into(), 1, 89), ("/e".into(), 5, 5)],
            policy_changed: true,
        };
        let shown = changes(&found, 41, 4);
        assert_eq!(shown.words, "1 new, 3 changed, 1 gone");
        assert_eq!((shown.rows.len(), shown.more, shown.policy), (4, 1, true));
        let by: Vec<_> = shown.rows.iter().map(|it| it.by.as_str()).collect();
        assert_eq!(by, ["+412", "−88", "", ""]);
        assert_eq!(shown.rows[0].size, "11,204 B");
    }

    #[test]
    fn the_end_of_a_log_is_shown() {
        let lines: Vec<_> = (0..20).map(|n| (n * 1000, format!("line {n}"))).collect();
        let shown = log(&lines, 12, None);
        assert_eq!((shown.lines.len(), shown.earlier), (12, 8));
        assert_eq!(line(&(0, "Failed: no".into())).class, "err");
        assert_eq!(line(&(0, "é".into())).class, "");
    }
}
