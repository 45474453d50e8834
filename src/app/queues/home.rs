//! Which Redis has the jobs of an installation, as its database says, and which one a node may start with.
//!
//! INVARIANT: nodes work on one Redis. A Redis is known by a word that is kept in it and not by its address: the same queues may be
//! reached under another name, by Sentinels or in a copy, and under one name there may be others. A start on one that is neither the
//! one with the jobs nor the one to which `chainhost move` leads them is refused before anything is changed.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    base::{ids::Id, random, secret::Secret},
    config::redis::place_of,
    domain::{Error, Kind, Result},
    ports::db::{Db, ReadTx, WriteTx},
    store::settings,
};

use super::{super::moving, Who, clear, look};

/// What the mark of a Redis that was left says once that has forgotten what it had then.
const CLEARED: &str = "cleared";
/// The mark while a process lets it forget or brings it jobs, followed by a word that it changes as long as it lives, and by who.
const CLEARING: &str = "clearing ";
/// How often it changes it.
const BEAT: Duration = Duration::from_secs(5);
/// Who sees the same word for so long takes the other for dead.
const SILENT_MAX: Duration = Duration::from_secs(30);
/// How long dead jobs of a Redis that was left are brought by a node that starts late: half of the time for which a queue knows ids.
const LATE_MAX_MS: i64 = 12 * 3_600_000;
/// Until another process is asked again whether it has come to its end.
const WAIT: Duration = Duration::from_millis(200);

/// What the database says of where the jobs are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::app) struct Home {
    /// Host, port and number of the Redis that has them; `None`: they are in data folders.
    pub(in crate::app) at: Option<String>,
    /// Its word; `None` until a program that knows of words has started on it.
    pub(in crate::app) place: Option<String>,
    /// The word of the Redis to which a move leads them.
    pub(in crate::app) next: Option<String>,
}

impl Home {
    fn read(tx: &mut ReadTx<'_>) -> Result<Self> {
        Ok(Self {
            at: settings::find(tx, settings::QUEUE)?,
            place: settings::find(tx, settings::QUEUE_PLACE)?,
            next: settings::find(tx, settings::QUEUE_NEXT)?,
        })
    }

    /// Whether the Redis at `url`, which has this word, has the jobs. One that has lost all has lost its word, too.
    pub(in crate::app) fn is(&self, url: &Secret, place: Option<&str>) -> bool {
        match (place, &self.place) {
            (Some(place), Some(ours)) => place == ours,
            _ => self.at.as_ref() == Some(&name(url)),
        }
    }
}

/// What the database says.
pub(in crate::app) async fn read(db: &Db) -> Result<Home> {
    db.read(Home::read).await
}

/// A Redis that somebody looked at.
#[derive(Debug)]
enum Seen {
    /// It has this word, or none.
    There(Option<String>),
    Away(Error),
}

/// What a start may do with a Redis.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Work with it: it has the jobs, or nobody has. Its word, if that is known.
    Here(Option<String>),
    /// End the move to it.
    Next(String),
}

/// Judges a start on the Redis that is called `at`.
fn judge(home: &Home, at: &str, seen: &Seen) -> Result<Verdict> {
    let Some(known) = &home.at else {
        // What it had before decides what is done with it, so that it must be seen once.
        return match seen {
            Seen::There(place) => Ok(Verdict::Here(place.clone())),
            Seen::Away(error) => Err(error.clone()),
        };
    };
    let same = known == at;
    match (seen, &home.place) {
        (Seen::There(Some(place)), _) if Some(place) == home.next.as_ref() => Ok(Verdict::Next(place.clone())),
        (Seen::There(Some(place)), Some(ours)) if place == ours => Ok(Verdict::Here(Some(place.clone()))),
        (Seen::There(Some(place)), None) if same => Ok(Verdict::Here(Some(place.clone()))),
        // It is away, or has lost all; the engine looks at its word whenever it has connected.
        (Seen::There(None) | Seen::Away(_), ours) if same => Ok(Verdict::Here(ours.clone())),
        (Seen::Away(error), _) => Err(unsure(known, at).because(error)),
        (Seen::There(_), _) => Err(other(known, at)),
    }
}

