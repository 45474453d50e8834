//! Which server and which key a command uses, and the file that `login` keeps them in.
//!
//! Server: `--server`, `CHAINHOST_SERVER`, the file, else `http://localhost:8080`. Key: `CHAINHOST_KEY`, else the file. Whom to
//! believe beside the system's authorities: `--ca` and `--trust-fingerprint`, their variables, else the file.
//! SECURITY: the file's key goes to the file's server alone, and whom the file believes counts for that server alone; a
//! file that others can read is not used.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Client, Reach, connection::Connections};
use crate::{
    base::{files, hash::Sha256, secret::Secret},
    cli::{
        failure::{Failure, Result},
        tls::{Tls, Trust, TrustArgument},
    },
    config::client::{DEFAULT_SERVER, Environment, ServerUrl},
    domain::api_key,
};

/// Some short lines and a list of authorities; whatever else lies there is not read whole.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

const SERVER_HELP: &str =
    "The server, https://HOST [default: CHAINHOST_SERVER, else that of `login`, else http://localhost:8080]";

/// Which server to speak to.
#[derive(Args, Debug, Default)]
pub(in crate::cli) struct ServerArgument {
    #[arg(long, value_name = "URL", help = SERVER_HELP)]
    server: Option<String>,
    #[command(flatten)]
    trust: TrustArgument,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    server: String,
    key: Secret,
    /// DER in base64.
    #[serde(default)]
    ca: Vec<String>,
    #[serde(default)]
    trust_fingerprint: Option<Sha256>,
}

#[derive(Serialize)]
struct ToStore<'a> {
    server: String,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_fingerprint: Option<Sha256>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ca: Vec<String>,
}

impl Stored {
    /// Whom it believes as this server.
    fn trust(&self, server: &ServerUrl) -> Trust {
        if self.server.parse::<ServerUrl>().ok().as_ref() != Some(server) {
            return Trust::default();
        }
        let decoded: Vec<_> =
            self.ca.iter().filter_map(|it| BASE64.decode(it.as_bytes()).ok()).map(Into::into).collect();
        Trust { authorities: (!decoded.is_empty()).then_some(decoded), key: self.trust_fingerprint }
    }
}

impl ServerArgument {
    /// The server, when no key is needed yet, and whom to believe there: for `login`, which may name it by `url`.
    pub(in crate::cli) fn server(&self, url: Option<&str>, environment: &Environment) -> Result<(ServerUrl, Trust)> {
        let named = url.or(self.server.as_deref()).or(environment.server.as_deref());
        let server: ServerUrl = named.unwrap_or(DEFAULT_SERVER).parse()?;
        let trust = self.trust(&server, environment)?;
        Ok((server, trust))
    }

    /// A client with server and key.
    pub(in crate::cli) fn client(&self, environment: Environment) -> Result<Client> {
        let named = self.server.as_deref().or(environment.server.as_deref());
        let named = named.map(str::parse::<ServerUrl>).transpose()?;
        if let (Some(server), Some(_)) = (&named, &environment.key) {
            return self.with_key(server, environment);
        }
        let stored = match &environment.credentials {
            Some(path) => read(path)?,
            None => None,
        };
        let Some(stored) = stored else {
            return self.with_key(&named.map_or_else(|| DEFAULT_SERVER.parse(), Ok)?, environment);
        };
        let of_file: ServerUrl = stored.server.parse()?;
        let server = named.unwrap_or_else(|| of_file.clone());
        if environment.key.is_none() && server != of_file {
            return Err(Failure::Key(format!("You are signed in at {of_file}, not at {server}.")));
        }
        let key = environment.key.or(Some(stored.key));
        self.with_key(&server, Environment { key, ..environment })
    }

    fn with_key(&self, server: &ServerUrl, environment: Environment) -> Result<Client> {
        let trust = self.trust(server, &environment)?;
        let Some(key) = environment.key else {
            return Err(Failure::Key(format!("You are not signed in at {server}.")));
        };
        check_key(&key)?;
        Ok(Client::new(Connections::new(reach(server, &trust)?), key))
    }

    /// Whom to believe as this server: what is named now, else what was at `login`.
    fn trust(&self, server: &ServerUrl, environment: &Environment) -> Result<Trust> {
        if self.trust.is_given() && !server.is_https() {
            return Err(Failure::Input(format!(
                "{server} is asked without TLS, so that --ca and --trust-fingerprint would change nothing. Write https:// in front."
            )));
        }
        if !server.is_https() {
            return Ok(Trust::default());
        }
        // One that cannot be used says nothing of this server.
        let stored = environment.credentials.as_deref().and_then(|it| read(it).ok().flatten());
        Ok(self.trust.read(environment)?.or(stored.map(|it| it.trust(server)).unwrap_or_default()))
    }
}

/// How a server is reached.
pub(in crate::cli) fn reach(server: &ServerUrl, trust: &Trust) -> Result<Reach> {
    let tls = || Tls::new(server.host(), server, trust, format!("chainhost login {server}"));
    Ok(Reach { server: server.clone(), tls: server.is_https().then(tls).transpose()? })
}

/// Sees a typo without asking a server.
pub(in crate::cli) fn check_key(key: &Secret) -> Result<()> {
    match api_key::stored_hash(key.expose()) {
        Some(_) => Ok(()),
        None if key.expose().is_empty() => Err(Failure::Key(String::from("No key was given."))),
        None => Err(Failure::Key(String::from(
            "This is not a whole API key: it begins with ch_ and has 52 characters, the last of which check the others.",
        ))),
    }
}

/// The file, or where it would lie; an error when there is no home to keep it in.
pub(in crate::cli) fn path(environment: &Environment) -> Result<PathBuf> {
    let missing =
        || Failure::Input(String::from("There is no place for the key: neither HOME nor XDG_CONFIG_HOME is set."));
    environment.credentials.clone().ok_or_else(missing)
}

/// Keeps server and key, and whom to believe, for the next commands, readable by this user alone.
pub(in crate::cli) fn write(path: &Path, server: &ServerUrl, key: &Secret, trust: &Trust) -> Result<()> {
    let failed = |why: String| Failure::Input(format!("Cannot write {}: {why}", path.display()));
    let ca = trust.authorities.iter().flatten().map(|it| BASE64.encode(it)).collect();
    let text =
        toml::to_string(&ToStore { server: server.to_string(), key: key.expose(), trust_fingerprint: trust.key, ca })
            .map(Zeroizing::new)
            .map_err(|error| failed(error.to_string()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    files::private_folder(folder)
        .and_then(|()| files::write_atomic(path, text.as_bytes(), 0o600))
        .map_err(|error| failed(error.to_string()))
}

/// Forgets them; says whether there was something to forget.
pub(in crate::cli) fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::Input(format!("Cannot remove {}: {error}", path.display()))),
    }
}

fn read(path: &Path) -> Result<Option<Stored>> {
    let failed = |why: String| Failure::Input(format!("Cannot use {}: {why}", path.display()));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    let mode = file.metadata().map_err(|error| failed(error.to_string()))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(failed(format!("other users may read it. Run: chmod 600 {}", path.display())));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    // The parser's words would quote the line, which may be the key.
    let stored = toml::from_str(&text).map_err(|_| {
        failed(String::from("it does not hold `server` and `key`. Sign in again with `chainhost login`."))
    })?;
    Ok(Some(stored))
}
