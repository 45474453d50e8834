//! Folds what was counted, by itself: the queues have room for moments only, and who folds waits for nothing else.

use std::time::Duration;

use tokio::time;

use super::Tally;
use crate::base::tasks::Tasks;

/// Between two folds.
const FOLD: Duration = Duration::from_millis(250);

impl Tally {
    /// Folds again and again, whatever the database does, until all stops.
    pub fn fold_always(&self, tasks: &Tasks) {
        let (tally, stop) = (self.clone(), tasks.token().clone());
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = time::sleep(FOLD) => {}
                    () = stop.cancelled() => return,
                }
                tally.fold();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use hyper::{Request, StatusCode};

    use super::*;
    use crate::base::countries::Countries;
    use crate::{
        base::{clock::Clock, ids::Id},
        domain::site::SiteId,
        http::{
            peer::{Peer, Trust},
            respond,
        },
        serve::{
            Asked,
            snapshot::{Settings, State, Target},
            tally::Seen,
        },
    };

    /// What requests leave in the queues gets into the sums without anybody's doing, and nothing runs when all stops.
    #[tokio::test]
    async fn what_is_counted_is_folded_by_itself_until_all_stops() {
        let (tasks, tally) = (Tasks::new(), Tally::new(Clock::system()));
        tally.fold_always(&tasks);
        let (name, settings) = (String::from("one"), Settings::Plain);
        let site = SiteId(Id::from_bytes([1; 16]));
        let target = Target { site, name, preview: false, state: State::Empty, settings };
        let countries = Countries::none();
        let trust = Trust { proxies: Vec::new(), own: Vec::new(), scheme: "http" };
        let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
        let peer = Peer::new((IpAddr::from([192, 0, 2, 1]), 1).into());
        let visit = || {
            let asked = Asked { host: "one.example", parts: &parts, peer, trust: &trust };
            let seen = Seen { target: &target, asked, countries: &countries };
            drop(tally.watch(&seen, respond::empty(StatusCode::OK)));
        };
        for _ in 0..2 {
            visit();
            assert!(tally.take(10).is_empty(), "it waits in a queue");
            let looked = async {
                loop {
                    let taken = tally.take(10);
                    if !taken.is_empty() {
                        return taken;
                    }
                    time::sleep(Duration::from_millis(20)).await;
                }
            };
            let taken = time::timeout(Duration::from_secs(10), looked).await.unwrap();
            assert_eq!(taken[0].1.minutes.values().map(|it| it.requests).sum::<u64>(), 1);
        }
        tasks.stop();
        time::timeout(Duration::from_secs(10), tasks.join()).await.unwrap();
        visit();
        time::sleep(2 * FOLD).await;
        assert!(tally.take(10).is_empty(), "who ends the process folds what is left");
        assert_eq!(tally.fold(), 1);
    }
}
