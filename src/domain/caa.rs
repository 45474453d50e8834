//! Which authorities may give certificates for a name, by its CAA records: RFC 8659, with the parameters of RFC 8657.
//!
//! Where a record cannot be understood, the authority must refuse; so does this.

use super::acme::{self, Kind};

/// One CAA record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// An authority that does not know the tag must refuse.
    pub critical: bool,
    /// `issue`, `issuewild`, `iodef`…, in lower case.
    pub tag: String,
    /// The value.
    pub value: String,
}

/// The authority that would be asked, as far as CAA speaks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// For people: `Let's Encrypt`.
    pub name: String,
    /// The names that it knows as its own in CAA records: `letsencrypt.org`. Empty: they are not known.
    pub domains: Vec<String>,
    /// The account that will ask (its URL), where there is one already.
    pub account: Option<String>,
    /// How the name may be validated: the ways that it offers, of those by which it would be asked.
    pub methods: Vec<Kind>,
}

/// What authorities know as their own, by the end of the host of their directory. One that may know more than is known here is left out.
const DOMAINS: [(&str, &[&str]); 6] = [
    ("letsencrypt.org", &["letsencrypt.org"]),
    ("zerossl.com", &SECTIGO),
    ("sectigo.com", &SECTIGO),
    ("pki.goog", &["pki.goog"]),
    ("ssl.com", &["ssl.com"]),
    ("buypass.com", &["buypass.com", "buypass.no"]),
];
const SECTIGO: [&str; 5] = ["sectigo.com", "trust-provider.com", "usertrust.com", "comodoca.com", "comodo.com"];
/// Authorities that do not look at port 443.
const WITHOUT_TLS: [&str; 2] = ["zerossl.com", "sectigo.com"];

impl Authority {
    /// Let's Encrypt, before there is an account, by a file on port 80.
    pub fn lets_encrypt() -> Self {
        Self {
            name: String::from("Let's Encrypt"),
            domains: vec![String::from("letsencrypt.org")],
            account: None,
            methods: vec![Kind::Http01],
        }
    }

    /// The authority of a directory, before there is an account; `ways`: those by which it would be asked.
    pub fn of(directory: &str, ways: &[Kind]) -> Self {
        let is_of = |end: &str| acme::is_within(directory, end);
        let domains = DOMAINS.iter().find(|it| is_of(it.0)).map_or(&[][..], |it| it.1);
        let has_tls = !WITHOUT_TLS.iter().any(|end| is_of(end));
        Self {
            name: acme::authority_name(directory).to_owned(),
            domains: domains.iter().map(|it| (*it).to_owned()).collect(),
            account: None,
            methods: ways.iter().copied().filter(|it| has_tls || *it != Kind::TlsAlpn01).collect(),
        }
    }

    /// The same, by one way alone.
    #[must_use]
    pub fn by(&self, method: Kind) -> Self {
        Self { methods: vec![method], ..self.clone() }
    }

    /// The name to write into a record.
    pub fn domain(&self) -> &str {
        self.domains.first().map_or("", String::as_str)
    }
}

/// What a set of records says to an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No record limits who may give certificates of this kind.
    Unlimited,
    /// The authority may.
    Allowed,
    /// Nobody may.
    NobodyMay,
    /// Only others may: their domains.
    OthersMay(Vec<String>),
    /// Only another account of this authority may: its URL.
    OtherAccount(String),
    /// The authority may, if the account that asks will be this one.
    OnlyAccount(String),
    /// The authority may, but by other methods only.
    OtherMethods(String),
    /// There is a critical record with a tag that authorities do not know.
    UnknownCritical(String),
    /// Some may, and whether the authority is among them is not known.
    Unsure,
}

impl Verdict {
    /// Whether the authority may, as far as that shows before it is asked.
    pub const fn allows(&self) -> bool {
        matches!(self, Self::Unlimited | Self::Allowed | Self::OnlyAccount(_) | Self::Unsure)
    }

    /// Whether it is sure that the authority refuses by this way, whichever its account is.
    pub const fn bars(&self) -> bool {
        matches!(self, Self::NobodyMay | Self::OthersMay(_) | Self::OtherMethods(_) | Self::UnknownCritical(_))
    }
}

/// The tags that are known: of RFC 8659, and of those registered since.
const KNOWN: [&str; 7] = ["issue", "issuewild", "iodef", "contactemail", "contactphone", "issuemail", "issuevmc"];

