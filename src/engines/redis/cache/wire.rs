//! What stands in Redis: keys, values, messages.
//!
//! All keys of a tenant have one tag, so that a cluster spreads tenants and keeps each on one node. A key has the installation in it, since
//! several may share a Redis; what a drop makes worthless also has the run of the Redis in it, and a value the version of the program,
//! since another one may write it otherwise.

use redis::{Cmd, Value, cmd};

use crate::{
    base::{hash::Sha256, ids::Id, random},
    domain::tenant::TenantId,
    ports::{
        cache::{Key, Shared, Stamp, Tag},
        counts::Taken,
    },
};
use std::time::Duration;

use super::TTL_MAX;

/// The tag of what is on one node for all.
pub(super) const COMMON: &str = "chainhost";
/// Characters of a generation.
const WORD: usize = 24;
/// A longer `which` stands in its key as a hash.
const WHICH_BYTES_MAX: usize = 128;
/// What is said twice a second, so that who listens knows that the line holds.
const BEAT: &str = "beat";

/// Counts one use, unless there were enough: 0 when it was counted, else the milliseconds until the window ends.
const TAKE: &str = "
local used = tonumber(redis.call('GET', KEYS[1]) or '0')
if used >= tonumber(ARGV[1]) then
  local left = redis.call('PTTL', KEYS[1])
  if left >= 0 then return math.max(left, 1) end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(ARGV[2])
end
if redis.call('INCR', KEYS[1]) == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0";

/// How things of this installation and this process are called.
pub(super) struct Names {
    instance: Id,
    node: Id,
}

