//! The steps of the schema, a file each, with the same numbers and names for every database.

use super::migrations::Migration;

/// For SQLite.
pub const SQLITE: &[Migration<'static>] = &[
    (1, "start", include_str!("schema/0001_start.sqlite.sql")),
    (2, "aside", include_str!("schema/0002_aside.sqlite.sql")),
    (3, "schedules", include_str!("schema/0003_schedules.sqlite.sql")),
    (4, "handed_over", include_str!("schema/0004_handed_over.sqlite.sql")),
];

/// For PostgreSQL.
pub const POSTGRES: &[Migration<'static>] = &[
    (1, "start", include_str!("schema/0001_start.postgres.sql")),
    (2, "aside", include_str!("schema/0002_aside.postgres.sql")),
    (3, "schedules", include_str!("schema/0003_schedules.postgres.sql")),
    (4, "handed_over", include_str!("schema/0004_handed_over.postgres.sql")),
];
