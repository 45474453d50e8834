//! How visitors are let in: the form and its answer, links, and the way out. All below one path that is the host's on every site.
//!
//! SECURITY: where somebody is sent afterwards is a path of this host, whatever was asked for ([`inside`]).

use std::{borrow::Cow, time::Duration};

use http_body_util::{BodyExt as _, Limited};
use hyper::{
    Method, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, LOCATION, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE},
    http::uri::PathAndQuery,
};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;

use super::{
    Gate, addresses,
    cookie::{self, Guest},
    door::Door,
    doors::{Attempt, Checked, Doors},
    rules::Ring,
};
use crate::{
    base::{hash::Sha256, limits::PASSWORD_BYTES_MAX, secret::Secret},
    domain::site_settings::guests::composed,
    http::respond::{self, Body, Response},
    serve::page::{self, Refusal, escape},
};

/// What is the host's here.
const ROOT: &str = "/.well-known/chainhost/";
/// Where the form is sent.
const SIGN_IN: &str = "sign-in";
/// Where a visitor ends being known.
const SIGN_OUT: &str = "sign-out";
/// Before the secret of a link.
const LINK: &str = "link/";
/// A name, a password and a path, each escaped.
const FORM_BYTES_MAX: usize = 16 * 1_024;
/// How long a form may take to arrive.
const FORM_WITHIN: Duration = Duration::from_secs(15);
/// Digits of a link's secret at most: more would only be hashed.
const TOKEN_BYTES_MAX: usize = 128;

/// What a path below [`ROOT`] is for.
enum Call<'a> {
    SignIn,
    SignOut,
    Link { token: &'a str, rest: &'a str },
}

impl<'a> Call<'a> {
    fn of(path: &'a str) -> Option<Self> {
        match path.strip_prefix(ROOT)? {
            SIGN_IN => Some(Self::SignIn),
            SIGN_OUT => Some(Self::SignOut),
            other => {
                let link = other.strip_prefix(LINK)?;
                let (token, rest) = link.find('/').map_or((link, "/"), |at| link.split_at(at));
                (!token.is_empty() && token.len() <= TOKEN_BYTES_MAX).then_some(Self::Link { token, rest })
            }
        }
    }
}

/// Whether a raw path is one of these. They are on the canonical hostname only: a cookie of another one would be of no use there.
pub(super) fn is_ours(path: &str) -> bool {
    Call::of(path).is_some()
}

/// The answer to a request for one of these paths; `None` for all others.
pub(super) async fn answer(
    gate: &Gate<'_>,
    doors: &Doors,
    body: &mut Option<Body>,
) -> Result<Option<Response>, Refusal> {
    let parts = gate.asked.parts;
    let known = gate.rules.door.is_some() || gate.rules.guests.is_some();
    let Some(call) = Call::of(parts.uri.path()).filter(|_| known) else { return Ok(None) };
    if let Some(elsewhere) = addresses::elsewhere(gate) {
        return Ok(Some(elsewhere));
    }
    let door = gate.rules.door.as_ref().filter(|it| !it.basic);
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    let answer = match (call, door) {
        (Call::Link { token, rest }, _) if reads => by_link(gate, token, rest)?,
        (Call::SignIn, Some(_)) if reads => form(gate, StatusCode::OK, &Shown::default()),
        (Call::SignIn, Some(door)) if parts.method == Method::POST => {
            let body = body.take().unwrap_or_else(Body::empty);
            sign_in(gate, door, doors, body).await?
        }
        (Call::SignOut, _) if reads => sign_out_page(gate),
        (Call::SignOut, _) if parts.method == Method::POST => sign_out(gate)?,
        (Call::SignIn, None) => return Err(Refusal::NotFound),
        _ => return Err(Refusal::Form),
    };
    Ok(Some(answer))
}

/// The form in place of the page that was asked for.
pub(super) fn challenge(gate: &Gate<'_>) -> Response {
    let asked = gate.asked.parts;
    let next = match asked.method {
        Method::GET | Method::HEAD => asked.uri.path_and_query().map_or("/", PathAndQuery::as_str),
        // What was sent is gone by then.
        _ => "/",
    };
    form(gate, StatusCode::UNAUTHORIZED, &Shown { next: Cow::Borrowed(next), ..Shown::default() })
}

