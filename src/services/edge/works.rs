//! What this process remembers of jobs that go on, from one attempt to the next. All of it may be forgotten: such a job begins anew.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
};

use super::proof::Proved;
use crate::domain::job::JobId;

/// More jobs are not remembered.
const WORKS_MAX: usize = 10_000;

/// The jobs.
#[derive(Debug, Default)]
pub struct Works(Mutex<HashMap<JobId, Work>>);

/// How far a job is.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Hostnames that are to be purged.
    pub(super) found: Vec<String>,
    /// Those that are.
    pub(super) purged: Vec<String>,
    /// Those that lead elsewhere.
    pub(super) elsewhere: Vec<String>,
    /// Those of which that could not be found out, with why.
    unknown: Vec<(String, String)>,
}

impl Works {
    /// What is known of a job, which nobody else has now.
    pub(super) fn take(&self, id: JobId) -> Work {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).unwrap_or_default()
    }

    /// It goes on.
    pub(super) fn keep(&self, id: JobId, work: Work) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= WORKS_MAX {
            all.clear();
        }
        all.insert(id, work);
    }
}

impl Work {
    /// Those of the hostnames of which nothing was found out yet.
    pub(super) fn open(&self, hosts: &[String]) -> Vec<String> {
        let is_known = |host: &String| {
            [&self.found, &self.purged, &self.elsewhere].iter().any(|it| it.contains(host))
                || self.unknown.iter().any(|it| it.0 == *host)
        };
        hosts.iter().filter(|it| !is_known(it)).cloned().collect()
    }

    /// Takes in what was found out.
    pub(super) fn learn(&mut self, proved: Proved) {
        self.found.extend(proved.hosts);
        self.elsewhere.extend(proved.elsewhere);
        self.unknown.extend(proved.unknown);
    }

    /// Those of which nothing could be found out: the next attempt looks again.
    pub(super) fn take_unknown(&mut self) -> Vec<(String, String)> {
        mem::take(&mut self.unknown)
    }
}
