//! Who vouches for a root key: reading the TXT record, and what to do when two voices disagree
//! (PROTOCOL.md section 4). Pure.

use std::time::Duration;

use freehold_keys::fingerprint_from_text;
use freehold_proto::Timestamp;

use crate::{AnchorLevel, Hold, ResolveError, Trust};

/// A domain that starts anew is watched for so long before its new root is believed.
pub(crate) const HOLD: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Looks further apart than this do not make one watch: two short moments a week apart are not a week.
/// A domain that starts anew tries to reach its peers every 6 hours at most.
pub(crate) const UNSEEN_MAX: Duration = Duration::from_secs(36 * 60 * 60);

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

/// Compares `voice` with the anchor relied on. `agrees` says whether a fingerprint is that of the
/// anchored key or of one that it follows from or is followed by.
pub(crate) fn judge(
    relied: AnchorLevel,
    voice: Anchor,
    agrees: impl Fn(&[u8; 32]) -> bool,
) -> Judgement {
    if agrees(&voice.fingerprint) {
        Judgement::Agree
    } else if voice.level < relied {
        Judgement::Alarm
    } else {
        Judgement::Stop
    }
}

/// What the world says of a domain's root key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Voices {
    /// The TXT record, and whether DNSSEC vouches for it.
    pub(crate) txt: Option<([u8; 32], bool)>,
    /// What the domain's web server says under a certificate that the web believes.
    pub(crate) well_known: Option<[u8; 32]>,
    /// Whether nodes of the directory see the same TXT record.
    pub(crate) confirmed: bool,
}

impl Voices {
    /// The voices as anchors, strongest first.
    pub(crate) fn anchors(&self) -> Vec<Anchor> {
        let txt = self.txt.map(|(fingerprint, secure)| Anchor {
            fingerprint,
            level: match (secure, self.confirmed) {
                (true, _) => AnchorLevel::Dnssec,
                (false, true) => AnchorLevel::Confirmed,
                (false, false) => AnchorLevel::Dns,
            },
        });
        let well_known = self.well_known.map(|fingerprint| Anchor {
            fingerprint,
            level: AnchorLevel::WellKnown,
        });
        let mut anchors: Vec<Anchor> = txt.into_iter().chain(well_known).collect();
        anchors.sort_by_key(|it| std::cmp::Reverse(it.level));
        anchors
    }

    /// Does any of them name another key than this one?
    pub(crate) fn contradict(&self, fingerprint: &[u8; 32]) -> bool {
        let other = |it: &[u8; 32]| it != fingerprint;
        self.txt.is_some_and(|(it, _)| other(&it)) || self.well_known.is_some_and(|it| other(&it))
    }

    /// The key that all of DNS and the web name, if they do.
    fn unanimous(&self) -> Option<[u8; 32]> {
        let (txt, _) = self.txt?;
        (self.well_known == Some(txt)).then_some(txt)
    }
}

/// May a voice of this level vouch for a domain that has never been met?
pub(crate) fn counts(level: AnchorLevel, trust: Trust) -> bool {
    match level {
        AnchorLevel::Admin => true,
        AnchorLevel::Dnssec | AnchorLevel::WellKnown | AnchorLevel::Confirmed => {
            trust != Trust::Pinned
        }
        AnchorLevel::Dns => matches!(trust, Trust::Dns | Trust::Lan),
        AnchorLevel::FirstUse => trust == Trust::Lan,
    }
}

/// What becomes of a domain that shows another root key than the pinned one, which has not named it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reset {
    /// Nothing: not all who would have to say so do.
    No,
    /// It is watched until then.
    Hold(Hold),
    /// It starts anew.
    Accept([u8; 32]),
}

