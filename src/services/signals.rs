//! What changed, told to tasks that rebuild and to pages that wait. Signals carry no data: whoever wakes looks for itself.
//! So they are given after the commit of what shall be found, never inside its transaction.

use tokio::sync::{Notify, watch};

/// The signals of one process.
#[derive(Debug)]
pub struct Signals {
    /// Rows wait in the outbox.
    pub outbox: Notify,
    /// Schedules were made, ended, stopped or started.
    pub schedules: Notify,
    /// Events wait to be sealed.
    pub audit: Notify,
    /// Old deployments may be prunable.
    pub retention: Notify,
    /// The folders that sites are deployed from have changed in the settings.
    pub watch: Notify,
    /// Certificates, or what authorities will ask for, have changed: the number grows.
    certificates: watch::Sender<u64>,
    certificates_applied: watch::Sender<u64>,
    /// Certificates may be wanted for more hostnames, or at once.
    pub certify: Notify,
    /// Who gets nothing of a site has changed.
    pub bans: Notify,
    /// Grows with every change that a page may want to show.
    pub changed: watch::Sender<u64>,
    routes_wanted: watch::Sender<u64>,
    routes_applied: watch::Sender<u64>,
    /// Transactions under way that change what visitors see.
    routes_moving: watch::Sender<u64>,
    /// Up to which news of all nodes visitors are served here; `None` before the first pass.
    routes_served: watch::Sender<Option<i64>>,
}

impl Signals {
    pub(super) fn new() -> Self {
        Self {
            outbox: Notify::new(),
            schedules: Notify::new(),
            audit: Notify::new(),
            retention: Notify::new(),
            watch: Notify::new(),
            certificates: watch::Sender::new(0),
            certificates_applied: watch::Sender::new(0),
            certify: Notify::new(),
            bans: Notify::new(),
            changed: watch::Sender::new(0),
            routes_wanted: watch::Sender::new(0),
            routes_applied: watch::Sender::new(0),
            routes_moving: watch::Sender::new(0),
            routes_served: watch::Sender::new(None),
        }
    }

    /// Pages may show something new.
    pub fn touch(&self) {
        self.changed.send_modify(|it| *it += 1);
    }

    /// Certificates, or what authorities will ask for, have changed in the database.
    pub fn certificates_changed(&self) {
        self.touch();
        self.certificates.send_modify(|it| *it += 1);
    }

    /// Changes of that number.
    pub fn certificates(&self) -> watch::Receiver<u64> {
        self.certificates.subscribe()
    }

    /// Handshakes show what was in the database when the number was that.
    pub fn certificates_shown(&self, number: u64) {
        self.certificates_applied.send_modify(|it| *it = (*it).max(number));
    }

    /// Waits until handshakes show what is in the database now.
    pub(super) async fn certificates_applied(&self) {
        let wanted = *self.certificates.borrow();
        let mut applied = self.certificates_applied.subscribe();
        drop(applied.wait_for(|it| *it >= wanted).await);
    }

    /// What visitors see has changed in the database. The number is for [`Signals::routes_live`].
    pub fn routes_changed(&self) -> u64 {
        self.touch();
        let mut number = 0;
        self.routes_wanted.send_modify(|it| {
            *it += 1;
            number = *it;
        });
        number
    }

    /// Waits until the data plane serves what was in the database when `number` was given.
    pub async fn routes_live(&self, number: u64) {
        let mut applied = self.routes_applied.subscribe();
        // An error means that the process ends, and nobody waits any more.
        drop(applied.wait_for(|it| *it >= number).await);
    }

    /// A transaction is about to change what visitors see. [`Signals::routes_moved`] follows in any case.
    pub(super) fn routes_moving(&self) {
        self.routes_moving.send_modify(|it| *it += 1);
    }

    /// That transaction has ended, well or badly.
    pub(super) fn routes_moved(&self) {
        self.routes_changed();
        self.routes_moving.send_modify(|it| *it = it.saturating_sub(1));
    }

    /// Waits until visitors are served all that could be read in the database before this call.
    pub(super) async fn routes_settled(&self) {
        let wanted = self.routes_known().await;
        self.routes_live(wanted).await;
    }

    /// The number for [`Signals::routes_live`] of all that could be read in the database before this call.
    pub(super) async fn routes_known(&self) -> u64 {
        let mut moving = self.routes_moving.subscribe();
        drop(moving.wait_for(|it| *it == 0).await);
        *self.routes_wanted.borrow()
    }

    /// This node serves what was in the database when the news of routes had this number; 0 where no other node tells any.
    pub fn routes_serve(&self, number: i64) {
        self.routes_served.send_replace(Some(number));
    }

    /// Up to which news visitors are served here; `None`: still by what was kept of an earlier process, or by nothing.
    pub(super) fn routes_served(&self) -> Option<i64> {
        *self.routes_served.borrow()
    }

    /// Waits until visitors are served here what was in the database when the news of routes had this number.
    pub(super) async fn routes_reach(&self, number: i64) {
        let mut served = self.routes_served.subscribe();
        drop(served.wait_for(|it| it.is_some_and(|it| it >= number)).await);
    }

    /// For the task that rebuilds: the wanted number, as it changes.
    pub fn routes_wanted(&self) -> watch::Receiver<u64> {
        self.routes_wanted.subscribe()
    }

    /// The task has applied all changes up to `number`.
    pub fn routes_applied(&self, number: u64) {
        self.routes_applied.send_modify(|it| *it = (*it).max(number));
    }
}
