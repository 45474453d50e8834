//! Where a PostgreSQL is and how it is reached: a `postgres://` URL, TLS, time limits.
//!
//! Guarantees: the words of libpq's `sslmode` mean here what they mean there; the password is never in a message, nor in `Debug`; a
//! connection is said to lead to one session only when that session knows a word that nobody but this connection has told.
//! It never keeps a connection: [`Address::connect`] makes one, on a plain thread (the client drives its own runtime).

use std::{
    fs,
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio_postgres::{
    Config, Error as Told, SimpleQueryMessage,
    config::{Host, LoadBalanceHosts, SslMode},
    error::SqlState,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    Limits,
    client::{Client, Unmade},
    session::whole,
};
use crate::{
    base::{
        random,
        secret::Secret,
        server_certificate::{Known, Verifier},
    },
    config::database::public_part,
    domain::{Error, Result},
};

/// Data that is not acknowledged for this long means that the network is cut.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(15);
/// A connection on which nothing has come for this long is looked at by the system, and lost when its other end is gone. It also keeps
/// what stands between from forgetting it.
const QUIET_MAX: Duration = Duration::from_secs(30);
/// Between such looks when the first has no answer, and how many there are.
const LOOK_AGAIN: (Duration, u32) = (Duration::from_secs(5), 3);

/// A PostgreSQL that can be connected to.
pub(super) struct Address {
    /// One for each host, in the order in which they are tried.
    hosts: Vec<Config>,
    limits: Limits,
    tls: Option<MakeRustlsConnect>,
    name: String,
    /// Whoever answers there takes no settings with a connection, or tells none to the session: it is no server, but a pooler.
    is_pooler: AtomicBool,
}

/// The setting of a session that a connection names its word in.
const WORD: &str = "chainhost.connection";

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Address({})", self.name)
    }
}

