//! Where a domain says that its people's clients connect.

use freehold_keys::{SignedClientDocument, VerifiedRecord};
use freehold_proto::DomainName;

use super::Directory;
use crate::{DocumentError, Target, fetch};

impl Directory {
    /// Asks each address in turn until one serves a client document that holds under `record`. The caller
    /// bounds the time.
    pub(super) async fn client_document(
        &self,
        domain: &DomainName,
        record: &VerifiedRecord,
    ) -> Result<SignedClientDocument, DocumentError> {
        let mut failure = DocumentError::None;
        for target in self.targets(domain).await? {
            match self.document_of(domain, &target, record).await {
                Ok(document) => return Ok(document),
                // That somebody shows something else counts for more than that somebody is silent.
                Err(_) if matches!(failure, DocumentError::Fault(_)) => {}
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn document_of(
        &self,
        domain: &DomainName,
        target: &Target,
        record: &VerifiedRecord,
    ) -> Result<SignedClientDocument, DocumentError> {
        let fetched = fetch::fetch(&self.client_documents, domain, target).await;
        let bytes = fetched.map_err(DocumentError::Fetch)?;
        if bytes.is_empty() {
            return Err(DocumentError::None);
        }
        Ok(SignedClientDocument::verify(
            &bytes,
            record,
            self.clock.now(),
        )?)
    }
}
