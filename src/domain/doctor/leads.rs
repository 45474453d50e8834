//! Whether a hostname leads to this installation, for who needs to know that and nothing more.

use super::{Looked, Outcome, Visit};
use crate::domain::dns::Failure;

/// Where a hostname leads, as far as that was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leads {
    /// One of its addresses answers with the word of this installation.
    Here,
    /// Something else answers, or the name has no address that can be visited.
    Elsewhere,
    /// It may lead here: somebody has to be asked again. Why, for people, as half a sentence.
    Unknown(String),
}

/// What follows from the addresses of a hostname and from the visits there.
pub fn leads(looked: &Looked, visits: &[Visit]) -> Leads {
    if visits.iter().any(|it| matches!(it.outcome, Outcome::Here { .. })) {
        return Leads::Here;
    }
    // Aliases without an end are what the zone says: whoever asks again hears it again.
    let failures = [&looked.a, &looked.aaaa].into_iter().filter_map(|it| it.as_ref().err());
    if let Some(why) = failures.into_iter().find(|it| **it != Failure::Loop) {
        return Leads::Unknown(format!("asked for its addresses, name servers gave {}", said(*why)));
    }
    let answered = visits.iter().any(|it| is_other(&it.outcome));
    let open = visits.iter().find_map(|it| match &it.outcome {
        // A server without IPv6 has no way to half of the addresses, whoever has them: what the other half says counts.
        Outcome::NoRoute if answered => None,
        outcome => Some(format!("{} {}", it.address, passing(outcome)?)),
    });
    open.map_or(Leads::Elsewhere, Leads::Unknown)
}

const fn said(why: Failure) -> &'static str {
    match why {
        Failure::ServerFailed => "SERVFAIL",
        Failure::Refused => "REFUSED",
        Failure::Silent => "no answer in time",
        Failure::Unreachable => "no answer, since none is reached",
        Failure::Loop => "aliases without an end",
        Failure::Malformed => "an answer that cannot be read",
    }
}

/// Whether somebody else has answered.
fn is_other(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::OtherChainHost | Outcome::NotHttp => true,
        Outcome::Other { .. } => passing(outcome).is_none(),
        _ => false,
    }
}

/// What may pass of an outcome, behind the address; `None`: it says that the address leads elsewhere.
fn passing(outcome: &Outcome) -> Option<String> {
    let words = match outcome {
        Outcome::Closed => "refused the connection",
        Outcome::Silent => "did not answer in time",
        Outcome::NoRoute => "is not reached from this server",
        Outcome::BrokeOff => "broke off before it had answered",
        // Whatever stands in front of a server says so when it does not get through to it, or was asked too often.
        Outcome::Other { status, .. } if *status >= 500 || matches!(status, 408 | 425 | 429) => {
            return Some(format!("answered with the status {status}"));
        }
        Outcome::Here { .. }
        | Outcome::OtherChainHost
        | Outcome::Other { .. }
        | Outcome::NotHttp
        | Outcome::Barred(_) => return None,
    };
    Some(words.to_owned())
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use crate::domain::dns::Answer;

    #[test]
    fn only_what_was_seen_is_elsewhere() {
        let other = |status| Outcome::Other { status, server: None, location: None };
        let of = |outcomes: &[Outcome], a, aaaa| {
            let visit =
                |it: &Outcome| Visit { address: "203.0.113.1".parse().unwrap(), outcome: it.clone(), by_tls: None };
            leads(&Looked { a, aaaa }, &outcomes.iter().map(visit).collect::<Vec<_>>())
        };
        let (none, here) = (|| Ok(Answer::default()), Outcome::Here { through: None });
        let unknown =
            |it: &Leads, words: &str| assert!(matches!(it, Leads::Unknown(why) if why.contains(words)), "{it:?}");
        assert_eq!(of(&[], none(), none()), Leads::Elsewhere, "it has no address");
        assert_eq!(of(&[], Err(Failure::Loop), Err(Failure::Loop)), Leads::Elsewhere);
        for outcome in [other(200), other(301), other(404), Outcome::OtherChainHost, Outcome::NotHttp] {
            assert_eq!(of(slice::from_ref(&outcome), none(), none()), Leads::Elsewhere, "{outcome:?}");
            assert_eq!(of(&[Outcome::NoRoute, outcome], none(), none()), Leads::Elsewhere, "no IPv6 here");
        }
        for (outcome, words) in [
            (Outcome::Silent, "203.0.113.1 did not answer in time"),
            (Outcome::Closed, "refused"),
            (Outcome::NoRoute, "is not reached"),
            (Outcome::BrokeOff, "broke off"),
            (other(522), "status 522"),
            (other(429), "status 429"),
        ] {
            unknown(&of(slice::from_ref(&outcome), none(), none()), words);
            assert_eq!(of(&[outcome, here.clone()], none(), Err(Failure::Silent)), Leads::Here);
        }
        unknown(&of(&[other(404), Outcome::Silent], none(), none()), "did not answer");
        unknown(&of(&[], Err(Failure::Silent), Err(Failure::Silent)), "name servers gave no answer in time");
        unknown(&of(&[other(404)], none(), Err(Failure::ServerFailed)), "SERVFAIL");
    }
}