fn other(known: &str, at: &str) -> Error {
    let text = format!(
        "The settings name the Redis at {at} for the queue, while the jobs of this server are in the one at {known}. Sites go on answering; \
         nothing was changed. Name that one in `queue_url` of [redis] or CHAINHOST_REDIS_QUEUE_URL, and restart. To move the jobs, name \
         it and run `chainhost move --redis` with the URL of the new one. If it is gone for good, name the new one and run the same \
         command: jobs that had not ended then come from the database, and those that had failed are lost."
    );
    Error::unavailable("queue_other", text)
}

fn unsure(known: &str, at: &str) -> Error {
    let text = format!(
        "The Redis at {at} does not answer, so that nobody can tell whether it has the jobs of this server, which were in the one at \
         {known}. Sites go on answering; nothing can be changed until it answers."
    );
    Error::unavailable("queue_unreachable", text)
}

/// What a start is to do.
enum Entry {
    Here(String),
    Bring(Home, String),
    /// For the one with this mark.
    Wait(String),
}

/// The mark of another process, and since when it has not changed: no clocks are compared.
#[derive(Default)]
struct Other(Option<(String, Instant)>);

impl Other {
    /// Waits a little for the one with this mark.
    async fn wait(&mut self, mark: String) {
        self.see(mark, Instant::now());
        tokio::time::sleep(WAIT).await;
    }

    fn see(&mut self, mark: String, now: Instant) {
        if self.0.as_ref().is_none_or(|it| it.0 != mark) {
            self.0 = Some((mark, now));
        }
    }

    /// The mark of one who is dead.
    fn dead(&self, now: Instant) -> Option<String> {
        self.0.as_ref().filter(|it| now.duration_since(it.1) >= SILENT_MAX).map(|it| it.0.clone())
    }
}

/// Does what is marked as this process's, and says meanwhile that it lives.
async fn alive<T>(db: &Db, mark: &str, holder: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let beat = async {
        loop {
            tokio::time::sleep(BEAT).await;
            let (mark, holder) = (mark.to_owned(), holder.to_owned());
            let beat = move |tx: &mut WriteTx<'_>| {
                check_own(tx, &mark, &holder)?;
                settings::set(tx, &mark, &clearing(&holder))
            };
            match db.write(beat).await {
                Err(error) if error.kind != Kind::Unavailable => return error,
                _ => {}
            }
        }
    };
    tokio::select! {
        done = work => done,
        error = beat => Err(error),
    }
}

/// Refuses to go on where another has taken this one for dead, and begun.
fn check_own(tx: &mut WriteTx<'_>, mark: &str, holder: &str) -> Result<()> {
    let is_own = settings::find(tx, mark)?.and_then(|it| by(&it).map(|by| by == holder)).unwrap_or(false);
    if is_own {
        return Ok(());
    }
    let text = "Another node brings the jobs to the Redis of the queue, since this one was silent for too long. It is tried again in a moment.";
    Err(Error::unavailable("queue_taken", text))
}

/// Sees that this node may work with the Redis at `url`, notes that it has the jobs, and ends a move to it. Its word.
///
/// Errors: `queue_other`, `queue_foreign`, those of a Redis that holds no queue, and `queue_unreachable` where it must be seen.
pub(super) async fn enter(data: &Path, db: &Db, url: &Arc<Secret>, who: &Who) -> Result<String> {
    let at = name(url);
    let seen = match look(url, who.instance).await {
        Ok(place) => Seen::There(place),
        Err(error) if error.kind == Kind::Unavailable && may_pass(&error) => Seen::Away(error),
        Err(error) => return Err(error),
    };
    let home = read(db).await?;
    if let Verdict::Here(Some(place)) = judge(&home, &at, &seen)?
        && (home.at.as_ref(), home.place.as_ref()) == (Some(&at), Some(&place))
    {
        late(data, db, url, who, &home).await?;
        return Ok(place);
    }
    let mut other = Other::default();
    let (seen, at, holder) = (Arc::new(seen), Arc::new(at), who.node.to_string());
    loop {
        let (seen, to, by, dead) = (Arc::clone(&seen), Arc::clone(&at), holder.clone(), other.dead(Instant::now()));
        match db.write(move |tx| decide(tx, &to, &seen, &by, dead.as_deref())).await? {
            Entry::Here(place) => {
                late(data, db, url, who, &home).await?;
                return Ok(place);
            }
            Entry::Wait(mark) => other.wait(mark).await,
            Entry::Bring(home, next) => {
                let bring = moving::jobs::bring(data, db, url, &home, who);
                alive(db, &left(&next), &holder, bring).await?;
                let (to, place, by) = (Arc::clone(&at), next.clone(), holder.clone());
                let end = move |tx: &mut WriteTx<'_>| {
                    check_own(tx, &left(&place), &by)?;
                    switch(tx, &home, &to, &place)
                };
                db.write(end).await?;
                moving::jobs::forget_before(data)?;
                return Ok(next);
            }
        }
    }
}

