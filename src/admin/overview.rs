//! The start: one sentence on how everything is, what needs a person, and what happened last.

use askama::Template;
use axum::extract::State;

use super::{
    Panel, deployments,
    gate::Answer,
    markup::Markup,
    shell::{Place, Shell, Sign},
    sites,
    visit::{Visit, show},
    words::{self, When},
};
use crate::{
    domain::{access::Right, certificate::kept::Order, job::Queue},
    services::{
        Depth,
        summary::{Counts, Summary},
        watch::Watching,
    },
};

/// A task that failed so often one after another needs a person; one failure is made good by the next try.
const FAILURES_TOLD: u32 = 3;
/// Watched folders with a problem that are told one by one.
const WATCHES_SHOWN: usize = 6;

/// The overview.
#[derive(Debug, Template)]
#[template(path = "overview/overview.html")]
pub(super) struct Overview {
    pub(super) shell: Shell,
    /// How things are: one clause.
    pub(super) state: String,
    /// What needs a person: one clause; absent when nothing does.
    pub(super) needs: Option<String>,
    /// The numbers behind the sentence.
    pub(super) lead: String,
    pub(super) wants: Vec<Want>,
    pub(super) figures: Vec<Figure>,
    pub(super) latest: Vec<Latest>,
    pub(super) queues: Vec<QueueRow>,
    pub(super) steps: Vec<Step>,
    /// Shown while there is no site: how to deploy from one's own machine.
    pub(super) command: String,
}

impl Overview {
    fn steps_done(&self) -> usize {
        self.steps.iter().filter(|it| it.done).count()
    }
}

/// Something that a person should do, with the act at its end.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub(super) bad: bool,
    pub(super) title: String,
    pub(super) text: String,
    pub(super) act: &'static str,
    pub(super) href: String,
}

/// A number with its name and what it rests on.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) unit: String,
    pub(super) note: String,
}

/// A deployment in the list of the latest.
#[derive(Clone, Debug)]
pub(super) struct Latest {
    pub(super) seal: Markup,
    pub(super) site: String,
    pub(super) href: String,
    pub(super) note: String,
    pub(super) sign: Sign,
    pub(super) words: &'static str,
    pub(super) when: When,
}

/// A queue at a glance.
#[derive(Clone, Debug)]
pub(super) struct QueueRow {
    pub(super) name: &'static str,
    pub(super) slots: usize,
    pub(super) running: usize,
    pub(super) waiting: i64,
    pub(super) failed: i64,
    pub(super) paused: bool,
}

impl QueueRow {
    /// One `true` for each busy slot, then one `false` for each free one; bounded for the eye.
    pub(super) fn slots(&self) -> impl Iterator<Item = bool> {
        let shown = self.slots.max(self.running).min(12);
        (0..shown).map(|at| at < self.running)
    }
}

/// A step of the way in, ticked off by what is, not by a click.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) done: bool,
    pub(super) text: &'static str,
    pub(super) href: &'static str,
    pub(super) note: String,
}

