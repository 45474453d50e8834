//! What fulfils the ports. No engine imports another.
