//! A user: a person with an e-mail and a password. Rights come from memberships.

use crate::{
    base::limits,
    domain::{Error, Result},
    id_type,
};

id_type!(
    /// The id of a user.
    UserId
);

/// What a user is in a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Deploys and manages sites.
    User,
    /// Also users and keys of the tenant.
    Admin,
}

impl Role {
    /// The stored word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }

    /// Reads the stored word.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "user" => Ok(Self::User),
            "admin" => Ok(Self::Admin),
            _ => Err(Error::invalid("role", "A role is one of super-admin, admin, user.").on("role")),
        }
    }
}

/// The role word of the command line and the panel, which knows one more than a tenant does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grade {
    /// The role in the tenant.
    pub role: Role,
    /// Super admin of the server.
    pub super_admin: bool,
}

impl Grade {
    /// Reads `super-admin`, `admin` or `user`.
    pub fn parse(word: &str) -> Result<Self> {
        if word == "super-admin" {
            return Ok(Self { role: Role::Admin, super_admin: true });
        }
        Role::parse(word).map(|role| Self { role, super_admin: false })
    }

    /// The word for it.
    pub const fn word(self) -> &'static str {
        if self.super_admin { "super-admin" } else { self.role.word() }
    }
}

/// An e-mail address, normalised: trimmed, lower-case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(String);

impl Email {
    /// Checks the shape (RFC 5321 lengths, one `@`, no blanks or controls) and normalises.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong =
            || Error::invalid("email", "That is not an e-mail address. It looks like name@example.org.").on("email");
        let text = text.trim().to_lowercase();
        let (local, host) = text.rsplit_once('@').ok_or_else(wrong)?;
        let fits = !local.is_empty()
            && local.len() <= 64
            && !host.is_empty()
            && text.len() <= 254
            && !local.contains('@')
            && !text.chars().any(|c| c.is_whitespace() || c.is_control() || "<>\",;:\\()[]".contains(c))
            && !host.starts_with('.')
            && !host.ends_with('.')
            && !host.contains("..");
        if fits { Ok(Self(text)) } else { Err(wrong()) }
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks that a new password is long enough, and not so long that hashing it is an attack.
pub fn check_password(password: &str) -> Result<()> {
    if password.chars().count() < limits::PASSWORD_CHARS_MIN {
        return Err(Error::invalid(
            "password_short",
            format!("The password needs at least {} characters. A sentence is good.", limits::PASSWORD_CHARS_MIN),
        )
        .on("password"));
    }
    if password.len() > limits::PASSWORD_BYTES_MAX {
        return Err(Error::invalid("password_long", "The password is longer than 1024 bytes.").on("password"));
    }
    Ok(())
}

/// A user as stored, without the password's hash.
#[derive(Clone, Debug)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Unique on the server.
    pub email: Email,
    /// Super admin of the server.
    pub super_admin: bool,
    /// When the user was made.
    pub created_ms: i64,
    /// A disabled user cannot sign in and their keys are refused.
    pub disabled: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails_are_checked_and_normalised() {
        assert_eq!(Email::parse(" Owner@Example.ORG ").unwrap().as_str(), "owner@example.org");
        for wrong in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@.c", "a@c.", "a@c..d", "a\n@c.d", "<a@c.d>"] {
            assert!(Email::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn grades_have_words() {
        for word in ["super-admin", "admin", "user"] {
            assert_eq!(Grade::parse(word).unwrap().word(), word);
        }
        assert!(Grade::parse("root").is_err());
    }
}
