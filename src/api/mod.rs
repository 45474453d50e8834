//! The JSON API under `/api/v1`. Never writes SQL, never decides a right.
