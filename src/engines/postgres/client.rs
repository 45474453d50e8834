//! A client of PostgreSQL for plain threads, on which no answer is waited for without end.
//!
//! Guarantees: a call ends within its time limit, also when nothing comes on an open connection: a network that is cut without a word,
//! a machine or a process that stands still. A connection whose answer was late is of no more use, since nobody knows what the next
//! answer on it belongs to; its socket is closed at once. An answer that has come is never taken for late, however long this process
//! itself stood still; and such a time counts as next to nothing, since what it waits for may have stood still with it.
//! It never runs on a thread of an async runtime: it drives one of its own. `tokio_postgres` has the same client as the crate
//! `postgres`, whose calls have no time limit.

use std::{
    cell::Cell,
    fmt, io,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};
use tokio_postgres::{
    Config, Error, NoTls, SimpleQueryMessage, Socket,
    tls::{MakeTlsConnect, TlsConnect},
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The time that an answer may take is counted in so many pieces, none longer than this.
const PIECES: u32 = 8;
const PIECE_MAX: Duration = Duration::from_millis(500);

/// Ends when so much time has passed in which this process went on: a piece in which it got no turn counts as one all the same. So a
/// machine that is busy, or stands still as a whole, cuts off nobody.
async fn passed(time: Duration) {
    let piece = (time / PIECES).min(PIECE_MAX);
    let mut left = time;
    while !left.is_zero() {
        let next = left.min(piece.max(Duration::from_millis(1)));
        sleep(next).await;
        left -= next;
    }
}

/// How long a connection that is given up may take to say goodbye: the server then frees its session at once.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Unmade {
    /// The server says so, or it cannot be reached.
    Engine(Error),
    /// The server said nothing for so long.
    Silent(Duration),
    /// A pooler took the connection, and had no session of the server for it for so long.
    NoSession(Duration),
    /// This machine has no means for one more.
    Here(io::Error),
}

impl fmt::Display for Unmade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => f.write_str(&super::session::whole(error)),
            Self::Silent(time) => write!(f, "no answer within {} s", time.as_secs_f32()),
            Self::NoSession(time) => write!(f, "no session of the server within {} s", time.as_secs_f32()),
            Self::Here(error) => error.fmt(f),
        }
    }
}

impl From<Error> for Unmade {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

/// A connection to one server. Dropped, it says goodbye.
pub(super) struct Client {
    // Dropped first, which tells the other to end.
    asks: tokio_postgres::Client,
    line: Line,
}

/// What reads and writes on the connection.
type Driven = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// What drives the connection.
struct Line {
    runtime: Runtime,
    /// `None` once it is of no more use.
    connection: Option<Driven>,
    /// How long an answer may take.
    limit: Option<Duration>,
    is_silent: bool,
}

impl Client {
    /// Connects within `limit`, name, TLS and password included.
    pub(super) fn connect(config: &Config, tls: Option<&MakeRustlsConnect>, limit: Duration) -> Result<Self, Unmade> {
        match tls {
            None => Self::connect_with(config, NoTls, limit),
            Some(tls) => Self::connect_with(config, tls.clone(), limit),
        }
    }

    fn connect_with<T>(config: &Config, tls: T, limit: Duration) -> Result<Self, Unmade>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
        T::TlsConnect: TlsConnect<Socket>,
    {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Unmade::Here)?;
        let made = runtime.block_on(async {
            tokio::select! {
                biased;
                made = config.connect(tls) => made.map_err(Unmade::Engine),
                () = passed(limit) => Err(Unmade::Silent(limit)),
            }
        });
        match made {
            Ok((asks, connection)) => {
                let connection: Option<Driven> = Some(Box::pin(connection));
                let line = Line { runtime, connection, limit: Some(limit), is_silent: false };
                Ok(Self { asks, line })
            }
            Err(why) => {
                // A look for the address of a name may still run, and is not waited for.
                runtime.shutdown_background();
                Err(why)
            }
        }
    }

    /// How long each answer may take from now on; `None`: for as long as the network says that the server's machine is there.
    pub(super) const fn limit(&mut self, limit: Option<Duration>) {
        self.line.limit = limit;
    }

    /// Whether an answer did not come in time.
    pub(super) const fn is_silent(&self) -> bool {
        self.line.is_silent
    }

    /// Whether the connection is of no more use.
    pub(super) fn is_closed(&self) -> bool {
        self.line.connection.is_none() || self.asks.is_closed()
    }

    /// Takes in what has come unasked, and waits for nothing: a connection that has ended is then known to be closed.
    pub(super) fn listen(&mut self) {
        self.line.listen();
    }

    /// Asks, and drives the connection until the answer is there. A late one is an error that says that the connection is closed.
    pub(super) fn ask<T, E: From<Error>>(
        &mut self,
        work: impl AsyncFnOnce(&tokio_postgres::Client) -> Result<T, E>,
    ) -> Result<T, E> {
        self.line.run(None, work(&self.asks))
    }

