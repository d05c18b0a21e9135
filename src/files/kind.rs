//! What kind of file it is, and what to call it. The sender's word counts only where the bytes say
//! nothing: what a browser would run must not pass as a picture.

use super::address::{EXTENSION_MAX, is_extension};

/// How many bytes from its start tell what a file is.
pub(super) const HEAD_BYTES: usize = 512;
/// What nobody knows anything of.
const UNKNOWN: &str = "application/octet-stream";
/// Kinds that a sender may declare.
const CLASSES: [&str; 6] = ["application", "audio", "font", "image", "text", "video"];
/// Longest name of a kind.
const MIME_BYTES_MAX: usize = 100;
/// Longest name of a file.
const NAME_BYTES_MAX: usize = 255;

/// Extensions of kinds that bytes do not show.
const EXTENSIONS: [(&str, &str); 9] = [
    ("image/svg+xml", "svg"),
    ("text/plain", "txt"),
    ("text/html", "html"),
    ("text/css", "css"),
    ("text/csv", "csv"),
    ("text/markdown", "md"),
    ("application/json", "json"),
    ("audio/webm", "weba"),
    ("audio/mp4", "m4a"),
];

/// The kind of a file by its first bytes, or else as its sender declares it.
#[must_use]
pub fn mime_of(head: &[u8], declared: Option<&str>) -> String {
    let declared = declared.and_then(declarable);
    let seen = infer::get(head).map(|it| it.mime_type());
    match (seen, declared) {
        (Some(seen), Some(declared)) if is_kind_of(&declared, seen) => declared,
        (Some(seen), _) => seen.to_owned(),
        (None, Some(declared)) => declared,
        (None, None) => UNKNOWN.to_owned(),
    }
}

/// A declared kind without its parameters, if it is in form and of a class that counts.
fn declarable(declared: &str) -> Option<String> {
    let essence = declared.split(';').next()?.trim().to_ascii_lowercase();
    let (class, rest) = essence.split_once('/')?;
    let legal = |it: u8| it.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&it);
    let formed = !rest.is_empty() && rest.bytes().all(legal) && essence.len() <= MIME_BYTES_MAX;
    (formed && CLASSES.contains(&class)).then_some(essence)
}

/// True where bytes show a container only, and the declared kind says what is in it: sound alone in a
/// film's container, an office document in an archive.
fn is_kind_of(declared: &str, seen: &str) -> bool {
    let film = seen.strip_prefix("video/");
    let sound = declared.strip_prefix("audio/");
    let office = declared.starts_with("application/vnd.");
    (film.is_some() && film == sound) || (seen == "application/zip" && office)
}

/// True for what a browser may show in its place; everything else is to be saved.
#[must_use]
pub fn is_shown(mime: &str) -> bool {
    let class = mime.split('/').next().unwrap_or_default();
    // A picture in XML may hold scripts.
    let xml = mime.ends_with("xml");
    ["audio", "font", "image", "video"].contains(&class) && !xml
}

/// The extension of a file: of its kind, or else of its name.
pub(super) fn extension_of(mime: &str, head: &[u8], name: &str) -> String {
    let seen = infer::get(head).filter(|it| it.mime_type() == mime);
    let listed = EXTENSIONS.iter().find(|(it, _)| *it == mime);
    let by_kind = listed
        .map(|(_, extension)| *extension)
        .or(seen.map(|it| it.extension()));
    let by_name = || name.rsplit_once('.').map(|(_, it)| it.to_ascii_lowercase());
    let subtype = mime.split('/').nth(1).unwrap_or_default();
    let candidates = [
        by_kind.map(str::to_owned),
        by_name(),
        (mime != UNKNOWN).then(|| subtype.chars().take(EXTENSION_MAX).collect()),
    ];
    let mut legal = candidates
        .into_iter()
        .flatten()
        .filter(|it| is_extension(it));
    legal.next().unwrap_or_else(|| "bin".to_owned())
}

/// A file's name without folders and what cannot be seen.
pub(super) fn clean_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut clean: String = name.chars().filter(|it| !it.is_control()).collect();
    let end = (0..=NAME_BYTES_MAX.min(clean.len()))
        .rev()
        .find(|&it| clean.is_char_boundary(it));
    clean.truncate(end.unwrap_or_default());
    let clean = clean.trim();
    if clean.chars().all(|it| it == '.') {
        return String::new();
    }
    clean.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    const WEBM: &[u8] = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01webm";

    #[track_caller]
    fn check(head: &[u8], declared: Option<&str>, mime: &str) {
        assert_eq!(mime_of(head, declared), mime);
    }

    #[test]
    fn bytes_count_for_more_than_words() {
        check(PNG, Some("text/html"), "image/png");
        check(b"<!DOCTYPE html><script>", Some("image/png"), "text/html");
        check(b"plain words", Some("text/markdown"), "text/markdown");
        check(
            b"plain words",
            Some("Text/Plain; charset=utf-8"),
            "text/plain",
        );
        check(b"plain words", None, UNKNOWN);
        check(WEBM, Some("audio/webm;codecs=opus"), "audio/webm");
        check(b"PK\x03\x04", Some("image/png"), "application/zip");
        for odd in [
            "",
            "/",
            "text/",
            "multipart/mixed",
            "message/rfc822",
            "a/b",
            "text/a b",
            "text/a\r\nb",
        ] {
            check(b"plain words", Some(odd), UNKNOWN);
        }
    }

    #[test]
    fn what_may_hold_a_script_is_not_shown() {
        for mime in ["image/png", "video/mp4", "audio/webm", "font/woff2"] {
            assert!(is_shown(mime), "{mime}");
        }
        for mime in [
            "text/html",
            "text/plain",
            "image/svg+xml",
            "application/pdf",
            "application/xml",
            "message/rfc822",
            "model/gltf",
            "multipart/mixed",
            "",
        ] {
            assert!(!is_shown(mime), "{mime}");
        }
    }

    #[test]
    fn an_extension_comes_from_the_kind_and_else_from_the_name() {
        for (mime, head, name, extension) in [
            ("image/png", PNG, "x.exe", "png"),
            ("text/plain", b"", "x.exe", "txt"),
            (UNKNOWN, b"", "archive.tar.XZ", "xz"),
            (UNKNOWN, b"", "a.much-too-long-extension", "bin"),
            (UNKNOWN, b"", "../../etc/passwd", "bin"),
            (UNKNOWN, b"", "x.п", "bin"),
            ("video/quicktime", b"", "", "quicktim"),
        ] {
            assert_eq!(extension_of(mime, head, name), extension, "{mime} {name}");
        }
    }

    #[test]
    fn a_name_is_one_line_without_folders() {
        for (given, clean) in [
            ("photo.jpg", "photo.jpg"),
            ("../../etc/passwd", "passwd"),
            ("C:\\My\\Приказ.doc", "Приказ.doc"),
            ("a\r\nSet-Cookie: x", "aSet-Cookie: x"),
            ("..", ""),
            ("/", ""),
        ] {
            assert_eq!(clean_name(given), clean);
        }
        assert_eq!(clean_name(&"я".repeat(200)).len(), 254);
    }
}
