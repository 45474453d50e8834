//! The steps of the schema, a file each, with the same numbers and names for every database.

use super::migrations::Migration;

/// For SQLite.
pub const SQLITE: &[Migration<'static>] = &[
    (1, "start", include_str!("schema/0001_start.sqlite.sql")),
    (2, "aside", include_str!("schema/0002_aside.sqlite.sql")),
    (3, "schedules", include_str!("schema/0003_schedules.sqlite.sql")),
    (4, "nodes", include_str!("schema/0004_nodes.sqlite.sql")),
    (5, "handed_over", include_str!("schema/0005_handed_over.sqlite.sql")),
    (6, "glance", include_str!("schema/0006_glance.sqlite.sql")),
    (7, "certificates", include_str!("schema/0007_certificates.sqlite.sql")),
    (8, "site_settings", include_str!("schema/0008_site_settings.sqlite.sql")),
    (9, "traffic", include_str!("schema/0009_traffic.sqlite.sql")),
    (10, "records", include_str!("schema/0010_records.sqlite.sql")),
    (11, "bans", include_str!("schema/0011_bans.sqlite.sql")),
    (12, "seen_by", include_str!("schema/0012_seen_by.sqlite.sql")),
];

/// For PostgreSQL.
pub const POSTGRES: &[Migration<'static>] = &[
    (1, "start", include_str!("schema/0001_start.postgres.sql")),
    (2, "aside", include_str!("schema/0002_aside.postgres.sql")),
    (3, "schedules", include_str!("schema/0003_schedules.postgres.sql")),
    (4, "nodes", include_str!("schema/0004_nodes.postgres.sql")),
    (5, "handed_over", include_str!("schema/0005_handed_over.postgres.sql")),
    (6, "glance", include_str!("schema/0006_glance.postgres.sql")),
    (7, "certificates", include_str!("schema/0007_certificates.postgres.sql")),
    (8, "site_settings", include_str!("schema/0008_site_settings.postgres.sql")),
    (9, "traffic", include_str!("schema/0009_traffic.postgres.sql")),
    (10, "records", include_str!("schema/0010_records.postgres.sql")),
    (11, "bans", include_str!("schema/0011_bans.postgres.sql")),
    (12, "seen_by", include_str!("schema/0012_seen_by.postgres.sql")),
];

/// Where the rows of a table are on a Citus cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// With all other rows of their tenant, on one of the workers.
    Tenant,
    /// On every node: read together with tenants' rows, and seldom written.
    Everywhere,
    /// On the coordinator alone: written often, or read by the host only, and never together with tenants' rows.
    Coordinator,
}

/// Every table, with its place.
pub const PLACES: &[(&str, Place)] = &[
    ("tenant", Place::Everywhere),
    ("user", Place::Everywhere),
    ("membership", Place::Everywhere),
    ("api_key", Place::Everywhere),
    ("site_name", Place::Everywhere),
    ("hostname", Place::Everywhere),
    ("site", Place::Tenant),
    ("site_setting", Place::Tenant),
    ("ban", Place::Tenant),
    ("deployment", Place::Tenant),
    ("upload_part", Place::Tenant),
    ("deployment_log", Place::Tenant),
    ("publication", Place::Tenant),
    ("effect", Place::Tenant),
    ("schedule", Place::Tenant),
    ("audit_log", Place::Tenant),
    ("audit_head", Place::Tenant),
    ("blockchain_record", Place::Tenant),
    ("certificate", Place::Tenant),
    ("certificate_order", Place::Tenant),
    ("traffic", Place::Tenant),
    ("traffic_visitors", Place::Tenant),
    ("traffic_top", Place::Tenant),
    ("acme_account", Place::Coordinator),
    ("acme_challenge", Place::Coordinator),
    ("traffic_salt", Place::Coordinator),
    ("acme_record", Place::Coordinator),
    ("setting", Place::Coordinator),
    ("session", Place::Coordinator),
    ("claim", Place::Coordinator),
    ("outbox", Place::Coordinator),
    ("month_archive", Place::Coordinator),
    ("node", Place::Coordinator),
    ("lease", Place::Coordinator),
    ("news", Place::Coordinator),
    ("schema_version", Place::Coordinator),
];

/// What distributes a database over a Citus cluster: a table, and the statement that does it. Run on the coordinator, once.
pub fn citus() -> Vec<(&'static str, String)> {
    let mut first = None;
    let of = |(name, place): &(&'static str, Place)| {
        let sql = match place {
            Place::Coordinator => return None,
            Place::Everywhere => format!("SELECT create_reference_table('\"{name}\"')"),
            Place::Tenant => {
                // All rows of a tenant lie beside those of its sites.
                let beside = first.get_or_insert(*name);
                let beside = if beside == name { String::from("none") } else { format!("\"{beside}\"") };
                format!("SELECT create_distributed_table('\"{name}\"', 'tenant_id', colocate_with => '{beside}')")
            }
        };
        Some((*name, sql))
    };
    PLACES.iter().filter_map(of).collect()
}

/// What lets PostgreSQL itself keep tenants apart, once a transaction has entered one. May be run again.
pub fn row_security() -> Vec<String> {
    // Asked once a statement, not once a row.
    let entered = "(SELECT COALESCE(current_setting('chainhost.tenant', true), ''))";
    let own = "tenant_id = (SELECT decode(current_setting('chainhost.tenant', true), 'hex'))";
    let of = |(name, _): &(&str, Place)| {
        [
            format!("ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"),
            format!("ALTER TABLE {name} FORCE ROW LEVEL SECURITY"),
            format!("DROP POLICY IF EXISTS chainhost_tenant ON {name}"),
            format!("CREATE POLICY chainhost_tenant ON {name} USING ({entered} = '' OR {own})"),
        ]
    };
    PLACES.iter().filter(|it| it.1 == Place::Tenant).flat_map(of).collect()
}
