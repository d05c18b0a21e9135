//! Groups and channels: making them, inviting, the access modes, leaving, ending (fact sheet, sections
//! 2.6, 3.4, 3.5 and 4).

use freehold_interop::{Frame, FrameKind};
use serde_json::{Value, json};

use crate::{
    guest::{Guest, SOON},
    net::{House, Net},
};

/// A group with its owner and two members, all attached.
struct Club {
    net: Net,
    house: House,
    ann: Guest,
    ben: Guest,
    cat: Guest,
    group: String,
}

impl Guest {
    /// Makes a group; returns its name.
    pub(crate) async fn founds(&mut self, name: &str, set: Value) -> String {
        let body = json!({"topic": name, "set": set});
        let answer = self.session.request("sub", body).await.unwrap();
        assert_eq!(answer.body["params"]["tmpname"], name);
        assert_eq!(answer.body["params"]["acs"]["given"], "JRWPASDO");
        let group = answer.text("topic").to_owned();
        assert!(group.starts_with("grp") && group.len() == 25, "{group}");
        group
    }

    async fn invites(&mut self, group: &str, other: &Self) -> Value {
        let body = json!({"topic": group, "sub": {"user": other.person.id}});
        let answer = self.session.request("set", body).await.unwrap();
        assert_eq!(answer.body["params"]["user"], other.person.id);
        answer.body["params"]["acs"].clone()
    }

    /// Gives a member other rights.
    pub(crate) async fn gives(&mut self, group: &str, other: &Self, mode: &str) {
        let body = json!({"topic": group, "sub": {"user": other.person.id, "mode": mode}});
        self.session.request("set", body).await.unwrap();
    }

    /// Waits for pres about `src` in `topic`.
    async fn is_told(&mut self, topic: &str, src: &str, what: &str) -> Value {
        let fits = |it: &Frame| {
            let of = it.kind == FrameKind::Pres && it.text("what") == what;
            of && it.text("topic") == topic && it.text("src") == src
        };
        let awaited = format!("{what} about {src} in {topic}");
        self.session
            .wait_for(&awaited, SOON, fits)
            .await
            .unwrap()
            .body
    }

    /// Waits for `{ctrl 205}`.
    async fn is_evicted(&mut self, topic: &str, unsub: bool) {
        let fits = |it: &Frame| it.kind == FrameKind::Ctrl && it.code() == 205;
        let frame = self.session.wait_for("eviction", SOON, fits).await.unwrap();
        assert_eq!(frame.text("topic"), topic);
        assert_eq!(frame.body["params"]["unsub"], unsub);
    }

    async fn mode_in(&mut self, group: &str) -> [String; 3] {
        let desc = self.session.get(group, "desc").await.unwrap().unwrap();
        ["want", "given", "mode"].map(|key| desc["acs"][key].as_str().unwrap_or("").to_owned())
    }

    pub(crate) async fn contact(&mut self, topic: &str) -> Option<Value> {
        let rows = self.session.get("me", "sub").await.unwrap()?;
        let mut rows = rows.as_array().unwrap().iter();
        rows.find(|it| it["topic"] == topic).cloned()
    }

    async fn members(&mut self, group: &str) -> Vec<Value> {
        let rows = self.session.get(group, "sub").await.unwrap().unwrap();
        rows.as_array().unwrap().clone()
    }
}

impl Club {
    async fn new() -> Self {
        let net = Net::new().await;
        let house = net.domain("alpha.test").await;
        Self::with(net, house).await
    }

    async fn with(net: Net, house: House) -> Self {
        let (mut ann, mut ben, mut cat) = (
            house.guest("ann").await,
            house.guest("ben").await,
            house.guest("cat").await,
        );
        let group = ann
            .founds("new1", json!({"desc": {"public": {"fn": "Club"}}}))
            .await;
        for guest in [&mut ben, &mut cat] {
            ann.invites(&group, guest).await;
            guest.session.subscribe(&group).await.unwrap();
        }
        Self {
            net,
            house,
            ann,
            ben,
            cat,
            group,
        }
    }
}

