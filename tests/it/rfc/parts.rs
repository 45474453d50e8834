//! Parts and conditions (RFC 9110 §13 and §14): what a client that has some of a file is sent.
//!
//! Files of a deployment have no dates, so that conditions on dates say nothing here (§13.1.3 and §13.1.4).

use chainhost::{
    base::{blob_dir::Coding, hash::Sha256},
    domain::policy::Policy,
    serve::snapshot::State,
};

use super::none_wrong;
use crate::web::{Answer, Web, request};

/// What is sent.
#[derive(Clone, Copy, Debug)]
enum Sent {
    /// All of the file.
    Whole,
    /// Its compressed form.
    Brotli,
    /// These bytes of it, with the `Content-Range` for them.
    Part(usize, usize),
    /// These parts of it, each with its own.
    Parts(&'static [(usize, usize)]),
    /// Nothing, and as many headers as the whole has.
    Head,
    /// Nothing that is of the file.
    None,
    /// The page that says that no such part is there.
    Outside,
}
use Sent::{Brotli, Head, None, Outside, Part, Parts, Whole};

/// A question. In values `{e}` stands for the file's tag and `{b}` for that of its compressed form, without their quotes.
struct Row {
    what: &'static str,
    method: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    status: u16,
    sent: Sent,
}

const fn row(what: &'static str, headers: &'static [(&'static str, &'static str)], status: u16, sent: Sent) -> Row {
    Row { what, method: "GET", path: "/large.txt", headers, status, sent }
}

impl Row {
    const fn of(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    const fn by(self, method: &'static str) -> Self {
        Self { method, ..self }
    }
}

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATE: &str = "Fri, 01 Jan 2100 00:00:00 GMT";
const BR: (&str, &str) = ("accept-encoding", "br");

const RANGES: &[Row] = &[
    row("14.1.2: from the first byte to the last that is named", &[("range", "bytes=0-499")], 206, Part(0, 499)),
    row("14.1.2: the next", &[("range", "bytes=500-999")], 206, Part(500, 999)),
    row("14.1.2: one byte", &[("range", "bytes=0-0")], 206, Part(0, 0)),
    row("14.1.2: the last byte by its place", &[("range", "bytes=9999-9999")], 206, Part(9_999, 9_999)),
    row("14.1.2: to the end", &[("range", "bytes=9500-")], 206, Part(9_500, 9_999)),
    row("14.1.2: all of it", &[("range", "bytes=0-")], 206, Part(0, 9_999)),
    row("14.1.2: further than the end", &[("range", "bytes=9990-20000")], 206, Part(9_990, 9_999)),
    row(
        "14.1.2: further than any number",
        &[("range", "bytes=9990-99999999999999999999999999")],
        206,
        Part(9_990, 9_999),
    ),
    row("14.1.2: the last bytes", &[("range", "bytes=-500")], 206, Part(9_500, 9_999)),
    row("14.1.2: more of the last than there are", &[("range", "bytes=-20000")], 206, Part(0, 9_999)),
    row("14.1.2: more than any number", &[("range", "bytes=-99999999999999999999999999")], 206, Part(0, 9_999)),
    row("14.1.1: zeros before the numbers", &[("range", "bytes=007-0009")], 206, Part(7, 9)),
    row("14.1: a unit in capitals", &[("range", "BYTES=0-9")], 206, Part(0, 9)),
    row("14.1.1: blanks and empty places in the list", &[("range", "bytes= , 0-9 ,\t,")], 206, Part(0, 9)),
    row("14.1.2: two parts", &[("range", "bytes=0-9,100-109")], 206, Parts(&[(0, 9), (100, 109)])),
    row("14.1.2: first and last byte", &[("range", "bytes=0-0,-1")], 206, Parts(&[(0, 0), (9_999, 9_999)])),
    row(
        "15.3.7.2: in the order in which they were asked for",
        &[("range", "bytes=500-509,0-9")],
        206,
        Parts(&[(500, 509), (0, 9)]),
    ),
    row(
        "15.3.7.2: one that is not there is left out",
        &[("range", "bytes=0-9,100-109,20000-")],
        206,
        Parts(&[(0, 9), (100, 109)]),
    ),
    row("15.3.7.2: and of one that is left no list is made", &[("range", "bytes=0-9,20000-")], 206, Part(0, 9)),
    row("15.3.7.2: those that overlap are one", &[("range", "bytes=0-9,5-14")], 206, Part(0, 14)),
    row("15.3.7.2: those that touch are one", &[("range", "bytes=0-9,10-19")], 206, Part(0, 19)),
    row("15.3.7.2: the same twice is one", &[("range", "bytes=3-9,3-9")], 206, Part(3, 9)),
    row(
        "15.3.7.2: overlapping beside another",
        &[("range", "bytes=0-9,5-14,100-109")],
        206,
        Parts(&[(0, 14), (100, 109)]),
    ),
    row(
        "14.2: many that are the same are an attack, and cost no more than one",
        &[("range", "bytes=0-9,0-9,0-9,0-9,0-9,0-9,0-9,0-9,0-9,0-9")],
        206,
        Part(0, 9),
    ),
    row(
        "14.2: many small ones give the whole",
        &[(
            "range",
            "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20,22-22,24-24,26-26,28-28,30-30,32-32",
        )],
        200,
        Whole,
    ),
    row("14.2: parts that are longer than the whole give it", &[("range", "bytes=0-4999,5001-")], 200, Whole),
    row("15.5.17: behind the end", &[("range", "bytes=10000-")], 416, Outside),
    row("15.5.17: far behind it", &[("range", "bytes=10000-20000,30000-")], 416, Outside),
    row("15.5.17: further than any number", &[("range", "bytes=99999999999999999999999999-")], 416, Outside),
    row("15.5.17: none of the last bytes", &[("range", "bytes=-0")], 416, Outside),
    row("14.2: a unit that nobody knows", &[("range", "lines=0-9")], 200, Whole),
    row("14.2: no unit", &[("range", "0-9")], 200, Whole),
    row("14.2: nothing", &[("range", "")], 200, Whole),
    row("14.2: nothing behind the unit", &[("range", "bytes=")], 200, Whole),
    row("14.2: backwards", &[("range", "bytes=9-0")], 200, Whole),
    row("14.2: one backwards among good ones", &[("range", "bytes=0-9,9-0")], 200, Whole),
    row("14.2: no numbers", &[("range", "bytes=a-b")], 200, Whole),
    row("14.2: a plus", &[("range", "bytes=+0-9")], 200, Whole),
    row("14.2: two minus", &[("range", "bytes=0--9")], 200, Whole),
    row("14.2: a minus alone", &[("range", "bytes=-")], 200, Whole),
    row("14.2: one number", &[("range", "bytes=5")], 200, Whole),
    row("14.2: blanks in a part", &[("range", "bytes=0 - 9")], 200, Whole),
    row("5.3: said twice", &[("range", "bytes=0-9"), ("range", "bytes=20-29")], 200, Whole),
    row("14.2: HEAD has no parts", &[("range", "bytes=0-9")], 200, Head).by("HEAD"),
    row("14.2: nor one that is not there", &[("range", "bytes=20000-")], 200, Head).by("HEAD"),
    row("14.2: nor has POST", &[("range", "bytes=0-9")], 405, None).by("POST"),
    row("14.1.2: nothing has no first byte", &[("range", "bytes=0-")], 416, Outside).of("/empty.txt"),
    row("14.1.2: the last of nothing are nothing", &[("range", "bytes=-5")], 200, Whole).of("/empty.txt"),
    row("14.1.2: but not none of them", &[("range", "bytes=-0")], 416, Outside).of("/empty.txt"),
    row("14.1.2: a part of a small file", &[("range", "bytes=2-4")], 206, Part(2, 4)).of("/small.txt"),
    row("14.2: parts whose heads are longer than a small file", &[("range", "bytes=0-1,4-5")], 200, Whole)
        .of("/small.txt"),
    row("14.2: a file that is not there has none", &[("range", "bytes=0-9")], 404, None).of("/none.txt"),
    row("14.5: parts are those of the bytes as they are", &[BR, ("range", "bytes=0-9")], 206, Part(0, 9)),
    row("14.5: several too", &[BR, ("range", "bytes=0-9,100-109")], 206, Parts(&[(0, 9), (100, 109)])),
    row("12.5.3: the whole is compressed for who takes that", &[BR], 200, Brotli),
    row("13.1.5: with the tag of the file", &[("if-range", "\"{e}\""), ("range", "bytes=0-9")], 206, Part(0, 9)),
    row(
        "13.1.5: several, with it",
        &[("if-range", "\"{e}\""), ("range", "bytes=0-9,100-109")],
        206,
        Parts(&[(0, 9), (100, 109)]),
    ),
    row("13.1.5: with another tag", &[("if-range", "\"other\""), ("range", "bytes=0-9")], 200, Whole),
    row("13.1.5: a weak tag is none", &[("if-range", "W/\"{e}\""), ("range", "bytes=0-9")], 200, Whole),
    row("13.1.5: a tag without its quotes is none", &[("if-range", "{e}"), ("range", "bytes=0-9")], 200, Whole),
    row("13.1.5: a list of tags is none", &[("if-range", "\"{e}\", \"other\""), ("range", "bytes=0-9")], 200, Whole),
    row("13.1.5: a star is none", &[("if-range", "*"), ("range", "bytes=0-9")], 200, Whole),
    row(
        "13.1.5: a tag said twice is none",
        &[("if-range", "\"{e}\""), ("if-range", "\"{e}\""), ("range", "bytes=0-9")],
        200,
        Whole,
    ),
    row("13.1.5: a date, where a file has none", &[("if-range", DATE), ("range", "bytes=0-9")], 200, Whole),
    row("13.1.5: a date that is to come", &[("if-range", LATE), ("range", "bytes=0-9")], 200, Whole),
    row(
        "13.1.5: with another tag a part that is not there is no fault",
        &[("if-range", "\"other\""), ("range", "bytes=20000-")],
        200,
        Whole,
    ),
    row("13.1.5: with its tag it is", &[("if-range", "\"{e}\""), ("range", "bytes=20000-")], 416, Outside),
    row(
        "13.1.5: the tag of the compressed form is of other bytes",
        &[BR, ("if-range", "\"{b}\""), ("range", "bytes=0-9")],
        200,
        Whole,
    ),
    row("13.1.5: without a part it says nothing", &[("if-range", "\"other\"")], 200, Whole),
];

const CONDITIONS: &[Row] = &[
    row("13.1.2: the client has it", &[("if-none-match", "\"{e}\"")], 304, None),
    row("13.1.2: a weak tag is good enough", &[("if-none-match", "W/\"{e}\"")], 304, None),
    row("13.1.2: one of a list", &[("if-none-match", "\"x\", \"{e}\", W/\"y\"")], 304, None),
    row("13.1.2: a list without blanks, with empty places", &[("if-none-match", ",,\"x\",,\"{e}\"")], 304, None),
    row("13.1.2: a list in two lines", &[("if-none-match", "\"x\""), ("if-none-match", "\"{e}\"")], 304, None),
    row("8.8.3: a comma within a tag", &[("if-none-match", "\"x,\", \"{e}\"")], 304, None),
    row("13.1.2: a star", &[("if-none-match", "*")], 304, None),
    row("13.1.2: another", &[("if-none-match", "\"x\"")], 200, Whole),
    row("13.1.2: others", &[("if-none-match", "\"x\", W/\"y\", \"\"")], 200, Whole),
    row("8.8.3: without its quotes", &[("if-none-match", "{e}")], 200, Whole),
    row("8.8.3: with one of them", &[("if-none-match", "\"{e}")], 200, Whole),
    row("8.8.3: a small w", &[("if-none-match", "w/\"{e}\"")], 200, Whole),
    row("13.1.2: a star among tags", &[("if-none-match", "\"x\", *")], 200, Whole),
    row("13.1.2: a tag of which this is a part", &[("if-none-match", "\"{e}x\"")], 200, Whole),
    row("13.1.2: nothing", &[("if-none-match", "")], 200, Whole),
    row("13.1.2: HEAD too", &[("if-none-match", "\"{e}\"")], 304, None).by("HEAD"),
    row("13.1.2: a file that is not there has no state", &[("if-none-match", "*")], 404, None).of("/none.txt"),
    row("13.1.2: the compressed form that the client takes", &[BR, ("if-none-match", "\"{b}\"")], 304, None),
    row("13.1.2: or the file itself", &[BR, ("if-none-match", "\"{e}\"")], 304, None),
    row("13.1.2: a form that the client does not take", &[("if-none-match", "\"{b}\"")], 200, Whole),
    row("13.1.1: the state that is there", &[("if-match", "\"{e}\"")], 200, Whole),
    row("13.1.1: one of a list", &[("if-match", "\"x\", \"{e}\"")], 200, Whole),
    row("13.1.1: a star", &[("if-match", "*")], 200, Whole),
    row("13.1.1: another state", &[("if-match", "\"x\"")], 412, None),
    row("13.1.1: a weak tag is not good enough", &[("if-match", "W/\"{e}\"")], 412, None),
    row("13.1.1: no tag", &[("if-match", "{e}")], 412, None),
    row("13.1.1: nothing", &[("if-match", "")], 412, None),
    row("13.1.1: HEAD too", &[("if-match", "\"x\"")], 412, None).by("HEAD"),
    row("13.1.1: the compressed form that the client takes", &[BR, ("if-match", "\"{b}\"")], 200, Brotli),
    row("13.1.3: a date says nothing of a file without one", &[("if-modified-since", LATE)], 200, Whole),
    row("13.1.3: nor a date that is past", &[("if-modified-since", DATE)], 200, Whole),
    row("13.1.3: nor what is no date", &[("if-modified-since", "yesterday")], 200, Whole),
    row("13.1.4: nor for who wants it unmodified", &[("if-unmodified-since", DATE)], 200, Whole),
    row(
        "13.2.2: a tag that differs goes before a date",
        &[("if-none-match", "\"x\""), ("if-modified-since", LATE)],
        200,
        Whole,
    ),
    row("13.2.2: one that does not as well", &[("if-none-match", "\"{e}\""), ("if-modified-since", DATE)], 304, None),
    row(
        "13.2.2: If-Match goes before If-Unmodified-Since",
        &[("if-match", "\"{e}\""), ("if-unmodified-since", DATE)],
        200,
        Whole,
    ),
    row("13.2.2: and before If-None-Match", &[("if-match", "\"x\""), ("if-none-match", "\"{e}\"")], 412, None),
    row("13.2.2: which comes next", &[("if-match", "\"{e}\""), ("if-none-match", "\"{e}\"")], 304, None),
    row("13.2.2: both go before a part", &[("if-none-match", "\"{e}\""), ("range", "bytes=0-9")], 304, None),
    row(
        "13.2.2: also before one that is not there",
        &[("if-none-match", "\"{e}\""), ("range", "bytes=20000-")],
        304,
        None,
    ),
    row("13.2.2: and If-Match", &[("if-match", "\"x\""), ("range", "bytes=0-9")], 412, None),
    row(
        "13.2.2: then the part",
        &[("if-match", "\"{e}\""), ("if-none-match", "\"x\""), ("range", "bytes=0-9")],
        206,
        Part(0, 9),
    ),
    row("13.2.2: and If-Range", &[("if-match", "\"{e}\""), ("if-range", "\"x\""), ("range", "bytes=0-9")], 200, Whole),
    row("13.2.1: a method that no file takes has no conditions", &[("if-match", "\"x\"")], 405, None).by("PUT"),
    row("13.2.1: nor has OPTIONS", &[("if-none-match", "*")], 204, None).by("OPTIONS"),
];

/// A site with a small, an empty and a larger file, which has a compressed form.
struct Site {
    web: Web,
    large: Vec<u8>,
    brotli: Vec<u8>,
}

impl Site {
    fn start() -> Self {
        let web = Web::start();
        let large: Vec<u8> = (0..1_000).flat_map(|it| format!("line {it:04}\n").into_bytes()).collect();
        assert_eq!(large.len(), 10_000);
        let files: [(&str, &[u8]); 3] = [("/large.txt", &large), ("/small.txt", b"0123456789"), ("/empty.txt", b"")];
        let served = web.show(&files, Policy::default());
        let brotli = web.compress(&Sha256::of(&large), Coding::Brotli, &large);
        // The next generation has it.
        web.publish(&[("site.test", State::Live(served))]);
        Self { web, large, brotli }
    }