    /// The same for what tells by the cell that the first of it was answered. Where that is not so within `turn`, all of it is late.
    pub(super) fn ask_in_turn<T, E: From<Error>>(
        &mut self,
        turn: Option<Duration>,
        work: impl AsyncFnOnce(&tokio_postgres::Client, &Cell<bool>) -> Result<T, E>,
    ) -> Result<T, E> {
        let has_begun = Cell::new(false);
        self.line.run(turn.map(|it| (it, &has_begun)), work(&self.asks, &has_begun))
    }

    /// Runs statements without parameters in one round trip.
    pub(super) fn simple_query(&mut self, sql: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        self.ask(async |it| it.simple_query(sql).await)
    }
}

impl Line {
    fn listen(&mut self) {
        let Self { runtime, connection, .. } = self;
        runtime.block_on(async {
            // Meanwhile the runtime asks the system what has come.
            tokio::task::yield_now().await;
            std::future::poll_fn(|cx| {
                if connection.as_mut().is_some_and(|it| it.as_mut().poll(cx).is_ready()) {
                    *connection = None;
                }
                Poll::Ready(())
            })
            .await;
        });
    }

    fn run<T, E: From<Error>>(
        &mut self,
        turn: Option<(Duration, &Cell<bool>)>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Self { runtime, connection, limit, is_silent } = self;
        runtime.block_on(async {
            let mut work = pin!(work);
            let mut late = pin!(async {
                let mut limit = *limit;
                if let Some((turn, has_begun)) = turn {
                    passed(turn).await;
                    if !has_begun.get() {
                        return;
                    }
                    limit = limit.map(|it| it.saturating_sub(turn));
                }
                match limit {
                    Some(limit) => passed(limit).await,
                    None => std::future::pending().await,
                }
            });
            std::future::poll_fn(|cx| {
                let mut broken = None;
                if let Some(there) = connection
                    && let Poll::Ready(ended) = there.as_mut().poll(cx)
                {
                    *connection = None;
                    broken = ended.err();
                }
                // An answer that came before the end of the connection counts.
                if let Poll::Ready(out) = work.as_mut().poll(cx) {
                    return Poll::Ready(out);
                }
                if let Some(error) = broken {
                    return Poll::Ready(Err(error.into()));
                }
                if connection.is_some() && late.as_mut().poll(cx).is_ready() {
                    *is_silent = true;
                    // The work hears that its connection is gone.
                    *connection = None;
                    return work.as_mut().poll(cx);
                }
                Poll::Pending
            })
            .await
        })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // It writes its last word and ends, since nobody can ask on it any more.
            drop(self.runtime.block_on(async { timeout(GOODBYE_MAX, connection).await }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, thread};

    use tokio::sync::oneshot;

    use super::*;

    /// What the connection says when nobody answers.
    #[derive(Debug, PartialEq)]
    struct Late;

    impl From<Error> for Late {
        fn from(_: Error) -> Self {
            Self
        }
    }

    #[test]
    fn an_answer_is_waited_for_while_this_process_stands_still_and_no_longer() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (open, ends) = oneshot::channel::<()>();
        let connection = async move {
            let _open = open;
            pending().await
        };
        let mut line = Line {
            runtime,
            connection: Some(Box::pin(connection)),
            limit: Some(Duration::from_secs(1)),
            is_silent: false,
        };
        let answered = line.run(None, async {
            sleep(Duration::from_millis(1)).await;
            // Nothing of this process goes on; whoever is to answer may have stood still as well.
            thread::sleep(Duration::from_secs(2));
            sleep(Duration::from_millis(250)).await;
            Ok::<_, Late>(7)
        });
        assert_eq!((answered, line.is_silent), (Ok(7), false));
        assert_eq!(line.run(None, async { ends.await.map_err(|_| Late) }), Err(Late), "nobody answers");
        assert!(line.is_silent);
    }

    #[test]
    fn what_has_begun_in_its_turn_has_the_whole_time_and_what_has_not_is_late() {
        for begins in [true, false] {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let (open, ends) = oneshot::channel::<()>();
            let connection = async move {
                let _open = open;
                pending().await
            };
            let (limit, turn) = (Some(Duration::from_mins(1)), Duration::from_millis(200));
            let mut line = Line { runtime, connection: Some(Box::pin(connection)), limit, is_silent: false };
            let has_begun = Cell::new(false);
            let out = line.run(Some((turn, &has_begun)), async {
                has_begun.set(begins);
                tokio::select! {
                    ended = ends => ended.map_err(|_| Late),
                    () = sleep(Duration::from_secs(1)) => Ok(()),
                }
            });
            assert_eq!((out.is_ok(), line.is_silent), (begins, !begins));
        }
    }
}
