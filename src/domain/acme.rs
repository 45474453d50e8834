//! What certificate authorities ask and refuse (ACME, RFC 8555), and what that means for people.

use crate::domain::{Error, Result};

pub mod records;

/// How an authority sees that a hostname is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// By a page in clear, on port 80.
    Http01,
    /// By a certificate for that alone, on port 443 (RFC 8737).
    TlsAlpn01,
    /// By a TXT record in DNS.
    Dns01,
}

impl Kind {
    /// The word of the protocol, which is also stored.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "http-01" => Ok(Self::Http01),
            "tls-alpn-01" => Ok(Self::TlsAlpn01),
            "dns-01" => Ok(Self::Dns01),
            _ => Err(Error::internal(format!("nobody can answer a challenge like `{word}`"))),
        }
    }

    /// Where the authority connects to.
    const fn port(self) -> u16 {
        match self {
            Self::Http01 => 80,
            Self::TlsAlpn01 => 443,
            Self::Dns01 => 53,
        }
    }
}

/// What an authority will ask for, and the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The hostname, in lower case.
    pub name: String,
    /// By what the authority knows it.
    pub token: String,
    /// How it asks.
    pub kind: Kind,
    /// The key authorization (RFC 8555 §8.1), and for a TXT record what that is to say: no secret.
    pub answer: String,
}

/// Where an authority is, in short: the host of its directory.
pub fn authority_name(directory: &str) -> &str {
    let rest = directory.split_once("://").map_or(directory, |(_, rest)| rest);
    match rest.split(['/', ':']).next().unwrap_or(rest) {
        "acme-v02.api.letsencrypt.org" => "Let's Encrypt",
        "acme-staging-v02.api.letsencrypt.org" => "Let's Encrypt (staging)",
        "acme.zerossl.com" => "ZeroSSL",
        "dv.acme-v02.api.pki.goog" => "Google Trust Services",
        host => host,
    }
}

/// Whether a directory is at `domain`, or below it.
pub fn is_within(directory: &str, domain: &str) -> bool {
    let rest = directory.split_once("://").map_or(directory, |(_, rest)| rest);
    let host = rest.split(['/', ':']).next().unwrap_or(rest);
    host.strip_suffix(domain).is_some_and(|it| it.is_empty() || it.ends_with('.'))
}

/// Why an authority gave no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was not reached: no name, no connection, no TLS.
    Away(String),
    /// The certificate of the authority itself is not believed.
    Untrusted(String),
    /// Where its directory should be is none.
    NoDirectory(String),
    /// It answered, and not as the protocol has it.
    Nonsense(String),
    /// It did not come to an end in time.
    Slow,
    /// It does not offer the way to prove a hostname that it was asked for; these it offers.
    NoWay(Vec<String>),
    /// The TXT record that it would look for could not be shown.
    Record(Box<records::Failed>),
    /// It says why, with one of the types of RFC 8555 §6.7 or another.
    Problem(Problem),
}

/// What an authority says is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// The last word of its type: `rateLimited`.
    pub kind: String,
    /// Its sentence.
    pub detail: String,
    /// By which way it looked at the hostname, when that failed.
    pub way: Option<Kind>,
    /// Seconds until it may be asked again, when it says so.
    pub retry_after_s: Option<u64>,
}

/// Whom a refusal concerns: that decides what is tried next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The hostname, or what it leads to: another way may do, another authority would say the same.
    Hostname,
    /// This way at this authority alone: another way may do, and else another authority.
    Way,
    /// This authority, for now or for ever: another one may be asked.
    Authority,
    /// Our account at it: a new one is made.
    Account,
}

/// A refusal, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Stable: `certificate_dns_nxdomain`.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub text: String,
    /// Whom it concerns.
    pub blame: Blame,
}

/// Says that a certificate for `name` has taken so long that it was given up.
pub fn took_too_long(name: &str) -> Explained {
    let text = format!(
        "The authority, or who keeps the zone of {name}, took so long that the order was given up. It is tried again; if that goes on, look whether they \
         say of an outage."
    );
    Explained { code: "certificate_order_slow", text, blame: Blame::Authority }
}

