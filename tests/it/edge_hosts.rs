//! Whose hostnames a purge is for: what becomes of those of which it is not known where they lead, of very many, and of those that are others'
//! by now.

use std::{collections::BTreeSet, time::Duration};

use chainhost::{
    domain::{
        access::Actor,
        acme::{Kind, records::Trouble},
        certificate::kept::Source,
        dns::Failure,
        edge::{Batch, What},
        site::SiteName,
    },
    ports::queue::JobFilter,
    services::{
        edge::{Ended, Purge},
        nodes::Node,
    },
};

use crate::{
    edge_jobs::{HERE, NOBODY, OTHER, Process, all, failed, purge},
    support::base::Base,
};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_that_was_silent_is_purged_once_for_all_that_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path(), "db");
    let process = Process::start(&base, Node::alone(), &["zone.test"]).await;
    let other = process.another_tenant().await;
    process.world.lead("here.zone.test", Ok(HERE));
    process.world.lead("silent.zone.test", Ok(NOBODY));
    let job = purge(&["here.zone.test", "silent.zone.test"], What::All);
    let ids: Vec<_> = (0..3).map(|_| process.services.ids.next().into()).collect();
    let run = |of: usize| process.run_as(ids[of], other, 0, &job);
    for of in 0..3 {
        let told = failed(run(of).await);
        assert!(told.text.contains("silent.zone.test (7.7.7.7 did not answer in time)"), "{}", told.text);
        // All were asked for before the first of them had begun, which has done for all what could be done.
        let purged = if of == 0 { vec![all("zone.test", &["here.zone.test"])] } else { Vec::new() };
        assert_eq!(process.provider.taken(), purged);
    }
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    process.world.lead("silent.zone.test", Ok(HERE));
    assert_eq!(run(1).await, Ended::Done);
    assert_eq!(process.provider.taken(), [all("zone.test", &["silent.zone.test"])]);
    assert_eq!((run(0).await, run(2).await), (Ended::Done, Ended::Done));
    assert_eq!(process.provider.taken(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_hostnames_are_looked_at_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path(), "db");
    let process = Process::start(&base, Node::alone(), &["zone.test", "localhost"]).await;
    let other = process.another_tenant().await;
    let mut hosts: Vec<String> = (0..45).map(|it| format!("h{it}.zone.test")).collect();
    for host in &hosts {
        process.world.lead(host, Ok(HERE));
    }
    process.world.lead("h7.zone.test", Ok(OTHER));
    process.world.lead("h44.zone.test", Ok(NOBODY));
    hosts.push(String::from("shop.localhost"));
    let job = Purge { hosts: hosts.clone(), ..purge(&[], What::All) };
    let id = process.services.ids.next().into();
    let run = || process.run_as(id, other, 0, &job);
    // What needs no visit, and what the first visits have shown, waits for nothing.
    assert_eq!(run().await, Ended::More);
    let first: Vec<(String, Batch)> = process.provider.taken();
    assert!(first.contains(&all("localhost", &["shop.localhost"])), "{first:?}");
    assert_eq!(run().await, Ended::More);
    assert_eq!(process.provider.taken(), [], "the rest of them together");
    let told = failed(run().await);
    let wanted = "whether they lead to this server: h44.zone.test (7.7.7.7 did not answer in time).";
    assert!(told.text.ends_with(wanted), "{}", told.text);
    let purged: BTreeSet<String> =
        [first, process.provider.taken()].concat().into_iter().flat_map(|it| named(it.1)).collect();
    let wanted = hosts.iter().filter(|it| !["h7.zone.test", "h44.zone.test"].contains(&it.as_str())).cloned();
    assert_eq!(purged, wanted.collect());
    assert_eq!(process.world.visited.lock().unwrap().len(), 45, "each of them once");
    // It is looked at again, and no other one is; what leads elsewhere is told at the end.
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    process.world.lead("h44.zone.test", Ok(HERE));
    let told = failed(run().await);
    assert!(told.text.starts_with("Nothing shows that h7.zone.test leads to this server"), "{}", told.text);
    assert_eq!(process.provider.taken(), [all("zone.test", &["h44.zone.test"])]);
    assert_eq!(process.world.visited.lock().unwrap().len(), 46);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_provider_refuses_ends_no_job_that_has_more_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path(), "db");
    let process = Process::start(&base, Node::alone(), &["a.test", "b.test"]).await;
    let other = process.another_tenant().await;
    let first = ["www.a.test", "else.a.test", "silent.b.test"].map(str::to_owned);
    let hosts: Vec<String> = first.into_iter().chain((0..20).map(|it| format!("h{it}.b.test"))).collect();
    for host in &hosts {
        process.world.lead(host, Ok(HERE));
    }
    process.world.lead("else.a.test", Ok(OTHER));
    process.world.lead("silent.b.test", Ok(NOBODY));
    process.provider.fail("a.test", Trouble::Token);
    let job = Purge { hosts: hosts.clone(), ..purge(&[], What::All) };
    let id = process.services.ids.next().into();
    let run = || process.run_as(id, other, 0, &job);
    assert_eq!(run().await, Ended::More);
    let told = failed(run().await);
    assert!(matches!(told.trouble, Trouble::Away(_)), "it goes on: {told:?}");
    let (refused, elsewhere) = ("The caches of a.test were not purged: ", "Nothing shows that else.a.test leads");
    assert!(told.text.starts_with(refused) && told.text.contains(elsewhere), "{}", told.text);
    assert!(told.text.ends_with("silent.b.test (7.7.7.7 did not answer in time)."), "{}", told.text);
    let calls = process.provider.taken();
    let of_b: BTreeSet<String> = calls.into_iter().filter(|it| it.0 == "b.test").flat_map(|it| named(it.1)).collect();
    assert_eq!(of_b.len(), 20, "{of_b:?}");
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    process.world.lead("silent.b.test", Ok(HERE));
    let told = failed(run().await);
    assert_eq!(told.trouble, Trouble::Token);
    assert!(told.text.starts_with(refused) && told.text.contains(elsewhere), "{}", told.text);
    assert_eq!(process.provider.taken(), [all("b.test", &["silent.b.test"])]);
}

