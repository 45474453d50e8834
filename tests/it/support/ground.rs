//! What the services of a test stand on when there is no server around them.

use std::path::Path;

use chainhost::{
    app::ground::Wish,
    base::{
        blob_dir::BlobDir,
        clock::Clock,
        ids::{Id, Ids},
        tasks::Tasks,
    },
    config::database::Postgres,
    domain::{month::Retention, node::Role},
    engines::cache_moka::CacheMoka,
    ports::{cache::Cache, counts::Counts, db::Db, queue::Jobs},
    services::{Addresses, Ground, doctor::Outside, nodes::Node, secrets::Secrets, stores::Stores},
};

/// Addresses at which nobody listens.
pub(crate) fn addresses() -> Addresses {
    Addresses {
        scheme: "http",
        sites_domain: String::from("localhost"),
        port: String::new(),
        panel_host: String::from("localhost"),
        local_port: 80,
    }
}

/// All in a folder but the database and the queue; whatever the disk has left is enough.
pub(crate) fn ground(folder: &Path, db: Db, jobs: Jobs, clock: Clock) -> Ground {
    Ground {
        db,
        jobs,
        cache: Cache::new(CacheMoka::new(1 << 20)),
        counts: Counts::default(),
        blobs: BlobDir::open(folder).unwrap(),
        home: None,
        ids: Ids::new(clock.clone()),
        clock,
        tasks: Tasks::new(),
        data: folder.to_owned(),
        addresses: addresses(),
        disk_reserve: Some(0),
        tenant_bytes_max: None,
        retention: Retention::default(),
        instance: Id::NIL,
        node: Node::alone(),
        stores: Stores::default(),
        secrets: Secrets::fleeting(),
        acme: None,
        edge: None,
        outside: Outside::default(),
    }
}

/// The stores of a data folder, on a PostgreSQL if there is one.
pub(crate) fn wish(postgres: Option<Postgres>) -> Wish {
    Wish {
        postgres,
        addresses: addresses(),
        disk_reserve: None,
        tenant_bytes_max: None,
        clock: Clock::system(),
        tasks: Tasks::new(),
        snapshot: None,
        role: Role::All,
        labels: Vec::new(),
        retention: Retention::default(),
        queue_url: None,
        cache_url: None,
        master_key_file: None,
        acme: None,
        edge: Vec::new(),
        outside: Outside::default(),
    }
}
