//! The data plane: answers visitors from one immutable snapshot. Nothing here reads the database.
