//! The certificate of the listeners for clients.

use crate::{
    TlsFiles,
    check::{Checker, not_empty},
    given::Given,
};

const CERTIFICATE: &str = "clients.tls_certificate";
const KEY: &str = "clients.tls_key";

impl Checker<'_> {
    /// Both files or neither. What is in them is read when the server starts, and again when they change.
    pub(crate) fn tls(
        &mut self,
        certificate: Given<String>,
        key: Given<String>,
    ) -> Option<Option<TlsFiles>> {
        let certificate = self.optional(CERTIFICATE, certificate, not_empty);
        let key = self.optional(KEY, key, not_empty);
        match (certificate?, key?) {
            (None, None) => Some(None),
            (Some(certificate), Some(key)) => Some(Some(TlsFiles {
                certificate: self.base_dir.join(certificate),
                key: self.base_dir.join(key),
            })),
            (Some(_), None) => self.mistake(CERTIFICATE, "counts only with tls_key"),
            (None, Some(_)) => self.mistake(KEY, "counts only with tls_certificate"),
        }
    }
}