/// Judges a domain that claims to have lost all its keys: DNS and the web must both name the new root,
/// for the whole of [`HOLD`], seen again and again. What DNSSEC vouched for, only DNSSEC takes back. What an administrator vouched for, only an administrator takes back.
pub(crate) fn judge_reset(
    relied: AnchorLevel,
    held: Option<Hold>,
    voices: &Voices,
    now: Timestamp,
) -> Reset {
    let Some(fingerprint) = voices.unanimous() else {
        return Reset::No;
    };
    let secure = voices.txt.is_some_and(|(_, secure)| secure);
    if relied == AnchorLevel::Admin || (relied == AnchorLevel::Dnssec && !secure) {
        return Reset::No;
    }
    match held {
        Some(held) if held.fingerprint == fingerprint && now <= held.seen.plus(UNSEEN_MAX) => {
            match held.since.plus(HOLD) <= now {
                true => Reset::Accept(fingerprint),
                false => Reset::Hold(Hold { seen: now, ..held }),
            }
        }
        _ => Reset::Hold(Hold {
            fingerprint,
            since: now,
            seen: now,
        }),
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
        use AnchorLevel::{Admin, Confirmed, Dns, Dnssec, FirstUse, WellKnown};
        for (relied, same, voice, expected) in [
            (Admin, true, Dns, Judgement::Agree),
            (Dns, true, Admin, Judgement::Agree),
            (Admin, false, Dnssec, Judgement::Alarm),
            (Dnssec, false, WellKnown, Judgement::Alarm),
            (WellKnown, false, Dns, Judgement::Alarm),
            (Confirmed, false, Dns, Judgement::Alarm),
            (Confirmed, false, WellKnown, Judgement::Stop),
            (Dns, false, Dns, Judgement::Stop),
            (WellKnown, false, Dnssec, Judgement::Stop),
            (Dns, false, WellKnown, Judgement::Stop),
            (FirstUse, false, Dns, Judgement::Stop),
            (Admin, false, Admin, Judgement::Stop),
        ] {
            let anchor = Anchor {
                fingerprint: [1; 32],
                level: voice,
            };
            assert_eq!(
                judge(relied, anchor, |_| same),
                expected,
                "{relied:?} {voice:?}"
            );
        }
    }

    #[test]
    fn a_voice_counts_only_as_far_as_the_operator_trusts_it() {
        use AnchorLevel::{Admin, Confirmed, Dns, Dnssec, FirstUse, WellKnown};
        let levels = [FirstUse, Dns, Confirmed, WellKnown, Dnssec, Admin];
        let counting = |trust| levels.map(|level| counts(level, trust));
        assert!(levels.is_sorted());
        assert_eq!(
            counting(Trust::Pinned),
            [false, false, false, false, false, true]
        );
        assert_eq!(
            counting(Trust::Verified),
            [false, false, true, true, true, true]
        );
        assert_eq!(counting(Trust::Dns), [false, true, true, true, true, true]);
        assert_eq!(counting(Trust::Lan), [true; 6]);
    }

    #[test]
    fn a_domain_starts_anew_when_dns_and_the_web_have_said_so_for_a_week() {
        let start = Timestamp::from_millis(1_767_323_045_678).unwrap();
        let both = Voices {
            txt: Some(([2; 32], false)),
            well_known: Some([2; 32]),
            confirmed: false,
        };
        let later = start.plus(HOLD);
        let day = Duration::from_secs(24 * 60 * 60);
        let held = |byte, seen| {
            Some(Hold {
                fingerprint: [byte; 32],
                since: start,
                seen,
            })
        };
        let judge = |held, voices: &Voices, now| judge_reset(AnchorLevel::Dns, held, voices, now);
        assert_eq!(
            judge(None, &both, start),
            Reset::Hold(held(2, start).unwrap())
        );
        let yesterday = held(2, later.minus(day));
        let just_before = later.minus(Duration::from_millis(1));
        let still = Reset::Hold(held(2, just_before).unwrap());
        assert_eq!(judge(yesterday, &both, just_before), still);
        assert_eq!(judge(yesterday, &both, later), Reset::Accept([2; 32]));
        // Another key, or a look missed for too long, begins the week anew; one voice alone counts for
        // nothing.
        for held in [held(3, later), held(2, start)] {
            assert!(matches!(judge(held, &both, later), Reset::Hold(it) if it.since == later));
        }
        for voices in [
            Voices { txt: None, ..both },
            Voices {
                well_known: None,
                ..both
            },
            Voices {
                well_known: Some([3; 32]),
                ..both
            },
        ] {
            assert_eq!(judge(yesterday, &voices, later), Reset::No);
        }
        for level in [AnchorLevel::Admin, AnchorLevel::Dnssec] {
            assert_eq!(judge_reset(level, yesterday, &both, later), Reset::No);
        }
        let secure = Voices {
            txt: Some(([2; 32], true)),
            ..both
        };
        let taken_back = judge_reset(AnchorLevel::Dnssec, yesterday, &secure, later);
        assert_eq!(taken_back, Reset::Accept([2; 32]));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = parse(&text);
            let _ = parse(&format!("v=fh1; {text}"));
        }
    }
}