/// What a form is shown with.
#[derive(Default)]
struct Shown<'a> {
    name: &'a str,
    next: Cow<'a, str>,
    problem: Option<String>,
}

fn form(gate: &Gate<'_>, status: StatusCode, shown: &Shown<'_>) -> Response {
    if !page::wants_html(&gate.asked.parts.headers) {
        let text =
            shown.problem.as_deref().unwrap_or("This site asks for a password, with a form that a browser shows.");
        return dressed(respond::text(status, format!("{text}\n")));
    }
    let (host, name, next) = (escape(gate.asked.host), escape(shown.name), escape(inside(&shown.next)));
    let problem = shown.problem.as_ref().map(|it| format!("<p class=\"wrong\" role=\"alert\">{}</p>\n", escape(it)));
    let problem = problem.unwrap_or_default();
    let title = if shown.problem.is_some() { "Problem: Sign in" } else { "Sign in" };
    let inner = format!(
        "<h1>Sign in</h1>\n<p>{host} is shown only to those who have a name and a password for it.</p>\n{problem}\
         <form method=\"post\" action=\"{ROOT}{SIGN_IN}\">\n<input type=\"hidden\" name=\"next\" value=\"{next}\">\n\
         <label for=\"name\">Name</label>\n<input id=\"name\" name=\"name\" value=\"{name}\" autocomplete=\"username\" autocapitalize=\"none\" spellcheck=\"false\" required autofocus>\n\
         <label for=\"password\">Password</label>\n<input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required>\n\
         <button>Sign in</button>\n</form>\n"
    );
    dressed(respond::html(status, page::shell(title, &inner)))
}

/// The headers of all answers here: they are of this visitor, and are shown in no frame.
fn dressed(mut response: Response) -> Response {
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// To a path of this host, with a cookie.
fn go(next: &str, cookie: Option<HeaderValue>) -> Result<Response, Refusal> {
    let mut response = dressed(respond::empty(StatusCode::SEE_OTHER));
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_str(inside(next)).map_err(|_| Refusal::Path)?);
    headers.append(SET_COOKIE, cookie.ok_or(Refusal::Unavailable)?);
    Ok(response)
}

async fn sign_in(gate: &Gate<'_>, door: &Door, doors: &Doors, body: Body) -> Result<Response, Refusal> {
    let client = gate.asked.client();
    let from = gate.asked.parts.headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    // SECURITY: a page of others could sign its visitors in as somebody else.
    if from.is_some_and(|it| !matches!(it, b"same-origin" | b"none")) {
        return Err(Refusal::Form);
    }
    let sent = read(body).await.ok_or(Refusal::Form)?;
    let name = composed(sent.name.trim());
    let again = |status, problem: String| {
        form(gate, status, &Shown { name: &name, next: Cow::Borrowed(&sent.next), problem: Some(problem) })
    };
    let ring = gate.rules.guests.as_ref();
    let known = ring.and_then(|it| it.person(&name));
    let password = Secret::new(composed(sent.password.expose()));
    let attempt = Attempt { site: gate.target.site, client: client.address, name: &name, password, known };
    match (doors.check(attempt).await, ring, known) {
        (Checked::Right, Some(ring), Some(known)) => {
            let (until, guest) = (gate.now_s.saturating_add(door.session_s), Guest::Person(name.clone()));
            let secure = client.scheme == "https";
            go(&sent.next, cookie::set(ring, gate.target.site, &guest, &known.version, gate.now_s, until, secure))
        }
        (Checked::Later(after_s), ..) => {
            let wait = page::in_words(after_s);
            let mut response = again(
                StatusCode::TOO_MANY_REQUESTS,
                format!("There were too many wrong passwords. Try again in {wait}."),
            );
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after_s));
            Ok(response)
        }
        (Checked::Broken, ..) => Err(Refusal::Unreadable),
        (Checked::Right | Checked::Wrong, ..) => Ok(again(
            StatusCode::UNAUTHORIZED,
            String::from("The name or the password is not right. Try again, or ask whoever gave them to you."),
        )),
    }
}

