//! The settings of `chainhost serve`.
//!
//! Flags win over the environment, the environment over the file, the file over the defaults. Each key of the file has a
//! twin `CHAINHOST_…` where that makes sense. A wrong value names the file and the line.

mod listen;

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;

use self::listen::{Wanted, keep_apart, listed};
use super::{
    access_log::{self, AccessLog},
    acme::{self, Acme},
    blobs::{self, Blobs},
    database::{self, Postgres},
    edge::{self, Caches},
    garbage, geo,
    outside::{self, Outside},
    public_url::PublicUrl,
    redis::{self, Redis},
    retention,
    source::Source,
    tls::{self, Tls},
};
use crate::{
    base::{
        network::{Network, NotANetwork},
        units::ByteSize,
    },
    domain::{Error, Result, hostname::Hostname, job::Queue, month::Retention, node::Role, schedule::Times},
};

/// Bytes of a configuration file: far more than its keys need.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The domain below which sites have their names until another is configured.
const LOCALHOST: &str = "localhost";

/// How the log is written to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct Server {
    /// The data folder.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Where and how it speaks TLS.
    pub tls: Tls,
    /// The panel's host.
    pub panel_host: String,
    /// The domain below which each site has its name.
    pub sites_domain: String,
    /// Bytes of the disk that uploads leave free; `None`: the smaller of a tenth and 1 GiB.
    pub disk_reserve: Option<u64>,
    /// Bytes that all kept deployments of one tenant may have together; `None`: as many as the disk takes.
    pub tenant_bytes_max: Option<u64>,
    /// A PostgreSQL instead of the embedded database.
    pub postgres: Option<Postgres>,
    /// What lives in a Redis.
    pub redis: Redis,
    /// What this process does.
    pub role: Role,
    /// Whose jobs it runs.
    pub queues: Vec<Queue>,
    /// What its operator says of it, such as `type=worker`: for people and schedulers.
    pub labels: Vec<String>,
    /// How long rows are kept in tables by month.
    pub retention: Retention,
    /// When garbage is collected; `None`: at the start, and daily.
    pub garbage: Option<Times>,
    /// Where the bytes of sites live.
    pub blobs: Blobs,
    /// Where people reach the panel, when that is not where the server listens.
    pub public_url: Option<PublicUrl>,
    /// Proxies whose word about the client counts.
    pub trusted_proxies: Vec<Network>,
    /// Where only these connect, each time with a header of the PROXY protocol.
    pub proxy_protocol_listen: Vec<SocketAddr>,
    /// What it is told of the world outside.
    pub outside: Outside,
    /// Where visitors' requests are logged, if they are.
    pub access_log: Option<AccessLog>,
    /// Where the master key is, when that is not the data folder.
    pub master_key_file: Option<PathBuf>,
    /// Authorities that are asked for certificates, if any are.
    pub acme: Option<Acme>,
    /// Caches in front of the server that are purged.
    pub edge: Vec<Caches>,
    /// The database that says which country an address is of.
    pub geo_database: Option<PathBuf>,
    /// Which log lines are written: `info`, `warn,chainhost::serve=debug`.
    pub log: String,
    /// How.
    pub log_format: LogFormat,
}

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--listen`, repeatable
    pub listen: Vec<String>,
    /// `--tls-listen`, repeatable
    pub tls_listen: Vec<String>,
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--demo`
    pub demo: bool,
    /// `--role`, or what the command is.
    pub role: Option<String>,
    /// `--queues deploy,email`
    pub queues: Option<String>,
    /// `--labels type=worker,…`
    pub labels: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data: Option<PathBuf>,
    listen: Option<Vec<Spanned<String>>>,
    panel_host: Option<Spanned<String>>,
    sites_domain: Option<Spanned<String>>,
    disk_reserve: Option<Spanned<String>>,
    tenant_bytes_max: Option<Spanned<String>>,
    #[serde(default)]
    database: database::Section,
    #[serde(default)]
    redis: redis::Section,
    role: Option<Spanned<String>>,
    #[serde(default)]
    retention: retention::Section,
    #[serde(default)]
    blobs: blobs::Section,
    #[serde(default)]
    garbage: garbage::Section,
    public_url: Option<Spanned<String>>,
    #[serde(default)]
    trusted_proxies: Vec<Spanned<String>>,
    #[serde(default)]
    proxy_protocol_listen: Vec<Spanned<String>>,
    #[serde(default)]
    tls: tls::Section,
    #[serde(default)]
    access_log: access_log::Section,
    #[serde(rename = "master_key_file")]
    master_key: Option<PathBuf>,
    #[serde(default)]
    acme: acme::Section,
    #[serde(default)]
    edge: Vec<edge::Section>,
    #[serde(default)]
    public_addresses: Vec<Spanned<String>>,
    #[serde(default)]
    dns: outside::Dns,
    #[serde(default)]
    outgoing: outside::Outgoing,
    #[serde(default)]
    doctor: outside::Doctor,
    #[serde(default)]
    geo: geo::Section,
    log: Option<String>,
    log_format: Option<LogFormat>,
}