/// The first page.
pub(super) async fn overview(State(panel): State<Panel>, visit: Visit) -> Answer {
    let services = &visit.services;
    let now = visit.now_ms();
    let summary = services.summary(&visit.actor).await?;
    let depths = services.queue_depths(&visit.actor).await?;
    let counts = summary.counts;
    let watches = services.list_watch_problems(&visit.actor)?;
    let queues = queues(&depths);
    let mut wants = wants(&summary, &watches, &queues, &visit.shell(Place::Overview).await?);
    if services.are_jobs_paused(&visit.actor).await? {
        wants.push(Want {
            bad: false,
            title: format!("The jobs of the tenant {} are paused", visit.who.tenant.name),
            text: String::from("None is started in any queue until they are resumed."),
            act: "Look at the jobs",
            href: String::from("/jobs"),
        });
    }
    if visit.may(Right::ManageServer) {
        let failing = services.list_tasks(&visit.actor)?.into_iter().filter(|it| it.standing.failures >= FAILURES_TOLD);
        wants.extend(failing.map(|it| Want {
            bad: true,
            title: format!("The task {} fails again and again", it.about.name),
            text: it.standing.error.unwrap_or_default(),
            act: "Look at the tasks",
            href: String::from("/schedules"),
        }));
    }
    let command = if counts.sites == 0 { sites::command(services, "my-site", true) } else { String::new() };
    let steps = [
        ("Claim this server", "/", true),
        ("Publish a first site", "/sites/new", summary.has_published),
        ("Make a key for the command line", "/settings/keys", summary.has_key),
        ("Give a site a hostname of your own", "/sites", counts.hostnames > 0),
    ];
    let steps: Vec<_> =
        steps.into_iter().map(|(text, href, done)| Step { done, text, href, note: String::new() }).collect();
    show(&Overview {
        shell: visit.shell(Place::Overview).await?,
        state: state(counts.sites, counts.live, summary.dark.iter().any(|it| it.taken_down.is_some())),
        needs: needs(wants.len()),
        lead: lead(&counts, now - panel.started_ms),
        wants,
        figures: figures(&summary, now),
        latest: summary.latest.iter().map(|it| deployments::latest(it, now)).collect(),
        queues,
        steps: if steps.iter().all(|it| it.done) { Vec::new() } else { steps },
        command,
    })
}

fn state(sites: i64, live: i64, some_down: bool) -> String {
    match (sites, live) {
        (0, _) => String::from("This server is ready for its first site."),
        (1, 1) => String::from("Your site is up."),
        (all, up) if all == up => String::from("Every site is up."),
        (1, _) if some_down => String::from("Your site is taken down."),
        (1, _) => String::from("Your site shows nothing."),
        (_, 0) => String::from("No site shows anything."),
        (all, up) => format!("{} of {} sites are up.", words::thousands(up), words::thousands(all)),
    }
}

fn lead(counts: &Counts, running_ms: i64) -> String {
    let running = words::span(running_ms);
    if counts.sites == 0 {
        return format!("It has been running for {running}, and nothing else has to be set up.");
    }
    let own = match counts.hostnames {
        0 => String::from("no hostname of your own yet"),
        many => format!("{} of your own", words::count(many, "hostname", "hostnames")),
    };
    format!("{}, {own}. {running} without a restart.", words::count(counts.sites, "site", "sites"))
}

fn needs(count: usize) -> Option<String> {
    match count {
        0 => None,
        1 => Some(String::from("One thing needs you.")),
        many => Some(format!("{} things need you.", words::spelled(many))),
    }
}

fn wants(summary: &Summary, watches: &[Watching], queues: &[QueueRow], shell: &Shell) -> Vec<Want> {
    let failed = summary.failed.iter().map(|it| {
        let name = &it.site.name;
        let stays = if it.site.taken_down.is_some() {
            "The site is taken down, so visitors notice nothing."
        } else if it.site.live.is_some() {
            "What was live before still is, so visitors notice nothing."
        } else {
            "The site shows nothing yet."
        };
        Want {
            bad: true,
            title: format!("The last deployment of {name} failed"),
            text: format!("{} {stays}", it.deployment.problem.as_deref().unwrap_or_default()),
            act: "Read the log",
            href: format!("/sites/{name}/deployments/{}/log", it.deployment.number),
        }
    });
    let uncertified = summary.uncertified.iter().map(uncertified);
    let dark = summary.dark.iter().map(|it| match &it.taken_down {
        Some(reason) => Want {
            bad: false,
            title: format!("{} is taken down", it.name),
            text: reason.clone(),
            act: "Look at the site",
            href: format!("/sites/{}", it.name),
        },
        None => Want {
            bad: false,
            title: format!("{} has nothing to show", it.name),
            text: String::from("The site was made more than a day ago and nothing was published on it."),
            act: "Give it files",
            href: format!("/sites/{}/deploy", it.name),
        },
    });
    let watches = watches.iter().take(WATCHES_SHOWN).map(|it| Want {
        bad: false,
        title: format!("The watched folder of {} is not deployed", it.site),
        text: format!("{}: {}", it.folder, it.problem.as_deref().unwrap_or_default()),
        act: "Look at the setting",
        href: format!("/sites/{}/settings", it.site),
    });
    let paused = queues.iter().filter(|it| it.paused).map(|it| Want {
        bad: false,
        title: format!("The queue {} is paused", it.name),
        text: match it.waiting {
            0 => String::from("No job of it waits yet. It starts none until it is resumed."),
            1 => String::from("One job waits until it is resumed."),
            many => format!("{} jobs wait until it is resumed.", words::thousands(many)),
        },
        act: "Look at the queues",
        href: String::from("/jobs"),
    });
    let jobs = (shell.jobs_failed > 0).then(|| Want {
        bad: true,
        title: format!("{} failed for good", words::count(shell.jobs_failed, "job", "jobs")),
        text: String::from("Each says why, and can be run again or put away."),
        act: "Read the reason",
        href: String::from("/jobs"),
    });
    failed.chain(uncertified).chain(jobs).chain(paused).chain(watches).chain(dark).collect()
}

