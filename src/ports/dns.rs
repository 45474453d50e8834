//! Names: what DNS says, and which addresses the server may connect to by a name that somebody else wrote.
//!
//! The product resolves by itself, since a static build has no NSS (DECISIONS 30). An engine caches what it was told, for as long as
//! it was told and an hour at most; it has its own time limits and asks one server after the other.
//!
//! SECURITY: whoever connects to a name from outside (a webhook, a repository, a hostname that is checked) asks [`Dns::checked`] and
//! connects to one of the addresses that it gives, and to nothing else: a name that is looked up again may lead elsewhere by then.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::time;

use crate::{
    base::{
        address::{self, Class},
        network::Network,
    },
    domain::{
        Error, Result,
        dns::{Answer, Failure, Kind},
    },
};

/// How long addresses of one kind wait for those of the other.
const OTHER_KIND: Duration = Duration::from_millis(250);

/// Who is asked, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The cache, then the server's own name servers.
    Cached,
    /// Its name servers, whatever the cache has; the answer goes into it.
    Fresh,
    /// The same, without checking signatures (DNSSEC); the cache learns nothing of it.
    Unvalidated,
    /// This name server, which is asked for what it has itself.
    At(SocketAddr),
}

/// An answer to come.
pub type Answered<'a> = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send + 'a>>;

/// What knows names.
pub trait Names: fmt::Debug + Send + Sync {
    /// Asks for the records of a name (lower-case, without a dot at its end). Aliases are followed, but those that a server named
    /// by [`Way::At`] has nothing more about: those are in the answer's chain.
    fn ask<'a>(&'a self, name: &'a str, kind: Kind, way: Way) -> Answered<'a>;

    /// The addresses that the machine itself knows for a name, as in `/etc/hosts`.
    fn local(&self, name: &str) -> Vec<IpAddr>;

    /// The name servers that are asked, the first first.
    fn servers(&self) -> Vec<SocketAddr>;
}

/// Names, and the rule of which addresses may be connected to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dns {
    names: Arc<dyn Names>,
    allowed: Arc<[Network]>,
}

impl Dns {
    /// With networks that may be connected to although they are not public.
    pub fn new(names: Arc<dyn Names>, allowed: &[Network]) -> Self {
        Self { names, allowed: allowed.into() }
    }

    /// Asks for records.
    pub async fn ask(&self, name: &str, kind: Kind, way: Way) -> Result<Answer, Failure> {
        self.names.ask(name, kind, way).await
    }

    /// The name servers that are asked.
    pub fn servers(&self) -> Vec<SocketAddr> {
        self.names.servers()
    }

    /// Whether the server may connect to an address that somebody else has named; else what kind of address it is.
    pub fn admit(&self, address: IpAddr) -> Result<(), Class> {
        let class = address::class(address);
        if class == Class::Public {
            return Ok(());
        }
        let inside = match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(it) => address::inner(it).map(IpAddr::V4),
        };
        let is_allowed = |it: IpAddr| self.allowed.iter().any(|network| network.contains(it));
        if is_allowed(address) || inside.is_some_and(is_allowed) { Ok(()) } else { Err(class) }
    }

    /// The addresses of a host: of itself where it is one, of `/etc/hosts`, of DNS; those of IPv6 first. For hosts that the operator
    /// named.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>> {
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse() {
            return Ok(vec![address]);
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" || name.ends_with(".localhost") {
            // RFC 6761: whatever anybody says.
            return Ok(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]);
        }
        let local = self.names.local(&name);
        if !local.is_empty() {
            return Ok(local);
        }
        let both = self.both(&name).await;
        let found: Vec<IpAddr> = both.iter().flatten().flat_map(Answer::addresses).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        match both.into_iter().find_map(Result::err) {
            Some(why) => Err(away(&name, why)),
            None => Err(Error::invalid(
                "host_unknown",
                format!("There is no address of `{name}` in DNS: see how it is written."),
            )),
        }
    }

    /// What is said of the addresses of IPv6, and of those of IPv4. Some name servers say nothing where they have none of a kind: where there
    /// are some of the other, that is not waited for.
    async fn both(&self, name: &str) -> [Result<Answer, Failure>; 2] {
        let [mut six, mut four] = [Kind::Aaaa, Kind::A].map(|kind| self.names.ask(name, kind, Way::Cached));
        let in_time = async |first: &Result<Answer, Failure>, other: Answered<'_>| {
            if first.as_ref().is_ok_and(|it| it.addresses().next().is_some()) {
                time::timeout(OTHER_KIND, other).await.unwrap_or(Err(Failure::Silent))
            } else {
                other.await
            }
        };
        tokio::select! {
            six = &mut six => {
                let four = in_time(&six, four).await;
                [six, four]
            }
            four = &mut four => {
                let six = in_time(&four, six).await;
                [six, four]
            }
        }
    }

    /// The addresses of a host that may be connected to: the caller connects to one of these.
    pub async fn checked(&self, host: &str) -> Result<Vec<IpAddr>> {
        let all = self.addresses(host).await?;
        let barred = all.iter().find_map(|it| self.admit(*it).err().map(|class| (*it, class)));
        let good: Vec<IpAddr> = all.into_iter().filter(|it| self.admit(*it).is_ok()).collect();
        match (good.is_empty(), barred) {
            (true, Some((address, class))) => Err(Error::invalid(
                "host_not_public",
                format!(
                    "`{host}` leads to {address}, {class}, and this server does not connect there for others: an operator can name its network in `allow` of [outgoing]."
                ),
            )),
            _ => Ok(good),
        }
    }
}

