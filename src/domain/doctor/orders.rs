//! What authorities have said before: the last refusal, and how much of a limit is left.

use super::{Finding, Observed};
use crate::domain::acme;

/// Certificates for exactly one name that Let's Encrypt gives in seven days.
const SAME_MAX: i64 = 5;

/// Why there was no certificate when one was asked for last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// As in `certificate_limit_same`.
    pub code: String,
    /// What was said, in a sentence or some.
    pub text: String,
    /// Milliseconds until it is asked for again; none are left where it is below one.
    pub left_ms: i64,
}

/// What the settings, the account or a person's record keeps away: nothing of it shows in a look at the hostname.
const STANDS: [&str; 15] = [
    "certificate_account_binding",
    "certificate_account_closed",
    "certificate_account_unknown",
    "certificate_authority_no_directory",
    "certificate_authority_untrusted",
    "certificate_clock",
    "certificate_contact",
    "certificate_key_refused",
    "certificate_name_refused",
    "certificate_name_unsupported",
    "certificate_no_way",
    "certificate_order_refused",
    "certificate_profile",
    "certificate_refused",
    "certificate_terms",
];

/// How the trouble with a provider of a zone ends that passes by itself.
const PASSING: [&str; 5] = ["_away", "_broken", "_limit", "_slow", "_unseen"];

pub(super) fn examine(seen: &Observed) -> Vec<Finding> {
    seen.failed.as_ref().map(|it| failed(seen, it)).into_iter().chain(given(seen)).collect()
}

fn failed(seen: &Observed, it: &Failed) -> Finding {
    let (host, said) = (&seen.host, it.text.clone());
    let when = match u64::try_from(it.left_ms).unwrap_or(0).div_ceil(1_000) {
        0 => String::from("now"),
        seconds => format!("in {}", acme::span(seconds)),
    };
    let retry = format!("`chainhost certificates retry {host}`");
    match it.code.as_str() {
        "certificate_limit_failed" => Finding::problem(
            "order_limited",
            format!(
                "Too many tries for a certificate for {host} have failed, so that the authority takes no more for now, and it is asked again {when}: mend what is wrong until then."
            ),
            said,
        ),
        code if code.starts_with("certificate_limit") => Finding::problem(
            "order_limited",
            format!(
                "A limit of the authority is reached, so that it gives no certificate for {host} for now, and it is asked again {when}: wait for that, and remove no certificate that is here, since each one that is got anew counts."
            ),
            said,
        ),
        acme::records::AWAITED => Finding::problem(
            "order_waits",
            format!(
                "A certificate for {host} waits for a person to set a TXT record: set it as it says, and it is seen within a minute or two."
            ),
            said,
        ),
        code if STANDS.contains(&code) || is_of_records(code) && !passes(code) => Finding::problem(
            "order_refused",
            format!(
                "The last try for a certificate for {host} failed for a reason that does not show in a look at the name, and the next one is {when}: mend what it says, and {retry} tries it at once."
            ),
            said,
        ),
        code if passes(code) => Finding::warning(
            "order_passes",
            format!(
                "The last try for a certificate for {host} failed for a reason that passes by itself, and the next one is {when}: there is nothing to change."
            ),
            said,
        ),
        _ => Finding::warning(
            "order_failed",
            format!(
                "The last try for a certificate for {host} failed, and the next one is {when}: where what it says is mended, {retry} tries it at once."
            ),
            said,
        ),
    }
}

/// Whether an authority, the provider of a zone, or the way to them is at fault, as long as that lasts.
fn passes(code: &str) -> bool {
    code.starts_with("certificate_authority_")
        || ["certificate_authorities_rest", "certificate_order_slow"].contains(&code)
        || is_of_records(code) && PASSING.iter().any(|end| code.ends_with(end))
}

/// Whether it is of a record that was to be set at the provider of a zone.
fn is_of_records(code: &str) -> bool {
    code.starts_with("certificate_record_")
}

/// How much of the limit for one name is used.
fn given(seen: &Observed) -> Option<Finding> {
    let (host, count) = (&seen.host, seen.given?);
    if count < SAME_MAX {
        let count = if count == 0 { String::from("none") } else { count.to_string() };
        let text = format!(
            "Of the {SAME_MAX} certificates that Let's Encrypt gives for exactly {host} in 7 days, this server got {count} in the last 7, as its audit log has it."
        );
        return Some(Finding::good("certificates_given", text, ""));
    }
    let text = format!(
        "This server got {count} certificates for exactly {host} from Let's Encrypt in the last 7 days, which gives {SAME_MAX} in that time besides those that it wished to renew, so that another one may be refused: remove none that is here, until fewer are less than a week old."
    );
    Some(Finding::warning("certificates_used_up", text, ""))
}
