//! Sample pages of the server as a whole: before signing in, overview, jobs, settings, and what is empty.

use super::{HOSTILE, Sample, alone, mark, render, shell, when};
use crate::{
    admin::{
        audit_log::{AuditLog, EventRow},
        bans::{BanRow, Bans},
        certificates::{CertificateRow, Certificates, HostnameStanding},
        claim::{Claim, Waiting},
        error_pages::{self, ErrorPage},
        form::Problems,
        jobs::{Board, JobRow, Jobs, TookRow},
        keys::{KeyCreated, KeyRow, Keys},
        nodes::{NodeRow, Nodes},
        overview::{Figure, Latest, Overview, QueueRow, Step, Want},
        password::Password,
        schedules::{ChoreRow, Last, NewSchedule, ScheduleRow, Schedules, TaskRow},
        seal::{Level, Size},
        sessions::{SessionRow, Sessions},
        settings::{self as settings_of, General},
        shell::{Crumb, Notice, Pager, Place, Shell, Sign, Theme},
        sign_in::SignIn,
        sites::Sites,
        storage::Storage,
        users::{UserRow, Users},
        words,
    },
    base::hash::Sha256,
};

fn queues() -> Vec<QueueRow> {
    [("deploy", 2, 1, 3, 1), ("email", 5, 0, 0, 0), ("blockchain", 1, 1, 1, 0), ("backup", 1, 0, 0, 0)]
        .map(|(name, slots, running, waiting, failed)| QueueRow {
            name,
            slots,
            running,
            waiting,
            failed,
            paused: name == "blockchain",
        })
        .to_vec()
}

fn board() -> Board {
    let job = |title: &str, attempt, progress, error: &str| JobRow {
        id: "0199".into(),
        title: title.into(),
        queue: "deploy",
        attempt,
        attempts: 3,
        when: when("14 s ago"),
        progress,
        error: error.into(),
        delayed: !error.is_empty(),
        held: (title == HOSTILE).then(|| "the queue deploy is resumed".into()),
    };
    let took = |queue, jobs: &str, times: [&str; 4]| {
        let [wait_half, wait_most, run_half, run_most] = times.map(String::from);
        TookRow { queue, jobs: jobs.into(), wait_half, wait_most, run_half, run_most }
    };
    Board {
        queues: queues(),
        running: vec![job("Compress harbour-cafe 42", 1, 55, ""), job("Compress allotment-news 8", 1, 0, "")],
        failed: vec![job(
            "Compress lantern-books 9",
            3,
            0,
            "The disk of this server is full. Free some space and run it again.",
        )],
        waiting: vec![job("Compress tide-tables 118", 0, 0, ""), job(HOSTILE, 1, 0, "worker died")],
        done: vec![job("Compress gull-and-rope 5", 1, 100, "")],
        may_pause: true,
        tenant: "default".into(),
        tenant_paused: false,
        tenant_running: 0,
        may_pause_tenant: true,
        took: vec![
            took("deploy", "100 jobs", ["12 ms", "340 ms", "1 s", "14 s"]),
            took("backup", "1 job", ["4 ms", "4 ms", "2 min", "2 min"]),
        ],
        waiting_total: 4,
    }
}

fn schedules() -> Schedules {
    let row = |name: &str, paused, last: Option<(Sign, &'static str, &str)>| ScheduleRow {
        name: name.into(),
        path: "nightly".into(),
        title: "Back up all sites".into(),
        times: "0 3 * * MON-FRI (Europe/Berlin)".into(),
        paused,
        next: (!paused).then(|| when("in 5 h")),
        last: last.map(|(sign, words, error)| Last { sign, words, when: when("19 h ago"), error: error.into() }),
    };
    let task = |name, text, here, error: &str| TaskRow {
        name,
        text,
        here,
        sign: if error.is_empty() { Sign::Ok } else { Sign::Bad },
        words: if error.is_empty() { "Done" } else { "Failed" },
        when: here.then(|| when("12 min ago")),
        note: if error.is_empty() { "in 14 ms".into() } else { error.into() },
        next: here.then(|| when("in 48 min")),
        every: "every hour".into(),
    };
    let garbage = "Removes stored files that no deployment names any more.";
    Schedules {
        shell: shell(Place::Jobs),
        crumbs: vec![Crumb::new("Jobs", "/jobs")],
        lead: "Two of them failed when they ran last.".into(),
        tenant: "default".into(),
        rows: vec![
            row("nightly", false, Some((Sign::Ok, "Done", ""))),
            row(HOSTILE, false, Some((Sign::Bad, "Failed", "The target did not answer."))),
            row("weekly", true, None),
        ],
        may_change: true,
        tasks: vec![
            task("relay-outbox", "Hands jobs that were asked for to the queue.", true, ""),
            task(
                "collect-garbage",
                garbage,
                true,
                "The disk of this server is full. It failed 4 times one after another.",
            ),
            task("keep-months", "Makes room for the months to come.", false, ""),
        ],
    }
}

