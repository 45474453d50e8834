//! Authorities of certificates by ACME (RFC 8555), with renewal information (RFC 9773); and providers of DNS, for names that are shown there.
//!
//! Guarantees: the account's key and the certificate's are in no message and no `Debug`. An authority is believed when the system does so, or
//! for a root of its own that the settings name. All answers have a limit of size and time. A way to prove a hostname is asked for once an
//! order: whoever calls decides whether another one is tried.

mod client;
mod https;
pub mod zones;

use std::{net::IpAddr, sync::Arc, time::Duration};

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error as Failed,
    ExternalAccountKey, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use zeroize::Zeroizing;

use self::client::Client;
use crate::{
    base::tasks::Tasks,
    domain::acme::{Challenge, Kind, Problem, Refusal},
    ports::{
        acme::{Authorities, Directory, Failure, Issued, Later, Placed, Stage, Window, Wish},
        dns::Dns,
    },
};

/// How long an authority may look at a hostname, and how long it may then make the certificate.
const LOOKS_MAX: Duration = Duration::from_secs(90);
const MAKES_MAX: Duration = Duration::from_secs(90);

/// Speaks ACME.
#[derive(Debug)]
pub struct Acme {
    tasks: Tasks,
    dns: Dns,
}

impl Acme {
    /// What it needs to run beside goes to `tasks`; `dns` tells where authorities are.
    pub fn new(tasks: Tasks, dns: Dns) -> Arc<Self> {
        Arc::new(Self { tasks, dns })
    }

    fn client(&self, directory: &Directory) -> Result<Client, Refusal> {
        Client::new(directory, self.tasks.clone(), self.dns.clone())
    }