#[tokio::test]
async fn a_group_is_made_and_everybody_invited_can_write_and_read() {
    let mut club = Club::new().await;
    let seq = club
        .ben
        .session
        .publish(&club.group, "hello")
        .await
        .unwrap();
    assert_eq!(seq, 1);
    for guest in [&mut club.ann, &mut club.cat] {
        let group = club.group.clone();
        let fits = move |it: &Frame| {
            it.message_of(&group)
                .is_some_and(|it| it.content == "hello")
        };
        let frame = guest.session.wait_for("hello", SOON, fits).await.unwrap();
        assert_eq!(frame.text("from"), club.ben.person.id);
    }
    let desc = club
        .cat
        .session
        .get(&club.group, "desc")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(desc["public"], json!({"fn": "Club"}));
    assert_eq!((&desc["seq"], &desc["subcnt"]), (&json!(1), &json!(3)));
    assert!(
        desc.get("defacs").is_some(),
        "a sharer sees the default access"
    );
    let row = club.cat.contact(&club.group).await.unwrap();
    assert_eq!((&row["seq"], &row["online"]), (&json!(1), &json!(true)));
    assert_eq!(club.ann.members(&club.group).await.len(), 3);
}

#[tokio::test]
async fn an_invitation_shows_on_me_with_absolute_values() {
    let net = Net::new().await;
    let house = net.domain("alpha.test").await;
    let (mut ann, mut ben) = (house.guest("ann").await, house.guest("ben").await);
    let group = ann.founds("new1", json!({})).await;
    let acs = ann.invites(&group, &ben).await;
    assert_eq!(acs["given"], "JRWPS");
    let told = ben.is_told("me", &group, "acs").await;
    assert_eq!(told["dacs"]["given"], "JRWPS");
    assert_eq!(told["act"], ann.person.id);
    assert!(told.get("tgt").is_none());
}

#[tokio::test]
async fn a_group_survives_the_restart_of_its_domain() {
    let mut club = Club::new().await;
    club.ann
        .session
        .publish(&club.group, "before")
        .await
        .unwrap();
    club.ann.gives(&club.group, &club.ben, "JRWPASD").await;
    club.house.stop().await;
    club.house.start().await;
    for guest in [&mut club.ann, &mut club.ben, &mut club.cat] {
        club.house.welcomes_back(guest).await;
        guest.session.subscribe(&club.group).await.unwrap();
    }
    assert_eq!(club.ben.mode_in(&club.group).await[1], "JRWPASD");
    assert_eq!(club.ann.mode_in(&club.group).await[2], "JRWPASDO");
    assert_eq!(
        club.cat
            .session
            .publish(&club.group, "after")
            .await
            .unwrap(),
        2
    );
    let history = club.cat.session.history(&club.group, 1).await.unwrap();
    assert_eq!(history.len(), 2);
}

#[tokio::test]
async fn only_sharers_invite_and_only_admins_change_modes() {
    let mut club = Club::new().await;
    let dan = club.house.guest("dan").await;
    // A member has S by default and may invite, but not with a mode of his own choice.
    let body = json!({"topic": club.group, "sub": {"user": dan.person.id, "mode": "JRWPA"}});
    let denied = (403, "permission denied".to_owned());
    assert_eq!(club.ben.is_refused("set", body).await, denied);
    club.ben.invites(&club.group, &dan).await;
    club.ann.gives(&club.group, &club.ben, "JRWP").await;
    let body = json!({"topic": club.group, "sub": {"user": club.cat.person.id}});
    assert_eq!(club.ben.is_refused("set", body).await, denied);
    let body = json!({"topic": club.group, "sub": {"user": club.ann.person.id, "mode": "JR"}});
    club.ann.gives(&club.group, &club.cat, "JRWPAS").await;
    assert_eq!(club.cat.is_refused("set", body).await, denied);
    let nobody = json!({"topic": club.group, "sub": {"user": "usrAAAAAAAAAAA"}});
    let missing = (404, "user not found".to_owned());
    assert_eq!(club.ann.is_refused("set", nobody).await, missing);
}

#[tokio::test]
async fn a_banned_member_is_evicted_and_cannot_return_until_the_ban_is_lifted() {
    let mut club = Club::new().await;
    club.ann.gives(&club.group, &club.ben, "RWPS").await;
    club.ben.is_evicted(&club.group, false).await;
    let body = json!({"topic": club.group});
    let denied = (403, "permission denied".to_owned());
    assert_eq!(club.ben.is_refused("sub", body).await, denied);
    let row = club.ben.contact(&club.group).await.unwrap();
    assert_eq!(row["acs"]["mode"], "RWPS");
    assert!(row.get("seq").is_none(), "{row}");
    let body = json!({"topic": club.group, "what": "sub", "user": club.ben.person.id});
    assert_eq!(club.ann.is_refused("del", body).await, denied);
    club.ann.gives(&club.group, &club.ben, "JRWPS").await;
    club.ben.session.subscribe(&club.group).await.unwrap();
}

