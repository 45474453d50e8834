//! Content codings (RFC 9110 §12.5.3): which compressed forms a client takes, the best first.
//!
//! Identity is always an answer: a client that forbids everything gets the bytes as they are.

use hyper::header::{ACCEPT_ENCODING, HeaderMap};

use crate::base::blob_dir::Coding;

/// The codings that a client takes, best first: at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted([Option<Coding>; 3]);

impl Accepted {
    /// Nothing but identity.
    pub const NONE: Self = Self([None; 3]);

    /// The codings, best first.
    pub fn iter(&self) -> impl Iterator<Item = Coding> {
        self.0.into_iter().flatten()
    }
}

/// Reads `Accept-Encoding`. By weight, then as [`Coding::ALL`] has them; none that weighs less than identity.
pub fn accepted(headers: &HeaderMap) -> Accepted {
    let mut weights: [Option<u16>; 3] = [None; 3];
    let (mut star, mut identity) = (None, None);
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    for item in lines.flat_map(|line| line.split(',')) {
        let mut parts = item.split(';');
        let name = parts.next().unwrap_or_default().trim();
        let Some(weight) = weight(parts) else {
            continue;
        };
        if name == "*" {
            star = Some(weight);
        } else if name.eq_ignore_ascii_case("identity") {
            identity = Some(weight);
        }
        for (slot, coding) in weights.iter_mut().zip(Coding::ALL) {
            let alias = coding == Coding::Gzip && name.eq_ignore_ascii_case("x-gzip");
            if alias || name.eq_ignore_ascii_case(coding.token()) {
                *slot = Some(weight);
            }
        }
    }
    let floor = identity.unwrap_or(0).max(1);
    let mut fit: [(u16, Option<Coding>); 3] = [(0, None); 3];
    for ((slot, weight), coding) in fit.iter_mut().zip(weights).zip(Coding::ALL) {
        if let Some(weight) = weight.or(star).filter(|it| *it >= floor) {
            *slot = (weight, Some(coding));
        }
    }
    // A stable sort keeps our order among equals.
    fit.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    Accepted(fit.map(|(_, coding)| coding))
}

/// The `q` of an item in thousandths, 1000 without one; `None` when it cannot be read.
fn weight(parameters: std::str::Split<'_, char>) -> Option<u16> {
    for parameter in parameters {
        let Some((name, value)) = parameter.split_once('=') else {
            continue;
        };
        if !name.trim().eq_ignore_ascii_case("q") {
            continue;
        }
        let (whole, part) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
        if part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let thousandths: u16 = if part.is_empty() { 0 } else { format!("{part:0<3}").parse().ok()? };
        return match (whole, thousandths) {
            ("0", it) => Some(it),
            ("1", 0) => Some(1000),
            _ => None,
        };
    }
    Some(1000)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn codings_by_weight_then_by_our_order() {
        use Coding::{Brotli, Gzip, Zstd};
        let cases: [(&str, &[Coding]); 15] = [
            ("", &[]),
            ("identity", &[]),
            ("gzip", &[Gzip]),
            ("x-gzip", &[Gzip]),
            ("GZIP, Br", &[Brotli, Gzip]),
            ("gzip, deflate, br, zstd", &[Brotli, Zstd, Gzip]),
            ("gzip;q=1.0, br;q=0.8", &[Gzip, Brotli]),
            ("br;q=0", &[]),
            ("br;q=0.000, gzip ; q=0.001", &[Gzip]),
            ("*", &[Brotli, Zstd, Gzip]),
            ("*;q=0.5, br;q=0, zstd", &[Zstd, Gzip]),
            ("identity;q=0.5, gzip;q=0.4, br;q=0.6", &[Brotli]),
            ("br;q=2, zstd;q=x, gzip;q=0.1234", &[]),
            ("*;q=0", &[]),
            ("br;level=5;q=0.9", &[Brotli]),
        ];
        for (header, wanted) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(header).unwrap());
            assert_eq!(accepted(&headers).iter().collect::<Vec<_>>(), wanted, "{header:?}");
        }
        assert_eq!(accepted(&HeaderMap::new()), Accepted::NONE);
    }
}
