//! Whether CAA records let the authority give a certificate.

use super::{Finding, Observed};
use crate::domain::caa::{self, Verdict};

pub(super) fn examine(seen: &Observed) -> Option<Finding> {
    let (host, authority) = (&seen.host, &seen.authority);
    let (name, own) = (&authority.name, authority.domain());
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
    let saw: Vec<String> =
        set.iter().map(|it| format!("{at} CAA {} {} \"{}\"", i32::from(it.critical) * 128, it.tag, it.value)).collect();
    let saw = saw.join("; ");
    Some(match caa::judge(set, authority, false) {
        Verdict::Unlimited => Finding::good("caa_unlimited", format!("The CAA records of {at} limit nobody."), saw),
        Verdict::Allowed => Finding::good("caa_allows", format!("The CAA records of {at} allow {name}."), saw),
        Verdict::NobodyMay => Finding::problem(
            "caa_nobody",
            format!(
                "A CAA record of {at} forbids certificates by anybody: replace it by `{at} CAA 0 issue \"{own}\"`."
            ),
            saw,
        ),
        Verdict::OthersMay(others) => Finding::problem(
            "caa_forbids",
            format!(
                "The CAA records of {at} allow {} and not {name}: add `{at} CAA 0 issue \"{own}\"`.",
                others.join(", ")
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
                authority.method
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
    })
}