/// For a start on the Redis that has the jobs: what a move to it has left undone. Not while a move leads away from it.
async fn late(data: &Path, db: &Db, url: &Arc<Secret>, who: &Who, home: &Home) -> Result<()> {
    if home.next.is_some() {
        return Ok(());
    }
    moving::jobs::bring_late(data, db, url, who).await;
    moving::jobs::forget_before(data)
}

/// Whether an error of a Redis ends by itself.
fn may_pass(error: &Error) -> bool {
    ["queue_unreachable", "queue_full", "queue_disk", "queue_replicas"].contains(&error.code)
}

/// `dead`: the mark of one who was taken for dead.
fn decide(tx: &mut WriteTx<'_>, at: &str, seen: &Seen, holder: &str, dead: Option<&str>) -> Result<Entry> {
    let home = Home::read(tx)?;
    match judge(&home, at, seen)? {
        Verdict::Here(place) => {
            let place = place.unwrap_or_else(word);
            settings::set(tx, settings::QUEUE, at)?;
            settings::set(tx, settings::QUEUE_PLACE, &place)?;
            if home.at.is_none() {
                settings::remove(tx, settings::QUEUE_NEXT)?;
            }
            Ok(Entry::Here(place))
        }
        Verdict::Next(next) => {
            let mark = left(&next);
            if let Some(word) = settings::find(tx, &mark)?
                && is_another(&word, holder, dead)
            {
                return Ok(Entry::Wait(word));
            }
            settings::set(tx, &mark, &clearing(holder))?;
            Ok(Entry::Bring(home, next))
        }
    }
}

/// The end of a move: the Redis called `at` has the jobs, and the one before has them no more.
fn switch(tx: &mut WriteTx<'_>, home: &Home, at: &str, place: &str) -> Result<()> {
    if let Some(before) = &home.place {
        settings::set(tx, &left(before), "")?;
    }
    settings::set(tx, settings::QUEUE, at)?;
    settings::set(tx, settings::QUEUE_PLACE, place)?;
    settings::remove(tx, settings::QUEUE_NEXT)?;
    settings::remove(tx, &left(place))
}

/// A word for queues that have none.
pub(in crate::app) fn word() -> String {
    Id::from_bytes(random::bytes()).to_string()
}

/// The Redis at `url` has the jobs, after all.
pub(in crate::app) async fn note(db: &Db, url: &Secret, place: String) -> Result<()> {
    let at = name(url);
    let note = move |tx: &mut WriteTx<'_>| {
        settings::set(tx, settings::QUEUE, &at)?;
        settings::set(tx, settings::QUEUE_PLACE, &place)?;
        settings::remove(tx, &left(&place))
    };
    db.write(note).await
}

/// The next start may be on the Redis with the word `next`, or on none but the one that has the jobs.
pub(in crate::app) async fn lead_to(db: &Db, next: Option<String>) -> Result<()> {
    let lead = move |tx: &mut WriteTx<'_>| match &next {
        Some(next) => settings::set(tx, settings::QUEUE_NEXT, next),
        None => settings::remove(tx, settings::QUEUE_NEXT),
    };
    db.write(lead).await
}

/// No Redis has jobs of this installation that are still needed.
pub(in crate::app) async fn forget(db: &Db) -> Result<()> {
    let forget = |tx: &mut WriteTx<'_>| {
        if let Some(before) = settings::find(tx, settings::QUEUE_PLACE)? {
            settings::set(tx, &left(&before), "")?;
        }
        [settings::QUEUE, settings::QUEUE_PLACE, settings::QUEUE_NEXT]
            .iter()
            .try_for_each(|it| settings::remove(tx, it))
    };
    db.write(forget).await
}

/// Whether the Redis with this word was left, and no server has started elsewhere since.
pub(in crate::app) async fn is_just_left(db: &Db, place: &str) -> Result<bool> {
    let mark = left(place);
    Ok(db.read(move |tx| settings::find(tx, &mark)).await?.is_some_and(|it| it.is_empty()))
}