fn away(name: &str, why: Failure) -> Error {
    let text = format!(
        "Name servers give no answer for `{name}` ({why}). Try again in a moment; if that lasts, see `servers` of [dns] or /etc/resolv.conf."
    );
    Error::unavailable("dns_away", text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::domain::dns::Record;

    /// As long as it takes to find out that nobody answers.
    const SILENT_FOR: Duration = Duration::from_secs(3);

    #[derive(Debug)]
    struct Scripted(HashMap<(&'static str, Kind), Result<Vec<&'static str>, Failure>>);

    impl Names for Scripted {
        fn ask<'a>(&'a self, name: &'a str, kind: Kind, _way: Way) -> Answered<'a> {
            let found = self.0.iter().find(|it| *it.0 == (leak(name), kind)).map(|it| it.1.clone());
            let is_silent = found == Some(Err(Failure::Silent));
            Box::pin(async move {
                if is_silent {
                    time::sleep(SILENT_FOR).await;
                }
                let records =
                    found.unwrap_or_else(|| Ok(Vec::new()))?.into_iter().map(|it| match it.parse().unwrap() {
                        IpAddr::V4(it) => Record::A(it),
                        IpAddr::V6(it) => Record::Aaaa(it),
                    });
                Ok(Answer { records: records.collect(), ..Answer::default() })
            })
        }

        fn local(&self, name: &str) -> Vec<IpAddr> {
            if name == "router.lan" { vec!["10.0.0.1".parse().unwrap()] } else { Vec::new() }
        }

        fn servers(&self) -> Vec<SocketAddr> {
            Vec::new()
        }
    }

    /// The same name among those of the script.
    fn leak(name: &str) -> &'static str {
        ["mixed.com", "inside.com", "mapped.com", "dead.com", "six.com", "four.com"]
            .into_iter()
            .find(|it| *it == name)
            .unwrap_or("")
    }

    fn dns(allowed: &[&str]) -> Dns {
        let script = HashMap::from([
            (("mixed.com", Kind::A), Ok(vec!["10.0.0.9", "9.9.9.9"])),
            (("mixed.com", Kind::Aaaa), Ok(vec!["::1", "2620:fe::9"])),
            (("inside.com", Kind::A), Ok(vec!["169.254.169.254"])),
            (("mapped.com", Kind::Aaaa), Ok(vec!["::ffff:10.0.0.9"])),
            (("dead.com", Kind::A), Err(Failure::Silent)),
            (("four.com", Kind::A), Ok(vec!["9.9.9.9"])),
            (("four.com", Kind::Aaaa), Err(Failure::Silent)),
            (("six.com", Kind::A), Err(Failure::Silent)),
            (("six.com", Kind::Aaaa), Ok(vec!["2620:fe::9"])),
        ]);
        let allowed: Vec<Network> = allowed.iter().map(|it| it.parse().unwrap()).collect();
        Dns::new(Arc::new(Scripted(script)), &allowed)
    }

    #[tokio::test]
    async fn a_kind_of_which_nothing_is_said_is_not_waited_for() {
        let begun = time::Instant::now();
        for (host, wanted) in [("four.com", "9.9.9.9"), ("six.com", "2620:fe::9")] {
            assert_eq!(dns(&[]).addresses(host).await.unwrap(), [wanted.parse::<IpAddr>().unwrap()]);
        }
        assert!(begun.elapsed() < SILENT_FOR, "{:?}", begun.elapsed());
        // Where there is nothing else it is.
        assert_eq!(dns(&[]).addresses("dead.com").await.unwrap_err().code, "dns_away");
        assert!(begun.elapsed() >= SILENT_FOR);
    }

    #[tokio::test]
    async fn only_what_was_checked_is_given() {
        let closed = dns(&[]);
        let open = dns(&["10.0.0.0/8"]);
        for (dns, host, wanted) in [
            (&closed, "mixed.com", Ok("2620:fe::9 9.9.9.9")),
            (&open, "Mixed.Com.", Ok("2620:fe::9 10.0.0.9 9.9.9.9")),
            (&closed, "inside.com", Err("host_not_public")),
            (&open, "inside.com", Err("host_not_public")),
            (&closed, "mapped.com", Err("host_not_public")),
            (&open, "mapped.com", Ok("::ffff:10.0.0.9")),
            (&closed, "router.lan", Err("host_not_public")),
            (&open, "router.lan", Ok("10.0.0.1")),
            (&closed, "localhost", Err("host_not_public")),
            (&closed, "evil.localhost", Err("host_not_public")),
            (&closed, "127.0.0.1", Err("host_not_public")),
            (&closed, "[::1]", Err("host_not_public")),
            (&closed, "[2620:fe::9]", Ok("2620:fe::9")),
            (&closed, "dead.com", Err("dns_away")),
            (&closed, "none.com", Err("host_unknown")),
        ] {
            let found = dns.checked(host).await;
            let found = found.map(|it| it.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "));
            assert_eq!(found.as_deref().map_err(|it| it.code), wanted, "{host}");
        }
    }
}