/// Says what a refusal of `authority` (its name, for people) of a certificate for `name` means, and what to do.
pub fn explain(refusal: &Refusal, authority: &str, name: &str) -> Explained {
    let by_authority = |code, text: String| Explained { code, text, blame: Blame::Authority };
    match refusal {
        Refusal::Away(_) => by_authority(
            "certificate_authority_away",
            format!(
                "{authority} is not reached from this server. Does the server get out to the internet on port 443, and does it resolve \
                 names? It is tried again."
            ),
        ),
        Refusal::Untrusted(_) => by_authority(
            "certificate_authority_untrusted",
            format!(
                "The certificate of {authority} itself is not believed here. For an authority of your own, name its root as `ca` in the \
                 settings; else look at the server's clock and its package ca-certificates."
            ),
        ),
        Refusal::NoDirectory(_) => by_authority(
            "certificate_authority_no_directory",
            format!(
                "{authority} answered, and not with what an ACME authority begins with. Is its `directory` in the settings right?"
            ),
        ),
        Refusal::Nonsense(_) => by_authority(
            "certificate_authority_nonsense",
            format!(
                "{authority} answered in the middle of an order for {name}, and not as ACME has it: it has trouble of its own, or a proxy \
                 between changes its answers. It is tried again; if that lasts, look at such a proxy."
            ),
        ),
        Refusal::Slow => by_authority(
            "certificate_authority_slow",
            format!("{authority} did not come to an end in time. It is tried again; there is nothing to do."),
        ),
        Refusal::NoWay(offered) => Explained {
            code: "certificate_no_way",
            text: format!(
                "{authority} does not offer the way by which this server was to show that {name} is its own; it offers {}. Upload a \
                 certificate, or name another authority in the settings.",
                offered.join(", ")
            ),
            blame: Blame::Way,
        },
        Refusal::Record(failed) => records::explain(failed, name),
        Refusal::Problem(problem) => of_problem(problem, authority, name),
    }
}

/// Whether a refusal is one of every hostname, as long as it lasts.
pub fn concerns_all(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Away(_) | Refusal::Untrusted(_) | Refusal::NoDirectory(_) => true,
        // One bad answer in an order says nothing of the others.
        Refusal::Nonsense(_) | Refusal::Slow | Refusal::NoWay(_) | Refusal::Record(_) => false,
        Refusal::Problem(it) => match it.kind.as_str() {
            "rateLimited" => rate(it, "", "").code == "certificate_limit_account" || it.detail.contains("busy"),
            "externalAccountRequired"
            | "invalidContact"
            | "unsupportedContact"
            | "userActionRequired"
            | "invalidProfile"
            | "serverInternal" => true,
            _ => false,
        },
    }
}

fn of_problem(problem: &Problem, authority: &str, name: &str) -> Explained {
    let looked = problem.way.is_some();
    if problem.way == Some(Kind::Dns01)
        && let Some(explained) = records::of_authority(problem, authority, name)
    {
        return explained;
    }
    match problem.kind.as_str() {
        "connection" if problem.detail.contains("could not resolve") => dns(problem, authority, name),
        "connection" => connection(problem, authority, name),
        "dns" => dns(problem, authority, name),
        "unauthorized" if looked => unauthorized(problem, authority, name),
        "rateLimited" => rate(problem, authority, name),
        "incorrectResponse" => Explained {
            code: "certificate_other_answer",
            text: format!(
                "{authority} reached a server under {name} and was given another answer than ours: another program or a proxy answers {} \
                 there. Point the name at this server alone.",
                place(problem)
            ),
            blame: Blame::Hostname,
        },
        "tls" => Explained {
            code: "certificate_tls",
            text: format!(
                "{authority} reached port {} of {name}, and what answers there speaks no TLS or another one: a proxy that ends TLS stands \
                 in front. Let it pass port 80 on, or upload a certificate.",
                problem.way.map_or(443, Kind::port)
            ),
            blame: Blame::Hostname,
        },
        "caa" => Explained {
            code: "certificate_caa",
            text: format!(
                "A CAA record of {name}, or of a domain above it, does not allow {authority} to give certificates. Add a CAA record for it \
                 where the domain's DNS is, or remove those that are there."
            ),
            blame: Blame::Authority,
        },
        _ => of_account(problem, authority, name),
    }
}

/// Where an authority has looked.
fn place(problem: &Problem) -> String {
    format!("on port {}", problem.way.unwrap_or(Kind::Http01).port())
}

fn connection(problem: &Problem, authority: &str, name: &str) -> Explained {
    let (detail, place) = (problem.detail.to_ascii_lowercase(), place(problem));
    let (code, text) = if detail.contains("timeout") || detail.contains("timed out") {
        (
            "certificate_port_silent",
            format!(
                "{authority} got no answer {place} of {name}: a firewall swallows it. Open the port for everybody, in the server's firewall \
                 and in that of its provider."
            ),
        )
    } else if detail.contains("refused") {
        (
            "certificate_port_closed",
            format!(
                "Nobody listens {place} of {name}, says {authority}. Let chainhost listen there, or its proxy pass the port on."
            ),
        )
    } else if detail.contains("no route") || detail.contains("unreachable") {
        (
            "certificate_no_route",
            format!(
                "There is no route to the address of {name}, says {authority}. Is an old AAAA record left that leads nowhere?"
            ),
        )
    } else if detail.contains("reset") || detail.contains("eof") || detail.contains("closed") {
        (
            "certificate_broken_off",
            format!(
                "What answers {place} of {name} broke the connection off, says {authority}. Something in front of this server blocks it: a \
                 filter by country or by program must let authorities through."
            ),
        )
    } else if detail.contains("redirect") {
        (
            "certificate_redirects",
            format!(
                "What answers {place} of {name} sends {authority} from one address to the next. Let it pass /.well-known/acme-challenge/ on \
                 to this server without a redirect."
            ),
        )
    } else {
        ("certificate_unreached", format!("{authority} did not reach {name} {place}. Its words: {}", problem.detail))
    };
    Explained { code, text, blame: Blame::Hostname }
}