impl Address {
    /// Reads `postgres://user:password@host:port/database?sslmode=…&sslrootcert=…`.
    pub(super) fn parse(url: &Secret) -> Result<Self> {
        let text = url.expose();
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(wrong("it must begin with postgres://"));
        }
        let authority =
            text.split_once("://").map_or("", |(_, rest)| rest).split(['/', '?']).next().unwrap_or_default();
        if authority.matches('@').count() > 1 {
            return Err(wrong("there is more than one @ before the host; in a password write it as %40"));
        }
        let (plain, tls) = split_tls(text)?;
        let mut config: Config = plain.parse().map_err(|error| wrong(&whole(&error)))?;
        if config.get_hosts().is_empty() {
            return Err(wrong("it names no host"));
        }
        config.application_name("chainhost").tcp_user_timeout(UNACKNOWLEDGED_MAX).keepalives_idle(QUIET_MAX);
        config.keepalives_interval(LOOK_AGAIN.0).keepalives_retries(LOOK_AGAIN.1);
        let connector = match tls.mode {
            Mode::Disable => {
                config.ssl_mode(SslMode::Disable);
                None
            }
            Mode::Prefer => {
                config.ssl_mode(SslMode::Prefer);
                Some(MakeRustlsConnect::new(client(&tls)?))
            }
            Mode::Require | Mode::VerifyFull => {
                config.ssl_mode(SslMode::Require);
                Some(MakeRustlsConnect::new(client(&tls)?))
            }
        };
        let mut limits = Limits::default();
        limits.connect = config.get_connect_timeout().copied().unwrap_or(limits.connect);
        let name = public_part(text).to_owned();
        Ok(Self { hosts: one_by_one(&config), limits, tls: connector, name, is_pooler: AtomicBool::new(false) })
    }

    /// The same with other time limits.
    pub(super) fn within(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// How long it may take to answer.
    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }

    /// Host, port and database, for people.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A new connection, and whether all of its statements run in one session. Blocks; never on a thread of an async runtime. One that
    /// was ended while it was made (somebody ends all sessions, a proxy before the server is restarted) is made once more, since the
    /// server is there.
    ///
    /// A word is told as a setting with the connection, and only a session that was begun by it knows the word. PgBouncer refuses such a
    /// setting, or is told to ignore it (`ignore_startup_parameters`): then its sessions know nothing. That two transactions had the
    /// same session would prove nothing, since a pooler with little to do gives the same one again.
    pub(super) fn connect(&self) -> Result<(Client, bool), Unmade> {
        match self.connect_once() {
            Err(Unmade::Engine(told)) if was_ended(&told) => self.connect_once(),
            made => made,
        }
    }

    fn connect_once(&self) -> Result<(Client, bool), Unmade> {
        if self.is_pooler.load(Ordering::Relaxed) {
            return Ok((self.answering(self.connect_with(None)?)?, false));
        }
        let word = random::label::<20>();
        match self.connect_with(Some(&word)) {
            Ok(mut client) => {
                // A pooler may let this wait for a session of the server.
                client.limit(Some(self.limits.read));
                let known = client.simple_query(&format!("SELECT current_setting('{WORD}', true)"));
                let known = known.map_err(|error| unmade(&client, error, Unmade::Silent(self.limits.read)))?;
                let is_whole =
                    known.iter().any(|it| matches!(it, SimpleQueryMessage::Row(row) if row.get(0) == Some(&*word)));
                if !is_whole {
                    self.is_pooler.store(true, Ordering::Relaxed);
                }
                Ok((client, is_whole))
            }
            Err(Unmade::Engine(told)) if is_refused(&told) => {
                let client = self.connect_with(None)?;
                self.is_pooler.store(true, Ordering::Relaxed);
                Ok((self.answering(client)?, false))
            }
            Err(error) => Err(error),
        }
    }

    /// Tries one host after the other, each for its own time: one that says nothing does not keep from the next.
    fn connect_with(&self, word: Option<&str>) -> Result<Client, Unmade> {
        let mut made = Err(Unmade::Silent(Duration::ZERO));
        for host in &self.hosts {
            made = match word {
                None => Client::connect(host, self.tls.as_ref(), self.limits.connect),
                Some(word) => {
                    let before = host.get_options().map_or_else(String::new, |it| format!("{it} "));
                    let mut told = host.clone();
                    told.options(format!("{before}-c {WORD}={word}"));
                    Client::connect(&told, self.tls.as_ref(), self.limits.connect)
                }
            };
            if made.is_ok() {
                break;
            }
        }
        made
    }

    /// A connection to a pooler that leads to the server: one that has no session of it free takes connections all the same, and who
    /// took these for a sign of life would wait on each of them anew.
    fn answering(&self, mut client: Client) -> Result<Client, Unmade> {
        let turn = self.limits.turn();
        client.limit(Some(turn));
        let answered = client.simple_query("SELECT 1");
        answered.map_err(|error| unmade(&client, error, Unmade::NoSession(turn)))?;
        Ok(client)
    }
}

/// Why there is no connection although one was made: `silent` where nothing has come on it.
fn unmade(client: &Client, error: Told, silent: Unmade) -> Unmade {
    if client.is_silent() { silent } else { Unmade::Engine(error) }
}

