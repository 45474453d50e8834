//! The host's own pages: what a visitor reads where no file answers.
//!
//! Small, self-contained, light or dark as the visitor's system is, without script; plain text for programs. They
//! say nothing of the inside of this server, and are kept by no cache.

use std::time::Duration;

use hyper::{
    StatusCode,
    header::{
        ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
        X_CONTENT_TYPE_OPTIONS,
    },
};

use super::{bans::Left, onward::Onward};
use crate::http::{
    connect,
    respond::{self, Response},
};

/// What may be asked of a file.
pub(super) const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
/// Whoever waits for a damaged file to be repaired may ask again after this.
const RETRY_S: HeaderValue = HeaderValue::from_static("30");
/// Somebody may give a site more traffic before the month is over.
const RETRY_LATE_S: HeaderValue = HeaderValue::from_static("3600");
/// Whoever waits for an upstream that is being started may ask again after this.
const UPSTREAM_RETRY_S: HeaderValue = HeaderValue::from_static("5");
/// What may be asked of an upstream.
const PASSED_ON: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE");

/// Why a visitor gets a page of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not GET or HEAD.
    Method,
    /// A path that no file can have.
    Path,
    /// A request without one readable hostname.
    Host,
    /// Nothing answers here.
    NotFound,
    /// A rule says that it is gone.
    Gone,
    /// A site without a deployment.
    Nothing,
    /// Taken down, for this reason.
    TakenDown(String),
    /// No site has this hostname.
    UnknownHost,
    /// `If-Match` names another state.
    Precondition,
    /// No byte of the range is there.
    Range,
    /// The bytes are not there, or are not what they should be.
    Unavailable,
    /// No upstream takes a connection.
    Unreachable,
    /// An upstream gave no answer that could be read.
    Broken,
    /// An upstream gave none in time.
    Late,
    /// No upstream is well.
    Down,
    /// The upstreams have as much to do as they may have.
    Busy,
    /// A body where none is passed on.
    HeadBody,
    /// The body is larger than what is behind the path takes.
    TooLarge,
    /// The body came too slowly.
    TooSlow,
    /// The body's length is not known, and must be.
    LengthRequired,
    /// The disk has no room for a body that is gathered.
    NoRoom,
    /// What was kept of a body cannot be read back, or not written.
    Lost,
    /// A method that no upstream is given.
    NotPassedOn,
    /// A protocol that nobody speaks here.
    Protocol,
    /// As many WebSockets are open as there may be.
    NoPlace,
    /// No WebSocket, though one was asked for by HTTP/2.
    NoWebSocket,
    /// The request has come here again and again.
    Circle,
    /// What people have set for the site cannot be read.
    Unreadable,
    /// The site is being worked on.
    Maintenance {
        /// What its owner says; nothing for the host's own sentence.
        text: String,
        /// When to come back.
        after_s: u32,
    },
    /// A browser is to ask for name and password, for the site with this name.
    Basic(String),
    /// A form is to ask for them: [`super::gate`] shows it.
    SignIn,
    /// A file behind a door, brought out by a rule: whoever shows it asks for a password first.
    Locked,
    /// A rule of the deployment leads to another server: whoever shows what the site has asks that one.
    Elsewhere(Box<Onward>),
    /// A form, or a call to what the form is sent to, that cannot be read.
    Form,
    /// A link that opens the site no longer.
    LinkEnded,
    /// A page of another site shows a file as its own.
    Hotlink,
    /// A rule of the site refuses it.
    Blocked,
    /// More often than the site allows; again after this time.
    TooMany(Duration),
    /// Who asks gets nothing of the site.
    Banned(Left),
    /// The site has sent as much as it may in this month.
    UsedUp,
}

