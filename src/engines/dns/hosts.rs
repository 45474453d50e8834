//! `/etc/hosts`, read again when it has changed.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::servers::{Stamp, stamp};

/// Bytes of such a file that are read: lists against advertisements have some megabytes.
const BYTES_MAX: u64 = 16 << 20;

/// The names that the machine itself knows.
#[derive(Debug)]
pub(super) struct Hosts {
    path: PathBuf,
    read: Mutex<(Option<Stamp>, String)>,
}

impl Hosts {
    pub(super) fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), read: Mutex::new((None, String::new())) }
    }

    /// The addresses of a name, in the file's order.
    pub(super) fn find(&self, name: &str) -> Vec<IpAddr> {
        let now = stamp(&self.path);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if now.is_none() {
            *read = (None, String::new());
        } else if now != read.0 {
            let fits = fs::metadata(&self.path).is_ok_and(|it| it.len() <= BYTES_MAX);
            let text = if fits { fs::read(&self.path).unwrap_or_default() } else { Vec::new() };
            *read = (now, String::from_utf8_lossy(&text).into_owned());
        }
        parse(&read.1, name)
    }
}

fn parse(text: &str, name: &str) -> Vec<IpAddr> {
    let line = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|it| it.trim_end_matches('.').eq_ignore_ascii_case(name)).then_some(address)
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::files::write_atomic;

    #[test]
    fn names_are_found_and_the_file_is_read_again() {
        let text = "# hosts\n127.0.0.1\tlocalhost\n10.0.0.7  db.example DB2 # not this\n::1 db.example\nnonsense x\n";
        assert_eq!(parse(text, "db.example"), ["10.0.0.7".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(parse(text, "db2"), ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        assert!(parse(text, "not").is_empty() && parse(text, "x").is_empty());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        let hosts = Hosts::new(&path);
        assert!(hosts.find("a").is_empty());
        write_atomic(&path, b"10.0.0.1 a\n", 0o600).unwrap();
        assert_eq!(hosts.find("a").len(), 1);
        write_atomic(&path, b"10.0.0.1 a\n10.0.0.2 a\n", 0o600).unwrap();
        assert_eq!(hosts.find("a").len(), 2);
    }
}