impl Server {
    /// The settings of this process.
    pub fn load(flags: &Flags) -> Result<Self> {
        Self::read(flags, |name| std::env::var_os(name), rustix::process::geteuid().is_root())
    }

    fn read(flags: &Flags, env: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Result<Self> {
        let env = |name: &str| env(name).filter(|it| !it.is_empty());
        let config = flags.config.clone().or_else(|| env("CHAINHOST_CONFIG").map(PathBuf::from));
        let (mut file, source) = match &config {
            Some(path) => (read_file(path)?, Source::read(path)),
            None => (File::default(), Source::default()),
        };
        let text = |name: &str| env(name).map(|it| it.to_string_lossy().into_owned());
        let role = role(flags, text("CHAINHOST_ROLE"), &file, &source)?;
        let own = Wanted { flag: "--listen", flags: &flags.listen, variable: "CHAINHOST_LISTEN", key: "listen" };
        let listen = match own.read(text("CHAINHOST_LISTEN"), file.listen.as_deref(), &source)? {
            // Nobody visits a worker; who wants its health and figures names an address.
            _ if role == Role::Worker && flags.listen.is_empty() => Vec::new(),
            Some(listen) => listen,
            None => {
                vec![SocketAddr::from(([127, 0, 0, 1], 8080)), SocketAddr::from(([0_u16, 0, 0, 0, 0, 0, 0, 1], 8080))]
            }
        };
        if listen.is_empty() && role.serves() {
            return Err(wrong("listen", "give at least one address, such as 127.0.0.1:8080"));
        }
        let (trusted_proxies, proxy_protocol_listen) = proxies(&file, &source)?;
        let tls = tls(&mut file, flags, text("CHAINHOST_TLS_LISTEN"), (role, &trusted_proxies), &source)?;
        keep_apart(&[&listen, &proxy_protocol_listen, &tls.listen, &tls.proxy_protocol_listen])?;
        let outside = outside(&file, text("CHAINHOST_DNS_SERVERS").as_deref(), &source)?;
        let (panel_host, public_url) = panel(&file, &source, tls.is_on() || !trusted_proxies.is_empty())?;
        let data = flags.data.clone().or_else(|| env("CHAINHOST_DATA").map(PathBuf::from)).or(file.data);
        let data = data.unwrap_or_else(|| own_data(flags.demo, is_root));
        let postgres = database::choose(database::read(file.database, text)?, &data)?;
        let redis = redis::choose(redis::read(file.redis, text), &data)?;
        let blobs = blobs::read(blobs::recall(file.blobs, text, &data)?, text)?;
        let shares_bytes = blobs.folder.is_some() || blobs.bucket.is_some();
        if role != Role::All && (postgres.is_none() || redis.queue_url.is_none() || !shares_bytes) {
            let why = "needs the database, the queue and the bytes that all nodes share. Set CHAINHOST_DATABASE_URL, \
                       CHAINHOST_REDIS_QUEUE_URL and CHAINHOST_BLOBS_URL, or `url` in [database], `queue_url` in [redis] \
                       and `url` or `folder` in [blobs]";
            return Err(wrong(&format!("role {}", role.word()), why));
        }
        let own_folder = source.path.parent().unwrap_or(Path::new(""));
        let wrong_at = |at: usize, key: &str, why: &str| wrong(&source.place_at(at, key), why);
        let sites_domain = host(file.sites_domain.as_ref(), &source, "sites_domain")?;
        let bytes_of = |it: Option<&Spanned<String>>, key: &str| it.map(|it| size(it, &source, key)).transpose();
        Ok(Self {
            acme: acme::read(&file.acme, text, (role, tls.is_on(), own_folder, &sites_domain), wrong_at)?,
            edge: edge::read(&file.edge, own_folder, wrong_at)?,
            master_key_file: env("CHAINHOST_MASTER_KEY_FILE")
                .map(PathBuf::from)
                .or_else(|| Some(own_folder.join(file.master_key?))),
            geo_database: geo::read(&file.geo, env("CHAINHOST_GEO_DATABASE"), own_folder, wrong_at)?,
            access_log: access_log::read(&file.access_log, &data, wrong_at)?,
            outside,
            data,
            listen,
            role,
            queues: queues(role, flags.queues.clone().or_else(|| text("CHAINHOST_QUEUES")).as_deref())?,
            labels: labels(flags.labels.clone().or_else(|| text("CHAINHOST_LABELS")).as_deref())?,
            postgres,
            redis,
            retention: retention::read(&file.retention, |it, key, why| wrong(&source.place(it, key), why))?,
            garbage: garbage::read(&file.garbage, |it, key, why| wrong(&source.place(it, key), why))?,
            blobs,
            panel_host,
            public_url,
            trusted_proxies,
            proxy_protocol_listen,
            tls,
            sites_domain,
            disk_reserve: bytes_of(file.disk_reserve.as_ref(), "disk_reserve")?,
            tenant_bytes_max: bytes_of(file.tenant_bytes_max.as_ref(), "tenant_bytes_max")?,
            log: env("CHAINHOST_LOG").map(|it| it.to_string_lossy().into_owned()).or(file.log).unwrap_or_else(info),
            log_format: file.log_format.unwrap_or(LogFormat::Text),
        })
    }
}

/// The data folder where none is named.
fn own_data(demo: bool, is_root: bool) -> PathBuf {
    PathBuf::from(match (demo, is_root) {
        (true, _) => "./chainhost-demo",
        (false, true) => "/var/lib/chainhost",
        (false, false) => "./chainhost-data",
    })
}

fn role(flags: &Flags, env: Option<String>, file: &File, source: &Source) -> Result<Role> {
    let read =
        |word: &str, place: &str| Role::parse(word).map_err(|error| wrong(place, error.message.trim_end_matches('.')));
    if let Some(word) = &flags.role {
        return read(word, "--role");
    }
    if let Some(word) = env {
        return read(&word, "CHAINHOST_ROLE");
    }
    file.role.as_ref().map_or(Ok(Role::All), |it| read(it.get_ref(), &source.place(it, "role")))
}

/// The queues whose jobs are run: all, unless some are named.
fn queues(role: Role, text: Option<&str>) -> Result<Vec<Queue>> {
    let Some(text) = text.filter(|_| role.works()) else {
        return Ok(if role.works() { Queue::ALL.to_vec() } else { Vec::new() });
    };
    let mut queues = Vec::new();
    for word in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let queue = Queue::parse(word).map_err(|error| wrong("--queues", error.message.trim_end_matches('.')))?;
        if !queues.contains(&queue) {
            queues.push(queue);
        }
    }
    if queues.is_empty() {
        return Err(wrong("--queues", "name at least one queue, such as deploy,email"));
    }
    Ok(queues)
}

