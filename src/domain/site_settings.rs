//! What people set for a site, besides what is in its files: a section for each subject.

pub mod proxy;
