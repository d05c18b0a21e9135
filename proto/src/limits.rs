//! Bounds that are part of the protocol, the same at every domain (PROTOCOL.md section 10).

use std::time::Duration;

/// Protocol version spoken and required.
pub const VERSION: u32 = 1;
/// Longest payload of an envelope, in bytes, after ids have been made global.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// Longest signed identity record, in bytes.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Longest signed client document, in bytes.
pub const CLIENT_DOCUMENT_BYTES_MAX: usize = 8 * 1024;
/// Longest signed announcement, in bytes.
pub const ANNOUNCEMENT_BYTES_MAX: usize = 256 * 1024;
/// Cards in one announcement.
pub const CARDS_MAX: usize = 256;
/// Longest signed card, in bytes.
pub const CARD_BYTES_MAX: usize = 4 * 1024;
/// Longest signed push request, in bytes.
pub const PUSH_REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Longest hello, in bytes.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;
/// Longest peer frame (one request or response), in bytes.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of envelopes in one batch; leaves room in a frame for positions and tags.
pub const BATCH_BYTES_MAX: usize = FRAME_BYTES_MAX - 64 * 1024;
/// Items in one batch.
pub const BATCH_ITEMS_MAX: usize = 1000;
/// How far an envelope's `issued_at` may lie in the receiver's future.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60 * 60);
/// How old an envelope may be on arrival.
pub const ENVELOPE_LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Texts that cross before the recipient has accepted a first contact.
pub const FIRST_CONTACT_TEXTS_MAX: usize = 3;
/// Length of each of those texts, in characters.
pub const FIRST_CONTACT_CHARS_MAX: usize = 280;
/// Messages that one deletion between two people names.
pub const DELETED_IDS_MAX: usize = 1000;
/// Files that one message may name.
pub const ATTACHMENTS_MAX: usize = 128;
/// Bytes of a file in one part.
pub const FILE_PART_BYTES_MAX: usize = 256 * 1024;
/// Default port of the peer API when a domain publishes no SRV record.
pub const DEFAULT_PORT: u16 = 6269;
/// ALPN of the peer API.
pub const ALPN_PEER: &[u8] = b"freehold-peer/1";
/// ALPN of a connection on which the identity record is sent and nothing else.
pub const ALPN_RECORD: &[u8] = b"freehold-record/1";
/// ALPN of a connection on which the client document is sent and nothing else.
pub const ALPN_CLIENT: &[u8] = b"freehold-client/1";
