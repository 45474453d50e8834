//! Files in the folder of a FastCGI route that are sent as they are: styles, pictures, and what an application takes in while it runs.
//!
//! SECURITY: a file is sent only where it lies in the folder with all links followed, and it is opened there by a way that follows none. Hidden
//! ones are not sent, nor those whose name says that they are a program, a copy of one that an editor or somebody in a hurry has left, settings, a
//! dump or a key, neither by the name that was asked for nor by the one that a link leads to. Pipes, devices and folders are not opened.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD;
use hyper::{
    Method, StatusCode,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
        HeaderValue, LAST_MODIFIED, RANGE,
    },
    http::request::Parts,
};

use crate::{
    base::{beneath::Folder, hash::Sha256, tasks::Tasks},
    domain::{media_type, site_settings::proxy::scripts, url_path::decode_path},
    http::{
        conditional::{self, Outcome},
        pieces,
        range::{self, Ranged, Span},
        respond::{self, Body, Response},
    },
    serve::{
        file::{self, Content},
        headers::REVALIDATE,
        page::Refusal,
    },
};

/// Read at once: twice that of a file is in memory for one answer, and each has a place among those of its visitor.
const CHUNK: u64 = 64 * 1024;

/// Parts behind a dot that give something away wherever they are in a name (`wp-config.php.txt`, `dump.sql.gz`), as does each that begins with `php`.
const ANYWHERE: [&str; 6] = ["env", "phar", "pht", "phtml", "sql", "sqlite"];
/// Those that do at the end: what programs read and browsers do not, and what editors and people leave.
const AT_THE_END: [&str; 48] = [
    "backup", "bak", "bkp", "cfg", "cnf", "conf", "config", "db", "db3", "dist", "dump", "engine", "htaccess",
    "htpasswd", "inc", "ini", "install", "key", "latte", "lock", "log", "make", "mdb", "module", "neon", "old", "orig",
    "original", "p12", "pem", "pfx", "profile", "rej", "sav", "save", "sqlite3", "swn", "swo", "swp", "swx", "temp",
    "theme", "tmp", "toml", "tpl", "twig", "yaml", "yml",
];
/// Ends that say how something was packed or is shown, and not what it is.
const PACKED: [&str; 12] = ["7z", "br", "bz2", "gz", "lz4", "rar", "tar", "tgz", "txt", "xz", "zip", "zst"];
/// Names that say what an application is made of, and where PHP writes its complaints.
const NAMES: [&str; 9] = [
    "auth.json",
    "composer.json",
    "dockerfile",
    "error_log",
    "makefile",
    "package-lock.json",
    "package.json",
    "php_errorlog",
    "web.config",
];

/// What answers a path.
#[derive(Debug)]
pub(crate) struct Public {
    /// The path of the file below the folder, with `/` in front and all links followed.
    pub(crate) path: String,
    /// The file, or why it is not sent.
    pub(crate) answer: Result<Response, Refusal>,
}

/// A file that is open.
struct Found {
    file: File,
    about: Metadata,
    path: String,
}

/// A raw path, decoded, where these patterns let the file at it be sent, if there is one.
pub(crate) fn fitting(path: &str, patterns: &[String]) -> Option<String> {
    if patterns.is_empty() {
        return None;
    }
    let path = decode_path(path).filter(|it| may_be_sent(it) && scripts::any_fits(patterns, it))?;
    Some(path.into_owned())
}

/// The file at a path that is [`fitting`], for a GET or HEAD; `None` where there is none, or a link leads to one that does not fit. `now_s`: the
/// time of day, in seconds.
pub(crate) async fn find(
    tasks: &Tasks,
    root: &str,
    path: String,
    patterns: &[String],
    parts: &Parts,
    now_s: i64,
) -> Option<Public> {
    let (root, patterns, within) = (PathBuf::from(root), patterns.to_vec(), tasks.clone());
    let (method, headers) = (parts.method.clone(), parts.headers.clone());
    let found = tasks.blocking(move || {
        let found = open(&root, &path).filter(|it| scripts::any_fits(&patterns, &it.path))?;
        Some(Public { path: found.path.clone(), answer: answer(found, &method, &headers, now_s, &within) })
    });
    found.await.flatten()
}

