//! The cookies of the panel: the session, the theme, and the notice of the act before.

use hyper::{
    HeaderMap,
    header::{COOKIE, Entry, HeaderValue, SET_COOKIE},
};

use super::shell::{Notice, Theme};
use crate::base::ids::Id;

/// Light or dark.
const THEME: &str = "chainhost_theme";
/// What the act before did.
const NOTICE: &str = "chainhost_notice";
/// The position of the database after the last act, for the next pages, which another server may make.
const SEEN: &str = "chainhost_seen";
/// How long that may matter: far longer than any replica that is read from lags behind.
const SEEN_SECONDS: u32 = 60;
/// How long a notice waits for the page that shows it.
const NOTICE_SECONDS: u32 = 30;
/// A year.
const THEME_SECONDS: u32 = 31_536_000;

/// The value of a cookie.
pub(super) fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|it| it.to_str().ok());
    let mut pairs = lines.flat_map(|it| it.split(';')).filter_map(|it| it.trim().split_once('='));
    pairs.find(|(it, _)| *it == name).map(|(_, value)| value)
}

/// The theme that this browser has chosen.
pub(super) fn theme(headers: &HeaderMap) -> Theme {
    find(headers, THEME).map_or(Theme::System, Theme::parse)
}

/// The notice that waits to be shown.
pub(super) fn notice(headers: &HeaderMap) -> Option<Notice> {
    find(headers, NOTICE).and_then(Notice::parse)
}

/// The name of the session's cookie. Over HTTPS the prefix binds it to this host; on loopback the installation's id
/// keeps two panels on one machine apart, since cookies do not know ports.
pub(super) fn session_name(scheme: &str, instance: Id) -> String {
    if scheme == "https" {
        return String::from("__Host-chainhost");
    }
    format!("chainhost_{}", instance.to_string().chars().take(8).collect::<String>())
}

/// Sets or, without a secret, ends the session.
pub(super) fn session(scheme: &str, instance: Id, secret: Option<&str>) -> Option<HeaderValue> {
    let age = if secret.is_some() { "" } else { "; Max-Age=0" };
    cookie(&session_name(scheme, instance), secret.unwrap_or_default(), age)
}

/// Keeps the theme for a year; the browser's own choice is no cookie.
pub(super) fn set_theme(theme: Theme) -> Option<HeaderValue> {
    let seconds = if theme == Theme::System { 0 } else { THEME_SECONDS };
    cookie(THEME, theme.word(), &format!("; Max-Age={seconds}"))
}

/// Keeps a notice for the next page, or forgets it.
pub(super) fn set_notice(notice: Option<Notice>) -> Option<HeaderValue> {
    let seconds = if notice.is_some() { NOTICE_SECONDS } else { 0 };
    cookie(NOTICE, notice.map_or("", Notice::word), &format!("; Max-Age={seconds}"))
}

/// The position that this browser has seen by its own acts.
pub(super) fn seen(headers: &HeaderMap) -> Option<u64> {
    find(headers, SEEN)?.parse().ok()
}

/// Keeps the position after an act.
pub(super) fn set_seen(position: u64) -> Option<HeaderValue> {
    cookie(SEEN, &position.to_string(), &format!("; Max-Age={SEEN_SECONDS}"))
}

/// SECURITY: no script reads a cookie of the panel, and no other site sends one along. Over HTTPS the gate makes each of
/// them secure.
fn cookie(name: &str, value: &str, age: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{age}")).ok()
}

/// Makes every cookie of an answer one that goes over HTTPS only.
pub(super) fn secure(headers: &mut HeaderMap) {
    if let Entry::Occupied(mut cookies) = headers.entry(SET_COOKIE) {
        for value in cookies.iter_mut() {
            let secured = value.to_str().ok().and_then(|it| HeaderValue::from_str(&format!("{it}; Secure")).ok());
            if let Some(secured) = secured {
                *value = secured;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("xchainhost_theme=light; chainhost_theme=dark"));
        headers.append(COOKIE, HeaderValue::from_static("chainhost_notice=published; a"));
        assert_eq!(theme(&headers), Theme::Dark);
        assert_eq!(notice(&headers), Some(Notice::Published));
        assert_eq!(find(&headers, "theme"), None);
    }

    #[test]
    fn the_session_is_bound_to_its_host() {
        let mut headers = HeaderMap::new();
        headers.append(SET_COOKIE, set_theme(Theme::Dark).unwrap());
        headers.append(SET_COOKIE, session("https", Id::NIL, Some("s")).unwrap());
        secure(&mut headers);
        assert_eq!(headers.get_all(SET_COOKIE).iter().count(), 2);
        assert!(headers.get_all(SET_COOKIE).iter().all(|it| it.to_str().unwrap().ends_with("; Secure")));
        let over_tls = headers.get_all(SET_COOKIE).iter().next_back().unwrap();
        assert_eq!(over_tls, "__Host-chainhost=s; Path=/; HttpOnly; SameSite=Strict; Secure");
        let in_clear = session("http", Id::NIL, None).unwrap();
        assert_eq!(in_clear, "chainhost_00000000=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
        assert!(session("http", Id::NIL, Some("a\r\nb")).is_none());
    }
}
