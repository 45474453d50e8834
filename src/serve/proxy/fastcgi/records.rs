//! The records that a connection of `FastCGI` consists of (specification 1.0, §3 and §8).

use bytes::{Buf as _, Bytes, BytesMut};

use super::Fault;

/// Bytes of the content of one record.
pub(super) const CONTENT_MAX: usize = 65_535;
const HEAD: usize = 8;
const VERSION: u8 = 1;
/// The only request of a connection.
const ID: u8 = 1;
const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
/// The type of a record with a piece of the body.
pub(super) const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// What a program says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A piece of the answer.
    Stdout(Bytes),
    /// A complaint.
    Stderr(Bytes),
    /// It has done what was asked.
    End,
}

/// The head of a record of so many bytes, [`CONTENT_MAX`] at most.
pub(super) fn head(kind: u8, length: usize) -> [u8; HEAD] {
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    [VERSION, kind, 0, ID, high, low, 0, 0]
}

/// The records in front of a body: a request of the role responder on a connection that ends with it, and its parameters.
pub(super) fn begin(params: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(params.len() + 4 * HEAD);
    out.extend_from_slice(&head(BEGIN_REQUEST, 8));
    out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    for piece in params.chunks(CONTENT_MAX) {
        out.extend_from_slice(&head(PARAMS, piece.len()));
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(&head(PARAMS, 0));
    out
}

/// Reads records from what has come.
#[derive(Debug, Default)]
pub(super) struct Records {
    came: BytesMut,
    /// Of the record that is being read: its type, its bytes, and those behind it that mean nothing.
    open: Option<(u8, usize, usize)>,
}

impl Records {
    /// More has come.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.came.extend_from_slice(bytes);
    }

    /// The next record, or a piece of it; `None` when more must come.
    pub(super) fn next(&mut self) -> Result<Option<Record>, Fault> {
        loop {
            let Some((kind, length, padding)) = self.open else {
                let Some(&[version, kind, _, _, high, low, padding, _]) = self.came.first_chunk::<HEAD>() else {
                    return Ok(None);
                };
                if version != VERSION {
                    return Err(Fault::Nonsense("what listens there does not speak FastCGI"));
                }
                self.came.advance(HEAD);
                self.open = Some((kind, usize::from(u16::from_be_bytes([high, low])), usize::from(padding)));
                continue;
            };
            if kind == END_REQUEST {
                if self.came.len() < length {
                    return Ok(None);
                }
                return match self.came.get(..length).and_then(|it| it.get(4)) {
                    Some(0) => Ok(Some(Record::End)),
                    Some(2) => Err(Fault::Nonsense("it has too much to do (FCGI_OVERLOADED)")),
                    _ => Err(Fault::Nonsense("it refuses the request (FCGI_END_REQUEST)")),
                };
            }
            if length > 0 {
                let there = length.min(self.came.len());
                if there == 0 {
                    return Ok(None);
                }
                let bytes = self.came.split_to(there).freeze();
                self.open = Some((kind, length - there, padding));
                match kind {
                    STDOUT => return Ok(Some(Record::Stdout(bytes))),
                    STDERR => return Ok(Some(Record::Stderr(bytes))),
                    // Of others nothing was asked.
                    _ => {}
                }
            } else if self.came.len() < padding {
                return Ok(None);
            } else {
                self.came.advance(padding);
                self.open = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
        let mut bytes = head(kind, content.len()).to_vec();
        bytes[6] = padding;
        bytes.extend_from_slice(content);
        bytes.extend(vec![0xff; usize::from(padding)]);
        bytes
    }

    #[test]
    fn records_are_read_whatever_parts_they_come_in() {
        let all = [
            record(STDOUT, b"hello", 3),
            record(STDERR, b"oh", 0),
            record(99, b"what", 1),
            record(STDOUT, b"", 0),
            record(STDOUT, b" you", 255),
            record(END_REQUEST, &[0; 8], 0),
        ]
        .concat();
        for size in 1..all.len() {
            let (mut records, mut out, mut complaints, mut has_ended) = (Records::default(), vec![], vec![], false);
            for piece in all.chunks(size) {
                records.put(piece);
                while let Some(record) = records.next().unwrap().filter(|_| !has_ended) {
                    match record {
                        Record::Stdout(bytes) => out.extend_from_slice(&bytes),
                        Record::Stderr(bytes) => complaints.extend_from_slice(&bytes),
                        Record::End => has_ended = true,
                    }
                }
            }
            assert_eq!((&out[..], &complaints[..], has_ended), (&b"hello you"[..], &b"oh"[..], true), "{size}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let next = |bytes: &[u8]| {
            let mut records = Records::default();
            records.put(bytes);
            records.next()
        };
        assert!(matches!(next(b"HTTP/1.1 400 Bad Request"), Err(Fault::Nonsense(why)) if why.contains("FastCGI")));
        assert!(
            matches!(next(&record(END_REQUEST, &[0, 0, 0, 0, 2, 0, 0, 0], 0)), Err(Fault::Nonsense(why)) if why.contains("OVERLOADED"))
        );
        assert!(next(&record(END_REQUEST, &[0; 3], 0)).is_err());
        assert_eq!(next(&record(STDOUT, b"x", 0)[..8]), Ok(None));
    }

    #[test]
    fn many_parameters_are_several_records() {
        let bytes = begin(&vec![7; CONTENT_MAX + 10]);
        let kinds = [
            (0, BEGIN_REQUEST, 8),
            (16, PARAMS, CONTENT_MAX),
            (24 + CONTENT_MAX, PARAMS, 10),
            (42 + CONTENT_MAX, PARAMS, 0),
        ];
        for (at, kind, length) in kinds {
            assert_eq!(bytes[at..at + HEAD], head(kind, length), "{at}");
        }
        assert_eq!(bytes.len(), 50 + CONTENT_MAX);
    }
}