    fn file(&self, path: &str) -> &[u8] {
        match path {
            "/large.txt" => &self.large,
            "/small.txt" => b"0123456789",
            _ => b"",
        }
    }

    /// What is wrong with an answer to a row; nothing of it is asked but what the row has.
    fn check(&self, row: &Row, answer: &Answer, whole: &Answer) -> Result<(), String> {
        let file = self.file(row.path);
        let size = file.len();
        let must = |holds: bool, what: String| if holds { Ok(()) } else { Err(what) };
        must(answer.status() == row.status, format!("{} is right, and {} came", row.status, answer.status()))?;
        let range = match row.sent {
            Part(first, last) => format!("bytes {first}-{last}/{size}"),
            Outside => format!("bytes */{size}"),
            _ => String::new(),
        };
        let header = |name: &str, wanted: &str| {
            must(answer.header(name) == wanted, format!("{name} is to be {wanted:?}, and is {:?}", answer.header(name)))
        };
        header("content-range", &range)?;
        header("content-encoding", if matches!(row.sent, Brotli) { "br" } else { "" })?;
        let body: Vec<u8> = match row.sent {
            Whole => file.to_vec(),
            Brotli => self.brotli.clone(),
            Part(first, last) => file[first..=last].to_vec(),
            Parts(parts) => several(answer, file, parts),
            Head => Vec::new(),
            None | Outside => answer.body.to_vec(),
        };
        must(answer.body == body, format!("{} bytes are wrong", answer.body.len()))?;
        let is_of_file = matches!(row.status, 200 | 206 | 304) && row.method != "OPTIONS";
        if is_of_file {
            // What a cache that has another part joins it by (15.3.7, 15.4.5).
            for name in ["cache-control", "vary"] {
                header(name, whole.header(name))?;
            }
            let is_form = matches!(row.sent, Brotli)
                || row.headers.iter().any(|it| it.0 == "if-none-match" && it.1.contains("{b}")) && row.status == 304;
            must(is_form || answer.header("etag") == whole.header("etag"), String::from("the tag is another"))?;
        }
        match row.status {
            // It has no content, and describes none (15.4.5).
            204 | 304 => {
                must(answer.body.is_empty(), String::from("it has a body"))?;
                header("content-type", "")
            }
            206 if matches!(row.sent, Part(..)) => header("content-length", &body.len().to_string()),
            200 => header("content-length", &if matches!(row.sent, Head) { size } else { body.len() }.to_string()),
            412 | 416 => must(
                answer.header("etag").is_empty() && answer.header("cache-control") == "no-store",
                String::from("it may be kept"),
            ),
            405 => header("allow", "GET, HEAD, OPTIONS"),
            _ => Ok(()),
        }
    }

