//! `chainhost verify BUNDLE`: is this bundle valid, and is this folder or this site what it says? (INTEGRITY §5)
//!
//! The exit code is the answer (DECISIONS 43): 2 wrong usage, 21 manifest, 20 content, else 10 while no log and no chain
//! vouches for it. The first path that differs is named, with the reason. Without `--site` nothing asks a network.

mod fetch;
mod site;

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use crate::{
    cli::{folder, tls::TrustArgument},
    config::client::Environment,
    domain::{
        Error, media_type,
        site_path::{Selected, select},
    },
    proof::{
        build,
        bundle::{self, Bundle, Refusal},
        manifest::{Entry, Manifest},
    },
};

const USAGE: u8 = 2;
const PENDING: u8 = 10;
const CONTENT: u8 = 20;
const MANIFEST: u8 = 21;
/// Rules, and paths, that are named one by one.
const SHOWN_MAX: usize = 20;
/// Bytes of a bundle: a manifest of 50,000 files of the longest names has less.
const BUNDLE_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// The arguments of `verify`.
#[derive(Args)]
pub(super) struct Arguments {
    /// The file with the proof, as a site gives it
    bundle: PathBuf,
    /// Ask this site for every file: `https://HOST[:PORT]` or `http://HOST[:PORT]`
    #[arg(long, conflicts_with = "dir")]
    site: Option<String>,
    #[command(flatten)]
    trust: TrustArgument,
    /// Compare with the files of this folder
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A node of the chain that anchors are looked up at
    #[arg(long)]
    rpc: Option<String>,
    /// Ask no log and no chain
    #[arg(long, conflicts_with = "rpc")]
    offline: bool,
}

/// Why something is not valid, with its exit code.
struct Fault {
    code: u8,
    why: String,
}

impl Fault {
    fn content(path: &str, why: impl std::fmt::Display) -> Self {
        Self { code: CONTENT, why: format!("{}: {why}", path.escape_debug()) }
    }

    fn usage(why: impl Into<String>) -> Self {
        Self { code: USAGE, why: why.into() }
    }

    fn of(code: u8, error: Error) -> Self {
        let detail = error.detail.map_or_else(String::new, |it| format!(" ({it})"));
        Self { code, why: error.message + &detail }
    }
}

impl Arguments {
    /// Checks, says what was found, and returns the answer as exit code.
    pub(super) fn run(&self) -> ExitCode {
        match self.check() {
            // The exit code is the answer; a closed output does not change it.
            Ok(lines) => {
                drop(io::stdout().write_all(lines.as_bytes()));
                ExitCode::from(PENDING)
            }
            Err(Fault { code, why }) => {
                drop(writeln!(io::stderr(), "chainhost verify: {why}"));
                ExitCode::from(code)
            }
        }
    }

    fn check(&self) -> Result<String, Fault> {
        let bundle = read(&self.bundle)?;
        let files = bundle.manifest.entries().len();
        let root = data_encoding::HEXLOWER.encode(&bundle.root);
        let mut lines = vec![format!("manifest {} valid, {files} files", bundle.sha256), format!("siteRoot 0x{root}")];
        lines.extend(elsewhere(&bundle.manifest));
        if let Some(dir) = &self.dir {
            check_dir(&bundle.manifest, dir)?;
            lines.push(format!("folder {}: every file is the same", dir.display()));
        }
        if let Some(url) = &self.site {
            let environment = Environment::from_environment();
            let trust = self.trust.read(&environment).map_err(|error| Fault::of(USAGE, error))?;
            let command = format!("chainhost verify {} --site {url}", self.bundle.display());
            let site = fetch::Site::parse(url, &trust, command).map_err(Fault::usage)?;
            let passed_on = site::check(&bundle.manifest, &site)?;
            lines.push(format!("site {url}: every file is answered as it was deployed{}", but_for(&passed_on)));
        }
        if !bundle.unchecked.is_empty() {
            lines.push(format!("not checked by this version: {}", bundle.unchecked.join(", ")));
        }
        if self.rpc.is_some() {
            lines.push(String::from("no chain was asked: this version checks no anchors"));
        }
        lines.push(String::from("pending: no log and no chain vouches for this deployment yet"));
        Ok(lines.join("\n") + "\n")
    }
}

