//! The statements that one connection has prepared, so that PostgreSQL plans them once and not at each call.
//!
//! Guarantees: there are at most [`STATEMENTS_MAX`], and what was used longest ago goes first; a text is prepared when it comes for the
//! second time, so that one that comes once costs no more than before.
//! It never lives longer than its connection, and a connection has one only when it is known to lead to one and the same session
//! (`address.rs`): behind a pooler in transaction mode another session would not know the names.

use std::collections::HashMap;

use tokio_postgres::{Statement, error::SqlState, types::Type};

/// Statements of one connection. The product has about so many; each takes some tens of KiB on the server.
const STATEMENTS_MAX: usize = 200;

/// What is prepared.
#[derive(Default)]
pub(super) struct Prepared {
    turn: u64,
    known: HashMap<String, Entry>,
}

struct Entry {
    used: u64,
    types: Vec<Type>,
    /// `None`: it came once.
    statement: Option<Statement>,
}

/// How a statement is to be run.
pub(super) enum Way {
    /// Without a name.
    Plain,
    /// It comes again: prepare it, and run that.
    Prepare,
    /// It is prepared.
    Ready(Statement),
}

impl Prepared {
    /// How to run a text with parameters of these types, which counts as a use.
    pub(super) fn way(&mut self, sql: &str, types: &[Type]) -> Way {
        self.turn += 1;
        if let Some(entry) = self.known.get_mut(sql).filter(|it| it.types == types) {
            entry.used = self.turn;
            return entry.statement.clone().map_or(Way::Prepare, Way::Ready);
        }
        self.make_room();
        let entry = Entry { used: self.turn, types: types.to_vec(), statement: None };
        self.known.insert(sql.to_owned(), entry);
        Way::Plain
    }

    /// Keeps what was prepared of a text that [`Prepared::way`] was asked for.
    pub(super) fn keep(&mut self, sql: &str, statement: Statement) {
        if let Some(entry) = self.known.get_mut(sql) {
            entry.statement = Some(statement);
        }
    }

    fn make_room(&mut self) {
        if self.known.len() < STATEMENTS_MAX {
            return;
        }
        let oldest = self.known.iter().min_by_key(|(_, it)| it.used).map(|(sql, _)| sql.clone());
        if let Some(sql) = oldest {
            self.known.remove(&sql);
        }
    }
}

/// What an error says of prepared statements.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Stale {
    /// The tables were changed so that a plan does not fit any more: prepared again, it does.
    Plan,
    /// The session does not know what was prepared on it, or knows more: it is not always the same session.
    Session,
}

/// Whether a statement failed for being prepared; nothing of it has run then.
pub(super) fn stale(error: &tokio_postgres::Error) -> Option<Stale> {
    let told = error.as_db_error()?;
    let code = told.code();
    if *code == SqlState::INVALID_SQL_STATEMENT_NAME || *code == SqlState::DUPLICATE_PSTATEMENT {
        Some(Stale::Session)
    } else if *code == SqlState::FEATURE_NOT_SUPPORTED && told.routine() == Some("RevalidateCachedQuery") {
        Some(Stale::Plan)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_prepared_when_it_comes_again_and_the_oldest_goes() {
        let mut prepared = Prepared::default();
        assert!(matches!(prepared.way("a", &[Type::INT8]), Way::Plain));
        assert!(matches!(prepared.way("a", &[Type::TEXT]), Way::Plain), "of other types it is another one");
        assert!(matches!(prepared.way("a", &[Type::TEXT]), Way::Prepare));
        for number in 0..STATEMENTS_MAX {
            assert!(matches!(prepared.way(&number.to_string(), &[]), Way::Plain));
        }
        assert_eq!(prepared.known.len(), STATEMENTS_MAX);
        assert!(matches!(prepared.way("a", &[Type::TEXT]), Way::Plain), "it was forgotten");
    }
}
