//! The page of a site's traffic, with a week of visits.

use super::{HOSTILE, shell};
use crate::{
    admin::{
        shell::{Crumb, Place},
        sites::{self, SiteTraffic, Standing, Told, TrafficSpan, traffic_lead},
    },
    domain::traffic::Counts,
    services::traffic::{Report as Traffic, Sum, Used},
};

/// The traffic of a site that people visit by day.
pub(super) fn traffic(span: TrafficSpan) -> SiteTraffic {
    // 24 November 2026, 14:20 UTC.
    let now = 1_795_530_000_000;
    let shape = span.span(now);
    let sum = |start_ms: i64, at: u64| {
        let by_day = [4, 3, 2, 2, 3, 8, 19, 34, 47, 58, 61, 66, 72, 64, 57, 55, 49, 52, 60, 58, 44, 30, 17, 9];
        let hour = usize::try_from(start_ms.div_euclid(3_600_000).rem_euclid(24)).unwrap();
        let visits = if start_ms > now { 0 } else { by_day[hour] * (20 + at % 7) / 20 };
        let failed = if at == 9 { visits * 2 } else { 0 };
        let counts = Counts {
            requests: visits * 14 + failed,
            pages: visits * 3,
            bots: visits,
            bytes: visits * 910_000,
            unchanged: visits * 2,
            classes: [visits * 11, visits * 2, visits, failed],
        };
        Sum { start_ms, counts, visits }
    };
    let columns: Vec<Sum> =
        shape.bounds.iter().zip(0..).map(|(it, at)| sum(*it, at)).take(shape.bounds.len() - 1).collect();
    let mut total = Sum { start_ms: shape.bounds[0], ..Sum::default() };
    for it in &columns {
        total.counts.add(&it.counts);
    }
    total.visits = columns.iter().map(|it| it.visits).sum::<u64>() * 4 / 5;
    let mut before = Sum { start_ms: shape.bounds[0] - 1, ..total };
    before.counts.requests = total.counts.requests * 9 / 10;
    before.visits = total.visits * 12 / 10;
    let tops = |labels: &[&str]| labels.iter().zip(1..).map(|(it, n)| ((*it).to_owned(), 2_400 / n + 7)).collect();
    let report = Traffic {
        columns,
        total,
        before,
        pages: tops(&[
            "/",
            "/menu/",
            "/book/table",
            "/news/2026/11/winter-hours",
            "/about",
            "/über uns/anfahrt",
            HOSTILE,
            "/contact",
            "/jobs",
            "/imprint",
            "/privacy",
            "/press",
        ]),
        referrers: tops(&["search.example", "news.example", "maps.example", "social.example"]),
        missing: tops(&[
            "/wp-login.php",
            "/old-menu.pdf",
            "/a-very-long-path/that-somebody/has-written/into-a-link/and-that-is-nowhere-to-be-found.html",
        ]),
        countries: tops(&["DE", "AT", "CH", "US", "GB", "FR"]),
        first_ms: Some(0),
        used: (span == TrafficSpan::Hours).then_some(Used {
            sent: 91_000_000_000,
            budget: 100_000_000_000,
            stops: true,
        }),
        span: shape,
    };
    SiteTraffic {
        shell: shell(Place::Sites),
        crumbs: vec![Crumb::new("Sites", "/sites"), Crumb::new("harbour-cafe", "/sites/harbour-cafe")],
        tabs: sites::tabs("harbour-cafe", "Traffic"),
        name: "harbour-cafe".into(),
        lead: traffic_lead(&report, span),
        standing: Standing::default(),
        told: Some(Told::of("harbour-cafe", &report, span, now)),
    }
}