/// The same for each host alone: the client library has no time limit for one that takes a connection and then says nothing. Where the
/// order is left to chance, it is left to the library.
fn one_by_one(all: &Config) -> Vec<Config> {
    let count = all.get_hosts().len();
    let fits = |others: usize| others <= 1 || others == count;
    if count < 2
        || all.get_load_balance_hosts() != LoadBalanceHosts::Disable
        || !fits(all.get_ports().len())
        || ![0, count].contains(&all.get_hostaddrs().len())
    {
        return vec![all.clone()];
    }
    let one = |(at, host): (usize, &Host)| {
        let mut one = Config::new();
        match host {
            Host::Tcp(name) => one.host(name),
            Host::Unix(folder) => one.host_path(folder),
        };
        all.get_hostaddrs().get(at).map(|it| one.hostaddr(*it));
        all.get_ports().get(at).or_else(|| all.get_ports().first()).map(|it| one.port(*it));
        all.get_user().map(|it| one.user(it));
        all.get_password().map(|it| one.password(it));
        all.get_dbname().map(|it| one.dbname(it));
        all.get_options().map(|it| one.options(it));
        all.get_application_name().map(|it| one.application_name(it));
        all.get_connect_timeout().map(|it| one.connect_timeout(*it));
        all.get_tcp_user_timeout().map(|it| one.tcp_user_timeout(*it));
        all.get_keepalives_interval().map(|it| one.keepalives_interval(it));
        all.get_keepalives_retries().map(|it| one.keepalives_retries(it));
        one.keepalives(all.get_keepalives()).keepalives_idle(all.get_keepalives_idle());
        one.ssl_mode(all.get_ssl_mode()).ssl_negotiation(all.get_ssl_negotiation());
        one.target_session_attrs(all.get_target_session_attrs()).channel_binding(all.get_channel_binding());
        one
    };
    all.get_hosts().iter().enumerate().map(one).collect()
}

/// Whether a connection was ended while it was made, by somebody who was there: not refused, not too late, not for its user.
fn was_ended(told: &Told) -> bool {
    if let Some(code) = told.code() {
        return [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(code);
    }
    let source = std::error::Error::source(told).and_then(|it| it.downcast_ref::<std::io::Error>());
    let ended = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    told.is_closed() || source.is_some_and(|it| ended.contains(&it.kind()))
}

/// Whether whoever answers does not take what the connection asks for. PgBouncer says so of everything; what is said of users, databases
/// and times would be the same without the setting.
fn is_refused(error: &Told) -> bool {
    error.code().is_some_and(|it| {
        let class = it.code().get(..2).unwrap_or_default();
        *it == SqlState::PROTOCOL_VIOLATION || ["0A", "22", "42"].contains(&class)
    })
}

fn wrong(why: &str) -> Error {
    Error::invalid(
        "database_url",
        format!("The database URL cannot be used: {why}. Write postgres://user:password@host:5432/database."),
    )
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyFull,
}

struct Tls {
    mode: Mode,
    roots: Option<String>,
}

/// Takes the two settings of TLS out of the URL: the client library knows only three of the modes, and no certificates.
fn split_tls(url: &str) -> Result<(String, Tls)> {
    let mut tls = Tls { mode: Mode::Prefer, roots: None };
    let Some((plain, query)) = url.split_once('?') else { return Ok((url.to_owned(), tls)) };
    let mut rest = Vec::new();
    let mut verify = false;
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (key, value) {
            ("sslmode", "disable") => tls.mode = Mode::Disable,
            ("sslmode", "allow" | "prefer") => tls.mode = Mode::Prefer,
            ("sslmode", "require") => tls.mode = Mode::Require,
            ("sslmode", "verify-ca" | "verify-full") => verify = true,
            ("sslmode", _) => {
                return Err(wrong("sslmode is one of disable, prefer, require and verify-full"));
            }
            ("sslrootcert", path) => {
                let path = percent_encoding::percent_decode_str(path)
                    .decode_utf8()
                    .map_err(|_| wrong("sslrootcert is not UTF-8"))?;
                tls.roots = Some(path.into_owned());
            }
            _ => rest.push(pair),
        }
    }
    // As libpq does: a root certificate with `require` verifies. Here also the host's name, always.
    if verify || (tls.mode == Mode::Require && tls.roots.is_some()) {
        tls.mode = Mode::VerifyFull;
    }
    let plain = if rest.is_empty() { plain.to_owned() } else { format!("{plain}?{}", rest.join("&")) };
    Ok((plain, tls))
}

