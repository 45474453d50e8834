//! A browser without scripts, for tests of the panel.

use std::collections::BTreeMap;

use super::{
    Host, PASSWORD,
    http::{self, Answer},
};

/// A browser without scripts: keeps cookies, and says where its forms come from.
pub(crate) struct Browser<'a> {
    pub(crate) host: &'a Host,
    pub(crate) cookies: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    /// Nobody yet.
    pub(crate) fn new(host: &'a Host) -> Self {
        Self { host, cookies: BTreeMap::new() }
    }

    /// Signs in as a user that `Host::key` has made.
    pub(crate) fn signed_in(host: &'a Host, email: &str) -> Self {
        let mut browser = Self::new(host);
        let answer = browser.post("/sign-in", &form(&[("email", email), ("password", PASSWORD)]));
        assert_eq!((answer.status, answer.header("location")), (303, Some("/")), "{}", answer.text());
        browser
    }

    pub(crate) fn head(&self, method: &str, path: &str) -> String {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = if cookies.is_empty() { String::new() } else { format!("Cookie: {}\r\n", cookies.join("; ")) };
        format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nUser-Agent: Firefox/140.0 Linux\r\n{cookies}",
            self.host.port
        )
    }

    pub(crate) fn send(&mut self, head: &str, body: &[u8]) -> Answer {
        let answer = http::ask(self.host.port, head, body);
        for (_, cookie) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (pair, rest) = cookie.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            assert!(
                rest.contains("HttpOnly") && rest.contains("SameSite=Strict") && rest.contains("Path=/"),
                "{cookie}"
            );
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// Asks for a page.
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        let head = self.head("GET", path);
        self.send(&head, b"")
    }

    /// A page that must be there.
    pub(crate) fn page(&mut self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    }

    /// Sends a form that says with `headers` where it comes from.
    pub(crate) fn post_as(&mut self, path: &str, headers: &str, media_type: &str, body: &[u8]) -> Answer {
        let head = format!("{}{headers}Content-Type: {media_type}\r\n", self.head("POST", path));
        self.send(&head, body)
    }

    /// Sends a form of the panel.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> Answer {
        let origin = format!("Origin: http://localhost:{}\r\n", self.host.port);
        self.post_as(path, &origin, "application/x-www-form-urlencoded", body.as_bytes())
    }

    /// Sends a form with an archive.
    pub(crate) fn upload(&mut self, path: &str, fields: &[(&str, &str)], archive: Option<&[u8]>) -> Answer {
        let mut body = Vec::new();
        for (name, value) in fields {
            body.extend(
                format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into_bytes(),
            );
        }
        let name = if archive.is_some() { "site.tar" } else { "" };
        body.extend(
            format!(
                "--edge\r\nContent-Disposition: form-data; name=\"archive\"; filename=\"{name}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            )
            .into_bytes(),
        );
        body.extend_from_slice(archive.unwrap_or_default());
        body.extend_from_slice(b"\r\n--edge--\r\n");
        let origin = format!("Origin: http://localhost:{}\r\n", self.host.port);
        self.post_as(path, &origin, "multipart/form-data; boundary=edge", &body)
    }
}

/// The body of a form.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// A tar of these files.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(bytes.len()).unwrap());
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        builder.append_data(&mut header, path, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}