/// What the relevant set of records says to `authority`, for a name or (`wild`) for all names below it.
pub fn judge(set: &[Property], authority: &Authority, wild: bool) -> Verdict {
    if let Some(it) = set.iter().find(|it| it.critical && !KNOWN.contains(&it.tag.as_str())) {
        return Verdict::UnknownCritical(it.tag.clone());
    }
    let of = |tag: &str| set.iter().filter(|it| it.tag == tag).collect::<Vec<_>>();
    let mut relevant = if wild { of("issuewild") } else { Vec::new() };
    if relevant.is_empty() {
        relevant = of("issue");
    }
    if relevant.is_empty() {
        return Verdict::Unlimited;
    }
    let issuers: Vec<Issuer> = relevant.iter().map(|it| Issuer::read(&it.value)).collect();
    if issuers.iter().all(|it| it.domain.is_none()) {
        return Verdict::NobodyMay;
    }
    if authority.domains.is_empty() {
        return Verdict::Unsure;
    }
    let mut best = None;
    for issuer in issuers.iter().filter(|it| it.is(authority)) {
        match issuer.verdict(authority) {
            Verdict::Allowed => return Verdict::Allowed,
            // One that may become right is better than one that cannot.
            other if best.is_none() || matches!(other, Verdict::OnlyAccount(_)) => best = Some(other),
            _ => {}
        }
    }
    best.unwrap_or_else(|| {
        let mut others: Vec<String> = issuers.into_iter().filter_map(|it| it.domain).collect();
        others.sort();
        others.dedup();
        Verdict::OthersMay(others)
    })
}

/// The value of `issue` or `issuewild`.
struct Issuer {
    /// `None`: nobody, as for a value that cannot be read.
    domain: Option<String>,
    parameters: Vec<(String, String)>,
}

