//! `/api/v1/sites/{name}/try`: what an address of a site gives, and which rule says so.

use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, ok},
    caller::{Caller, Json},
};
use crate::{
    domain::site::SiteName,
    services::{
        Services,
        rules::{From, Trial, visitor},
    },
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Try {
    url: String,
    deployment: Option<String>,
    country: Option<String>,
    language: Option<String>,
}

#[derive(Debug, Serialize)]
struct Tried {
    deployment: Option<Of>,
    taken_down: Option<String>,
    path: String,
    query: Option<String>,
    status: Option<u16>,
    location: Option<String>,
    file: Option<String>,
    passed_on: Option<String>,
    step: &'static str,
    because: String,
    setting: Option<String>,
    notes: Vec<String>,
    rule: Option<usize>,
    headers: Vec<TriedHeader>,
    redirects: Vec<TriedRedirect>,
    header_rules: Vec<TriedBlock>,
}

#[derive(Debug, Serialize)]
struct Of {
    id: String,
    number: i64,
    live: bool,
}

/// A header of the answer.
#[derive(Debug, Serialize)]
struct TriedHeader {
    name: String,
    value: String,
    from: &'static str,
    lines: Vec<usize>,
    rules: Vec<usize>,
}

#[derive(Debug, Serialize)]
struct TriedRedirect {
    number: usize,
    line: Option<usize>,
    from: String,
    query: String,
    to: String,
    status: u16,
    force: bool,
    conditions: String,
    verdict: &'static str,
    why: String,
}

#[derive(Debug, Serialize)]
struct TriedBlock {
    number: usize,
    line: Option<usize>,
    path: String,
    fits: bool,
}

impl Tried {
    fn new(it: Trial) -> Self {
        let Trial { rules, verdicts, fitting, headers, .. } = it;
        let headers = headers.into_iter().map(|head| {
            let (from, places) = match head.from {
                From::Host => ("host", Vec::new()),
                From::Ending => ("type", Vec::new()),
                From::Redirect => ("redirect", Vec::new()),
                From::Setting => ("setting", Vec::new()),
                From::Rules(places) => ("rules", places),
            };
            TriedHeader {
                name: head.name,
                value: head.value,
                from,
                lines: places.iter().filter_map(|(_, line)| *line).collect(),
                rules: places.iter().map(|(at, _)| at + 1).collect(),
            }
        });
        let redirects = rules.redirects.into_iter().zip(verdicts).map(|(rule, verdict)| TriedRedirect {
            number: rule.number,
            line: rule.line,
            from: rule.from,
            query: rule.query,
            to: rule.to,
            status: rule.status,
            force: rule.force,
            conditions: rule.conditions,
            verdict: verdict.word,
            why: verdict.why,
        });
        let header_rules = rules.headers.into_iter().zip(fitting).map(|(block, fits)| TriedBlock {
            number: block.number,
            line: block.line,
            path: block.path,
            fits,
        });
        Self {
            deployment: rules.deployment.map(|of| Of { id: of.id.to_string(), number: of.number, live: rules.live }),
            taken_down: rules.taken_down,
            path: it.path,
            query: it.query,
            status: it.status,
            location: it.location,
            file: it.file,
            passed_on: it.passed_on,
            step: it.step,
            because: it.because,
            setting: it.setting,
            notes: it.notes,
            rule: it.rule.map(|at| at + 1),
            headers: headers.collect(),
            redirects: redirects.collect(),
            header_rules: header_rules.collect(),
        }
    }
}

pub(super) async fn attempt(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
    Json(asked): Json<Try>,
) -> Answer {
    let of = asked.deployment.as_deref().map(str::parse).transpose()?;
    let visitor = visitor(asked.country.as_deref(), asked.language.as_deref())?;
    ok(&Tried::new(services.try_address(&actor, &SiteName::parse(&name)?, &asked.url, of, visitor).await?))
}
