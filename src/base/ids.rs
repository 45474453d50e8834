//! Ids: UUIDv7 (RFC 9562 §5.7), 16 bytes in stores, 32 hex digits outside.
//!
//! Made from a [`Clock`] and a monotonic counter: ids of one process never repeat and never go back,
//! also when the clock does.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use super::{clock::Clock, random};

/// A UUIDv7. Ordered by time of making.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 16]);

/// Text that is not 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl Id {
    /// The id with all bits zero: a marker that no generator makes.
    pub const NIL: Self = Self([0; 16]);

    /// The id with all bits one, after every id that a generator makes: where a list from the newest begins.
    pub const LAST: Self = Self([0xff; 16]);

    /// From the 16 bytes of a store.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes for a store.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id that belongs to a moment and a hash: for things that must have the same id however often they are made.
    pub fn derived(ms: i64, hash: [u8; 32]) -> Self {
        let time = u64::try_from(ms).unwrap_or(0).to_be_bytes().into_iter().skip(2);
        let mut out = [0; 16];
        out.iter_mut().zip(time.chain(hash)).for_each(|(to, from)| *to = from);
        mark(out)
    }

    /// What comes before all ids of this millisecond and later, and after all of earlier ones. Before 1970 it is [`Id::NIL`].
    pub fn before(ms: i64) -> Self {
        let time = u64::try_from(ms).unwrap_or(0).to_be_bytes().into_iter().skip(2);
        let mut out = [0; 16];
        out.iter_mut().zip(time).for_each(|(to, from)| *to = from);
        Self(out)
    }

    /// Milliseconds since 1970 that the id was made with.
    pub fn millis(&self) -> i64 {
        let mut bytes = [0_u8; 8];
        bytes.iter_mut().skip(2).zip(self.0).for_each(|(to, from)| *to = from);
        i64::from_be_bytes(bytes)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| NotAnId)?;
        bytes.try_into().map(Self).map_err(|_| NotAnId)
    }
}

impl serde::Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id has 32 lower-case hex digits")
    }
}

impl std::error::Error for NotAnId {}

/// Makes ids. Cheap to clone; clones share the counter.
#[derive(Clone, Debug)]
pub struct Ids {
    clock: Clock,
    last: Arc<Mutex<(u64, u16)>>,
}

impl Ids {
    /// A maker that takes its time from `clock`.
    pub fn new(clock: Clock) -> Self {
        Self { clock, last: Arc::new(Mutex::new((0, 0))) }
    }

    /// The next id, greater than every id that this maker made before.
    pub fn next(&self) -> Id {
        let now = u64::try_from(self.clock.now_ms()).unwrap_or(0);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // 12 bits of counter a millisecond; when they are used up, the time part runs ahead.
        *last = match *last {
            (ms, _) if now > ms => (now, 0),
            (ms, count) if count < 0x0fff => (ms, count + 1),
            (ms, _) => (ms + 1, 0),
        };
        let (ms, count) = *last;
        drop(last);
        let mut out: [u8; 16] = random::bytes();
        let time = ms.to_be_bytes().into_iter().skip(2);
        let [high, low] = count.to_be_bytes();
        out.iter_mut().zip(time.chain([0x70 | high, low])).for_each(|(to, from)| *to = from);
        mark(out)
    }
}

/// Sets version 7 and the variant of RFC 9562.
fn mark(mut bytes: [u8; 16]) -> Id {
    if let Some(version) = bytes.get_mut(6) {
        *version = 0x70 | (*version & 0x0f);
    }
    if let Some(variant) = bytes.get_mut(8) {
        *variant = 0x80 | (*variant & 0x3f);
    }
    Id(bytes)
}

/// Declares a distinct id type over [`Id`], so that a site's id is never taken for a user's.
#[macro_export]
macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub struct $name(pub $crate::base::ids::Id);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::base::ids::NotAnId;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<$crate::base::ids::Id> for $name {
            fn from(id: $crate::base::ids::Id) -> Self {
                Self(id)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_also_when_the_clock_goes_back() {
        let (clock, hands) = Clock::manual(1_700_000_000_000);
        let ids = Ids::new(clock);
        let mut before = ids.next();
        for round in 0..10_000 {
            if round % 100 == 0 {
                hands.advance(-7);
            }
            let next = ids.next();
            assert!(before < next, "{before} {next}");
            before = next;
        }
        assert_eq!(before.as_bytes()[6] >> 4, 7);
        assert_eq!(before.as_bytes()[8] >> 6, 2);
    }

    #[test]
    fn derived_ids_are_the_same_for_the_same_and_sort_by_time() {
        let id = Id::derived(1_790_000_000_123, [0xff; 32]);
        assert_eq!(id, Id::derived(1_790_000_000_123, [0xff; 32]));
        assert_eq!((id.millis(), id.as_bytes()[6] >> 4, id.as_bytes()[8] >> 6), (1_790_000_000_123, 7, 2));
        assert!(id < Id::derived(1_790_000_000_124, [0; 32]));
        assert!(
            id < Id::before(1_790_000_000_124)
                && Id::before(1_790_000_000_124) < Id::derived(1_790_000_000_124, [0; 32])
        );
        assert!(Id::before(0) == Id::NIL && Id::before(i64::MIN) == Id::NIL);
        assert_ne!(id, Id::derived(1_790_000_000_123, [0xfe; 32]));
    }

    #[test]
    fn text_form_is_32_lower_case_digits() {
        let id = Ids::new(Clock::system()).next();
        let text = id.to_string();
        assert_eq!(text.len(), 32);
        assert_eq!(text.parse::<Id>(), Ok(id));
        assert!(text.to_uppercase().parse::<Id>().is_err() || text.to_uppercase() == text);
        assert_eq!("".parse::<Id>(), Err(NotAnId));
        assert_eq!("zz".parse::<Id>(), Err(NotAnId));
    }
}
