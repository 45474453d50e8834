//! The panel in a real browser: every page used and looked at by `tests/panel/shoot.mjs`, which fails on a violation of WCAG 2.2 AA, of the
//! content policy or of the weight of a page, and on an act that does not do what it says. Screenshots are in
//! `target/panel-shots`.

use std::{path::Path, process::Command};

use crate::support::PROGRAM;

#[test]
fn every_page_is_well_in_a_browser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tools = root.join("tests/panel");
    assert!(tools.join("node_modules/playwright-core").is_dir(), "run `npm ci` in tests/panel, as tests/run does");
    let mut command = Command::new("node");
    command.arg(tools.join("shoot.mjs")).arg(root.join("target/panel-shots")).arg(PROGRAM);
    if std::env::var_os("CHAINHOST_LONG").is_none() {
        command.arg("quick");
    }
    let out = command.output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&said));
}
