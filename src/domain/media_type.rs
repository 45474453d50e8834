//! The published table of media types by extension (stub: the proof part fills this).
