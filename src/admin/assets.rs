//! Style sheet, script and icon of the panel, built in, served under names that carry their hash.
//!
//! A name never changes its bytes, so answers are kept for a year; compressed once, at first use.

use std::{io::Write as _, sync::LazyLock};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use hyper::{
    HeaderMap, StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderValue, VARY},
};

use crate::{
    base::{blob_dir::Coding, hash::Sha256},
    http::{
        conditional::{self, Outcome},
        negotiate,
        respond::{self, Response},
    },
};

/// Under what all of them are served.
pub(super) const FOLDER: &str = "/assets/";

static CSS: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("panel", "css", "text/css; charset=utf-8", include_bytes!("../../assets/panel.css")));
static JS: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("panel", "js", "text/javascript; charset=utf-8", include_bytes!("../../assets/panel.js"))
});
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("seal", "svg", "image/svg+xml", include_bytes!("../../assets/seal.svg")));

struct Asset {
    path: String,
    etag: HeaderValue,
    tag: String,
    media_type: &'static str,
    bytes: &'static [u8],
    gzip: Bytes,
}

impl Asset {
    fn new(stem: &str, extension: &str, media_type: &'static str, bytes: &'static [u8]) -> Self {
        let hash: String = Sha256::of(bytes).hex().chars().take(16).collect();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory cannot fail; were it to, the bytes would go out as they are.
        let gzip = encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default();
        let tag = format!("\"{hash}\"");
        Self {
            path: format!("{FOLDER}{stem}.{hash}.{extension}"),
            etag: HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\"")),
            tag,
            media_type,
            bytes,
            gzip: gzip.into(),
        }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let mut response = match conditional::evaluate(headers, &self.tag) {
            Outcome::NotModified => respond::empty(StatusCode::NOT_MODIFIED),
            Outcome::Failed => respond::empty(StatusCode::PRECONDITION_FAILED),
            Outcome::Go => self.content(headers),
        };
        let to = response.headers_mut();
        to.insert(ETAG, self.etag.clone());
        to.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
        to.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        response
    }

    fn content(&self, headers: &HeaderMap) -> Response {
        if self.gzip.is_empty() || !negotiate::accepted(headers).iter().any(|it| it == Coding::Gzip) {
            return respond::content(StatusCode::OK, self.media_type, Bytes::from_static(self.bytes));
        }
        let mut response = respond::content(StatusCode::OK, self.media_type, self.gzip.clone());
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    }
}

/// The address of the style sheet.
pub(super) fn css() -> &'static str {
    &CSS.path
}

/// The address of the script.
pub(super) fn js() -> &'static str {
    &JS.path
}

/// The address of the icon.
pub(super) fn icon() -> &'static str {
    &ICON.path
}

/// The answer for an address below [`FOLDER`]; `None` when there is no such file.
pub(super) fn answer(path: &str, headers: &HeaderMap) -> Option<Response> {
    [&CSS, &JS, &ICON].into_iter().find(|it| it.path == path).map(|it| it.answer(headers))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http_body_util::BodyExt as _;
    use hyper::header::ACCEPT_ENCODING;

    use super::*;

    #[tokio::test]
    async fn assets_are_immutable_and_compressed() {
        let plain = answer(css(), &HeaderMap::new()).unwrap();
        assert_eq!(plain.headers()["cache-control"], "public, max-age=31536000, immutable");
        assert!(!plain.headers().contains_key("content-encoding"));
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, br"));
        let packed = answer(css(), &headers).unwrap();
        assert_eq!(packed.headers()["content-encoding"], "gzip");
        let bytes = packed.into_body().collect().await.unwrap().to_bytes();
        assert!(bytes.len() < 16_000, "{}", bytes.len());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, include_bytes!("../../assets/panel.css"));
        headers.insert("if-none-match", plain.headers()["etag"].clone());
        assert_eq!(answer(css(), &headers).unwrap().status(), 304);
        assert!(answer("/assets/panel.css", &headers).is_none());
        assert!(answer(js(), &headers).is_some() && answer(icon(), &headers).is_some());
    }
}