fn new_schedule() -> NewSchedule {
    NewSchedule {
        shell: shell(Place::Jobs),
        crumbs: vec![Crumb::new("Jobs", "/jobs"), Crumb::new("What runs by itself", "/schedules")],
        chores: vec![ChoreRow {
            word: "check_files",
            words: "Check the files",
            text: "Reads every file of what is live, and says which of them are damaged or gone.",
        }],
        sites: vec!["harbour-cafe".into(), HOSTILE.into()],
        times: vec!["Tue 24 Nov 2026, 03:00".into(), "Wed 25 Nov 2026, 03:00".into()],
        name: HOSTILE.into(),
        kind: "check_files".into(),
        site: String::new(),
        cron: "0 3 * * *".into(),
        zone: "Europe/Berlin".into(),
        missed: "once".into(),
        problems: Problems::with("name", "There is a schedule `nightly` already."),
    }
}

pub(super) fn overview() -> Overview {
    let latest = |site: &str, note: &str, sign, words| Latest {
        seal: mark(site, if sign == Sign::Bad { Level::Broken } else { Level::Sealed }, Size::Mini),
        site: site.into(),
        href: "/sites/harbour-cafe/deployments/42".into(),
        note: note.into(),
        sign,
        words,
        when: when("5 h ago"),
    };
    let figure = |name, value: &str, unit: &str, note: &str| Figure {
        name,
        value: value.into(),
        unit: unit.into(),
        note: note.into(),
    };
    let step = |done, text, href, note: &str| Step { done, text, href, note: note.into() };
    Overview {
        shell: shell(Place::Overview),
        state: "Every site is up.".into(),
        needs: Some("Two things need you.".into()),
        lead: "14 sites, 22 hostnames. 41 days without a restart.".into(),
        wants: vec![
            Want {
                bad: true,
                title: "The last deployment of lantern-books failed".into(),
                text: "Line 3 of _redirects is not a rule. Deployment 8 is still live, so visitors notice nothing."
                    .into(),
                act: "Read the log",
                href: "/sites/lantern-books/deployments/9/log".into(),
            },
            Want {
                bad: false,
                title: "ferry-status has nothing to show".into(),
                text: "The site was made 3 days ago and nothing was published since.".into(),
                act: "Give it files",
                href: "/sites/ferry-status/deploy".into(),
            },
        ],
        figures: vec![
            figure("Requests since the start", "182,440", "", "3 answers of 5xx"),
            figure("Sites", "13", "of 14 live", "22 hostnames"),
            figure("Deployments", "412", "", "the newest 5 h ago"),
            figure("Stored", "3.4 GB", "", "41,208 files, each once"),
        ],
        latest: vec![
            latest("harbour-cafe", "Deployment 42 · 6 files changed · by owner", Sign::Ok, "Live"),
            latest("tide-tables", "Deployment 118 · 31 files changed · by key ci-tide", Sign::Look, "Taken down"),
            latest("lantern-books", "Deployment 9 · line 3 of _redirects is not a rule", Sign::Bad, "Failed"),
        ],
        queues: queues(),
        steps: vec![
            step(true, "Claim this server", "/", ""),
            step(true, "Publish a first site", "/sites/new", "52 s after the start"),
            step(false, "Make a key for the command line", "/settings/keys", ""),
        ],
        command: "chainhost deploy ./dist --site my-site --create --server http://localhost:8080".into(),
    }
}

