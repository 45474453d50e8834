//! Several nodes on one database: each duty has one holder, and what one node changes all of them serve.

use std::thread;

use chainhost::{
    app::ground::{self, Folder, Opened},
    base::secret::Secret,
    config::database::Postgres,
    domain::{node::Duty, site::SiteName},
    services::nodes::LOOK,
};
use postgres::{Client, NoTls};
use tokio::{task::JoinSet, time::Instant};

use crate::support::{
    Host,
    ground::wish,
    postgres::{Database, Way},
};

/// Opens the stores as a node does, without serving.
async fn open(database: &Database, folder: &Folder) -> Opened {
    let postgres =
        Postgres { url: Secret::new(database.url()).into(), direct_url: None, replica_urls: Vec::new(), pool: 4 };
    ground::open(folder, &wish(Some(postgres))).await.unwrap()
}

/// The node that holds the lease of sealing, and the fence.
fn sealer(url: &str) -> (Option<Vec<u8>>, i64) {
    let mut client = Client::connect(url, NoTls).unwrap();
    let row = client.query_opt("SELECT holder, fence FROM lease WHERE name = 'seal'", &[]).unwrap();
    row.map_or((None, 0), |row| (row.get(0), row.get(1)))
}

#[test]
fn what_one_node_changes_all_of_them_serve() {
    let database = Database::new(Way::Direct);
    let (one, other) = (Host::start_on(&database.url()), Host::start_on(&database.url()));
    let key = one.key("a@example.com", "super-admin");
    let blog = |host: &Host| host.get("blog.localhost", "/").text();
    let unknown = blog(&other);
    one.api_json(&key, "POST /api/v1/sites", r#"{"name":"blog"}"#, 201);
    let begun = Instant::now();
    assert_ne!(blog(&one), unknown);
    other.until("the site is known", || (blog(&other) == blog(&one)).then_some(()));
    println!("a new site was known to the other node after {:?}", begun.elapsed());
    one.api_json(&key, "PATCH /api/v1/sites/blog", r#"{"taken_down":"Being repaired"}"#, 200);
    let begun = Instant::now();
    other.until("the site is taken down", || (other.get("blog.localhost", "/").status == 451).then_some(()));
    println!("a takedown was known to the other node after {:?}", begun.elapsed());
    // Both are listed, and each duty once.
    let listed = other.until("both are alive", || {
        let nodes = other.cli_json(&key, &["nodes", "--json"]);
        (nodes.as_array().unwrap().len() == 2).then_some(nodes)
    });
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.iter().filter(|it| it["this"] == true).count(), 1);
    let mut duties: Vec<&str> =
        listed.iter().flat_map(|it| it["duties"].as_array().unwrap()).map(|it| it.as_str().unwrap()).collect();
    duties.sort_unstable();
    assert_eq!(duties, ["clean", "schedule", "seal", "watch"]);
    // And the other way round; a key of one is a key of all.
    other.api_json(&key, "PATCH /api/v1/sites/blog", r#"{"taken_down":null}"#, 200);
    one.until("the site is back", || (one.get("blog.localhost", "/").status != 451).then_some(()));
}

/// News come by the looks of each node and by nothing else: the first look after a change brings it, and there are four a second.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_look_after_a_change_brings_it() {
    const { assert!(LOOK.as_millis() * 4 <= 1_000) };
    let database = Database::new(Way::Direct);
    let place = tempfile::tempdir().unwrap();
    let folders = ["one", "other"].map(|it| Folder::take(&place.path().join(it)).unwrap());
    let (one, other) = (open(&database, &folders[0]).await, open(&database, &folders[1]).await);
    // Who changes what visitors see waits until they are served it; nobody is here who serves.
    let (mut serving, served) = (JoinSet::new(), one.services.clone());
    serving.spawn(async move {
        let mut wanted = served.signals().routes_wanted();
        while wanted.changed().await.is_ok() {
            served.signals().routes_applied(*wanted.borrow_and_update());
        }
    });
    let mut heard = other.services.signals().routes_wanted();
    let actor = one.services.actor_local().await.unwrap();
    let name = SiteName::parse("blog").unwrap();
    other.services.look_for_news().await.unwrap();
    for step in 0..5 {
        heard.mark_unchanged();
        other.services.look_for_news().await.unwrap();
        assert!(!heard.has_changed().unwrap(), "there is no news before step {step}");
        if step == 0 {
            one.services.create_site(&actor, "blog").await.unwrap();
        } else {
            let reason = (step % 2 == 1).then(|| format!("Being repaired for the {step}th time"));
            one.services.change_taken_down(&actor, &name, reason).await.unwrap();
        }
        assert!(!heard.has_changed().unwrap(), "somebody has looked");
        other.services.look_for_news().await.unwrap();
        assert!(heard.has_changed().unwrap(), "step {step} is no news");
    }
    serving.abort_all();
    one.close();
    other.close();
}

#[test]
fn a_node_that_stops_gives_its_duties_to_another_at_once() {
    let database = Database::new(Way::Direct);
    let url = database.url();
    let mut one = Host::start_on(&url);
    let (first, fence) = one.until("a holder", || Some(sealer(&url)).filter(|(holder, _)| holder.is_some()));
    let other = Host::start_on(&url);
    assert_eq!(one.stop(), Some(0), "{}", one.log());
    let begun = Instant::now();
    let (second, later) =
        other.until("another holder", || Some(sealer(&url)).filter(|(holder, _)| holder.is_some() && *holder != first));
    println!("the duties were taken after {:?}", begun.elapsed());
    assert!(second.is_some() && later == fence + 1);
    // A restart of the first is a node like any other, and waits for its turn.
    one.restart();
    assert_eq!(sealer(&url), (second, later));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stands_still_loses_its_duties_and_is_refused() {
    let database = Database::new(Way::Direct);
    let url = database.url();
    let folder = tempfile::tempdir().unwrap();
    let folder = Folder::take(&folder.path().join("data")).unwrap();
    let opened = open(&database, &folder).await;
    let services = opened.services.clone();
    assert!(services.hold(Duty::Seal).is_none(), "nothing is held before the first sign of life");
    services.beat().await.unwrap();
    let hold = services.hold(Duty::Seal).unwrap();
    services.seal_audit(&hold).await.unwrap();
    // From here on it gives no sign of life, as a process that is stopped, while another one runs.
    let asked = url.clone();
    let host = thread::spawn(move || {
        let host = Host::start_on(&asked);
        let fence = host.until("another holder", || Some(sealer(&asked).1).filter(|it| *it > 1));
        (host, fence)
    });
    let (host, fence) = tokio::task::spawn_blocking(|| host.join().unwrap()).await.unwrap();
    assert_eq!((hold.fence(), fence), (1, 2));
    // It may not believe its old beat any more, and what it began with the old leave is refused by the database.
    assert!(services.hold(Duty::Seal).is_none());
    let checking = services.clone();
    let refused = services.db.write(move |tx| checking.check_hold(tx, &hold)).await.unwrap_err();
    assert_eq!(refused.code, "lease_lost");
    // It lives again, and gets nothing that another has.
    services.beat().await.unwrap();
    assert!(services.hold(Duty::Seal).is_none());
    services.leave().await.unwrap();
    opened.close();
    drop(host);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_folder_becomes_a_node_of_its_own() {
    let database = Database::new(Way::Direct);
    let place = tempfile::tempdir().unwrap();
    let (here, there) = (place.path().join("here"), place.path().join("there"));
    let folder = Folder::take(&here).unwrap();
    let first = open(&database, &folder).await;
    first.services.beat().await.unwrap();
    let id = first.services.node_id();
    let hold = first.services.hold(Duty::Seal).unwrap();
    // A copy, and what else a second start would find there.
    let copy = Folder::take(&there).unwrap();
    let made = open(&database, &copy).await;
    made.close();
    std::fs::copy(here.join("node"), there.join("node")).unwrap();
    let second = open(&database, &copy).await;
    assert_eq!(second.services.node_id(), id);
    second.services.beat().await.unwrap();
    let taken = second.services.hold(Duty::Seal).unwrap();
    assert_eq!(taken.fence(), hold.fence() + 1);
    // Each writes its signs of life for some time: one has all duties, and goes on having them.
    for _ in 0..5 {
        first.services.beat().await.unwrap();
        second.services.beat().await.unwrap();
        assert_eq!(second.services.hold(Duty::Seal), Some(taken));
        assert!(first.services.hold(Duty::Seal).is_none());
    }
    let other = first.services.node_id();
    assert!(other != id && second.services.node_id() == id);
    let checking = first.services.clone();
    let refused = first.services.db.write(move |tx| checking.check_hold(tx, &hold)).await.unwrap_err();
    assert_eq!(refused.code, "lease_lost");
    let actor = first.services.actor_local().await.unwrap();
    let listed = first.services.list_nodes(&actor).await.unwrap();
    assert_eq!(listed.iter().filter(|it| it.this).map(|it| it.id).collect::<Vec<_>>(), [other]);
    assert_eq!(listed.len(), 2);
    // Its next start has the new id.
    assert_eq!(std::fs::read_to_string(here.join("node")).unwrap().trim(), other.to_string());
    first.close();
    second.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_again_has_its_duties_back_with_a_new_fence() {
    let database = Database::new(Way::Pooled);
    let place = tempfile::tempdir().unwrap();
    let mut fences = Vec::new();
    for _ in 0..3 {
        let folder = Folder::take(&place.path().join("data")).unwrap();
        let opened = open(&database, &folder).await;
        opened.services.beat().await.unwrap();
        fences.push(opened.services.hold(Duty::Schedule).unwrap().fence());
        // Closed without leaving, as by a crash.
        opened.close();
    }
    assert_eq!(fences, [1, 2, 3]);
}
