//! `/metrics`: figures of this process in the text format of Prometheus, for a key or from this machine.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use hyper::{HeaderMap, StatusCode, header::AUTHORIZATION};

use super::tls::Shelf;
use crate::{
    access_log::AccessLog,
    domain::{Error, access::Right, job::Queue, site::SiteId},
    http::{
        peer::Client,
        problem,
        respond::{self, Response},
    },
    ports::db::Replica,
    serve::{DataPlane, proxy::Figures, tally::SinceStart},
    services::{
        Depth, Services,
        access::Origin,
        latency::{BUCKETS_MS, Histogram, Times},
    },
};

/// What is counted outside of the control plane.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) plane: &'a DataPlane,
    pub(super) log: Option<&'a AccessLog>,
    pub(super) shelf: Option<&'a Shelf>,
}

pub(super) async fn answer(services: &Services, seen: Seen<'_>, headers: &HeaderMap, client: Client) -> Response {
    match read(services, seen, headers, client).await {
        Ok(text) => respond::content(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text),
        Err(error) => problem::problem(&error, ""),
    }
}

async fn read(services: &Services, seen: Seen<'_>, headers: &HeaderMap, client: Client) -> Result<String, Error> {
    if !client.is_near {
        let missing = || Error::unauthenticated("key_missing", "Send an API key: `Authorization: Bearer ch_…`.");
        let header = headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok()).ok_or_else(missing)?;
        let key = header.strip_prefix("Bearer ").ok_or_else(missing)?;
        let (actor, _) = services.actor_by_key(key, Origin::default()).await?;
        actor.require(Right::ManageServer)?;
    }
    let mut out = Text(String::new());
    visitors(seen.plane, &mut out);
    upstreams(seen.plane, &mut out);
    if let Some(log) = seen.log {
        access_log(log, &mut out);
    }
    certificates(services, seen.shelf, &mut out);
    queues(services, &mut out).await;
    latency(services, &mut out);
    tasks(services, &mut out);
    database(services, &mut out);
    let help = "Passwords hashed, to be kept or to be checked.";
    out.one("chainhost_password_hashes_total", "counter", help, services.passwords_hashed());
    if let Some(home) = &services.home {
        let help = "Whether the store of files has answered lately.";
        out.one("chainhost_blob_store_up", "gauge", help, u64::from(home.is_up()));
    }
    cache(services, &mut out);
    Ok(out.0)
}

/// Figures on their way out.
struct Text(String);

impl Text {
    /// One metric with a value for each set of labels.
    fn add(&mut self, name: &str, kind: &str, help: &str, rows: &[(String, u64)]) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    /// A histogram of seconds for each queue.
    fn histogram(&mut self, name: &str, help: &str, services: &Services, of: fn(&Times) -> &Histogram) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} histogram");
        for queue in Queue::ALL {
            let counted = of(services.latency().of(queue)).read();
            let queue = queue.word();
            for (end_ms, count) in BUCKETS_MS.into_iter().zip(counted.buckets) {
                let end = seconds(end_ms * 1_000);
                let _ = writeln!(self.0, "{name}_bucket{{queue=\"{queue}\",le=\"{end}\"}} {count}");
            }
            let _ = writeln!(self.0, "{name}_bucket{{queue=\"{queue}\",le=\"+Inf\"}} {}", counted.count);
            let _ = writeln!(self.0, "{name}_sum{{queue=\"{queue}\"}} {}", seconds(counted.sum_us));
            let _ = writeln!(self.0, "{name}_count{{queue=\"{queue}\"}} {}", counted.count);
        }
    }

    /// One metric with one value.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.add(name, kind, help, &[(String::new(), value)]);
    }
}

/// Microseconds as seconds, exactly: `0.001`, `3600`.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn access_log(log: &AccessLog, out: &mut Text) {
    let lines = log.lines();
    out.one("chainhost_access_log_written_total", "counter", "Lines that are in the access log.", lines.written);
    let help = "Lines that are not in the access log, since the disk was too slow or full.";
    out.one("chainhost_access_log_dropped_total", "counter", help, lines.dropped);
}

