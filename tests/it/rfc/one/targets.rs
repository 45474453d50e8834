//! Targets and hosts (RFC 9112 §3.2): one site is meant, or none.

use super::{Row, Then, bad, get};

/// A row that is answered with 400 by what reads hosts: the request itself can be read, and the connection goes on.
const fn none(what: &'static str, sent: &'static str) -> Row {
    Row { what, sent, file: &[400], passed: &[400], then: Then::Kept, file_then: Then::Kept, up: &[] }
}

pub(super) const ROWS: &[Row] = &[
    none("9112 §3.2: no host", "GET {p} HTTP/1.1\r\n\r\n"),
    none("9112 §3.2: two hosts", "GET {p} HTTP/1.1\r\n{h}Host: other.test\r\n\r\n"),
    none("9112 §3.2: the same twice", "GET {p} HTTP/1.1\r\n{h}{h}\r\n"),
    none("9112 §3.2: a list of hosts", "GET {p} HTTP/1.1\r\nHost: site.test, other.test\r\n\r\n"),
    none("9112 §3.2: an empty host", "GET {p} HTTP/1.1\r\nHost:\r\n\r\n"),
    none("9112 §3.2: a user", "GET {p} HTTP/1.1\r\nHost: me@site.test\r\n\r\n"),
    none("9112 §3.2: a path", "GET {p} HTTP/1.1\r\nHost: site.test/x\r\n\r\n"),
    none("9112 §3.2: a question", "GET {p} HTTP/1.1\r\nHost: site.test?x\r\n\r\n"),
    none("9112 §3.2: a fragment", "GET {p} HTTP/1.1\r\nHost: site.test#x\r\n\r\n"),
    none("9112 §3.2: a scheme", "GET {p} HTTP/1.1\r\nHost: http://site.test\r\n\r\n"),
    none("9112 §3.2: a blank within", "GET {p} HTTP/1.1\r\nHost: site.test x\r\n\r\n"),
    none("9112 §3.2: a tab within", "GET {p} HTTP/1.1\r\nHost: site.test\tx\r\n\r\n"),
    none("9112 §3.2: a backslash", "GET {p} HTTP/1.1\r\nHost: site.test\\x\r\n\r\n"),
    none("9112 §3.2: an escape", "GET {p} HTTP/1.1\r\nHost: site%2etest\r\n\r\n"),
    none("9112 §3.2: a port that is no number", "GET {p} HTTP/1.1\r\nHost: site.test:x\r\n\r\n"),
    none("9112 §3.2: a port with six digits", "GET {p} HTTP/1.1\r\nHost: site.test:123456\r\n\r\n"),
    none("9112 §3.2: two ports", "GET {p} HTTP/1.1\r\nHost: site.test:80:80\r\n\r\n"),
    none("9112 §3.2: an address that is open", "GET {p} HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    none("9112 §3.2: a byte above 127", "GET {p} HTTP/1.1\r\nHost: s\u{ef}te.test\r\n\r\n"),
    none("9112 §3.2: HTTP/1.0 without a host", "GET {p} HTTP/1.0\r\n\r\n").then(Then::Closed),
    bad("9110 §5.5: a NUL in the host", "GET {p} HTTP/1.1\r\nHost: site.test\0\r\n\r\n"),
    get("9110 §7.2: a host in capitals, with blanks around it", "GET {p} HTTP/1.1\r\nHOST: \t site.test \t\r\n\r\n"),
    get("9110 §7.4: a host that no site has", "GET {p} HTTP/1.1\r\nHost: other.test\r\n\r\n")
        .answers(&[421], &[421])
        .asks(&[]),
    get("9112 §3.2.2: an absolute form", "GET http://site.test{p} HTTP/1.1\r\n{h}\r\n"),
    get("9112 §3.2.2: which goes before the host", "GET http://site.test{p} HTTP/1.1\r\nHost: other.test\r\n\r\n"),
    get("9112 §3.2.2: also of a site that is here", "GET http://other.test{p} HTTP/1.1\r\n{h}\r\n")
        .answers(&[421], &[421])
        .asks(&[]),
    get("9112 §3.2.2: by HTTPS", "GET https://site.test{p} HTTP/1.1\r\n{h}\r\n"),
    get("9112 §3.2.2: with HTTP/1.0, which needs no host", "GET http://site.test{p} HTTP/1.0\r\n\r\n")
        .then(Then::Closed),
    none("9112 §3.2: an absolute form without a host", "GET http://site.test{p} HTTP/1.1\r\n\r\n"),
    none("9112 §3.2: one beside two hosts", "GET http://site.test{p} HTTP/1.1\r\n{h}{h}\r\n"),
    none("9112 §3.2: one beside what cannot be a host", "GET http://site.test{p} HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    none("9112 §3.2: one beside an empty host", "GET http://site.test{p} HTTP/1.1\r\nHost:\r\n\r\n"),
    none("9110 §4.2.4: one with a user", "GET http://me@site.test{p} HTTP/1.1\r\n{h}\r\n"),
    none("9110 §4.2: one of another scheme", "GET ftp://site.test{p} HTTP/1.1\r\n{h}\r\n"),
    bad("9110 §4.2.1: one without a host in it", "GET http://{p} HTTP/1.1\r\n{h}\r\n"),
    bad("9110 §4.2.5: one with a fragment", "GET http://site.test{p}#x HTTP/1.1\r\n{h}\r\n"),
    none("9112 §3.2.3: an authority, which only CONNECT asks for", "GET site.test HTTP/1.1\r\n{h}\r\n"),
    none("9112 §3.2.3: with a port", "GET site.test:80 HTTP/1.1\r\n{h}\r\n"),
    none("9112 §3.2.1: a path without a slash", "GET a.txt HTTP/1.1\r\n{h}\r\n"),
    bad("9112 §3.2.1: a question without a path", "GET ?a HTTP/1.1\r\n{h}\r\n"),
    none("9112 §3.2.4: a star, which only OPTIONS asks for", "GET * HTTP/1.1\r\n{h}\r\n"),
    none("9112 §3.2.4: nor does POST", "POST * HTTP/1.1\r\n{h}\r\n"),
    get("9112 §3.2.4: OPTIONS does", "OPTIONS * HTTP/1.1\r\n{h}\r\n").answers(&[204], &[204]).asks(&[]),
    get("9110 §9.3.6: CONNECT leads nowhere", "CONNECT site.test:80 HTTP/1.1\r\n{h}\r\n")
        .answers(&[405], &[405])
        .asks(&[]),
    get("9110 §9.3.6: and what is behind it is the next request", "CONNECT site.test:80 HTTP/1.1\r\n{h}\r\n{s}")
        .answers(&[405, 404], &[405, 200])
        .asks(&["GET {p}/smuggled "]),
    get("9112 §3.2.3: a CONNECT for a path", "CONNECT {p} HTTP/1.1\r\n{h}\r\n").answers(&[405], &[405]).asks(&[]),
    bad("9112 §3.2: a fragment", "GET {p}#x HTTP/1.1\r\n{h}\r\n"),
    bad("9112 §3.2: a fragment behind a question", "GET {p}?x#y HTTP/1.1\r\n{h}\r\n"),
    get("9112 §3.2.1: a question", "GET {p}?x=%23&y HTTP/1.1\r\n{h}\r\n").asks(&["GET {p}?x=%23&y "]),
    get("9112 §3.2.1: an empty question", "GET {p}? HTTP/1.1\r\n{h}\r\n").asks(&["GET {p}? "]),
    bad("9112 §3.2: a blank in the target", "GET {p} x HTTP/1.1\r\n{h}\r\n"),
    bad("9112 §3.2: a NUL in it", "GET {p}\0 HTTP/1.1\r\n{h}\r\n"),
    bad("9112 §3.2: a control character in it", "GET {p}\u{1} HTTP/1.1\r\n{h}\r\n"),
    bad("9112 §3.2: a delete in it", "GET {p}\u{7f} HTTP/1.1\r\n{h}\r\n"),
    bad("9112 §3.2: an angle bracket in it", "GET {p}<x> HTTP/1.1\r\n{h}\r\n"),
    bad("9112 §3.2: a byte that is no letter of anything", "GET {p}\u{ff} HTTP/1.1\r\n{h}\r\n"),
];
