//! Maps a file into memory as bytes: the one `unsafe` of the data plane.
//!
//! Only files of the blob folder are mapped, only after they were verified, and never on a network file system.

use std::{fs::File, io, os::fd::AsFd, sync::Arc};

use bytes::Bytes;
use memmap2::{Advice, Mmap};

use crate::base::tasks::Tasks;

/// A file of so many bytes takes its time to let go: of one that was removed the file system frees the blocks then.
const LARGE: usize = 4 * 1024 * 1024;

/// Magic numbers (`statfs(2)`) of file systems whose files may change under us without our kernel knowing, or
/// whose pages may fail to come: NFS, SMB, CIFS, SMB2, FUSE, 9P, AFS, Coda, Ceph, NCP, `OCFS2`, GFS2.
const NETWORK: [u64; 12] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x6573_5546,
    0x0102_1997,
    0x5346_414f,
    0x7375_7245,
    0x00c3_6400,
    0x564c,
    0x7461_636f,
    0x0116_1970,
];

/// Whether a file may be mapped where it lies.
pub(super) fn may_map(file: impl AsFd) -> bool {
    let Ok(about) = rustix::fs::fstatfs(file) else { return false };
    // Some platforms sign the number; only its lower 32 bits are used.
    let kind = i128::from(about.f_type) & 0xffff_ffff;
    !NETWORK.iter().any(|it| i128::from(*it) == kind)
}

/// The bytes of `file` by its pages, which the kernel is told to fetch.
#[expect(unsafe_code, reason = "a mapping is sound only while nobody changes the file, which no type can say")]
pub(super) fn map(file: &Arc<File>, tasks: &Tasks) -> io::Result<Bytes> {
    // SAFETY: the bytes behind a shared mapping must not change while Rust sees them as `&[u8]`. A blob has mode
    // 0400, is written once under another name and replaced by rename only; a replaced or removed file keeps its
    // pages as long as they are mapped. Whether it is still the verified file is compared before each answer.
    // The race that is left: somebody with our user's or root's rights writes into the file in place, after that
    // comparison. Then the answer under way has their bytes, also those that the system has taken to send; and if they cut the file short, touching the
    // missing pages ends this process with SIGBUS (a plain socket write fails with EFAULT instead). Whoever can
    // do that can also replace this program, so we do not pay for a copy of every large file. A sector that the disk
    // cannot read any more has the same effect as a file cut short.
    let mapping = unsafe { Mmap::map(&**file) }?;
    // Advice only: without it the pages come one by one.
    drop(mapping.advise(Advice::WillNeed));
    Ok(Bytes::from_owner(Mapped { mapping: Some(mapping), file: Some(Arc::clone(file)), tasks: tasks.clone() }))
}

/// A mapping and its file. Whoever uses them last may answer visitors: a large one is let go elsewhere.
struct Mapped {
    /// Both are there until the end.
    mapping: Option<Mmap>,
    file: Option<Arc<File>>,
    tasks: Tasks,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.mapping.as_deref().unwrap_or_default()
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let both = (self.mapping.take(), self.file.take());
        if both.0.as_ref().is_some_and(|it| it.len() >= LARGE) {
            self.tasks.let_go(both);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{runtime, sync::oneshot};

    use super::*;

    /// The only thread for such work is busy meanwhile.
    #[test]
    fn a_large_file_is_let_go_on_no_thread_that_answers_visitors() {
        let runtime = runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let tasks = Tasks::new();
        runtime.block_on(async {
            for (bytes, waits) in [(LARGE, true), (LARGE - 1, false)] {
                let file = Arc::new(tempfile::tempfile().unwrap());
                file.set_len(bytes.try_into().unwrap()).unwrap();
                let mapped = map(&file, &tasks).unwrap();
                let (go, gone) = oneshot::channel::<()>();
                let busy = tasks.blocking(move || drop(gone.blocking_recv()));
                let (mut busy, held) = (Box::pin(busy), Arc::downgrade(&file));
                assert!(has_to_wait(&mut busy).await, "it waits for its sign");
                drop((mapped, file));
                assert_eq!(held.upgrade().is_some(), waits, "{bytes}");
                go.send(()).unwrap();
                busy.await.unwrap();
                tasks.blocking(|| ()).await.unwrap();
                assert!(held.upgrade().is_none());
            }
        });
    }

    /// Polls once: whether it has to wait.
    async fn has_to_wait(it: &mut (impl Future + Unpin)) -> bool {
        std::future::poll_fn(|context| std::task::Poll::Ready(std::pin::Pin::new(&mut *it).poll(context).is_pending()))
            .await
    }
}
