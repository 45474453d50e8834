//! Whether CAA records let an authority give a certificate: one of several is enough.

use super::{Disagreement, Finding, Observed, listed};
use crate::domain::{
    acme::Kind,
    caa::{self, Authority, Property, Verdict},
};

pub(super) fn examine(seen: &Observed) -> Option<Finding> {
    let host = &seen.host;
    let (at, set) = match &seen.caa {
        Ok(Some(it)) => it,
        Ok(None) => return Some(Finding::good("caa_none", "No CAA record limits who may give certificates.", "")),
        // Whoever cannot be asked for addresses is said already.
        Err(_) if seen.looked.a.is_err() && seen.looked.aaaa.is_err() => return None,
        Err((at, why)) => {
            let text = format!(
                "The name servers of {at} do not answer when they are asked for CAA records, and authorities then give no certificate for {host}: whoever runs these servers has to mend that."
            );
            return Some(Finding::problem("caa_unanswered", text, format!("{why}")));
        }
    };
    let saw = shown(at, set);
    let judged = |it| (it, caa::judge(set, it, seen.is_wild()));
    let verdicts: Vec<(&Authority, Verdict)> = seen.authorities.iter().map(judged).collect();
    let of = |wanted: fn(&Verdict) -> bool| verdicts.iter().filter(move |it| wanted(&it.1));
    let named = |wanted| of(wanted).map(|it| it.0.name.as_str()).collect::<Vec<_>>();
    let allowed = named(|it| *it == Verdict::Allowed);
    if !allowed.is_empty() {
        let others = named(Verdict::bars);
        let others = if others.is_empty() { String::new() } else { format!(" and not {}", others.join(" or ")) };
        let text = format!("The CAA records of {at} allow {}{others}.", listed(&allowed));
        return Some(Finding::good("caa_allows", text, saw));
    }
    // Where none may for sure, the first is spoken of, as it is the one that is asked first.
    let (authority, verdict) = of(Verdict::allows).next().or(verdicts.first())?;
    Some(one(at, authority, verdict, &named(Verdict::bars), seen.is_wild(), saw))
}

fn shown(at: &str, set: &[Property]) -> String {
    let one = |it: &Property| format!("{at} CAA {} {} \"{}\"", i32::from(it.critical) * 128, it.tag, it.value);
    set.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Servers of the zone that show different records: an authority may ask any of them.
pub(super) fn differ(seen: &Observed) -> Option<Finding> {
    let Disagreement { at, said } = seen.caa_differs.as_ref()?;
    let says = |(server, set): &(String, Vec<Property>)| {
        format!("{server}: {}", if set.is_empty() { String::from("nothing") } else { shown(at, set) })
    };
    let text = format!(
        "The name servers of {at} do not agree on its CAA records, so that it depends on which one an authority asks whether it may: wait until the change has come to all of them, or mend the one that does not take it."
    );
    Some(Finding::warning("caa_servers_differ", text, said.each_ref().map(says).join(" / ")))
}

/// What is said of one authority; `barred`: all that may not.
fn one(at: &str, authority: &Authority, verdict: &Verdict, barred: &[&str], is_wild: bool, saw: String) -> Finding {
    let (name, own) = (&authority.name, authority.domain());
    let tag = if is_wild { "issuewild" } else { "issue" };
    match verdict {
        Verdict::Unlimited => Finding::good("caa_unlimited", format!("The CAA records of {at} limit nobody."), saw),
        Verdict::Allowed => Finding::good("caa_allows", format!("The CAA records of {at} allow {name}."), saw),
        Verdict::Unsure => Finding::warning(
            "caa_unsure",
            format!(
                "The CAA records of {at} limit who may give certificates, and by which name {name} knows itself in them is not known here: see that it is one of those."
            ),
            saw,
        ),
        Verdict::NobodyMay => Finding::problem(
            "caa_nobody",
            format!(
                "A CAA record of {at} forbids certificates by anybody: replace it by `{at} CAA 0 {tag} \"{own}\"`."
            ),
            saw,
        ),
        Verdict::OthersMay(others) => Finding::problem(
            "caa_forbids",
            format!(
                "The CAA records of {at} allow {} and not {}: add `{at} CAA 0 {tag} \"{own}\"`.",
                others.join(", "),
                barred.join(" or ")
            ),
            saw,
        ),
        Verdict::OtherAccount(account) => Finding::problem(
            "caa_account",
            format!(
                "The CAA record of {at} allows another account of {name} only, {account}: change its `accounturi` to that of this server, or leave it out."
            ),
            saw,
        ),
        Verdict::OnlyAccount(account) => Finding::warning(
            "caa_only_account",
            format!(
                "The CAA record of {at} allows one account of {name} only: unless this server's will be {account}, leave `accounturi` out."
            ),
            saw,
        ),
        Verdict::OtherMethods(methods) => Finding::problem(
            "caa_method",
            format!(
                "The CAA record of {at} allows {name} to validate by {methods} only: add `{}` to its `validationmethods`.",
                authority.methods.iter().map(|it| it.word()).collect::<Vec<_>>().join("` or `")
            ),
            saw,
        ),
        Verdict::UnknownCritical(tag) => Finding::problem(
            "caa_critical",
            format!(
                "A CAA record of {at} with the tag `{tag}` is marked as critical, and authorities that do not know it give no certificate: remove it, or set its flags to 0."
            ),
            saw,
        ),
    }
}

impl Observed {
    /// Whether CAA records are sure to keep an authority from giving one by a way.
    pub fn is_barred(&self, authority: &Authority, way: Kind) -> bool {
        let Ok(Some((_, set))) = &self.caa else { return false };
        caa::judge(set, &authority.by(way), self.is_wild()).bars()
    }

    /// Whether one of the authorities may see by this way whose the name is. What CAA records forbid everybody is said of them, and of no way.
    pub fn has_left(&self, way: Kind) -> bool {
        let all = || self.authorities.iter().flat_map(|it| it.methods.iter().map(move |of| (it, *of)));
        let is_left = |it: &(&Authority, Kind)| !self.is_barred(it.0, it.1);
        let is_none_left = !all().any(|it| is_left(&it));
        all().any(|it| it.1 == way && (is_none_left || is_left(&it)))
    }
}
