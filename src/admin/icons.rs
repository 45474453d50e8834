//! The icons: a 24 grid, a stroke of 1.5, round ends. A page carries the symbols that it uses, and no others.
//!
//! Templates write `<use href="#i-undo"/>` by the macros of `components/icon.html`; [`with_sprite`] adds the symbols.

/// Where the layout wants the symbols.
const PLACE: &str = "<!--sprite-->";
const USE: &str = "href=\"#i-";

/// Puts the symbols that `page` uses at the place that its layout left for them.
///
/// Text from outside cannot ask for a symbol: its quotation marks are escaped.
pub(super) fn with_sprite(page: &str) -> String {
    let mut used: Vec<&str> =
        page.split(USE).skip(1).filter_map(|rest| rest.split_once('"')).map(|(name, _)| name).collect();
    used.sort_unstable();
    used.dedup();
    let mut sprite = String::from("<svg width=\"0\" height=\"0\" class=\"sprite\" aria-hidden=\"true\">");
    for name in used {
        if let Some(drawing) = drawing(name) {
            sprite.push_str("<symbol id=\"i-");
            sprite.push_str(name);
            sprite.push_str("\" viewBox=\"0 0 24 24\">");
            sprite.push_str(drawing);
            sprite.push_str("</symbol>");
        }
    }
    sprite.push_str("</svg>");
    page.replacen(PLACE, &sprite, 1)
}

/// The inside of a symbol.
pub(super) fn drawing(name: &str) -> Option<&'static str> {
    DRAWINGS.iter().find(|(it, _)| *it == name).map(|(_, drawing)| *drawing)
}

