//! System calls of a running server that fail or take long, by strace.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::Host;

/// How long an strace may need to let go.
const PATIENCE: Duration = Duration::from_secs(5);

/// An strace on all threads of a server. Dropped, it lets go of the server, which runs on as before.
pub(crate) struct Strace(Child);

impl Strace {
    /// Injects into the calls of a server: `injections` are strace's (`fsync,fdatasync:error=EIO:when=3`), counted by thread. With
    /// the name of a file in the data folder, only calls on that file count.
    pub(crate) fn attach(host: &Host, injections: &[&str], file: Option<&str>) -> Self {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o"]).arg(host.beside("strace")).args(["-p", &host.pid().to_string()]);
        if let Some(file) = file {
            command.arg("-P").arg(host.data().join(file));
        }
        for it in injections {
            let calls = it.split(':').next().unwrap();
            command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={it}")]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn();
        let strace =
            Self(child.unwrap_or_else(|error| panic!("strace: {error}. Install it with: apt-get install strace")));
        host.until("strace on all threads", || (is_traced(host.pid()) || host.has_died()).then_some(()));
        strace
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // Killed, it would leave threads stopped; told to end, it lets go of them first.
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), rustix::process::Signal::TERM)
            .unwrap_or_default();
        // It may wait for ever for a thread that died while it came.
        let asked = tokio::time::Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && asked.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Whether all threads of a process have a tracer.
fn is_traced(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_some_and(|it| it.trim() != "0")
    })
}
