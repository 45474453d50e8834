//! The panel: pages and forms for people. Never writes SQL, never decides a right.
