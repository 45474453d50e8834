//! What rules may ask of a visitor, and whether they hold of one.
//!
//! Nothing here finds out anything of anybody: who answers visitors knows where an address is from.

use super::{Listener, When, explain::Step};
use crate::{base::country::Country, domain::policy::language};

/// Somebody who asks. What a rule wants to know is worked out when it wants it, and not before.
pub trait Visitor {
    /// Where they are, as far as that is known.
    fn country(&self) -> Option<Country>;
    /// The language that they like best, as their browser names it.
    fn language(&self) -> Option<&str>;
}

/// A visitor as somebody names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Where they are.
    pub country: Option<Country>,
    /// The language that they like best.
    pub language: Option<String>,
}

impl Visitor for Named {
    fn country(&self) -> Option<Country> {
        self.country
    }

    fn language(&self) -> Option<&str> {
        self.language.as_deref()
    }
}

/// What of a visitor an answer depends on: whoever has it else may get another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Where they are.
    pub country: bool,
    /// What they speak.
    pub language: bool,
}

impl Listener for Asked {
    fn step(&mut self, _: Step) {}

    fn rule(&mut self, _: usize, _: bool) {}

    fn condition(&mut self, when: &When) {
        self.country |= !when.countries.is_empty();
        self.language |= !when.languages.is_empty();
    }
}

/// Whether conditions hold of a visitor. Of somebody of whom it is not known, none does.
pub(super) fn holds(when: &When, visitor: &dyn Visitor) -> bool {
    is_from(when, visitor) && speaks(when, visitor)
}

pub(super) fn is_from(when: &When, visitor: &dyn Visitor) -> bool {
    when.countries.is_empty() || visitor.country().is_some_and(|it| when.countries.contains(&it))
}

pub(super) fn speaks(when: &When, visitor: &dyn Visitor) -> bool {
    let fits = |spoken: &str| when.languages.iter().any(|it| language::fits(it, spoken));
    when.languages.is_empty() || visitor.language().is_some_and(fits)
}
