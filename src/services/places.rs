//! Places for uploads: so many at once of one key, and so many in all. Who finds none is told when to come again.
//!
//! A place is held from the first byte until the upload is written, for an archive until it is unpacked. It holds no
//! thread: bodies are waited for asynchronously and written in short steps.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use crate::{
    base::limits,
    domain::{
        Error, Result,
        access::{Actor, Credential},
    },
};

use super::{Services, uploads::Pieces};

/// Bytes that are written in one step.
const STEP_BYTES: usize = 256 * 1024;

/// The places of one process.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<String, usize>>>);

impl Places {
    fn take(&self, holder: String) -> Result<Place> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.values().sum::<usize>() >= limits::UPLOADS_MAX {
            return Err(none("This server takes so many uploads at once, and no more."));
        }
        let count = held.entry(holder.clone()).or_default();
        if *count >= limits::UPLOADS_OF_ONE_MAX {
            let text = format!("One key sends at most {} uploads at once.", limits::UPLOADS_OF_ONE_MAX);
            return Err(none(&text));
        }
        *count += 1;
        drop(held);
        Ok(Place { places: self.clone(), holder })
    }
}

fn none(why: &str) -> Error {
    let seconds = limits::UPLOAD_RETRY_S;
    Error::too_many("uploads_max", format!("{why} Try again in {seconds} seconds."), seconds)
}

/// A place that is held until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    holder: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

impl Services {
    /// A place for an upload of `actor`.
    pub(super) fn take_place(&self, actor: &Actor) -> Result<Place> {
        let holder = match actor.credential {
            Credential::Key(id, _) => format!("key {id}"),
            Credential::Session(id) => format!("session {id}"),
            Credential::Local => String::from("local"),
            Credential::System => format!("system {}", actor.scope.tenant()),
        };
        self.places().take(holder)
    }
}

/// What has come of a body, up to about [`STEP_BYTES`], and whether more may come.
pub(super) async fn next(pieces: &mut Pieces) -> (Vec<Bytes>, Result<bool>) {
    let mut step = Vec::new();
    let mut bytes = 0;
    let mut piece = pieces.recv().await;
    loop {
        match piece {
            None => return (step, Ok(false)),
            Some(Err(error)) => return (step, Err(error)),
            Some(Ok(it)) => {
                bytes += it.len();
                step.push(it);
            }
        }
        if bytes >= STEP_BYTES {
            return (step, Ok(true));
        }
        piece = match pieces.try_recv() {
            Ok(piece) => Some(piece),
            Err(tokio::sync::mpsc::error::TryRecvError::Empty) => return (step, Ok(true)),
            Err(tokio::sync::mpsc::error::TryRecvError::Disconnected) => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_holder_and_in_all_and_come_back() {
        let places = Places::default();
        let take = |who: usize| places.take(format!("key {who}"));
        let mut held: Vec<Place> = (0..limits::UPLOADS_OF_ONE_MAX).map(|_| take(0).unwrap()).collect();
        let refused = take(0).unwrap_err();
        assert_eq!((refused.code, refused.retry_after_s), ("uploads_max", Some(limits::UPLOAD_RETRY_S)));
        held.extend((held.len()..limits::UPLOADS_MAX).map(|number| take(number).unwrap()));
        assert_eq!(take(1_000).unwrap_err().code, "uploads_max");
        held.truncate(3);
        assert!(take(1_000).is_ok() && take(0).is_ok());
        drop(held);
        assert!(places.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_has_come_before_an_error_is_given_with_it() {
        let (send, mut pieces) = tokio::sync::mpsc::channel(8);
        for piece in [&b"one"[..], b"two"] {
            send.send(Ok(Bytes::from_static(piece))).await.unwrap();
        }
        send.send(Err(Error::invalid("cut", ""))).await.unwrap();
        let (step, more) = next(&mut pieces).await;
        assert_eq!((step.concat(), more.unwrap_err().code), (b"onetwo".to_vec(), "cut"));
        drop(send);
        let (step, more) = next(&mut pieces).await;
        assert!(step.is_empty() && !more.unwrap());
    }
}