#[tokio::test]
async fn an_evicted_member_loses_the_group_and_may_come_back_by_invitation() {
    let mut club = Club::new().await;
    let body = json!({"topic": club.group, "what": "sub", "user": club.ben.person.id});
    let denied = (403, "permission denied".to_owned());
    assert_eq!(club.cat.is_refused("del", body.clone()).await, denied);
    club.ann.session.request("del", body.clone()).await.unwrap();
    club.ben.is_evicted(&club.group, true).await;
    assert!(club.ben.contact(&club.group).await.is_none());
    club.ann
        .is_told(&club.group, &club.ben.person.id, "off")
        .await;
    let again = club.ann.session.request("del", body).await.unwrap();
    assert_eq!(again.code(), 304);
    assert_eq!(club.ann.members(&club.group).await.len(), 2);
    club.ann.invites(&club.group, &club.ben).await;
    club.ben.session.subscribe(&club.group).await.unwrap();
}

#[tokio::test]
async fn the_owner_can_neither_leave_nor_be_evicted_but_can_pass_the_group_on() {
    let mut club = Club::new().await;
    let denied = (403, "permission denied".to_owned());
    let leave = json!({"topic": club.group, "unsub": true});
    assert_eq!(club.ann.is_refused("leave", leave.clone()).await, denied);
    let body = json!({"topic": club.group, "sub": {"mode": "JRWP"}});
    assert_eq!(club.ann.is_refused("set", body).await, denied);
    let takes = json!({"topic": club.group, "sub": {"mode": "JRWPASDO"}});
    assert_eq!(club.ben.is_refused("set", takes.clone()).await, denied);

    club.ann.gives(&club.group, &club.ben, "JRWPASDO").await;
    let answer = club.ben.session.request("set", takes).await.unwrap();
    assert_eq!(answer.body["params"]["acs"]["mode"], "JRWPASDO");
    assert_eq!(club.ann.mode_in(&club.group).await[2], "JRWPASD");
    for want in ["JRWPAS", "JRWPASDO"] {
        let told = club
            .cat
            .is_told(&club.group, &club.ben.person.id, "acs")
            .await;
        assert_eq!(told["dacs"]["want"], want);
    }
    club.ann.session.request("leave", leave).await.unwrap();
    assert_eq!(club.ben.members(&club.group).await.len(), 2);
}

#[tokio::test]
async fn a_member_who_leaves_is_gone_from_lists_and_hears_nothing_more() {
    let mut club = Club::new().await;
    let mut second = club.ben.second_session().await;
    let leave = json!({"topic": club.group, "unsub": true});
    club.ben.session.request("leave", leave).await.unwrap();
    second.is_told("me", &club.group, "gone").await;
    club.ann
        .is_told(&club.group, &club.ben.person.id, "off")
        .await;
    assert!(club.ben.contact(&club.group).await.is_none());
    assert_eq!(club.ann.members(&club.group).await.len(), 2);
    // Who knew him learns it, though their clock may be ahead.
    let ims = "2026-01-02T03:04:10.678Z";
    let body = json!({"topic": club.group, "what": "sub", "sub": {"ims": ims}});
    let rows = club.ann.session.request("get", body).await.unwrap();
    let left = rows.body["sub"].as_array().unwrap().iter();
    let left: Vec<_> = left.filter(|it| it.get("deleted").is_some()).collect();
    assert_eq!(left.len(), 1);
    let body = json!({"topic": club.group, "noecho": true, "content": "x"});
    assert_eq!(club.ben.is_refused("pub", body).await.0, 409);
}

#[tokio::test]
async fn the_owner_deletes_the_group_for_everybody_for_ever() {
    let mut club = Club::new().await;
    let delete = json!({"topic": club.group, "what": "topic", "hard": true});
    club.ann.session.request("del", delete).await.unwrap();
    club.ben.is_evicted(&club.group, true).await;
    club.cat.is_evicted(&club.group, true).await;
    let missing = (404, "topic not found".to_owned());
    for guest in [&mut club.ann, &mut club.ben] {
        assert!(guest.contact(&club.group).await.is_none());
        let body = json!({"topic": club.group});
        assert_eq!(guest.is_refused("sub", body).await, missing);
    }
    club.house.stop().await;
    club.house.start().await;
    club.house.welcomes_back(&mut club.cat).await;
    assert!(club.cat.contact(&club.group).await.is_none());
    let body = json!({"topic": club.group});
    assert_eq!(club.cat.is_refused("sub", body).await, missing);
}

