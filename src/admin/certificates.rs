//! Certificates that the server keeps: those that people gave and those that an authority gave; and how it stands with a hostname's.

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;

use super::{
    form::Problems,
    gate::Answer,
    questions::Question,
    settings,
    shell::{Crumb, Notice, Place, Shell, Sign, Tab},
    visit::{Fields, Visit, again, go, show},
    words::{self, Fact, When},
};
use crate::{
    base::secret::Secret,
    domain::{
        Error, Kind, Result,
        access::Right,
        certificate::{Standing, kept::Source},
    },
    services::{certificates::CertificateView, certify::HostnameCertificate},
};

/// The certificates, and the form for one more.
#[derive(Debug, Template)]
#[template(path = "settings/certificates.html")]
pub(super) struct Certificates {
    pub(super) shell: Shell,
    pub(super) tabs: Vec<Tab>,
    pub(super) lead: String,
    /// Whether an authority is asked for what has none.
    pub(super) is_asked: bool,
    pub(super) rows: Vec<CertificateRow>,
    /// What has one besides hostnames of sites, and how it stands with that.
    pub(super) servers: Vec<(String, HostnameStanding)>,
    /// What was pasted, but never a key.
    pub(super) chain: String,
    pub(super) problems: Problems,
    pub(super) may_manage: bool,
}

/// A certificate.
#[derive(Clone, Debug)]
pub(super) struct CertificateRow {
    pub(super) id: String,
    pub(super) name: String,
    /// Other names in it.
    pub(super) more: String,
    /// The hostnames for which it is shown.
    pub(super) shown: String,
    pub(super) from: String,
    pub(super) ends: When,
    pub(super) sign: Sign,
    pub(super) state: &'static str,
}

/// Names that a cell shows.
const NAMES_SHOWN: usize = 4;

fn listed(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES_SHOWN).map(String::as_str).collect();
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The short name of who has signed: `R11` of `CN=R11,O=Let's Encrypt,C=US`, with the organisation in front.
fn signed_by(issuer: &str) -> String {
    let part = |key: &str| issuer.split(',').find_map(|it| it.trim().strip_prefix(key)).map(str::to_owned);
    match (part("O="), part("CN=")) {
        (Some(of), Some(name)) => format!("{of}, {name}"),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => issuer.to_owned(),
    }
}

impl CertificateRow {
    fn new(it: &CertificateView, now_ms: i64) -> Self {
        let (sign, state) = match it.standing {
            Standing::Good => (Sign::Ok, "Good"),
            Standing::EndsSoon(_) => (Sign::Look, "Ends soon"),
            Standing::Over => (Sign::Bad, "Over"),
            Standing::Early => (Sign::Look, "Not yet"),
        };
        let (name, more) = it
            .kept
            .names
            .split_first()
            .map_or((String::new(), String::new()), |(first, more)| (first.clone(), listed(more)));
        Self {
            id: it.kept.id.to_string(),
            name,
            more,
            shown: listed(&it.shown_for),
            from: match it.kept.source {
                Source::Uploaded => format!("Given; signed by {}", signed_by(&it.kept.issuer)),
                Source::Acme => format!("Got from {}", signed_by(&it.kept.issuer)),
            },
            ends: When::at(it.kept.until_ms, now_ms),
            sign,
            state,
        }
    }
}

async fn page(visit: &Visit, chain: String, problems: Problems) -> Result<Certificates> {
    let shell = visit.shell(Place::Settings).await?;
    let now = visit.now_ms();
    let found = visit.services.list_certificates(&visit.actor).await?;
    let own = visit.services.list_server_names();
    let mut servers = Vec::new();
    if !own.is_empty() && visit.may(Right::ManageServer) {
        let all = visit.services.list_hostname_certificates(&visit.actor).await?;
        let of = all.into_iter().filter(|it| own.contains(&it.hostname));
        servers.extend(of.filter_map(|it| Some((it.hostname.clone(), HostnameStanding::new(&it, now)?))));
    }
    let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
    let is_asked = visit.services.acme.is_some();
    let lead = match (count, is_asked) {
        (0, true) => String::from("There is none yet. Each hostname gets one by itself."),
        (0, false) => String::from("There is none yet."),
        (1, _) => String::from("There is one certificate."),
        (many, _) => format!("There are {}.", words::count(many, "certificate", "certificates")),
    };
    Ok(Certificates {
        tabs: settings::tabs(&shell, "Certificates"),
        shell,
        lead,
        is_asked,
        servers,
        rows: found.iter().map(|it| CertificateRow::new(it, now)).collect(),
        chain,
        problems,
        may_manage: visit.may(Right::ManageSites),
    })
}

