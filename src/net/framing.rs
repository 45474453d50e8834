//! Where the messages of an HTTP/1 connection begin and end, read more strictly than the parser behind it reads them.
//!
//! A reader that is lenient about framing understands a request otherwise than another one in front of it does, and what one
//! takes for a body the other takes for a request (request smuggling). So this looks at each byte before hyper does, and lets
//! nothing pass that RFC 9112 gives two readings: a line that ends in LF alone, a length beside `Transfer-Encoding`, a length
//! said twice, a coding that is not `chunked` alone, a chunk size with anything but digits before its extensions. Nor does a target with a
//! `#`: the parser would drop what is behind it, which a rule of a reader in front has seen as a part of the path. Nor the method `PRI`, with
//! which HTTP/2 begins and nothing else does: who takes it for that finds other requests behind it.
//!
//! Guarantees: what passes is framed by hyper as it is here; what does not pass in a head becomes one byte that hyper answers
//! with 400, and in a body the end of the stream. Bytes are looked at once, whatever parts they come in, and none is kept
//! beyond the beginning of a line. What follows a switch to another protocol passes as it is, and so does HTTP/2.

/// How HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The method in it, which no request has (RFC 9113, 3.4).
pub(super) const OF_PREFACE: &[u8] = b"PRI ";
/// What is kept of a line that comes in parts: more than a header that says a length may have.
const LINE_KEPT: usize = 96;
/// Digits of a chunk's size: 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;
/// What stands for a byte that may not pass in a head: hyper refuses it wherever it stands.
const REFUSED: u8 = 0;

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The first bytes of the connection, so many of which are those of HTTP/2.
    Start(usize),
    /// A line of a head.
    Head,
    /// So many more bytes of a body.
    Body(u64),
    /// The size of a chunk, with so many digits read.
    Size(u64, u8),
    /// What stands behind a chunk's size.
    Extension,
    /// The LF behind the size of a chunk.
    SizeEnd(u64),
    /// So many more bytes of a chunk.
    Chunk(u64),
    /// The CR behind a chunk.
    ChunkCr,
    /// The LF behind that.
    ChunkLf,
    /// A line of the trailers.
    Trailers,
    /// HTTP/2, which is not to be read here.
    Two,
    /// Another protocol, which is nobody's to read here.
    Opaque,
    /// Nothing passes any more.
    Broken,
}

/// What the head that is being read has said of its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Said {
    #[default]
    Nothing,
    Length(u64),
    Chunked,
    /// What two readers may understand differently.
    Both,
}

/// Follows the bytes that a client sends.
#[derive(Debug)]
pub(super) struct Framing {
    at: At,
    said: Said,
    /// The request line is still to come.
    first_line: bool,
    /// The beginning of a line that came in parts.
    line: Vec<u8>,
    /// Bytes of that line, also those that were not kept.
    line_bytes: usize,
    /// The byte before.
    last: u8,
    /// The size of the chunk whose extensions are being passed over.
    size: u64,
}

impl Framing {
    /// Of a connection that begins with HTTP/1 or HTTP/2.
    pub(super) const fn new() -> Self {
        Self {
            at: At::Start(0),
            said: Said::Nothing,
            first_line: true,
            line: Vec::new(),
            line_bytes: 0,
            last: 0,
            size: 0,
        }
    }

    /// Lets all pass from here on: the connection has another protocol now.
    pub(super) fn switch(&mut self) {
        if self.at != At::Broken {
            self.at = At::Opaque;
            self.line = Vec::new();
        }
    }

    /// Whether the connection has begun with all of the preface of HTTP/2.
    pub(super) fn is_two(&self) -> bool {
        self.at == At::Two
    }

    /// Whether nothing passes any more: the stream ends here.
    pub(super) fn is_broken(&self) -> bool {
        self.at == At::Broken
    }