#[tokio::test]
async fn muting_stops_presence_and_writing_needs_the_right() {
    let mut club = Club::new().await;
    club.ann.gives(&club.group, &club.ben, "JR").await;
    let body = json!({"topic": club.group, "noecho": true, "content": "x"});
    let denied = (403, "permission denied".to_owned());
    assert_eq!(club.ben.is_refused("pub", body).await, denied);
    let change = club.ben.is_told(&club.group, "", "acs").await;
    assert_eq!(change["dacs"]["given"], "JR");
    club.cat
        .session
        .publish(&club.group, "still read")
        .await
        .unwrap();
    let group = club.group.clone();
    let reads = move |it: &Frame| it.message_of(&group).is_some();
    club.ben
        .session
        .wait_for("still read", SOON, reads)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_full_group_takes_nobody_more() {
    let net = Net::new().await;
    let house = net.domain_with("alpha.test", "group_members_max = 3").await;
    let mut club = Club::with(net, house).await;
    let mut dan = club.house.guest("dan").await;
    let full = (422, "policy violation".to_owned());
    let body = json!({"topic": club.group, "sub": {"user": dan.person.id}});
    assert_eq!(club.ann.is_refused("set", body).await, full);
    let body = json!({"topic": club.group});
    assert_eq!(dan.is_refused("sub", body).await, full);
}

#[tokio::test]
async fn readers_of_a_channel_read_without_being_seen_and_without_seeing_who_writes() {
    let net = Net::new().await;
    let house = net.domain("alpha.test").await;
    let (mut ann, mut ben, mut dan) = (
        house.guest("ann").await,
        house.guest("ben").await,
        house.guest("dan").await,
    );
    let group = ann
        .founds("nch1", json!({"desc": {"public": {"fn": "News"}}}))
        .await;
    let channel = group.replacen("grp", "chn", 1);
    let body = json!({"topic": group});
    assert_eq!(dan.is_refused("sub", body).await.0, 403);
    let answer = dan.session.subscribe(&channel).await.unwrap();
    assert_eq!(answer.body["params"]["acs"]["mode"], "JRP");
    assert_eq!(answer.text("topic"), channel);
    ann.session.publish(&group, "news").await.unwrap();
    let name = channel.clone();
    let fits = move |it: &Frame| it.kind == FrameKind::Data && it.text("topic") == name;
    let frame = dan.session.wait_for("news", SOON, fits).await.unwrap();
    assert!(frame.body.get("from").is_none(), "{}", frame.body);
    let body = json!({"topic": channel, "noecho": true, "content": "x"});
    assert_eq!(dan.is_refused("pub", body).await.0, 403);
    let body = json!({"topic": channel, "what": "msg", "delseq": [{"low": 1}]});
    assert_eq!(dan.is_refused("del", body).await.0, 405);
    let rows = dan.members(&channel).await;
    assert_eq!((rows.len(), &rows[0]["user"]), (1, &json!(dan.person.id)));
    let desc = dan.session.get(&channel, "desc").await.unwrap().unwrap();
    assert_eq!((&desc["chan"], &desc["subcnt"]), (&json!(true), &json!(2)));
    let row = dan.contact(&channel).await.unwrap();
    assert_eq!(
        (&row["seq"], &row["acs"]["mode"]),
        (&json!(1), &json!("JRP"))
    );
    // A member who types the channel's name is sent to the group.
    ann.invites(&group, &ben).await;
    let body = json!({"topic": channel});
    let answer = ben.session.request("sub", body).await.unwrap();
    assert_eq!(
        (answer.code(), &answer.body["params"]["topic"]),
        (303, &json!(group))
    );
    assert_eq!(ann.members(&group).await.len(), 2);
    let leave = json!({"topic": channel, "unsub": true});
    dan.session.request("leave", leave).await.unwrap();
    assert!(dan.contact(&channel).await.is_none());
    let plain = ann.founds("new2", json!({})).await;
    let body = json!({"topic": plain.replacen("grp", "chn", 1)});
    assert_eq!(dan.is_refused("sub", body).await.0, 404);
}

#[tokio::test]
async fn the_description_is_the_owners_and_everybody_hears_of_a_new_one() {
    let mut club = Club::new().await;
    let change = json!({"topic": club.group, "desc": {"public": {"note": "new"}}});
    let denied = (403, "permission denied".to_owned());
    assert_eq!(club.ben.is_refused("set", change.clone()).await, denied);
    club.ann
        .session
        .request("set", change.clone())
        .await
        .unwrap();
    club.ben.is_told(&club.group, "", "upd").await;
    // Though he has it open: clients ask again only for this.
    club.ben.is_told("me", &club.group, "upd").await;
    let desc = club
        .ben
        .session
        .get(&club.group, "desc")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(desc["public"], json!({"fn": "Club", "note": "new"}));
    let again = club.ann.session.request("set", change).await.unwrap();
    assert_eq!(again.code(), 304);
    let marks = json!({"topic": club.group, "desc": {"trusted": {"verified": true}}});
    assert_eq!(club.ann.is_refused("set", marks).await, denied);
    let access = json!({"topic": club.group, "desc": {"defacs": {"auth": "JRO", "anon": "N"}}});
    club.ann.session.request("set", access).await.unwrap();
    let desc = club
        .ann
        .session
        .get(&club.group, "desc")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(desc["defacs"]["auth"], "JR");
}

#[tokio::test]
async fn who_founds_a_group_is_asked_to_look_at_it_under_its_real_name() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let mut ann = alpha.guest("ann").await;
    let group = ann.founds("nch1", json!({})).await;
    ann.is_told("me", &group, "upd").await;
}

