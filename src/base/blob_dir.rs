//! Bytes by their SHA-256 in a folder (stub: the data plane fills this).