fn client(tls: &Tls) -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?;
    // `prefer` and `require`: encrypted, while anybody may be there. That is what these words promise.
    let known = match tls.mode {
        Mode::VerifyFull => {
            let (store, named) = roots(tls.roots.as_deref())?;
            Some(Known::new(store, named, &provider).map_err(Error::internal)?)
        }
        _ => None,
    };
    let verifier = Verifier::new(provider, move |shown| known.as_ref().map_or(Ok(()), |it| it.check(shown)));
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// The certificates to verify with, and those of them that were named in a file.
fn roots(path: Option<&str>) -> Result<(RootCertStore, Vec<CertificateDer<'static>>)> {
    let mut store = RootCertStore::empty();
    let mut pinned = Vec::new();
    match path {
        Some(path) => {
            let cannot =
                |why: &dyn std::fmt::Display| wrong(&format!("the certificates in {path} cannot be read: {why}"));
            let pem = fs::read(path).map_err(|error| cannot(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| cannot(&error))?;
                store.add(certificate.clone()).map_err(|error| cannot(&error))?;
                pinned.push(certificate);
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if store.is_empty() {
        return Err(wrong("there is no certificate to verify the server with; name a file by sslrootcert"));
    }
    Ok((store, pinned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address> {
        Address::parse(&Secret::new(url.to_owned()))
    }

    #[test]
    fn the_password_is_never_shown() {
        let address =
            parse("postgres://me:secret@db.example:5433/app?sslmode=disable&target_session_attrs=read-write").unwrap();
        assert_eq!(address.name(), "db.example:5433/app");
        assert_eq!(format!("{address:?}"), "Address(db.example:5433/app)");
        assert!(address.tls.is_none());
    }

    #[test]
    fn an_unescaped_password_is_not_shown_either() {
        assert_eq!(public_part("postgres://me:p@secret@h/d?x=a@b"), "h/d");
        assert_eq!(parse("postgres://h/d?user=me&password=secret").unwrap().name(), "h/d");
    }

    #[test]
    fn wrong_urls_say_what_is_wrong() {
        for (url, word) in [
            ("mysql://x", "begin with postgres://"),
            ("postgres://", "no host"),
            ("postgres://u:p@ss@h/d", "%40"),
            ("postgres://h/d?sslmode=on", "verify-full"),
            ("postgres://h/d?speed=9", "speed"),
            ("postgres://h/d?sslmode=verify-full&sslrootcert=/no/such.pem", "/no/such.pem"),
        ] {
            let error = parse(url).unwrap_err();
            assert!(error.code == "database_url" && error.message.contains(word), "{url}: {error:?}");
        }
    }

    #[test]
    fn each_of_several_hosts_has_the_same_settings() {
        let url = "postgres://me:secret@one,two:5433/app?target_session_attrs=read-write&connect_timeout=2&options=-c%20x.y%3D1";
        let address = parse(url).unwrap();
        assert_eq!(address.limits.connect, Duration::from_secs(2));
        for (host, (name, port)) in address.hosts.iter().zip([("one", 5432), ("two", 5433)]) {
            let alone = url.replace("one,two:5433", &format!("{name}:{port}"));
            assert_eq!(host, &parse(&alone).unwrap().hosts[0], "{name}");
        }
        assert_eq!(address.hosts.len(), 2);
        assert_eq!(parse("postgres://one,two/app?load_balance_hosts=random").unwrap().hosts.len(), 1);
    }

    #[test]
    fn a_root_certificate_makes_require_verify() {
        let (plain, tls) = split_tls("postgres://h/d?sslmode=require&connect_timeout=2&sslrootcert=%2Fx.pem").unwrap();
        assert!(tls.mode == Mode::VerifyFull && tls.roots.as_deref() == Some("/x.pem"));
        assert_eq!(plain, "postgres://h/d?connect_timeout=2");
        assert!(parse("postgres://h/d?sslmode=require").unwrap().tls.is_some());
    }
}
