//! Where a server listens: addresses as flags, variables and the file name them.

use std::{collections::HashSet, net::SocketAddr};

use toml::Spanned;

use super::wrong;
use crate::{config::source::Source, domain::Result};

fn addresses(all: impl Iterator<Item: AsRef<str>>, place: impl Fn(&str) -> String) -> Result<Vec<SocketAddr>> {
    Ok(all.map(|text| address(text.as_ref(), &place(text.as_ref()))).collect::<Result<Vec<_>>>()?.concat())
}

/// `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080` (both of them) or `:8080` (every address of the machine).
fn address(text: &str, place: &str) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    let example =
        "is not an address to listen on; write for example 127.0.0.1:8080, [::1]:8080, localhost:8080 or :8080";
    let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong(place, &format!("`{text}` {example}")))?;
    let port: u16 = port.parse().map_err(|_| wrong(place, &format!("`{text}` {example}")))?;
    let (v4, v6): ([u8; 4], [u16; 8]) = match host {
        "localhost" => ([127, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 1]),
        "" | "*" => ([0; 4], [0; 8]),
        _ => return Err(wrong(place, &format!("`{text}` {example}"))),
    };
    Ok(vec![SocketAddr::from((v4, port)), SocketAddr::from((v6, port))])
}

/// Where to listen, as flags, a variable or the file say.
pub(super) struct Wanted<'a> {
    pub(super) flag: &'a str,
    pub(super) flags: &'a [String],
    pub(super) variable: &'a str,
    pub(super) key: &'a str,
}

impl Wanted<'_> {
    /// `None` when nothing is said.
    pub(super) fn read(
        &self,
        variable: Option<String>,
        file: Option<&[Spanned<String>]>,
        source: &Source,
    ) -> Result<Option<Vec<SocketAddr>>> {
        if !self.flags.is_empty() {
            let place = |text: &str| format!("{} {text}", self.flag);
            return addresses(self.flags.iter().map(String::as_str), place).map(Some);
        }
        match (variable, file) {
            (Some(text), _) => addresses(text.split(',').map(str::trim), |_| self.variable.to_owned()).map(Some),
            (None, Some(all)) => listed(all, source, self.key).map(Some),
            (None, None) => Ok(None),
        }
    }
}

pub(super) fn listed(all: &[Spanned<String>], source: &Source, key: &str) -> Result<Vec<SocketAddr>> {
    let parse = |it: &Spanned<String>| address(it.get_ref(), &source.place(it, key));
    Ok(all.iter().map(parse).collect::<Result<Vec<_>>>()?.concat())
}

/// Refuses an address that more than one of these lists has. A free port is another one for each.
pub(super) fn keep_apart(all: &[&Vec<SocketAddr>]) -> Result<()> {
    let mut seen = HashSet::new();
    let each_once = all.iter().flat_map(|list| list.iter().collect::<HashSet<_>>());
    let twice = each_once.filter(|it| it.port() != 0).find(|it| !seen.insert(**it));
    twice.map_or(Ok(()), |it| {
        let why =
            format!("{it} is named for two kinds of connections: in clear, TLS and PROXY protocol need a port each");
        Err(wrong("listen", &why))
    })
}