fn named(batch: Batch) -> Vec<String> {
    let (Batch::Hosts(all) | Batch::Tags(all) | Batch::Urls(all)) = batch;
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_a_purge_has_no_hostname_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path(), "db");
    let process = Process::start(&base, Node::alone(), &["zone.test"]).await;
    let other = process.another_tenant().await;
    let mut hosts: Vec<String> = (0..41).map(|it| format!("h{it:02}.zone.test")).collect();
    process.add_site(other, "shop", &hosts).await;
    let actor = process.person(other);
    let name = SiteName::parse("shop").unwrap();
    let asked = async |urls: &[&str]| {
        let urls = urls.iter().map(|it| (*it).to_owned()).collect();
        process.services.purge_site(&actor, &name, urls, Vec::new()).await
    };
    // Nothing leads here, and only some of them were looked at.
    let id = asked(&[]).await.unwrap();
    let job = process.handed_over(id).await;
    hosts.sort();
    assert_eq!(job.hosts, hosts);
    // Only what is named is needed.
    process.world.lead("h40.zone.test", Ok(HERE));
    let id = asked(&["https://h40.zone.test/a"]).await.unwrap();
    assert_eq!(process.handed_over(id).await.hosts, ["h40.zone.test"]);
    let few = process.add_site(other, "few", &[String::from("else.zone.test")]).await;
    let refused = process.services.purge_site(&actor, &few.name, Vec::new(), Vec::new()).await.unwrap_err();
    assert_eq!(refused.code, "edge_unproved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_run_again_is_of_who_runs_it() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path(), "db");
    let process = Process::start(&base, Node::alone(), &["zone.test"]).await;
    let (one, other) = (process.another_tenant().await, process.another_tenant().await);
    let names = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let site = process.add_site(one, "shop", &names(&["kept.zone.test", "come.zone.test"])).await;
    process.add_site(other, "theirs", &names(&["moved.zone.test"])).await;
    // Asked for by a super admin, when the site had two hostnames that it has no more, and one of them is another tenant's by now.
    let hosts = names(&["kept.zone.test", "moved.zone.test", "gone.zone.test"]);
    let said = Purge { site: site.id, by_operator: true, hosts, ..purge(&[], What::All) };
    let again = async |actor: &Actor| {
        let dead = process.die(one, &said).await;
        process.services.rerun_job(actor, dead).await.unwrap();
        process.services.relay_outbox().await.unwrap();
        let jobs = process.services.list_jobs(actor, JobFilter { limit: 10, ..JobFilter::default() }).await.unwrap();
        assert!(jobs.iter().all(|it| it.new.id != dead));
        let made = serde_json::from_str::<Purge>(&jobs.first().unwrap().new.payload).unwrap();
        (made.by_operator, made.hosts)
    };
    let wanted = names(&["kept.zone.test", "gone.zone.test", "come.zone.test"]);
    assert_eq!(again(&process.person(one)).await, (false, wanted.clone()));
    assert_eq!(again(&process.services.actor_local().await.unwrap()).await, (true, wanted));
    // Nor does one that has waited since then purge what is another's by now.
    assert_eq!(process.run(one, 0, &said).await, Ended::Done);
    assert_eq!(process.provider.taken(), [all("zone.test", &["kept.zone.test", "gone.zone.test"])]);
    // What was about a hostname that the site has lost stays with that.
    let lost = Purge { hosts: names(&["gone.zone.test"]), ..said.clone() };
    let dead = process.die(one, &lost).await;
    process.services.rerun_job(&process.person(one), dead).await.unwrap();
    process.services.relay_outbox().await.unwrap();
    let jobs = process.services.jobs.list(JobFilter { limit: 10, ..JobFilter::default() }).await.unwrap();
    let made = serde_json::from_str::<Purge>(&jobs.first().unwrap().new.payload).unwrap();
    assert_eq!(made.hosts, lost.hosts);
    let moved = Purge { hosts: names(&["moved.zone.test"]), ..said.clone() };
    let dead = process.die(one, &moved).await;
    let refused = process.services.rerun_job(&process.person(one), dead).await.unwrap_err();
    assert_eq!(refused.code, "edge_none");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shows_where_a_hostname_leads_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path(), "db");
    let process = Process::start(&base, Node::alone(), &["zone.test"]).await;
    let other = process.another_tenant().await;
    process.keep(other, "www.zone.test", (Source::Acme, Some(Kind::TlsAlpn01)), process.now_ms() + 60_000).await;
    let (job, id) = (purge(&["www.zone.test"], What::All), process.services.ids.next().into());
    let run = || process.run_as(id, other, 0, &job);
    process.provider.fail("zone.test", Trouble::Slow);
    assert_eq!(failed(run().await).trouble, Trouble::Slow);
    assert_eq!(process.provider.taken(), [all("zone.test", &["www.zone.test"])]);
    // Its certificate has run out, and it leads to somebody else.
    process.hands.advance(2 * 60_000);
    process.world.lead("www.zone.test", Ok(OTHER));
    let told = failed(run().await);
    assert!(told.text.starts_with("Nothing shows that www.zone.test leads"), "{}", told.text);
    assert_eq!(process.provider.taken(), []);
}