/// Whether a decoded path may be one of a file that is sent.
fn may_be_sent(path: &str) -> bool {
    let is_hidden = |it: &str| it.starts_with('.') && it != ".well-known";
    let name = path.rsplit('/').next().unwrap_or_default();
    !name.is_empty() && !path.split('/').any(is_hidden) && !gives_away(&name.to_ascii_lowercase())
}

/// Whether a name, in small letters, says that its file is nothing for visitors.
fn gives_away(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    // What is packed, numbered, dated or shown as text is still what it is: `debug.log.1`, `db.sql.gz`, `a.bak.2024-01-31`, `config.inc.txt`.
    let packing = parts.iter().skip(1).rev().take_while(|it| is_packing(it)).count();
    let whole = parts.get(..parts.len() - packing).unwrap_or_default();
    let (first, behind) = (whole.join("."), parts.get(1..).unwrap_or_default());
    let is_named = |it: &&str| {
        first.strip_prefix(*it).is_some_and(|more| !more.starts_with(|c: char| c == '.' || c.is_ascii_alphanumeric()))
    };
    name.starts_with('#')
        || name.ends_with(['~', '#'])
        || NAMES.iter().any(is_named)
        || whole.iter().skip(1).next_back().is_some_and(|it| AT_THE_END.contains(&stem(it)))
        || behind.iter().any(|it| it.starts_with("php") || ANYWHERE.contains(&stem(it)))
}

/// Whether a part of a name says how something was packed or is shown, or when it was put away, and not what it is.
fn is_packing(part: &str) -> bool {
    let is_time = part.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'_' | b't'));
    PACKED.contains(&part) || is_time
}

/// A part of a name without what is appended to it when it is put away, or by a database while it writes: `log-20240131`, `sqlite-wal`, `env_old`.
fn stem(part: &str) -> &str {
    part.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or(part)
}

fn open(root: &Path, path: &str) -> Option<Found> {
    let root = fs::canonicalize(root).ok()?;
    let file = fs::canonicalize(root.join(path.trim_start_matches('/'))).ok()?;
    let below = file.strip_prefix(&root).ok()?;
    let path = format!("/{}", below.to_str()?);
    if !may_be_sent(&path) || !file.is_file() {
        return None;
    }
    // Whatever has taken its place since: no link is followed, and no pipe waited for.
    let file = Folder::open_real(&root).ok()?.file(below).ok()?;
    let about = file.metadata().ok()?;
    about.is_file().then_some(Found { file, about, path })
}