/// Whether a Redis, which may have a word, is one that was just left: what it has is what has come from it.
pub(super) async fn was_left(db: &Db, place: Option<&str>) -> Result<bool> {
    match place {
        Some(place) => is_just_left(db, place).await,
        None => Ok(false),
    }
}

/// Whether the Redis with this word was left so short a time ago that the one with the jobs still knows all that have ended in it since.
pub(in crate::app) async fn is_left_lately(db: &Db, place: &str, now_ms: i64) -> Result<bool> {
    let mark = left(place);
    Ok(db.read(move |tx| settings::find(tx, &mark)).await?.is_some_and(|it| is_late(&it, now_ms)))
}

/// Whether a mark says that a server has started elsewhere just now, or in the last hours.
fn is_late(mark: &str, now_ms: i64) -> bool {
    mark.is_empty() || mark.parse::<i64>().is_ok_and(|it| now_ms.saturating_sub(it).abs() < LATE_MAX_MS)
}

/// A Redis for people and in the database: without user and password.
pub(in crate::app) fn name(url: &Secret) -> String {
    place_of(url.expose())
}

fn left(place: &str) -> String {
    format!("{}{place}", settings::QUEUE_LEFT)
}

/// A new mark of somebody who is at work.
fn clearing(holder: &str) -> String {
    format!("{CLEARING}{} {holder}", word())
}

/// Who is at work, as a mark says.
fn by(mark: &str) -> Option<&str> {
    mark.strip_prefix(CLEARING)?.split_once(' ').map(|it| it.1)
}

/// Whether a mark says that another than `holder` is at work, who is not `dead`. The same one has died there, and begins again.
fn is_another(mark: &str, holder: &str, dead: Option<&str>) -> bool {
    by(mark).is_some_and(|it| it != holder) && dead != Some(mark)
}

/// Each Redis that was left, but for the one with the word `here`, is one that this installation works without from this start on.
pub(super) async fn leave_others(db: &Db, here: Option<&str>, now_ms: i64) -> Result<()> {
    let all = db.read(|tx| settings::list(tx, settings::QUEUE_LEFT)).await?;
    let here = here.map(left);
    let open: Vec<String> =
        all.into_iter().filter(|it| it.1.is_empty() && Some(&it.0) != here.as_ref()).map(|it| it.0).collect();
    if open.is_empty() {
        return Ok(());
    }
    db.write(move |tx| open.iter().try_for_each(|it| settings::set(tx, it, &now_ms.to_string()))).await
}

/// What is to be done with a Redis that was left.
enum Return {
    Nothing,
    Clear,
    /// For the one with this mark.
    Wait(String),
}

/// Lets the Redis at `url` forget the jobs that it had when it was left, if it was: they have ended elsewhere since, were started again
/// there or are in the outbox. One process does it, and all others wait for its end.
/// `begins`: a server works with it from now on. Otherwise jobs are brought there first, and it forgets all that it has.
pub(in crate::app) async fn come_back(db: &Db, url: &Arc<Secret>, place: &str, who: &Who, begins: bool) -> Result<()> {
    let mark = left(place);
    // A move may be at work beside the server of the same node.
    let holder = if begins { who.node.to_string() } else { format!("move-{}", who.node) };
    let mut other = Other::default();
    loop {
        let (key, by, dead) = (mark.clone(), holder.clone(), other.dead(Instant::now()));
        match db.write(move |tx| turn_back(tx, &key, &by, dead.as_deref(), begins)).await? {
            Return::Nothing => return Ok(()),
            Return::Wait(mark) => other.wait(mark).await,
            Return::Clear => {
                let forgotten = alive(db, &mark, &holder, clear(url, who)).await?;
                tracing::info!(forgotten, "a Redis that the queue had left has forgotten the jobs of then");
                let (key, by) = (mark.clone(), holder.clone());
                let end = move |tx: &mut WriteTx<'_>| {
                    check_own(tx, &key, &by)?;
                    if begins { settings::remove(tx, &key) } else { settings::set(tx, &key, CLEARED) }
                };
                return db.write(end).await;
            }
        }
    }
}

/// Lets the Redis to which a move leads forget what that has brought, so that all is brought anew. For who alone ends the move.
pub(in crate::app) async fn forget_all(url: &Arc<Secret>, who: &Who) -> Result<()> {
    clear(url, who).await.map(drop)
}

