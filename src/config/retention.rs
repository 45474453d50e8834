//! How long the rows of tables by month are kept. What goes is archived first.

use serde::Deserialize;
use toml::Spanned;

use crate::domain::{Result, month::Retention};

/// The section `[retention]` of the file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    audit_log: Option<Spanned<String>>,
    blockchain_record: Option<Spanned<String>>,
}

/// The settings from the file's section; `wrong` says where a value stands and what is wrong with it.
pub(super) fn read(
    section: &Section,
    wrong: impl Fn(&Spanned<String>, &str, &str) -> crate::domain::Error,
) -> Result<Retention> {
    let months = |value: &Option<Spanned<String>>, key: &str| {
        let parse = |it: &Spanned<String>| {
            Retention::parse(it.get_ref()).map_err(|error| wrong(it, key, error.message.trim_end_matches('.')))
        };
        value.as_ref().map(parse).transpose()
    };
    Ok(Retention {
        audit_log: months(&section.audit_log, "audit_log")?,
        blockchain_record: months(&section.blockchain_record, "blockchain_record")?,
    })
}
