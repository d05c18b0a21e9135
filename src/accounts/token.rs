//! Log-in tokens: opaque to clients, made and checked without the store, valid over restarts.
//!
//! Whether the account behind a token still takes it is for [`super::access`] to say.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use freehold_proto::{DomainName, Timestamp, UserId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::Level;

/// How long a token counts.
pub const LIFETIME: Duration = Duration::from_secs(14 * 24 * 60 * 60);

const LAYOUT_VERSION: u8 = 2;
const BODY_BYTES: usize = 31;
const UNCONFIRMED: u8 = 1;

/// Names one log-in: all tokens that were renewed from one another.
pub type LoginId = [u8; 8];

/// What a token says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// Whose it is.
    pub user: UserId,
    /// With how much authority.
    pub level: Level,
    /// The generation of the account's tokens it is of.
    pub generation: u32,
    /// Which log-in it goes back to.
    pub login: LoginId,
    /// Good for nothing but confirming credentials.
    pub unconfirmed: bool,
}

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
        mac.update(b"freehold/token/v2\0");
        mac.update(us.as_str().as_bytes());
        mac.update(b"\0");
        Self { us, mac }
    }

    /// A token in standard base64 (COMPAT: clients echo it in headers and URLs), and when it ends.
    #[must_use]
    pub fn issue(&self, grant: &Grant, now: Timestamp) -> (String, Timestamp) {
        let expires = now.plus(LIFETIME);
        let mut token = vec![LAYOUT_VERSION];
        token.extend_from_slice(&grant.user.local_bytes());
        token.extend_from_slice(&expires.as_millis().to_be_bytes());
        token.push(grant.level.to_number());
        token.extend_from_slice(&grant.generation.to_be_bytes());
        token.extend_from_slice(&grant.login);
        token.push(if grant.unconfirmed { UNCONFIRMED } else { 0 });
        let mut mac = self.mac.clone();
        mac.update(&token);
        token.extend_from_slice(&mac.finalize().into_bytes());
        (STANDARD.encode(token), expires)
    }

    /// What a token says; `None` when it is not ours or has ended.
    #[must_use]
    pub fn check(&self, token: &[u8], now: Timestamp) -> Option<Grant> {
        let (body, tag) = token.split_at_checked(BODY_BYTES)?;
        let mut mac = self.mac.clone();
        mac.update(body);
        mac.verify_slice(tag).ok()?;
        let (version, rest) = body.split_first()?;
        let (local, rest) = rest.split_first_chunk::<8>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (level, rest) = rest.split_first()?;
        let (generation, rest) = rest.split_first_chunk::<4>()?;
        let (login, flags) = rest.split_first_chunk::<8>()?;
        let valid = *version == LAYOUT_VERSION && now.as_millis() < i64::from_be_bytes(*expires);
        valid.then(|| Grant {
            user: UserId::new(*local, self.us.clone()),
            level: Level::from_number(u32::from(*level)),
            generation: u32::from_be_bytes(*generation),
            login: *login,
            unconfirmed: *flags == [UNCONFIRMED],
        })
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
        let grant = Grant {
            user: UserId::new([7; 8], "alpha.test".parse().unwrap()),
            level: Level::Root,
            generation: 3,
            login: [9; 8],
            unconfirmed: false,
        };
        let ours = tokens("alpha.test", 1);
        let (token, expires) = ours.issue(&grant, now);
        let token = STANDARD.decode(token).unwrap();
        assert_eq!(ours.check(&token, now), Some(grant.clone()));
        assert_eq!(ours.check(&token, expires), None);
        assert_eq!(tokens("alpha.test", 2).check(&token, now), None);
        assert_eq!(tokens("beta.test", 1).check(&token, now), None);
        for at in 0..token.len() {
            let mut altered = token.clone();
            altered[at] ^= 1;
            assert_eq!(ours.check(&altered, now), None, "byte {at} may change");
        }
        assert_eq!(ours.check(&token[..20], now), None);
        let unconfirmed = Grant {
            unconfirmed: true,
            ..grant
        };
        let (token, _) = ours.issue(&unconfirmed, now);
        let token = STANDARD.decode(token).unwrap();
        assert_eq!(ours.check(&token, now), Some(unconfirmed));
    }
}