fn visitors(plane: &DataPlane, out: &mut Text) {
    let counts = plane.meter();
    let classes: Vec<(String, u64)> =
        counts.classes.iter().zip(1..).map(|(count, class)| (format!("{{class=\"{class}xx\"}}"), *count)).collect();
    out.add("chainhost_requests_total", "counter", "Answers to visitors by class of status.", &classes);
    out.one("chainhost_sent_bytes_total", "counter", "Bytes of bodies sent to visitors.", counts.bytes);
    let hosts = u64::try_from(plane.snapshot().len()).unwrap_or(u64::MAX);
    out.one("chainhost_hosts", "gauge", "Hosts in the routing table, previews too.", hosts);
    let damaged = u64::try_from(plane.damaged()).unwrap_or(u64::MAX);
    out.one("chainhost_damaged_files", "gauge", "Files and compressed forms found damaged.", damaged);
    sites(plane, out);
    countries(plane, out);
}

/// The database of countries, where one is named.
fn countries(plane: &DataPlane, out: &mut Text) {
    let countries = plane.countries();
    if !countries.is_given() {
        return;
    }
    let is_well = countries.is_known() && countries.fault().is_none();
    let help = "Whether the file with the database of countries can be read.";
    out.one("chainhost_country_database_up", "gauge", help, u64::from(is_well));
    if let Some(about) = countries.about() {
        let help = "When the database of countries that is used was made, in seconds since 1970.";
        let built_s = u64::try_from(about.built_ms / 1_000).unwrap_or(0);
        out.one("chainhost_country_database_built_timestamp_seconds", "gauge", help, built_s);
    }
}

/// The sites that were asked most, so that the text does not grow with all there are.
fn sites(plane: &DataPlane, out: &mut Text) {
    let snapshot = plane.snapshot();
    let names: HashMap<SiteId, &str> = snapshot.hosts().map(|(_, it)| (it.site, it.name.as_str())).collect();
    let busiest: Vec<_> = plane.tally().busiest();
    let rows = |value: fn(&SinceStart) -> u64| -> Vec<(String, u64)> {
        let told = busiest.iter().filter_map(|(site, it)| Some((names.get(site)?, value(it))));
        told.map(|(name, value)| (format!("{{site=\"{name}\"}}"), value)).collect()
    };
    let help = "Answers to visitors by site, of the hundred sites that were asked most.";
    out.add("chainhost_site_requests_total", "counter", help, &rows(|it| it.requests));
    let help = "Bytes of bodies sent to visitors by site, of the same sites.";
    out.add("chainhost_site_sent_bytes_total", "counter", help, &rows(|it| it.bytes));
    let help = "Answers, visitors and labels that are in no figure of traffic, for want of room.";
    out.one("chainhost_traffic_dropped_total", "counter", help, plane.tally().dropped());
}

/// What other servers answer, where sites have such.
fn upstreams(plane: &DataPlane, out: &mut Text) {
    let sites = plane.proxied();
    if sites.is_empty() {
        return;
    }
    let outcomes = sites.iter().flat_map(|it| {
        let site = label(&it.site);
        it.outcomes.iter().map(move |(word, count)| (format!("{{site={site},outcome=\"{word}\"}}"), *count))
    });
    let help = "Requests that are answered by upstreams of sites, by how they ended.";
    out.add("chainhost_proxy_requests_total", "counter", help, &outcomes.collect::<Vec<_>>());
    let each = |value: fn(&(String, bool, usize)) -> u64| -> Vec<(String, u64)> {
        let of = |it: &Figures| -> Vec<(String, u64)> {
            let site = label(&it.site);
            let rows = it.upstreams.iter();
            rows.map(|row| (format!("{{site={site},upstream={}}}", label(&row.0)), value(row))).collect()
        };
        sites.iter().flat_map(of).collect()
    };
    let help = "Whether an upstream of a site gets requests.";
    out.add("chainhost_proxy_upstream_healthy", "gauge", help, &each(|it| u64::from(it.1)));
    let help = "Requests and WebSockets that an upstream works on.";
    out.add("chainhost_proxy_upstream_active", "gauge", help, &each(|it| u64::try_from(it.2).unwrap_or(u64::MAX)));
}

