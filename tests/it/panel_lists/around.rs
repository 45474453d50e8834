//! The forms beside the lists: the budget of a month, and what caches in front keep.

use super::*;

#[test]
fn the_budget_of_a_month_is_a_form_that_says_what_is_used() {
    let (host, key) = with_site();
    let mut owner = Browser::signed_in(&host, OWNER);
    let action = "/sites/shop/settings/traffic";
    assert!(owner.page("/sites/shop/settings").contains("No budget"));
    let send = |owner: &mut Browser<'_>, bytes: &str, then: &str| {
        owner.post(action, &form(&[("traffic.budget_bytes", bytes), ("traffic.when_used_up", then)]))
    };
    for (bytes, then, field) in [
        ("a lot", "tell", "traffic.budget_bytes"),
        ("1 kB", "tell", "traffic.budget_bytes"),
        ("", "stop", "traffic.when_used_up"),
    ] {
        let answer = send(&mut owner, bytes, then);
        assert_eq!(answer.status, 400, "{bytes} {then}");
        assert!(
            answer.text().contains(&format!("href=\"#f-{field}\""))
                && answer.text().contains(&format!("value=\"{bytes}\"")),
            "{}",
            answer.text()
        );
    }
    assert_eq!(settings(&host, &key), json!({}));
    assert_eq!(send(&mut owner, "100 GB", "stop").status, 303);
    assert_eq!(
        settings(&host, &key)["traffic"],
        json!({ "budget_bytes": 100_000_000_000_u64, "when_used_up": "stop" })
    );
    let page = owner.page("/sites/shop/settings");
    assert!(page.contains("of 100 GB are used in") && page.contains("value=\"100 GB\""), "{page}");
    assert!(page.contains("/sites/shop/traffic"), "{page}");
    assert_eq!(send(&mut owner, "", "tell").status, 303);
    assert_eq!(settings(&host, &key), json!({}));
}

#[test]
fn what_caches_in_front_keep_is_a_form() {
    let (host, key) = with_site();
    let mut owner = Browser::signed_in(&host, OWNER);
    let (page, action) = ("/sites/shop/settings", "/sites/shop/settings/caching");
    let kept = |host: &Host| {
        let answer = http::ask(host.port, "GET / HTTP/1.1\r\nHost: shop.localhost\r\n", b"");
        answer.header("cdn-cache-control").map(str::to_owned)
    };
    let shown = owner.page(page);
    assert!(
        shown.contains("Keep what browsers keep") && shown.contains("None of its hostnames is in a zone"),
        "{shown}"
    );
    assert!(!shown.contains("/sites/shop/purge"), "there is nothing to purge");
    for (field, value) in [
        ("caching.edge_max_age_s", "a week"),
        ("caching.edge_max_age_s", "5"),
        ("caching.tags", "Blog /blog/*"),
        ("caching.tags", "blog"),
        ("caching.tags", "blog blog/*"),
    ] {
        let sent = typed(&mut owner, page, action, &[("caching.edge", "on"), (field, value)]);
        let answer = owner.post(action, &sent);
        assert_eq!(answer.status, 400, "{value}");
        let text = answer.text();
        assert!(
            text.contains(&format!("href=\"#f-{field}\"")) && text.contains(&format!("{value}<"))
                || text.contains(&format!("value=\"{value}\"")),
            "{text}"
        );
    }
    assert_eq!((settings(&host, &key), kept(&host)), (json!({}), None));
    let tags = "blog /blog/*\r\nblog /feed.xml\r\nnews /news.html";
    let changes = [("caching.edge", "on"), ("caching.edge_max_age_s", "3600"), ("caching.tags", tags)];
    let sent = typed(&mut owner, page, action, &changes);
    assert_eq!(owner.post(action, &sent).status, 303);
    let wanted = json!({ "edge": true, "edge_max_age_s": 3_600, "tags": { "blog": ["/blog/*", "/feed.xml"], "news": ["/news.html"] } });
    assert_eq!((&settings(&host, &key)["caching"], kept(&host).as_deref()), (&wanted, Some("max-age=3600")));
    let shown = owner.page(page);
    assert!(
        shown.contains("Keep it until it changes") && shown.contains("Nobody purges caches of this site"),
        "{shown}"
    );
    // Sent back as it is, nothing changes; a tag that is taken out goes, and the others stay.
    let sent = typed(&mut owner, page, action, &[]);
    assert_eq!((owner.post(action, &sent).status, &settings(&host, &key)["caching"]), (303, &wanted));
    let sent = typed(&mut owner, page, action, &[("caching.tags", "news /news.html")]);
    assert_eq!(owner.post(action, &sent).status, 303);
    assert_eq!(settings(&host, &key)["caching"]["tags"], json!({ "news": ["/news.html"] }));
    assert_eq!(owner.post(action, "").status, 303);
    assert_eq!((settings(&host, &key), kept(&host)), (json!({}), None));
}

/// A form sends all of its fields: one that was opened before somebody else has saved would undo that.
#[test]
fn a_form_of_before_undoes_nothing_that_was_saved_since() {
    let (host, key) = with_site();
    let mut owner = Browser::signed_in(&host, OWNER);
    let (page, action) = ("/sites/shop/settings", "/sites/shop/settings/maintenance");
    let text = ("maintenance.text", "Soon.");
    let old = typed(&mut owner, page, action, &[text]);
    let on = json!({ "maintenance": { "on": true } });
    host.api_json(&key, "PATCH /api/v1/sites/shop/settings", &on.to_string(), 200);
    let answer = owner.post(action, &old);
    assert_eq!(answer.status, 409);
    let shown = answer.text();
    assert!(shown.contains("Somebody has changed these settings") && shown.contains(">Soon.<"), "{shown}");
    assert_eq!(settings(&host, &key), on, "it is under maintenance still");
    // Another section is another form; and one that is made of the present settings is saved.
    let others = "/sites/shop/settings/cors";
    let sent = typed(&mut owner, page, others, &[("cors.origins", "*")]);
    host.api_json(&key, "PATCH /api/v1/sites/shop/settings", r#"{"maintenance":{"retry_after_s":60}}"#, 200);
    assert_eq!(owner.post(others, &sent).status, 303);
    let sent = typed(&mut owner, page, action, &[text]);
    assert_eq!(owner.post(action, &sent).status, 303);
    let wanted = json!({ "on": true, "text": "Soon.", "retry_after_s": 60 });
    assert_eq!(settings(&host, &key)["maintenance"], wanted);
}