fn dns(problem: &Problem, authority: &str, name: &str) -> Explained {
    let detail = problem.detail.to_ascii_lowercase();
    let (code, text) = if detail.contains("nxdomain") {
        (
            "certificate_dns_nxdomain",
            format!(
                "DNS knows no name {name}, says {authority}. Add an A or AAAA record for it that leads to this server."
            ),
        )
    } else if detail.contains("dnssec") || detail.contains("bogus") {
        (
            "certificate_dns_dnssec",
            format!(
                "The DNSSEC signatures of the domain of {name} do not hold, says {authority}. Mend them, or take the DS record away where \
                 the domain is registered."
            ),
        )
    } else if detail.contains("servfail") || detail.contains("refused") {
        (
            "certificate_dns_servfail",
            format!(
                "The name servers of {name} answer with an error, says {authority}. Look at the domain's DNS: name servers that do not know \
                 it, or broken DNSSEC."
            ),
        )
    } else if detail.contains("timeout") || detail.contains("timed out") {
        (
            "certificate_dns_silent",
            format!(
                "The name servers of {name} do not answer, says {authority}. Are those right that the registrar has for the domain?"
            ),
        )
    } else if detail.contains("no valid a") || detail.contains("no valid ip") || detail.contains("no ip addresses") {
        (
            "certificate_dns_no_address",
            format!(
                "{name} is in DNS and has no address, says {authority}. Add an A or AAAA record that leads to this server."
            ),
        )
    } else {
        ("certificate_dns", format!("{authority} could not look {name} up in DNS. Its words: {}", problem.detail))
    };
    Explained { code, text, blame: Blame::Hostname }
}

fn unauthorized(problem: &Problem, authority: &str, name: &str) -> Explained {
    let place = place(problem);
    let (code, text) = if matches!(status(&problem.detail), Some(404 | 410)) {
        (
            "certificate_other_server",
            format!(
                "Another server answers under {name} {place}: it knows nothing of what {authority} asked for. Point the A and AAAA \
                 records at this server, both of them."
            ),
        )
    } else if matches!(status(&problem.detail), Some(400..=499)) {
        (
            "certificate_blocked",
            format!(
                "What answers under {name} {place} refuses {authority}: a password, a firewall for websites or a proxy stands in front. Let \
                 it pass /.well-known/acme-challenge/ on to this server."
            ),
        )
    } else if matches!(status(&problem.detail), Some(500..=599)) {
        (
            "certificate_proxy_fails",
            format!(
                "The proxy in front of {name} does not reach this server, says {authority}. Look at where it sends requests."
            ),
        )
    } else {
        (
            "certificate_unproven",
            format!(
                "What {authority} found under {name} {place} is not what this server shows. Does the name lead to another server too? Its \
                 words: {}",
                problem.detail
            ),
        )
    };
    Explained { code, text, blame: Blame::Hostname }
}

/// The status of an answer that a sentence ends with.
fn status(detail: &str) -> Option<u16> {
    let words = detail.split_whitespace().map(|it| it.trim_matches(|it: char| !it.is_ascii_alphanumeric()));
    words.rev().find_map(|it| it.parse().ok().filter(|it| (100..=599).contains(it)))
}

/// What is written down where a certificate has come from an authority (its name), for the first time or in the place of one.
pub fn issued(name: &str, authority: &str, is_renewed: bool) -> String {
    let verb = if is_renewed { "renewed the certificate" } else { "got a certificate" };
    format!("{verb} for {name} from {authority}")
}