    /// Looks at the next bytes; how many of them pass. When these are not all, the stream ends behind them. The last that passes
    /// may be another byte then, which the parser refuses.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|it| !it.is_empty()) {
            done += match self.at {
                At::Start(known) => self.start(known, rest),
                At::Head | At::Trailers => self.lines(rest),
                At::Body(left) => {
                    let (taken, left) = take(left, rest.len());
                    self.at = if left == 0 { self.next_head() } else { At::Body(left) };
                    taken
                }
                At::Chunk(left) => {
                    let (taken, left) = take(left, rest.len());
                    self.at = if left == 0 { At::ChunkCr } else { At::Chunk(left) };
                    taken
                }
                At::Two | At::Opaque => rest.len(),
                At::Broken => return done,
                _ => {
                    self.at = self.chunk_sign(rest.first().copied().unwrap_or_default());
                    usize::from(self.at != At::Broken)
                }
            };
        }
        done
    }

    /// The first bytes: those of HTTP/2, all of it, or a head.
    fn start(&mut self, known: usize, rest: &[u8]) -> usize {
        let wanted = PREFACE.get(known..).unwrap_or_default();
        let same = wanted.iter().zip(rest).take_while(|(a, b)| a == b).count();
        if same == wanted.len() {
            self.at = At::Two;
        } else if same == rest.len() {
            self.at = At::Start(known + same);
        } else {
            // What looked like it until here has no line that is wrong, and is refused by its version.
            self.at = At::Head;
            if known + same > 0 {
                let mut before = PREFACE.get(..known + same).unwrap_or_default().to_vec();
                self.lines(&mut before);
            }
        }
        same
    }

    /// Whole lines of a head or of trailers, or the part of one; how many bytes were looked at.
    fn lines(&mut self, bytes: &mut [u8]) -> usize {
        let Some(at) = memchr::memchr(b'\n', bytes) else {
            self.keep(bytes);
            self.last = bytes.last().copied().unwrap_or(self.last);
            return bytes.len();
        };
        let before = at.checked_sub(1).and_then(|it| bytes.get(it)).copied().unwrap_or(self.last);
        let is_well = before == b'\r' && {
            let line = bytes.get(..at).unwrap_or_default();
            if self.line_bytes == 0 {
                self.look_at_target(line);
                self.line_ended(line, line.len())
            } else {
                self.keep(bytes.get(..at).unwrap_or_default());
                let (line, whole) = (std::mem::take(&mut self.line), self.line_bytes);
                let is_well = self.line_ended(&line, whole);
                self.line = line;
                is_well
            }
        };
        self.line.clear();
        (self.line_bytes, self.last) = (0, b'\n');
        if is_well {
            return at + 1;
        }
        let in_head = self.at == At::Head;
        self.at = At::Broken;
        // Of a body nobody is told but by its end.
        let Some(end) = bytes.get_mut(at).filter(|_| in_head) else { return 0 };
        *end = REFUSED;
        at + 1
    }

    /// A part of a line that may be a request line.
    fn look_at_target(&mut self, part: &[u8]) {
        if self.first_line && memchr::memchr(b'#', part).is_some() {
            self.said = Said::Both;
        }
    }

    fn keep(&mut self, part: &[u8]) {
        self.look_at_target(part);
        let room = LINE_KEPT.saturating_sub(self.line.len()).min(part.len());
        self.line.extend_from_slice(part.get(..room).unwrap_or_default());
        self.line_bytes += part.len();
    }

    /// A line up to its CR, of which `whole` bytes have come. Whether it, and the head that it ends, may pass.
    fn line_ended(&mut self, line: &[u8], whole: usize) -> bool {
        let is_empty = whole == 1;
        if self.at == At::Trailers {
            if is_empty {
                self.at = self.next_head();
            }
            return true;
        }
        if self.first_line {
            // Empty lines before a request line mean nothing (RFC 9112, 2.2).
            self.first_line = is_empty;
            return !line.starts_with(OF_PREFACE);
        }
        if !is_empty {
            self.field(line, whole > LINE_KEPT);
            return true;
        }
        self.at = match self.said {
            Said::Nothing | Said::Length(0) => self.next_head(),
            Said::Length(bytes) => At::Body(bytes),
            Said::Chunked => At::Size(0, 0),
            Said::Both => return false,
        };
        true
    }

    /// A field, with its CR; `cut`: it is longer than one that says a length needs to be.
    fn field(&mut self, line: &[u8], cut: bool) {
        // Most fields begin with another letter.
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
            return;
        }
        let Some((name, value)) = memchr::memchr(b':', line).and_then(|at| line.split_at_checked(at)) else { return };
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let said = if name.eq_ignore_ascii_case(b"content-length") {
            length(value).map_or(Said::Both, Said::Length)
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if value.eq_ignore_ascii_case(b"chunked") { Said::Chunked } else { Said::Both }
        } else {
            return;
        };
        self.said = if self.said == Said::Nothing && !cut { said } else { Said::Both };
    }

    /// One byte between the bytes of chunks.
    fn chunk_sign(&mut self, byte: u8) -> At {
        match (self.at, byte) {
            (At::Size(size, digits), _) if byte.is_ascii_hexdigit() && digits < SIZE_DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                At::Size(size << 4 | u64::from(digit), digits + 1)
            }
            (At::Size(size, 1..), b'\r') => At::SizeEnd(size),
            (At::Size(size, 1..), b';') => {
                self.size = size;
                At::Extension
            }
            (At::Extension, b'\r') => At::SizeEnd(self.size),
            (At::Extension, b'\t' | b' '..=b'~' | 0x80..) => At::Extension,
            (At::SizeEnd(0), b'\n') => {
                self.last = b'\n';
                At::Trailers
            }
            (At::SizeEnd(size), b'\n') => At::Chunk(size),
            (At::ChunkCr, b'\r') => At::ChunkLf,
            (At::ChunkLf, b'\n') => At::Size(0, 0),
            _ => At::Broken,
        }
    }

    fn next_head(&mut self) -> At {
        (self.said, self.first_line, self.last) = (Said::Nothing, true, b'\n');
        At::Head
    }
}

