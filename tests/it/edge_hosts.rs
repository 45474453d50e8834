//! Whose hostnames a purge is for: what becomes of those of which it is not known where they lead, of very many, and of those that are others'
//! by now.

use chainhost::{
    domain::{acme::records::Trouble, dns::Failure, edge::What},
    services::{edge::Ended, nodes::Node},
};

use crate::{
    edge_jobs::{HERE, NOBODY, OTHER, Process, all, failed, purge},
    support::base::Base,
};

const MINUTE_MS: i64 = 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_found_out_ends_no_purge() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path(), "db");
    let process = Process::start(&base, Node::alone(), &["zone.test"]).await;
    let other = process.another_tenant().await;
    process.world.lead("here.zone.test", Ok(HERE));
    process.world.lead("else.zone.test", Ok(OTHER));
    let of = |hosts: &[&str]| purge(hosts, What::All);
    assert_eq!(process.run(other, 0, &of(&["here.zone.test"])).await, Ended::Done);
    assert_eq!(process.provider.taken(), [all("zone.test", &["here.zone.test"])]);
    let told = failed(process.run(other, 0, &of(&["else.zone.test"])).await);
    assert!(matches!(told.trouble, Trouble::Refused(_)), "{told:?}");
    assert!(told.text.starts_with("Nothing shows that else.zone.test leads"), "{}", told.text);
    for (host, to, why) in [
        ("silent.zone.test", Ok(NOBODY), "7.7.7.7 did not answer in time"),
        ("failing.zone.test", Err(Failure::ServerFailed), "asked for its addresses, name servers gave SERVFAIL"),
    ] {
        process.world.lead(host, to);
        let job = of(&[host]);
        let id = process.services.ids.next().into();
        let told = failed(process.run_as(id, other, 0, &job).await);
        let wanted = format!("whether they lead to this server: {host} ({why}).");
        assert!(matches!(told.trouble, Trouble::Away(_)) && told.text.ends_with(&wanted), "{told:?}");
        assert_eq!(process.provider.taken(), []);
    }
}