impl From<connect::Refused> for Refusal {
    fn from(why: connect::Refused) -> Self {
        match why {
            connect::Refused::Protocol => Self::Protocol,
            connect::Refused::Full => Self::NoPlace,
        }
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Method | Self::NotPassedOn | Self::NoWebSocket => StatusCode::METHOD_NOT_ALLOWED,
            // RFC 9220 §3, for RFC 8441.
            Self::Protocol => StatusCode::NOT_IMPLEMENTED,
            Self::Path | Self::Host | Self::Form | Self::HeadBody => StatusCode::BAD_REQUEST,
            Self::NotFound | Self::Nothing => StatusCode::NOT_FOUND,
            Self::Gone => StatusCode::GONE,
            // RFC 7725 wants the demand to be named; without a word about it the site is simply gone.
            Self::TakenDown(reason) if reason.is_empty() => StatusCode::GONE,
            Self::TakenDown(_) => StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::Blocked | Self::Banned(_) | Self::LinkEnded | Self::Hotlink => StatusCode::FORBIDDEN,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Precondition => StatusCode::PRECONDITION_FAILED,
            Self::Range => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Unavailable
            | Self::Unreadable
            | Self::Down
            | Self::Busy
            | Self::Maintenance { .. }
            | Self::UsedUp
            | Self::NoPlace => StatusCode::SERVICE_UNAVAILABLE,
            Self::Basic(_) | Self::SignIn | Self::Locked => StatusCode::UNAUTHORIZED,
            Self::Unreachable | Self::Elsewhere(_) | Self::Broken => StatusCode::BAD_GATEWAY,
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::NoRoom => StatusCode::INSUFFICIENT_STORAGE,
            Self::Lost => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Circle => StatusCode::LOOP_DETECTED,
        }
    }

    /// The heading, and what the visitor can do.
    #[expect(clippy::too_many_lines, reason = "a table, with a row for each")]
    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Method => ("This can only be read", "The address has a file. It can be read, and not written to."),
            Self::Path => ("This address cannot be read", "Check it for stray characters."),
            Self::Host => ("This request names no site", "It needs the name of the site, once."),
            Self::NotFound => ("There is no page here", "Check the address, or begin at the site's front page."),
            Self::Gone => ("This page is gone", "It was here once and does not come back."),
            Self::Nothing => ("Nothing is published here yet", "Come back later."),
            Self::TakenDown(reason) if reason.is_empty() => {
                ("This site was taken down", "It does not answer any more.")
            }
            Self::TakenDown(reason) => ("This site was taken down", reason),
            Self::UnknownHost => {
                ("There is no site with this name", "This server is up, but no site on it has this address.")
            }
            Self::Precondition => ("The file has changed", "The request asked for another state of it."),
            Self::Range => ("This part is not there", "The file ends before it."),
            Self::Blocked => ("This request is not answered", "The owner of the site has a rule against it."),
            Self::TooMany(_) => ("That was too often", "Wait a moment, then try again."),
            Self::Banned(_) => {
                ("You get nothing here", "Too much came from your address, or the owner has shut it out.")
            }
            Self::Unreadable => {
                ("This site cannot be shown now", "Its settings cannot be read on this server. Try again later.")
            }
            Self::Maintenance { text, .. } if !text.is_empty() => ("This site is being worked on", text),
            Self::Maintenance { .. } => ("This site is being worked on", "It is back soon. Try again in a while."),
            Self::Basic(_) | Self::SignIn | Self::Locked => (
                "This site asks for a password",
                "Load the page again, and give the name and the password that you have for it.",
            ),
            Self::Form => ("What was sent cannot be read", "Open the page again and use its form."),
            Self::LinkEnded => (
                "This link does not open the site any more",
                "Its time is over, or it was taken back. Ask whoever gave it to you for a new one.",
            ),
            Self::Hotlink => ("This file is shown on its own site only", "Open that site to see it."),
            Self::UsedUp => (
                "This site has used up its traffic",
                "It has sent as much as it may in this month. It is back when the next one begins.",
            ),
            Self::Unavailable => ("This file is unavailable", "It is damaged on this server. Try again later."),
            Self::Unreachable | Self::Elsewhere(_) => (
                "The application cannot be reached",
                "This server is up, and what should answer here is not. Try again in a moment.",
            ),
            Self::Broken => (
                "The application gave no answer",
                "It ended, or said what cannot be read. What was sent may have reached it.",
            ),
            Self::Late => {
                ("The application takes too long", "It has the request and did not answer in time. Try again later.")
            }
            Self::Down => {
                ("The application is not well", "It is being looked at, and gets requests when it is up again.")
            }
            Self::Busy => {
                ("The application has too much to do", "It works on as many requests as it can. Try again in a moment.")
            }
            Self::HeadBody => ("HEAD brings nothing along", "Send it without a body, or with another method."),
            Self::TooLarge => ("This is too large", "Less can be sent to this address at once."),
            Self::TooSlow => ("This came too slowly", "The line is bad, or the sender has stopped. Send it again."),
            Self::LengthRequired => ("The length is missing", "Send it with `Content-Length`."),
            Self::NoRoom => (
                "There is no room for what was sent",
                "This server cannot keep that much now, and the application has not got it. Send it again later.",
            ),
            Self::Lost => (
                "What was sent was lost on this server",
                "Its disk has failed it. The application may have got a part of what was sent, or nothing. Send it again later.",
            ),
            Self::NotPassedOn => ("This method is not passed on", "Neither CONNECT nor TRACE leads anywhere here."),
            Self::Protocol => ("This protocol is not spoken here", "A request can ask for a WebSocket alone."),
            Self::NoPlace => ("There are too many connections", "Close some that are open, or try again in a moment."),
            Self::NoWebSocket => ("No WebSocket answers here", "The address can be read, and that is all."),
            Self::Circle => ("This leads in circles", "The application sends the request back to where it came from."),
        }
    }

    /// The answer for a request with these headers.
    pub(super) fn answer(&self, request: &HeaderMap) -> Response {
        let (status, (title, text)) = (self.status(), self.words());
        let mut response = if wants_html(request) {
            respond::html(status, page(status, title, text))
        } else {
            respond::text(status, format!("{title}. {text}\n"))
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
        );
        match self {
            Self::Method | Self::NoWebSocket => drop(headers.insert(ALLOW, ALLOWED)),
            Self::NotPassedOn => drop(headers.insert(ALLOW, PASSED_ON)),
            Self::Unreachable | Self::Down | Self::Busy | Self::NoPlace => {
                drop(headers.insert(RETRY_AFTER, UPSTREAM_RETRY_S));
            }
            Self::Unavailable | Self::Unreadable | Self::NoRoom => drop(headers.insert(RETRY_AFTER, RETRY_S)),
            Self::Maintenance { after_s, .. } => drop(headers.insert(RETRY_AFTER, HeaderValue::from(*after_s))),
            Self::Basic(site) => put_challenge(headers, site),
            Self::TooMany(wait) | Self::Banned(Left::Time(wait)) => {
                // Whole seconds, and never so few that it is refused again.
                drop(headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().saturating_add(1))));
            }
            Self::UsedUp => drop(headers.insert(RETRY_AFTER, RETRY_LATE_S)),
            _ => {}
        }
        response
    }
}