/// One question or order, whose keys are all in one slot.
pub(super) enum Ask<'a> {
    /// The generation of a tag; it gets one where it has none.
    Generation(&'a Tag),
    /// A value and the rest of its time.
    Value(&'a Key),
    Keep {
        key: &'a Key,
        stamp: &'a Stamp,
        bytes: &'a [u8],
        ttl: Duration,
    },
    /// A new generation for a tag.
    Drop(&'a Tag),
    /// Tells all processes that tags were dropped; with none, that the line holds.
    Tell(&'a [Tag]),
    Take {
        key: &'a str,
        max: u32,
        window_ms: i64,
    },
    Forget(&'a str),
}

/// What another process said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// That the line holds, or something of our own.
    Nothing,
    /// It dropped these.
    Dropped(Vec<Tag>),
    /// It dropped something that this version does not know.
    Unknown,
}

impl Ask<'_> {
    /// The tag of its keys.
    pub(super) fn tag(&self) -> String {
        match self {
            Self::Generation(tag) | Self::Drop(tag) => tag_of(tag),
            Self::Value(key) | Self::Keep { key, .. } => tenant_tag(key.tenant),
            Self::Tell(_) => String::from(COMMON),
            Self::Take { key, .. } | Self::Forget(key) => count_tag(key),
        }
    }
}

impl Names {
    pub(super) fn new(instance: Id, node: Id) -> Self {
        Self { instance, node }
    }

    /// The channel on which processes tell one another what they dropped.
    pub(super) fn channel(&self) -> String {
        format!("{{{COMMON}}}:invalidate:{}", self.instance)
    }

    /// The commands of an ask, to a Redis in its run `run`.
    pub(super) fn commands(&self, ask: &Ask<'_>, run: &str) -> Vec<Cmd> {
        match ask {
            Ask::Generation(tag) => {
                let key = self.generation_key(tag, run);
                let mut make = set(&key, word().as_bytes(), TTL_MAX * 2);
                make.arg("NX");
                vec![make, get(&key)]
            }
            Ask::Value(key) => {
                let key = self.value_key(key, run);
                let mut left = cmd("PTTL");
                left.arg(&key);
                vec![get(&key), left]
            }
            Ask::Keep { key, stamp, bytes, ttl } => {
                vec![set(&self.value_key(key, run), &[&stamp.0, *bytes].concat(), *ttl)]
            }
            // It outlives all values of the generation before.
            Ask::Drop(tag) => vec![set(&self.generation_key(tag, run), word().as_bytes(), TTL_MAX * 2)],
            Ask::Tell(tags) => {
                let mut tell = cmd("PUBLISH");
                tell.arg(self.channel()).arg(self.message(tags));
                vec![tell]
            }
            Ask::Take { key, max, window_ms } => {
                let mut take = cmd("EVAL");
                take.arg(TAKE).arg(1).arg(self.count_key(key)).arg(*max).arg(*window_ms);
                vec![take]
            }
            Ask::Forget(key) => {
                let mut forget = cmd("DEL");
                forget.arg(self.count_key(key));
                vec![forget]
            }
        }
    }

    fn generation_key(&self, tag: &Tag, run: &str) -> String {
        let what = match tag {
            Tag::Sites(_) => "sites",
            Tag::Server => "server",
        };
        format!("{{{}}}:cache:{}:{run}:generation:{what}", tag_of(tag), self.instance)
    }

    fn value_key(&self, key: &Key, run: &str) -> String {
        let (tag, version) = (tenant_tag(key.tenant), env!("CARGO_PKG_VERSION"));
        let hash = || format!("#{}", Sha256::of(key.which.as_bytes()).hex());
        let which = if key.which.len() > WHICH_BYTES_MAX { hash() } else { format!("={}", key.which) };
        format!("{{{tag}}}:cache:{}:{run}:value:{version}:{}{which}", self.instance, key.what)
    }

    /// SECURITY: who reads the Redis does not learn who tries to sign in.
    fn count_key(&self, key: &str) -> String {
        format!("{{{}}}:count:{}", count_tag(key), self.instance)
    }

    fn message(&self, tags: &[Tag]) -> String {
        if tags.is_empty() {
            return format!("{} {BEAT}", self.node);
        }
        let word = |tag: &Tag| match tag {
            Tag::Sites(tenant) => format!("sites:{tenant}"),
            Tag::Server => String::from("server"),
        };
        format!("{} {}", self.node, tags.iter().map(word).collect::<Vec<_>>().join(" "))
    }

    /// Reads a message.
    pub(super) fn read(&self, message: &str) -> Heard {
        let Some((node, words)) = message.split_once(' ') else { return Heard::Unknown };
        if words == BEAT || node.parse() == Ok(self.node) {
            return Heard::Nothing;
        }
        let tag = |word: &str| match word.split_once(':') {
            Some(("sites", tenant)) => tenant.parse::<TenantId>().ok().map(Tag::Sites),
            None if word == "server" => Some(Tag::Server),
            _ => None,
        };
        words.split(' ').map(tag).collect::<Option<Vec<Tag>>>().map_or(Heard::Unknown, Heard::Dropped)
    }
}

/// What the answers to [`Ask::Generation`] and [`Ask::Value`] say together.
pub(super) fn found(generation: Option<Vec<Value>>, value: Option<Vec<Value>>) -> Shared {
    let (Some(generation), Some(value)) = (generation, value) else { return Shared::Away };
    let [_, Value::BulkString(word)] = generation.as_slice() else { return Shared::Away };
    let stamp = Stamp(word.clone());
    let [Value::BulkString(bytes), Value::Int(left_ms)] = value.as_slice() else { return Shared::Nothing(stamp) };
    let left = Duration::from_millis(u64::try_from(*left_ms).unwrap_or(0));
    match bytes.split_at_checked(WORD) {
        Some((of, bytes)) if of == word && !left.is_zero() => Shared::Value { bytes: bytes.to_vec(), left, stamp },
        _ => Shared::Nothing(stamp),
    }
}

/// What the answer to [`Ask::Take`] says.
pub(super) fn taken(answer: Option<Vec<Value>>) -> Option<Taken> {
    match answer?.as_slice() {
        [Value::Int(0)] => Some(Taken::Counted),
        [Value::Int(left_ms)] => Some(Taken::Refused { left_ms: *left_ms }),
        _ => None,
    }
}

fn tenant_tag(tenant: Option<TenantId>) -> String {
    tenant.map_or_else(|| String::from("t:server"), |it| format!("t:{it}"))
}

fn tag_of(tag: &Tag) -> String {
    match tag {
        Tag::Sites(tenant) => tenant_tag(Some(*tenant)),
        Tag::Server => tenant_tag(None),
    }
}

fn count_tag(key: &str) -> String {
    format!("w:{}", Sha256::of(key.as_bytes()).hex())
}

/// A generation that none was before.
fn word() -> String {
    data_encoding::HEXLOWER.encode(&random::bytes::<{ WORD / 2 }>())
}

fn get(key: &str) -> Cmd {
    let mut command = cmd("GET");
    command.arg(key);
    command
}

fn set(key: &str, value: &[u8], ttl: Duration) -> Cmd {
    let mut command = cmd("SET");
    let ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    command.arg(key).arg(value).arg("PX").arg(ms);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> Id {
        Id::from_bytes([number; 16])
    }

    #[test]
    fn messages_are_read_by_the_others_alone() {
        let (mine, theirs) = (Names::new(id(1), id(2)), Names::new(id(1), id(3)));
        let tags = [Tag::Sites(TenantId(id(7))), Tag::Server];
        assert_eq!(mine.read(&theirs.message(&tags)), Heard::Dropped(tags.to_vec()));
        assert_eq!(mine.read(&mine.message(&tags)), Heard::Nothing);
        assert_eq!(mine.read(&theirs.message(&[])), Heard::Nothing);
        for strange in ["", "x", &format!("{} sites:x", id(3)), &format!("{} server routes:9", id(3))] {
            assert_eq!(mine.read(strange), Heard::Unknown, "{strange}");
        }
    }

    #[test]
    fn a_value_is_good_only_in_its_generation() {
        let text = |it: &str| Value::BulkString(it.as_bytes().to_vec());
        let (now, before) = ("a".repeat(WORD), "b".repeat(WORD));
        let stamp = Stamp(now.clone().into_bytes());
        let found = |value: Vec<Value>| found(Some(vec![Value::Okay, text(&now)]), Some(value));
        let good = Shared::Value { bytes: b"17".to_vec(), left: Duration::from_millis(5), stamp: stamp.clone() };
        assert_eq!(found(vec![text(&format!("{now}17")), Value::Int(5)]), good);
        let nothing = Shared::Nothing(stamp);
        assert_eq!(found(vec![text(&format!("{before}17")), Value::Int(5)]), nothing);
        assert_eq!(found(vec![text("short"), Value::Int(5)]), nothing);
        assert_eq!(found(vec![text(&format!("{now}17")), Value::Int(-1)]), nothing, "one that would stay for ever");
        assert_eq!(found(vec![Value::Nil, Value::Int(-2)]), nothing);
        assert_eq!(super::found(None, Some(vec![])), Shared::Away);
    }

    #[test]
    fn no_two_keys_are_the_same_and_all_have_the_tag_of_their_tenant() {
        let names = Names::new(id(1), id(2));
        let tenant = Some(TenantId(id(7)));
        let key = |what, which: &str, tenant| names.value_key(&Key { what, tenant, which: which.to_owned() }, "r");
        let long = "x".repeat(500);
        let keys = [
            key("a", "b", tenant),
            key("a", "b", None),
            key("a", "#b", tenant),
            key("a", &long, tenant),
            key("a", &Sha256::of(long.as_bytes()).hex(), tenant),
            names.generation_key(&Tag::Server, "r"),
        ];
        let distinct: std::collections::HashSet<&String> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert!(keys[0].starts_with(&format!("{{t:{}}}:", id(7))) && keys[3].len() < 300);
    }
}
