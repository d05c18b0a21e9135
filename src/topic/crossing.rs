//! What crosses the border of the domain: in, from the other person's domain, verified before it gets
//! here; out, into the outbox.

use std::time::Duration;

use bytes::Bytes;
use freehold_federation::{Unavailable, Verdict};
use freehold_proto::{AccessMode, DomainName, MessageId, RefusalCode, UserId, wire};
use freehold_store::{
    Batch,
    tables::{
        messages::{put_message, put_seen},
        outbox,
        rows::MessageRow,
    },
};
use serde_json::json;
use tokio::sync::oneshot;

use super::{
    Incoming,
    actor::{Actor, Effect},
    command::Decision,
    one_to_one::{PeerRelation, Reception},
    standing::AccessChange,
};
use crate::{
    edge::reply::{self, Reply},
    files::{Attached, Held, Referrer},
    peers::outbox::Refused,
};

/// When the sender should ask again whether somebody has accepted a contact. Acceptance itself is
/// told at once; this only helps when that news was lost.
pub(crate) const CONSENT_RETRY: Duration = Duration::from_secs(60 * 60);

impl Actor {
    /// What somebody without an account of their own here is given: the default of our person.
    async fn default_of(&self, user: &UserId) -> AccessMode {
        let profile = self.server.profile(user).await.ok().flatten();
        profile.map_or(AccessMode::ONE_TO_ONE, |it| it.access)
    }

    /// Takes a message of the other domain's person, as far as our person wants it.
    pub(super) async fn incoming(&mut self, incoming: Incoming) {
        let Incoming {
            author,
            text,
            mut row,
            attached,
            mut seen,
            decision,
        } = incoming;
        let held = self.server.files.hold_attached(&attached, author.domain());
        let held = match held.await {
            Ok(held) => held,
            Err(fault) => return drop(decision.send(Err(Unavailable(fault.to_string())))),
        };
        let now = self.now();
        let recipient = self.pair().other(&author).id.clone();
        let mut effects = Vec::new();
        if self.pair().person(&recipient).active().is_none() {
            // The message came before the news of the contact, or our person had left.
            let unknown = PeerRelation {
                want: AccessMode::ONE_TO_ONE,
                want_version: 0,
                given: AccessMode::ONE_TO_ONE,
                given_version: 0,
            };
            let ours = self.default_of(&recipient).await;
            let changes = self.pair_mut().relate(&author, &unknown, ours, true, now);
            effects.extend(changes.into_iter().map(|it| Effect::Access(it, None)));
        }
        let mut batch = Batch::new();
        let Ok(id) = MessageId::from_slice(&row.message_id) else {
            return drop(decision.send(Err(Unavailable("a message without an id".to_owned()))));
        };
        let verdict = match self.pair_mut().receive(&author, id, text, now) {
            Reception::AwaitingConsent => Verdict::Later {
                code: RefusalCode::AwaitingConsent,
                retry_after: CONSENT_RETRY,
            },
            reception => {
                if let Reception::Shown(seq) = reception {
                    row.received = now.as_millis();
                    seen.topic = Bytes::copy_from_slice(self.key().as_bytes());
                    seen.seq = seq;
                    put_message(&mut batch, self.key(), seq, &row);
                    self.call_arrives(&author, id, seq, &row);
                    held.refer(&mut batch, &Referrer::Message(self.key(), seq), true);
                    effects.push(Effect::Referred(held));
                    effects.push(Effect::Appended {
                        seq,
                        row: Box::new(row.clone()),
                        author: author.clone(),
                        except: None,
                    });
                }
                put_seen(&mut batch, author.domain(), id, &seen);
                Verdict::Ok
            }
        };
        effects.push(Effect::Decided(decision, verdict));
        self.commit_with_news(batch, effects);
    }

    /// Keeps what came in an envelope of the domain `from` as files of a message.
    pub(super) async fn hold_attached(
        &self,
        attached: &[wire::Attachment],
        from: &DomainName,
    ) -> Result<Held, Reply> {
        let attached = Attached::read(attached).unwrap_or_default();
        Ok(self.server.files.hold_attached(&attached, from).await?)
    }