#[tokio::test]
async fn members_see_each_other_come_and_go() {
    let mut club = Club::new().await;
    club.ann
        .is_told(&club.group, &club.cat.person.id, "on")
        .await;
    let body = json!({"topic": club.group});
    club.cat.session.request("leave", body).await.unwrap();
    club.ann
        .is_told(&club.group, &club.cat.person.id, "off")
        .await;
    club.ben
        .is_told(&club.group, &club.cat.person.id, "off")
        .await;
    let body = json!({"topic": club.group});
    club.ben
        .session
        .request("leave", body.clone())
        .await
        .unwrap();
    club.ann.session.request("leave", body).await.unwrap();
    club.cat.is_told("me", &club.group, "off").await;
    let row = club.cat.contact(&club.group).await.unwrap();
    assert!(row.get("online").is_none());
}

#[tokio::test]
async fn what_is_sent_without_waiting_for_answers_leaves_the_session_where_the_answers_say() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    let leave = json!({"topic": group});
    let left = club.ben.session.send("leave", leave.clone()).await.unwrap();
    let back = club.ben.session.send("sub", leave.clone()).await.unwrap();
    for id in [left, back] {
        let answer = |it: &Frame| it.kind == FrameKind::Ctrl && it.text("id") == id;
        let frame = club
            .ben
            .session
            .wait_for("an answer", SOON, answer)
            .await
            .unwrap();
        assert_eq!(frame.code(), 200);
    }
    club.ben
        .session
        .publish(&group, "still here")
        .await
        .unwrap();
    // Likewise whoever leaves for good and comes back at once.
    let unsub = json!({"topic": group, "unsub": true});
    club.cat.session.send("leave", unsub).await.unwrap();
    club.cat.session.subscribe(&group).await.unwrap();
    club.cat
        .session
        .publish(&group, "here again")
        .await
        .unwrap();
    // A question that is refused changes nothing about a {sub} behind it.
    let mut dan = club.house.guest("dan").await;
    let data = json!({"topic": group, "what": "data"});
    dan.session.send("get", data).await.unwrap();
    dan.session.subscribe(&group).await.unwrap();
    dan.session.publish(&group, "here too").await.unwrap();
    drop(dan.session);
    club.ann.is_told(&group, &dan.person.id, "off").await;
}

#[tokio::test]
async fn a_request_of_several_parts_happens_whole_or_not_at_all() {
    let mut club = Club::new().await;
    let (group, ben) = (club.group.clone(), club.ben.person.id.clone());
    let body = json!({"topic": group, "sub": {"user": ben, "mode": "N"}, "tags": ["bad tag!"]});
    club.ann.is_refused("set", body).await;
    let body = json!({"topic": group, "desc": {"public": {"fn": "Other"}}, "sub": {"mode": "XYZ"}});
    club.ann.session.send("set", body).await.unwrap();
    club.ann.session.publish(&group, "after").await.unwrap();
    let desc = club.ben.session.get(&group, "desc").await.unwrap().unwrap();
    assert_eq!(desc["public"], json!({"fn": "Club"}));
    club.ben
        .session
        .publish(&group, "still a member")
        .await
        .unwrap();
}

