//! A session of the panel: a secret in a cookie, its hash in the database.

use crate::{base::limits, id_type};

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

impl Session {
    /// Whether it has ended by its age or by not being used.
    pub const fn is_over(&self, now_ms: i64) -> bool {
        self.created_ms + limits::SESSION_MS <= now_ms || self.seen_ms + limits::SESSION_IDLE_MS <= now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Id;

    #[test]
    fn a_session_ends_by_age_and_by_idleness() {
        let of = |created_ms, seen_ms| Session {
            id: SessionId(Id::NIL),
            created_ms,
            seen_ms,
            address: String::new(),
            agent: String::new(),
        };
        let now = limits::SESSION_MS;
        assert!(!of(1, now).is_over(now));
        assert!(of(0, now).is_over(now));
        assert!(of(1, now - limits::SESSION_IDLE_MS).is_over(now));
        assert!(!of(1, now - limits::SESSION_IDLE_MS + 1).is_over(now));
    }
}