/// `key=value`, separated by commas.
fn labels(text: Option<&str>) -> Result<Vec<String>> {
    let is_word = |it: &str| {
        (1..=63).contains(&it.len()) && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_./".contains(&it))
    };
    let all = text.unwrap_or_default().split(',').map(str::trim).filter(|it| !it.is_empty());
    all.map(|label| match label.split_once('=') {
        Some((key, value)) if is_word(key) && is_word(value) => Ok(label.to_owned()),
        _ => Err(wrong("--labels", &format!("`{}` is not a label such as type=worker", label.escape_debug()))),
    })
    .collect()
}

fn info() -> String {
    String::from("info")
}

fn wrong(place: &str, why: &str) -> Error {
    Error::invalid("config", format!("{place}: {why}."))
}

fn read_file(path: &Path) -> Result<File> {
    let unreadable = |why: &dyn std::fmt::Display| {
        wrong(&path.display().to_string(), &format!("cannot read the configuration: {why}"))
    };
    let size = fs::metadata(path).map_err(|error| unreadable(&error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(unreadable(&"it has more than 1 MiB"));
    }
    let text = fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|it| text.get(..it.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        wrong(&format!("{} line {line}", path.display()), error.message().trim_end_matches('.'))
    })
}

/// Where and how TLS is spoken. A worker has no visitors, and speaks none.
fn tls(
    file: &mut File,
    flags: &Flags,
    variable: Option<String>,
    (role, trusted): (Role, &[Network]),
    source: &Source,
) -> Result<Tls> {
    let section = std::mem::take(&mut file.tls);
    let wanted =
        Wanted { flag: "--tls-listen", flags: &flags.tls_listen, variable: "CHAINHOST_TLS_LISTEN", key: "tls.listen" };
    let listen =
        wanted.read(variable, section.listen.as_deref(), source)?.filter(|_| role.serves()).unwrap_or_default();
    let for_proxies = for_proxies(&section.proxy_protocol_listen, trusted, source, "tls.proxy_protocol_listen")?;
    if let Some(http3) = section.http3.as_ref().filter(|it| *it.get_ref() && !cfg!(feature = "h3")) {
        let why = "this build has no HTTP/3. Take a released binary, or build with `--features h3`";
        return Err(wrong(&source.place(http3, "http3"), why));
    }
    if !role.serves() {
        return Ok(Tls::default());
    }
    let own_folder = source.path.parent().unwrap_or(Path::new(""));
    tls::read(section, (listen, for_proxies), own_folder, |why| {
        wrong(&format!("{}, [tls]", source.path.display()), why)
    })
}

