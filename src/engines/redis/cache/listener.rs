//! The thread that hears what other processes dropped.
//!
//! INVARIANT: what was put into the first layer while the others could not be heard is dropped once they can; and while they cannot, again
//! and again.

use std::{sync::atomic::Ordering, thread, time::Duration};

use redis::{Connection, RedisResult, Value, cmd};

use super::{
    State,
    wire::{COMMON, Heard},
};

/// How long it may take to find where to listen.
const FIND_MAX: Duration = Duration::from_secs(1);
/// Between two tries to listen.
const PAUSE: Duration = Duration::from_millis(250);

/// Until the engine is closed.
pub(super) fn run(state: &State) {
    while !state.is_stopping() {
        state.first.drop_all();
        let error = match subscribe(state) {
            Ok(mut connection) => {
                // Whatever is dropped from here on is heard.
                state.first.drop_all();
                state.heard.fetch_add(1, Ordering::Relaxed);
                state.hears.store(true, Ordering::SeqCst);
                let error = listen(state, &mut connection).err();
                state.hears.store(false, Ordering::SeqCst);
                error
            }
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            tracing::debug!(error = %state.address.explain(&error), "the other processes cannot be heard");
            thread::park_timeout(PAUSE);
        }
    }
}

fn subscribe(state: &State) -> RedisResult<Connection> {
    let (_, mut connection) = state.address.connect_to(COMMON, FIND_MAX, state.patience.silence)?;
    connection.send_packed_command(&cmd("SUBSCRIBE").arg(state.names.channel()).get_packed_command())?;
    connection.recv_response()?.extract_error()?;
    Ok(connection)
}

/// Hears until the engine is closed, or an error: also when nothing was said for too long.
fn listen(state: &State, connection: &mut Connection) -> RedisResult<()> {
    while !state.is_stopping() {
        let value = connection.recv_response()?.extract_error()?;
        let Value::Array(parts) = value else { continue };
        let [_, _, Value::BulkString(message)] = parts.as_slice() else { continue };
        match state.names.read(&String::from_utf8_lossy(message)) {
            Heard::Nothing => {}
            Heard::Dropped(tags) => {
                for tag in &tags {
                    state.first.drop_tag(tag);
                }
                state.heard.fetch_add(u64::try_from(tags.len()).unwrap_or(0), Ordering::Relaxed);
            }
            Heard::Unknown => {
                state.first.drop_all();
                state.heard.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}