/// What of a site no manifest can prove: a line for each rule by which another server answers.
fn elsewhere(manifest: &Manifest) -> Vec<String> {
    let rules: BTreeSet<(&str, &str)> =
        manifest.policy().redirects.iter().filter_map(|it| Some((it.from.as_str(), it.upstream()?))).collect();
    let shown = rules.iter().take(SHOWN_MAX).map(|(from, server)| {
        format!("not proved: {} is answered by {server}, which may say anything", from.escape_debug())
    });
    let more = rules.len().saturating_sub(SHOWN_MAX);
    let more = (more > 0).then(|| format!("not proved: {more} more rules of the kind"));
    shown.chain(more).collect()
}

/// The files that were not asked for, since other servers may answer there.
fn but_for(passed_on: &[&str]) -> String {
    let shown: Vec<String> = passed_on.iter().take(SHOWN_MAX).map(|it| it.escape_debug().to_string()).collect();
    match passed_on.len() {
        0 => String::new(),
        all => {
            let more = if all > SHOWN_MAX { " and others" } else { "" };
            format!(", but for {all} that other servers may answer: {}{more}", shown.join(", "))
        }
    }
}

fn read(path: &Path) -> Result<Bundle, Fault> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(BUNDLE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|error| Fault::usage(unreadable(path, &error)))?;
    bundle::parse(&bytes).map_err(|refusal| match refusal {
        Refusal::NotABundle(error) => Fault::of(USAGE, error),
        Refusal::Manifest(error) => Fault::of(MANIFEST, error),
    })
}

/// Why there is no bundle; who names a site has not got it yet.
fn unreadable(path: &Path, error: &io::Error) -> String {
    let told = format!("Cannot read {}: {error}", path.display());
    match path.to_str().filter(|it| it.starts_with("http://") || it.starts_with("https://")) {
        Some(url) => format!(
            "{told}. The proof is read from a file. Each answer of a site tells where its own is, in the field `Link`: save what is there as \
             proof.json, then run `chainhost verify proof.json --site {url}`."
        ),
        None => told,
    }
}

/// Whether a folder has exactly the files of the manifest, with its types by the manifest's policy.
fn check_dir(manifest: &Manifest, dir: &Path) -> Result<(), Fault> {
    // What was allowed at the deploy is in the manifest, and what is not in it differs.
    let found = folder::open(dir).and_then(|it| folder::list(&it, true)).map_err(|error| Fault::of(USAGE, error))?;
    let mut entries = Vec::with_capacity(found.len());
    for (path, size, sha256) in found {
        if let Selected::File(path) = select(&path, true).map_err(|error| Fault::of(USAGE, error))? {
            let media_type = media_type::of(path.as_str()).to_owned();
            entries.push(Entry { path, sha256, size, media_type });
        }
    }
    build::apply_types(&mut entries, manifest.policy()).map_err(|error| Fault::of(USAGE, error))?;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    compare(manifest.entries(), &entries)
}

/// The first difference of two sorted lists, in the order of paths.
fn compare(deployed: &[Entry], found: &[Entry]) -> Result<(), Fault> {
    let (mut deployed, mut found) = (deployed.iter().peekable(), found.iter().peekable());
    loop {
        let order = match (deployed.peek(), found.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => one.path.cmp(&other.path),
        };
        match (order, deployed.next_if(|_| order.is_le()), found.next_if(|_| order.is_ge())) {
            (Ordering::Equal, Some(one), Some(other)) => same(one, other)?,
            (_, Some(one), _) => return Err(Fault::content(one.path.as_str(), "is missing in the folder")),
            (_, _, Some(other)) => return Err(Fault::content(other.path.as_str(), "was not deployed")),
            (_, None, None) => return Ok(()),
        }
    }
}

fn same(deployed: &Entry, found: &Entry) -> Result<(), Fault> {
    let path = deployed.path.as_str();
    if deployed.size != found.size {
        return Err(Fault::content(path, format!("has {} bytes instead of {}", found.size, deployed.size)));
    }
    if deployed.sha256 != found.sha256 {
        return Err(Fault::content(path, format!("has the SHA-256 {} instead of {}", found.sha256, deployed.sha256)));
    }
    if deployed.media_type != found.media_type {
        let (found, deployed) = (&found.media_type, &deployed.media_type);
        return Err(Fault::content(path, format!("has the type {found} instead of {deployed}")));
    }
    Ok(())
}
