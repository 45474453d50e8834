//! `_headers`, `_redirects` and `chainhost.toml` (stub: the proof part fills this).
