//! Encrypts a push for the one who made a Web Push subscription (RFC 8291 on top of RFC 8188): neither the
//! node that relays it nor the push service can read it, or tell a short one from a long one.

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Length of a P-256 point that is not compressed.
const POINT_BYTES: usize = 65;
const SECRET_BYTES: usize = 16;
const SALT_BYTES: usize = 16;
/// The record size told: one record holds all of it.
const RECORD_BYTES: u32 = 4096;
/// Texts are filled up to a multiple of this, in bytes.
const STEP: usize = 512;
/// Longest text: with header, mark and tag, 4096 bytes, which every push service takes.
pub(super) const TEXT_BYTES_MAX: usize = 7 * STEP - 1;

/// Who can read what is encrypted for them.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Subscriber {
    public: [u8; POINT_BYTES],
    secret: [u8; SECRET_BYTES],
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").finish_non_exhaustive()
    }
}

impl Subscriber {
    /// Reads the keys of a subscription, `p256dh` and `auth`; `None` when nothing could be encrypted for them.
    pub(super) fn read(p256dh: &str, auth: &str) -> Option<Self> {
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let read = Self {
            public: bytes(p256dh)?.try_into().ok()?,
            secret: bytes(auth)?.try_into().ok()?,
        };
        // A point that is not on the curve is found out here.
        read.encrypt(b"").ok()?;
        Some(read)
    }

    /// Encrypts a text of at most [`TEXT_BYTES_MAX`] bytes, with a key made for it alone.
    pub(super) fn encrypt(&self, text: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut salt = [0; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt)?;
        let filled = (text.len() + 1).next_multiple_of(STEP);
        self.encrypt_with(&PrivateKey::generate(&ECDH_P256)?, salt, text, filled)
    }

    /// The same with what is drawn by lot given, filled up to so many bytes.
    fn encrypt_with(
        &self,
        sender: &PrivateKey,
        salt: [u8; SALT_BYTES],
        text: &[u8],
        filled: usize,
    ) -> Result<Vec<u8>, Unspecified> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Unspecified);
        }
        let public = sender.compute_public_key()?;
        let theirs = UnparsedPublicKey::new(&ECDH_P256, &self.public);
        let shared = agree(sender, theirs, Unspecified, |shared| {
            let info = [b"WebPush: info\0".as_slice(), &self.public, public.as_ref()];
            expand::<32>(&Salt::new(HKDF_SHA256, &self.secret).extract(shared), &info)
        })?;
        let keys = Salt::new(HKDF_SHA256, &salt).extract(&shared);
        let key = expand::<16>(&keys, &[b"Content-Encoding: aes128gcm\0"])?;
        let nonce = expand::<12>(&keys, &[b"Content-Encoding: nonce\0"])?;
        // The mark of the last record, then zeros.
        let mut record = [text, &[2]].concat();
        record.resize(filled.max(record.len()), 0);
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?);
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut record)?;
        let length = u8::try_from(public.as_ref().len()).map_err(|_| Unspecified)?;
        Ok([
            salt.as_slice(),
            &RECORD_BYTES.to_be_bytes(),
            &[length],
            public.as_ref(),
            &record,
        ]
        .concat())
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(keys: &Prk, info: &[&[u8]]) -> Result<[u8; N], Unspecified> {
    let mut out = [0; N];
    keys.expand(info, Length(N))?.fill(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
        bytes.try_into().unwrap()
    }

    /// RFC 8291, section 5 and appendix A.
    #[test]
    fn the_example_of_the_standard_comes_out_as_it_stands_there() {
        let subscriber = Subscriber {
            public: bytes(
                "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            ),
            secret: bytes("BTBZMqHH6r4Tts7J_aSIgg"),
        };
        let sender = bytes::<32>("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw");
        let sender = PrivateKey::from_private_key(&ECDH_P256, &sender).unwrap();
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw");
        let text = b"When I grow up, I want to be a watermelon";
        let body = subscriber.encrypt_with(&sender, salt, text, 0).unwrap();
        assert_eq!(
            URL_SAFE_NO_PAD.encode(body),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tlz\
             AC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        );
    }

    fn subscriber() -> Subscriber {
        let own = PrivateKey::generate(&ECDH_P256).unwrap();
        let public = URL_SAFE_NO_PAD.encode(own.compute_public_key().unwrap());
        Subscriber::read(&public, "BTBZMqHH6r4Tts7J_aSIgg").unwrap()
    }

    #[test]
    fn what_is_encrypted_is_never_twice_the_same_and_its_length_says_little() {
        let subscriber = subscriber();
        let lengths = [0, 1, 400, 511].map(|it| subscriber.encrypt(&vec![b'x'; it]).unwrap().len());
        assert_eq!(lengths, [lengths[0]; 4]);
        assert_ne!(subscriber.encrypt(b"x"), subscriber.encrypt(b"x"));
        let longest = subscriber.encrypt(&vec![b'x'; TEXT_BYTES_MAX]).unwrap();
        assert!(longest.len() <= 4096, "{}", longest.len());
        assert!(subscriber.encrypt(&vec![b'x'; TEXT_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn keys_for_which_nothing_can_be_encrypted_are_not_taken() {
        let own = PrivateKey::generate(&ECDH_P256).unwrap();
        let public = own.compute_public_key().unwrap();
        let good = URL_SAFE_NO_PAD.encode(&public);
        let mut off_the_curve = public.as_ref().to_vec();
        off_the_curve[64] ^= 1;
        let (secret, off_the_curve) = (
            "BTBZMqHH6r4Tts7J_aSIgg",
            URL_SAFE_NO_PAD.encode(off_the_curve),
        );
        assert!(Subscriber::read(&good, secret).is_some());
        for (public, secret) in [
            (&*off_the_curve, secret),
            (&good[..40], secret),
            ("", secret),
            (&good, ""),
            (&good, "AAAA"),
            (&good, "no base64!"),
        ] {
            assert!(
                Subscriber::read(public, secret).is_none(),
                "{public} {secret}"
            );
        }
    }
}