/// Blocks.
fn answer(found: Found, method: &Method, headers: &HeaderMap, now_s: i64, tasks: &Tasks) -> Result<Response, Refusal> {
    let (about, etag, size) = (&found.about, etag(&found.about), found.about.len());
    // A time to come is no time of a change (RFC 9110 §8.8.2.1).
    let modified_s = u64::try_from(about.mtime()).ok().filter(|_| about.mtime() <= now_s);
    let common = |headers: &mut HeaderMap| {
        headers.insert(CACHE_CONTROL, REVALIDATE);
        put(headers, ETAG, &etag);
        if let Some(modified_s) = modified_s {
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(modified_s));
            put(headers, LAST_MODIFIED, &date);
        }
    };
    match conditional::evaluate_dated(headers, &etag, modified_s) {
        Outcome::Go => {}
        Outcome::Failed => return Err(Refusal::Precondition),
        Outcome::NotModified => {
            let mut response = respond::empty(StatusCode::NOT_MODIFIED);
            common(response.headers_mut());
            return Ok(response);
        }
    }
    let (status, first, length) = match asked_part(headers, method, &etag, size) {
        Ranged::Part(part) => (StatusCode::PARTIAL_CONTENT, part.first, part.length()),
        Ranged::Unsatisfiable => {
            let mut response = Refusal::Range.answer(headers);
            put(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(response);
        }
        // Several parts may be asked for, and need not be given (RFC 9110 §14.2).
        Ranged::Whole | Ranged::Parts(_) => (StatusCode::OK, 0, size),
    };
    let media_type = media_type::of(&found.path);
    let body = match *method {
        Method::HEAD => Body::empty(),
        _ => body(found, first, length, tasks).map_err(|_| Refusal::Unavailable)?,
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    common(headers);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    put(headers, CONTENT_TYPE, media_type);
    if status == StatusCode::PARTIAL_CONTENT {
        let Span { first, last } = Span { first, last: first.saturating_add(length).saturating_sub(1) };
        put(headers, CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
    }
    Ok(response)
}

/// The part that a GET asks for: said once, or not understood.
fn asked_part(headers: &HeaderMap, method: &Method, etag: &str, size: u64) -> Ranged {
    let mut lines = headers.get_all(RANGE).iter();
    let asked = lines.next().filter(|_| lines.next().is_none() && *method == Method::GET);
    let asked = asked.filter(|_| conditional::range_allowed(headers, etag)).and_then(|it| it.to_str().ok());
    asked.map_or(Ranged::Whole, |it| range::parse(it, size))
}

/// A tag of what tells one state of a file from another without reading it. Hashed: the numbers are nobody's business.
fn etag(it: &Metadata) -> String {
    let told = [it.ino(), it.size()].map(u64::to_be_bytes);
    let times = [it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec()].map(i64::to_be_bytes);
    let hash = Sha256::of(&[told.as_flattened(), times.as_flattened()].concat()).0;
    format!("\"{}\"", BASE64URL_NOPAD.encode(hash.get(..16).unwrap_or(&hash)))
}

/// The bytes from `first` on, `length` of them. Blocks for what is read at once; what is longer is read as it is taken.
fn body(found: Found, first: u64, length: u64, tasks: &Tasks) -> io::Result<Body> {
    let state = |it: &Metadata| (it.size(), it.mtime(), it.mtime_nsec());
    let (file, begun) = (Arc::new(found.file), state(&found.about));
    let content = Content::File(Arc::clone(&file));
    if length <= CHUNK {
        return Ok(Body::full(file::read(&content, first, length)?));
    }
    let (mut at, mut left) = (first, length);
    Ok(pieces::body(tasks, move || {
        let take = left.min(CHUNK);
        if take == 0 {
            return Ok(None);
        }
        let bytes = file::read(&content, at, take)?;
        // What is made of two states of a file has the tag of neither.
        if state(&file.metadata()?) != begun {
            return Err(io::Error::other("the file was changed while it was sent"));
        }
        at = at.saturating_add(take);
        left = left.saturating_sub(take);
        Ok(Some(bytes))
    }))
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use http_body_util::BodyExt as _;
    use hyper::{Request, header::IF_MODIFIED_SINCE};

    use super::*;
    use crate::base::files::write_atomic;

    /// Names of files for visitors.
    const FOR_VISITORS: &[&str] = &[
        "/notes.txt",
        "/wp-includes/css/style.min.css",
        "/app.config.js",
        "/button.module.css",
        "/a b.jpg",
        "/LICENSE",
        "/.well-known/security.txt",
        "/a/.well-known/x",
        "/php",
        "/logo",
        "/elephpant.svg",
        "/old.png",
        "/robots.txt",
        "/react.production.min.js",
        "/log/a.html",
        "/inc/a.js",
        "/manifest.json",
        "/feed.xml",
        "/sql.html",
        "/photos.zip",
        "/report.2024.txt",
        "/jquery-3.7.1.js",
        "/v1.2.tar.gz",
        "/photo.old-town.jpg",
        "/2024-01-31.pdf",
        "/package.jsonp",
        "/makefile.html",
    ];

    /// Names that give something away.
    const FOR_NOBODY: &[&str] = &[
        "/",
        "/a/",
        "/a.php",
        "/a.PHP",
        "/a.php~",
        "/a.php.bak",
        "/a.php_old",
        "/a.php.txt",
        "/a.php.",
        "/a.php5",
        "/a.phps",
        "/a.phtml",
        "/a.pHar",
        "/a.pht",
        "/a.inc",
        "/a.INC.old",
        "/dump.sql",
        "/dump.sql.gz",
        "/.env",
        "/prod.env",
        "/a.env.local",
        "/php.ini",
        "/debug.log",
        "/a.swp",
        "/#a.js#",
        "/a.js~",
        "/.git/config",
        "/a/.git/x.css",
        "/.htaccess",
        "/.htpasswd",
        "/.well-known/.x",
        "/..x",
        "/a.yml",
        "/server.key",
        "/error_log",
        "/COMPOSER.json",
        "/composer.lock",
        "/web.config",
        "/a.twig",
        "/debug.log.1",
        "/debug.log.gz",
        "/debug.log.2.gz",
        "/error_log.1",
        "/db.sqlite-wal",
        "/db.sqlite3-journal",
        "/shop.db-shm",
        "/config.inc.txt",
        "/parameters.yml.txt",
        "/site.bak.zip",
        "/site.old.tar.gz",
        "/debug.log-20240101",
        "/debug.log-20240101.gz",
        "/error_log-20240101",
        "/debug.log.2024-01-01",
        "/site.bak.2024-01-01T10",
        "/dump.sql-20240101.gz",
        "/prod.env-old",
        "/prod.env_backup",
        "/config.inc-old",
        "/settings.ini_bak",
        "/package.json-1",
    ];

    #[test]
    fn names_that_give_something_away_are_not_sent() {
        for (paths, wanted) in [(FOR_VISITORS, true), (FOR_NOBODY, false)] {
            let wrong: Vec<_> = paths.iter().filter(|it| may_be_sent(it) != wanted).collect();
            assert!(wrong.is_empty(), "sent is not {wanted}: {wrong:?}");
        }
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("public");
        for name in ["public/upload", "public/dir.css", "public/.git", "outside"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for name in [
            "public/notes.txt",
            "public/upload/photo.jpg",
            "public/a.php",
            "public/.git/x.css",
            "public/.env",
            "outside/secret.txt",
        ] {
            write_atomic(&folder.path().join(name), b"0123456789", 0o644).unwrap();
        }
        for (to, name) in [
            ("../outside/secret.txt", "link.txt"),
            ("../outside", "out"),
            ("a.php", "source.txt"),
            (".env", "env.txt"),
            ("notes.txt", "same.md"),
            ("upload", "pictures"),
            ("nowhere", "dangling.txt"),
        ] {
            symlink(to, root.join(name)).unwrap();
        }
        symlink("public", folder.path().join("current")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe.txt"), 0o644.into()).unwrap();
        (folder, root)
    }

    #[test]
    fn files_in_the_folder_are_opened_and_nothing_else_is() {
        let (folder, root) = folder();
        let of = |path: &str| open(&root, path).map(|it| it.path);
        for (path, wanted) in [
            ("/notes.txt", Some("/notes.txt")),
            ("//notes.txt", Some("/notes.txt")),
            ("/upload/photo.jpg", Some("/upload/photo.jpg")),
            ("/pictures/photo.jpg", Some("/upload/photo.jpg")),
            ("/same.md", Some("/notes.txt")),
            ("/link.txt", None),
            ("/out/secret.txt", None),
            ("/source.txt", None),
            ("/env.txt", None),
            ("/dangling.txt", None),
            ("/dir.css", None),
            ("/pipe.txt", None),
            ("/upload", None),
            ("/missing.css", None),
            ("/notes.txt/x.css", None),
            ("/../outside/secret.txt", None),
        ] {
            assert_eq!(of(path).as_deref(), wanted, "{path}");
        }
        assert!(open(&folder.path().join("current"), "/notes.txt").is_some(), "the folder itself may be a link");
        assert!(open(Path::new("/nowhere"), "/notes.txt").is_none());
    }

    /// The answer to such a request.
    async fn asked(root: &Path, method: &str, headers: &[(&str, &str)]) -> Result<Response, Refusal> {
        let mut request = Request::builder().method(method).uri("/notes.txt");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let (root, patterns) = (root.to_str().unwrap(), [String::from("*")]);
        let path = fitting("/notes.txt", &patterns).unwrap();
        find(&Tasks::new(), root, path, &patterns, &parts, 4_000_000_000).await.unwrap().answer
    }

    #[tokio::test]
    async fn parts_and_conditions_are_as_for_other_files() {
        let (_folder, root) = folder();
        let whole = asked(&root, "GET", &[]).await.unwrap();
        let of = |name| whole.headers()[name].to_str().unwrap().to_owned();
        let (etag, date) = (of("etag"), of("last-modified"));
        assert_eq!((of("content-type").as_str(), of("content-length").as_str()), ("text/plain; charset=utf-8", "10"));
        assert_eq!(
            (of("cache-control").as_str(), of("accept-ranges").as_str()),
            ("max-age=0, must-revalidate", "bytes")
        );
        let (tag, date) = (etag.as_str(), date.as_str());
        let (before, after) = ("Thu, 01 Jan 2015 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT");
        for (method, headers, status, body) in [
            ("GET", &[][..], 200, "0123456789"),
            ("HEAD", &[], 200, ""),
            ("GET", &[("range", "bytes=2-4")], 206, "234"),
            ("GET", &[("range", "bytes=-1")], 206, "9"),
            ("HEAD", &[("range", "bytes=2-4")], 200, ""),
            ("GET", &[("range", "bytes=2-4"), ("if-range", tag)], 206, "234"),
            ("GET", &[("range", "bytes=2-4"), ("if-range", "\"other\"")], 200, "0123456789"),
            ("GET", &[("range", "bytes=2-4"), ("if-range", date)], 200, "0123456789"),
            ("GET", &[("range", "bytes=0-0,5-5")], 200, "0123456789"),
            ("GET", &[("if-none-match", tag)], 304, ""),
            ("GET", &[("if-none-match", "\"other\""), ("if-modified-since", after)], 200, "0123456789"),
            ("GET", &[("if-modified-since", date)], 304, ""),
            ("GET", &[("if-modified-since", before)], 200, "0123456789"),
            ("GET", &[("if-modified-since", "yesterday")], 200, "0123456789"),
            ("GET", &[("if-unmodified-since", date)], 200, "0123456789"),
        ] {
            let response = asked(&root, method, headers).await.unwrap();
            assert_eq!(response.status(), status, "{method} {headers:?}");
            assert_eq!(response.headers()["etag"], tag, "{method} {headers:?}");
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body, "{method} {headers:?}");
        }
        for headers in [("if-match", "\"other\""), ("if-unmodified-since", before)] {
            assert!(matches!(asked(&root, "GET", &[headers]).await, Err(Refusal::Precondition)), "{headers:?}");
        }
        let beyond = asked(&root, "GET", &[("range", "bytes=10-")]).await.unwrap();
        assert_eq!((beyond.status().as_u16(), &beyond.headers()[CONTENT_RANGE]), (416, &"bytes */10".parse().unwrap()));
        // Of a time to come nothing is said.
        let file = File::options().write(true).open(root.join("notes.txt")).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(4_100_000_000)).unwrap();
        let ahead = asked(&root, "GET", &[(IF_MODIFIED_SINCE.as_str(), after)]).await.unwrap();
        assert!(ahead.status() == 200 && !ahead.headers().contains_key(LAST_MODIFIED) && ahead.headers()[ETAG] != tag);
    }

    #[tokio::test]
    async fn a_large_file_comes_in_pieces_and_breaks_off_where_it_changes() {
        let (_folder, root) = folder();
        let bytes: Vec<u8> = (0..=250).cycle().take(1_000_000).collect();
        for changes in [false, true] {
            write_atomic(&root.join("notes.txt"), &bytes, 0o644).unwrap();
            let response = asked(&root, "GET", &[("range", "bytes=7-")]).await.unwrap();
            assert!(response.body().in_memory().is_none());
            assert_eq!(response.headers()[CONTENT_LENGTH], "999993");
            let mut body = response.into_body();
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            if changes {
                let file = File::options().append(true).open(root.join("notes.txt")).unwrap();
                io::Write::write_all(&mut &file, b"more").unwrap();
            }
            let rest = body.collect().await.map(http_body_util::Collected::to_bytes);
            match rest {
                Ok(rest) => assert!(!changes && [first, rest].concat() == bytes[7..]),
                Err(error) => assert!(changes && error.to_string().contains("changed"), "{error}"),
            }
        }
    }
}
