//! The most frequent labels of a stream in bounded memory: "space saving" (Metwally et al. 2005).
//!
//! Each label that is kept has what was counted, and how much of that may belong to labels that went before it. A label that makes up
//! more than one in [`CAPACITY`] is always there. What is told of a label is what it has had for certain, so that a client with a
//! million paths shows as ones, and pushes nothing out that people really look at.

use std::collections::HashMap;

/// Labels that are counted at once.
pub const CAPACITY: usize = 256;

/// Which list a label is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Paths of pages that were looked at.
    Page,
    /// Hosts that led people here.
    Referrer,
    /// Paths that were asked for and are not there (404).
    Missing,
    /// Countries that people looked at pages from, by their codes, where a database says them.
    Country,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Page, Self::Referrer, Self::Missing, Self::Country];

    /// The stored word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Referrer => "referrer",
            Self::Missing => "missing",
            Self::Country => "country",
        }
    }
}

/// What a label has had.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    counted: u64,
    /// As much of it may be of others.
    unsure: u64,
}

/// The most frequent labels of one list.
#[derive(Clone, Debug, Default)]
pub struct Tops(HashMap<Box<str>, Share>);

impl Tops {
    /// How many labels are kept.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts a label. `may_grow`: whether a place may be made for one that is new; else it takes that of the least frequent.
    pub fn count(&mut self, label: Box<str>, times: u64, may_grow: bool) {
        if let Some(share) = self.0.get_mut(&label) {
            share.counted = share.counted.saturating_add(times);
            return;
        }
        if self.0.len() < CAPACITY && may_grow {
            self.0.insert(label, Share { counted: times, unsure: 0 });
            return;
        }
        let least = self.0.iter().min_by_key(|(_, share)| share.counted).map(|(label, share)| (label.clone(), *share));
        if let Some((least, share)) = least {
            self.0.remove(&least);
            let counted = share.counted.saturating_add(times);
            self.0.insert(label, Share { counted, unsure: share.counted });
        }
    }

    /// What each label has had for certain, the most frequent first.
    pub fn certain(self) -> Vec<(String, u64)> {
        let shares = self.0.into_iter().map(|(label, it)| (String::from(label), it.counted.saturating_sub(it.unsure)));
        let mut list: Vec<(String, u64)> = shares.collect();
        sort(&mut list);
        list
    }
}

/// A label of a stored list, what was counted of it, and how much of that may be of others.
pub type Kept = (String, u64, u64);

/// Adds counts to a stored list of at most `most` labels. A label that is new to a full list may have been in it before, and have had as
/// much as the least of those that are there: so it comes in where they are, and what is new stays, also when all others have much.
pub fn add(list: Vec<Kept>, more: Vec<(String, u64)>, most: usize) -> Vec<Kept> {
    let least = if list.len() < most { 0 } else { list.iter().map(|it| it.1).min().unwrap_or(0) };
    let mut shares: HashMap<String, Share> =
        list.into_iter().map(|(label, counted, unsure)| (label, Share { counted, unsure })).collect();
    for (label, times) in more {
        let share = shares.entry(label).or_insert(Share { counted: least, unsure: least });
        share.counted = share.counted.saturating_add(times);
    }
    let mut list: Vec<Kept> = shares.into_iter().map(|(label, it)| (label, it.counted, it.unsure)).collect();
    // Of two that are counted alike, the one of which more is certain stays.
    list.sort_unstable_by(|one, other| {
        other.1.cmp(&one.1).then_with(|| one.2.cmp(&other.2)).then_with(|| one.0.cmp(&other.0))
    });
    list.truncate(most);
    list
}

/// What each label of a stored list has had for certain.
pub fn certain(list: Vec<Kept>) -> Vec<(String, u64)> {
    list.into_iter().map(|(label, counted, unsure)| (label, counted.saturating_sub(unsure))).collect()
}

/// The most frequent first; the same order for the same counts.
fn sort(list: &mut [(String, u64)]) {
    list.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
}

