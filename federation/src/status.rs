//! How a whole call is refused: as a gRPC status that carries the refusal's number beside it.

use freehold_proto::{Refusal, RefusalCode};
use tonic::{Code, Status, metadata::MetadataValue};

/// Trailer that holds the number of a refusal.
const REFUSAL: &str = "freehold-refusal";

/// A refused call, as it goes out.
pub(crate) fn refused(refusal: &Refusal) -> Status {
    let mut status = Status::failed_precondition(refusal.to_string());
    let number = MetadataValue::from(refusal.code.number());
    status.metadata_mut().insert(REFUSAL, number);
    status
}

/// The refusal in a status, if it is one.
pub(crate) fn read(status: &Status) -> Option<Refusal> {
    let number = status
        .metadata()
        .get(REFUSAL)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    let detail: String = status.message().chars().take(200).collect();
    Some(Refusal::new(RefusalCode::from_number(number), detail))
}

/// The refusal behind a status that the gRPC library made before any of our code saw the call: the
/// request was too large, or no message of this protocol.
pub(crate) fn from_library(status: &Status) -> Option<Refusal> {
    if read(status).is_some() {
        return None;
    }
    let code = match status.code() {
        Code::OutOfRange => RefusalCode::TooLarge,
        Code::Internal => RefusalCode::Malformed,
        _ => return None,
    };
    Some(Refusal::new(code, status.message()))
}
