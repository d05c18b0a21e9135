//! Where a domain says that its people's clients connect.

use std::time::Duration;

use freehold_keys::{SignedClientDocument, VerifiedRecord};
use freehold_proto::DomainName;
use tokio::time::timeout;

use super::Directory;
use crate::{DocumentError, Target, fetch};

/// Time for the document of one domain, all its addresses together.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(10);

impl Directory {
    /// Asks each address in turn until one serves a client document that holds under `record`.
    pub(super) async fn client_document(
        &self,
        domain: &DomainName,
        record: &VerifiedRecord,
    ) -> Result<SignedClientDocument, DocumentError> {
        let asked = timeout(DOCUMENT_TIMEOUT, self.ask_for_document(domain, record)).await;
        asked.unwrap_or_else(|_| Err(DocumentError::Fetch("it takes too long".to_owned())))
    }

    async fn ask_for_document(
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
