//! `chainhost bans nftables`: bans as a table for the firewall of the system, which drops packets before the server sees them.
//!
//! Nothing here needs rights: whoever may change the firewall loads what this prints. A ban ends there by itself, also when nobody
//! loads the next table.

use std::collections::HashMap;

use super::{
    super::{
        client::credentials::ServerArgument,
        failure::{Failure, Result},
        output::{self, Output},
        terminal,
    },
    Ban,
};
use crate::base::{clock, network::Network};

/// The name of the table, which nobody else has.
const TABLE: &str = "inet chainhost";

/// Bans by network; the time in milliseconds since 1970 until which each holds, `i64::MAX` until somebody ends it.
type Until = HashMap<Network, i64>;

pub(super) async fn print(server: &ServerArgument, ports: &[u16], any_site: bool) -> Result<()> {
    let (client, Output { now_ms, .. }) = output::open(server)?;
    let (rows, _) = client.list("/api/v1/bans", "", None).await?;
    let all = output::read::<Ban>(rows)?;
    let wanted = all.iter().filter(|it| any_site || it.site.is_none());
    let mut bans = Until::new();
    for it in wanted {
        let unknown = |what: &str| {
            Failure::Server(format!("The server says `{what}` in its bans, which this version does not know."))
        };
        let network: Network = it.network.parse().map_err(|_| unknown(&it.network))?;
        let until_ms = match it.until.as_deref() {
            Some(text) => clock::parse_rfc3339(text).ok_or_else(|| unknown(text))?,
            None => i64::MAX,
        };
        let Some(network) = network.around().next().filter(|_| until_ms > now_ms) else { continue };
        let kept = bans.entry(network).or_insert(until_ms);
        *kept = until_ms.max(*kept);
    }
    terminal::print(table(&bans, ports, now_ms).trim_end())
}

/// Which networks one set can hold: none of them may be a part of another one. Those that end no later than one around them are left out.
fn layers(bans: &Until) -> Vec<Vec<(Network, i64)>> {
    let is_covered = |network: Network, until_ms: i64| {
        network.around().skip(1).filter_map(|it| bans.get(&it)).any(|around_ms| *around_ms >= until_ms)
    };
    let kept: Until = bans.iter().filter(|it| !is_covered(*it.0, *it.1)).map(|it| (*it.0, *it.1)).collect();
    let mut layers: Vec<Vec<(Network, i64)>> = Vec::new();
    for (network, until_ms) in &kept {
        let depth = network.around().skip(1).filter(|it| kept.contains_key(it)).count();
        while layers.len() <= depth {
            layers.push(Vec::new());
        }
        if let Some(layer) = layers.get_mut(depth) {
            layer.push((*network, *until_ms));
        }
    }
    for layer in &mut layers {
        layer.sort_by_cached_key(|it| it.0.to_string());
    }
    layers
}

/// A table in place of the one before, in one step.
fn table(bans: &Until, ports: &[u16], now_ms: i64) -> String {
    // The first line makes that there is one to remove.
    let empty = format!("add table {TABLE}\ndelete table {TABLE}\n");
    let (mut sets, mut rules) = (Vec::new(), Vec::new());
    let ports = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    for (family, kind, is_v4) in [("ip", "ipv4_addr", true), ("ip6", "ipv6_addr", false)] {
        let of_family: Until = bans.iter().filter(|it| it.0.is_v4() == is_v4).map(|it| (*it.0, *it.1)).collect();
        for (depth, layer) in layers(&of_family).iter().enumerate() {
            let name = format!("banned_{family}_{depth}");
            let elements: Vec<String> = layer.iter().map(|it| element(it.0, it.1, now_ms)).collect();
            let elements = elements.join(",\n      ");
            sets.push(format!(
                "  set {name} {{\n    type {kind}\n    flags interval, timeout\n    elements = {{\n      {elements}\n    }}\n  }}\n"
            ));
            rules.push(format!(
                "    meta l4proto {{ tcp, udp }} th dport {{ {ports} }} {family} saddr @{name} counter drop\n"
            ));
        }
    }
    if rules.is_empty() {
        return empty;
    }
    let (sets, rules) = (sets.concat(), rules.concat());
    let hook = "type filter hook input priority filter - 10; policy accept;";
    format!("{empty}table {TABLE} {{\n{sets}  chain input {{\n    {hook}\n{rules}  }}\n}}\n")
}

fn element(network: Network, until_ms: i64, now_ms: i64) -> String {
    if until_ms == i64::MAX {
        return network.shortest();
    }
    let left_s = until_ms.saturating_sub(now_ms).saturating_add(999) / 1_000;
    format!("{} timeout {left_s}s", network.shortest())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bans(list: &[(&str, i64)]) -> Until {
        list.iter().map(|(network, until_ms)| (network.parse().unwrap(), *until_ms)).collect()
    }

    fn names(of: &[Vec<(Network, i64)>]) -> Vec<Vec<String>> {
        of.iter().map(|it| it.iter().map(|it| it.0.shortest()).collect()).collect()
    }

    #[test]
    fn what_is_within_another_is_left_out_or_has_a_set_of_its_own() {
        for (list, wanted) in [
            (&[][..], vec![]),
            (&[("192.0.2.1", 5), ("192.0.2.2", 9)], vec![vec!["192.0.2.1", "192.0.2.2"]]),
            (&[("192.0.2.0/24", 9), ("192.0.2.1", 9), ("192.0.2.2", 5)], vec![vec!["192.0.2.0/24"]]),
            (&[("192.0.2.0/24", 5), ("192.0.2.1", 9)], vec![vec!["192.0.2.0/24"], vec!["192.0.2.1"]]),
            (&[("2001:db8::/32", i64::MAX), ("2001:db8::/64", 9)], vec![vec!["2001:db8::/32"]]),
            // What lies between is covered, and takes no set.
            (
                &[("10.0.0.0/8", 5), ("10.1.0.0/16", 4), ("10.1.1.0/24", 6), ("10.1.1.1", 7)],
                vec![vec!["10.0.0.0/8"], vec!["10.1.1.0/24"], vec!["10.1.1.1"]],
            ),
        ] {
            assert_eq!(names(&layers(&bans(list))), wanted, "{list:?}");
        }
    }

    #[test]
    fn a_table_takes_the_place_of_the_one_before_and_may_be_none() {
        let none = table(&Until::new(), &[80], 0);
        assert_eq!(none, "add table inet chainhost\ndelete table inet chainhost\n");
        let bans = bans(&[("192.0.2.0/24", 60_001), ("2001:db8::/64", i64::MAX)]);
        let text = table(&bans, &[80, 8443], 0);
        assert!(text.starts_with(&none));
        for line in [
            "      192.0.2.0/24 timeout 61s\n",
            "      2001:db8::/64\n",
            "    meta l4proto { tcp, udp } th dport { 80, 8443 } ip saddr @banned_ip_0 counter drop\n",
            "    meta l4proto { tcp, udp } th dport { 80, 8443 } ip6 saddr @banned_ip6_0 counter drop\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
