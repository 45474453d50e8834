//! What the README tells people to type, typed.

use std::{fs, path::Path, process::Command};

use crate::support::{Host, PROGRAM, write_files};

const README: &str = include_str!("../../README.md");

/// The commands of the block behind a sentence that ends with `words`.
fn block_after(words: &str) -> String {
    let (_, rest) = README.split_once(words).unwrap_or_else(|| panic!("the README has no `{words}`"));
    let (_, block) = rest.split_once("```sh\n").unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

/// Types a block in an empty folder, with this server in place of the one that the README starts.
fn type_in(host: &Host, folder: &Path, block: &str, key: &str) {
    fs::create_dir_all(folder).unwrap();
    let programs = Path::new(PROGRAM).parent().unwrap().to_str().unwrap();
    let block = block
        .replace("$PWD/target/release", programs)
        .replace("./chainhost-demo", host.data().to_str().unwrap())
        .replace("http://localhost:8080", &host.url());
    let out = Command::new("sh")
        .args(["-euc", &block])
        .current_dir(folder)
        .env("HOME", folder)
        .env_remove("XDG_CONFIG_HOME")
        .env("CHAINHOST_SERVER", host.url())
        .env("CHAINHOST_KEY", key)
        .output()
        .unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{block}\n{said}\n{wrong}\n{}", host.log());
}

#[test]
fn the_way_without_a_browser_leads_to_a_site() {
    let host = Host::start();
    type_in(&host, &host.beside("here"), &block_after("Without a browser"), "");
    let page = host.until("the site", || Some(host.get("my-site.localhost", "/")).filter(|it| it.status == 200));
    assert!(page.text().contains("Hello"), "{}", page.text());
}

#[test]
fn a_key_as_the_panel_makes_it_deploys_a_site_that_is_not_there_yet() {
    let host = Host::start();
    host.key("owner@example.org", "super-admin");
    let made = host.admin(&["create-key", "--email", "owner@example.org", "--scope", "deploy"], "");
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let here = host.beside("here");
    write_files(&here, &[("dist/index.html", b"one")]);
    let block = block_after("on your `PATH`, from a terminal:");
    let (login, rest) = block.split_once('\n').unwrap();
    assert!(login.starts_with("chainhost login"), "{login}");
    let (deploy, rest) = rest.split_once('\n').unwrap();
    let path = format!("PATH={}:$PATH; ", Path::new(PROGRAM).parent().unwrap().display());
    type_in(&host, &here, &format!("{path}{deploy}"), &key);
    assert_eq!(host.get("my-site.localhost", "/").text(), "one");
    write_files(&here, &[("dist/index.html", b"two")]);
    type_in(&host, &here, &format!("{path}{deploy}"), &key);
    assert_eq!(host.get("my-site.localhost", "/").text(), "two");
    type_in(&host, &here, &format!("{path}{rest}"), &key);
    assert_eq!(host.get("my-site.localhost", "/").text(), "one");
    // To change or delete a site is more than to deploy it.
    for call in ["DELETE /api/v1/sites/my-site", "PUT /api/v1/sites/my-site/hostnames/www.example.org"] {
        assert_eq!(host.api(&key, call, b"").status, 403, "{call}");
    }
}
