//! Numbers, words and pictures that look random and are the same in every run.

#![expect(
    clippy::indexing_slicing,
    clippy::format_push_string,
    reason = "a test that panics says what went wrong, and is short before it is quick"
)]

use std::io::Write as _;

/// A generator by one seed (`SplitMix64`, Steele and others 2014). Not for secrets.
pub(crate) struct Seed(u64);

impl Seed {
    /// The same seed gives the same sequence.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }

    /// From 0 to `end`, without `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// From `from` to `to`, with both.
    pub(crate) fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    /// One of these.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// Bytes that do not compress.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// A picture of `side` × `side` pixels that every browser shows: a PNG (RFC 2083) of two colours and some noise.
pub(crate) fn png(seed: &mut Seed, side: u8) -> Vec<u8> {
    let (from, to) = (seed.bytes(3), seed.bytes(3));
    let mut rows = Vec::new();
    for y in 0..side {
        rows.push(0);
        for x in 0..side {
            let near = if (x / 8 + y / 8) % 2 == 0 { &from } else { &to };
            rows.extend(near.iter().map(|it| it ^ x ^ y));
        }
    }
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&rows).unwrap();
    let side = [0, 0, 0, side];
    // 8 bits a colour, no palette, not interlaced.
    let head = [&side[..], &side, &[8, 2, 0, 0, 0]].concat();
    let mut picture = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, content) in [(b"IHDR", head), (b"IDAT", packed.finish().unwrap()), (b"IEND", Vec::new())] {
        picture.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        let checked = [&kind[..], &content].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&checked);
        picture.extend(checked);
        picture.extend(crc.sum().to_be_bytes());
    }
    picture
}

const SUBJECTS: &[&str] = &[
    "The harbour master",
    "A lantern",
    "The old ferry",
    "Every second buoy",
    "The night watch",
    "A coil of rope",
    "The tide table",
    "Our smallest boat",
    "The signal mast",
    "A cormorant",
    "The ice house",
    "Half of the crew",
];
const VERBS: &[&str] = &[
    "waits for",
    "is painted before",
    "knows nothing of",
    "leans against",
    "was mended after",
    "counts",
    "keeps a list of",
    "turns away from",
    "belongs to",
    "outlasts",
    "answers",
    "measures",
];
const OBJECTS: &[&str] = &[
    "the spring tide",
    "eleven herring boats",
    "the salt on the quay",
    "a letter from Ærø",
    "the fog over the sound",
    "the brass bell",
    "somebody's bicycle",
    "the ledger of 1894",
    "the north-east wind",
    "a jar of nails",
    "the keeper's tea",
    "two gulls and a crow",
    "an unpaid bill",
    "the lighthouse of Ålesund",
];
const ENDINGS: &[&str] = &[
    "when the evening begins",
    "since nobody asked",
    "until the bell is rung twice",
    "as the book says on page four",
    "though the paint is not dry",
    "in every month with an R",
    "before the baker wakes",
    "and that is enough",
];

/// A sentence with its full stop.
pub(crate) fn sentence(seed: &mut Seed) -> String {
    let (who, does) = (seed.pick(SUBJECTS), seed.pick(VERBS));
    format!("{who} {does} {} {}.", seed.pick(OBJECTS), seed.pick(ENDINGS))
}

/// Some sentences.
pub(crate) fn paragraph(seed: &mut Seed) -> String {
    let sentences: Vec<_> = (0..seed.between(3, 9)).map(|_| sentence(seed)).collect();
    sentences.join(" ")
}

/// A page in Markdown with a heading, a table, a list, some code, and a link to each of `links` (text, target).
pub(crate) fn markdown(seed: &mut Seed, title: &str, links: &[(String, String)]) -> String {
    let mut page = format!("# {title}\n\n{}\n", paragraph(seed));
    for part in 0..seed.between(2, 6) {
        page += &format!("\n## Part {}: {}\n\n{}\n", part + 1, seed.pick(OBJECTS), paragraph(seed));
        match seed.below(4) {
            0 => {
                page += "\n| Day | Height | Remark |\n|---|---|---|\n";
                for day in 1..=seed.between(4, 20) {
                    page += &format!("| {day} | {} cm | {} |\n", seed.between(40, 320), seed.pick(ENDINGS));
                }
            }
            1 => {
                page += "\n```python\n";
                for line in 0..seed.between(3, 12) {
                    page += &format!("tide[{line}] = {}  # {}\n", seed.below(9_999), seed.pick(VERBS));
                }
                page += "```\n";
            }
            2 => {
                page += "\n";
                for _ in 0..seed.between(3, 9) {
                    page += &format!("- {}\n", sentence(seed));
                }
            }
            _ => page += &format!("\n> {}\n\n{}\n", sentence(seed), paragraph(seed)),
        }
    }
    page += "\n";
    for (text, target) in links {
        page += &format!("- [{text}](<{target}>)\n");
    }
    page
}