/// Adds up lists, and keeps the `most` most frequent labels.
pub fn join(lists: impl IntoIterator<Item = Vec<(String, u64)>>, most: usize) -> Vec<(String, u64)> {
    let mut sums: HashMap<String, u64> = HashMap::new();
    for (label, count) in lists.into_iter().flatten() {
        let sum = sums.entry(label).or_default();
        *sum = sum.saturating_add(count);
    }
    let mut list: Vec<(String, u64)> = sums.into_iter().collect();
    sort(&mut list);
    list.truncate(most);
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_labels_are_counted_exactly() {
        let mut tops = Tops::default();
        for (label, many) in [("/", 5), ("/b", 2), ("/a", 2)] {
            (0..many).for_each(|_| tops.count(label.into(), 1, true));
        }
        let wanted = [("/", 5), ("/a", 2), ("/b", 2)].map(|(label, many)| (label.to_owned(), many));
        assert_eq!(tops.certain(), wanted);
    }

    #[test]
    fn a_hostile_client_grows_nothing_and_hides_nothing() {
        let mut tops = Tops::default();
        for n in 0..100_000_u32 {
            tops.count(format!("/{n}").into(), 1, true);
            // One in a hundred, and one in fifty.
            if n % 100 == 0 {
                tops.count("/news".into(), 1, true);
            }
            if n % 50 == 0 {
                tops.count("/".into(), 1, true);
            }
        }
        assert_eq!(tops.len(), CAPACITY);
        let list = tops.certain();
        assert_eq!((list[0].0.as_str(), list[1].0.as_str()), ("/", "/news"));
        assert!(list[0].1 > 1_500 && list[0].1 <= 2_000, "{:?}", list[0]);
        assert!(list[1].1 > 600 && list[1].1 <= 1_000, "{:?}", list[1]);
        assert!(list[2].1 <= 2, "what came once is told as once: {:?}", list[2]);
    }

    #[test]
    fn without_room_a_new_label_takes_the_place_of_another() {
        let mut tops = Tops::default();
        tops.count("/a".into(), 1, false);
        assert!(tops.is_empty(), "there is no place to take");
        tops.count("/a".into(), 1, true);
        tops.count("/b".into(), 1, false);
        assert_eq!(tops.certain(), [(String::from("/b"), 1)]);
    }

    #[test]
    fn what_is_new_comes_into_a_full_list_and_stays() {
        let old = |n: usize| (format!("/{n}"), 1_000);
        let mut list = add(Vec::new(), (0..20).map(old).collect(), 20);
        for round in 0..50 {
            let others = (0..3).map(|it| (format!("/{}", (round * 3 + it) % 20), 1));
            list = add(list, others.chain([(String::from("/post"), 1)]).collect(), 20);
        }
        assert_eq!(list.len(), 20);
        let told = certain(list);
        let post = told.iter().find(|it| it.0 == "/post").unwrap();
        assert_eq!(post.1, 50, "nothing of it was forgotten");
        let most = told.iter().filter(|it| it.1 >= 1_000 && it.1 <= 1_050).count();
        assert!(most >= 15, "those that were there are: {told:?}");
    }

    #[test]
    fn made_up_labels_push_nothing_out_of_a_stored_list_and_are_told_as_little() {
        let mut list = Vec::new();
        for round in 0..200 {
            let made_up = (0..CAPACITY).map(|it| (format!("/{round}-{it}"), 1));
            list = add(list, made_up.chain([(String::from("/"), 10)]).collect(), 128);
        }
        let mut told = certain(list);
        sort(&mut told);
        assert_eq!((told.len(), &told[0]), (128, &(String::from("/"), 2_000)));
        assert_eq!(told[1].1, 1);
    }

    #[test]
    fn lists_add_up() {
        let list = |pairs: &[(&str, u64)]| pairs.iter().map(|it| (it.0.to_owned(), it.1)).collect::<Vec<_>>();
        let joined = join([list(&[("/a", 3), ("/b", 1)]), list(&[("/b", 4), ("/c", 1)])], 2);
        assert_eq!(joined, list(&[("/b", 5), ("/a", 3)]));
    }
}
