//! The seal of a deployment: a struck coin whose milled edge is drawn from the manifest's SHA-256.
//!
//! Same bytes, same seal, in the panel and on the public page. Its heart tells the level: nothing = not logged yet, ring =
//! logged, two rings = witnessed, filled with a tick = anchored, cross = broken. It helps the eye; text beside it always
//! says the level, and the hash is the proof.

use std::{f64::consts::PI, fmt::Write as _};

use super::markup::{Markup, escaped};
use crate::base::hash::Sha256;

/// How far a deployment's proof has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Sealed by its manifest, not in a public log yet.
    Sealed,
    /// Entered in the log.
    #[cfg_attr(not(test), expect(dead_code, reason = "the log comes with a later version; drawn and tested now"))]
    Logged,
    /// The log is signed by witnesses too.
    #[cfg_attr(not(test), expect(dead_code, reason = "as above"))]
    Witnessed,
    /// Its checkpoint is in a chain.
    #[cfg_attr(not(test), expect(dead_code, reason = "as above"))]
    Anchored,
    /// Refused or failed.
    Broken,
}

/// How large it is drawn. The smallest has 20 notches, the others 60.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// In lists.
    Mini,
    /// 104 px.
    Medium,
    /// 144 px.
    Large,
    /// 160 px.
    Huge,
}

/// Draws the seal of `manifest`; without one the coin is blank, its ring dashed. Without a label it is decoration.
pub(super) fn draw(manifest: Option<&Sha256>, level: Level, size: Size, label: Option<&str>) -> Markup {
    let mini = size == Size::Mini;
    let mut class = String::from(match size {
        Size::Mini => "seal seal--mini",
        Size::Medium => "seal seal--m",
        Size::Large => "seal seal--l",
        Size::Huge => "seal seal--xl",
    });
    let width = if mini { " stroke-width=\"2.2\"" } else { "" };
    let ring = match (manifest, level) {
        (_, Level::Broken) => {
            class.push_str(" seal--broken");
            format!("<circle cx=\"32\" cy=\"32\" r=\"30.9\"{width}/>")
        }
        (None, _) => {
            class.push_str(" seal--none");
            format!("<circle cx=\"32\" cy=\"32\" r=\"30.9\" stroke-dasharray=\"3 3.07\"{width}/>")
        }
        (Some(_), _) => format!("<circle cx=\"32\" cy=\"32\" r=\"30.9\"{width}/>"),
    };
    let name = label.map_or_else(
        || String::from("aria-hidden=\"true\""),
        |label| format!("role=\"img\" aria-label=\"{}\"", escaped(label)),
    );
    let edge = manifest.map(|it| edge(it, mini)).unwrap_or_default();
    let heart = heart(level, mini, width);
    Markup(format!("<svg class=\"{class}\" viewBox=\"0 0 64 64\" {name}>{ring}{edge}{heart}</svg>"))
}

/// The milled edge: notch k grows inwards with hex digit k.
fn edge(manifest: &Sha256, mini: bool) -> String {
    let (count, outer, inner, depth) = if mini { (20, 28.0, 25.0, 4.0) } else { (60, 28.4, 26.2, 5.6) };
    let mut path = String::from("<path class=\"edge\" d=\"");
    for (k, digit) in (0_u32..count).zip(manifest.hex().chars()) {
        let value = f64::from(digit.to_digit(16).unwrap_or(0));
        let angle = 2.0 * PI * f64::from(k) / f64::from(count) - PI / 2.0;
        let (sin, cos) = angle.sin_cos();
        let inner = inner - depth * value / 15.0;
        // Writing to a string cannot fail.
        let _ = write!(
            path,
            "M{:.1} {:.1}L{:.1} {:.1}",
            32.0 + inner * cos,
            32.0 + inner * sin,
            32.0 + outer * cos,
            32.0 + outer * sin
        );
    }
    path + "\"/>"
}

fn heart(level: Level, mini: bool, width: &str) -> String {
    let radius = if mini { 15.0 } else { 14.5 };
    match level {
        Level::Sealed => String::new(),
        Level::Logged => format!("<circle cx=\"32\" cy=\"32\" r=\"{radius}\"{width}/>"),
        Level::Witnessed => format!(
            "<circle cx=\"32\" cy=\"32\" r=\"{radius}\"{width}/><circle cx=\"32\" cy=\"32\" r=\"{}\"{width}/>",
            radius - 5.0
        ),
        Level::Anchored => format!(
            "<circle class=\"heart\" cx=\"32\" cy=\"32\" r=\"{radius}\"/><path class=\"mark\" d=\"m25.5 32.5 4.7 4.7 8.6-9.7\"/>"
        ),
        Level::Broken => String::from("<path d=\"m25 25 14 14m0-14L25 39\" stroke-width=\"3.5\"/>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_manifest_gives_the_same_seal_and_another_another() {
        let (one, two) = (Sha256::of(b"one"), Sha256::of(b"two"));
        let drawn = |it| draw(Some(it), Level::Sealed, Size::Large, Some("Seal")).0;
        assert_eq!(drawn(&one), drawn(&one));
        assert_ne!(drawn(&one), drawn(&two));
        assert_eq!(drawn(&one).matches('M').count(), 60);
        assert!(drawn(&one).len() < 1_700, "{}", drawn(&one).len());
        // The first notch points up; a digit of 0 is the shortest notch, f the longest.
        let zero = drawn(&Sha256([0; 32]));
        assert!(zero.contains("M32.0 5.8L32.0 3.6"), "{zero}");
        let full = drawn(&Sha256([0xff; 32]));
        assert!(full.contains("M32.0 11.4L32.0 3.6"), "{full}");
    }

    #[test]
    fn the_heart_tells_the_level() {
        let hash = Sha256::of(b"x");
        let circles = |level| {
            let drawn = draw(Some(&hash), level, Size::Mini, None).0;
            (drawn.matches("<circle").count(), drawn.contains("class=\"mark\""), drawn.contains("seal--broken"))
        };
        assert_eq!(circles(Level::Sealed), (1, false, false));
        assert_eq!(circles(Level::Logged), (2, false, false));
        assert_eq!(circles(Level::Witnessed), (3, false, false));
        assert_eq!(circles(Level::Anchored), (2, true, false));
        assert_eq!(circles(Level::Broken), (1, false, true));
    }

    #[test]
    fn a_label_is_escaped() {
        let drawn = draw(None, Level::Sealed, Size::Medium, Some("a\"><b>"));
        assert!(drawn.0.contains("aria-label=\"a&quot;&gt;&lt;b&gt;\""), "{drawn}");
        assert!(drawn.0.contains("stroke-dasharray") && !drawn.0.contains("class=\"edge\""), "{drawn}");
    }
}