fn rate(problem: &Problem, authority: &str, name: &str) -> Explained {
    let detail = problem.detail.to_ascii_lowercase();
    let later = problem.retry_after_s.map_or_else(
        || String::from("It is tried again later."),
        |seconds| format!("It may be asked again in {}.", span(seconds)),
    );
    let (code, what) = if detail.contains("exact set") || detail.contains("duplicate") {
        (
            "certificate_limit_same",
            format!("{authority} has given as many certificates for {name} this week as it gives for one name."),
        )
    } else if detail.contains("failed auth") {
        (
            "certificate_limit_failed",
            format!(
                "{authority} has seen {name} fail too often and looks at it no more for a while. Mend what was wrong first."
            ),
        )
    } else if detail.contains("registered domain")
        || detail.contains("certificates already issued")
        || detail.contains("certificates (")
    {
        (
            "certificate_limit_domain",
            format!(
                "{authority} has given as many certificates for the domain of {name} this week as it gives for one."
            ),
        )
    } else if detail.contains("new orders") || detail.contains("registrations") {
        ("certificate_limit_account", format!("{authority} was asked by this server too often in the last hours."))
    } else {
        ("certificate_limit", format!("{authority} gives no more certificates for now. Its words: {}", problem.detail))
    };
    Explained { code, text: format!("{what} {later}"), blame: Blame::Authority }
}

/// A span of time as people say it, rounded up.
pub fn span(seconds: u64) -> String {
    let (many, unit) = match seconds {
        0..=119 => (seconds.max(1), "second"),
        120..=7_199 => (seconds.div_ceil(60), "minute"),
        7_200..=172_799 => (seconds.div_ceil(3_600), "hour"),
        _ => (seconds.div_ceil(86_400), "day"),
    };
    format!("{many} {unit}{}", if many == 1 { "" } else { "s" })
}

/// What concerns the account, the order or the authority itself.
fn of_account(problem: &Problem, authority: &str, name: &str) -> Explained {
    let (code, blame, text) = match problem.kind.as_str() {
        "rejectedIdentifier" => (
            "certificate_name_refused",
            Blame::Authority,
            format!(
                "{authority} gives no certificates for {name}: it may not, or such names are no public ones. Upload one for it."
            ),
        ),
        "unsupportedIdentifier" => (
            "certificate_name_unsupported",
            Blame::Authority,
            format!(
                "{authority} gives no certificates for names such as {name}. Upload one, or name another authority in the settings."
            ),
        ),
        "accountDoesNotExist" => (
            "certificate_account_unknown",
            Blame::Account,
            format!("{authority} does not know the account of this server any more. A new one is made."),
        ),
        // It is also said of an order that this account may not have: a new account would not help there.
        "unauthorized" if problem.detail.to_ascii_lowercase().contains("account") => (
            "certificate_account_closed",
            Blame::Account,
            format!("{authority} has closed the account of this server. A new one is made."),
        ),
        "unauthorized" => (
            "certificate_order_refused",
            Blame::Authority,
            format!(
                "{authority} does not let this server order a certificate for {name}: see there what its account may. Its words: {}",
                problem.detail
            ),
        ),
        _ => return of_order(problem, authority, name),
    };
    Explained { code, text, blame }
}

/// What concerns what the settings say, and the authority itself.
fn of_order(problem: &Problem, authority: &str, name: &str) -> Explained {
    let (code, text) = match problem.kind.as_str() {
        "externalAccountRequired" => (
            "certificate_account_binding",
            format!(
                "{authority} wants an account that was made on its website. Put `eab_kid` and `eab_key_file`, which it gives there, into the \
                 settings."
            ),
        ),
        "invalidContact" | "unsupportedContact" => (
            "certificate_contact",
            format!(
                "{authority} does not take the `email` of the section [acme] in the settings. Give another one, or none."
            ),
        ),
        "userActionRequired" => (
            "certificate_terms",
            format!(
                "{authority} has new terms, to which somebody has to agree on its website. Its words: {}",
                problem.detail
            ),
        ),
        "invalidProfile" => (
            "certificate_profile",
            format!("{authority} has no such `profile` as the settings name. Its words: {}", problem.detail),
        ),
        "serverInternal" => (
            "certificate_authority_broken",
            match problem.retry_after_s {
                None => format!("{authority} has trouble of its own. It is tried again; there is nothing to do."),
                Some(seconds) => format!(
                    "{authority} has trouble of its own, and wants to be left alone for {}. It is tried again after that; there is nothing to do.",
                    span(seconds)
                ),
            },
        ),
        // Each try had a new one, which it has given itself (RFC 8555 §6.5): several of its servers do not know of one another.
        "badNonce" => (
            "certificate_authority_nonce",
            format!(
                "{authority} took none of the numbers that it has given for the next request: it has trouble of its own. It is tried again; there \
                 is nothing to do."
            ),
        ),
        "badCSR" | "badPublicKey" | "badSignatureAlgorithm" => (
            "certificate_key_refused",
            format!(
                "{authority} takes no keys such as this server makes (P-256). Name another authority. Its words: {}",
                problem.detail
            ),
        ),
        _ => (
            "certificate_refused",
            format!("{authority} refused a certificate for {name}. Its words: {}", problem.detail),
        ),
    };
    Explained { code, text, blame: Blame::Authority }
}

#[cfg(test)]
mod tests;
