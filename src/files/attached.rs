//! Files in envelopes: what the author's domain says of each (PROTOCOL.md section 7.9).

use std::collections::BTreeMap;

use bytes::Bytes;
use freehold_proto::{DomainName, Refusal, RefusalCode, limits::ATTACHMENTS_MAX, wire};
use freehold_store::{
    StoreError, Tables,
    tables::{
        files::{FileKey, Referrer},
        rows::ReferenceRow,
    },
};

/// A file that somebody's message speaks of, as their domain says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attached {
    /// The domain that has it.
    pub owner: DomainName,
    /// Its key there.
    pub key: FileKey,
    /// How many bytes it has.
    pub size: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

impl Attached {
    /// Reads what stands in an envelope: each file once.
    pub fn read(list: &[wire::Attachment]) -> Result<Vec<Self>, Refusal> {
        let malformed = |why: &str| Refusal::new(RefusalCode::Malformed, why);
        if list.len() > ATTACHMENTS_MAX {
            return Err(malformed("a message has too many files"));
        }
        let mut files = BTreeMap::new();
        for said in list {
            let file = Self {
                owner: said.owner.parse()?,
                key: FileKey::from_slice(&said.key)
                    .ok_or_else(|| malformed("the key of a file has 16 bytes"))?,
                size: said.size,
                sha256: (&*said.sha256)
                    .try_into()
                    .map_err(|_| malformed("a SHA-256 has 32 bytes"))?,
            };
            files.insert((file.owner.clone(), file.key), file);
        }
        Ok(files.into_values().collect())
    }

    /// The same as it is kept with the message, which the domain `from` signed.
    pub(super) fn row(&self, from: &DomainName) -> ReferenceRow {
        ReferenceRow {
            sealed: true,
            owner: self.owner.to_string(),
            key: Bytes::copy_from_slice(self.key.as_bytes()),
            size: self.size,
            hash: Bytes::copy_from_slice(&self.sha256),
            by_owner: self.owner == *from,
        }
    }
}

/// The files of a message as they stand in an envelope, from what is kept of them. Blocks.
pub fn attachments_of(
    tables: &Tables,
    us: &DomainName,
    referrer: &Referrer,
) -> Result<Vec<wire::Attachment>, StoreError> {
    let mut files = Vec::new();
    for (file, said) in tables.said_by(referrer, ATTACHMENTS_MAX)? {
        if !said.owner.is_empty() {
            files.push(wire::Attachment {
                owner: said.owner,
                key: said.key,
                size: said.size,
                sha256: said.hash,
            });
        } else if let Some(row) = tables.file(file)? {
            files.push(wire::Attachment {
                owner: us.to_string(),
                key: file.as_bytes().to_vec().into(),
                size: row.size,
                sha256: row.hash,
            });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(owner: &str, key: u8) -> wire::Attachment {
        wire::Attachment {
            owner: owner.to_owned(),
            key: vec![key; 16].into(),
            size: 5,
            sha256: vec![key; 32].into(),
        }
    }

    #[test]
    fn each_file_is_read_once_and_what_is_no_file_is_refused() {
        let list = [file("b.test", 1), file("a.test", 1), file("b.test", 1)];
        let read = Attached::read(&list).unwrap();
        let owners: Vec<_> = read.iter().map(|it| it.owner.as_str()).collect();
        assert_eq!(owners, ["a.test", "b.test"]);
        let code = |list: &[wire::Attachment]| Attached::read(list).unwrap_err().code;
        let short = wire::Attachment {
            key: vec![1; 15].into(),
            ..file("a.test", 1)
        };
        let odd = wire::Attachment {
            sha256: vec![1; 31].into(),
            ..file("a.test", 1)
        };
        let many: Vec<_> = (0..=128).map(|it| file("a.test", it)).collect();
        for list in [vec![short], vec![odd], many] {
            assert_eq!(code(&list), RefusalCode::Malformed);
        }
        assert_eq!(code(&[file("A.test", 1)]), RefusalCode::NameNotCanonical);
    }
}
