//! What the RFCs of HTTP ask of a server, as tables: a row for each rule, with the section that has it, and all rows that fail at once.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

mod floods;
mod one;
mod parts;
mod two;
mod upstream;

use std::sync::Arc;

use chainhost::{
    base::ids::Id,
    domain::{policy::Policy, site::SiteId, site_settings::SiteSettings},
    net::connection::Limits,
    serve::snapshot::{Given, Settings, Snapshot, State, Target},
};
use serde_json::json;

use self::upstream::Upstream;
use crate::web::{INSTANCE, Web};

/// A site at `site.test` with a file at `/a.txt`; what is below `/up` another server answers.
async fn site(limits: Limits) -> (Web, Upstream) {
    let web = Web::with(limits);
    let up = Upstream::start(&web.tasks).await;
    let routes = json!([{ "path": "/up", "to": [format!("http://{}", up.address)], "inside": true }]);
    let settings = SiteSettings::parse(&json!({ "proxy": { "routes": routes } }).to_string()).unwrap();
    let served = web.deploy(1, &[("/a.txt", b"a file")], Policy::default());
    let mut snapshot = Snapshot::new(INSTANCE, web.plane.snapshot().generation + 1);
    let target = Target {
        site: SiteId(Id::from_bytes([1; 16])),
        name: String::from("site"),
        preview: false,
        state: State::Live(served),
        settings: Settings::Given(Given::new(settings)),
    };
    snapshot.insert("site.test", Arc::new(target));
    web.plane.publish(snapshot).unwrap();
    (web, up)
}

/// Fails with all that is wrong.
fn none_wrong(wrong: &[String], rows: usize) {
    assert!(wrong.is_empty(), "{} of {rows} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