pub(super) fn outside() -> Vec<Sample> {
    let claim = |problems: Problems| Claim { alone: alone(), token: "t".into(), email: HOSTILE.into(), problems };
    let sign_in = |problems, notice| SignIn {
        alone: alone(),
        email: "owner@quay.example".into(),
        next: "/jobs".into(),
        notice,
        problems,
    };
    let wrong = Problems::with("password", "E-mail and password do not match.");
    let mut out = vec![
        ("claim", render(&claim(Problems::none())), "This server is waiting for its owner."),
        ("claim-problem", render(&claim(Problems::with("password", "Too short."))), "There is a problem"),
        ("claim-waiting", render(&Waiting { alone: alone(), stale: false }), "chainhost</span>"),
        ("claim-stale", render(&Waiting { alone: alone(), stale: true }), "This link does not work any more."),
        ("sign-in", render(&sign_in(Problems::none(), Some(Notice::SignedOut))), "You are signed out."),
        ("sign-in-problem", render(&sign_in(wrong, None)), "E-mail and password do not match."),
    ];
    for (name, status) in [("error-403", 403), ("error-404", 404), ("error-500", 500), ("error-503", 503)] {
        let page = ErrorPage {
            alone: alone(),
            status,
            title: error_pages::title(status).into(),
            text: if status == 404 { String::new() } else { "Only an admin of this tenant may do this.".into() },
            request_id: "0199a7c2".into(),
            logged: status == 500,
            signed_in: true,
        };
        out.push((name, render(&page), error_pages::title(status)));
    }
    out
}

pub(super) fn pages() -> Vec<Sample> {
    let jobs =
        Jobs { shell: shell(Place::Jobs), lead: "Two run, four wait, one failed.".into(), queue: None, board: board() };
    let event = |text: &str| EventRow {
        when: when("5 h ago"),
        actor: "owner@quay.example".into(),
        text: text.into(),
        kind: "deployment.published".into(),
        address: "203.0.113.90".into(),
        seq: Some(1287),
    };
    let audit = AuditLog {
        shell: shell(Place::AuditLog),
        lead: "Every change, with who made it and from where.".into(),
        rows: vec![event("published deployment 42 of harbour-cafe"), event(HOSTILE)],
        pager: Pager { shown: "2 events".into(), first: None, next: None },
    };
    let storage = Storage {
        shell: shell(Place::Storage),
        lead: "120 MB in 31 files are in no deployment and can go.".into(),
        place: vec![words::Fact::words_and_paths("Files", "S3, s3://sites/quay; kept at hand in /var/lib/chainhost")],
        figures: vec![
            ("Unused", "120 MB".into(), "31 files".into()),
            ("In use", "3.4 GB".into(), "each file once".into()),
        ],
        rows: (0_u8..5).map(|n| (words::grouped(&Sha256::of(&[n]).hex()), "1.2 MB".into())).collect(),
        more: 26,
        removable: true,
    };
    vec![
        ("jobs", render(&jobs), "Compress lantern-books 9"),
        ("schedules", render(&schedules()), "collect-garbage"),
        ("schedule-new", render(&new_schedule()), "Make the schedule"),
        ("audit-log", render(&audit), "published deployment 42"),
        ("storage", render(&storage), "Remove the unused files"),
    ]
}

