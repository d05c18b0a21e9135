//! Key files: one line of text, mode 0600, replaced as a whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
    },
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::KeyError;

/// Makes the folder for keys, open to its owner only.
pub(crate) fn create_dir(dir: &Path) -> Result<(), KeyError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| file_error(dir, source))
}

/// Writes a secret as `freehold <label> <base64url>`.
pub(crate) fn write_secret(path: &Path, label: &str, secret: &[u8; 32]) -> Result<(), KeyError> {
    let line = Zeroizing::new(format!(
        "freehold {label} {}\n",
        URL_SAFE_NO_PAD.encode(secret)
    ));
    write_whole(path, line.as_bytes())
}

/// Reads what [`write_secret`] wrote; refuses a file that others may read.
pub(crate) fn read_secret(path: &Path, label: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mode = fs::metadata(path)
        .map_err(|source| file_error(path, source))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|source| file_error(path, source))?);
    let damaged = |why: &str| KeyError::Damaged {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let encoded = text
        .trim_end()
        .strip_prefix("freehold ")
        .and_then(|rest| rest.strip_prefix(label))
        .and_then(|rest| rest.strip_prefix(' '))
        .ok_or_else(|| damaged(&format!("it is not a {label} file")))?;
    let bytes = Zeroizing::new(
        URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| damaged("it is not base64url"))?,
    );
    let secret = bytes
        .as_slice()
        .try_into()
        .map_err(|_| damaged("it is not 32 bytes"))?;
    Ok(Zeroizing::new(secret))
}

/// Replaces a file: written beside it, synced, renamed over it, folder synced.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let write = || -> io::Result<()> {
        let beside = path.with_extension("new");
        // What is there is left over, or somebody's trap: a link is not followed.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = new_file(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        match path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| file_error(path, source))
}

/// Makes a file that is not there yet and gives it to the owner of its folder. An operator who is root
/// changes keys that the server, which is not, has to read. Whoever is neither has made a file of their own.
pub(crate) fn new_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let folder = path.parent().and_then(|it| fs::metadata(it).ok());
    if let Some(folder) = folder
        && folder.uid() != file.metadata()?.uid()
    {
        fchown(&file, Some(folder.uid()), Some(folder.gid())).ok();
    }
    Ok(file)
}

pub(crate) fn file_error(path: &Path, source: io::Error) -> KeyError {
    KeyError::File {
        path: path.to_owned(),
        source,
    }
}
