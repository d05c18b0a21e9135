//! Codes of six digits that prove that somebody reads an address: made, kept as a keyed hash, judged.
//!
//! Six digits are few, so a code counts for a short time and a few tries only.

use std::time::Duration;

use freehold_proto::{Timestamp, UserId};
use freehold_store::tables::rows::CodeRow;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How long a code counts.
pub const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Wrong answers after which a code is dead.
pub const TRIES_MAX: u32 = 3;

/// Hashes codes with a key that the store does not hold: from the store alone none can be guessed.
#[derive(Clone, Debug)]
pub struct Codes(Hmac<Sha256>);

/// What an answer is worth.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// It is the code.
    Right,
    /// It is not; the row to keep, one try shorter.
    Wrong(CodeRow),
    /// The code does not count any more, whatever the answer.
    Dead,
}

impl Codes {
    /// Under the domain's token secret.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        let mut mac = Hmac::new_from_slice(secret).expect("HMAC takes a key of any length");
        mac.update(b"freehold/code/v1\0");
        Self(mac)
    }

    /// A new code from fresh random bytes, and the row that remembers it.
    #[must_use]
    pub fn make(
        &self,
        user: &UserId,
        purpose: u8,
        (method, value): (&str, &str),
        random: [u8; 8],
        now: Timestamp,
    ) -> (String, CodeRow) {
        let code = format!("{:06}", u64::from_be_bytes(random) % 1_000_000);
        let row = CodeRow {
            method: method.to_owned(),
            value: value.to_owned(),
            hash: self
                .mac(user, purpose, (method, value), &code)
                .finalize()
                .into_bytes()
                .to_vec()
                .into(),
            expires: now.plus(LIFETIME).as_millis(),
            tries: 0,
        };
        (code, row)
    }

    /// Judges an answer. Takes the same time for every wrong one.
    #[must_use]
    pub fn judge(
        &self,
        user: &UserId,
        purpose: u8,
        row: &CodeRow,
        answer: &str,
        now: Timestamp,
    ) -> Judgement {
        if !is_alive(row, now) {
            return Judgement::Dead;
        }
        let mac = self.mac(user, purpose, (&row.method, &row.value), answer.trim());
        if mac.verify_slice(&row.hash).is_ok() {
            return Judgement::Right;
        }
        let mut kept = row.clone();
        kept.tries = kept.tries.saturating_add(1);
        Judgement::Wrong(kept)
    }

    fn mac(
        &self,
        user: &UserId,
        purpose: u8,
        (method, value): (&str, &str),
        code: &str,
    ) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(&user.local_bytes());
        mac.update(&[purpose]);
        for part in [method, value, code] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }
}

/// Whether a code may still be answered.
#[must_use]
pub fn is_alive(row: &CodeRow, now: Timestamp) -> bool {
    row.tries < TRIES_MAX && now.as_millis() < row.expires
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMAIL: (&str, &str) = ("email", "ann@b.test");

    fn ann() -> UserId {
        UserId::new([1; 8], "alpha.test".parse().unwrap())
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(1_767_323_045_678).unwrap()
    }

    #[test]
    fn a_code_has_six_digits_and_counts_for_its_owner_purpose_and_address() {
        let codes = Codes::new(&[1; 32]);
        let (code, row) = codes.make(&ann(), 1, EMAIL, [0; 8], now());
        assert_eq!(code, "000000");
        let judge =
            |user: &UserId, purpose, row: &CodeRow| codes.judge(user, purpose, row, &code, now());
        assert_eq!(judge(&ann(), 1, &row), Judgement::Right);
        let amy = UserId::new([2; 8], "alpha.test".parse().unwrap());
        assert_ne!(judge(&amy, 1, &row), Judgement::Right);
        assert_ne!(judge(&ann(), 2, &row), Judgement::Right);
        let elsewhere = CodeRow {
            value: "amy@b.test".to_owned(),
            ..row
        };
        assert_ne!(judge(&ann(), 1, &elsewhere), Judgement::Right);
    }

    #[test]
    fn a_code_dies_of_three_wrong_answers_or_of_age() {
        let codes = Codes::new(&[1; 32]);
        let (code, mut row) = codes.make(&ann(), 1, EMAIL, [5; 8], now());
        for answer in ["", "12345", "x"] {
            let Judgement::Wrong(kept) = codes.judge(&ann(), 1, &row, answer, now()) else {
                panic!("{answer:?} is not simply wrong");
            };
            row = kept;
        }
        assert_eq!(codes.judge(&ann(), 1, &row, &code, now()), Judgement::Dead);
        let (code, row) = codes.make(&ann(), 1, EMAIL, [5; 8], now());
        let late = now().plus(LIFETIME);
        assert_eq!(codes.judge(&ann(), 1, &row, &code, late), Judgement::Dead);
        assert_eq!(
            codes.judge(&ann(), 1, &row, &format!(" {code} "), now()),
            Judgement::Right
        );
    }
}
