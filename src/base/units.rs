//! Sizes and counts as people write and read them.
//!
//! What is read is exact or refused; what is shown is rounded for the eye. Never used for what programs read.

use std::{fmt, str::FromStr};

/// A number of bytes. Reads `512 MB`, `1GiB`, `4096`; shows decimal units (1 MB = 1,000,000 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Text that is not a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotASize(String);

const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("kib", 1 << 10),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
    ("tb", 1_000_000_000_000),
    ("tib", 1 << 40),
];

impl FromStr for ByteSize {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let wrong = || NotASize(text.to_owned());
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.trim().to_ascii_lowercase();
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(*factor).map(Self).ok_or_else(wrong)
    }
}

impl ByteSize {
    /// As people write it and with nothing lost, for a field that is read again: `100 MiB`, `1500 kB`, `1234567`.
    pub fn exact(self) -> String {
        let whole =
            UNITS.iter().filter(|(name, factor)| name.len() > 1 && self.0 >= *factor && self.0.is_multiple_of(*factor));
        // The largest unit of those that leave nothing over; `kB` is the only one whose first letter is small.
        match whole.max_by_key(|it| it.1) {
            Some((name, factor)) => {
                let name = match *name {
                    "kb" => String::from("kB"),
                    name => name.to_ascii_uppercase().replace('I', "i"),
                };
                format!("{} {name}", self.0 / factor)
            }
            None => self.0.to_string(),
        }
    }
}

impl fmt::Display for NotASize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a size; write for example `512 MB` or `1 GiB`", self.0)
    }
}

impl std::error::Error for NotASize {}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = match self.0 {
            0..1_000 => return write!(f, "{} B", self.0),
            1_000..1_000_000 => ("kB", 1_000),
            1_000_000..1_000_000_000 => ("MB", 1_000_000),
            1_000_000_000..1_000_000_000_000 => ("GB", 1_000_000_000),
            _ => ("TB", 1_000_000_000_000_u64),
        };
        // One decimal below ten, none above: as many digits as an eye takes in.
        let tenths = (self.0 + factor / 20) / (factor / 10);
        if tenths < 100 {
            write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
        } else {
            write!(f, "{} {unit}", (self.0 + factor / 2) / factor)
        }
    }
}

/// A number with thousands separators: `12,345`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        assert_eq!("512 MB".parse(), Ok(ByteSize(512_000_000)));
        assert_eq!("1GiB".parse(), Ok(ByteSize(1 << 30)));
        assert_eq!("4096".parse(), Ok(ByteSize(4096)));
        for wrong in ["", "MB", "-1", "1.5 GB", "9 parsecs", "99999999999999999999", "99999999999 TB"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
        assert_eq!(ByteSize(999).to_string(), "999 B");
        assert_eq!(ByteSize(1_260).to_string(), "1.3 kB");
        assert_eq!(ByteSize(24_600_000).to_string(), "25 MB");
        let exact = [0, 999, 1_500, 1_024, 104_857_600, 100_000_000_000, 1_234_567, 3 << 40];
        let words = ["0", "999", "1500", "1 KiB", "100 MiB", "100 GB", "1234567", "3 TiB"];
        assert_eq!(exact.map(|it| ByteSize(it).exact()), words.map(String::from));
        assert!(exact.iter().all(|it| ByteSize(*it).exact().parse() == Ok(ByteSize(*it))), "nothing is lost");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(12), "12");
    }
}
