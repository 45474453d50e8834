//! An event of the audit log: who did what to which thing, from where. Past tense.

/// What happened to what. The actor and the time are added when it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Dotted, past tense: `site.created`, `deployment.published`, `user.signed_in`.
    pub kind: &'static str,
    /// The thing's kind: `site`, `deployment`, `user`, `key`, `server`.
    pub entity: &'static str,
    /// The thing's id or name.
    pub entity_id: String,
    /// One sentence for people, without the actor: "created the site harbour-cafe".
    pub text: String,
}

impl Event {
    /// An event on `entity` with `entity_id`.
    pub fn new(kind: &'static str, entity: &'static str, entity_id: &impl ToString, text: impl Into<String>) -> Self {
        Self { kind, entity, entity_id: entity_id.to_string(), text: text.into() }
    }
}

/// An event as listed.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// When.
    pub created_ms: i64,
    /// Its id (32 hex digits), the cursor of the list.
    pub id: String,
    /// Sequence in the tenant's chain, once sealed.
    pub seq: Option<i64>,
    /// Hash of the chain at this entry, once sealed.
    pub hash: Option<String>,
    /// Who.
    pub actor: String,
    /// From where.
    pub address: String,
    /// `site.created` …
    pub kind: String,
    /// `site` …
    pub entity: String,
    /// Its id or name.
    pub entity_id: String,
    /// One sentence.
    pub text: String,
}