/// A label's value, in quotes.
fn label(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn certificates(services: &Services, shelf: Option<&Shelf>, out: &mut Text) {
    if let Some(shelf) = shelf {
        let all = shelf.figures();
        let overdue = all.iter().filter(|it| it.is_overdue).count();
        // Two of one name would be one figure twice.
        let by_label: BTreeMap<String, u64> = all
            .iter()
            .map(|it| {
                let label = format!("{{name={},from=\"{}\"}}", label(&it.name), it.from);
                (label, u64::try_from(it.until_s).unwrap_or(0))
            })
            .collect();
        let help = "When a certificate that is shown ends, in seconds since 1970.";
        let rows: Vec<_> = by_label.into_iter().collect();
        out.add("chainhost_certificate_expiry_timestamp_seconds", "gauge", help, &rows);
        let help = "Certificates that are shown, have less than a third of their time left, and have no new one.";
        out.one("chainhost_certificates_overdue", "gauge", help, u64::try_from(overdue).unwrap_or(u64::MAX));
    }
    let Some(acme) = &services.acme else { return };
    let rows: Vec<_> = acme.outcomes().map(|(word, count)| (format!("{{outcome=\"{word}\"}}"), count)).collect();
    let help = "What came of orders of certificates in this process.";
    out.add("chainhost_certificate_orders_total", "counter", help, &rows);
}

async fn queues(services: &Services, out: &mut Text) {
    let help = "Whether the store of the queues is there.";
    out.one("chainhost_queue_up", "gauge", help, u64::from(services.jobs.is_up()));
    // A broken queue has no figures of its own; those of the rest are wanted all the more.
    let Ok(depths) = services.jobs.depths(None).await else { return };
    let mut jobs = Vec::new();
    for (queue, depth) in Queue::ALL.into_iter().zip(&depths) {
        for (state, count) in [
            ("waiting", depth.waiting),
            ("delayed", depth.delayed),
            ("running", depth.running),
            ("failed", depth.failed),
        ] {
            jobs.push((format!("{{queue=\"{}\",state=\"{state}\"}}", queue.word()), count));
        }
    }
    out.add("chainhost_jobs", "gauge", "Jobs by queue and state.", &jobs);
    let now_ms = services.clock.now_ms();
    let of_queues = |value: &dyn Fn(&Depth) -> u64| -> Vec<(String, u64)> {
        let rows = Queue::ALL.into_iter().zip(&depths);
        rows.map(|(queue, depth)| (format!("{{queue=\"{}\"}}", queue.word()), value(depth))).collect()
    };
    let waited = |depth: &Depth| {
        let oldest_ms = depth.oldest_ms.map_or(0, |it| now_ms.saturating_sub(it));
        u64::try_from(oldest_ms / 1_000).unwrap_or(0)
    };
    let help = "How long ago the oldest job that may start was asked for.";
    out.add("chainhost_jobs_oldest_seconds", "gauge", help, &of_queues(&waited));
    let help = "Whether a queue starts no jobs.";
    out.add("chainhost_queue_paused", "gauge", help, &of_queues(&|it| u64::from(it.paused)));
}

fn latency(services: &Services, out: &mut Text) {
    let help = "How long jobs waited for their first start in this process, from when they were asked for or due.";
    out.histogram("chainhost_job_wait_seconds", help, services, |it| &it.wait);
    let help = "How long attempts at jobs took in this process, however they ended.";
    out.histogram("chainhost_job_run_seconds", help, services, |it| &it.run);
}

fn tasks(services: &Services, out: &mut Text) {
    let here: Vec<_> = services.tasks_here().into_iter().filter(|it| it.here).collect();
    let label = |name: &str| format!("{{task=\"{name}\"}}");
    let failures: Vec<_> = here.iter().map(|it| (label(it.about.name), u64::from(it.standing.failures))).collect();
    let help = "How many passes of a task that this node does have failed one after another.";
    out.add("chainhost_task_failures", "gauge", help, &failures);
    let well = here.iter().filter_map(|it| {
        let seconds = u64::try_from(it.standing.well_ms? / 1_000).unwrap_or(0);
        Some((label(it.about.name), seconds))
    });
    let help = "When a pass of a task ended well last, in seconds since 1970.";
    out.add("chainhost_task_last_success_timestamp_seconds", "gauge", help, &well.collect::<Vec<_>>());
}

fn database(services: &Services, out: &mut Text) {
    let healthy = u64::from(services.db.health().is_ok());
    out.one("chainhost_database_up", "gauge", "Whether the database is there.", healthy);
    let strays: Vec<(String, u64)> =
        services.strays().map(|(table, count)| (format!("{{table=\"{}\"}}", table.name()), count)).collect();
    let help = "Rows of tables by month that fit no month's part.";
    out.add("chainhost_rows_outside_months", "gauge", help, &strays);
    replicas(services, out);
    let Some(pool) = services.db.pool() else { return };
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let help = "Most connections to the database.";
    out.one("chainhost_database_connections_max", "gauge", help, count(pool.most));
    out.one("chainhost_database_connections", "gauge", "Open connections to the database.", count(pool.open));
    out.one("chainhost_database_reads_active", "gauge", "Reads that hold a connection.", count(pool.at_work));
    out.one("chainhost_database_reads_total", "counter", "Reads that got a connection.", pool.waits);
    let waited = u64::try_from(pool.waited.as_micros()).unwrap_or(u64::MAX);
    let help = "How long all reads waited for a connection.";
    out.one("chainhost_database_wait_microseconds_total", "counter", help, waited);
}

fn replicas(services: &Services, out: &mut Text) {
    let all = services.db.replicas();
    if all.is_empty() {
        return;
    }
    let rows = |value: fn(&Replica) -> u64| -> Vec<(String, u64)> {
        all.iter().map(|it| (format!("{{replica=\"{}\"}}", it.name), value(it))).collect()
    };
    let help = "Whether a replica is read from.";
    out.add("chainhost_database_replica_in_use", "gauge", help, &rows(|it| u64::from(it.in_use)));
    let help = "Reads that were given to a replica.";
    out.add("chainhost_database_replica_reads_total", "counter", help, &rows(|it| it.reads));
}

fn cache(services: &Services, out: &mut Text) {
    let Some(figures) = services.cache.shared() else { return };
    let help = "Whether the second layer of the cache is there, and the other servers are heard.";
    out.one("chainhost_cache_shared_up", "gauge", help, u64::from(figures.up));
    let found = [("hit", figures.hits), ("miss", figures.misses)];
    let rows = found.map(|(result, count)| (format!("{{result=\"{result}\"}}"), count));
    out.add("chainhost_cache_shared_lookups_total", "counter", "Lookups in the second layer of the cache.", &rows);
    let help = "What the second layer of the cache was asked and did not do.";
    out.one("chainhost_cache_shared_errors_total", "counter", help, figures.errors);
    let help = "Changes that other servers told this one.";
    out.one("chainhost_cache_shared_heard_total", "counter", help, figures.heard);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_hold_every_text() {
        assert_eq!(label(r#"unix:/a"b\c"#), r#""unix:/a\"b\\c""#);
    }

    #[test]
    fn seconds_are_exact_and_short() {
        assert_eq!(
            [0, 1, 1_000, 500_000, 10_000_000, 3_600_000_000].map(seconds),
            ["0", "0.000001", "0.001", "0.5", "10", "3600"]
        );
    }
}
