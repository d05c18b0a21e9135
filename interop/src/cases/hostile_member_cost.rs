//! A member of a group who makes as much of everything as can be made (F56).

use std::time::Duration;

use freehold_proto::{GroupId, MessageId, UserId, wire, wire::payload::Kind};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use wire::group_request::What;

use super::{
    Case, Need,
    hostile::{Foe, Play, asks, id_of, words},
};
use crate::{
    Club, Failure, Result, Stage,
    failure::expect,
    growth::{disk_kib, memory_kib},
};

const WITHIN: Duration = Duration::from_secs(60);
/// What a server may take beside what it is handed, in KiB: its own files, and what a busy one needs.
const DISK_KIB_BASE: u64 = 96 * 1024;
const MEMORY_KIB_MAX: u64 = 192 * 1024;
/// Bytes on disk for each byte that is handed over: the words, the redo record, the log.
const DISK_FOR_EACH: u64 = 8;
const AT_ONCE: usize = 200;
const MEMBERS_MAX: usize = 100;

pub(super) const CASE: Case = Case {
    ids: "F56",
    name: "hostile_member_cost",
    proves: "a member who edits, renames, comes and goes, asks in, marks and refers without end costs the home and every copy memory within a bound and disk in proportion to what was sent, and nobody else's words are late or lost",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Starting, Need::Inside],
    within: Duration::from_secs(300),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        for index in 0..2 {
            let lines = &mut stage.network.domain(index)?.config.clients_lines;
            lines.push(format!("group_members_max = {MEMBERS_MAX}"));
        }
        stage.start_all().await?;
        let mut club = Club::begin(stage, &[(0, "ann"), (1, "ben")]).await?;
        let foe = Foe::comes(stage, 0, "busy.test").await?;
        let group = foe.joins(&mut club).await?;
        let members: Vec<UserId> = club
            .members
            .iter()
            .map(|it| it.person.user_id())
            .collect::<Result<_>>()?;
        let before = [taken(stage, 0)?, taken(stage, 1)?];
        let mut handed = 0;
        for (what, load) in loads(&foe, group, &members)? {
            for some in load.chunks(AT_ONCE) {
                for batch in in_frames(some) {
                    handed += batch.iter().map(size).sum::<u64>();
                    foe.hands(batch).await?;
                }
                // Each acknowledged within a second, whatever else is going on.
                club.writes(0, 1).await?;
                club.writes(1, 1).await?;
            }
            stage
                .line
                .act("eve@busy.test", format!("{what}, {} times", load.len()));
        }
        club.agree(WITHIN).await?;
        for (index, before) in before.into_iter().enumerate() {
            let (memory, disk) = taken(stage, index)?;
            let memory = memory.saturating_sub(before.0);
            let disk = disk.saturating_sub(before.1);
            let disk_max = DISK_KIB_BASE + handed / 1024 * DISK_FOR_EACH;
            let name = stage.network.domain(index)?.name().clone();
            expect(memory <= MEMORY_KIB_MAX && disk <= disk_max, || {
                let handed = handed / 1024;
                format!("{handed} KiB have cost {name} {memory} KiB of memory and {disk} of disk")
            })?;
            let grown = format!(
                "has grown by {memory} KiB of memory and {disk} KiB of disk over {} KiB",
                handed / 1024
            );
            stage.line.held(name, grown);
        }
        members_are_bounded(&mut club).await?;
        stage
            .line
            .held("ann and ben", "write and read as if nobody else were there");
        Ok(())
    }
    .boxed_local()
}

/// Memory and disk of a domain, in KiB.
fn taken(stage: &mut Stage, index: usize) -> Result<(u64, u64)> {
    let domain = stage.network.domain(index)?;
    let process = domain.process().map(|it| it.id());
    let memory = process.and_then(memory_kib);
    let memory = memory.ok_or_else(|| Failure::harness("measure a server", "it does not run"))?;
    Ok((memory, disk_kib(domain.folder())?))
}

fn size(envelope: &wire::Envelope) -> u64 {
    u64::try_from(envelope.payload.len() + envelope.header.len() + 100).unwrap_or(0)
}

/// Batches that fit into a frame.
fn in_frames(envelopes: &[wire::Envelope]) -> Vec<Vec<wire::Envelope>> {
    let mut batches = vec![Vec::new()];
    let mut bytes = 0;
    for envelope in envelopes {
        bytes += size(envelope);
        if bytes > 900_000 {
            batches.push(Vec::new());
            bytes = size(envelope);
        }
        if let Some(batch) = batches.last_mut() {
            batch.push(envelope.clone());
        }
    }
    batches.retain(|it: &Vec<_>| !it.is_empty());
    batches
}