const DRAWINGS: &[(&str, &str)] = &[
    (
        "audit",
        r#"<path d="M5 17V6.5A2.5 2.5 0 0 1 7.5 4H19v16H7.5A2.5 2.5 0 0 1 5 17.5 2.5 2.5 0 0 1 7.5 15H19"/><path d="M9 8h6"/>"#,
    ),
    ("bad", r#"<path d="M8.5 3.75h7l4.75 4.75v7l-4.75 4.75h-7L3.75 15.5v-7z"/><path d="m9.5 9.5 5 5m0-5-5 5"/>"#),
    ("check", r#"<path d="m5 12.5 4.5 4.5L19 7.5"/>"#),
    (
        "copy",
        r#"<rect x="8.5" y="8.5" width="11" height="11" rx="2"/><path d="M15.5 5.5v-.1A1.9 1.9 0 0 0 13.6 3.5H5.4A1.9 1.9 0 0 0 3.5 5.4v8.2a1.9 1.9 0 0 0 1.9 1.9h.1"/>"#,
    ),
    ("exit", r#"<path d="M10 4.5H6.5A1.5 1.5 0 0 0 5 6v12a1.5 1.5 0 0 0 1.5 1.5H10M15.5 8l4 4-4 4M19 12H9.5"/>"#),
    (
        "eye",
        r#"<path d="M2.75 12S6 5.75 12 5.75 21.25 12 21.25 12 18 18.25 12 18.25 2.75 12 2.75 12z"/><circle cx="12" cy="12" r="2.75"/>"#,
    ),
    (
        "file",
        r#"<path d="M6 4.5A1 1 0 0 1 7 3.5h6.5L18 8v11.5a1 1 0 0 1-1 1H7a1 1 0 0 1-1-1z"/><path d="M13.5 3.5V8H18"/>"#,
    ),
    (
        "folder",
        r#"<path d="M3.5 18V6.5A1.5 1.5 0 0 1 5 5h4.2l2.3 2.5H19A1.5 1.5 0 0 1 20.5 9v9a1.5 1.5 0 0 1-1.5 1.5H5A1.5 1.5 0 0 1 3.5 18z"/>"#,
    ),
    ("info", r#"<circle cx="12" cy="12" r="8.5"/><path d="M12 11.5V16M12 8.2h.01"/>"#),
    ("jobs", r#"<path d="M4 6h16M4 12h8M4 18h8"/><path d="m16 11.5 4.5 3.25L16 18z"/>"#),
    ("key", r#"<circle cx="8" cy="15.5" r="4"/><path d="m11 12.5 8.5-8.5M16 7.5l3 3"/>"#),
    ("lock", r#"<rect x="5" y="10.5" width="14" height="9.5" rx="2"/><path d="M8 10.5V8a4 4 0 0 1 8 0v2.5"/>"#),
    ("look", r#"<path d="M12 4 3.5 19h17z"/><path d="M12 10v4M12 16.7h.01"/>"#),
    ("more", r#"<path d="M5.5 12h.01M12 12h.01M18.5 12h.01" stroke-width="2.5"/>"#),
    ("now", r#"<path d="M12 3.5a8.5 8.5 0 1 1-8.5 8.5"/>"#),
    ("off", r#"<circle cx="12" cy="12" r="8.5"/><path d="M8 12h8"/>"#),
    ("ok", r#"<circle cx="12" cy="12" r="8.5"/><path d="m8.25 12.25 2.75 2.75 5-5.5"/>"#),
    (
        "out",
        r#"<path d="M10 6H6.5A1.5 1.5 0 0 0 5 7.5v10A1.5 1.5 0 0 0 6.5 19h10a1.5 1.5 0 0 0 1.5-1.5V14M14 4.5h5.5V10M19 5l-8 8"/>"#,
    ),
    (
        "overview",
        r#"<rect x="4" y="4" width="6.5" height="8.5" rx="1.5"/><rect x="13.5" y="4" width="6.5" height="4.5" rx="1.5"/><rect x="4" y="15.5" width="6.5" height="4.5" rx="1.5"/><rect x="13.5" y="11.5" width="6.5" height="8.5" rx="1.5"/>"#,
    ),
    ("plus", r#"<path d="M12 5v14M5 12h14"/>"#),
    ("right", r#"<path d="M4.5 12h15m-6-6 6 6-6 6"/>"#),
    ("search", r#"<circle cx="10.75" cy="10.75" r="6.25"/><path d="m15.5 15.5 4.5 4.5"/>"#),
    (
        "settings",
        r#"<path d="M4 8h8.5M17.5 8H20M4 16h2.5M11.5 16H20"/><circle cx="15" cy="8" r="2.5"/><circle cx="9" cy="16" r="2.5"/>"#,
    ),
    ("sites", r#"<rect x="3.5" y="4.5" width="17" height="15" rx="2"/><path d="M3.5 9h17M6.5 6.8h.01M9 6.8h.01"/>"#),
    (
        "storage",
        r#"<ellipse cx="12" cy="6" rx="7.5" ry="2.75"/><path d="M4.5 6v12c0 1.5 3.4 2.75 7.5 2.75s7.5-1.25 7.5-2.75V6M4.5 12c0 1.5 3.4 2.75 7.5 2.75s7.5-1.25 7.5-2.75"/>"#,
    ),
    ("todo", r#"<circle cx="12" cy="12" r="8.5" stroke-dasharray="2.67 2.67"/>"#),
    (
        "trash",
        r#"<path d="M4.5 7h15M9 7V4.5h6V7M6.5 7l.8 11.6a1.5 1.5 0 0 0 1.5 1.4h6.4a1.5 1.5 0 0 0 1.5-1.4L17.5 7"/>"#,
    ),
    ("undo", r#"<path d="M8.5 5 4 9.5 8.5 14"/><path d="M4.5 9.5h9.75a5.25 5.25 0 0 1 0 10.5H10"/>"#),
    ("up", r#"<path d="M12 15.5v-11m-4.5 4L12 4l4.5 4.5M4 15.5v3A1.5 1.5 0 0 0 5.5 20h13a1.5 1.5 0 0 0 1.5-1.5v-3"/>"#),
    ("user", r#"<circle cx="12" cy="8" r="3.75"/><path d="M4.75 20c.6-4 3.5-6 7.25-6s6.65 2 7.25 6"/>"#),
    ("wait", r#"<circle cx="12" cy="12" r="8.5"/><path d="M12 7.5V12l3 2"/>"#),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_carries_each_symbol_that_it_uses_once() {
        let page =
            "<!--sprite--><use href=\"#i-ok\"/><use href=\"#i-bad\"/><use href=\"#i-ok\"/><use href=\"#i-nope\"/>";
        let page = with_sprite(page);
        assert_eq!(page.matches("<symbol id=\"i-ok\"").count(), 1);
        assert_eq!(page.matches("<symbol id=\"i-bad\"").count(), 1);
        assert_eq!(page.matches("<symbol").count(), 2);
        assert!(!page.contains(PLACE));
    }
}
