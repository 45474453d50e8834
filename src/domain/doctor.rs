//! Whether an authority would give a certificate for a hostname: what was seen goes in, findings come out.
//!
//! A finding has a stable code and one sentence that says what to change, and is true by what was seen alone. Nothing here looks at
//! anything: `services/doctor` does.

mod addresses;
pub mod leads;
mod limits;
mod names;
pub mod orders;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use self::orders::Failed;
use super::{
    acme::Kind,
    caa::{Authority, Property},
    dns::{Answer, Failure},
};
use crate::base::address::Class;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// As it should be.
    Good,
    /// A certificate will probably come; somebody should look all the same.
    Warning,
    /// No certificate will come.
    Problem,
}

impl Level {
    /// The word in the API.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable: `aaaa_elsewhere`.
    pub code: &'static str,
    /// How bad it is.
    pub level: Level,
    /// One sentence: how it is, and what to change.
    pub text: String,
    /// What was seen, in few words; may be empty.
    pub seen: String,
}

impl Finding {
    fn new(level: Level, code: &'static str, text: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { code, level, text: text.into(), seen: seen.into() }
    }

    /// The same as something to look at, where another way is left.
    fn eased(self, way: &str) -> Self {
        if self.level < Level::Problem {
            return self;
        }
        let text = format!("{}; a certificate can come without that, {way}.", self.text.trim_end_matches('.'));
        Self { level: Level::Warning, text, ..self }
    }

    /// Whether it is about CAA records.
    pub fn is_of_caa(&self) -> bool {
        self.code.starts_with("caa_")
    }

    fn good(code: &'static str, text: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::new(Level::Good, code, text, seen)
    }

    fn warning(code: &'static str, text: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::new(Level::Warning, code, text, seen)
    }

    fn problem(code: &'static str, text: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::new(Level::Problem, code, text, seen)
    }
}

/// What keeps every authority from giving one.
const HOPELESS: [&str; 11] = [
    "a_elsewhere",
    "aaaa_elsewhere",
    "caa_forbids",
    "caa_nobody",
    "cname_dangling",
    "cname_loop",
    "dns_no_address",
    "dns_no_name",
    "dns_servfail",
    "dnssec_broken",
    "other_chainhost",
];

/// All that was found for a hostname, the worst first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The hostname.
    pub host: String,
    /// At least one.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How bad it is as a whole.
    pub fn worst(&self) -> Level {
        self.findings.iter().map(|it| it.level).max().unwrap_or(Level::Good)
    }

    /// Whether an authority may be asked.
    pub fn is_ready(&self) -> bool {
        self.worst() < Level::Problem
    }

    /// What keeps every authority from giving one, whichever way it looks and whatever stands between it and this server. What only
    /// this server may not see, and what is wrong with one port alone, is not among it.
    pub fn hopeless(&self) -> Option<&Finding> {
        self.findings.iter().find(|it| it.level == Level::Problem && HOPELESS.contains(&it.code))
    }

    /// The sentence of the worst finding, or that all is well.
    pub fn summary(&self) -> String {
        match self.findings.first() {
            Some(worst) if worst.level > Level::Good => worst.text.clone(),
            _ => format!("Nothing stands in the way of a certificate for {}.", self.host),
        }
    }
}

/// Whose a hostname is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// A site of who asks.
    Site(String),
    /// The panel's.
    Panel,
    /// It is for all names below the domain of the sites.
    Star,
    /// Nobody's here.
    Nobody,
}

/// An address of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// The address.
    pub address: IpAddr,
    /// Whether the machine itself has it; else the settings say so, and a NAT stands in between.
    pub is_here: bool,
}

/// What was answered by a name server, for both kinds of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// IPv4.
    pub a: Result<Answer, Failure>,
    /// IPv6.
    pub aaaa: Result<Answer, Failure>,
}

/// A name server of the zone, asked directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneServer {
    /// Its name.
    pub name: String,
    /// The address where it was asked.
    pub address: IpAddr,
    /// What it said.
    pub looked: Looked,
}

/// Servers of a zone that show different CAA records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The name that they were asked for.
    pub at: String,
    /// Two of them, with what each shows.
    pub said: [(String, Vec<Property>); 2],
}

/// The CAA records that count for a name: where they stand, and they.
pub type Relevant = Option<(String, Vec<Property>)>;

/// What came of a request for this server's own word at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This server answered, or another node of it; perhaps through something that says what it is.
    Here {
        /// The header `Server` of the answer, which we do not send.
        through: Option<String>,
    },
    /// Another installation of this program.
    OtherChainHost,
    /// Something else that speaks HTTP.
    Other {
        /// The status.
        status: u16,
        /// Its header `Server`.
        server: Option<String>,
        /// Where it sends the client.
        location: Option<String>,
    },
    /// Nothing listens.
    Closed,
    /// Nothing came back: a firewall, or no machine.
    Silent,
    /// There is no way to it from here.
    NoRoute,
    /// The connection ended without an answer.
    BrokeOff,
    /// Something that does not speak HTTP.
    NotHttp,
    /// It was not tried, because of what kind of address it is.
    Barred(Class),
}

/// An address with what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Where.
    pub address: IpAddr,
    /// What, in clear.
    pub outcome: Outcome,
    /// What, by TLS; `None`: nobody would ask so.
    pub by_tls: Option<Outcome>,
}

