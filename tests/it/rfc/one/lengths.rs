//! How long a body is (RFC 9112 §6): said once, in one way, or the request is refused.

use super::{Row, Then, bad, get, post, two};

pub(super) const ROWS: &[Row] = &[
    bad(
        "9112 §6.3: a length, then a coding",
        "POST {p} HTTP/1.1\r\n{h}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §6.3: a coding, then a length",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §6.3: a length of nothing beside a coding",
        "POST {p} HTTP/1.1\r\n{h}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §6.3: both, in other letters",
        "POST {p} HTTP/1.1\r\n{h}cOnTeNt-LeNgTh: 6\r\ntRANSFER-eNCODING: cHUNKED\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §6.3: both, with a GET",
        "GET {p} HTTP/1.1\r\n{h}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §6.3: a length, a coding and a length",
        "POST {p} HTTP/1.1\r\n{h}Content-Length: 6\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §6.3: two lengths that differ",
        "POST {p} HTTP/1.1\r\n{h}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    ),
    bad("9112 §6.3: two that agree", "POST {p} HTTP/1.1\r\n{h}Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
    bad(
        "9112 §6.3: one of nothing, then another",
        "POST {p} HTTP/1.1\r\n{h}Content-Length: 0\r\nContent-Length: 4\r\n\r\nabcd",
    ),
    bad("9110 §8.6: a list that agrees", "POST {p} HTTP/1.1\r\n{h}Content-Length: 4, 4\r\n\r\nabcd"),
    bad("9110 §8.6: a list that differs", "POST {p} HTTP/1.1\r\n{h}Content-Length: 4, 5\r\n\r\nabcd"),
    bad("9110 §8.6: a list of one", "POST {p} HTTP/1.1\r\n{h}Content-Length: 4,\r\n\r\nabcd"),
    bad("9110 §8.6: a plus", "POST {p} HTTP/1.1\r\n{h}Content-Length: +4\r\n\r\nabcd"),
    bad("9110 §8.6: a minus", "POST {p} HTTP/1.1\r\n{h}Content-Length: -4\r\n\r\nabcd"),
    bad("9110 §8.6: less than nothing, which is nothing", "POST {p} HTTP/1.1\r\n{h}Content-Length: -0\r\n\r\n{s}"),
    bad("9110 §8.6: hexadecimal", "POST {p} HTTP/1.1\r\n{h}Content-Length: 0x4\r\n\r\nabcd"),
    bad("9110 §8.6: two numbers", "POST {p} HTTP/1.1\r\n{h}Content-Length: 4 4\r\n\r\nabcd"),
    bad("9110 §8.6: a fraction", "POST {p} HTTP/1.1\r\n{h}Content-Length: 4.0\r\n\r\nabcd"),
    bad("9110 §8.6: an exponent", "POST {p} HTTP/1.1\r\n{h}Content-Length: 4e0\r\n\r\nabcd"),
    bad("9110 §8.6: an underscore", "POST {p} HTTP/1.1\r\n{h}Content-Length: 0_4\r\n\r\nabcd"),
    bad("9110 §8.6: a unit behind it", "POST {p} HTTP/1.1\r\n{h}Content-Length: 4b\r\n\r\nabcd"),
    bad("9110 §8.6: in quotes", "POST {p} HTTP/1.1\r\n{h}Content-Length: \"4\"\r\n\r\nabcd"),
    bad("9110 §8.6: nothing", "POST {p} HTTP/1.1\r\n{h}Content-Length:\r\n\r\nabcd"),
    bad("9110 §8.6: blanks", "POST {p} HTTP/1.1\r\n{h}Content-Length:   \r\n\r\nabcd"),
    bad("9110 §8.6: no number", "POST {p} HTTP/1.1\r\n{h}Content-Length: four\r\n\r\nabcd"),
    bad(
        "9112 §6.3: one more than 64 bits have",
        "POST {p} HTTP/1.1\r\n{h}Content-Length: 18446744073709551616\r\n\r\nabcd",
    ),
    bad(
        "9112 §6.3: four more than 64 bits have",
        "POST {p} HTTP/1.1\r\n{h}Content-Length: 18446744073709551620\r\n\r\nabcd",
    ),
    bad(
        "9112 §6.3: thirty digits",
        "POST {p} HTTP/1.1\r\n{h}Content-Length: 400000000000000000000000000000\r\n\r\nabcd",
    ),
    bad("9112 §6.3: all that 64 bits have", "POST {p} HTTP/1.1\r\n{h}Content-Length: 18446744073709551615\r\n\r\nabcd")
        .answers(&[431], &[431]),
    bad("9112 §5.1: a blank before the colon of a length", "POST {p} HTTP/1.1\r\n{h}Content-Length : 4\r\n\r\nabcd"),
    bad("9112 §5.1: a tab before it", "POST {p} HTTP/1.1\r\n{h}Content-Length\t: 4\r\n\r\nabcd"),
    bad("9112 §5.2: a length on a line that goes on", "POST {p} HTTP/1.1\r\n{h}Content-Length:\r\n 4\r\n\r\nabcd"),
    bad("9110 §5.5: a vertical tab behind a length", "POST {p} HTTP/1.1\r\n{h}Content-Length: 4\u{b}\r\n\r\nabcd"),
    bad("9110 §5.5: a form feed before it", "POST {p} HTTP/1.1\r\n{h}Content-Length:\u{c}4\r\n\r\nabcd"),
    bad("9110 §5.5: a NUL behind it", "POST {p} HTTP/1.1\r\n{h}Content-Length: 4\0\r\n\r\nabcd"),
    bad("9110 §5.5: a no-break space before it", "POST {p} HTTP/1.1\r\n{h}Content-Length:\u{a0}4\r\n\r\nabcd"),
    post("9110 §8.6: zeros before it", "POST {p} HTTP/1.1\r\n{h}Content-Length: 0004\r\n\r\nabcd"),
    post("9110 §5.6.3: no blank before it", "POST {p} HTTP/1.1\r\n{h}Content-Length:4\r\n\r\nabcd"),
    post("9110 §5.6.3: tabs and blanks around it", "POST {p} HTTP/1.1\r\n{h}Content-Length:\t 4 \t\r\n\r\nabcd"),
    two("9112 §6.3: what is behind a body is a request", "POST {p} HTTP/1.1\r\n{h}Content-Length: 4\r\n\r\nabcd{s}"),
    // Without a length there is no body, and what follows is the next request.
    Row {
        what: "9110 §5.1: an underscore makes another field",
        sent: "POST {p} HTTP/1.1\r\n{h}Content_Length: 4\r\n\r\n{s}",
        file: &[405, 404],
        passed: &[200, 200],
        then: Then::Kept,
        file_then: Then::Kept,
        up: &["POST {p} ", "GET {p}/smuggled "],
    },
    post(
        "9110 §5.1: and says nothing beside a length",
        "POST {p} HTTP/1.1\r\n{h}Content-Length: 4\r\nTransfer_Encoding: chunked\r\nContent_Length: 9\r\n\r\nabcd",
    ),
    Row {
        what: "9112 §6.3: nothing said is no body",
        sent: "POST {p} HTTP/1.1\r\n{h}\r\n{s}",
        file: &[405, 404],
        passed: &[200, 200],
        then: Then::Kept,
        file_then: Then::Kept,
        up: &["POST {p} ", "GET {p}/smuggled "],
    },
    bad(
        "9112 §6.1: a coding behind chunked",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §6.1: a coding before it that nobody knows",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §6.1: a coding before it that nobody here undoes",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §6.1: chunked twice in a list",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §6.1: chunked twice in two lines",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §6.1: two lines, the last of which is another",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §6.1: two lines, the first of which is another",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad("9112 §6.1: identity alone", "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: identity\r\n\r\n{s}"),
    bad(
        "9112 §6.1: a letter before chunked",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad("9112 §6.1: a letter behind it", "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n{s}"),
    bad("9112 §6.1: in quotes", "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n{s}"),
    bad("9112 §6.1: in one quote", "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: 'chunked'\r\n\r\n0\r\n\r\n{s}"),
    bad("9112 §7: a parameter", "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n{s}"),
    bad(
        "9110 §5.6.1: an empty place before it",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9110 §5.6.1: an empty place behind it",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n{s}",
    ),
    bad("9112 §6.1: nothing", "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding:\r\n\r\n0\r\n\r\n{s}"),
    bad("9112 §6.1: a colon before it", "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: : chunked\r\n\r\n0\r\n\r\n{s}"),
    bad(
        "9110 §5.5: a vertical tab before it",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9110 §5.5: a form feed behind it",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\u{c}\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9110 §5.5: a control character before it",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: \u{1}chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad("9110 §5.5: a NUL behind it", "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n{s}"),
    bad(
        "9110 §5.5: a byte above 127 before it",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: \u{ff}chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §5.1: a blank before the colon of a coding",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad("9112 §5.1: a tab before it", "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n{s}"),
    bad(
        "9112 §5.1: a no-break space before it",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding\u{a0}: chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §5.2: a coding that goes on from another field",
        "POST {p} HTTP/1.1\r\n{h}X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §5.2: the same with a tab",
        "POST {p} HTTP/1.1\r\n{h}X: y\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §5.2: a coding on a line that goes on",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §5.2: a coding that goes on with another",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n , identity\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §2.2: a coding behind a bare CR",
        "POST {p} HTTP/1.1\r\n{h}X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §2.2: a coding behind a bare LF",
        "POST {p} HTTP/1.1\r\n{h}X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad(
        "9112 §2.2: a length behind a coding and a bare LF",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\nContent-Length: 6\r\n\r\n0\r\n\r\n{s}",
    ),
    bad("9112 §5.1: a sign in the name", "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding;: chunked\r\n\r\n0\r\n\r\n{s}"),
    bad(
        "9112 §5.1: a letter in the name that only looks like it",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Enc\u{f6}ding: chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    bad("9112 §5: no colon", "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding chunked\r\n\r\n0\r\n\r\n{s}"),
    bad("9112 §6.1: a coding with HTTP/1.0", "POST {p} HTTP/1.0\r\n{h}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{s}"),
    bad(
        "9112 §6.1: and where that is to go on",
        "POST {p} HTTP/1.0\r\n{h}Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{s}",
    ),
    post(
        "9112 §6.1: chunked in other letters",
        "POST {p} HTTP/1.1\r\n{h}TRANSFER-ENCODING: ChUnKeD\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
    ),
    post(
        "9110 §5.6.3: tabs and blanks around it",
        "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding:\t chunked \t\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
    ),
    two("9112 §7.1: what is behind the last chunk is a request", "{c}4\r\nabcd\r\n0\r\n\r\n{s}"),
    get(
        "9110 §10.1.4: TE says nothing of the request",
        "GET {p} HTTP/1.1\r\n{h}TE: chunked, trailers\r\nConnection: TE\r\n\r\n",
    ),
    Row {
        what: "9110 §9.3.1: a body of a GET is a body",
        sent: "GET {p} HTTP/1.1\r\n{h}Content-Length: 4\r\n\r\nabcd{s}",
        file: &[200, 404],
        passed: &[200, 200],
        then: Then::Kept,
        file_then: Then::Kept,
        up: &["GET {p} abcd", "GET {p}/smuggled "],
    },
    Row {
        what: "9110 §9.3.1: also where it is a request itself",
        sent: "GET {p} HTTP/1.1\r\n{h}Content-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        file: &[200],
        passed: &[200],
        then: Then::Kept,
        file_then: Then::Kept,
        up: &["GET {p} GET / HTTP/1.1\r\n\r\n"],
    },
    Row {
        what: "9110 §9.3.1: a chunked body of a GET too",
        sent: "GET {p} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n{s}",
        file: &[200, 404],
        passed: &[200, 200],
        then: Then::Kept,
        file_then: Then::Kept,
        up: &["GET {p} abcd", "GET {p}/smuggled "],
    },
    Row {
        what: "9110 §9.3.2: a body of a HEAD is passed on to nobody",
        sent: "HEAD {p} HTTP/1.1\r\n{h}Content-Length: 4\r\n\r\nabcd{s}",
        file: &[200, 404],
        passed: &[400, 200],
        then: Then::Kept,
        file_then: Then::Kept,
        up: &["GET {p}/smuggled "],
    },
    Row {
        what: "9112 §6.3: a body that ends too early is none",
        sent: "POST {p} HTTP/1.1\r\n{h}Content-Length: 10\r\n\r\nabcd",
        file: &[405],
        passed: &[400],
        then: Then::Ended,
        file_then: Then::Ended,
        up: &[],
    },
];
