//! Passwords of the panel's users, hashed as [`crate::base::password`] does.
//!
//! At most two are hashed at once, so that memory and processors are not the attacker's to spend.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;

use crate::{
    base::{
        limits,
        password::{self, Fault},
        secret::Secret,
        tasks::Tasks,
    },
    domain::{Error, Result},
};

/// Hashes and checks passwords, a few at a time.
#[derive(Debug)]
pub(super) struct Hashing {
    tasks: Tasks,
    places: Semaphore,
    /// Passwords hashed since the start.
    hashed: AtomicU64,
}

impl Hashing {
    pub(super) fn new(tasks: Tasks) -> Self {
        Self { tasks, places: Semaphore::new(limits::PASSWORD_HASHES_AT_ONCE), hashed: AtomicU64::new(0) }
    }

    /// How many passwords were hashed since the start, to be kept or to be checked.
    pub(super) fn hashed(&self) -> u64 {
        self.hashed.load(Ordering::Relaxed)
    }

    /// The text to store for a password.
    pub(super) async fn hash(&self, password: Secret) -> Result<String> {
        self.place(move || password::hash(password.expose())).await
    }

    /// Whether the password has this stored text. `None` for an unknown user takes as long and is `false`.
    pub(super) async fn verify(&self, password: Secret, stored: Option<&str>) -> Result<bool> {
        let stored = stored.map(str::to_owned);
        self.place(move || password::verify(password.expose(), stored.as_deref())).await
    }

    async fn place<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T> {
        let _place = self.places.acquire().await.map_err(Error::internal)?;
        let done = self.tasks.blocking(work);
        self.hashed.fetch_add(1, Ordering::Relaxed);
        done.await.unwrap_or_else(|| Err(Fault::Hashing(String::from("it panicked")))).map_err(Error::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unknown_user_costs_as_much_as_a_known_one() {
        let hashing = Hashing::new(Tasks::new());
        let secret = |text: &str| Secret::new(text.to_owned());
        let stored = hashing.hash(secret("correct horse battery")).await.unwrap();
        assert!(hashing.verify(secret("correct horse battery"), Some(&stored)).await.unwrap());
        assert!(!hashing.verify(secret("correct horse batterz"), Some(&stored)).await.unwrap());
        assert!(!hashing.verify(secret(""), None).await.unwrap());
        assert_eq!(hashing.hashed(), 4);
    }
}
