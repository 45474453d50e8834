//! The frames of a stream, as a client sends them (RFC 9114, 7). A frame is handed on in the pieces in which it comes: nothing here collects
//! what a client announces, so a stream costs what quinn's window for it says and no more.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use quinn::{RecvStream, VarInt};

/// Kinds of frames.
pub(super) const DATA: u64 = 0x0;
pub(super) const HEADERS: u64 = 0x1;
pub(super) const CANCEL_PUSH: u64 = 0x3;
pub(super) const SETTINGS: u64 = 0x4;
pub(super) const GOAWAY: u64 = 0x7;
pub(super) const MAX_PUSH_ID: u64 = 0xd;

/// Whether a kind means something, here or on another stream, or meant something in HTTP/2. All others are passed over.
pub(super) const fn has_meaning(kind: u64) -> bool {
    matches!(kind, 0x0..=0x9 | MAX_PUSH_ID)
}

/// Bytes that are taken of a stream at once.
const READ_MAX: usize = 64 * 1024;

/// Bytes of frames on one stream that mean nothing; browsers send some, so that others take them.
const IDLE_BYTES_MAX: u64 = 16 * 1024;
/// What each of them counts, also when it is empty.
const IDLE_FRAME_BYTES: u64 = 64;

/// Why a stream or a connection is ended (RFC 9114, 8.1; RFC 9204, 6).
pub(super) mod code {
    use quinn::VarInt;

    pub(in super::super) const NO_ERROR: VarInt = VarInt::from_u32(0x100);
    pub(in super::super) const INTERNAL_ERROR: VarInt = VarInt::from_u32(0x102);
    pub(in super::super) const STREAM_CREATION_ERROR: VarInt = VarInt::from_u32(0x103);
    pub(in super::super) const CLOSED_CRITICAL_STREAM: VarInt = VarInt::from_u32(0x104);
    pub(in super::super) const FRAME_UNEXPECTED: VarInt = VarInt::from_u32(0x105);
    pub(in super::super) const FRAME_ERROR: VarInt = VarInt::from_u32(0x106);
    pub(in super::super) const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(0x107);
    pub(in super::super) const SETTINGS_ERROR: VarInt = VarInt::from_u32(0x109);
    pub(in super::super) const MISSING_SETTINGS: VarInt = VarInt::from_u32(0x10a);
    pub(in super::super) const REQUEST_REJECTED: VarInt = VarInt::from_u32(0x10b);
    pub(in super::super) const REQUEST_CANCELLED: VarInt = VarInt::from_u32(0x10c);
    pub(in super::super) const REQUEST_INCOMPLETE: VarInt = VarInt::from_u32(0x10d);
    pub(in super::super) const MESSAGE_ERROR: VarInt = VarInt::from_u32(0x10e);
    pub(in super::super) const DECOMPRESSION_FAILED: VarInt = VarInt::from_u32(0x200);
    pub(in super::super) const ENCODER_STREAM_ERROR: VarInt = VarInt::from_u32(0x201);
}

/// What ends a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The client has reset it, or the connection is over.
    Gone,
    /// What the client has sent on it is wrong.
    Stream(VarInt),
    /// It is so wrong that nothing on this connection can be believed.
    Connection(VarInt),
}

/// A stream of frames.
#[derive(Debug)]
pub(super) struct Frames {
    stream: RecvStream,
    /// What has come and was not looked at.
    chunk: Bytes,
    /// The beginning of a frame that came in parts.
    start: Vec<u8>,
    /// Bytes of the present frame that were not handed on.
    left: u64,
    /// What may still come that means nothing.
    idle_left: u64,
}

impl Frames {
    pub(super) const fn new(stream: RecvStream) -> Self {
        Self { stream, chunk: Bytes::new(), start: Vec::new(), left: 0, idle_left: IDLE_BYTES_MAX }
    }

    /// One that lives as long as its connection, on which browsers say for each request how urgent it is: no frame that means nothing is
    /// one too many.
    pub(super) fn lasting(stream: RecvStream) -> Self {
        Self { idle_left: u64::MAX, ..Self::new(stream) }
    }

