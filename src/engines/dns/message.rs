//! Questions as bytes, and answers out of bytes.

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record as Resource, RecordType},
};

use super::wire::Ask;
use crate::{
    base::random,
    domain::{
        caa::Property,
        dns::{Answer, Failure, Kind, Record},
    },
};

/// Bytes of a datagram that pass everywhere in one piece (the DNS flag day of 2020).
const DATAGRAM_BYTES: u16 = 1_232;
/// Aliases in one answer that are followed.
const CHAIN_MAX: usize = 16;

/// A question, ready to be sent.
pub(super) struct Question {
    id: u16,
    query: Query,
    pub(super) bytes: Vec<u8>,
}

const fn type_of(kind: Kind) -> RecordType {
    match kind {
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Cname => RecordType::CNAME,
        Kind::Caa => RecordType::CAA,
        Kind::Ns => RecordType::NS,
        Kind::Txt => RecordType::TXT,
        Kind::Soa => RecordType::SOA,
    }
}

/// Lower-case, without the dot at the end.
fn text(name: &Name) -> String {
    let mut text = name.to_lowercase().to_ascii();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

impl Question {
    /// With a number that nobody can guess. `extended`: with EDNS, which some old servers do not take.
    pub(super) fn new(ask: Ask<'_>, extended: bool) -> Result<Self, Failure> {
        let id = u16::from_le_bytes(random::bytes());
        let name = Name::from_ascii(format!("{}.", ask.name)).map_err(|_| Failure::Malformed)?;
        let query = Query::query(name, type_of(ask.kind));
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = ask.recurse;
        message.metadata.checking_disabled = ask.unvalidated;
        message.add_query(query.clone());
        if extended {
            let mut edns = Edns::new();
            edns.set_max_payload(DATAGRAM_BYTES).set_version(0);
            message.set_edns(edns);
        }
        let bytes = message.to_vec().map_err(|_| Failure::Malformed)?;
        Ok(Self { id, query, bytes })
    }

    /// Reads what answers this question; `None` for everything else, such as what somebody forged.
    pub(super) fn read(&self, bytes: &[u8]) -> Option<Message> {
        let message = Message::from_vec(bytes).ok()?;
        let is_ours = message.metadata.id == self.id
            && message.metadata.message_type == MessageType::Response
            && matches!(message.queries.as_slice(), [it] if *it == self.query);
        // A server that cannot read the question need not repeat it.
        let is_formerr = message.metadata.id == self.id
            && message.queries.is_empty()
            && message.metadata.response_code == ResponseCode::FormErr;
        (is_ours || is_formerr).then_some(message)
    }
}

/// What a message says about the name that was asked for.
pub(super) fn answer(message: &Message, ask: Ask<'_>) -> Result<Answer, Failure> {
    let no_name = match message.metadata.response_code {
        ResponseCode::NoError => false,
        ResponseCode::NXDomain => true,
        ResponseCode::ServFail => return Err(Failure::ServerFailed),
        ResponseCode::Refused | ResponseCode::NotAuth | ResponseCode::NotImp => return Err(Failure::Refused),
        _ => return Err(Failure::Malformed),
    };
    // Asked for what it has itself, it points to others: it does not have the zone.
    if !ask.recurse && !message.metadata.authoritative && message.answers.is_empty() {
        return Err(Failure::Refused);
    }
    let (mut at, mut chain, mut ttl_s) = (ask.name.to_owned(), Vec::new(), u32::MAX);
    let wanted = type_of(ask.kind);
    loop {
        let of_name = || message.answers.iter().filter(|it| text(&it.name) == at);
        let records: Vec<&Resource> = of_name().filter(|it| it.record_type() == wanted).collect();
        if !records.is_empty() {
            let least = records.iter().map(|it| it.ttl).min().unwrap_or(0);
            let records = records.iter().filter_map(|it| record(&it.data)).collect();
            return Ok(Answer { chain, records, no_name: false, zone: None, ttl_s: seconds(ttl_s.min(least)) });
        }
        let alias = of_name().find_map(|it| match &it.data {
            RData::CNAME(to) => Some((text(&to.0), it.ttl)),
            _ => None,
        });
        let Some((to, least)) = alias else { break };
        if chain.contains(&to) || to == ask.name || chain.len() >= CHAIN_MAX {
            return Err(Failure::Loop);
        }
        ttl_s = ttl_s.min(least);
        chain.push(to.clone());
        at = to;
    }
    // That there is nothing counts for as long as the zone says, and not at all when it does not (RFC 2308 §5).
    let begin = message.authorities.iter().find_map(|it| match &it.data {
        RData::SOA(soa) => Some((text(&it.name), it.ttl.min(soa.minimum))),
        _ => None,
    });
    let (zone, least) = begin.map_or((None, 0), |(zone, least)| (Some(zone), least));
    Ok(Answer { chain, records: Vec::new(), no_name, zone, ttl_s: seconds(ttl_s.min(least)) })
}

/// A number of seconds with the uppermost bit set means none (RFC 2181 §8).
const fn seconds(ttl: u32) -> u32 {
    if ttl >> 31 == 0 { ttl } else { 0 }
}

fn record(data: &RData) -> Option<Record> {
    Some(match data {
        RData::A(it) => Record::A(it.0),
        RData::AAAA(it) => Record::Aaaa(it.0),
        RData::CNAME(it) => Record::Cname(text(&it.0)),
        RData::NS(it) => Record::Ns(text(&it.0)),
        RData::TXT(it) => Record::Txt(it.txt_data.concat()),
        RData::SOA(it) => Record::Soa { minimum_s: it.minimum },
        RData::CAA(it) => Record::Caa(Property {
            critical: it.issuer_critical,
            tag: it.tag.to_ascii_lowercase(),
            value: String::from_utf8_lossy(&it.value).into_owned(),
        }),
        _ => return None,
    })
}
