//! All SQL, written once: free functions over a transaction. Never opens one, never names an engine.