/// Where those connect that speak the PROXY protocol.
fn for_proxies(all: &[Spanned<String>], trusted: &[Network], source: &Source, key: &str) -> Result<Vec<SocketAddr>> {
    if let (Some(first), true) = (all.first(), trusted.is_empty()) {
        let why = "only trusted proxies may connect there, and there are none. Name them in `trusted_proxies`, such as \
                   [\"127.0.0.1\"]";
        return Err(wrong(&source.place(first, key), why));
    }
    listed(all, source, key)
}

/// The proxies that are trusted, and where those connect that speak the PROXY protocol.
fn proxies(file: &File, source: &Source) -> Result<(Vec<Network>, Vec<SocketAddr>)> {
    let trusted = file.trusted_proxies.iter().map(|it| network(it, &source.place(it, "trusted_proxies")));
    let trusted = trusted.collect::<Result<Vec<_>>>()?;
    let listen = for_proxies(&file.proxy_protocol_listen, &trusted, source, "proxy_protocol_listen")?;
    Ok((trusted, listen))
}

fn host(value: Option<&Spanned<String>>, source: &Source, key: &str) -> Result<String> {
    match value {
        None => Ok(LOCALHOST.to_owned()),
        Some(value) if value.get_ref() == LOCALHOST => Ok(LOCALHOST.to_owned()),
        Some(value) => Hostname::parse(value.get_ref())
            .map(|it| it.to_string())
            .map_err(|error| wrong(&source.place(value, key), error.message.trim_end_matches('.'))),
    }
}