    async fn run(&self, rows: &[Row]) {
        let mut wrong = Vec::new();
        for row in rows {
            let whole = self.web.get(row.path).await;
            let tag = whole.header("etag").trim_matches('"').to_owned();
            let compressed = format!("{tag}-br");
            let values: Vec<String> =
                row.headers.iter().map(|it| it.1.replace("{e}", &tag).replace("{b}", &compressed)).collect();
            let headers: Vec<(&str, &str)> =
                row.headers.iter().zip(&values).map(|(it, value)| (it.0, value.as_str())).collect();
            let answer = self.web.ask(request(row.method, row.path, &headers)).await;
            if let Err(what) = self.check(row, &answer, &whole) {
                wrong.push(format!("9110 §{} ({} {} {headers:?}): {what}", row.what, row.method, row.path));
            }
        }
        none_wrong(&wrong, rows.len());
    }
}

/// The body that has these parts, with the word between them that the answer names (RFC 9110 §14.6).
fn several(answer: &Answer, file: &[u8], parts: &[(usize, usize)]) -> Vec<u8> {
    let Some(word) = answer.header("content-type").strip_prefix("multipart/byteranges; boundary=") else {
        return Vec::new();
    };
    let mut body = Vec::new();
    for (at, (first, last)) in parts.iter().enumerate() {
        let line = if at == 0 { "" } else { "\r\n" };
        let head = format!(
            "{line}--{word}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-range: bytes {first}-{last}/{}\r\n\r\n",
            file.len()
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&file[*first..=*last]);
    }
    body.extend_from_slice(format!("\r\n--{word}--\r\n").as_bytes());
    body
}

#[tokio::test]
async fn parts_of_a_file() {
    Site::start().run(RANGES).await;
}

#[tokio::test]
async fn conditions_on_a_file() {
    Site::start().run(CONDITIONS).await;
}
