//! Random bytes from the operating system.
//!
//! SECURITY: every secret of the product (tokens, keys, salts, preview labels) comes from here.

/// `N` random bytes. When the operating system has none to give, the process must not go on with
/// predictable secrets, so it ends.
#[expect(clippy::panic, reason = "without randomness no secret may be made")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0_u8; N];
    if let Err(error) = getrandom::fill(&mut out) {
        panic!("the operating system gives no random bytes: {error}");
    }
    out
}

/// A random number in `0..bound` without modulo bias worth speaking of (64 random bits); 0 for a bound of 0.
pub fn below(bound: u64) -> u64 {
    u64::from_le_bytes(bytes()).checked_rem(bound).unwrap_or(0)
}

/// Lower-case base32 (RFC 4648, no padding) of `N` random bytes: safe in a DNS label.
pub fn label<const N: usize>() -> String {
    data_encoding::BASE32_NOPAD.encode(&bytes::<N>()).to_ascii_lowercase()
}

/// Whether `text` has the shape of a [`label`] of `N` bytes: what is swept must look like what was made.
pub fn is_label<const N: usize>(text: &[u8]) -> bool {
    text.len() == data_encoding::BASE32_NOPAD.encode_len(N)
        && text.iter().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
}
