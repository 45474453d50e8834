//! Which name servers are asked: those of the settings, or those of `/etc/resolv.conf`, read again when it has changed.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The port of name servers.
const PORT: u16 = 53;
/// Servers that are asked: as many as the system's own resolver does.
const SERVERS_MAX: usize = 3;
/// Bytes of the file that are looked at.
const BYTES_MAX: u64 = 1 << 20;

/// By what a change of a file is known: size, which file it is, and its time of change.
pub(super) type Stamp = (u64, u64, i64, i64);

/// `None`: it is not there.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let it = fs::metadata(path).ok()?;
    Some((it.size(), it.ino(), it.ctime(), it.ctime_nsec()))
}

/// The name servers.
#[derive(Debug)]
pub(super) struct Servers(Source);

#[derive(Debug)]
enum Source {
    Set(Arc<[SocketAddr]>),
    File(PathBuf, Mutex<Read>),
}

#[derive(Debug)]
struct Read {
    stamp: Option<Stamp>,
    servers: Arc<[SocketAddr]>,
    /// How often other servers were found.
    generation: usize,
}

impl Servers {
    /// These, or with none the system's.
    pub(super) fn new(servers: &[SocketAddr]) -> Self {
        if servers.is_empty() {
            return Self::of_file(Path::new("/etc/resolv.conf"));
        }
        Self(Source::Set(servers.into()))
    }

    pub(super) fn of_file(path: &Path) -> Self {
        let read = Read { stamp: None, servers: parse("").into(), generation: 0 };
        Self(Source::File(path.to_owned(), Mutex::new(read)))
    }

    /// Those to be asked, in their order.
    pub(super) fn list(&self) -> Arc<[SocketAddr]> {
        self.look().0
    }

    /// A number that is another one whenever the servers are others.
    pub(super) fn generation(&self) -> usize {
        self.look().1
    }

    fn look(&self) -> (Arc<[SocketAddr]>, usize) {
        let (path, read) = match &self.0 {
            Source::Set(servers) => return (Arc::clone(servers), 0),
            Source::File(path, read) => (path, read),
        };
        let now = stamp(path);
        let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
        if now != read.stamp {
            read.stamp = now;
            let fits = now.is_some_and(|it| it.0 <= BYTES_MAX);
            let text = if fits { fs::read(path).unwrap_or_default() } else { Vec::new() };
            let servers = parse(&String::from_utf8_lossy(&text));
            if *read.servers != *servers {
                read.servers = servers.into();
                read.generation += 1;
            }
        }
        (Arc::clone(&read.servers), read.generation)
    }
}

/// The lines `nameserver ADDRESS`; without any, this machine (resolv.conf(5)). What else stands there, such as `search`, is not for
/// whoever asks for whole names.
fn parse(text: &str) -> Vec<SocketAddr> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            return None;
        }
        let word = words.next()?;
        match word.split_once('%') {
            None => word.parse::<IpAddr>().ok().map(|it| SocketAddr::new(it, PORT)),
            // A link-local address says by which interface it is reached.
            Some((address, scope)) => {
                let index = scope.parse().ok().or_else(|| index_of(scope))?;
                Some(SocketAddr::V6(std::net::SocketAddrV6::new(address.parse().ok()?, PORT, 0, index)))
            }
        }
    };
    let found: Vec<SocketAddr> = text.lines().filter_map(line).take(SERVERS_MAX).collect();
    if found.is_empty() { vec![SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))] } else { found }
}

/// The number of an interface.
fn index_of(name: &str) -> Option<u32> {
    if name.is_empty() || name.contains(['/', '.']) {
        return None;
    }
    fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::files::write_atomic;

    #[test]
    fn the_file_of_the_system_is_read() {
        let texts = |text: &str| parse(text).iter().map(SocketAddr::to_string).collect::<Vec<_>>();
        assert_eq!(texts(""), ["127.0.0.1:53"]);
        assert_eq!(texts("nameserver nonsense\nsearch lan\n"), ["127.0.0.1:53"]);
        let text = "# by hand\nsearch lan\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # second\nnameserver fe80::1%7\nnameserver 192.0.2.4\noptions edns0";
        assert_eq!(texts(text), ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%7]:53"]);
        assert_eq!(texts("nameserver fe80::1%lo"), ["[fe80::1%1]:53"]);
    }

    #[test]
    fn a_change_of_the_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let servers = Servers::of_file(&path);
        let first = || servers.list().first().map(SocketAddr::to_string).unwrap();
        assert_eq!((first(), servers.generation()), (String::from("127.0.0.1:53"), 0));
        write_atomic(&path, b"nameserver 192.0.2.1\n", 0o600).unwrap();
        assert_eq!((first(), servers.generation()), (String::from("192.0.2.1:53"), 1));
        write_atomic(&path, b"nameserver 192.0.2.1\nsearch lan\n", 0o600).unwrap();
        assert_eq!((first(), servers.generation()), (String::from("192.0.2.1:53"), 1), "the same servers");
        let set = Servers::new(&["192.0.2.9:5353".parse().unwrap()]);
        assert_eq!((set.list().len(), set.generation()), (1, 0));
    }
}