    /// Takes what the other domain says of its person's side.
    pub(super) async fn relate(
        &mut self,
        peer: &UserId,
        relation: &PeerRelation,
        described: bool,
        decision: Decision,
    ) {
        let ours = self.pair().other(peer).id.clone();
        let default = self.default_of(&ours).await;
        let now = self.now();
        let changes = self.pair_mut().relate(peer, relation, default, false, now);
        let wants = |it: &AccessChange| it.user == *peer && it.want.1.has(AccessMode::WRITE);
        let accepted = changes.iter().any(wants);
        let put_out = self.put_out_of_pair(&changes);
        let mut effects = vec![Effect::Decided(decision, Verdict::Ok)];
        effects.extend(changes.into_iter().map(|it| Effect::Access(it, None)));
        effects.extend(put_out);
        effects.extend(described.then(|| Effect::Described(peer.clone())));
        effects.extend(accepted.then(|| Effect::Release(ours)));
        self.commit_all(Batch::new(), effects);
    }

    /// Takes how far the other domain's person got.
    pub(super) fn foreign_progress(
        &mut self,
        reader: &UserId,
        read: u32,
        received: u32,
        decision: Decision,
    ) {
        let moved = self.pair_mut().progress(reader, read, received);
        let mut effects = vec![Effect::Decided(decision, Verdict::Ok)];
        effects.extend(moved.map(|moved| Effect::Moved(reader.clone(), moved, None)));
        self.commit_all(Batch::new(), effects);
    }

    /// Tells an author durably that a message of theirs did not arrive, and why (rules.md 11). In the
    /// same commit the message leaves the outbox.
    pub(super) async fn undelivered(
        &mut self,
        seq: u32,
        reason: &str,
        refused: &Refused,
        done: oneshot::Sender<()>,
    ) {
        if self.topic.room().is_some() {
            return self.not_placed(seq, reason, Some(refused), done).await;
        }
        let key = self.key();
        let original = self
            .server
            .tables
            .read(move |tables| match tables.is_deleted(key, seq)? {
                // Nobody wants it delivered any more.
                true => Ok(None),
                false => tables.message(key, seq),
            })
            .await;
        // Dropping `done` says that nothing was decided.
        let (Ok(original), Ok(random)) = (original, freehold_keys::random()) else {
            return;
        };
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        refused.remove(&mut batch, key);
        if let Some((original, author)) = original.and_then(with_author) {
            let now = self.now();
            let id = MessageId::mint(now, &random);
            let text = format!("Not delivered: {reason}. Only you can see this note.");
            let row = MessageRow {
                author: original.author,
                message_id: Bytes::copy_from_slice(id.as_bytes()),
                issued: now.as_millis(),
                received: now.as_millis(),
                head: json!({"auto": true, "reply": seq.to_string()})
                    .to_string()
                    .into(),
                content: json!(text).to_string().into(),
                ..MessageRow::default()
            };
            let note = self.topic.append(now);
            put_message(&mut batch, key, note, &row);
            effects.push(Effect::Appended {
                seq: note,
                row: Box::new(row),
                author,
                except: None,
            });
        }
        effects.push(Effect::Told(done));
        self.commit(batch, effects);
    }

    /// Queues how our person stands for the other domain, in place of an older word on it.
    pub(super) async fn relate_out(
        &mut self,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
        user: &UserId,
    ) -> Result<(), Reply> {
        if self.pair().other(user).local {
            return Ok(());
        }
        self.pair_mut().mark_announced(user);
        self.cell_out(batch, effects, user, outbox::RELATION).await
    }

    /// Queues how far our person got for the other domain, in place of an older word on it.
    pub(super) async fn cursor_out(
        &mut self,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
        user: &UserId,
    ) -> Result<(), Reply> {
        if self.pair().other(user).local {
            return Ok(());
        }
        self.cell_out(batch, effects, user, outbox::CURSOR).await
    }

    async fn cell_out(
        &mut self,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
        user: &UserId,
        kind: u8,
    ) -> Result<(), Reply> {
        let peer = self.pair().other(user).id.domain().clone();
        let (key, now) = (self.key(), self.now());
        let outbox = &self.server.outbox;
        outbox
            .put_cell(batch, &peer, kind, (key, user), now)
            .await
            .map_err(|fault| {
                tracing::error!(%fault, "the outbox cannot be read");
                Reply::from(reply::UNAVAILABLE)
            })?;
        effects.push(Effect::Wake);
        Ok(())
    }

    /// Tells the other domain something that is worth nothing a minute later.
    pub(super) fn signal_out(&self, user: &UserId, what: &str) {
        let other = &self.pair().other(user).id;
        if !self.server.ids.is_ours(other) {
            let signal = wire::Signal {
                user: user.to_string(),
                peer: other.to_string(),
                what: what.to_owned(),
                ..wire::Signal::default()
            };
            self.server.signal(other.domain(), signal);
        }
    }
}

fn with_author(row: MessageRow) -> Option<(MessageRow, UserId)> {
    let author = row.author.parse().ok()?;
    Some((row, author))
}
