//! The composition root: settings to engines to services to servers. Holds no rules.