/// The panel's host and public address, which must name the same host.
fn panel(file: &File, source: &Source, has_tls: bool) -> Result<(String, Option<PublicUrl>)> {
    let panel_host = host(file.panel_host.as_ref(), source, "panel_host")?;
    let Some(value) = &file.public_url else { return Ok((panel_host, None)) };
    let place = source.place(value, "public_url");
    let url: PublicUrl = value.get_ref().parse().map_err(|why: String| wrong(&place, &why))?;
    if file.panel_host.is_some() && panel_host != url.host {
        let why = format!("its host is `{}`, while `panel_host` is `{panel_host}`: leave `panel_host` out", url.host);
        return Err(wrong(&place, &why));
    }
    if url.scheme == "https" && !has_tls {
        let why = "nobody speaks TLS for this server. Let it do that: `listen` of [tls], such as [\":443\"]; or name the proxy \
                   that does in `trusted_proxies`, such as [\"127.0.0.1\"]";
        return Err(wrong(&place, why));
    }
    Ok((url.host.clone(), Some(url)))
}

fn outside(file: &File, servers: Option<&str>, source: &Source) -> Result<Outside> {
    let File { public_addresses, dns, outgoing, doctor, .. } = file;
    outside::read(&outside::Sections { public_addresses, dns, outgoing, doctor }, servers, |at, key, why| {
        wrong(&at.map_or_else(|| key.to_owned(), |at| source.place_at(at, key)), why)
    })
}

fn network(value: &Spanned<String>, place: &str) -> Result<Network> {
    let text = value.get_ref();
    text.parse().map_err(|error: NotANetwork| wrong(place, &format!("`{}` is {error}", text.escape_debug())))
}

