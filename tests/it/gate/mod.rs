//! What people set around a site, over the real server: maintenance, passwords, links, hotlinks, CORS and error pages.

mod around;
mod doors;

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Host,
    http::{self, Answer},
    write_files,
};

const OWNER: &str = "owner@example.org";
/// A browser that opens a page.
const BROWSER: &str = "Accept: text/html,*/*\r\n";
const PASSWORD: &str = "open sesame, please";

/// A server behind a proxy that is believed, with a site `shop`.
struct Shop {
    host: Host,
    key: String,
    /// The access log.
    log: PathBuf,
    _folder: TempDir,
}

impl Shop {
    fn start(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        let settings = format!(
            "trusted_proxies = [\"127.0.0.1\"]\n[access_log]\nformat = \"combined\"\npath = \"{}\"\n",
            log.display()
        );
        let host = Host::start_configured(&settings);
        let key = host.key(OWNER, "super-admin");
        let shop = Self { host, key, log, _folder: folder };
        shop.deploy("shop", files);
        shop
    }

    fn deploy(&self, site: &str, files: &[(&str, &[u8])]) {
        let folder = self.host.beside(site);
        write_files(&folder, files);
        let out = self.host.cli(&self.key, &["deploy", folder.to_str().unwrap(), "--site", site, "--create"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// Changes settings; what the server says of them.
    fn set(&self, patch: &Value) -> Value {
        self.host.api_json(&self.key, "PATCH /api/v1/sites/shop/settings", &patch.to_string(), 200)
    }

    /// A change that is refused: the key, and the sentence.
    fn refused(&self, patch: &Value) -> (String, String) {
        let problem = self.host.api_json(&self.key, "PATCH /api/v1/sites/shop/settings", &patch.to_string(), 400);
        let text = |at: &str| problem.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        (text("/field"), text("/detail"))
    }

    fn person(&self, name: &str, password: &str) {
        let body = json!({ "password": password }).to_string();
        self.host.api_json(&self.key, &format!("PUT /api/v1/sites/shop/people/{name}"), &body, 204);
    }

    fn link(&self, wish: &Value) -> Value {
        self.host.api_json(&self.key, "POST /api/v1/sites/shop/links", &wish.to_string(), 201)
    }

    fn ask_at(&self, host: &str, line: &str, more: &str, body: &[u8]) -> Answer {
        http::ask(self.host.port, &format!("{line} HTTP/1.1\r\nHost: {host}\r\n{more}"), body)
    }

    fn ask(&self, line: &str, more: &str) -> Answer {
        self.ask_at("shop.localhost", line, more, b"")
    }

    fn get(&self, path: &str, more: &str) -> Answer {
        self.ask(&format!("GET {path}"), more)
    }

    fn sign_in(&self, more: &str, fields: &[(&str, &str)]) -> Answer {
        let form = crate::support::browser::form(fields);
        let more = format!("Content-Type: application/x-www-form-urlencoded\r\n{more}");
        self.ask_at("shop.localhost", "POST /.well-known/chainhost/sign-in", &more, form.as_bytes())
    }

    /// The cookie of somebody who signs in.
    fn cookie(&self, name: &str, password: &str) -> String {
        let answer = self.sign_in("", &[("name", name), ("password", password), ("next", "/")]);
        assert_eq!(answer.status, 303, "{}", answer.text());
        cookie_of(&answer)
    }

    /// The host of the preview of the first deployment.
    fn preview(&self) -> String {
        let list = self.host.api_json(&self.key, "GET /api/v1/sites/shop/deployments", "", 200);
        let url = list.pointer("/items/0/preview_url").and_then(Value::as_str).unwrap().to_owned();
        url.split("//").nth(1).unwrap().split([':', '/']).next().unwrap().to_owned()
    }
}

/// The line with the cookie that an answer sets.
fn cookie_of(answer: &Answer) -> String {
    let set = answer.header("set-cookie").unwrap();
    format!("Cookie: {}\r\n", set.split(';').next().unwrap())
}

/// The path of an address.
fn path_of(url: &str) -> String {
    format!("/{}", url.split("//").nth(1).unwrap().split_once('/').unwrap().1)
}

fn basic(name: &[u8], password: &[u8]) -> String {
    let pair = [name, b":", password].concat();
    format!("Authorization: Basic {}\r\n", data_encoding::BASE64.encode(&pair))
}
