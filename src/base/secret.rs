//! Text that must not be printed: passwords, keys, tokens.
//!
//! Its `Debug` says only that there is one; its memory is wiped when it goes.

use std::fmt;

use zeroize::Zeroize as _;

/// A secret text. Not `Clone`, not `Display`, on purpose.
pub struct Secret(String);

impl Secret {
    /// Takes the text in.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// Shows the text to the one caller that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}
