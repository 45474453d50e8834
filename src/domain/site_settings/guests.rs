//! Who is let into a protected site: people with passwords, and links. Kept with the settings, changed by calls of their own,
//! shown by name alone.
//!
//! Nothing here is a secret by itself but the key: of passwords and links only hashes are kept.

use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use super::{Section, is_default};
use crate::{
    base::{hash::Sha256, limits},
    domain::{Error, Result},
};

/// Before the secret of a link, in the path of its address.
pub const LINK_PATH: &str = "/.well-known/chainhost/link/";
/// People of one site: each is some 150 bytes of its settings.
pub const PEOPLE_MAX: usize = 200;
/// Links of one site.
pub const LINKS_MAX: usize = 50;
/// Characters of a name.
const NAME_CHARS_MAX: usize = 64;
/// Characters of the note of a link.
const NOTE_CHARS_MAX: usize = 100;
/// Characters of a password of a visitor. Fewer than of one for the panel, since these are often given to many.
const PASSWORD_CHARS_MIN: usize = 8;

/// The section `guests`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guests {
    /// What cookies of this site are signed with: 32 bytes in hex, made with the first of its guests.
    #[serde(skip_serializing_if = "is_default")]
    pub key: Option<Kept>,
    /// Who has a password.
    #[serde(skip_serializing_if = "is_default")]
    pub people: Vec<Person>,
    /// Links that open the site without one.
    #[serde(skip_serializing_if = "is_default")]
    pub links: Vec<Link>,
}

/// Somebody with a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// What they call themselves.
    pub name: String,
    /// The argon2id hash of the password. Another password has another salt, so that this also is its version.
    pub hash: Kept,
    /// When the password was set.
    pub changed_ms: i64,
}

/// A link that opens a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// What it is called in lists and when it is taken back.
    pub id: String,
    /// For whom it is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub note: String,
    /// The SHA-256 of its secret.
    pub token: Sha256,
    /// Whether it opens the site during maintenance too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub maintenance: bool,
    /// When it was made.
    pub made_ms: i64,
    /// When it stops working.
    pub expires_ms: i64,
}

/// Text that is kept and not printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kept(pub String);

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept(…)")
    }
}

impl Guests {
    /// Somebody with a password, by name.
    pub fn find_person(&self, name: &str) -> Option<&Person> {
        self.people.iter().find(|it| it.name == name)
    }
}

/// A name or password as it is compared: composed (NFC), whichever way a keyboard makes its letters.
pub fn composed(text: &str) -> String {
    text.nfc().collect()
}

/// Checks the name of somebody new.
pub fn check_name(name: &str) -> Result<()> {
    let text = if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
        format!("A name has 1 to {NAME_CHARS_MAX} characters.")
    } else if name.contains(':') || name.chars().any(char::is_control) || name.trim() != name {
        // RFC 7617 §2: the name ends at the first colon.
        String::from(
            "A name has no colon, no control characters, and no space at its ends: browsers cannot send those.",
        )
    } else {
        return Ok(());
    };
    Err(Error::invalid("person_name", text).on("name"))
}

/// Checks a new password.
pub fn check_password(password: &str) -> Result<()> {
    let text = if password.chars().count() < PASSWORD_CHARS_MIN {
        format!(
            "The password needs at least {PASSWORD_CHARS_MIN} characters. Three unrelated words are easy to tell by phone."
        )
    } else if password.len() > limits::PASSWORD_BYTES_MAX {
        format!("The password has at most {} bytes.", limits::PASSWORD_BYTES_MAX)
    } else if password.chars().any(char::is_control) {
        String::from("The password has no control characters: browsers cannot send those.")
    } else {
        return Ok(());
    };
    Err(Error::invalid("person_password", text).on("password"))
}

/// Checks the note of a link.
pub fn check_note(note: &str) -> Result<()> {
    if note.chars().count() <= NOTE_CHARS_MAX && !note.chars().any(char::is_control) {
        return Ok(());
    }
    let text = format!("The note of a link has at most {NOTE_CHARS_MAX} characters in one line.");
    Err(Error::invalid("link_note", text).on("note"))
}

impl Section for Guests {
    fn check(&self) -> Result<()> {
        let too_many = |what: &str, max: usize| {
            Err(Error::conflict(
                "guests_max",
                format!("A site has at most {max} {what}. Remove one that is not needed any more."),
            ))
        };
        if self.people.len() > PEOPLE_MAX {
            return too_many("people with passwords", PEOPLE_MAX);
        }
        if self.links.len() > LINKS_MAX {
            return too_many("links", LINKS_MAX);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_what_browsers_can_send() {
        for name in ["ada", "Ada Lovelace", "\u{e9}va", "a@example.org"] {
            check_name(name).unwrap();
        }
        for name in ["", " ada", "ada ", "a:b", "a\nb", &"x".repeat(65)] {
            assert_eq!(check_name(name).unwrap_err().field, Some("name"), "{name:?}");
        }
        check_password("8 signs!").unwrap();
        for password in ["7 signs", "eight\nsigns", &"x".repeat(1_025)] {
            assert_eq!(check_password(password).unwrap_err().field, Some("password"));
        }
        assert!(check_note("for the press").is_ok() && check_note("a\nb").is_err());
        assert_eq!(composed("e\u{301}"), "\u{e9}");
    }

    #[test]
    fn no_secret_is_printed() {
        let person = Person { name: String::from("ada"), hash: Kept(String::from("$argon2id$secret")), changed_ms: 0 };
        let guests = Guests { key: Some(Kept(String::from("00ff"))), people: vec![person], links: Vec::new() };
        let shown = format!("{guests:?}");
        assert!(!shown.contains("secret") && !shown.contains("00ff"), "{shown}");
    }
}
