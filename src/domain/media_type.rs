//! The published table of media types by extension, part of `manifest@v1` (DECISIONS 38).
//!
//! The same path has the same type for ever: a change of this table needs a new manifest format, since
//! types are hashed. Nothing here looks at a file's bytes.

/// The type of a file without extension, or with one that the table lacks.
pub const UNKNOWN: &str = "application/octet-stream";

/// Lower-case extension and type, sorted by extension.
const TABLE: [(&str, &str); 88] = [
    ("3gp", "video/3gpp"),
    ("7z", "application/x-7z-compressed"),
    ("aac", "audio/aac"),
    ("apng", "image/apng"),
    ("appcache", "text/cache-manifest; charset=utf-8"),
    ("asc", "text/plain; charset=utf-8"),
    ("atom", "application/atom+xml; charset=utf-8"),
    ("avi", "video/x-msvideo"),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("br", "application/x-brotli"),
    ("bz2", "application/x-bzip2"),
    ("cjs", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("eot", "application/vnd.ms-fontobject"),
    ("epub", "application/epub+zip"),
    ("flac", "audio/flac"),
    ("geojson", "application/geo+json"),
    ("gif", "image/gif"),
    ("glb", "model/gltf-binary"),
    ("gltf", "model/gltf+json"),
    ("gpx", "application/gpx+xml"),
    ("gz", "application/gzip"),
    ("heic", "image/heic"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("ics", "text/calendar; charset=utf-8"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("json5", "application/json5"),
    ("jsonld", "application/ld+json"),
    ("jxl", "image/jxl"),
    ("kml", "application/vnd.google-earth.kml+xml"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("m4v", "video/mp4"),
    ("map", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mid", "audio/midi"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpd", "application/dash+xml"),
    ("mpeg", "video/mpeg"),
    ("odp", "application/vnd.oasis.opendocument.presentation"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/ogg"),
    ("otf", "font/otf"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("rss", "application/rss+xml; charset=utf-8"),
    ("rtf", "application/rtf"),
    ("svg", "image/svg+xml; charset=utf-8"),
    ("svgz", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("toml", "application/toml"),
    ("ts", "video/mp2t"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain; charset=utf-8"),
    ("vcf", "text/vcard; charset=utf-8"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("weba", "audio/webm"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xhtml", "application/xhtml+xml; charset=utf-8"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("xml", "application/xml; charset=utf-8"),
    ("yaml", "application/yaml"),
    ("zip", "application/zip"),
];

/// The type of the file at `path`, by its last extension in any ASCII case. A name that only begins with a
/// dot (`.html`) has no extension.
pub fn of(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return UNKNOWN;
    };
    if stem.is_empty() {
        return UNKNOWN;
    }
    let extension = extension.to_ascii_lowercase();
    TABLE
        .binary_search_by(|(known, _)| (*known).cmp(extension.as_str()))
        .ok()
        .and_then(|at| TABLE.get(at))
        .map_or(UNKNOWN, |(_, media_type)| *media_type)
}

/// Whether bytes of this type usually shrink: text, and what is not compressed inside already.
pub fn is_compressible(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || [
            "application/json",
            "application/json5",
            "application/rtf",
            "application/toml",
            "application/vnd.apple.mpegurl",
            "application/vnd.ms-fontobject",
            "application/wasm",
            "application/xml",
            "application/yaml",
            "font/otf",
            "font/ttf",
            "image/bmp",
            "image/x-icon",
            "model/gltf-binary",
        ]
        .contains(&essence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_searched() {
        assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
        for (extension, media_type) in TABLE {
            assert_eq!(extension, extension.to_ascii_lowercase());
            assert_eq!(of(&format!("/x.{extension}")), media_type);
            assert!(!media_type.starts_with("text/") || media_type.ends_with("; charset=utf-8"), "{extension}");
        }
    }

    #[test]
    fn the_last_extension_decides() {
        assert_eq!(of("/index.HTML"), "text/html; charset=utf-8");
        assert_eq!(of("/a.tar.gz"), "application/gzip");
        assert_eq!(of("/a.css/b"), UNKNOWN);
        assert_eq!(of("/README"), UNKNOWN);
        assert_eq!(of("/.html"), UNKNOWN);
        assert_eq!(of("/a."), UNKNOWN);
        assert_eq!(of("/a.unheard"), UNKNOWN);
    }

    #[test]
    fn text_shrinks_and_pictures_do_not() {
        for path in ["/a.html", "/a.css", "/a.svg", "/a.json", "/a.webmanifest", "/a.wasm", "/a.ttf", "/a.rss"] {
            assert!(is_compressible(of(path)), "{path}");
        }
        for path in ["/a.png", "/a.woff2", "/a.zip", "/a.mp4", "/a.gz", "/a"] {
            assert!(!is_compressible(of(path)), "{path}");
        }
    }
}