/// Everything that a member can make much of.
fn loads(
    foe: &Foe,
    group: GroupId,
    members: &[UserId],
) -> Result<Vec<(&'static str, Vec<wire::Envelope>)>> {
    let eve = foe.eve();
    let many = |count: u32, make: &dyn Fn(u32) -> Result<wire::Envelope>| {
        (0..count).map(make).collect::<Result<Vec<_>>>()
    };
    let seal = |kind: Kind| foe.peer.seal_for_group(group, kind);
    let ask = |what: What| asks(&foe.peer, group, &eve, what);
    let first = seal(Kind::GroupMessage(words(&eve, "eve 1")))?;
    let first_id = id_of(&first)?;
    let refers = |key: &str, id: [u8; 16]| wire::Reference {
        key: key.to_owned(),
        author_domain: foe.peer.domain().to_string(),
        message_id: id.to_vec().into(),
    };
    let edit = |number: u32| {
        seal(Kind::GroupMessage(wire::GroupMessage {
            references: vec![refers("replace", first_id)],
            ..words(&eve, &format!("edit {number}"))
        }))
    };
    let referring = |number: u32| {
        let id = |it: u32| MessageId::from_bytes(u128::from(it + number).to_be_bytes());
        let references = (0..4000).map(|it| refers("reply", *id(it).as_bytes()));
        seal(Kind::GroupMessage(wire::GroupMessage {
            references: references.collect(),
            ..words(&eve, "referring")
        }))
    };
    let odd_head = |number: u32| {
        let keys = (0..5000).map(|it| (format!("({it}+)+$"), Value::from(number)));
        let head: serde_json::Map<String, Value> = keys.collect();
        seal(Kind::GroupMessage(wire::GroupMessage {
            head: Value::Object(head).to_string().into(),
            ..words(&eve, "(a+)+$")
        }))
    };
    let profile = |number: u32| {
        ask(What::Profile(wire::GroupProfile {
            public: json!({"fn": number, "note": "x".repeat(60_000)})
                .to_string()
                .into(),
            public_changed_ms: 1 + i64::from(number),
        }))
    };
    let turns = |number: u32| {
        let mode = if number.is_multiple_of(2) {
            "JR"
        } else {
            "JRWPS"
        };
        ask(What::Want(wire::GroupWant {
            want: mode.to_owned(),
            want_version: u64::from(number) + 10,
            ..wire::GroupWant::default()
        }))
    };
    let guests = |number: u32| {
        let mut local = [3; 8];
        local[..4].copy_from_slice(&number.to_be_bytes());
        ask(What::Grant(wire::GroupGrant {
            user: UserId::new(local, foe.peer.domain().clone()).to_string(),
            mode: String::new(),
        }))
    };
    let long_mode = |_| {
        ask(What::Grant(wire::GroupGrant {
            user: foe.peer.person(2).to_string(),
            mode: "+J-J".repeat(40_000),
        }))
    };
    let marks = |number: u32| {
        let users = members.iter().chain([&eve]).cycle().take(6000);
        let cursors = users.map(|it| wire::GroupCursor {
            user: it.to_string(),
            received: number,
            read: number,
        });
        foe.seals(Kind::GroupCursors(wire::GroupCursors {
            readers: None,
            group: group.as_bytes().to_vec().into(),
            cursors: cursors.collect(),
        }))
    };
    let spans = |_| {
        let orders = (0..20_000).map(|it| wire::Orders {
            low: it * 2,
            high: it * 2 + 1,
        });
        ask(What::Delete(wire::GroupDelete {
            orders: orders.collect(),
        }))
    };
    Ok(vec![
        ("writes", vec![first]),
        ("edits one message", many(1000, &edit)?),
        (
            "refers to thousands that are not there",
            many(20, &referring)?,
        ),
        ("writes odd heads", many(20, &odd_head)?),
        ("changes what she looks like", many(100, &profile)?),
        ("wants, and wants not", many(400, &turns)?),
        ("asks people in", many(600, &guests)?),
        ("gives endless modes", many(20, &long_mode)?),
        ("marks for everybody", many(40, &marks)?),
        ("deletes in pieces", many(10, &spans)?),
    ])
}

/// Whom she has asked in are as many as a group may have, at most.
async fn members_are_bounded(club: &mut Club) -> Result<()> {
    let group = club.group.clone();
    for index in 0..club.members.len() {
        let session = club.session(index).await?;
        let rows = session.get(&group, "sub").await?.unwrap_or_default();
        let count = rows.as_array().map_or(0, Vec::len);
        expect((2..=MEMBERS_MAX).contains(&count), || {
            format!("{} sees {count} in the group", session.who())
        })?;
    }
    Ok(())
}