    /// Whether more has come, unless the stream has ended.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Fault>> {
        while self.chunk.is_empty() {
            // The future holds nothing between two polls: quinn knows who waits for the stream.
            let read = pin!(self.stream.read_chunk(READ_MAX, true)).poll(context);
            match ready!(read) {
                Ok(Some(chunk)) => self.chunk = chunk.bytes,
                Ok(None) => return Poll::Ready(Ok(false)),
                Err(_) => return Poll::Ready(Err(Fault::Gone)),
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Bytes of the present frame that are still to come.
    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    /// The next number of the stream; `None` where it has ended.
    pub(super) async fn number(&mut self) -> Result<Option<u64>, Fault> {
        loop {
            if let Some((value, _)) = number(&self.start) {
                self.start.clear();
                return Ok(Some(value));
            }
            if !poll_fn(|context| self.poll_chunk(context)).await? {
                return if self.start.is_empty() { Ok(None) } else { Err(Fault::Connection(code::FRAME_ERROR)) };
            }
            self.start.push(self.chunk.get_u8());
        }
    }

    /// Kind and length of the next frame, once the one before was taken; `None` at the end of the stream.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<(u64, u64)>, Fault>> {
        loop {
            let whole = self.start.is_empty();
            if let Some((kind, length, bytes)) = start(if whole { &self.chunk } else { &self.start }) {
                if whole {
                    self.chunk.advance(bytes);
                }
                self.start.clear();
                self.left = length;
                return Poll::Ready(Ok(Some((kind, length))));
            }
            if !ready!(self.poll_chunk(context))? {
                let is_between = self.start.is_empty();
                return Poll::Ready(if is_between { Ok(None) } else { Err(Fault::Connection(code::FRAME_ERROR)) });
            }
            // Most frames begin within what came at once; if this one does, the next look finds it.
            if !whole || start(&self.chunk).is_none() {
                self.start.push(self.chunk.get_u8());
            }
        }
    }

    /// The next piece of the present frame; `None` behind its end.
    pub(super) fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        if self.left == 0 {
            return Poll::Ready(Ok(None));
        }
        if !ready!(self.poll_chunk(context))? {
            return Poll::Ready(Err(Fault::Connection(code::FRAME_ERROR)));
        }
        let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.chunk.len());
        let piece = self.chunk.split_to(taken);
        self.left = self.left.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
        Poll::Ready(Ok(Some(piece)))
    }

    /// The next frame that means something: its kind and its length.
    pub(super) async fn next(&mut self) -> Result<Option<(u64, u64)>, Fault> {
        loop {
            let next = poll_fn(|context| self.poll_next(context)).await?;
            match next {
                Some((kind, length)) if !has_meaning(kind) => {
                    self.pass_over(length)?;
                    self.whole().await?;
                }
                other => return Ok(other),
            }
        }
    }

    /// Counts a frame that means nothing.
    pub(super) fn pass_over(&mut self, length: u64) -> Result<(), Fault> {
        let left = self.idle_left.checked_sub(length.saturating_add(IDLE_FRAME_BYTES));
        self.idle_left = left.filter(|_| length <= IDLE_BYTES_MAX).ok_or(Fault::Connection(code::EXCESSIVE_LOAD))?;
        Ok(())
    }

    /// All of the present frame, whose length the caller has found small enough.
    pub(super) async fn whole(&mut self) -> Result<Bytes, Fault> {
        let Some(first) = poll_fn(|context| self.poll_piece(context)).await? else { return Ok(Bytes::new()) };
        if self.left == 0 {
            return Ok(first);
        }
        let mut all = first.to_vec();
        while let Some(piece) = poll_fn(|context| self.poll_piece(context)).await? {
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    }

    /// Reads all that comes, up to so many bytes, and keeps nothing of it.
    pub(super) async fn drain(&mut self, mut bytes_max: usize) -> Result<(), Fault> {
        while bytes_max > 0 && poll_fn(|context| self.poll_chunk(context)).await? {
            bytes_max = bytes_max.saturating_sub(self.chunk.len());
            self.chunk.clear();
        }
        Ok(())
    }

    /// Bytes that have come, of those that are written on the stream without frames; `None` at its end.
    pub(super) async fn bytes(&mut self) -> Result<Option<Bytes>, Fault> {
        let has_more = poll_fn(|context| self.poll_chunk(context)).await?;
        Ok(has_more.then(|| std::mem::take(&mut self.chunk)))
    }

    /// Tells the client that nothing more is read.
    pub(super) fn stop(&mut self, why: VarInt) {
        // A stream that has ended has nothing to stop.
        drop(self.stream.stop(why));
    }
}

/// A number at the beginning of some bytes (RFC 9000, 16), and how many of them it takes.
pub(super) fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1_usize << (first >> 6);
    let rest = bytes.get(1..length)?;
    Some((rest.iter().fold(u64::from(first & 0x3f), |sum, byte| sum << 8 | u64::from(*byte)), length))
}

/// Kind and length of a frame that begins with these bytes, and how many of them say so.
fn start(bytes: &[u8]) -> Option<(u64, u64, usize)> {
    let (kind, behind) = number(bytes)?;
    let (length, more) = number(bytes.get(behind..)?)?;
    Some((kind, length, behind + more))
}

/// Writes a number in as few bytes as it takes.
pub(super) fn put_number(to: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    let (mark, length) = match value {
        0..0x40 => (0, 1),
        0x40..0x4000 => (0x40, 2),
        0x4000..0x4000_0000 => (0x80, 4),
        _ => (0xc0, 8),
    };
    let at = to.len();
    to.extend_from_slice(bytes.get(8 - length..).unwrap_or_default());
    if let Some(first) = to.get_mut(at) {
        *first |= mark;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9000, A.1, and the ends of each length.
    #[test]
    fn numbers_are_read_and_written() {
        for (bytes, value) in [
            (&b"\xc2\x19\x7c\x5e\xff\x14\xe8\x8c"[..], 151_288_809_941_952_652),
            (b"\x9d\x7f\x3e\x7d", 494_878_333),
            (b"\x7b\xbd", 15_293),
            (b"\x25", 37),
            (b"\x3f", 63),
            (b"\x40\x40", 64),
            (b"\x7f\xff", 16_383),
            (b"\x80\x00\x40\x00", 16_384),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", (1 << 62) - 1),
        ] {
            assert_eq!(number(bytes), Some((value, bytes.len())));
            assert_eq!(number(&bytes[..bytes.len() - 1]), None);
            let mut written = Vec::new();
            put_number(&mut written, value);
            assert_eq!(written, bytes);
        }
        assert_eq!(number(b"\x40\x25"), Some((37, 2)), "in more bytes than it takes");
        assert_eq!(start(b"\x01\x40\x64rest"), Some((1, 100, 3)));
        assert_eq!(start(b"\x01\x40"), None);
    }
}
