//! The blob port: bytes by their SHA-256 (stub: the data plane fills this).