fn by_link(gate: &Gate<'_>, token: &str, rest: &str) -> Result<Response, Refusal> {
    let token = Sha256::of(token.as_bytes());
    let known = |ring: &Ring| ring.link(&token).copied().filter(|it| it.expires_s > gate.now_s);
    let (ring, way) = gate.rules.guests.as_ref().and_then(|it| Some((it, known(it)?))).ok_or(Refusal::LinkEnded)?;
    let query = gate.asked.parts.uri.query().map_or_else(String::new, |it| format!("?{it}"));
    let secure = gate.asked.client().scheme == "https";
    let guest = Guest::Link(token);
    let cookie = cookie::set(ring, gate.target.site, &guest, &[0; 32], gate.now_s, way.expires_s, secure);
    go(&format!("{rest}{query}"), cookie)
}

fn sign_out_page(gate: &Gate<'_>) -> Response {
    let host = escape(gate.asked.host);
    let inner = format!(
        "<h1>Sign out</h1>\n<p>This browser forgets that you may see {host}.</p>\n\
         <form method=\"post\" action=\"{ROOT}{SIGN_OUT}\"><button>Sign out</button></form>\n"
    );
    dressed(respond::html(StatusCode::OK, page::shell("Sign out", &inner)))
}

fn sign_out(gate: &Gate<'_>) -> Result<Response, Refusal> {
    go("/", cookie::unset(gate.asked.client().scheme == "https"))
}

/// What a form says.
struct Sent {
    name: String,
    password: Secret,
    next: String,
}

async fn read(body: Body) -> Option<Sent> {
    let whole = timeout(FORM_WITHIN, Limited::new(body, FORM_BYTES_MAX).collect()).await.ok()?.ok()?;
    parse(&whole.to_bytes())
}

/// `application/x-www-form-urlencoded`. Each field once at most.
fn parse(bytes: &[u8]) -> Option<Sent> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (mut name, mut password, mut next) = (None, None, None);
    for pair in text.split('&') {
        let (key, value) = pair.split_once('=')?;
        let value = value.replace('+', " ");
        let value = percent_decode_str(&value).decode_utf8().ok()?.into_owned();
        let field = match key {
            "name" => &mut name,
            "password" => &mut password,
            "next" => &mut next,
            _ => continue,
        };
        if field.replace(value).is_some() {
            return None;
        }
    }
    let password = password.filter(|it| it.len() <= PASSWORD_BYTES_MAX)?;
    Some(Sent { name: name?, password: Secret::new(password), next: next.unwrap_or_default() })
}

/// A path of this host, for a browser: one `/` in front, and nothing that browsers take for more of them or leave out.
pub(super) fn inside(next: &str) -> &str {
    let is_path = next.starts_with('/') && !next.starts_with("//");
    let is_clean = next.bytes().all(|it| it.is_ascii_graphic() && it != b'\\');
    if is_path && is_clean && next.len() <= 4_096 { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_away_from_this_host() {
        for same in ["/", "/a%20b?c=d&e=//x", "/a//b", "/@evil.example", "/:80", "/.evil.example"] {
            assert_eq!(inside(same), same);
        }
        for other in [
            "",
            "a",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/a\\b",
            "https://evil.example/",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/\r\nSet-Cookie: a=b",
            " /a",
            "/\u{e9}",
            &format!("/{}", "a".repeat(4_096)),
        ] {
            assert_eq!(inside(other), "/", "{other:?}");
        }
    }

    #[test]
    fn a_form_is_read_once() {
        let sent = parse(b"next=%2Fa%3Fb&name=%C3%A9va&password=a+b%26c&other=1").unwrap();
        assert_eq!((sent.name.as_str(), sent.password.expose(), sent.next.as_str()), ("\u{e9}va", "a b&c", "/a?b"));
        let long = format!("name=a&password={}", "x".repeat(1_025));
        for wrong in ["", "name=a", "password=b", "name=a&name=b&password=c", "name=%ff&password=c", "name", &long] {
            assert!(parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_paths_are_these_and_no_others() {
        for path in
            ["/.well-known/chainhost/sign-in", "/.well-known/chainhost/sign-out", "/.well-known/chainhost/link/abc//x"]
        {
            assert!(is_ours(path), "{path}");
        }
        for path in [
            "/",
            "/sign-in",
            "/.well-known/chainhost/",
            "/.well-known/chainhost/link/",
            "/.well-known/chainhost/proof/link/x",
            "/.well-known/chainhost/sign-in/",
        ] {
            assert!(!is_ours(path), "{path}");
        }
        let link = Call::of("/.well-known/chainhost/link/abc/d/e");
        assert!(matches!(link, Some(Call::Link { token: "abc", rest: "/d/e" })));
    }
}
