//! An API key: `ch_` + 43 base64url characters of secret + 6 of checksum. Stored hashed.
//!
//! The checksum lets a scanner or a client see a typo without asking the server.

use crate::{
    base::{hash::Sha256, random, secret::Secret},
    domain::access::KeyScope,
    id_type,
};

id_type!(
    /// The id of a key, for lists; the secret is something else.
    ApiKeyId
);

/// What every key begins with.
pub const PREFIX: &str = "ch_";
const SECRET_CHARS: usize = 43;
const CHECK_CHARS: usize = 6;

/// A key as listed: never with its secret.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The name that its owner gave it.
    pub name: String,
    /// The first characters, to recognise it.
    pub hint: String,
    /// What it may do.
    pub scope: KeyScope,
    /// The e-mail of its user.
    pub email: String,
    /// When it was made.
    pub created_ms: i64,
    /// When it was last used, to the minute.
    pub used_ms: Option<i64>,
    /// When it ends.
    pub expires_ms: Option<i64>,
}

/// A new secret key.
pub fn generate() -> Secret {
    let secret = data_encoding::BASE64URL_NOPAD.encode(&random::bytes::<32>());
    Secret::new(format!("{PREFIX}{secret}{}", check(&secret)))
}

/// The hash that is stored, when `text` has the shape and checksum of a key.
pub fn stored_hash(text: &str) -> Option<Sha256> {
    let body = text.strip_prefix(PREFIX)?;
    if body.len() != SECRET_CHARS + CHECK_CHARS || !body.is_ascii() {
        return None;
    }
    let (secret, given) = body.split_at(SECRET_CHARS);
    (check(secret) == given).then(|| Sha256::of(text.as_bytes()))
}

/// The part that may be shown in lists.
pub fn hint(text: &str) -> String {
    text.chars().take(7).collect::<String>() + "…"
}

fn check(secret: &str) -> String {
    let digest = Sha256::of(secret.as_bytes());
    let mut text = data_encoding::BASE64URL_NOPAD.encode(&digest.0);
    text.truncate(CHECK_CHARS);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_carry_a_checksum() {
        let key = generate();
        let text = key.expose();
        assert_eq!(text.len(), 52);
        assert!(stored_hash(text).is_some());
        let mut wrong = text.to_owned();
        let last = wrong.pop().unwrap();
        wrong.push(if last == 'A' { 'B' } else { 'A' });
        assert!(stored_hash(&wrong).is_none());
        assert!(stored_hash("ch_short").is_none());
        assert!(stored_hash("").is_none());
        assert!(!format!("{key:?}").contains(&text[..10]));
    }
}