/// RFC 7617, with the charset that it knows. INVARIANT: the name of a site has nothing that would end the text.
fn put_challenge(headers: &mut HeaderMap, site: &str) {
    if let Ok(value) = HeaderValue::try_from(format!("Basic realm=\"{site}\", charset=\"UTF-8\"")) {
        headers.insert(WWW_AUTHENTICATE, value);
    }
}

/// A time to wait, for people.
pub(super) fn in_words(seconds: u64) -> String {
    match seconds {
        ..=1 => String::from("a second"),
        2..=90 => format!("{seconds} seconds"),
        _ => format!("{} minutes", seconds.div_ceil(60)),
    }
}

/// Whether an answer may be a page: what is read by people says so.
pub(super) fn wants_html(request: &HeaderMap) -> bool {
    let mut lines = request.get_all(ACCEPT).iter().filter_map(|it| it.to_str().ok());
    lines.any(|line| line.to_ascii_lowercase().contains("text/html"))
}

fn page(status: StatusCode, title: &str, text: &str) -> String {
    let (title, text, status) = (escape(title), escape(text), status.as_u16());
    shell(&title, &format!("<p>{status}</p>\n<h1>{title}</h1>\n<p>{text}</p>\n"))
}

/// A page of the host around `inner`, both being HTML.
pub(super) fn shell(title: &str, inner: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n<main>\n{inner}</main>\n</html>\n"
    )
}

/// The look of the panel, as far as a page needs it.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--paper:#fff;--line:#8b949e;--wrong:#a3312b}\n\
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa4af;--paper:#14171a;--line:#6e7781;--wrong:#f0938a}}\n\
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--paper);color:var(--ink);\
font:1.125rem/1.6 system-ui,sans-serif}\n\
main{box-sizing:border-box;width:100%;max-width:34rem;padding:2rem}\nh1{font-size:1.75rem;line-height:1.25;margin:.25rem 0 .75rem}\n\
p{margin:0;color:var(--soft);overflow-wrap:anywhere}\n\
form{display:grid;max-width:22rem;margin-top:1.5rem}\nlabel{font-weight:600;font-size:1rem}\n\
input{box-sizing:border-box;width:100%;margin:.25rem 0 1.25rem;padding:.6rem .75rem;border:1px solid var(--line);\
border-radius:8px;background:transparent;color:inherit;font:inherit}\n\
button{padding:.7rem 1.25rem;border:1px solid var(--ink);border-radius:8px;background:var(--ink);color:var(--paper);\
font:inherit;font-weight:600;cursor:pointer}\n\
input:focus-visible,button:focus-visible{outline:3px solid var(--line);outline-offset:2px}\n\
.wrong{margin-top:1rem;padding-left:.75rem;border-left:3px solid var(--wrong);color:var(--wrong)}\n";

/// Text as it stands in HTML, in attributes too.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn read(refusal: Refusal, accept: &'static str) -> (StatusCode, String) {
        let mut request = HeaderMap::new();
        request.insert(ACCEPT, HeaderValue::from_static(accept));
        let (parts, body) = refusal.answer(&request).into_parts();
        (parts.status, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn people_get_a_page_and_programs_get_text() {
        let (status, page) = read(Refusal::TakenDown(String::from("<b>court & co</b>")), "text/html, */*").await;
        assert_eq!(status, 451);
        assert!(page.contains("&lt;b&gt;court &amp; co&lt;/b&gt;") && page.contains("lang=\"en\""), "{page}");
        assert!(!page.contains("<script") && !page.contains("http"), "{page}");
        let (status, text) = read(Refusal::NotFound, "*/*").await;
        assert_eq!((status.as_u16(), text.starts_with("There is no page here.")), (404, true));
        assert_eq!(read(Refusal::TakenDown(String::new()), "*/*").await.0, 410);
    }

    #[test]
    fn what_to_do_is_in_the_headers_too() {
        let request = HeaderMap::new();
        assert_eq!(Refusal::Method.answer(&request).headers()[ALLOW], ALLOWED);
        assert!(Refusal::Unavailable.answer(&request).headers().contains_key(RETRY_AFTER));
        assert_eq!(Refusal::NotFound.answer(&request).headers()[CACHE_CONTROL], "no-store");
    }
}
