//! Sockets: listening, connections and their limits. Knows no feature.
