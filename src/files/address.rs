//! Where a file can be had: `/v0/file/s/<domain>/<key>.<extension>`. Always relative (COMPAT stock web
//! app: it shows its log-in to nobody but its own server), so that the same content works at every
//! domain.

use std::{fmt, str::FromStr};

use freehold_proto::DomainName;
use freehold_store::tables::files::FileKey;

use super::{key_from_text, key_to_text};

/// What every address begins with.
const FOLDER: &str = "/v0/file/s/";
/// Longest extension.
pub(super) const EXTENSION_MAX: usize = 8;

/// Names one file in the world.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileAddress {
    /// The domain that has it.
    pub domain: DomainName,
    /// Which it is.
    pub key: FileKey,
    /// Lower-case letters and digits after the dot.
    pub extension: String,
}

/// Not the address of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoAddress;

impl FromStr for FileAddress {
    type Err = NoAddress;

    /// Takes the one way to write it, and no other: no dots, escapes, hosts or second slashes.
    fn from_str(path: &str) -> Result<Self, NoAddress> {
        let rest = path.strip_prefix(FOLDER).ok_or(NoAddress)?;
        let (domain, name) = rest.split_once('/').ok_or(NoAddress)?;
        let (key, extension) = name.split_once('.').ok_or(NoAddress)?;
        if !is_extension(extension) {
            return Err(NoAddress);
        }
        Ok(Self {
            domain: domain.parse().map_err(|_| NoAddress)?,
            key: key_from_text(key).ok_or(NoAddress)?,
            extension: extension.to_owned(),
        })
    }
}

impl fmt::Display for FileAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, extension) = (key_to_text(self.key), &self.extension);
        write!(f, "{FOLDER}{}/{key}.{extension}", self.domain)
    }
}

pub(super) fn is_extension(text: &str) -> bool {
    let legal = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    (1..=EXTENSION_MAX).contains(&text.len()) && text.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "/v0/file/s/a.test/AAAAAAAAAAAAAAAAAAAAAA.jpg";

    #[test]
    fn an_address_is_written_in_one_way() {
        let address: FileAddress = GOOD.parse().unwrap();
        assert_eq!(address.domain.as_str(), "a.test");
        assert_eq!(address.key, FileKey::from_bytes([0; 16]));
        assert_eq!(address.to_string(), GOOD);
        for bad in [
            "",
            "/v0/file/s/",
            "/v0/file/s/AAAAAAAAAAAAAAAAAAAAAA.jpg",
            "v0/file/s/a.test/AAAAAAAAAAAAAAAAAAAAAA.jpg",
            "https://a.test/v0/file/s/a.test/AAAAAAAAAAAAAAAAAAAAAA.jpg",
            "/v0/file/s/a.test//AAAAAAAAAAAAAAAAAAAAAA.jpg",
            "/v0/file/s/A.test/AAAAAAAAAAAAAAAAAAAAAA.jpg",
            "/v0/file/s/../AAAAAAAAAAAAAAAAAAAAAA.jpg",
            "/v0/file/s/a.test/AAAAAAAAAAAAAAAAAAAAAB.jpg",
            "/v0/file/s/a.test/AAAAAAAAAAAAAAAAAAAAA.jpg",
            "/v0/file/s/a.test/AAAAAAAAAAAAAAAAAAAAAA",
            "/v0/file/s/a.test/AAAAAAAAAAAAAAAAAAAAAA.",
            "/v0/file/s/a.test/AAAAAAAAAAAAAAAAAAAAAA.JPG",
            "/v0/file/s/a.test/AAAAAAAAAAAAAAAAAAAAAA.j/g",
            "/v0/file/s/a.test/AAAAAAAAAAAAAAAAAAAAAA.tar.gz",
            "/v0/file/s/a.test/AAAAAAAAAAAAAAAAAAAAAA.jpg?x",
            "/v0/file/s/a.test/%41AAAAAAAAAAAAAAAAAAAAA.jpg",
        ] {
            assert_eq!(bad.parse::<FileAddress>(), Err(NoAddress), "{bad}");
        }
    }
}
