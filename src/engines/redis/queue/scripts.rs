//! The scripts: each is one command, atomic, in one slot. What they share stands before each; of that, what few calls need is made
//! when it is asked for.

use std::fmt::Write as _;

use redis::{Cmd, Script, cmd};

use crate::{
    base::retry::Backoff,
    domain::job::{BUILD, Queue},
};

/// What all scripts begin with.
const SHARED: &str = concat!(
    include_str!("scripts/base.lua"),
    include_str!("scripts/lines.lua"),
    "later(lanes, function()\n",
    include_str!("scripts/lanes.lua"),
    "end)\nlater(moves, function()\n",
    include_str!("scripts/moves.lua"),
    "end)\nlater(bonds, function()\n",
    include_str!("scripts/bonds.lua"),
    "end)\n",
    include_str!("scripts/chores.lua"),
);

/// Which script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Takes jobs in.
    Enqueue,
    /// Ends attempts and leases jobs.
    Next,
    /// What people see.
    Look,
    /// What people do.
    Change,
    /// What the engine does by itself.
    Keep,
}

/// A call of a script: the arguments after those that all scripts have.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) which: Which,
    pub(super) args: Vec<Vec<u8>>,
}

impl Call {
    /// A call with these first arguments.
    pub(super) fn new(which: Which, args: &[&str]) -> Self {
        Self { which, args: args.iter().map(|it| it.as_bytes().to_vec()).collect() }
    }

    /// One more argument.
    pub(super) fn push(&mut self, arg: impl AsRef<[u8]>) {
        self.args.push(arg.as_ref().to_vec());
    }
}

/// The scripts of a queue.
pub(super) struct Scripts {
    prefix: String,
    enqueue: Script,
    next: Script,
    look: Script,
    change: Script,
    keep: Script,
}

impl Scripts {
    /// Those for keys that begin with `prefix`.
    pub(super) fn new(prefix: &str) -> Self {
        let shared = [rules().as_str(), SHARED].concat();
        let script = |own: &str| Script::new(&[shared.as_str(), own].concat());
        Self {
            prefix: prefix.to_owned(),
            enqueue: script(include_str!("scripts/enqueue.lua")),
            next: script(include_str!("scripts/next.lua")),
            look: script(include_str!("scripts/look.lua")),
            change: script(include_str!("scripts/change.lua")),
            keep: script(include_str!("scripts/keep.lua")),
        }
    }

    /// All of them, to be loaded.
    pub(super) const fn all(&self) -> [&Script; 5] {
        [&self.enqueue, &self.next, &self.look, &self.change, &self.keep]
    }

    /// What all keys begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    const fn of(&self, which: Which) -> &Script {
        match which {
            Which::Enqueue => &self.enqueue,
            Which::Next => &self.next,
            Which::Look => &self.look,
            Which::Change => &self.change,
            Which::Keep => &self.keep,
        }
    }

    /// The command that calls a script.
    pub(super) fn command(&self, call: &Call, shared: &SharedArgs<'_>) -> Cmd {
        let mut command = cmd("EVALSHA");
        // One key says where all are: they have the same slot.
        command.arg(self.of(call.which).get_hash()).arg(1).arg(format!("{}:host:about", self.prefix));
        command.arg(&self.prefix).arg(shared.now_ms).arg(shared.token).arg(shared.node).arg(shared.lease_ms);
        for arg in &call.args {
            command.arg(arg.as_slice());
        }
        command
    }
}

/// What every script is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct SharedArgs<'a> {
    pub(super) now_ms: i64,
    pub(super) token: &'a str,
    pub(super) node: &'a str,
    pub(super) lease_ms: u64,
}

/// The numbers of the queues, as a table of Lua.
fn rules() -> String {
    let mut out = String::from("local RULES = {\n");
    for queue in Queue::ALL {
        let rules = queue.rules();
        let rate = queue.limited_rate();
        let (fixed, backoff) = match rules.backoff {
            Backoff::Fixed(ms) => (true, ms),
            Backoff::Exponential(ms) => (false, ms),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(
            out,
            "{{ done = {}, failed = {}, attempts = {}, limit = {}, fixed = {fixed}, backoff = {backoff}, starts = {}, \
             window = {}, kind = '{}' }},",
            rules.kept_done,
            rules.kept_failed,
            rules.attempts,
            rules.cluster_limit.unwrap_or(0),
            rate.map_or(0, |it| it.starts),
            rate.map_or(0, |it| it.window_ms),
            if queue.rate(BUILD).is_some() { BUILD } else { "" },
        );
    }
    out.push_str("}\n");
    out
}
