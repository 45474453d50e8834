//! The cookies of the panel: the session, the theme, and the notice of the act before.

use hyper::{
    HeaderMap,
    header::{COOKIE, HeaderValue},
};

use super::shell::{Notice, Theme};
use crate::base::ids::Id;

/// Light or dark.
const THEME: &str = "chainhost_theme";
/// What the act before did.
const NOTICE: &str = "chainhost_notice";
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
    cookie(scheme, &session_name(scheme, instance), secret.unwrap_or_default(), age)
}

/// Keeps the theme for a year; the browser's own choice is no cookie.
pub(super) fn set_theme(scheme: &str, theme: Theme) -> Option<HeaderValue> {
    let seconds = if theme == Theme::System { 0 } else { THEME_SECONDS };
    cookie(scheme, THEME, theme.word(), &format!("; Max-Age={seconds}"))
}

/// Keeps a notice for the next page, or forgets it.
pub(super) fn set_notice(scheme: &str, notice: Option<Notice>) -> Option<HeaderValue> {
    let seconds = if notice.is_some() { NOTICE_SECONDS } else { 0 };
    cookie(scheme, NOTICE, notice.map_or("", Notice::word), &format!("; Max-Age={seconds}"))
}

/// SECURITY: no script reads a cookie of the panel, and no other site sends one along.
fn cookie(scheme: &str, name: &str, value: &str, age: &str) -> Option<HeaderValue> {
    let secure = if scheme == "https" { "; Secure" } else { "" };
    HeaderValue::from_str(&format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}")).ok()
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
        let over_tls = session("https", Id::NIL, Some("s")).unwrap();
        assert_eq!(over_tls, "__Host-chainhost=s; Path=/; HttpOnly; SameSite=Strict; Secure");
        let in_clear = session("http", Id::NIL, None).unwrap();
        assert_eq!(in_clear, "chainhost_00000000=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
        assert!(session("http", Id::NIL, Some("a\r\nb")).is_none());
    }
}