#[tokio::test]
async fn whoever_is_banned_learns_nothing_more_of_the_group() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    club.ann.gives(&group, &club.ben, "RWPS").await;
    club.ben.is_evicted(&group, false).await;
    let touched = club.ben.contact(&group).await.unwrap()["touched"].clone();
    club.net.clock.advance(SOON);
    club.cat
        .session
        .publish(&group, "between us")
        .await
        .unwrap();
    let row = club.ben.contact(&group).await.unwrap();
    assert_eq!(row["touched"], touched, "{row}");
    let dan = club.house.guest("dan").await;
    club.cat.invites(&group, &dan).await;
    let desc = club.ben.session.get(&group, "desc").await.unwrap().unwrap();
    assert!(
        desc.get("seq").is_none() && desc.get("online").is_none(),
        "{desc}"
    );
    let ann = club.ann.person.id.clone();
    club.ben.opens(&club.ann).await;
    let heard = club.ben.has_heard(&club.ann).await;
    let told = heard
        .iter()
        .filter(|it| it.text("src") == group && it.text("what") != "acs");
    assert_eq!(told.count(), 0, "{ann}");
}

#[tokio::test]
async fn what_a_member_may_not_do_outlives_leaving_reading_the_channel_and_a_restart() {
    let net = Net::new().await;
    let mut house = net.domain("alpha.test").await;
    let (mut ann, mut ben, mut cat) = (
        house.guest("ann").await,
        house.guest("ben").await,
        house.guest("cat").await,
    );
    let group = ann.founds("nch1", json!({})).await;
    let channel = group.replacen("grp", "chn", 1);
    for (guest, mode) in [(&ben, "JR"), (&cat, "JRWPS")] {
        ann.gives(&group, guest, mode).await;
    }
    ben.session.subscribe(&group).await.unwrap();
    let leave = json!({"topic": group, "unsub": true});
    ben.session.request("leave", leave).await.unwrap();
    ben.session.subscribe(&channel).await.unwrap();
    house.stop().await;
    house.start().await;
    for guest in [&mut ann, &mut ben, &mut cat] {
        house.welcomes_back(guest).await;
    }
    ben.session.subscribe(&channel).await.unwrap();
    ben.session
        .request("leave", json!({"topic": channel, "unsub": true}))
        .await
        .unwrap();
    // Whoever only invites does not lift what an administrator imposed.
    cat.session.subscribe(&group).await.unwrap();
    assert_eq!(cat.invites(&group, &ben).await["given"], "JR");
    ben.session.subscribe(&group).await.unwrap();
    let body = json!({"topic": group, "noecho": true, "content": "x"});
    let denied = (403, "permission denied".to_owned());
    assert_eq!(ben.is_refused("pub", body).await, denied);
}

#[tokio::test]
async fn in_a_larger_group_everybody_learns_how_far_everybody_has_got() {
    let net = Net::new().await;
    let house = net.domain("alpha.test").await;
    let mut ann = house.guest("ann").await;
    let group = ann.founds("new1", json!({})).await;
    let mut members = Vec::new();
    for number in 0..11 {
        let mut member = house.guest(&format!("member{number}")).await;
        ann.invites(&group, &member).await;
        member.session.subscribe(&group).await.unwrap();
        members.push(member);
    }
    for number in 1..=5 {
        ann.session.publish(&group, "x").await.unwrap();
        for member in &mut members {
            for what in ["recv", "read"] {
                member.session.note(&group, what, number).await.unwrap();
            }
        }
    }
    // One has only received the last one.
    ann.session.publish(&group, "x").await.unwrap();
    members[10].session.note(&group, "recv", 6).await.unwrap();
    let (others, last) = members.split_at_mut(10);
    for told in [&mut ann, &mut last[0]] {
        for other in &*others {
            let mut before = 0;
            while before < 5 {
                let mark =
                    |it: &Frame| it.kind == FrameKind::Info && it.text("from") == other.person.id;
                let mark = told.session.wait_for("a mark", SOON, mark).await.unwrap();
                assert_eq!(mark.text("topic"), group);
                let seq = mark.body["seq"].as_u64().unwrap();
                assert!(seq >= before, "{seq} behind {before}");
                before = if mark.text("what") == "read" {
                    seq
                } else {
                    before
                };
            }
        }
    }
    let received = |it: &Frame| it.text("what") == "recv" && it.body["seq"] == 6;
    let mark = ann.session.wait_for("recv", SOON, received).await.unwrap();
    assert_eq!(mark.text("from"), last[0].person.id);
}
