//! A file of format 1, as version 0.1.0 wrote it: what stands in it is read, worked on and written anew.
//!
//! `format_1.txt` has all its rows: table, key and value, as hex. When they were written, at [`START_MS`], jobs 1 to 6 of the
//! queue `deploy` had been asked for (odd ones by a tenant) and job 7 of `email` for a minute later; a second after that 1 was
//! done, 2 was given up, 3 was to be tried again after 90 s, 4 was running, 5 was waiting, 6 was cancelled, and the queue
//! `backup` was paused.

use chainhost::{
    base::{clock::Clock, ids::Id},
    domain::{
        job::{JobId, NewJob, Queue, State},
        tenant::TenantId,
    },
    engines::queue_redb::QueueRedb,
    ports::queue::{Finish, Jobs, Outcome},
};
use data_encoding::HEXLOWER;
use redb::{Builder, Key, TableDefinition, Value, WriteTransaction};

use super::FilePlace;

const ROWS: &str = include_str!("format_1.txt");
const START_MS: i64 = 1_790_000_000_000;

fn id(number: u8) -> JobId {
    let mut bytes = [number; 16];
    (bytes[6], bytes[8]) = (0x70, 0x80);
    JobId(Id::from_bytes(bytes))
}

fn put<'r, K: Key + 'static, V: Value + 'static>(
    transaction: &WriteTransaction,
    table: &str,
    key: impl Fn(&'r [u8]) -> K::SelfType<'r>,
    value: impl Fn(&'r [u8]) -> V::SelfType<'r>,
    rows: &'r [(Vec<u8>, Vec<u8>)],
) {
    let mut table = transaction.open_table(TableDefinition::<'_, K, V>::new(table)).unwrap();
    for row in rows {
        table.insert(key(&row.0), value(&row.1)).unwrap();
    }
}

/// Makes the file again from its rows.
fn write(place: &FilePlace) {
    let file = Builder::new().create(place.path()).unwrap();
    let transaction = file.begin_write().unwrap();
    let rows = |table: &str| -> Vec<(Vec<u8>, Vec<u8>)> {
        let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
        let lines = ROWS.lines().map(|it| it.split(' ').collect::<Vec<_>>());
        lines.filter(|it| it[0] == table).map(|it| (hex(it[1]), hex(it[2]))).collect()
    };
    macro_rules! put {
        ($($table:literal, $key:ty, $value:ty;)*) => {
            $(put::<$key, $value>(
                &transaction,
                $table,
                |it| it.try_into().unwrap(),
                |it| it.try_into().unwrap(),
                &rows($table),
            );)*
        };
    }
    put! {
        "jobs", &'static [u8; 16], &'static [u8];
        "standings", &'static [u8; 32], &'static [u8];
        "ready", &'static [u8; 26], &'static [u8];
        "due", &'static [u8; 24], &'static [u8; 16];
        "running", &'static [u8; 16], &'static [u8; 16];
        "ended", &'static [u8; 26], &'static [u8; 16];
        "gone", &'static [u8; 16], &'static [u8; 8];
        "forget", &'static [u8; 24], &'static [u8; 0];
        "counts", &'static [u8; 17], &'static [u8];
    }
    put::<&'static str, &'static [u8]>(
        &transaction,
        "about",
        |it| std::str::from_utf8(it).unwrap(),
        |it| it,
        &rows("about"),
    );
    transaction.commit().unwrap();
}

fn job(number: u8) -> NewJob {
    let late = number == 7;
    NewJob {
        id: id(number),
        queue: if late { Queue::Email } else { Queue::Deploy },
        kind: String::from("compress_variants"),
        tenant: (number % 2 == 1).then_some(TenantId(Id::from_bytes([0xaa; 16]))),
        payload: format!(r#"{{"n":{number}}}"#),
        priority: -3,
        run_at_ms: if late { START_MS + 60_000 } else { 0 },
        title: format!("Grüße {number}"),
        created_ms: START_MS,
        unique: None,
        after: Vec::new(),
    }
}

#[tokio::test]
async fn a_file_of_format_1_is_read_and_goes_on() {
    let place = FilePlace::new();
    write(&place);
    let (clock, hands) = Clock::manual(START_MS + 2_000);
    let jobs = Jobs::new(QueueRedb::open(&place.path(), clock.clone()).unwrap());
    let expected = [
        (1, State::Done, 1, 0, None),
        (2, State::Failed, 1, 0, Some("no such site")),
        (3, State::Delayed, 1, 0, Some("it rained")),
        (4, State::Waiting, 1, 1, None),
        (5, State::Waiting, 0, 0, None),
        (7, State::Delayed, 0, 0, None),
    ];
    for (number, state, attempt, deaths, error) in expected {
        let found = jobs.get(id(number)).await.unwrap().unwrap();
        assert_eq!(found.new, job(number));
        assert_eq!((found.state, found.attempt, found.deaths), (state, attempt, deaths), "{number}");
        assert_eq!(found.error.as_deref(), error);
    }
    assert!(jobs.get(id(6)).await.unwrap().is_none());
    assert_eq!(jobs.enqueue(vec![job(6), job(1)]).await.unwrap(), 0, "their ids are known");
    let depths = jobs.depths(None).await.unwrap();
    assert_eq!(depths.map(|it| it.paused), [false, false, false, true]);
    assert_eq!((depths[0].waiting, depths[0].delayed, depths[0].done, depths[0].failed), (2, 1, 1, 1));

    hands.advance(100_000);
    let mut ended = Vec::new();
    for queue in [Queue::Deploy, Queue::Email] {
        let leases = jobs.next(queue, 9, Vec::new()).await.unwrap().1;
        let done = leases.iter().map(|it| Finish { id: it.job.id, attempt: it.attempt, outcome: Outcome::Done });
        let answers = jobs.next(queue, 0, done.collect()).await.unwrap().0;
        assert!(answers.iter().all(Result::is_ok));
        ended.extend(leases.into_iter().map(|it| it.job.id));
    }
    ended.sort_unstable();
    assert_eq!(ended, [id(3), id(4), id(5), id(7)]);

    // Written anew and opened again, it has the new format throughout, or still the old where nothing has changed.
    drop(jobs);
    let jobs = Jobs::new(QueueRedb::open(&place.path(), clock).unwrap());
    for number in [1, 3, 4, 5, 7] {
        assert_eq!(jobs.get(id(number)).await.unwrap().unwrap().state, State::Done, "{number}");
    }
    jobs.rerun(id(2)).await.unwrap();
    assert_eq!(jobs.next(Queue::Deploy, 9, Vec::new()).await.unwrap().1[0].job, job(2));
}