impl Issuer {
    fn read(value: &str) -> Self {
        let nobody = Self { domain: None, parameters: Vec::new() };
        let mut parts = value.split(';').map(|it| it.trim_matches([' ', '\t']));
        let domain = parts.next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
        let is_domain = |it: &str| it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'.');
        if domain.is_empty() || !is_domain(&domain) {
            return nobody;
        }
        let mut parameters = Vec::new();
        for part in parts.filter(|it| !it.is_empty()) {
            let Some((tag, value)) = part.split_once('=') else { return nobody };
            let (tag, value) = (tag.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
            let may_be = value.bytes().all(|it| it.is_ascii_graphic() && it != b';');
            if tag.is_empty() || !tag.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-') || !may_be {
                return nobody;
            }
            parameters.push((tag.to_ascii_lowercase(), value.to_owned()));
        }
        Self { domain: Some(domain), parameters }
    }

    fn is(&self, authority: &Authority) -> bool {
        self.domain.as_ref().is_some_and(|it| authority.domains.iter().any(|own| own.eq_ignore_ascii_case(it)))
    }

    /// What the parameters say; a parameter twice counts as one that never fits (RFC 8657 §3, §4).
    fn verdict(&self, authority: &Authority) -> Verdict {
        let all =
            |tag: &str| self.parameters.iter().filter(|it| it.0 == tag).map(|it| it.1.as_str()).collect::<Vec<_>>();
        let methods = all("validationmethods");
        let fits = match methods.as_slice() {
            [] => true,
            [one] => one.split(',').any(|it| authority.methods.iter().any(|own| own.word() == it.trim())),
            _ => false,
        };
        if !fits {
            return Verdict::OtherMethods(methods.join(","));
        }
        match (all("accounturi").as_slice(), &authority.account) {
            ([], _) => Verdict::Allowed,
            ([one], Some(account)) if one == account => Verdict::Allowed,
            ([one], None) => Verdict::OnlyAccount((*one).to_owned()),
            (all, _) => Verdict::OtherAccount(all.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> Vec<Property> {
        let property = |text: &&str| {
            let mut parts = text.splitn(3, ' ');
            let (flags, tag, value) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap_or_default());
            Property { critical: flags == "128", tag: tag.to_owned(), value: value.to_owned() }
        };
        texts.iter().map(property).collect()
    }

    #[test]
    fn records_allow_and_forbid() {
        let account = "https://acme.example/acct/1";
        let ours = Authority { account: Some(account.to_owned()), ..Authority::lets_encrypt() };
        let others = |it: &[&str]| Verdict::OthersMay(it.iter().map(|it| (*it).to_owned()).collect());
        for (texts, wild, wanted) in [
            (&[][..], false, Verdict::Unlimited),
            (&["0 iodef mailto:a@example.org"], false, Verdict::Unlimited),
            (&["0 issuewild ;"], false, Verdict::Unlimited),
            (&["0 issuewild ;"], true, Verdict::NobodyMay),
            (&["0 issue letsencrypt.org"], false, Verdict::Allowed),
            (&["0 issue LetsEncrypt.org."], false, Verdict::Allowed),
            (&["0 issue letsencrypt.org"], true, Verdict::Allowed),
            (&["0 issue letsencrypt.org", "0 issuewild other.example"], true, others(&["other.example"])),
            (&["0 issue ca.example", "0 issue letsencrypt.org"], false, Verdict::Allowed),
            (&["0 issue ca.example", "0 issue b.example"], false, others(&["b.example", "ca.example"])),
            (&["0 issue ;"], false, Verdict::NobodyMay),
            (&["0 issue "], false, Verdict::NobodyMay),
            (&["0 issue ; policy=ev"], false, Verdict::NobodyMay),
            (&["0 issue letsencrypt.org; nonsense"], false, Verdict::NobodyMay),
            (&["0 issue lets encrypt.org"], false, Verdict::NobodyMay),
            (&["0 issue letsencrypt.org ; validationmethods=http-01,dns-01"], false, Verdict::Allowed),
            (
                &["0 issue letsencrypt.org;validationmethods=dns-01"],
                false,
                Verdict::OtherMethods(String::from("dns-01")),
            ),
            (&["0 issue letsencrypt.org; accounturi=https://acme.example/acct/1"], false, Verdict::Allowed),
            (
                &["0 issue letsencrypt.org; accounturi=https://acme.example/acct/2"],
                false,
                Verdict::OtherAccount(String::from("https://acme.example/acct/2")),
            ),
            (
                &[
                    "0 issue letsencrypt.org; accounturi=https://acme.example/acct/1; accounturi=https://acme.example/acct/1",
                ],
                false,
                Verdict::OtherAccount(format!("{account}, {account}")),
            ),
            (
                &["0 issue letsencrypt.org; accounturi=https://acme.example/acct/2", "0 issue letsencrypt.org"],
                false,
                Verdict::Allowed,
            ),
            (&["0 issue letsencrypt.org", "128 tbs unknown"], false, Verdict::UnknownCritical(String::from("tbs"))),
            (&["0 issue letsencrypt.org", "0 tbs unknown"], false, Verdict::Allowed),
            (&["128 issue letsencrypt.org"], false, Verdict::Allowed),
        ] {
            assert_eq!(judge(&set(texts), &ours, wild), wanted, "{texts:?}");
        }
        let nameless = Authority::lets_encrypt();
        let only = set(&["0 issue letsencrypt.org; accounturi=https://acme.example/acct/2"]);
        assert_eq!(judge(&only, &nameless, false), Verdict::OnlyAccount(String::from("https://acme.example/acct/2")));
        let own = Authority::of("https://ca.internal/dir", &[Kind::Http01]);
        for (texts, wanted) in [
            (&["0 issue ca.example"][..], Verdict::Unsure),
            (&["0 issue ;"], Verdict::NobodyMay),
            (&[], Verdict::Unlimited),
        ] {
            assert_eq!(judge(&set(texts), &own, false), wanted, "{texts:?}");
        }
    }

    #[test]
    fn authorities_are_known_by_their_directory() {
        let all = [Kind::Http01, Kind::TlsAlpn01, Kind::Dns01];
        for (directory, name, domain, ways) in [
            ("https://acme-staging-v02.api.letsencrypt.org/directory", "Let's Encrypt (staging)", "letsencrypt.org", 3),
            ("https://acme.zerossl.com/v2/DV90", "ZeroSSL", "sectigo.com", 2),
            ("https://dv.acme-v02.api.pki.goog/directory", "Google Trust Services", "pki.goog", 3),
            ("https://notletsencrypt.org/dir", "notletsencrypt.org", "", 3),
        ] {
            let found = Authority::of(directory, &all);
            assert_eq!((found.name.as_str(), found.domain(), found.methods.len()), (name, domain, ways));
        }
        // Each way counts for itself.
        let set = set(&["0 issue sectigo.com; validationmethods=dns-01"]);
        let zero = Authority::of("https://acme.zerossl.com/v2/DV90", &[Kind::Http01, Kind::Dns01]);
        assert_eq!(judge(&set, &zero, false), Verdict::Allowed);
        assert!(
            judge(&set, &zero.by(Kind::Http01), false).bars() && judge(&set, &zero.by(Kind::Dns01), false).allows()
        );
    }
}