#[expect(clippy::too_many_lines, reason = "a list of values")]
pub(super) fn settings() -> Vec<Sample> {
    let settings_shell = || shell(Place::Settings);
    let general = General {
        tabs: settings_of::tabs(&settings_shell(), "General"),
        shell: Shell { theme: Theme::Dark, ..settings_shell() },
        lead: "Chain Host 0.1.0, running for 41 days.".into(),
        facts: vec![
            words::Fact::plain("Version", "0.1.0"),
            words::Fact::path("Data folder", "/var/lib/chainhost"),
            words::Fact::id("Installation", "8f0c1a2b77aa0c9d10b2c3d48f0c1a2b"),
        ],
        stores: vec![
            words::Fact::words_and_paths("Database", "PostgreSQL, at db.example.org:5432/hosting"),
            words::Fact::words_and_paths("Files", HOSTILE),
        ],
    };
    let session = |browser: &str, this| SessionRow {
        id: "0199".into(),
        browser: browser.into(),
        address: "203.0.113.90".into(),
        began: when("2 h ago"),
        seen: when("now"),
        this,
    };
    let sessions = Sessions {
        tabs: settings_of::tabs(&settings_shell(), "Sessions"),
        shell: settings_shell(),
        lead: "You are signed in with 2 browsers.".into(),
        rows: vec![session("Firefox, Linux", true), session(HOSTILE, false)],
    };
    let password = Password {
        tabs: settings_of::tabs(&settings_shell(), "Password"),
        shell: settings_shell(),
        problems: Problems::with("present", "That is not your present password."),
    };
    let key = |name: &str| KeyRow {
        id: "0199".into(),
        name: name.into(),
        hint: "ch_8fK2…".into(),
        may: "Look and deploy",
        owner: String::new(),
        used: Some(when("10 min ago")),
        ends: None,
    };
    let keys = Keys {
        tabs: settings_of::tabs(&settings_shell(), "API keys"),
        shell: settings_shell(),
        lead: "There are 2 keys.".into(),
        rows: vec![key("ci-harbour"), key(HOSTILE)],
        name: String::new(),
        scope: "deploy".into(),
        days: "365".into(),
        problems: Problems::none(),
    };
    let created = KeyCreated {
        tabs: settings_of::tabs(&settings_shell(), "API keys"),
        shell: settings_shell(),
        name: "ci-harbour".into(),
        may: "look, deploy, and make sites",
        secret: "ch_8fK2b0c1d2e3f4g5h6i7j8k9l0m1n2o3p4q5r6s7t8u9v0w1".into(),
        command: "chainhost login --server http://localhost:8080".into(),
    };
    let user = |email: &str, this, disabled| UserRow {
        id: "0199".into(),
        email: email.into(),
        grade: "admin",
        sign: if disabled { Sign::Off } else { Sign::Ok },
        words: if disabled { "Disabled" } else { "May sign in" },
        disabled,
        created: when("3 October"),
        this,
    };
    let users = Users {
        tabs: settings_of::tabs(&settings_shell(), "Users"),
        shell: settings_shell(),
        lead: "3 users, one of them disabled.".into(),
        rows: vec![
            user("owner@quay.example", true, false),
            user("mate@quay.example", false, false),
            user("old@quay.example", false, true),
        ],
        email: HOSTILE.into(),
        role: "user".into(),
        problems: Problems::with("email", "That is not an e-mail address."),
    };
    let node = |name: &str, this, silent| NodeRow {
        name: name.into(),
        this,
        does: if silent { "Jobs" } else { "Sites and panel" },
        labels: if silent { HOSTILE.into() } else { String::new() },
        seen: when("21 s ago"),
        silent,
        duties: if this { "schedules, sealing the audit log".into() } else { String::new() },
    };
    let nodes = Nodes {
        tabs: settings_of::tabs(&settings_shell(), "Nodes"),
        shell: settings_shell(),
        lead: "3 nodes run this installation on one database.".into(),
        rows: vec![
            node("8f0c1a2b77aa0c9d10b2c3d48f0c1a2b", true, false),
            node("77aa0c9d10b2c3d48f0c1a2b8f0c1a2b", false, false),
            node("10b2c3d48f0c1a2b77aa0c9d8f0c1a2b", false, true),
        ],
        shares: true,
    };
    let certificate = |name: &str, more: &str, shown: &str, sign, state| CertificateRow {
        id: "0199".into(),
        name: name.into(),
        more: more.into(),
        shown: shown.into(),
        from: "Got from Let's Encrypt, R11".into(),
        ends: when("14 February"),
        sign,
        state,
    };
    let certificates = |rows: Vec<CertificateRow>, problems| Certificates {
        tabs: settings_of::tabs(&settings_shell(), "Certificates"),
        shell: settings_shell(),
        lead: if rows.is_empty() {
            "There is none yet. Each hostname gets one by itself.".into()
        } else {
            "There are 4 certificates.".into()
        },
        is_asked: true,
        servers: if rows.is_empty() { Vec::new() } else { servers() },
        rows,
        chain: HOSTILE.into(),
        problems,
        may_manage: true,
    };
    let long = "a-very-long-hostname-of-a-harbour-where-ships-and-cafes-are.example";
    let certified = certificates(
        vec![
            certificate("harbour.example", "", "harbour.example", Sign::Ok, "Good"),
            certificate("*.sites.example", "sites.example", "*.sites.example, sites.example", Sign::Look, "Ends soon"),
            certificate(long, HOSTILE, "", Sign::Ok, "Good"),
            certificate("old.example", "www.old.example", "old.example, www.old.example", Sign::Bad, "Over"),
        ],
        Problems::with("key", "This key is not that of the first certificate of the chain."),
    );
    let ban = |network: &str, site: &str, why: &str, by: &str, ends: Option<&str>| BanRow {
        id: "0199".into(),
        network: network.into(),
        site: site.into(),
        why: why.into(),
        by: by.into(),
        made: when("4 minutes ago"),
        ends: ends.map(when),
    };
    let bans = |rows: Vec<BanRow>, problems| Bans {
        tabs: settings_of::tabs(&settings_shell(), "Bans"),
        shell: settings_shell(),
        lead: if rows.is_empty() {
            "Nobody is shut out.".into()
        } else {
            "3 addresses and networks are shut out.".into()
        },
        rows,
        pager: Pager::default(),
        network: HOSTILE.into(),
        site: "harbour-cafe".into(),
        time: "86400".into(),
        reason: HOSTILE.into(),
        problems,
        of_all: true,
    };
    let banned = bans(
        vec![
            ban("192.0.2.77", "harbour-cafe", "Refused too often", "a limit of the site", Some("in 52 minutes")),
            ban("2001:db8:4d2:1007::/64", "", "Copies the photographs again and again", "owner@example.org", None),
            ban("198.51.100.0/24", "lighthouse", HOSTILE, HOSTILE, Some("14 February")),
        ],
        Problems::with(
            "network",
            "`0.0.0.0/0` is too wide for a ban: it would shut out whole countries. The widest is a /16.",
        ),
    );
    let unbanned = bans(Vec::new(), Problems::none());
    let uncertified = certificates(Vec::new(), Problems::none());
    vec![
        ("certificates", render(&certified), "not that of the first certificate"),
        ("certificates-empty", render(&uncertified), "No certificate yet."),
        ("bans", render(&banned), "too wide for a ban"),
        ("bans-empty", render(&unbanned), "Nobody is shut out."),
        ("nodes", render(&nodes), "sealing the audit log"),
        ("settings", render(&general), "data-theme=\"dark\""),
        ("sessions", render(&sessions), "This one"),
        ("keys", render(&keys), "ci-harbour"),
        ("key-created", render(&created), "This is the only time it is shown."),
        ("password", render(&password), "What happens then"),
        ("users", render(&users), "May sign in"),
    ]
}

