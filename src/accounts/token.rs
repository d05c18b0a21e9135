//! Log-in tokens: opaque to clients, made and checked without the store, valid over restarts.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use freehold_proto::{DomainName, Timestamp, UserId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How long a token counts.
pub const LIFETIME: Duration = Duration::from_secs(14 * 24 * 60 * 60);

const LAYOUT_VERSION: u8 = 1;
const BODY_BYTES: usize = 17;

/// Makes and checks tokens of one domain.
#[derive(Clone, Debug)]
pub struct Tokens {
    us: DomainName,
    mac: Hmac<Sha256>,
}

impl Tokens {
    /// Under the domain's token secret.
    #[must_use]
    pub fn new(us: DomainName, secret: &[u8; 32]) -> Self {
        let mut mac = Hmac::new_from_slice(secret).expect("HMAC takes a key of any length");
        mac.update(b"freehold/token/v1\0");
        mac.update(us.as_str().as_bytes());
        mac.update(b"\0");
        Self { us, mac }
    }

    /// A token for one of our people, in standard base64 (COMPAT: clients echo it in headers and
    /// URLs), and when it ends.
    #[must_use]
    pub fn issue(&self, user: &UserId, now: Timestamp) -> (String, Timestamp) {
        let expires = now.plus(LIFETIME);
        let mut token = vec![LAYOUT_VERSION];
        token.extend_from_slice(&user.local_bytes());
        token.extend_from_slice(&expires.as_millis().to_be_bytes());
        let mut mac = self.mac.clone();
        mac.update(&token);
        token.extend_from_slice(&mac.finalize().into_bytes());
        (STANDARD.encode(token), expires)
    }

    /// Whose token this is; `None` when it is not ours or has ended.
    #[must_use]
    pub fn check(&self, token: &[u8], now: Timestamp) -> Option<UserId> {
        let (body, tag) = token.split_at_checked(BODY_BYTES)?;
        let mut mac = self.mac.clone();
        mac.update(body);
        mac.verify_slice(tag).ok()?;
        let (version, rest) = body.split_first()?;
        let (local, expires) = rest.split_first_chunk::<8>()?;
        let expires = i64::from_be_bytes(expires.try_into().ok()?);
        let valid = *version == LAYOUT_VERSION && now.as_millis() < expires;
        valid.then(|| UserId::new(*local, self.us.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(domain: &str, secret: u8) -> Tokens {
        Tokens::new(domain.parse().unwrap(), &[secret; 32])
    }

    #[test]
    fn a_token_counts_for_its_user_its_time_and_its_domain_only() {
        let now = Timestamp::from_millis(1_767_323_045_678).unwrap();
        let user = UserId::new([7; 8], "alpha.test".parse().unwrap());
        let ours = tokens("alpha.test", 1);
        let (token, expires) = ours.issue(&user, now);
        let token = STANDARD.decode(token).unwrap();
        assert_eq!(ours.check(&token, now), Some(user));
        assert_eq!(ours.check(&token, expires), None);
        assert_eq!(tokens("alpha.test", 2).check(&token, now), None);
        assert_eq!(tokens("beta.test", 1).check(&token, now), None);
        for at in 0..token.len() {
            let mut altered = token.clone();
            altered[at] ^= 1;
            assert_eq!(ours.check(&altered, now), None, "byte {at} may change");
        }
        assert_eq!(ours.check(&token[..20], now), None);
    }
}
