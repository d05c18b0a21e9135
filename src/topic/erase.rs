//! What becomes of a topic when one of its people deletes the account.

use freehold_proto::{AccessMode, UserId, wire::group_request::What};
use freehold_store::{Batch, Tables, TopicKey, tables::rows::SpanRow};
use tokio::sync::oneshot;

use super::{
    actor::{Actor, Effect},
    room::RoomKind,
};
use crate::edge::{
    frames::{Pres, ServerFrame},
    reply::{self, Reply},
    session::Session,
};

/// Messages looked at in one go for those of one author.
const PAGE: usize = 500;

impl Actor {
    /// Ends a person's part. Doing it twice does no harm: a deletion goes on after a restart. Without
    /// a word on `done` nothing was decided.
    pub(super) async fn erase(&mut self, user: &UserId, done: oneshot::Sender<()>) {
        let result = match self.topic.pair() {
            Some(_) => self.erase_from_pair(user, done).await,
            None => self.erase_from_room(user, done).await,
        };
        if let Err(refusal) = result {
            tracing::warn!(%user, code = refusal.status.code, "a deletion did not get on in a topic");
            self.read_again();
        }
    }

    async fn erase_from_pair(
        &mut self,
        user: &UserId,
        done: oneshot::Sender<()>,
    ) -> Result<(), Reply> {
        self.cut_call();
        self.finish_commits().await?;
        let standing = self.pair().person(user).standing.as_ref();
        let announced = standing.is_some_and(|it| it.announced);
        let now = self.now();
        self.pair_mut().erase(user, now);
        // At home the other one loses the topic too, so nobody is left to read it.
        let (mut batch, left) = match self.pair().is_deserted() {
            true => self.begin_emptying(user).await?,
            false => (Batch::new(), Vec::new()),
        };
        let mut effects = Vec::new();
        if announced {
            self.relate_out(&mut batch, &mut effects, user).await?;
        }
        let other = self.pair().other(user).id.clone();
        let evicted = self.attached.remove_all(&other);
        self.attached.remove_all(user);
        effects.push(Effect::Erased(user.clone(), evicted));
        self.commit_all(batch, effects);
        self.delete_spans(user, true, left).await?;
        self.commit(Batch::new(), vec![Effect::Told(done)]);
        Ok(())
    }

    /// An owner's group ends with the owner; of a member it loses what the member wrote.
    async fn erase_from_room(
        &mut self,
        user: &UserId,
        done: oneshot::Sender<()>,
    ) -> Result<(), Reply> {
        self.finish_commits().await?;
        self.load_reader(user).await?;
        if self.home_abroad().is_some() {
            return self.erase_from_copy(user, done).await;
        }
        let now = self.now();
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let (owns, kind) = (room.mode(user).has(AccessMode::OWNER), room.kind);
        if owns && room.deleted.is_none() {
            let (mut batch, left) = self.begin_emptying(user).await?;
            self.drop_tags(&mut batch);
            let room = self.room_mut()?;
            room.description.public.clear();
            let effect = match kind {
                RoomKind::Saved => {
                    room.abandon(user, now);
                    None
                }
                _ => {
                    room.finish(now);
                    Some(Effect::Closed(None))
                }
            };
            let mut effects: Vec<Effect> = effect.into_iter().collect();
            self.show_files(&mut batch, &mut effects).await?;
            self.commit_all(batch, effects);
            self.delete_spans(user, true, left).await?;
        } else if room.active(user).is_some() {
            let change = self.room_mut()?.abandon(user, now);
            let evicted = Effect::Evicted {
                sessions: self.put_out(user),
                user: user.clone(),
                gone: true,
                except: None,
            };
            self.commit_all(Batch::new(), vec![Effect::Access(change, None), evicted]);
        }
        // Also where they had left before, or a restart came in between.
        let lives = self.topic.room().is_some_and(|it| it.deleted.is_none());
        if lives && kind != RoomKind::Saved {
            self.erase_words(user).await?;
        }
        self.commit(Batch::new(), vec![Effect::Told(done)]);
        Ok(())
    }

    /// The same where the home is another domain: gone from here at once, and the home is asked to do
    /// its part whenever it can (rules.md 15).
    async fn erase_from_copy(
        &mut self,
        user: &UserId,
        done: oneshot::Sender<()>,
    ) -> Result<(), Reply> {
        let now = self.now();
        if self.topic.room().is_some_and(|it| it.is_reader(user)) {
            self.erase_reader(user).await?;
        }
        let room = self.room_mut()?;
        if room.members.contains_key(user) {
            let change = room.abandon_copy(user, now);
            let (mut batch, mut effects) = (Batch::new(), Vec::new());
            self.ask_home(user, What::Erase(true), &mut batch, &mut effects)?;
            effects.extend(self.access_effects(None, change.into_iter().collect()));
            self.commit_all(batch, effects);
        }
        self.erase_words(user).await?;
        self.commit(Batch::new(), vec![Effect::Told(done)]);
        Ok(())
    }

    /// Takes everything that somebody wrote here from everybody.
    pub(super) async fn erase_words(&mut self, user: &UserId) -> Result<(), Reply> {
        let mut below = self.topic.head().saturating_add(1);
        while below > 1 {
            let (key, author) = (self.key(), user.clone());
            let read = move |tables: &Tables| written_by(tables, key, &author, below);
            let (spans, next) = self.server.tables.read(read).await?;
            self.delete_spans(user, true, spans).await?;
            below = next;
        }
        Ok(())
    }

    /// Puts out who was attached, and takes the topic from the other one's list.
    pub(super) fn tell_erased(&self, user: &UserId, attached: &[Session]) {
        let other = &self.pair().other(user).id;
        let evicted = Reply::with(reply::EVICTED, serde_json::json!({"unsub": true}));
        let frame = evicted.into_frame(None, Some(self.view(other)), self.now());
        for session in attached {
            session.detach(self.key());
            session.send(&frame);
        }
        let gone = Pres {
            topic: "me".to_owned(),
            src: Some(self.server.ids.shown(user)),
            what: "gone",
            ..Pres::default()
        };
        self.server
            .online
            .tell(other, &ServerFrame::Pres(gone), |_| true);
    }
}

/// Some of the positions below `below` of what `author` wrote, and where to go on. Blocks.
fn written_by(
    tables: &Tables,
    topic: TopicKey,
    author: &UserId,
    below: u32,
) -> Result<(Vec<SpanRow>, u32), freehold_store::StoreError> {
    let author = author.to_string();
    let page = tables.history(topic, 1, below, PAGE, usize::MAX)?;
    let next = page.last().map_or(1, |(seq, _)| *seq);
    let own = page
        .into_iter()
        .filter(|(_, row)| row.author == author && row.deleted == 0)
        .map(|(seq, _)| SpanRow {
            low: seq,
            high: seq + 1,
        });
    Ok((own.collect(), next))
}