fn servers() -> Vec<(String, HostnameStanding)> {
    let value = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";
    let text = format!(
        "Add the TXT record `_acme-challenge.sites.example` with the value `{value}` where the DNS of *.sites.example is, beside any other of \
         that name. It is looked for every minute, and the certificate then comes by itself."
    );
    let wild = HostnameStanding { sign: Sign::Look, state: "Waits for you", text, can_retry: true };
    let text = String::from("Certificate until 4 December, renews itself in 2 days");
    let address = HostnameStanding { sign: Sign::Ok, state: "Good", text, can_retry: false };
    vec![("*.sites.example".into(), wild), ("203.0.113.7".into(), address)]
}

pub(super) fn empty() -> Vec<Sample> {
    let mut start = overview();
    start.wants.clear();
    start.latest.clear();
    start.needs = None;
    start.state = "This server is ready for its first site.".into();
    let mut empty_site = super::sites::site();
    empty_site.live = None;
    empty_site.rows.clear();
    let no_sites = Sites {
        shell: shell(Place::Sites),
        lead: "None yet.".into(),
        rows: Vec::new(),
        pager: Pager::default(),
        command: "chainhost deploy ./dist --site my-site --create --server http://localhost:8080".into(),
    };
    let quiet = Board {
        queues: queues(),
        running: Vec::new(),
        failed: Vec::new(),
        waiting: Vec::new(),
        done: Vec::new(),
        may_pause: false,
        tenant: "default".into(),
        tenant_paused: true,
        tenant_running: 1,
        may_pause_tenant: true,
        took: Vec::new(),
        waiting_total: 0,
    };
    let jobs =
        Jobs { shell: shell(Place::Jobs), lead: "Nothing runs and nothing waits.".into(), queue: None, board: quiet };
    let storage = Storage {
        shell: shell(Place::Storage),
        lead: "Every stored file is in a deployment.".into(),
        place: vec![words::Fact::words_and_paths("Files", "/var/lib/chainhost/blobs")],
        figures: Vec::new(),
        rows: Vec::new(),
        more: 0,
        removable: false,
    };
    vec![
        ("overview-empty", render(&start), "No site yet. Give us a folder."),
        ("site-empty", render(&empty_site), "Nothing is published yet."),
        ("sites-empty", render(&no_sites), "No site yet. Give us a folder."),
        ("jobs-empty", render(&jobs), "No failed jobs."),
        ("storage-empty", render(&storage), "Nothing to remove."),
    ]
}