/// How many of `there` bytes belong to what has `left` more, and what is left of it.
fn take(left: u64, there: usize) -> (usize, u64) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(there);
    (taken, left.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX)))
}

/// A length (RFC 9112, 6.2): digits alone, of 64 bits.
fn length(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if digits { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What passes of bytes that come in these parts, and whether the stream ends there.
    fn passed(bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, bool) {
        let (mut framing, mut out, mut from) = (Framing::new(), Vec::new(), 0);
        for to in cuts.iter().copied().chain([bytes.len()]) {
            let mut part = bytes[from..to].to_vec();
            let count = framing.pass(&mut part);
            out.extend_from_slice(&part[..count]);
            assert_eq!(count < part.len() || framing.is_broken(), framing.is_broken(), "{:?}", framing.at);
            if framing.is_broken() {
                return (out, true);
            }
            from = to;
        }
        (out, false)
    }

    const GOOD: &[&str] = &[
        "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\na\nb\ncGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:   0  \r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-ENCODING: Chunked\r\n\r\n3\r\na\nb\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\r\ncontent-length: 3\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nany\nthing\0",
        "PUT / HTTP/1.1\r\nte: trailers\r\ncontent-type: text/plain\r\n\r\n",
    ];

    /// With how many bytes of each pass, the last of which is another one where that is so.
    const BAD: &[(&str, &str, bool)] = &[
        ("GET / HTTP/1.1\n", "\r\n\r\n", true),
        ("\n", "GET / HTTP/1.1\r\n\r\n", true),
        ("GET / HTTP/1.1\r\na: b\n", "c: d\r\n\r\n", true),
        ("GET / HTTP/1.1\r\na: b\r\n\n", "", true),
        ("P / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", "0\r\n\r\n", true),
        ("P / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n", "0\r\n\r\n", true),
        ("P / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n", "a", true),
        ("P / HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\n", "a", true),
        ("GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n", "", true),
        ("GET / HTTP/1.1\r\n\r\nPRI * HTTP/2.0\r\n", "\r\nSM\r\n\r\n", true),
        ("\r\nPRI / HTTP/1.1\r\n", "host: a\r\n\r\n", true),
        ("PRI / HTTP/1.1\r\n", "host: a\r\n\r\n", true),
        ("P / HTTP/1.1\r\ncontent-length:\r\n\r\n", "a", true),
        ("P / HTTP/1.1\r\ncontent-length: +1\r\n\r\n", "a", true),
        ("P / HTTP/1.1\r\ncontent-length: 18446744073709551616\r\n\r\n", "a", true),
        ("P / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "0\r\n\r\n", true),
        ("P / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", "0\r\n\r\n", true),
        ("P / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "g\r\n", false),
        ("P / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "\r\n", false),
        ("P / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1", " \r\na\r\n", false),
        ("P / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1", "\na\r\n", false),
        ("P / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;a", "\nb\r\na\r\n", false),
        ("P / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0000000000000001", "0\r\n", false),
        ("P / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na", "b\r\n0\r\n\r\n", false),
        ("P / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na", "\n0\r\n\r\n", false),
    ];

    fn expected(good: &str, ends_in_refusal: bool) -> Vec<u8> {
        let mut bytes = good.as_bytes().to_vec();
        if ends_in_refusal && let Some(last) = bytes.last_mut() {
            *last = REFUSED;
        }
        bytes
    }

    #[test]
    fn what_is_well_passes_unchanged_in_whatever_parts_it_comes() {
        for text in GOOD {
            let bytes = text.as_bytes();
            assert_eq!(passed(bytes, &[]), (bytes.to_vec(), false), "{text:?}");
            for cut in 0..=bytes.len() {
                assert_eq!(passed(bytes, &[cut]), (bytes.to_vec(), false), "{text:?} cut at {cut}");
            }
            let all: Vec<usize> = (0..bytes.len()).collect();
            assert_eq!(passed(bytes, &all), (bytes.to_vec(), false), "{text:?} byte by byte");
        }
    }

    #[test]
    fn what_has_two_readings_ends_the_stream_in_whatever_parts_it_comes() {
        for (good, more, refusal) in BAD {
            let (bytes, wanted) = (format!("{good}{more}").into_bytes(), (expected(good, *refusal), true));
            for cut in 0..=bytes.len() {
                assert_eq!(passed(&bytes, &[cut]), wanted, "{good:?} {more:?} cut at {cut}");
            }
            let all: Vec<usize> = (0..bytes.len()).collect();
            assert_eq!(passed(&bytes, &all), wanted, "{good:?} {more:?} byte by byte");
        }
        // In trailers a part of the line may have passed before.
        let (out, ends) = passed(b"P / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: b\n\r\n", &[]);
        assert!(ends && !out.contains(&REFUSED));
    }

    #[test]
    fn a_line_of_any_length_is_followed_and_what_is_cut_of_a_length_is_refused() {
        let long = "x".repeat(100_000);
        let text = format!("GET /{long} HTTP/1.1\r\nx: {long}\r\ncontent-length: 2\r\n\r\n\n\nGET / HTTP/1.1\r\n\r\n");
        assert_eq!(passed(text.as_bytes(), &[50_000, 150_000]), (text.clone().into_bytes(), false));
        let padded = format!("GET / HTTP/1.1\r\ncontent-length:{}2\r\n\r\n", " ".repeat(200));
        assert!(passed(padded.as_bytes(), &[20, 120]).1 && passed(padded.as_bytes(), &[]).1);
    }

    #[test]
    fn another_protocol_passes_as_it_is() {
        let mut framing = Framing::new();
        let mut head = *b"GET / HTTP/1.1\r\nupgrade: websocket\r\n\r\n";
        assert_eq!(framing.pass(&mut head), head.len());
        framing.switch();
        let mut frames = *b"\x81\n\n\0\r";
        assert_eq!((framing.pass(&mut frames), frames), (5, *b"\x81\n\n\0\r"));
    }

    proptest! {
        #[test]
        fn parts_change_nothing(
            words in prop::collection::vec(prop::sample::select(vec![
                "GET / HTTP/1.1", "\r\n", "\n", "\r", "content-length: 3", "transfer-encoding: chunked", "abc", "0", "3", ";", " ", ":",
            ]), 0..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes = words.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|it| it.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let (whole, parts) = (passed(&bytes, &[]), passed(&bytes, &cuts));
            prop_assert_eq!(whole.1, parts.1);
            if whole.1 {
                // Of trailers that end wrongly more may have passed in parts.
                prop_assert!(parts.0.starts_with(&whole.0));
            } else {
                prop_assert_eq!(whole.0, parts.0);
            }
        }
    }
}