/// The certificates.
pub(super) async fn list(visit: Visit) -> Answer {
    show(&page(&visit, String::new(), Problems::none()).await?)
}

#[derive(Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    chain: String,
    key: Secret,
}

/// Takes one in.
pub(super) async fn upload(visit: Visit, Fields(sent): Fields<Sent>) -> Answer {
    match visit.services.upload_certificate(&visit.actor, &sent.chain, &sent.key).await {
        Ok(made) if made.shown_for.is_empty() => {
            go(&visit.services, "/settings/certificates", Some(Notice::CertificateIdle))
        }
        Ok(_) => go(&visit.services, "/settings/certificates", Some(Notice::CertificateAdded)),
        Err(error) if matches!(error.kind, Kind::Invalid | Kind::TooLarge | Kind::Conflict) => {
            let problems = Problems::of(&error, &["chain", "key"]);
            again(&error, &page(&visit, sent.chain, problems).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// The question before one goes.
pub(super) async fn remove_question(visit: Visit, Path(id): Path<String>) -> Answer {
    visit.actor.require(Right::ManageSites)?;
    let all = visit.services.list_certificates(&visit.actor).await?;
    let found = all.into_iter().find(|it| it.kept.id.to_string() == id);
    let row = CertificateRow::new(&found.ok_or_else(|| Error::not_found("certificate"))?, visit.now_ms());
    let shown = if row.shown.is_empty() { String::from("no hostname") } else { row.shown };
    let text = if visit.services.acme.is_some() {
        "Its hostnames are shown another one that is for them, if there is one; else an authority is asked for one, an hour after the last time at the soonest."
    } else {
        "Its hostnames are shown another one that is for them, if there is one; else browsers warn of one that the server signs itself."
    };
    show(&Question {
        shell: visit.shell(Place::Settings).await?,
        crumbs: vec![Crumb::new("Settings", "/settings"), Crumb::new("Certificates", "/settings/certificates")],
        here: String::from("Remove"),
        title: format!("Remove the certificate for {}?", row.name),
        text: vec![String::from(text)],
        facts: vec![Fact::plain("Shown for", shown), Fact::plain("Came", row.from), Fact::plain("Ends", row.ends.text)],
        keep: (String::from("Keep it"), String::from("/settings/certificates")),
        act: (String::from("Remove the certificate"), format!("/settings/certificates/{id}/remove")),
        destroys: true,
        asked: None,
        typed: None,
        hidden: Vec::new(),
        problems: Problems::none(),
    })
}

/// Removes one.
pub(super) async fn remove(visit: Visit, Path(id): Path<String>) -> Answer {
    let id = id.parse().map_err(|_| Error::not_found("certificate"))?;
    visit.services.delete_certificate(&visit.actor, id).await?;
    go(&visit.services, "/settings/certificates", Some(Notice::CertificateRemoved))
}

/// How it stands with the certificate of a hostname, beside its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostnameStanding {
    pub(super) sign: Sign,
    pub(super) state: &'static str,
    pub(super) text: String,
    /// Whether an authority can be asked for it now.
    pub(super) can_retry: bool,
}

impl HostnameStanding {
    /// `None` where nothing is to be said: no certificate is kept for it, and none is asked for.
    pub(super) fn new(it: &HostnameCertificate, now_ms: i64) -> Option<Self> {
        let order = it.order.as_ref().filter(|_| it.is_asked);
        let problem = order.and_then(|it| it.problem.as_ref()).map(|(_, text)| text.as_str());
        let next = || order.map_or_else(String::new, |it| When::at(it.next_ms, now_ms).text);
        let again = || format!("Tried again {}.", next());
        let until = |ms: i64| When::at(ms, now_ms).text;
        let is_awaited = !it.records.is_empty();
        Some(match (it.shown, problem) {
            (shown, Some(problem)) if is_awaited => Self {
                sign: Sign::Look,
                state: "Waits for you",
                text: match shown {
                    Some((_, _, until_ms)) => format!("Certificate until {}. {problem}", until(until_ms)),
                    None => problem.to_owned(),
                },
                can_retry: true,
            },
            (Some((_, _, until_ms)), Some(problem)) => Self {
                sign: Sign::Look,
                state: "Not renewed",
                text: format!("Certificate until {}. {problem} {}", until(until_ms), again()),
                can_retry: true,
            },
            (Some((_, Source::Acme, until_ms)), None) => Self {
                sign: Sign::Ok,
                state: "Good",
                text: match order {
                    Some(_) => format!("Certificate until {}, renews itself {}", until(until_ms), next()),
                    None => format!("Certificate until {}", until(until_ms)),
                },
                can_retry: false,
            },
            (Some((_, Source::Uploaded, until_ms)), None) => Self {
                sign: Sign::Ok,
                state: "Good",
                text: format!("Certificate until {}, given by a person", until(until_ms)),
                can_retry: false,
            },
            (None, Some(problem)) => Self {
                sign: Sign::Bad,
                state: "No certificate",
                text: format!("{problem} {}", again()),
                can_retry: true,
            },
            (None, None) if it.is_asked => Self {
                sign: Sign::Now,
                state: "Under way",
                text: String::from("A certificate is asked for."),
                can_retry: false,
            },
            (None, None) => return None,
        })
    }
}

/// Has an authority asked for a hostname of a site now.
pub(super) async fn retry(visit: Visit, Path((name, hostname)): Path<(String, String)>) -> Answer {
    visit.services.retry_certificate(&visit.actor, &hostname).await?;
    go(&visit.services, &format!("/sites/{name}/hostnames"), Some(Notice::CertificateAsked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::certificate::kept::Order;

    #[test]
    fn a_hostname_says_how_its_certificate_stands() {
        const DAY_MS: i64 = 86_400_000;
        let now = 1_767_225_600_000;
        let id = "0".repeat(32).parse::<crate::base::ids::Id>().unwrap();
        let order = |problem: Option<&str>| {
            Some(Order {
                tenant: id.into(),
                name: String::new(),
                certificate: None,
                authority: None,
                next_ms: now + 300_000,
                asked_ms: None,
                failures: 0,
                problem: problem.map(|text| (String::from("code"), text.to_owned())),
            })
        };
        let said = |shown: Option<Source>, order: Option<Order>, is_asked| {
            let shown = shown.map(|source| (id.into(), source, now + 40 * DAY_MS));
            let it = HostnameCertificate { hostname: String::new(), shown, order, is_asked, records: Vec::new() };
            HostnameStanding::new(&it, now).map(|it| (it.state, it.text, it.can_retry))
        };
        let (given, got) = (Some(Source::Uploaded), Some(Source::Acme));
        let words = |state, text: &str, retry| Some((state, text.to_owned(), retry));
        assert_eq!(said(None, None, false), None);
        assert_eq!(said(None, None, true), words("Under way", "A certificate is asked for.", false));
        assert_eq!(
            said(got, order(None), true),
            words("Good", "Certificate until 10 February, renews itself in 5 min", false)
        );
        assert_eq!(said(given, None, false), words("Good", "Certificate until 10 February, given by a person", false));
        assert_eq!(
            said(None, order(Some("It leads elsewhere.")), true),
            words("No certificate", "It leads elsewhere. Tried again in 5 min.", true)
        );
        assert_eq!(
            said(got, order(Some("It leads elsewhere.")), true),
            words("Not renewed", "Certificate until 10 February. It leads elsewhere. Tried again in 5 min.", true)
        );
    }

    #[test]
    fn who_has_signed_is_said_shortly() {
        for (issuer, wanted) in [
            ("CN=R11,O=Let's Encrypt,C=US", "Let's Encrypt, R11"),
            ("CN=Pebble Intermediate CA 15ddb1", "Pebble Intermediate CA 15ddb1"),
            ("C=US", "C=US"),
        ] {
            assert_eq!(signed_by(issuer), wanted);
        }
    }
}
