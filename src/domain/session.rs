//! A session of the panel: a secret in a cookie, its hash in the database.

use crate::id_type;

id_type!(
    /// The id of a session, for lists; the secret is something else.
    SessionId
);

/// A session as listed for its user.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// When it began.
    pub created_ms: i64,
    /// Its last request.
    pub seen_ms: i64,
    /// The client's address at sign-in.
    pub address: String,
    /// The browser's own words, cut to 200 characters.
    pub agent: String,
}