fn turn_back(tx: &mut WriteTx<'_>, mark: &str, holder: &str, dead: Option<&str>, begins: bool) -> Result<Return> {
    let word = settings::find(tx, mark)?;
    match word.as_deref() {
        Some(word) if is_another(word, holder, dead) => return Ok(Return::Wait(word.to_owned())),
        None if begins => return Ok(Return::Nothing),
        // It was never left in the end, or nothing has come to it since it forgot but what a move has brought.
        Some("" | CLEARED) if begins => {
            settings::remove(tx, mark)?;
            return Ok(Return::Nothing);
        }
        _ => {}
    }
    settings::set(tx, mark, &clearing(holder))?;
    Ok(Return::Clear)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the database says, the name that the settings give, what is found there, and what comes of it.
    #[test]
    fn a_start_is_judged_by_what_is_in_the_redis() {
        let home = |place: Option<&str>, next: Option<&str>| Home {
            at: Some(String::from("old:1")),
            place: place.map(String::from),
            next: next.map(String::from),
        };
        let there = |place: Option<&str>| Seen::There(place.map(String::from));
        let away = || Seen::Away(Error::unavailable("queue_unreachable", "It is away."));
        let here = |place: Option<&str>| Ok(Verdict::Here(place.map(String::from)));
        let (first, plain, moved) = (Home::default(), home(Some("w"), None), home(Some("w"), Some("n")));
        let old = home(None, None);
        let cases = [
            (&first, "new:1", there(None), here(None)),
            (&first, "new:1", there(Some("x")), here(Some("x"))),
            (&first, "new:1", away(), Err("queue_unreachable")),
            (&plain, "old:1", there(Some("w")), here(Some("w"))),
            (&plain, "old:1", there(None), here(Some("w"))),
            (&plain, "old:1", away(), here(Some("w"))),
            (&plain, "old:1", there(Some("x")), Err("queue_other")),
            (&plain, "new:1", there(Some("w")), here(Some("w"))),
            (&plain, "new:1", there(None), Err("queue_other")),
            (&plain, "new:1", there(Some("x")), Err("queue_other")),
            (&plain, "new:1", away(), Err("queue_unreachable")),
            (&moved, "old:1", there(Some("w")), here(Some("w"))),
            (&moved, "new:1", there(Some("w")), here(Some("w"))),
            (&moved, "new:1", there(Some("n")), Ok(Verdict::Next(String::from("n")))),
            (&moved, "old:1", there(Some("n")), Ok(Verdict::Next(String::from("n")))),
            (&moved, "new:1", there(None), Err("queue_other")),
            (&moved, "new:1", away(), Err("queue_unreachable")),
            (&old, "old:1", there(None), here(None)),
            (&old, "old:1", there(Some("x")), here(Some("x"))),
            (&old, "old:1", away(), here(None)),
            (&old, "new:1", there(None), Err("queue_other")),
        ];
        for (home, at, seen, wanted) in cases {
            let got = judge(home, at, &seen).map_err(|it| it.code);
            assert_eq!(got, wanted, "{home:?} {at} {seen:?}");
        }
    }

    #[test]
    fn who_died_while_a_redis_forgot_begins_again_and_others_wait() {
        let mark = clearing("one");
        assert!(is_another(&mark, "other", None) && !is_another(&mark, "one", None));
        // Once it has changed it is of one who lives.
        assert!(!is_another(&mark, "other", Some(&mark)) && is_another(&clearing("one"), "other", Some(&mark)));
        assert!(is_late("", 0) && is_late("1000", LATE_MAX_MS) && !is_late("1000", 1_000 + LATE_MAX_MS));
        assert!(!is_late(&mark, 1_000) && !is_late(CLEARED, 0));
        assert!(["", CLEARED, "17"].iter().all(|it| !is_another(it, "one", None)));
    }

    #[test]
    fn who_says_nothing_for_long_is_dead() {
        let (mut other, start) = (Other::default(), Instant::now());
        let mut after = |seconds, mark: &str| {
            let now = start + Duration::from_secs(seconds);
            other.see(mark.to_owned(), now);
            other.dead(now)
        };
        assert_eq!((after(0, "a"), after(29, "a")), (None, None));
        assert_eq!((after(30, "b"), after(59, "b")), (None, None), "it has changed");
        assert_eq!(after(60, "b").as_deref(), Some("b"));
        assert_eq!(after(61, "c"), None);
    }
}
