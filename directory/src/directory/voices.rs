//! Who vouches for the root key of a domain, and what it means where they do not agree.

use freehold_keys::VerifiedRecord;
use freehold_proto::DomainName;

use super::Directory;
use crate::{
    AnchorLevel, Pin, ResolveError, StaticPeer, Trust,
    anchor::{Anchor, Judgement, Voices, counts, from_txt, judge},
    confirm::{self, Confirmation},
    well_known,
};

/// Addresses of a domain's web server that are asked.
const WEB_ADDRESSES_MAX: usize = 2;

impl Directory {
    /// Who vouches for a domain never met; nobody where the first contact is enough. `before` is what is
    /// left of an earlier acquaintance.
    pub(super) async fn first_anchor(
        &self,
        domain: &DomainName,
        before: Option<&Pin>,
    ) -> Result<Option<Anchor>, ResolveError> {
        if let Some(row) = self.static_peers.get(domain) {
            return Ok(Some(admin(row)));
        }
        if let Some(pin) = before.filter(|it| it.anchor == AnchorLevel::Admin) {
            return Ok(Some(Anchor {
                fingerprint: pin.root_fingerprint,
                level: AnchorLevel::Admin,
            }));
        }
        if self.trust == Trust::Pinned {
            return Err(ResolveError::NoAnchor(
                "it is not in the static table, and nobody else is trusted here",
            ));
        }
        let voices = self.voices(domain).await?;
        let anchors = voices.anchors();
        let strongest = anchors.iter().find(|it| counts(it.level, self.trust));
        let Some(strongest) = strongest else {
            return match (self.trust, voices.txt) {
                (Trust::Lan, _) => Ok(None),
                (_, None) => Err(ResolveError::NoAnchor(
                    "it has no _freehold TXT record, and its web server does not vouch for it either",
                )),
                (_, Some(_)) => Err(ResolveError::NoAnchor(
                    "only an unsigned TXT record names it, which no two directory nodes confirm",
                )),
            };
        };
        for voice in &anchors {
            self.weigh(domain, strongest.level, *voice, |it| {
                *it == strongest.fingerprint
            })?;
        }
        Ok(Some(*strongest))
    }

    /// What DNS and, where that is not enough, the domain's web server say, or, if that says nothing, nodes
    /// of the directory.
    async fn voices(&self, domain: &DomainName) -> Result<Voices, ResolveError> {
        let txt = self.txt(domain).await?;
        let enough = txt.is_some_and(|(_, secure)| secure || self.trust != Trust::Verified);
        let well_known = match enough {
            true => None,
            false => match self.well_known(domain).await {
                Ok(fingerprint) => Some(fingerprint),
                Err(error) => {
                    tracing::debug!(peer = %domain, %error, "its web server does not vouch for it");
                    None
                }
            },
        };
        let mut voices = Voices {
            txt,
            well_known,
            confirmed: false,
        };
        if let (Some((root, false)), None, false) = (txt, well_known, enough) {
            voices.confirmed = self.confirmed(domain, &root).await?;
        }
        Ok(voices)
    }

    /// Whether nodes of the directory see the TXT record that we see.
    async fn confirmed(&self, domain: &DomainName, root: &[u8; 32]) -> Result<bool, ResolveError> {
        let seen = confirm::ask(&self.nodes, domain, &self.web_tls, &self.dns).await;
        let keys: Vec<_> = seen.iter().map(|it| it.1).collect();
        match confirm::compare(&keys, root) {
            Confirmation::Confirmed => Ok(true),
            Confirmation::Silent => Ok(false),
            Confirmation::Contradicted => {
                let other = |it: &&(String, Option<[u8; 32]>)| it.1.is_some_and(|key| key != *root);
                let nodes: Vec<_> = seen.iter().filter(other).map(|it| &*it.0).collect();
                let nodes = nodes.join(", ");
                let why = format!("directory node {nodes} sees another root key in DNS than we do");
                self.alarms.raise(domain, &why);
                Err(ResolveError::AnchorsDisagree {
                    level: AnchorLevel::Confirmed,
                })
            }
        }
    }

    /// The root key that the TXT record names, and whether DNSSEC vouches for it.
    pub(super) async fn txt(
        &self,
        domain: &DomainName,
    ) -> Result<Option<([u8; 32], bool)>, ResolveError> {
        // What DNSSEC vouches for only lifts what the usual way finds.
        let (vouched, usual) =
            tokio::join!(self.vouching.anchors(domain), self.dns.anchors(domain));
        if let Some(fingerprint) = from_txt(&vouched)? {
            return Ok(Some((fingerprint, true)));
        }
        let found = from_txt(&usual?)?;
        Ok(found.map(|fingerprint| (fingerprint, false)))
    }

    /// The root key that the domain's web server names.
    pub(super) async fn well_known(&self, domain: &DomainName) -> Result<[u8; 32], ResolveError> {
        let mut failure = ResolveError::NoAddress;
        let found = self.dns.addresses(domain.as_str(), true).await?;
        let found = found.into_iter().take(WEB_ADDRESSES_MAX);
        let found = found.map(|it| (domain.to_string(), it, self.web_port));
        for target in self.filtered(found.collect())? {
            match well_known::fetch(&self.web_tls, domain, target.address).await {
                Ok(bytes) => {
                    let root = VerifiedRecord::root_in(&bytes)?;
                    self.verify(&bytes, domain, &root)?;
                    return Ok(root);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Compares the TXT record with the pin, where DNS has a voice. Its silence means nothing; if it
    /// agrees and is stronger, the pin is as good as that from now on.
    pub(super) async fn hear(
        &self,
        domain: &DomainName,
        relied: AnchorLevel,
        voices: &mut Voices,
        agrees: impl Fn(&[u8; 32]) -> bool,
    ) -> Result<AnchorLevel, ResolveError> {
        if self.trust == Trust::Pinned {
            return Ok(relied);
        }
        match self.txt(domain).await {
            Ok(txt) => voices.txt = txt,
            Err(ResolveError::Dns(_)) => return Ok(relied),
            Err(error) if relied <= AnchorLevel::Dns => return Err(error),
            Err(error) => {
                self.alarms.raise(domain, &error.to_string());
                return Ok(relied);
            }
        }
        let mut level = relied;
        for voice in voices.anchors() {
            let judgement = self.weigh(domain, relied, voice, &agrees)?;
            if judgement == Judgement::Agree && counts(voice.level, self.trust) {
                level = level.max(voice.level);
            }
        }
        Ok(level)
    }

    pub(super) fn weigh(
        &self,
        domain: &DomainName,
        relied: AnchorLevel,
        voice: Anchor,
        agrees: impl Fn(&[u8; 32]) -> bool,
    ) -> Result<Judgement, ResolveError> {
        let judgement = judge(relied, voice, agrees);
        let level = voice.level;
        if judgement != Judgement::Agree {
            self.alarms.raise(
                domain,
                &format!("{level} names another root key than {relied}"),
            );
        }
        match judgement {
            Judgement::Agree | Judgement::Alarm => Ok(judgement),
            Judgement::Stop => Err(ResolveError::AnchorsDisagree { level }),
        }
    }
}

pub(super) fn admin(row: &StaticPeer) -> Anchor {
    Anchor {
        fingerprint: row.root_fingerprint,
        level: AnchorLevel::Admin,
    }
}
