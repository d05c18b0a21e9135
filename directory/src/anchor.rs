//! Who vouches for a root key: reading the TXT record, and what to do when two voices disagree
//! (PROTOCOL.md section 4). Pure.

use freehold_keys::fingerprint_from_text;

use crate::{AnchorLevel, ResolveError};

/// A root key's fingerprint and who gave it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Anchor {
    pub(crate) fingerprint: [u8; 32],
    pub(crate) level: AnchorLevel,
}

/// What follows from comparing a voice with the anchor we rely on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Judgement {
    /// They name the same key.
    Agree,
    /// The weaker one disagrees: tell the operator, carry on.
    Alarm,
    /// An equal or stronger one disagrees: stop.
    Stop,
}

/// Compares `voice` with the anchor relied on.
pub(crate) fn judge(relied: Anchor, voice: Anchor) -> Judgement {
    if voice.fingerprint == relied.fingerprint {
        Judgement::Agree
    } else if voice.level < relied.level {
        Judgement::Alarm
    } else {
        Judgement::Stop
    }
}

/// The one root fingerprint that the TXT records at `_freehold.<domain>` name, if any does. Other
/// TXT records may stand beside it.
pub(crate) fn from_txt(texts: &[String]) -> Result<Option<[u8; 32]>, ResolveError> {
    let mut found = None;
    for text in texts {
        let Some(fingerprint) = parse(text)? else {
            continue;
        };
        if found.is_some_and(|it| it != fingerprint) {
            return Err(ResolveError::AnchorsDisagree {
                level: AnchorLevel::Dns,
            });
        }
        found = Some(fingerprint);
    }
    Ok(found)
}

/// Reads `v=fh1; root=<base64url>`. `None` when it is not ours at all. Keys we do not know are left
/// for later versions to use.
fn parse(text: &str) -> Result<Option<[u8; 32]>, ResolveError> {
    let mut parts = text.split(';').map(str::trim);
    if parts.next() != Some("v=fh1") {
        return Ok(None);
    }
    let mut roots = parts.filter_map(|part| part.strip_prefix("root="));
    let root = roots
        .next()
        .ok_or(ResolveError::AnchorMalformed("it names no root key"))?;
    if roots.next().is_some() {
        return Err(ResolveError::AnchorMalformed("it names two root keys"));
    }
    fingerprint_from_text(root)
        .map(Some)
        .ok_or(ResolveError::AnchorMalformed(
            "the root key's fingerprint is not 43 characters of base64url",
        ))
}

#[cfg(test)]
mod tests {
    use freehold_keys::fingerprint_to_text;
    use proptest::prelude::*;

    use super::*;

    fn txt(fingerprint: [u8; 32]) -> String {
        format!("v=fh1; root={}", fingerprint_to_text(&fingerprint))
    }

    #[test]
    fn a_record_is_found_among_others() {
        let texts = [
            "v=spf1 -all".to_owned(),
            txt([7; 32]),
            "v=fh2; x".to_owned(),
        ];
        assert_eq!(from_txt(&texts).unwrap(), Some([7; 32]));
        assert_eq!(from_txt(&["v=spf1 -all".to_owned()]).unwrap(), None);
        assert_eq!(
            from_txt(&[txt([7; 32]), txt([7; 32])]).unwrap(),
            Some([7; 32])
        );
    }

    #[test]
    fn spaces_and_unknown_keys_do_not_matter() {
        let root = fingerprint_to_text(&[7; 32]);
        for text in [
            format!("v=fh1;root={root}"),
            format!("v=fh1 ; root={root} ;"),
            format!("v=fh1; later=x; root={root}"),
        ] {
            assert_eq!(parse(&text).unwrap(), Some([7; 32]), "{text}");
        }
    }

    #[test]
    fn records_that_differ_or_are_malformed_stop() {
        assert!(matches!(
            from_txt(&[txt([7; 32]), txt([8; 32])]),
            Err(ResolveError::AnchorsDisagree { .. })
        ));
        let root = fingerprint_to_text(&[7; 32]);
        for text in [
            "v=fh1".to_owned(),
            "v=fh1; root=".to_owned(),
            "v=fh1; root=AAAA".to_owned(),
            format!("v=fh1; root={root}="),
            format!("v=fh1; root={root}; root={root}"),
        ] {
            assert!(
                matches!(parse(&text), Err(ResolveError::AnchorMalformed(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn only_a_weaker_voice_may_disagree() {
        let anchor = |byte, level| Anchor {
            fingerprint: [byte; 32],
            level,
        };
        use AnchorLevel::{Admin, Dns};
        for (relied, voice, expected) in [
            ((1, Admin), (1, Dns), Judgement::Agree),
            ((1, Dns), (1, Admin), Judgement::Agree),
            ((1, Admin), (2, Dns), Judgement::Alarm),
            ((1, Dns), (2, Dns), Judgement::Stop),
            ((1, Admin), (2, Admin), Judgement::Stop),
            ((1, Dns), (2, Admin), Judgement::Stop),
        ] {
            let (relied, voice) = (anchor(relied.0, relied.1), anchor(voice.0, voice.1));
            assert_eq!(judge(relied, voice), expected, "{relied:?} {voice:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = parse(&text);
            let _ = parse(&format!("v=fh1; {text}"));
        }
    }
}
