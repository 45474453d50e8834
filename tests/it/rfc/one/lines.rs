//! Lines (RFC 9112 §2 to §5): how they end, what stands in them, how long they are; versions, methods, and what ends a connection.

use super::{Row, Then, bad, get, post};

pub(super) const ROWS: &[Row] = &[
    bad("9112 §2.2: LF alone everywhere", "GET {p} HTTP/1.1\nHost: site.test\n\n"),
    bad("9112 §2.2: LF alone behind the request line", "GET {p} HTTP/1.1\nHost: site.test\r\n\r\n"),
    bad("9112 §2.2: LF alone behind a field", "GET {p} HTTP/1.1\r\nHost: site.test\nX: y\r\n\r\n"),
    bad("9112 §2.2: LF alone behind the head", "GET {p} HTTP/1.1\r\n{h}\n"),
    bad("9112 §2.2: CR alone behind the request line", "GET {p} HTTP/1.1\r{h}\r\n"),
    bad("9112 §2.2: CR alone in a field", "GET {p} HTTP/1.1\r\n{h}X: y\rZ: z\r\n\r\n"),
    bad("9112 §2.2: two CR behind a field", "GET {p} HTTP/1.1\r\n{h}X: y\r\r\n\r\n"),
    bad("9112 §2.2: LF alone before a request", "\nGET {p} HTTP/1.1\r\n{h}\r\n"),
    bad("9112 §2.2: CR alone before it", "\rGET {p} HTTP/1.1\r\n{h}\r\n"),
    get("9112 §2.2: an empty line before it", "\r\nGET {p} HTTP/1.1\r\n{h}\r\n"),
    get("9112 §2.2: several", "\r\n\r\n\r\nGET {p} HTTP/1.1\r\n{h}\r\n"),
    bad("9112 §2.2: blanks between request line and fields", "GET {p} HTTP/1.1\r\n {h}\r\n"),
    bad("9112 §2.2: a line of blanks there", "GET {p} HTTP/1.1\r\n  \r\n{h}\r\n"),
    bad("9112 §3: a blank before the method", " GET {p} HTTP/1.1\r\n{h}\r\n"),
    bad("9112 §3: two blanks behind it", "GET  {p} HTTP/1.1\r\n{h}\r\n"),
    bad("9112 §3: a tab behind it", "GET\t{p} HTTP/1.1\r\n{h}\r\n"),
    bad("9112 §3: two blanks behind the target", "GET {p}  HTTP/1.1\r\n{h}\r\n"),
    bad("9112 §3: a tab behind the target", "GET {p}\tHTTP/1.1\r\n{h}\r\n"),
    bad("9112 §3: a blank behind the version", "GET {p} HTTP/1.1 \r\n{h}\r\n"),
    bad("9112 §3: a word behind the version", "GET {p} HTTP/1.1 x\r\n{h}\r\n"),
    bad("9112 §3: a version alone", "HTTP/1.1\r\n{h}\r\n"),
    bad("9112 §3: a target alone", "{p}\r\n{h}\r\n"),
    bad("9112 §3: no method", " {p} HTTP/1.1\r\n{h}\r\n"),
    bad("9112 §3: no HTTP", "hello there, is this a server\r\n\r\n"),
    bad("9112 §3: a TLS hello", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}"),
    bad("9112 §2.3: HTTP/0.9", "GET {p}\r\n"),
    bad("9112 §2.3: HTTP/0.9 with fields", "GET {p}\r\n{h}\r\n"),
    bad("9112 §2.3: HTTP/0.9 by name", "GET {p} HTTP/0.9\r\n{h}\r\n"),
    bad("9112 §2.3: HTTP/1.2", "GET {p} HTTP/1.2\r\n{h}\r\n"),
    bad("9112 §2.3: HTTP/2.0", "GET {p} HTTP/2.0\r\n{h}\r\n"),
    bad("9112 §2.3: HTTP/3", "GET {p} HTTP/3\r\n{h}\r\n"),
    bad("9112 §2.3: HTTP/1.10", "GET {p} HTTP/1.10\r\n{h}\r\n"),
    bad("9112 §2.3: HTTP/1", "GET {p} HTTP/1\r\n{h}\r\n"),
    bad("9112 §2.3: HTTP/01.1", "GET {p} HTTP/01.1\r\n{h}\r\n"),
    bad("9112 §2.3: small letters", "GET {p} http/1.1\r\n{h}\r\n"),
    bad("9112 §2.3: another name", "GET {p} ICY/1.1\r\n{h}\r\n"),
    bad("9113 §3.4: the preface of HTTP/2 that ends as another", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").answers(&[], &[]),
    bad("9113 §3.4: its method in another version", "PRI * HTTP/1.1\r\n{h}\r\n").answers(&[], &[]),
    bad("9113 §3.4: its method for a path", "PRI {p} HTTP/1.1\r\n{h}\r\n").answers(&[], &[]),
    bad("9113 §3.4: behind an empty line", "\r\nPRI {p} HTTP/1.1\r\n{h}\r\n"),
    get("9113 §3.4: the preface behind a request", "GET {p} HTTP/1.1\r\n{h}\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{s}")
        .answers(&[200, 400], &[200, 400])
        .then(Then::Closed),
    get("9113 §3.4: its method behind a request", "GET {p} HTTP/1.1\r\n{h}\r\nPRI {p}/2 HTTP/1.1\r\n{h}\r\n{s}")
        .answers(&[200, 400], &[200, 400])
        .then(Then::Closed),
    bad("9110 §9.1: a sign that no method has", "G@T {p} HTTP/1.1\r\n{h}\r\n"),
    bad("9110 §9.1: a NUL in a method", "GE\0T {p} HTTP/1.1\r\n{h}\r\n"),
    bad("9110 §9.1: a byte above 127", "G\u{cb}T {p} HTTP/1.1\r\n{h}\r\n"),
    get("9110 §9.1: a method in small letters is another one", "get {p} HTTP/1.1\r\n{h}\r\n").answers(&[405], &[200]).asks(&["get {p} "]),
    get("9110 §9.1: a method that nobody knows", "BREW {p} HTTP/1.1\r\n{h}\r\n").answers(&[405], &[200]).asks(&["BREW {p} "]),
    get("9110 §9.3.8: TRACE is no question for anybody", "TRACE {p} HTTP/1.1\r\n{h}\r\n").answers(&[405], &[405]).asks(&[]),
    get("9110 §9.3.7: OPTIONS", "OPTIONS {p} HTTP/1.1\r\n{h}\r\n").answers(&[204], &[200]).asks(&["OPTIONS {p} "]),
    get("9110 §9.3.2: HEAD", "HEAD {p} HTTP/1.1\r\n{h}\r\n").asks(&["HEAD {p} "]),
    bad("9112 §5.1: a blank before the colon", "GET {p} HTTP/1.1\r\n{h}X : y\r\n\r\n"),
    bad("9112 §5.1: a tab before it", "GET {p} HTTP/1.1\r\n{h}X\t: y\r\n\r\n"),
    bad("9112 §5.1: a blank before the colon of the host", "GET {p} HTTP/1.1\r\nHost : site.test\r\n\r\n"),
    bad("9112 §5: no colon", "GET {p} HTTP/1.1\r\n{h}X\r\n\r\n"),
    bad("9112 §5: no name", "GET {p} HTTP/1.1\r\n{h}: y\r\n\r\n"),
    bad("9110 §5.1: a blank in a name", "GET {p} HTTP/1.1\r\n{h}X y: z\r\n\r\n"),
    bad("9110 §5.1: a sign that no name has", "GET {p} HTTP/1.1\r\n{h}X(y): z\r\n\r\n"),
    bad("9110 §5.1: a byte above 127 in a name", "GET {p} HTTP/1.1\r\n{h}X\u{e9}: z\r\n\r\n"),
    bad("9110 §5.1: a NUL in a name", "GET {p} HTTP/1.1\r\n{h}X\0: z\r\n\r\n"),
    bad("9110 §5.5: a NUL in a value", "GET {p} HTTP/1.1\r\n{h}X: y\0z\r\n\r\n"),
    bad("9110 §5.5: a control character in a value", "GET {p} HTTP/1.1\r\n{h}X: y\u{1}z\r\n\r\n"),
    bad("9110 §5.5: a delete in a value", "GET {p} HTTP/1.1\r\n{h}X: y\u{7f}z\r\n\r\n"),
    bad("9110 §5.5: an escape in a value", "GET {p} HTTP/1.1\r\n{h}X: \u{1b}[2J\r\n\r\n"),
    get("9110 §5.5: a tab in a value", "GET {p} HTTP/1.1\r\n{h}X: y\tz\r\n\r\n"),
    get("9110 §5.5: a byte above 127 in a value", "GET {p} HTTP/1.1\r\n{h}X: y\u{e9}z\r\n\r\n"),
    get("9110 §5.5: nothing in a value", "GET {p} HTTP/1.1\r\n{h}X:\r\n\r\n"),
    bad("9112 §5.2: a field that goes on", "GET {p} HTTP/1.1\r\n{h}X: y\r\n z\r\n\r\n"),
    bad("9112 §5.2: with a tab", "GET {p} HTTP/1.1\r\n{h}X: y\r\n\tz\r\n\r\n"),
    bad("9112 §5.2: with nothing", "GET {p} HTTP/1.1\r\n{h}X: y\r\n \r\n\r\n"),
    bad("9112 §5.2: the host goes on", "GET {p} HTTP/1.1\r\nHost: site.test\r\n .evil.test\r\n\r\n"),
    bad("9112 §3: a target without end", "GET {p}{70000} HTTP/1.1\r\n{h}\r\n").answers(&[431], &[431]),
    bad("9112 §3: a method without end", "{20000} {p} HTTP/1.1\r\n{h}\r\n").answers(&[431], &[431]),
    bad("9110 §5.4: a value without end", "GET {p} HTTP/1.1\r\n{h}X: {20000}\r\n\r\n").answers(&[431], &[431]),
    bad("9110 §5.4: a name without end", "GET {p} HTTP/1.1\r\n{h}{20000}: y\r\n\r\n").answers(&[431], &[431]),
    bad("9110 §5.4: more fields than anybody has", "GET {p} HTTP/1.1\r\n{h}{150*a: b}\r\n").answers(&[431], &[431]),
    get("9110 §5.4: many fields", "GET {p} HTTP/1.1\r\n{h}{90*a: b}\r\n"),
    get("9112 §2.3: HTTP/1.0 ends its connection", "GET {p} HTTP/1.0\r\n{h}\r\n").then(Then::Closed),
    get("9112 §9.3: unless it is to go on", "GET {p} HTTP/1.0\r\n{h}Connection: keep-alive\r\n\r\n"),
    get("9112 §9.3: which close goes before", "GET {p} HTTP/1.0\r\n{h}Connection: keep-alive\r\nConnection: close\r\n\r\n").then(Then::Closed),
    get("9112 §9.3: keep-alive says what is so", "GET {p} HTTP/1.1\r\n{h}Connection: keep-alive\r\n\r\n"),
    get("9112 §9.6: close", "GET {p} HTTP/1.1\r\n{h}Connection: close\r\n\r\n").then(Then::Closed),
    get("9112 §9.6: close in capitals", "GET {p} HTTP/1.1\r\n{h}CONNECTION: CLOSE\r\n\r\n").then(Then::Closed),
    get("9112 §9.3: close, keep-alive", "GET {p} HTTP/1.1\r\n{h}Connection: close, keep-alive\r\n\r\n").then(Then::Closed),
    get("9112 §9.3: keep-alive, close", "GET {p} HTTP/1.1\r\n{h}Connection: keep-alive, close\r\n\r\n").then(Then::Closed),
    get("9112 §9.3: close in one line, keep-alive in another", "GET {p} HTTP/1.1\r\n{h}Connection: close\r\nConnection: keep-alive\r\n\r\n").then(Then::Closed),
    get("9112 §9.6: nothing is answered behind it", "GET {p} HTTP/1.1\r\n{h}Connection: close\r\n\r\n{s}").then(Then::Closed),
    get("9110 §7.6.1: who names a host of one connection", "GET {p} HTTP/1.1\r\n{h}Connection: host, content-length\r\n\r\n"),
    get("9112 §9.3.2: two requests at once", "GET {p} HTTP/1.1\r\n{h}\r\nGET {p}/2 HTTP/1.1\r\n{h}\r\n")
        .answers(&[200, 404], &[200, 200])
        .asks(&["GET {p} ", "GET {p}/2 "]),
    get("9112 §9.3.2: a bad one behind a good one", "GET {p} HTTP/1.1\r\n{h}\r\nGET {p}/2 HTTP/1.1\r\n{h}X: y\nZ: z\r\n\r\n")
        .answers(&[200, 400], &[200, 400])
        .then(Then::Closed),
    get("9112 §9.3.2: a good one behind both is not answered", "GET {p} HTTP/1.1\r\n{h}\r\nGET {p}/2 HTTP/1.1\r\n{h} X: y\r\n\r\n{s}")
        .answers(&[200, 400], &[200, 400])
        .then(Then::Closed),
    get("9112 §9.3.2: one with both framings behind a good one", "GET {p} HTTP/1.1\r\n{h}\r\nPOST {p}/2 HTTP/1.1\r\n{h}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{s}")
        .answers(&[200, 400], &[200, 400])
        .then(Then::Closed),
    post("9110 §10.1.1: who waits to go on is told so where somebody reads", "POST {p} HTTP/1.1\r\n{h}Expect: 100-continue\r\nContent-Length: 4\r\n\r\nabcd")
        .answers(&[405], &[100, 200]),
    post("9110 §10.1.1: and where nobody does, what he sends is no request", "POST {p} HTTP/1.1\r\n{h}Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n{s}")
        .answers(&[405], &[100, 400])
        .asks(&[])
        .then(Then::Ended),
    post("9110 §10.1.1: another expectation", "POST {p} HTTP/1.1\r\n{h}Expect: 200-ok\r\nContent-Length: 4\r\n\r\nabcd"),
    get("9110 §10.1.1: with nothing to send", "GET {p} HTTP/1.1\r\n{h}Expect: 100-continue\r\n\r\n"),
    get("9110 §7.8: nobody switches to HTTP/2 here", "GET {p} HTTP/1.1\r\n{h}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"),
    get("9113 §3.1: and the preface behind that wish is no request", "GET {p} HTTP/1.1\r\n{h}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{s}")
        .answers(&[200, 400], &[200, 400])
        .then(Then::Closed),
    get("9110 §7.8: nor to TLS", "GET {p} HTTP/1.1\r\n{h}Connection: Upgrade\r\nUpgrade: TLS/1.3\r\n\r\n"),
    get("9110 §7.8: what is not switched goes on", "GET {p} HTTP/1.1\r\n{h}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n{s}")
        .answers(&[200, 404], &[200, 200])
        .asks(&["GET {p} ", "GET {p}/smuggled "]),
    get("9110 §7.8: a body beside a wish to switch is a body", "GET {p} HTTP/1.1\r\n{h}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nabcd{s}")
        .answers(&[200, 404], &[200, 200])
        .asks(&["GET {p} abcd", "GET {p}/smuggled "]),
    post("9110 §7.8: and so is one of a POST", "POST {p} HTTP/1.1\r\n{h}Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nabcd"),
];
