//! What came of orders, for figures.

use std::sync::atomic::Ordering;

use super::Acme;

/// What came of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A certificate came.
    Issued,
    /// An authority gave none.
    Refused,
    /// Nobody was asked, since it showed from here that no certificate would come.
    Foreseen,
    /// Nobody was asked, since all authorities rest.
    Resting,
    /// A person has to set a record first.
    Waiting,
}

impl Outcome {
    pub(super) const ALL: [Self; 5] = [Self::Issued, Self::Refused, Self::Foreseen, Self::Resting, Self::Waiting];

    const fn word(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Refused => "refused",
            Self::Foreseen => "foreseen",
            Self::Resting => "resting",
            Self::Waiting => "waiting",
        }
    }
}

impl Acme {
    /// What came of orders in this process: a word, and how often.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Outcome::ALL.iter().zip(&self.outcomes).map(|(of, count)| (of.word(), count.load(Ordering::Relaxed)))
    }

    pub(super) fn count(&self, outcome: Outcome) {
        if let Some((_, count)) = Outcome::ALL.iter().zip(&self.outcomes).find(|it| *it.0 == outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
