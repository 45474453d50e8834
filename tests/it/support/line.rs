//! A line between the program and a server that a test can cut, hold still and slow down.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

/// What the line does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Passes them.
    Open,
    /// Passes each piece so much later.
    Slow(Duration),
    /// Takes them and passes none: both ends are there and say nothing.
    Still,
    /// Every connection is reset, also each new one.
    Cut,
}

struct Inner {
    state: State,
    /// Connections of an earlier age pass nothing any more.
    age: u32,
    streams: Vec<TcpStream>,
    ended: bool,
}

struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Shared {
    /// Waits until bytes of a connection of this age may pass; whether they may at all.
    fn pass(&self, age: u32) -> bool {
        let still = |inner: &mut Inner| (inner.state == State::Still || age < inner.age) && !inner.ended;
        let inner = self.changed.wait_while(self.inner.lock().unwrap(), still).unwrap();
        let (state, ended) = (inner.state, inner.ended);
        drop(inner);
        if let State::Slow(time) = state {
            thread::sleep(time);
        }
        state != State::Cut && !ended
    }

    /// Keeps both ends of a connection, unless all are cut; its age.
    fn keep(&self, near: &TcpStream, far: &TcpStream) -> Option<u32> {
        let mut inner = self.inner.lock().unwrap();
        if inner.state == State::Cut || inner.ended {
            return None;
        }
        inner.streams.extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
        Some(inner.age)
    }
}

/// A port that leads to another. Dropped, its connections end.
pub(crate) struct Line {
    /// Where it listens on 127.0.0.1.
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

impl Line {
    /// A line to a port of 127.0.0.1, open.
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Inner { state: State::Open, age: 0, streams: Vec::new(), ended: false };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for near in listener.incoming() {
                let Ok(near) = near else { continue };
                if accepting.inner.lock().unwrap().ended {
                    return;
                }
                connect(&accepting, near, target);
            }
        });
        Self { port, shared }
    }

    /// What it does from now on.
    pub(crate) fn set(&self, state: State) {
        let mut inner = self.shared.inner.lock().unwrap();
        inner.state = state;
        if state == State::Cut {
            inner.streams.drain(..).for_each(|it| reset(&it));
        }
        drop(inner);
        self.shared.changed.notify_all();
    }

    /// Nothing passes any more on the connections that there are, and nobody is told; new ones are as ever. So does what stands between
    /// and has forgotten connections that were quiet.
    pub(crate) fn forget(&self) {
        self.shared.inner.lock().unwrap().age += 1;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut inner = self.shared.inner.lock().unwrap();
        inner.ended = true;
        inner.streams.drain(..).for_each(|it| reset(&it));
        drop(inner);
        self.shared.changed.notify_all();
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// Ends a connection so that the other end is told of an error and not of an end.
fn reset(stream: &TcpStream) {
    // A connection that is gone needs no reset.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    drop(stream.shutdown(Shutdown::Both));
}

fn connect(shared: &Arc<Shared>, near: TcpStream, target: u16) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { return reset(&near) };
    let Some(age) = shared.keep(&near, &far) else { return reset(&near) };
    for it in [&near, &far] {
        it.set_nodelay(true).unwrap();
    }
    let ways = [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)];
    for (from, to) in ways {
        let shared = Arc::clone(shared);
        thread::spawn(move || pump(&shared, age, from, to));
    }
}

fn pump(shared: &Shared, age: u32, mut from: TcpStream, mut to: TcpStream) {
    let mut piece = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut piece)
        && count > 0
        && shared.pass(age)
        && to.write_all(piece.get(..count).unwrap_or_default()).is_ok()
    {}
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}