fn size(value: &Spanned<String>, source: &Source, key: &str) -> Result<u64> {
    let read: ByteSize =
        value.get_ref().parse().map_err(|error| wrong(&source.place(value, key), &format!("{error}")))?;
    Ok(read.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::files::write_atomic;

    fn read(text: &str) -> Result<Server> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        write_atomic(&path, text.as_bytes(), 0o600).unwrap();
        Server::read(&Flags { config: Some(path), ..Flags::default() }, |_| None, false)
    }

    #[test]
    fn defaults_need_no_file() {
        let plain = Server::read(&Flags::default(), |_| None, false).unwrap();
        assert_eq!(plain.data, Path::new("./chainhost-data"));
        assert_eq!(plain.listen.len(), 2);
        assert_eq!(Server::read(&Flags::default(), |_| None, true).unwrap().data, Path::new("/var/lib/chainhost"));
        let demo = Flags { demo: true, ..Flags::default() };
        assert_eq!(Server::read(&demo, |_| None, true).unwrap().data, Path::new("./chainhost-demo"));
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let env = |name: &str| (name == "CHAINHOST_LISTEN").then(|| OsString::from("127.0.0.1:2, :3"));
        let by_env = Server::read(&Flags::default(), env, false).unwrap();
        assert_eq!(by_env.listen.iter().map(SocketAddr::port).collect::<Vec<_>>(), [2, 3, 3]);
        let flags = Flags { listen: vec![String::from("localhost:4")], ..Flags::default() };
        assert_eq!(Server::read(&flags, env, false).unwrap().listen.len(), 2);
        assert_eq!(read("listen = [\"127.0.0.1:9\"]\ndisk_reserve = \"1 GiB\"").unwrap().disk_reserve, Some(1 << 30));
    }

    #[test]
    fn a_role_needs_what_nodes_share() {
        let shared =
            "[database]\nurl = 'postgres://h/d'\n[redis]\nqueue_url = 'redis://h'\n[blobs]\nfolder = '/srv/blobs'";
        let web = read(&format!("role = 'web'\n{shared}")).unwrap();
        assert_eq!((web.role, web.queues.len(), web.listen.len()), (Role::Web, 0, 2));
        let without = shared.split("[blobs]").next().unwrap();
        for text in ["role = 'web'", &format!("role = 'worker'\n{without}")] {
            let error = read(text).unwrap_err();
            assert!(error.message.contains("CHAINHOST_REDIS_QUEUE_URL"), "{text}: {error}");
        }
        let error = read("\nrole = 'boss'").unwrap_err();
        assert!(error.message.contains("line 2") && error.message.contains("worker"), "{error}");
        let env = |name: &str| match name {
            "CHAINHOST_DATABASE_URL" => Some(OsString::from("postgres://h/d")),
            "CHAINHOST_REDIS_QUEUE_URL" => Some(OsString::from("redis://h")),
            "CHAINHOST_BLOBS_URL" => Some(OsString::from("s3://bucket")),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some(OsString::from("key")),
            "CHAINHOST_LABELS" => Some(OsString::from("type=worker, zone=eu-1")),
            _ => None,
        };
        let flags = |queues: &str| Flags {
            role: Some(String::from("worker")),
            queues: Some(queues.to_owned()),
            ..Flags::default()
        };
        let worker = Server::read(&flags("email, deploy,email"), env, false).unwrap();
        assert_eq!((worker.queues, worker.listen.len()), (vec![Queue::Email, Queue::Deploy], 0));
        assert_eq!(worker.labels, ["type=worker", "zone=eu-1"]);
        for (queues, word) in [("mail", "There is no queue `mail`"), (",", "at least one")] {
            let error = Server::read(&flags(queues), env, false).unwrap_err();
            assert!(error.message.contains(word), "{error}");
        }
        let wrong = Flags { labels: Some(String::from("type")), ..flags("email") };
        assert!(Server::read(&wrong, env, false).unwrap_err().message.contains("type=worker"));
    }

    #[test]
    fn a_public_address_names_the_panels_host() {
        let settings = read("public_url = \"https://Panel.example:8443/\"\ntrusted_proxies = [\"::1\"]").unwrap();
        let url = settings.public_url.unwrap();
        assert_eq!((settings.panel_host.as_str(), url.port.as_str()), ("panel.example", ":8443"));
        assert_eq!((url.scheme, settings.trusted_proxies.len()), ("https", 1));
        let own = read("public_url = 'https://panel.example'\n[tls]\nlisten = ['127.0.0.1:8443']").unwrap();
        assert_eq!((own.tls.listen.len(), own.tls.redirect, own.public_url.unwrap().port.as_str()), (1, true, ""));
        let plain = read("public_url = \"http://localhost:80\"").unwrap();
        assert_eq!(plain.public_url.unwrap().port, "");
    }

    #[test]
    fn http_3_is_spoken_where_it_is_built_in_and_wanted() {
        let of = |text: &str| read(&format!("[tls]\nlisten = ['127.0.0.1:8443']\n{text}")).map(|it| it.tls.http3);
        let is_built_in = cfg!(feature = "h3");
        assert_eq!((of("").unwrap(), of("http3 = false").unwrap()), (is_built_in, false));
        let why = of("http3 = true").err().map(|it| it.message).unwrap_or_default();
        assert_eq!(why.contains("line 3, `http3`: this build has no HTTP/3"), !is_built_in, "{why}");
    }

    #[test]
    fn garbage_is_collected_at_the_times_that_are_set() {
        assert_eq!(read("").unwrap().garbage, None);
        let times = read("[garbage]\nat = \"0 3 * * *\"\nzone = \"europe/berlin\"").unwrap().garbage.unwrap();
        assert_eq!((times.cron.text(), times.zone.name()), ("0 3 * * *", "Europe/Berlin"));
        // Monday, 4 May 2026, 06:59:30 UTC: three o'clock in Berlin is one o'clock in UTC.
        assert_eq!(times.next_after(1_777_877_970_000), Some(1_777_942_800_000));
        assert_eq!(read("[garbage]\nat = '@daily'").unwrap().garbage.unwrap().zone.name(), "UTC");
    }

    #[test]
    fn visitors_are_logged_where_a_format_is_named() {
        assert_eq!((read("").unwrap().access_log, read("[access_log]").unwrap().access_log), (None, None));
        let plain = read("data = '/d'\n[access_log]\nformat = 'vhost'").unwrap().access_log.unwrap();
        assert_eq!((plain.format, plain.path), (access_log::Format::Vhost, PathBuf::from("/d/logs/access.log")));
        assert_eq!((plain.rotate_bytes, plain.keep), (64 << 20, 14));
        let text =
            "data = '/d'\n[access_log]\nformat = 'json'\npath = '/d/logs/visits'\nrotate_bytes = '64 KiB'\nkeep = 1";
        let own = read(text).unwrap().access_log.unwrap();
        assert_eq!((own.path.as_path(), own.rotate_bytes, own.keep), (Path::new("/d/logs/visits"), 64 << 10, 1));
    }

    #[test]
    fn authorities_are_asked_once_somebody_agrees() {
        assert_eq!(read("").unwrap().acme, None);
        let tls = "[tls]\nlisten = ['127.0.0.1:8443']\n";
        let plain = read(&format!("{tls}[acme]\nterms_agreed = true")).unwrap().acme.unwrap();
        assert!(plain.email.is_none() && plain.authorities[0].directory.contains("letsencrypt"));
        let text = format!(
            "{tls}[acme]\nterms_agreed = true\nemail = 'Ops@b.example'\n[[acme.authorities]]\ndirectory = 'https://ca.internal/dir'\nca = \
             '/roots.pem'\neab_kid = 'k'\neab_key_file = '/key'\n[[acme.authorities]]\ndirectory = 'https://b/d'\nprofile = 'shortlived'"
        );
        let own = read(&text).unwrap().acme.unwrap();
        assert_eq!(own.email.unwrap(), "ops@b.example");
        let first = &own.authorities[0];
        assert_eq!(first.ca.as_deref(), Some(Path::new("/roots.pem")));
        assert_eq!(first.binding, Some((String::from("k"), PathBuf::from("/key"))));
        assert_eq!(own.authorities[1].profile.as_deref(), Some("shortlived"));
    }

    #[test]
    fn wrong_files_name_the_line() {
        for (text, line, word) in [
            ("data = \"x\"\nlisten_on = 1", "line 2", "listen_on"),
            ("\nlisten = [\"nowhere\"]", "line 2", "nowhere"),
            ("panel_host = \"https://x\"", "line 1", "without https"),
            ("\n\ndisk_reserve = \"much\"", "line 3", "much"),
            ("\npublic_url = \"https://panel.example\"", "line 2", "`listen` of [tls]"),
            ("[tls]\nlisten = [\"443\"]", "line 2", "`tls.listen`: `443` is not an address"),
            ("[[tls.certificates]]\nchain = 'a'\nkey = 'b'", "[tls]", "add `listen`"),
            (
                "listen = ['127.0.0.1:8443']\n[tls]\nlisten = ['127.0.0.1:8443']",
                "listen",
                "127.0.0.1:8443 is named for two kinds",
            ),
            ("[tls]\nport = 443", "line 2", "port"),
            ("[[tls.certificates]]\nchain = 'a'", "line 1", "key"),
            ("[tls]\nproxy_protocol_listen = [\":8443\"]", "line 2", "Name them in `trusted_proxies`"),
            ("public_url = \"panel.example\"", "line 1", "https://"),
            ("public_url = \"http://panel.example/x\"", "line 1", "without a path"),
            ("public_url = \"http://192.0.2.1\"", "line 1", "not a name"),
            ("panel_host = \"a.example\"\npublic_url = \"http://b.example\"", "line 2", "a.example"),
            ("trusted_proxies = [\n\"10.0.0.0/8\",\n\"proxy\"]", "line 3", "`proxy` is neither"),
            ("\nproxy_protocol_listen = [\"127.0.0.1:8081\"]", "line 2", "Name them in `trusted_proxies`"),
            ("trusted_proxies = [\"::1\"]\nproxy_protocol_listen = [\"8081\"]", "line 2", "`8081` is not an address"),
            ("[retention]\naudit_log = '2 weeks'", "line 2", "`audit_log`: Write for how long"),
            ("[garbage]\nat = '0 25 * * *'", "line 2", "`at`: The field for the hour"),
            ("[garbage]\nat = '@daily'\nzone = 'Berlin'", "line 3", "`Berlin` is not a time zone"),
            ("\n[garbage]\nzone = 'UTC'", "line 3", "add `at`"),
            ("[access_log]\nformat = 'apache'", "line 2", "`format`: `apache` is not a format; write \"combined\""),
            ("\n[access_log]\nkeep = 3", "line 3", "add `format`"),
            ("[access_log]\nformat = 'json'\nrotate_bytes = '1 kB'", "line 3", "write \"64 KiB\" or more"),
            ("[access_log]\nformat = 'json'\nrotate_bytes = 'big'", "line 3", "`rotate_bytes`: `big` is not a size"),
            ("[access_log]\nformat = 'json'\nkeep = 0", "line 3", "`keep`: `0` files cannot be kept"),
            ("[access_log]\nformat = 'json'\npath = '/var/log/'", "line 3", "`path`: `/var/log/` is a folder"),
            (
                "data = '/d'\n[access_log]\nformat = 'json'\npath = '/d/access.log'",
                "line 4",
                "choose a name in `/d/logs`",
            ),
            ("[access_log]\nformat = 'vhost'\ncountry = true", "line 3", "`country`: only lines of JSON"),
            ("[access_log]\nformat = 'json'\nfile = 'x'", "line 3", "file"),
            ("[geo]\ndatabase = ''", "line 2", "`database`: name a file"),
            ("[acme]\nemail = 'a@b.example'", "line 2", "add `terms_agreed = true`"),
            ("[acme]\nterms_agreed = true", "line 2", "add `listen` to [tls]"),
            ("[acme]\nterms_agreed = true\nemail = 'nobody'", "line 3", "`email`: "),
            ("[[acme.authorities]]\ndirectory = 'http://ca'", "line 2", "write https://"),
            ("[[acme.authorities]]\ndirectory = 'https://ca/d'\neab_kid = '1'", "line 3", "add `eab_key_file`"),
            ("[[acme.authorities]]\ndirectory = 'https://ca/d'", "line 2", "terms"),
            ("[dns]\nservers = ['1.1.1.1',\n'dns.example']", "line 3", "`servers`: `dns.example` is not the address"),
            ("\n[outgoing]\nallow = ['lan']", "line 3", "`allow`: `lan` is neither"),
            ("\npublic_addresses = ['1.2.3.4:80']", "line 2", "`public_addresses`: `1.2.3.4:80` is not an address"),
            ("[doctor]\nhttp_port = 0", "line 2", "`http_port`: nobody listens on port 0"),
            ("data = ", "line 1", ""),
            ("listen = 3", "line 1", ""),
        ] {
            let error = read(text).unwrap_err().message;
            assert!(error.contains(line) && error.contains(word), "{error}");
        }
        let missing = Flags { config: Some(PathBuf::from("/no/such.toml")), ..Flags::default() };
        assert!(Server::read(&missing, |_| None, false).unwrap_err().message.contains("/no/such.toml"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(500))]

        #[test]
        fn no_file_is_too_much(
            text in "(\\PC{0,30}\n){0,3}|((\\[?(data|listen|log|blobs|redis|database|limits|url|port)\\]?)( = )?(-?[0-9]{0,20}|\"[a-z:/@.\\[\\]0-9]{0,12}\"|\\[\"[0-9.:]{0,12}\"\\]|true|\\{\\})\n){0,5}",
        ) {
            // What cannot be used is said in words.
            if let Err(error) = read(&text) {
                proptest::prop_assert!(!error.message.is_empty());
            }
        }
    }
}