/// What is wanted for a certificate that did not come.
fn uncertified(it: &Order) -> Want {
    let (code, text) = it.problem.as_ref().map_or(("", ""), |(code, text)| (code.as_str(), text.as_str()));
    let name = &it.name;
    Want {
        bad: it.certificate.is_none(),
        title: match it.certificate {
            _ if code == "certificate_record_awaited" => format!("The certificate of {name} waits for a TXT record"),
            None => format!("{name} cannot get a certificate"),
            Some(_) => format!("The certificate of {name} is not renewed"),
        },
        text: text.to_owned(),
        act: if is_of_server(name) { "See the certificates" } else { "Check the hostname" },
        href: String::from(if is_of_server(name) { "/settings/certificates" } else { "/sites" }),
    }
}

/// Whether a certificate is that of no site: for all names below a domain, or for an address.
fn is_of_server(name: &str) -> bool {
    name.starts_with("*.") || name.parse::<std::net::IpAddr>().is_ok()
}

fn figures(summary: &Summary, now_ms: i64) -> Vec<Figure> {
    let counts = summary.counts;
    let figure = |name, value: String, unit: String, note: String| Figure { name, value, unit, note };
    let newest = summary.latest.first().map_or_else(String::new, |it| {
        format!("the newest {}", When::at(it.deployment.finished_ms.unwrap_or(it.deployment.created_ms), now_ms).text)
    });
    let own = String::from("besides those of this server");
    let live = if counts.live == 0 { String::from("None") } else { words::thousands(counts.live) };
    let of = format!("of {} live", words::thousands(counts.sites));
    let all = [
        (counts.sites, figure("Sites", live, of, String::new())),
        (counts.hostnames, figure("Own hostnames", words::thousands(counts.hostnames), String::new(), own)),
        (counts.deployments, figure("Deployments", words::thousands(counts.deployments), String::from("kept"), newest)),
        (counts.files, figure("Live files", words::thousands(counts.files), String::new(), words::size(counts.bytes))),
    ];
    // No zeros in large type: what is not there is said in the sentence above, or nowhere.
    all.into_iter().filter(|(number, _)| *number > 0).map(|(_, it)| it).collect()
}

/// The four queues at a glance.
pub(super) fn queues(depths: &[Depth; 4]) -> Vec<QueueRow> {
    let int = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let rows = Queue::ALL.into_iter().zip(depths).map(|(queue, depth)| QueueRow {
        name: queue.word(),
        slots: queue.rules().concurrency,
        running: usize::try_from(depth.running).unwrap_or(usize::MAX),
        waiting: int(depth.waiting.saturating_add(depth.delayed)),
        failed: int(depth.failed),
        paused: depth.paused,
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sentence_says_how_things_are() {
        assert_eq!(state(0, 0, false), "This server is ready for its first site.");
        assert_eq!(state(1, 1, false), "Your site is up.");
        assert_eq!(state(1, 0, false), "Your site shows nothing.");
        assert_eq!(state(1, 0, true), "Your site is taken down.");
        assert_eq!(state(14, 14, false), "Every site is up.");
        assert_eq!(state(14, 13, true), "13 of 14 sites are up.");
        assert_eq!(needs(0), None);
        assert_eq!(needs(3).as_deref(), Some("Three things need you."));
    }
}
