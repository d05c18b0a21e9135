//! One of our people is asked into a group whose home is another domain, or not any more (PROTOCOL.md
//! section 7.7; rules.md 18).

use freehold_federation::Verdict;
use freehold_keys::Entry;
use freehold_proto::{AccessMode, DomainName, GroupId, GroupRecord, Refusal, RefusalCode, wire};
use freehold_store::Batch;

use super::{
    TopicName,
    actor::Actor,
    command::Invited,
    group_home::nobody,
    group_wire::{self, Ruling},
    room::{Room, RoomKind},
    succession,
};

impl Actor {
    /// The home lets one of our people in, or not any more.
    pub(super) async fn invited(&mut self, invited: Invited) {
        let Invited {
            home,
            invitee,
            inviter,
            words,
            steps,
            decision,
        } = invited;
        if let Err(refusal) = self.check_invitation(&home, &words, &steps) {
            let verdict = Verdict::Refused(refusal);
            return self.decide(Batch::new(), Vec::new(), decision, verdict);
        }
        // Who is asked in may answer at once.
        if let Err(fault) = self.server.outbox.prepare(&home).await {
            return self.undecided(decision, &fault.into());
        }
        let now = self.now();
        let given = AccessMode::from_peer(&words.given).unwrap_or(AccessMode::NONE);
        if !self.is_stored() {
            self.found_stub(home.clone(), &words);
        }
        let us = self.server.us.clone();
        // Whoever has asked to come in has answered already.
        let want = self.wanted_by(&invitee, given);
        let Ok(room) = self.room_mut() else { return };
        if room.home.as_ref().is_some_and(|it| *it != home) {
            room.home = Some(home);
            room.succession = group_wire::step_rows(&words.succession);
            room.dirty = true;
            self.home_moved = true;
        }
        let Ok(room) = self.room_mut() else { return };
        let known = room.members.get(&invitee);
        let is_news = known.is_none_or(|it| {
            let ends = words.withdrawn && it.deleted.is_none();
            it.given_version < words.given_version + u64::from(ends)
        });
        let ruling = Ruling {
            want,
            want_version: words.want_version,
            given,
            given_version: words.given_version,
            gone: words.withdrawn,
            since: now,
            user: invitee,
        };
        let change = is_news
            .then(|| room.rule(&inviter, &ruling, &us, now))
            .flatten();
        let home = room.home.clone();
        let behind = room.log.is_none() && room.takes_part(&us);
        let effects = self.access_effects(None, change.into_iter().collect());
        self.decide(Batch::new(), effects, decision, Verdict::Ok);
        // What happened when they came in may have been passed over: nobody took part here then.
        if let Some(home) = home.filter(|_| behind) {
            self.pull(&home);
        }
    }

    /// What is kept of a group in which nobody of ours has a part yet: its name, as text.
    fn found_stub(&mut self, home: DomainName, words: &wire::GroupInvitation) {
        let TopicName::Group(group) = self.name else {
            return;
        };
        let kind = match words.channel {
            true => RoomKind::Channel,
            false => RoomKind::Group,
        };
        let mut room = Room::new(kind, Some(group), self.now());
        room.home = Some(home);
        room.record = (words.record.clone(), words.signature.clone());
        let title: String = words.title.chars().take(group_wire::TITLE_CHARS).collect();
        // What strangers may do the home has not said.
        room.description.access_auth = AccessMode::NONE;
        room.description.public = serde_json::json!({ "fn": title }).to_string().into();
        self.set_room(room);
    }

    /// Only the home of a group invites into it: to whom does not know the group, the one in its create
    /// record, or the one that followed by right.
    fn check_invitation(
        &self,
        home: &DomainName,
        words: &wire::GroupInvitation,
        steps: &[Entry],
    ) -> Result<(), Refusal> {
        AccessMode::from_peer(&words.given)?;
        if words.signature.len() != 64 || words.record.len() > 512 {
            return Err(Refusal::new(RefusalCode::Malformed, "a create record"));
        }
        let record = GroupRecord::decode(&words.record)?;
        let TopicName::Group(group) = self.name else {
            return Err(nobody());
        };
        // Where nobody takes part, nothing has told us of another home.
        let us = &self.server.us;
        let follows = |it: &&Room| it.home.is_none() || it.log.is_some() && it.takes_part(us);
        let room = self.topic.room().filter(|_| self.is_stored());
        let known = room.filter(follows).map(|it| it.home.clone());
        let known = match known {
            Some(known) => known,
            None => succession::home_after(&record.home, group, steps).ok(),
        };
        if GroupId::of_record(&words.record) != group || known.as_ref() != Some(home) {
            let detail = "another domain is the home of this group";
            return Err(Refusal::new(RefusalCode::NotHome, detail));
        }
        Ok(())
    }
}
