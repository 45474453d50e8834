//! The thread that writes lines: it takes what has come meanwhile and writes it together.
//!
//! It alone waits for the disk. While that takes nothing, lines wait in memory up to a bound, and those that come then are dropped.

use std::{
    io,
    sync::{
        Arc, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use super::{
    State,
    file::{Batch, LogFile},
};

/// With nothing to write, the file is looked at so often.
const LOOK: Duration = Duration::from_secs(1);
/// What comes within this time of a line is written together with it, and wakes nobody: a request pays no system call for its line.
const GATHER: Duration = Duration::from_millis(10);
/// Bytes of one write, about. Less than any file may have.
const BATCH_BYTES: usize = 32 * 1024;
/// Before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    pub(super) state: Arc<State>,
    pub(super) lines: Receiver<Vec<u8>>,
    pub(super) file: LogFile,
    pub(super) batch: Batch,
}

impl Writer {
    /// Runs until the log is closed and all that came before is written.
    pub(super) fn run(mut self) {
        loop {
            // Asked before the last look, so that no line is missed that was sent before.
            let is_closing = self.state.is_closing.load(Ordering::SeqCst);
            let looked = self.file.look();
            self.note(looked);
            match self.lines.recv_timeout(if is_closing { Duration::ZERO } else { LOOK }) {
                Ok(line) => {
                    if !is_closing {
                        thread::sleep(GATHER);
                    }
                    self.batch.bytes.extend_from_slice(&line);
                    self.drain();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if is_closing {
                break;
            }
        }
        self.file.archive.stop();
    }

    fn drain(&mut self) {
        loop {
            while self.batch.bytes.len() < BATCH_BYTES
                && let Ok(line) = self.lines.try_recv()
            {
                self.batch.bytes.extend_from_slice(&line);
            }
            if self.batch.bytes.is_empty() {
                return;
            }
            self.write();
            let looked = self.file.look();
            self.note(looked);
        }
    }

    /// Writes the batch. On a disk that takes nothing that is tried until it does, or the log is closed.
    fn write(&mut self) {
        loop {
            let before = self.batch.bytes.len();
            let (lines, written) = self.file.write(&mut self.batch);
            self.state.written.fetch_add(lines, Ordering::Relaxed);
            self.state.waiting.fetch_sub(before - self.batch.bytes.len(), Ordering::Relaxed);
            let is_done = written.is_ok();
            self.note(written);
            if is_done {
                return;
            }
            if self.state.is_closing.load(Ordering::SeqCst) {
                let lost = memchr::memchr_iter(b'\n', &self.batch.bytes).count();
                self.state.dropped.fetch_add(u64::try_from(lost).unwrap_or(u64::MAX), Ordering::Relaxed);
                self.state.waiting.fetch_sub(self.batch.bytes.len(), Ordering::Relaxed);
                self.batch.bytes.clear();
                return;
            }
            thread::sleep(AGAIN);
        }
    }

    /// Notes what keeps lines from being written, or that nothing does.
    fn note(&self, result: io::Result<()>) {
        let fault = result.err().map(|it| it.to_string());
        *self.state.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}