    async fn register(&self, directory: &Directory, email: Option<&str>) -> Result<Zeroizing<String>, Refusal> {
        let client = self.client(directory)?;
        let contact = email.map(|it| format!("mailto:{it}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let wish = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let binding = directory.binding.as_ref().map(|(id, key)| binding(id, key)).transpose()?;
        let made =
            Account::builder_with_http(client.boxed()).create(&wish, directory.url.clone(), binding.as_ref()).await;
        let (_, credentials) = made.map_err(|error| client.refusal(error, None))?;
        serde_json::to_string(&credentials).map(Zeroizing::new).map_err(|error| Refusal::Nonsense(error.to_string()))
    }

    async fn issue(
        &self,
        directory: &Directory,
        credentials: &str,
        wish: &Wish,
        stage: &dyn Stage,
    ) -> Result<Issued, Failure> {
        let client = self.client(directory)?;
        let refused = |error| Failure::from(client.refusal(error, None));
        let credentials: AccountCredentials =
            serde_json::from_str(credentials).map_err(|error| Refusal::Nonsense(error.to_string()))?;
        let account =
            Account::builder_with_http(client.boxed()).from_credentials(credentials).await.map_err(refused)?;
        let mut order = match &wish.order {
            Some(url) => account.order(url.clone()).await.map_err(refused)?,
            None => self.order(&account, directory, wish).await.map_err(refused)?,
        };
        let seen_by = prove(&mut order, &client, wish, stage).await?;
        let waiting = RetryPolicy::new().initial_delay(POLL).backoff(1.3).timeout(MAKES_MAX);
        let key = order.finalize().await.map(Zeroizing::new).map_err(refused)?;
        let chain = order.poll_certificate(&waiting).await.map_err(refused)?;
        Ok(Issued { chain, key, seen_by })
    }

    /// An order. One that cannot say what it replaces says it not: that is a courtesy to the authority.
    async fn order(&self, account: &Account, directory: &Directory, wish: &Wish) -> Result<Order, Failed> {
        let address = wish.name.parse::<IpAddr>().ok();
        let names = [address.map_or_else(|| Identifier::Dns(wish.name.clone()), Identifier::Ip)];
        // The one that public authorities have for addresses.
        let is_short = address.is_some() && account.profiles().any(|it| it.name == SHORT_LIVED);
        let profile = if is_short { Some(SHORT_LIVED) } else { directory.profile.as_deref() };
        let new = || {
            let order = NewOrder::new(&names);
            match profile {
                Some(profile) => order.profile(profile),
                None => order,
            }
        };
        if let Some(replaced) = wish.replaces.as_deref().and_then(|it| identifier(it)) {
            match account.new_order(&new().replaces(replaced)).await {
                // The network, or what stands in front: the next order would fare no better.
                Err(error) if client::is_passed(&error) => return Err(error),
                Err(Failed::Unsupported(_) | Failed::Other(_)) => {}
                Err(Failed::Api(problem)) if is_about_replacing(problem.r#type.as_deref()) => {}
                done => return done,
            }
        }
        account.new_order(&new()).await
    }

    async fn renewal(&self, directory: &Directory, id: &str) -> Result<Option<Window>, Refusal> {
        let client = self.client(directory)?;
        let about: serde_json::Value = client.get(&directory.url).await?;
        let Some(base) = about.get("renewalInfo").and_then(serde_json::Value::as_str) else { return Ok(None) };
        let said: serde_json::Value = client.get(&format!("{base}/{id}")).await?;
        let at = |name: &str| {
            let text = said.get("suggestedWindow")?.get(name)?.as_str()?;
            text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
        };
        match (at("start"), at("end")) {
            (Some(from_ms), Some(until_ms)) if from_ms <= until_ms => Ok(Some(Window { from_ms, until_ms })),
            _ => Err(Refusal::Nonsense(String::from("its renewal information has no window"))),
        }
    }
}

/// The profile of certificates that count for some days, which public authorities want for addresses.
const SHORT_LIVED: &str = "shortlived";
/// Between two looks at an order, at first.
const POLL: Duration = Duration::from_millis(300);

/// Types of problems that say that an order must not replace that certificate: it was replaced already, or is another account's.
fn is_about_replacing(kind: Option<&str>) -> bool {
    kind.is_some_and(|it| {
        ["alreadyReplaced", "malformed", "unauthorized", "conflict"].iter().any(|word| it.ends_with(word))
    })
}

fn identifier(id: &str) -> Option<CertificateIdentifier<'static>> {
    let (authority, serial) = id.split_once('.')?;
    let der = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok();
    Some(CertificateIdentifier::new(der(authority)?.into(), der(serial)?.into()).into_owned())
}

/// The key of an account that was made on a website: Base64 of either alphabet, with padding or without.
fn binding(id: &str, key: &str) -> Result<ExternalAccountKey, Refusal> {
    let plain: String = key.trim().replace('-', "+").replace('_', "/");
    let decoded = BASE64.decode(plain.as_bytes()).or_else(|_| BASE64_NOPAD.decode(plain.as_bytes()));
    let decoded = Zeroizing::new(decoded.map_err(|_| {
        Refusal::Problem(Problem {
            kind: String::from("externalAccountRequired"),
            detail: String::from("the key of the settings is no Base64"),
            ..Problem::default()
        })
    })?);
    Ok(ExternalAccountKey::new(id.to_owned(), &decoded))
}

/// The word of the protocol for a way.
fn word(way: &ChallengeType) -> &str {
    match way {
        ChallengeType::Http01 => "http-01",
        ChallengeType::Dns01 => "dns-01",
        ChallengeType::TlsAlpn01 => "tls-alpn-01",
        ChallengeType::DeviceAttest01 => "device-attest-01",
        ChallengeType::Unknown(word) => word,
        _ => "another one",
    }
}

/// Shows what is asked for, and waits until the authority has seen it; by which way it has, where it looked for this order.
async fn prove(order: &mut Order, client: &Client, wish: &Wish, stage: &dyn Stage) -> Result<Option<Kind>, Failure> {
    let wanted = match wish.way {
        Kind::Http01 => ChallengeType::Http01,
        Kind::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Kind::Dns01 => ChallengeType::Dns01,
    };
    let placed = Placed { url: order.url().to_owned(), expires_ms: client.expires_ms() };
    let refused = |error| Failure::from(client.refusal(error, None));
    let mut seen_by = Some(wish.way);
    let mut all = order.authorizations();
    while let Some(found) = all.next().await {
        let mut found = found.map_err(refused)?;
        // What it has seen lately it does not look at again. All tenants have one account: for whom it looked, and what it saw since, is not known.
        if found.status == AuthorizationStatus::Valid {
            seen_by = None;
            continue;
        }
        let offered: Vec<String> = found.challenges.iter().map(|it| word(&it.r#type).to_owned()).collect();
        let mut challenge = found.challenge(wanted.clone()).ok_or(Refusal::NoWay(offered))?;
        let proof = challenge.key_authorization();
        let shown = Challenge {
            name: wish.name.clone(),
            token: challenge.token.clone(),
            kind: wish.way,
            answer: if wish.way == Kind::Dns01 { proof.dns_value() } else { proof.as_str().to_owned() },
        };
        stage.show(shown, placed.clone()).await?;
        // Some look at once, and say with that what they saw.
        challenge.set_ready().await.map_err(|error| client.refusal(error, Some(wish.way)))?;
    }
    let waiting = RetryPolicy::new().initial_delay(POLL).backoff(1.3).timeout(LOOKS_MAX);
    match order.poll_ready(&waiting).await {
        Ok(OrderStatus::Ready | OrderStatus::Valid) => Ok(seen_by),
        // What an order says of it is general; the challenge knows more.
        Ok(_) => Err(why(order, client, wish.way).await.unwrap_or(Refusal::Slow).into()),
        Err(Failed::Api(problem)) => {
            let general = client.refusal(Failed::Api(problem), Some(wish.way));
            Err(why(order, client, wish.way).await.unwrap_or(general).into())
        }
        Err(error) => Err(refused(error)),
    }
}

/// Why the authority did not believe that a hostname is ours.
async fn why(order: &mut Order, client: &Client, way: Kind) -> Option<Refusal> {
    let mut all = order.authorizations();
    while let Some(found) = all.next().await {
        let mut found = found.ok()?;
        let state = found.refresh().await.ok()?;
        if let Some(problem) = state.challenges.iter().find_map(|it| it.error.clone()) {
            return Some(client.refusal(Failed::Api(problem), Some(way)));
        }
    }
    None
}

impl Authorities for Acme {
    fn register<'a>(
        &'a self,
        directory: &'a Directory,
        email: Option<&'a str>,
    ) -> Later<'a, Result<Zeroizing<String>, Refusal>> {
        Box::pin(self.register(directory, email))
    }

    fn issue<'a>(
        &'a self,
        directory: &'a Directory,
        credentials: &'a str,
        wish: &'a Wish,
        stage: Arc<dyn Stage>,
    ) -> Later<'a, Result<Issued, Failure>> {
        Box::pin(async move { self.issue(directory, credentials, wish, &*stage).await })
    }

    fn renewal<'a>(&'a self, directory: &'a Directory, id: &'a str) -> Later<'a, Result<Option<Window>, Refusal>> {
        Box::pin(self.renewal(directory, id))
    }
}