/// All that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The hostname, also with `*.` in front; what was looked up then is the domain behind it.
    pub host: String,
    /// Whose it is.
    pub belongs: Belongs,
    /// The port that authorities ask at: 80.
    pub port: u16,
    /// Addresses of this server.
    pub own: Vec<Own>,
    /// The name servers that this server asks, for people.
    pub resolvers: Vec<String>,
    /// What they said.
    pub looked: Looked,
    /// They failed, and do not when they are told not to check DNSSEC.
    pub fails_by_dnssec: bool,
    /// The zone of the name (or of the last alias), where it was found, and what its own servers said.
    pub zone: Option<(String, Vec<ZoneServer>)>,
    /// CAA, or at which name it could not be found out.
    pub caa: Result<Relevant, (String, Failure)>,
    /// Whether the servers of the zone disagree on them, or on those of a name below.
    pub caa_differs: Option<Disagreement>,
    /// What came of each address.
    pub visits: Vec<Visit>,
    /// Why there was no certificate when one was asked for last, if there was none.
    pub failed: Option<Failed>,
    /// How many certificates Let's Encrypt has given for exactly this name in the last seven days, where it is asked.
    pub given: Option<i64>,
    /// Who would be asked, one after the other: at least one.
    pub authorities: Vec<Authority>,
}

impl Observed {
    /// Whether it is for all names below a domain.
    pub fn is_wild(&self) -> bool {
        self.host.starts_with("*.")
    }

    /// The name that was looked up.
    pub fn base(&self) -> &str {
        self.host.strip_prefix("*.").unwrap_or(&self.host)
    }

    /// The addresses that count: what the servers of the zone say, as authorities ask them; else what this server's resolver says.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let mut found: Vec<IpAddr> = self.answered().flat_map(|it| addresses(&it.looked)).collect();
        if self.answered().next().is_none() {
            found = addresses(&self.looked);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The servers of the zone that answered.
    fn answered(&self) -> impl Iterator<Item = &ZoneServer> {
        self.zone.iter().flat_map(|it| &it.1).filter(|it| it.looked.a.is_ok() || it.looked.aaaa.is_ok())
    }

    /// This server's own addresses of a family, for people: `203.0.113.5`, or what to put there.
    fn own_text(&self, is_v4: bool) -> String {
        let own: Vec<String> =
            self.own.iter().filter(|it| it.address.is_ipv4() == is_v4).map(|it| it.address.to_string()).collect();
        if own.is_empty() { String::from("the address of this server") } else { own.join(" or ") }
    }

    fn has_own(&self, is_v4: bool) -> bool {
        self.own.iter().any(|it| it.address.is_ipv4() == is_v4)
    }
}

/// The addresses in what was answered.
fn addresses(looked: &Looked) -> Vec<IpAddr> {
    let both = looked.a.iter().chain(&looked.aaaa);
    let mut all: Vec<IpAddr> = both.flat_map(Answer::addresses).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// As `203.0.113.5 and 2001:db8::5`.
fn listed<T: ToString>(all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(T::to_string).collect();
    match all.split_last() {
        None => String::from("nothing"),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// What follows from what was seen.
pub fn examine(seen: &Observed) -> Report {
    let mut findings = vec![owner(seen)];
    findings.extend(reserved(seen));
    findings.extend(names::examine(seen));
    findings.extend(addresses::examine(seen));
    if seen.has_left(Kind::Dns01) {
        findings = findings.into_iter().map(|it| by_record(seen, it)).collect();
    }
    findings.extend(limits::examine(seen));
    findings.extend(limits::differ(seen));
    findings.extend(orders::examine(seen));
    // Stable: what is found first comes first among those that are as bad.
    findings.sort_by_key(|it| std::cmp::Reverse(it.level));
    Report { host: seen.host.clone(), findings }
}

/// A finding on where a name leads, where a record in DNS shows that it is ours.
fn by_record(seen: &Observed, it: Finding) -> Finding {
    let is_of_place = |it: &Finding| {
        addresses::CODES.contains(&it.code) || ["cname_dangling", "dns_no_address", "dns_no_name"].contains(&it.code)
    };
    // A name of a site has to lead here before a record is set for it.
    let must_lead = !matches!(seen.belongs, Belongs::Panel | Belongs::Star);
    if !is_of_place(&it) || must_lead && (HOPELESS.contains(&it.code) || it.code == "aaaa_wrong") {
        return it;
    }
    it.eased("by a record in DNS (DNS-01)")
}

fn owner(seen: &Observed) -> Finding {
    let host = &seen.host;
    match &seen.belongs {
        Belongs::Site(site) => Finding::good("site_has_it", format!("{host} belongs to the site {site}."), ""),
        Belongs::Panel => Finding::good("panel_has_it", format!("{host} is the address of this panel."), ""),
        Belongs::Star => Finding::good(
            "star_has_it",
            format!("One certificate is asked for {host}, so for all sites that have no hostname of their own."),
            "",
        ),
        Belongs::Nobody => Finding::problem(
            "host_unknown",
            format!(
                "No site of yours answers under {host}: give it to one, in the panel or with `chainhost sites hostnames add {host} --site NAME`."
            ),
            "",
        ),
    }
}

/// Ends of names that are nobody's on the internet (RFC 6761, RFC 8375, RFC 7686 and ICANN's `internal`).
const RESERVED: [&str; 9] =
    ["localhost", "local", "internal", "test", "example", "invalid", "onion", "home.arpa", "localdomain"];

fn reserved(seen: &Observed) -> Option<Finding> {
    let host = &seen.host;
    let end = RESERVED.iter().find(|it| super::dns::is_within(host, it))?;
    let text = format!(
        "Names below `{end}` are nobody's on the internet, so that only an authority of your own gives a certificate for {host}: use a name of a domain that you have registered."
    );
    Some(Finding::warning("name_reserved", text, ""))
}
